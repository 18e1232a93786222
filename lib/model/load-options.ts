import {
  type ExecutionProvider,
  type OnnxRuntimeLoadOptions,
  resolveAffinity,
  type ResolvedOnnxRuntimeOptions,
  resolveOnnxRuntimeOptions,
  resolveProviders,
  type ThreadAffinity,
} from '../engines/options-onnxruntime.js';
import {
  type ResolvedTensorFlowOptions,
  resolveTensorFlowOptions,
  type TensorFlowLoadOptions,
} from '../engines/options-tensorflow.js';
import { nativeAddon } from '../native/load.js';
import type { EngineName, NativeProvider } from '../native/types.js';
import * as check from '../options.js';

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
    /**
     * ONNX Runtime only: the CPUs of each intra-op thread but the first, which is the caller's:
     * numbers from 0 as the operating system counts them, or the engine's own text ("1;2-3",
     * counted from 1). Default: any.
     */
    affinity?: ThreadAffinity;
    /**
     * Whether the model runs on thread pools of the process, which `configure()` sets for ONNX
     * Runtime and the first session for TensorFlow, or on its own (for TensorFlow: only after
     * `configure({ tensorflow: { perSessionThreads: true } })`). What cannot be had is
     * ERR_TENON_CONFIGURE. Default: the process's pools where there are some and, for ONNX Runtime,
     * nothing else is set here.
     */
    shared?: boolean;
  };
  /** ONNX Runtime only: providers in order of preference; the CPU follows the last. */
  executionProviders?: readonly ExecutionProvider[];
  /**
   * ONNX Runtime only: a provider that cannot start is left out, and noted in
   * `model.providerFallbacks`, instead of failing the load. Default: false.
   */
  allowProviderFallback?: boolean;
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
  /**
   * Rejects the load with the signal's reason, at once. ONNX Runtime from 1.22 on is told to stop;
   * any other load ends unheard, and what it loaded is closed.
   */
  signal?: AbortSignal;
  /** Milliseconds after which the load is stopped likewise, with ERR_TENON_TIMEOUT. */
  timeoutMs?: number;
  /** Compare feeds with the declared shapes before the engine is called. Default: true. */
  validateShapes?: boolean;
  /** What only ONNX Runtime has; says nothing of a model of TensorFlow. */
  onnxruntime?: OnnxRuntimeLoadOptions;
  /** What only TensorFlow has; says nothing of an ONNX model. */
  tensorflow?: TensorFlowLoadOptions;
}

/** LoadOptions with everything decided. */
export interface ResolvedLoadOptions {
  engine: EngineName | undefined;
  signature: string | undefined;
  tags: string[] | undefined;
  threads: {
    intraOp: number;
    interOp: number | undefined;
    /** Which of them the caller gave. */
    given: { intraOp: boolean; interOp: boolean; spin: boolean; affinity: boolean };
    spin: boolean;
    affinity: string;
    shared: boolean | undefined;
  };
  providers: NativeProvider[];
  allowProviderFallback: boolean;
  lanes: number;
  maxQueue: number;
  allowInline: boolean;
  validateShapes: boolean;
  onnxruntime: ResolvedOnnxRuntimeOptions;
  tensorflow: ResolvedTensorFlowOptions;
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
    'allowProviderFallback',
    'pool',
    'inline',
    'signal',
    'timeoutMs',
    'validateShapes',
    'onnxruntime',
    'tensorflow',
  ]);
  const threads = check.checkOptions(given['threads'], 'threads', [
    'intraOp',
    'interOp',
    'spin',
    'affinity',
    'shared',
  ]);
  const pool = check.checkOptions(given['pool'], 'pool', ['lanes', 'maxQueue']);
  const quota = nativeAddon().cpuQuota();
  const onlyFor: ResolvedLoadOptions['onlyFor'] = [];
  const notes: [key: unknown, engine: EngineName, option: string][] = [
    [given['tags'], 'tensorflow', 'tags'],
    [given['executionProviders'], 'onnxruntime', 'executionProviders'],
    [given['allowProviderFallback'], 'onnxruntime', 'allowProviderFallback'],
    [threads['spin'], 'onnxruntime', 'threads.spin'],
    [threads['affinity'], 'onnxruntime', 'threads.affinity'],
  ];
  for (const [value, engine, option] of notes) {
    if (value !== undefined) onlyFor.push({ engine, option });
  }
  return {
    engine: check.oneOf(given['engine'], 'engine', engineNames),
    signature: check.string(given['signature'], 'signature'),
    tags: given['tags'] === undefined ? undefined : check.strings(given['tags'], 'tags'),
    threads: {
      intraOp: check.integer(threads['intraOp'], 'threads.intraOp', quota, 1, maxThreads),
      interOp:
        threads['interOp'] === undefined
          ? undefined
          : check.integer(threads['interOp'], 'threads.interOp', 1, 1, maxThreads),
      given: {
        intraOp: threads['intraOp'] !== undefined,
        interOp: threads['interOp'] !== undefined,
        spin: threads['spin'] !== undefined,
        affinity: threads['affinity'] !== undefined,
      },
      spin: check.boolean(threads['spin'], 'threads.spin', false),
      affinity: resolveAffinity(threads['affinity'], 'threads.affinity'),
      shared:
        threads['shared'] === undefined
          ? undefined
          : check.boolean(threads['shared'], 'threads.shared', false),
    },
    providers: resolveProviders(given['executionProviders']),
    allowProviderFallback: check.boolean(
      given['allowProviderFallback'],
      'allowProviderFallback',
      false,
    ),
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
    onnxruntime: resolveOnnxRuntimeOptions(given['onnxruntime']),
    tensorflow: resolveTensorFlowOptions(given['tensorflow']),
    onlyFor,
  };
}
