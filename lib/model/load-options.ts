import {
  type BatchingOptions,
  type ResolvedBatching,
  resolveBatching,
} from '../batching/options.js';
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
import { invalidArgument, TenonError } from '../errors.js';
import type { EngineName, NativePool, NativeProvider } from '../native/types.js';
import * as check from '../options.js';
import {
  defaultNiceness,
  maxLanes,
  maxNiceness,
  maxSpinMicros,
  type Pool,
  sharedLanes,
} from './pool.js';
import type { SessionReplacement } from '../pool/session-pool.js';
import type { FeedValue } from './types.js';

export interface PoolOptions {
  /**
   * Runs at the same time, in each session. Default: the CPU quota, at most 8, divided among the
   * sessions.
   */
  lanes?: number;
  /**
   * Lanes that the model shares with others, from `createPool`, instead of lanes of its own; all its
   * sessions run on them.
   */
  shared?: Pool;
  /**
   * Share of the lanes' time among the models of a shared pool that have work, as measured: of two
   * with weights 3 and 1 the first gets three quarters. From 1 to 10000. Default: 1.
   */
  weight?: number;
  /**
   * Microseconds that a lane without work looks for some before it sleeps. At most one lane does,
   * and only after a run, so an idle model costs no CPU. Default: 0.
   */
  spinMicros?: number;
  /** Runs that may wait for a lane of a session; one more is ERR_TENON_QUEUE_FULL. Default: 16384. */
  maxQueue?: number;
  /**
   * How often the engine loads the model. Lanes over one session are the better pool as long as
   * sessions need not be apart. From three on ONNX Runtime's share weights where they can on the
   * CPU; TensorFlow's hold a copy each. Default: 1.
   */
  sessions?: number;
  /**
   * Runs that each session has to pass before it takes others: one with these feeds for the default
   * signature, or so many with zeros for every input of numbers (1 where the model leaves a size
   * open). One that fails is the load's failure. Default: none.
   */
  warmup?: Readonly<Record<string, FeedValue>> | number;
  /**
   * Of several sessions: after so many runs in a row that the engine failed, a session takes no
   * more of them and is loaded anew. Callers' mistakes and stopped runs do not count. 0: never.
   * Default: 5.
   */
  maxFailures?: number;
  /** Called when a session was loaded anew, and when that was given up. */
  onSessionReplaced?: (replacement: SessionReplacement) => void;
}

export interface LoadOptions {
  /**
   * A file with options, as `tenon tune` writes it. Those given beside it win, one by one within
   * `threads`, `pool`, `batching` and `onnxruntime`. ERR_TENON_CONFIG where it is no such file.
   */
  config?: string | URL;
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
  /** Native threads that call the engine for this model, and sessions of the engine. */
  pool?: PoolOptions;
  /**
   * Makes one call of the engine of runs that come at the same time. `true` takes the defaults,
   * 'auto' learns how large batches may be; see BatchingOptions. Default: false.
   */
  batching?: boolean | 'auto' | BatchingOptions;
  /**
   * Where asynchronous runs happen: 'auto' runs on the calling thread what is measured to take less
   * time than handing it to a lane would (70 µs at most; of a batch, 200 µs); 'never' always uses a
   * lane. Default: 'auto'.
   */
  inline?: 'auto' | 'never';
  /**
   * How far the model's native threads, lanes of its own and the engine's, give way to the process's
   * other threads, the event loop's above all, when there are more than CPUs: steps of Linux's nice
   * below what the process has, from 0 (not at all) to 19; no other system has it. Threads of the
   * process's own pools stay as they were started. Default: 5.
   */
  niceness?: number;
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
  sharedPool: NativePool | undefined;
  weight: number;
  spinMicros: number;
  niceness: number;
  maxQueue: number;
  sessions: number;
  warmup: Readonly<Record<string, FeedValue>> | number;
  maxFailures: number;
  onSessionReplaced: ((replacement: SessionReplacement) => void) | undefined;
  batching: ResolvedBatching | undefined;
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
const defaultMaxFailures = 5;
const maxSessions = 64;
const maxWeight = 10_000;
const maxWarmupRuns = 1000;

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
    'batching',
    'inline',
    'niceness',
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
  const pool = check.checkOptions(given['pool'], 'pool', [
    'lanes',
    'maxQueue',
    'shared',
    'weight',
    'spinMicros',
    'sessions',
    'warmup',
    'maxFailures',
    'onSessionReplaced',
  ]);
  const sessions = check.integer(pool['sessions'], 'pool.sessions', 1, 1, maxSessions);
  const sharedPool = sharedLanes(pool['shared']);
  for (const name of sharedPool === undefined ? ['weight'] : ['lanes', 'spinMicros']) {
    if (pool[name] === undefined) continue;
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      sharedPool === undefined
        ? `expected no pool.${name} without pool.shared: lanes of the model's own are not divided`
        : `expected no pool.${name} beside pool.shared, received both: a shared pool has its own`,
    );
  }
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
    lanes:
      sharedPool === undefined
        ? check.integer(
            pool['lanes'],
            'pool.lanes',
            Math.max(1, Math.floor(Math.min(quota, defaultMaxLanes) / sessions)),
            1,
            maxLanes,
          )
        : (pool['shared'] as Pool).lanes,
    sharedPool,
    weight: check.integer(pool['weight'], 'pool.weight', 1, 1, maxWeight),
    spinMicros: check.integer(pool['spinMicros'], 'pool.spinMicros', 0, 0, maxSpinMicros),
    niceness: check.integer(given['niceness'], 'niceness', defaultNiceness, 0, maxNiceness),
    maxQueue: check.integer(pool['maxQueue'], 'pool.maxQueue', defaultMaxQueue, 0),
    sessions,
    warmup: resolveWarmup(pool['warmup']),
    maxFailures:
      check.integer(pool['maxFailures'], 'pool.maxFailures', defaultMaxFailures, 0) || Infinity,
    onSessionReplaced: check.callback(pool['onSessionReplaced'], 'pool.onSessionReplaced'),
    batching: resolveBatching(given['batching']),
    allowInline: check.oneOf(given['inline'], 'inline', ['auto', 'never']) !== 'never',
    validateShapes: check.boolean(given['validateShapes'], 'validateShapes', true),
    onnxruntime: resolveOnnxRuntimeOptions(given['onnxruntime']),
    tensorflow: resolveTensorFlowOptions(given['tensorflow']),
    onlyFor,
  };
}

function resolveWarmup(value: unknown): ResolvedLoadOptions['warmup'] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, FeedValue>>;
  }
  if (value !== undefined && typeof value !== 'number') {
    throw invalidArgument('pool.warmup', 'feeds by name or a number of runs', value);
  }
  return check.integer(value, 'pool.warmup', 0, 0, maxWarmupRuns);
}
