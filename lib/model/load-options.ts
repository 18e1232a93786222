import { invalidArgument } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type { EngineName, NativeOnnxLoad } from '../native/types.js';
import * as check from '../options.js';

export const graphOptimizationLevels = {
  disabled: 0,
  basic: 1,
  extended: 2,
  layout: 3,
  all: 99,
} as const;

/** A name ("cuda", "CUDAExecutionProvider") or a name with the provider's own options. */
export type ExecutionProvider =
  string | { readonly name: string; readonly [option: string]: string | number | boolean };

export interface LoadOptions {
  /** Which engine runs the model. Default: by what the source is. */
  engine?: EngineName;
  /** The signature that `run` takes where none is named. Default: "serving_default", or the only one. */
  signature?: string;
  /** SavedModel only: the tags of the meta graph to load. Default: ["serve"]. */
  tags?: readonly string[];
  /**
   * Threads inside the engine. Defaults come from the CPU quota (cgroup, affinity), not from the
   * host's core count.
   */
  threads?: {
    /** Threads that share one operation. Default: the quota. */
    intraOp?: number;
    /** Operations side by side. Default: 1 for ONNX Runtime (sequential), the quota for TensorFlow. */
    interOp?: number;
    /** ONNX Runtime only: idle threads spin, which costs CPU between runs. Default: false. */
    spin?: boolean;
  };
  /** ONNX Runtime only: providers in order of preference; the CPU follows the last. */
  executionProviders?: readonly ExecutionProvider[];
  /** Native threads that call the engine for this model. */
  pool?: {
    /** Runs at the same time. Default: the CPU quota, at most 8. */
    lanes?: number;
    /** Runs that may wait for a lane; one more is ERR_TENON_QUEUE_FULL. Default: 16384. */
    maxQueue?: number;
  };
  /**
   * Where asynchronous runs happen: 'auto' runs on the calling thread what is measured to take less
   * time than handing it to a lane would; 'never' always uses a lane. Default: 'auto'.
   */
  inline?: 'auto' | 'never';
  /** Compare feeds with the declared shapes before the engine is called. Default: true. */
  validateShapes?: boolean;
  onnxruntime?: {
    /** The library to open, before every other place it is looked for. */
    library?: string;
    /** Default: 'all'. */
    graphOptimizationLevel?: keyof typeof graphOptimizationLevels;
    /** ONNX Runtime's session configuration entries, by their own keys. */
    configEntries?: Readonly<Record<string, string | number | boolean>>;
    /** Sizes for symbolic dimensions, by their name. */
    freeDimensionOverrides?: Readonly<Record<string, number>>;
    /** Paths of custom-op libraries. */
    customOpLibraries?: readonly string[];
  };
  tensorflow?: {
    /** The library to open, before every other place it is looked for. */
    library?: string;
    /** Paths of custom-op libraries, loaded before the graph; they stay for the process. */
    opLibraries?: readonly string[];
    /** A serialized ConfigProto, laid over the thread counts. */
    config?: Uint8Array;
    /** Frozen graphs only: inputs, as tensors ("x:0") or as names for tensors. */
    inputs?: readonly string[] | Readonly<Record<string, string>>;
    /** Frozen graphs only: outputs, as `inputs`. */
    outputs?: readonly string[] | Readonly<Record<string, string>>;
  };
}

/** LoadOptions with everything decided. */
export interface ResolvedLoadOptions {
  engine: EngineName | undefined;
  signature: string | undefined;
  tags: string[] | undefined;
  intraOpThreads: number;
  interOpThreads: number | undefined;
  spin: boolean;
  lanes: number;
  maxQueue: number;
  allowInline: boolean;
  validateShapes: boolean;
  onnxruntime: {
    library: string | undefined;
  } & Pick<
    NativeOnnxLoad,
    | 'graphOptimizationLevel'
    | 'configEntries'
    | 'freeDimensionOverrides'
    | 'customOpLibraries'
    | 'providers'
  >;
  tensorflow: {
    library: string | undefined;
    opLibraries: string[];
    config: Uint8Array;
    inputs: [name: string, tensor: string][];
    outputs: [name: string, tensor: string][];
  };
  /** Options given that only one engine has: an error on a model of the other. */
  onlyFor: { engine: EngineName; option: string }[];
}

const engineNames = ['onnxruntime', 'tensorflow'] as const;
const maxThreads = 1024;
const defaultMaxLanes = 8;
const defaultMaxQueue = 16384;

