/** TensorFlow's options: checked, and encoded as the ConfigProto that the engine takes. */

import { invalidArgument } from '../errors.js';
import type { NativeTensorFlowRunOptions } from '../native/types.js';
import * as check from '../options.js';
import {
  ConfigProto,
  GPUOptions,
  GraphOptions,
  OptimizerOptions,
  OptimizerOptionsGlobalJitLevel,
  OptimizerOptionsLevel,
  RewriterConfig,
  RewriterConfigCpuLayout,
  RewriterConfigMemOptType,
  RewriterConfigToggle,
} from '../protobuf/tensorflow-config.js';

/** How one rewrite of the graph is done; 'aggressive' where that rewrite has such a mode. */
export type RewriteMode = 'default' | 'on' | 'off' | 'aggressive';

const rewriteModes: Readonly<Record<RewriteMode, number>> = {
  default: RewriterConfigToggle.DEFAULT,
  on: RewriterConfigToggle.ON,
  off: RewriterConfigToggle.OFF,
  aggressive: RewriterConfigToggle.AGGRESSIVE,
};

const rewrites = [
  'layoutOptimizer',
  'constantFolding',
  'shapeOptimization',
  'remapping',
  'commonSubgraphElimination',
  'arithmeticOptimization',
  'dependencyOptimization',
  'loopOptimization',
  'functionOptimization',
  'debugStripper',
  'scopedAllocatorOptimization',
  'pinToHostOptimization',
  'implementationSelector',
  'autoMixedPrecision',
  'autoMixedPrecisionMkl',
  'autoMixedPrecisionOnednnBfloat16',
  'autoMixedPrecisionCpu',
  'usePluginOptimizers',
  'experimentalConditionalCodeMotion',
] as const satisfies readonly (keyof RewriterConfig)[];

const rewriterFlags = [
  'disableMetaOptimizer',
  'disableModelPruning',
  'disableTfgOptimizer',
  'failOnOptimizerErrors',
  'experimentalDisableCompressedTensorOptimization',
  'experimentalDisableFoldingQuantizationEmulation',
] as const satisfies readonly (keyof RewriterConfig)[];

const cpuLayouts = {
  none: RewriterConfigCpuLayout.NO_CONVERSION_ON_CPU,
  nchwToNhwc: RewriterConfigCpuLayout.NCHW_TO_NHWC,
  nhwcToNchw: RewriterConfigCpuLayout.NHWC_TO_NCHW,
} as const;

const memoryOptimizations = {
  default: RewriterConfigMemOptType.DEFAULT_MEM_OPT,
  off: RewriterConfigMemOptType.NO_MEM_OPT,
  manual: RewriterConfigMemOptType.MANUAL,
  heuristics: RewriterConfigMemOptType.HEURISTICS,
  swapping: RewriterConfigMemOptType.SWAPPING_HEURISTICS,
  recomputation: RewriterConfigMemOptType.RECOMPUTATION_HEURISTICS,
  scheduling: RewriterConfigMemOptType.SCHEDULING_HEURISTICS,
} as const;

const jitLevels = {
  off: OptimizerOptionsGlobalJitLevel.OFF,
  on1: OptimizerOptionsGlobalJitLevel.ON_1,
  on2: OptimizerOptionsGlobalJitLevel.ON_2,
} as const;

const optimizerLevels = { L0: OptimizerOptionsLevel.L0, L1: OptimizerOptionsLevel.L1 } as const;

/** tensorflow.RewriterConfig: what Grappler does to a graph before it runs. */
export type TensorFlowRewriterOptions = {
  readonly [name in (typeof rewrites)[number]]?: RewriteMode;
} & { readonly [name in (typeof rewriterFlags)[number]]?: boolean } & {
  /** Default: 'none'. */
  readonly cpuLayoutConversion?: keyof typeof cpuLayouts;
  /** Default: 'default'. */
  readonly memoryOptimization?: keyof typeof memoryOptimizations;
  /** 1 or 2. Default: the engine's, 2. */
  readonly metaOptimizerIterations?: number;
  /** Milliseconds. Default: the engine's, five minutes. */
  readonly metaOptimizerTimeoutMs?: number;
  /** Graphs of fewer nodes are left alone; -1 for none. Default: the engine's, 4. */
  readonly minGraphNodes?: number;
};

