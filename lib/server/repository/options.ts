import type { EngineName, load, LoadOptions } from '../../index.js';
import type { ModelServerConfig } from '../config/model-config.js';
import type { ServedModel } from '../models.js';
import type { Clock } from './clock.js';

/** pino's shape. */
export interface RepositoryLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What is known of a version before it is loaded. */
export interface VersionToLoad {
  readonly version: bigint;
  /** Its folder, or the model's file. */
  readonly path: string;
  readonly engine: EngineName;
}

/** What becomes of the records in `assets.extra/tf_serving_warmup_requests`. */
export interface WarmUp {
  /** The records in the bytes of a TFRecord file, each a serialized tensorflow.serving.PredictionLog. */
  records(file: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /** Runs one on a version that is loaded but not served yet. */
  run(served: ServedModel, record: Uint8Array): Promise<void>;
}

export interface RepositoryOptions {
  readonly config: ModelServerConfig;
  /**
   * How to load a version of the model; `validateShapes` is false whatever it says. Called for each
   * load. Default: none.
   */
  readonly loadOptions?: (
    name: string,
    version: VersionToLoad,
  ) => LoadOptions | Promise<LoadOptions>;
  /** Seconds between two looks at a base path; 0: only once, and at each reload. Default: 1. */
  readonly pollIntervalSeconds?: number;
  /** Tries after the first that failed. Default: 5. */
  readonly maxLoadRetries?: number;
  /** Milliseconds between two tries. Default: 60000. */
  readonly loadRetryIntervalMs?: number;
  /** What the interval is multiplied with after each try. Default: 1. */
  readonly loadRetryBackoff?: number;
  /**
   * Loads at the same time. One that takes longer than ten seconds gives its place to another.
   * Default, and 0: the CPUs there are, at most 4.
   */
  readonly loadThreads?: number;
  /** Default: versions are served without a warm-up. */
  readonly warmUp?: WarmUp | undefined;
  /** Labels that are not in use may be given to versions that are not loaded. Default: false. */
  readonly allowLabelsForUnavailable?: boolean;
  /** Milliseconds that `reload()` waits for models at most. Default: 300000. */
  readonly reloadTimeoutMs?: number;
  readonly log: RepositoryLog;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** What loads models. Default: `load` of the library. */
  readonly load?: typeof load;
}

export type ResolvedRepositoryOptions = Required<Omit<RepositoryOptions, 'config' | 'warmUp'>> & {
  readonly warmUp: RepositoryOptions['warmUp'];
};
