import {
  type LogLevel,
  logLevels,
  resolveAffinity,
  type ThreadAffinity,
} from './engines/options-onnxruntime.js';
import { invalidArgument } from './errors.js';
import { nativeAddon } from './native/load.js';
import type { NativeConfiguration, NativeLogRecord } from './native/types.js';
import { boolean, checkOptions, entries, integer, oneOf, path } from './options.js';

/** One record of ONNX Runtime's log. */
export interface LogRecord {
  readonly level: LogLevel;
  /** "onnxruntime", or "tenon" for what is said of the log itself. */
  readonly category: string;
  /** The session's `logId`, or "tenon". */
  readonly logId: string;
  /** Where in the engine: file, line, function. */
  readonly location: string;
  readonly message: string;
}

export interface ConfigureOptions {
  onnxruntime?: {
    /**
     * The least severe records of ONNX Runtime's log. Default: 'error' where a `logger` takes them,
     * else 'fatal', because a failed call is an error of its own and needs no line on stderr.
     */
    logLevel?: LogLevel;
    /**
     * Gets the log instead of stderr, on the thread that calls `configure`, some time after a
     * record was written: the engine never waits for it, and drops what comes while 4096 records
     * wait (a record of category "tenon" then tells how many). One function for the process: a
     * later one takes the place of an earlier one, and after the end of its thread, or after
     * `null`, the log goes to stderr.
     */
    logger?: ((record: LogRecord) => void) | null;
    /**
     * Lets ONNX Runtime collect telemetry, which its official builds from 1.29 on would do by
     * default. Default: false.
     */
    telemetry?: boolean;
    /**
     * Thread pools for all sessions of the process, which have none of their own then (see
     * `threads.shared` of `load`). Default: none, each session has its own.
     */
    globalThreadPools?: {
      /** Threads that share one operation. Default: the CPU quota. */
      intraOp?: number;
      /** Operations side by side. Default: 1. */
      interOp?: number;
      /** Idle threads spin, which costs CPU between runs. Default: false. */
      spin?: boolean;
      /** CPUs for each intra-op thread but the first, as `threads.affinity` of `load`. */
      affinity?: ThreadAffinity;
      /** Denormal numbers count as zero. Default: false. */
      denormalAsZero?: boolean;
    };
    /**
     * Paths of libraries of execution providers that are not built in, by the name to register
     * them under. ONNX Runtime 1.22 and later; more can be added at any time.
     */
    providerLibraries?: Readonly<Record<string, string>>;
  };
  tensorflow?: {
    /**
     * Each session has thread pools of its own, sized by its `threads`, instead of the two pools
     * that TensorFlow's first session makes for the process. Default: false.
     */
    perSessionThreads?: boolean;
  };
}

/**
 * Settings that an engine fixes once for the process: they hold for all of its threads, whichever
 * sets them. Call it before the first `load()`.
 *
 * @throws ERR_TENON_CONFIGURE for a value other than the one in force, after the engine was opened;
 *   ERR_TENON_INVALID_ARGUMENT.
 */
export function configure(options: ConfigureOptions): void {
  const given = checkOptions(options, 'configure', ['onnxruntime', 'tensorflow']);
  const native: NativeConfiguration = {};
  let logger: unknown;
  if (given['onnxruntime'] !== undefined) {
    const onnx = checkOptions(given['onnxruntime'], 'configure.onnxruntime', [
      'logLevel',
      'logger',
      'telemetry',
      'globalThreadPools',
      'providerLibraries',
    ]);
    logger = onnx['logger'];
    if (logger !== undefined && logger !== null && typeof logger !== 'function') {
      throw invalidArgument('onnxruntime.logger', 'a function or null', logger);
    }
    const level = oneOf(onnx['logLevel'], 'onnxruntime.logLevel', logLevels);
    const telemetry = onnx['telemetry'];
    native.onnxruntime = {
      logSeverity: severityOf(level, typeof logger === 'function'),
      telemetry:
        telemetry === undefined ? undefined : boolean(telemetry, 'onnxruntime.telemetry', false),
      logger: typeof logger === 'function',
      globalThreadPools: globalThreadPools(onnx['globalThreadPools']),
      providerLibraries: entries(
        onnx['providerLibraries'],
        'onnxruntime.providerLibraries',
        (value, name) => path(value ?? '', name) as string,
      ),
    };
  }
  if (given['tensorflow'] !== undefined) {
    const { perSessionThreads } = checkOptions(given['tensorflow'], 'configure.tensorflow', [
      'perSessionThreads',
    ]);
    native.tensorflow = {
      perSessionThreads:
        perSessionThreads === undefined
          ? undefined
          : boolean(perSessionThreads, 'tensorflow.perSessionThreads', false),
    };
  }
  const addon = nativeAddon();
  addon.configure(native);
  if (logger === null) addon.setLogger(null);
  else if (logger !== undefined) addon.setLogger(deliverTo(logger as (record: LogRecord) => void));
}

function globalThreadPools(
  given: unknown,
): NonNullable<NativeConfiguration['onnxruntime']>['globalThreadPools'] {
  if (given === undefined) return undefined;
  const subject = 'onnxruntime.globalThreadPools';
  const pools = checkOptions(given, subject, [
    'intraOp',
    'interOp',
    'spin',
    'affinity',
    'denormalAsZero',
  ]);
  const threads = (name: string, fallback: number): number =>
    integer(pools[name], `${subject}.${name}`, fallback, 1, 1024);
  return {
    intraOpThreads: threads('intraOp', nativeAddon().cpuQuota()),
    interOpThreads: threads('interOp', 1),
    spin: boolean(pools['spin'], `${subject}.spin`, false),
    affinity: resolveAffinity(pools['affinity'], `${subject}.affinity`),
    denormalAsZero: boolean(pools['denormalAsZero'], `${subject}.denormalAsZero`, false),
  };
}

function severityOf(level: LogLevel | undefined, hasLogger: boolean): number | undefined {
  if (level !== undefined) return logLevels.indexOf(level);
  return hasLogger ? logLevels.indexOf('error') : undefined;
}

/** What the addon calls with everything that was written since it last did. */
function deliverTo(
  logger: (record: LogRecord) => void,
): (records: readonly NativeLogRecord[], dropped: number) => void {
  return (records, dropped) => {
    const errors: unknown[] = [];
    const deliver = (record: LogRecord): void => {
      try {
        logger(record);
      } catch (error) {
        // The records behind it are still delivered.
        errors.push(error);
      }
    };
    for (const [severity, category, logId, location, message] of records) {
      deliver({ level: logLevels[severity] ?? 'fatal', category, logId, location, message });
    }
    if (dropped > 0) {
      deliver({
        level: 'warning',
        category: 'tenon',
        logId: 'tenon',
        location: '',
        message: `${dropped} records of the log were dropped here: they came faster than they were taken`,
      });
    }
    // As what any other callback throws: an uncaught exception.
    if (errors.length > 0) throw errors[0];
  };
}