export interface TensorFlowLoadOptions {
  /** The library to open, before every other place it is looked for. */
  library?: string;
  /** Paths of custom-op libraries, loaded before the graph; they stay for the process. */
  opLibraries?: readonly string[];
  /**
   * A serialized ConfigProto. It is laid over everything else here: a field that it sets wins, and
   * lists and maps are joined.
   */
  config?: Uint8Array;
  /** Frozen graphs only: inputs, as tensors ("x:0") or as names for tensors. */
  inputs?: readonly string[] | Readonly<Record<string, string>>;
  /** Frozen graphs only: outputs, as `inputs`. */
  outputs?: readonly string[] | Readonly<Record<string, string>>;
  /** An operation goes to another device where its own lacks it. Default: false. */
  allowSoftPlacement?: boolean;
  /**
   * Writes to stderr which device each operation goes to, at level "info": set
   * TF_CPP_MIN_LOG_LEVEL=0 in the environment to see it. Default: false.
   */
  logDevicePlacement?: boolean;
  /** How many devices of a kind to use at most: { GPU: 0 } leaves all GPUs alone. */
  deviceCount?: Readonly<Record<string, number>>;
  /** Milliseconds that a blocking operation of a run may take. Default: 0, no bound. */
  operationTimeoutMs?: number;
  gpu?: {
    /**
     * Share of each GPU's memory to take, from 0 to 1; above 1 lets it overflow into host memory.
     * Default: the engine's, nearly all. The process's first session fixes it.
     */
    memoryFraction?: number;
    /** Takes memory as it is needed, not at once. The process's first session fixes it. */
    allowGrowth?: boolean;
    /** Numbers of the GPUs to use, as "/device:GPU:0" and on. Default: all, in their own order. */
    visibleDevices?: readonly number[];
    /** "BFC", or "" for the engine's choice. */
    allocatorType?: string;
    /** All host memory is pinned for the GPU, at the price of allocation. Default: false. */
    forceCompatible?: boolean;
  };
  /** XLA compiles clusters of the graph when they first run. Default: the engine's, off. */
  globalJitLevel?: keyof typeof jitLevels;
  /** XLA compiles for CPUs too (TensorFlow 2.21 does then, whatever globalJitLevel). Default: false. */
  cpuGlobalJit?: boolean;
  /** Common subexpressions, constant folding: 'L1' does, 'L0' does not. Default: 'L1'. */
  optimizerLevel?: keyof typeof optimizerLevels;
  /** The graph's rewriter (Grappler): false switches it off altogether. */
  rewriter?: boolean | TensorFlowRewriterOptions;
}

/** What TensorFlow is told of one run, or of every run of a binding. */
export interface TensorFlowRunOptions {
  /**
   * Milliseconds after which the engine ends the run by itself, with ERR_TENON_RUN and `engineCode`
   * 4, when it next looks: between two operations. Unlike `timeoutMs` of a run it says nothing
   * before that, and then leaves the lane free. Default: `operationTimeoutMs`.
   */
  timeoutMs?: number;
  /** Records what each operation of the run took, and on which thread and device. */
  trace?: {
    /**
     * The file to write when the run has gone well; one that is there is replaced. If the name ends
     * in `.pb` it is a serialized tensorflow.RunMetadata, which has memory and shapes, too;
     * otherwise it is JSON in the format of Chrome's trace viewer and Perfetto.
     */
    file: string;
    /**
     * What GPUs did, too: kernels and copies. Only one run of the process can be recorded so at a
     * time; another one is ERR_TENON_RUN. Default: false.
     */
    hardware?: boolean;
  };
}

export interface ResolvedTensorFlowOptions {
  library: string | undefined;
  opLibraries: string[];
  /** The typed options and then `config`, serialized. */
  config: Uint8Array;
  /** Thread counts that `config` names, which win over `threads`. */
  configThreads: { intraOp: number | undefined; interOp: number | undefined };
  inputs: [name: string, tensor: string][];
  outputs: [name: string, tensor: string][];
}