/** @throws ERR_TENON_INVALID_ARGUMENT naming the option. */
export function resolveLoadOptions(options: LoadOptions | undefined): ResolvedLoadOptions {
  const given = check.checkOptions(options, 'load', [
    'engine',
    'signature',
    'tags',
    'threads',
    'executionProviders',
    'pool',
    'inline',
    'validateShapes',
    'onnxruntime',
    'tensorflow',
  ]);
  const threads = check.checkOptions(given['threads'], 'threads', ['intraOp', 'interOp', 'spin']);
  const pool = check.checkOptions(given['pool'], 'pool', ['lanes', 'maxQueue']);
  const onnx = check.checkOptions(given['onnxruntime'], 'onnxruntime', [
    'library',
    'graphOptimizationLevel',
    'configEntries',
    'freeDimensionOverrides',
    'customOpLibraries',
  ]);
  const tensorflow = check.checkOptions(given['tensorflow'], 'tensorflow', [
    'library',
    'opLibraries',
    'config',
    'inputs',
    'outputs',
  ]);
  const quota = nativeAddon().cpuQuota();
  const level =
    check.oneOf(
      onnx['graphOptimizationLevel'],
      'onnxruntime.graphOptimizationLevel',
      Object.keys(graphOptimizationLevels) as (keyof typeof graphOptimizationLevels)[],
    ) ?? 'all';
  const config = tensorflow['config'] ?? new Uint8Array();
  if (Object.prototype.toString.call(config) !== '[object Uint8Array]') {
    throw invalidArgument('tensorflow.config', 'a Uint8Array', config);
  }
  const onlyFor: ResolvedLoadOptions['onlyFor'] = [];
  const notes: [key: unknown, engine: EngineName, option: string][] = [
    [given['tags'], 'tensorflow', 'tags'],
    [given['executionProviders'], 'onnxruntime', 'executionProviders'],
    [threads['spin'], 'onnxruntime', 'threads.spin'],
  ];
  for (const [value, engine, option] of notes) {
    if (value !== undefined) onlyFor.push({ engine, option });
  }
  return {
    engine: check.oneOf(given['engine'], 'engine', engineNames),
    signature: check.string(given['signature'], 'signature'),
    tags: given['tags'] === undefined ? undefined : check.strings(given['tags'], 'tags'),
    intraOpThreads: check.integer(threads['intraOp'], 'threads.intraOp', quota, 1, maxThreads),
    interOpThreads:
      threads['interOp'] === undefined
        ? undefined
        : check.integer(threads['interOp'], 'threads.interOp', 1, 1, maxThreads),
    spin: check.boolean(threads['spin'], 'threads.spin', false),
    lanes: check.integer(
      pool['lanes'],
      'pool.lanes',
      Math.min(quota, defaultMaxLanes),
      1,
      maxThreads,
    ),
    maxQueue: check.integer(pool['maxQueue'], 'pool.maxQueue', defaultMaxQueue, 0),
    allowInline: check.oneOf(given['inline'], 'inline', ['auto', 'never']) !== 'never',
    validateShapes: check.boolean(given['validateShapes'], 'validateShapes', true),
    onnxruntime: {
      library: check.string(onnx['library'], 'onnxruntime.library'),
      graphOptimizationLevel: graphOptimizationLevels[level],
      configEntries: check.entries(onnx['configEntries'], 'onnxruntime.configEntries', check.text),
      freeDimensionOverrides: check.entries(
        onnx['freeDimensionOverrides'],
        'onnxruntime.freeDimensionOverrides',
        (value, name) => check.integer(value, name, 0, 0, Number.MAX_SAFE_INTEGER),
      ),
      customOpLibraries: check.strings(onnx['customOpLibraries'], 'onnxruntime.customOpLibraries'),
      providers: providers(given['executionProviders']),
    },
    tensorflow: {
      library: check.string(tensorflow['library'], 'tensorflow.library'),
      opLibraries: check.strings(tensorflow['opLibraries'], 'tensorflow.opLibraries'),
      config: config as Uint8Array,
      inputs: graphTensors(tensorflow['inputs'], 'tensorflow.inputs'),
      outputs: graphTensors(tensorflow['outputs'], 'tensorflow.outputs'),
    },
    onlyFor,
  };
}

function providers(value: unknown): NativeOnnxLoad['providers'] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    throw invalidArgument('executionProviders', 'an array of providers', value);
  }
  return value.map((provider: unknown, index) => {
    const subject = `executionProviders[${index}]`;
    if (typeof provider === 'string') return { name: provider, options: [] };
    if (typeof provider !== 'object' || provider === null) {
      throw invalidArgument(subject, 'a name or an object with a name', provider);
    }
    const { name, ...options } = provider as Record<string, unknown>;
    if (typeof name !== 'string') throw invalidArgument(`${subject}.name`, 'a string', name);
    return { name, options: check.entries(options, subject, check.text) };
  });
}

/** "x:0" is fed as "x"; an object names each tensor itself. */
function graphTensors(value: unknown, name: string): [string, string][] {
  if (value === undefined) return [];
  const tensors = Array.isArray(value)
    ? check
        .strings(value, name)
        .map((tensor): [string, string] => [tensor.replace(/:0$/, ''), tensor])
    : check.entries(value, name, check.text);
  return tensors.map(([key, tensor]) => [key, tensor.includes(':') ? tensor : `${tensor}:0`]);
}