const options = [
  'library',
  'opLibraries',
  'config',
  'inputs',
  'outputs',
  'allowSoftPlacement',
  'logDevicePlacement',
  'deviceCount',
  'operationTimeoutMs',
  'gpu',
  'globalJitLevel',
  'cpuGlobalJit',
  'optimizerLevel',
  'rewriter',
] as const satisfies readonly (keyof TensorFlowLoadOptions)[];

/** @throws ERR_TENON_INVALID_ARGUMENT naming the option. */
export function resolveTensorFlowOptions(given: unknown): ResolvedTensorFlowOptions {
  const tensorflow = check.checkOptions(given, 'tensorflow', options);
  const raw = tensorflow['config'] ?? new Uint8Array();
  if (Object.prototype.toString.call(raw) !== '[object Uint8Array]') {
    throw invalidArgument('tensorflow.config', 'a Uint8Array', raw);
  }
  const own = ConfigProto.decode(raw as Uint8Array, { subject: 'tensorflow.config' });
  const typed = encodeConfig(tensorflow);
  const config = new Uint8Array(typed.byteLength + (raw as Uint8Array).byteLength);
  // Protobuf merges concatenated messages, the later one winning.
  config.set(typed);
  config.set(raw as Uint8Array, typed.byteLength);
  return {
    library: check.string(tensorflow['library'], 'tensorflow.library'),
    opLibraries: check.strings(tensorflow['opLibraries'], 'tensorflow.opLibraries'),
    config,
    configThreads: {
      intraOp: own.intraOpParallelismThreads || undefined,
      interOp: own.interOpParallelismThreads || undefined,
    },
    inputs: graphTensors(tensorflow['inputs'], 'tensorflow.inputs'),
    outputs: graphTensors(tensorflow['outputs'], 'tensorflow.outputs'),
  };
}

const runOptions = [
  'timeoutMs',
  'trace',
] as const satisfies readonly (keyof TensorFlowRunOptions)[];

/**
 * Undefined where nothing is asked for.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option.
 */
export function resolveTensorFlowRunOptions(
  given: unknown,
): NativeTensorFlowRunOptions | undefined {
  const tensorflow = check.checkOptions(given, 'tensorflow', runOptions);
  if (runOptions.every((option) => tensorflow[option] === undefined)) return undefined;
  const trace = check.checkOptions(tensorflow['trace'], 'tensorflow.trace', ['file', 'hardware']);
  return {
    engine: 'tensorflow',
    timeoutMs: check.integer(tensorflow['timeoutMs'], 'tensorflow.timeoutMs', 0, 0),
    tracePath:
      tensorflow['trace'] === undefined
        ? ''
        : check.requiredPath(trace['file'], 'tensorflow.trace.file'),
    traceHardware: check.boolean(trace['hardware'], 'tensorflow.trace.hardware', false),
  };
}

function encodeConfig(given: Record<string, unknown>): Uint8Array {
  const config: Partial<ConfigProto> = {
    allowSoftPlacement: flag(given, 'allowSoftPlacement', 'tensorflow'),
    logDevicePlacement: flag(given, 'logDevicePlacement', 'tensorflow'),
    deviceCount: new Map(
      check.entries(given['deviceCount'], 'tensorflow.deviceCount', (value, name) =>
        check.integer(value, name, 0, 0),
      ),
    ),
    operationTimeoutInMs: BigInt(
      check.integer(given['operationTimeoutMs'], 'tensorflow.operationTimeoutMs', 0, 0),
    ),
    gpuOptions: gpuOptions(given['gpu']),
    graphOptions: graphOptions(given),
  };
  return ConfigProto.encode(config);
}

function gpuOptions(given: unknown): GPUOptions | undefined {
  if (given === undefined) return undefined;
  const gpu = check.checkOptions(given, 'tensorflow.gpu', [
    'memoryFraction',
    'allowGrowth',
    'visibleDevices',
    'allocatorType',
    'forceCompatible',
  ]);
  const fraction = gpu['memoryFraction'] ?? 0;
  if (typeof fraction !== 'number' || !(fraction >= 0) || fraction === Infinity) {
    throw invalidArgument('tensorflow.gpu.memoryFraction', 'a number from 0', fraction);
  }
  const visible: unknown = gpu['visibleDevices'] ?? [];
  if (!Array.isArray(visible)) {
    throw invalidArgument('tensorflow.gpu.visibleDevices', 'an array of integers', visible);
  }
  return GPUOptions.create({
    perProcessGpuMemoryFraction: fraction,
    allowGrowth: flag(gpu, 'allowGrowth', 'tensorflow.gpu'),
    visibleDeviceList: visible
      .map((device: unknown, index) =>
        check.integer(device, `tensorflow.gpu.visibleDevices[${index}]`, 0, 0),
      )
      .join(','),
    allocatorType: check.string(gpu['allocatorType'], 'tensorflow.gpu.allocatorType') ?? '',
    forceGpuCompatible: flag(gpu, 'forceCompatible', 'tensorflow.gpu'),
  });
}

function graphOptions(given: Record<string, unknown>): GraphOptions | undefined {
  const jit = check.choice(given['globalJitLevel'], 'tensorflow.globalJitLevel', jitLevels);
  const level = check.choice(given['optimizerLevel'], 'tensorflow.optimizerLevel', optimizerLevels);
  const cpuGlobalJit = flag(given, 'cpuGlobalJit', 'tensorflow');
  const rewriteOptions = rewriterConfig(given['rewriter']);
  const optimizes = jit !== undefined || level !== undefined || cpuGlobalJit;
  if (!optimizes && rewriteOptions === undefined) return undefined;
  return GraphOptions.create({
    optimizerOptions: optimizes
      ? OptimizerOptions.create({
          globalJitLevel: jit ?? OptimizerOptionsGlobalJitLevel.DEFAULT,
          optLevel: level ?? OptimizerOptionsLevel.L1,
          cpuGlobalJit,
        })
      : undefined,
    rewriteOptions,
  });
}

function rewriterConfig(given: unknown): RewriterConfig | undefined {
  if (given === undefined || given === true) return undefined;
  if (given === false) return RewriterConfig.create({ disableMetaOptimizer: true });
  const subject = 'tensorflow.rewriter';
  const rewriter = check.checkOptions(given, subject, [
    ...rewrites,
    ...rewriterFlags,
    'cpuLayoutConversion',
    'memoryOptimization',
    'metaOptimizerIterations',
    'metaOptimizerTimeoutMs',
    'minGraphNodes',
  ]);
  const config = RewriterConfig.create({
    cpuLayoutConversion:
      check.choice(rewriter['cpuLayoutConversion'], `${subject}.cpuLayoutConversion`, cpuLayouts) ??
      RewriterConfigCpuLayout.NO_CONVERSION_ON_CPU,
    memoryOptimization:
      check.choice(
        rewriter['memoryOptimization'],
        `${subject}.memoryOptimization`,
        memoryOptimizations,
      ) ?? RewriterConfigMemOptType.DEFAULT_MEM_OPT,
    // NumIterationsType counts from 1 as well.
    metaOptimizerIterations: check.integer(
      rewriter['metaOptimizerIterations'],
      `${subject}.metaOptimizerIterations`,
      0,
      1,
      2,
    ),
    metaOptimizerTimeoutMs: BigInt(
      check.integer(rewriter['metaOptimizerTimeoutMs'], `${subject}.metaOptimizerTimeoutMs`, 0, -1),
    ),
    minGraphNodes: check.integer(rewriter['minGraphNodes'], `${subject}.minGraphNodes`, 0, -1),
  });
  for (const name of rewrites) {
    config[name] = check.choice(rewriter[name], `${subject}.${name}`, rewriteModes) ?? 0;
  }
  for (const name of rewriterFlags) config[name] = flag(rewriter, name, subject);
  return config;
}

function flag(given: Record<string, unknown>, name: string, subject: string): boolean {
  return check.boolean(given[name], `${subject}.${name}`, false);
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
