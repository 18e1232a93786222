/** Options of a run: checked as the stock binding does, in Tenon's form. */

import type * as ort from 'onnxruntime-common';

import type { AsyncRunOptions, LogLevel } from '../index.js';
import { rangeError, typeError } from './errors.js';
import { flatten } from './extra.js';

/** The options of onnxruntime-common, all of which are honoured, and Tenon's own. */
export interface RunOptions extends ort.InferenceSession.RunOptions {
  /** Rejects the run with the signal's reason, at once, and tells the engine to stop. */
  signal?: AbortSignal;
  /** Milliseconds after which the run is stopped likewise, with ERR_TENON_TIMEOUT. */
  timeoutMs?: number;
  /** Queued runs of a higher priority go first. Default: 0. */
  priority?: number;
}

const logLevels: readonly LogLevel[] = ['verbose', 'info', 'warning', 'error', 'fatal'];

/** A severity from 0 to 4 by its name. `subject`: "runOptions" or "sessionOptions". */
export function logLevelOf(severity: unknown, subject: string): LogLevel | undefined {
  if (severity === undefined) return undefined;
  const option = `Invalid argument: ${subject}.logSeverityLevel`;
  if (typeof severity !== 'number') throw typeError(`${option} must be a number.`);
  const level = logLevels[severity];
  if (level === undefined) {
    throw rangeError(`${option} must be one of the following: 0, 1, 2, 3, 4.`);
  }
  return level;
}

/** The stock binding never looks at it; the engine takes whole numbers from 0. */
export function logVerbosityOf(verbosity: unknown, subject: string): number | undefined {
  if (verbosity === undefined) return undefined;
  const option = `Invalid argument: ${subject}.logVerbosityLevel`;
  if (typeof verbosity !== 'number') throw typeError(`${option} must be a number.`);
  if (!Number.isInteger(verbosity) || verbosity < 0) {
    throw rangeError(`${option} must be a whole number from 0.`);
  }
  return verbosity;
}

export interface ResolvedRunOptions {
  /** Undefined where nothing is asked for. */
  readonly tenon: AsyncRunOptions | undefined;
  /** The run does not start. */
  readonly terminate: boolean;
  readonly signal: AbortSignal | undefined;
}

const none: ResolvedRunOptions = Object.freeze({
  tenon: undefined,
  terminate: false,
  signal: undefined,
});

/** @throws TypeError, RangeError naming the option. */
export function resolveRunOptions(options: RunOptions | undefined): ResolvedRunOptions {
  if (options === undefined) return none;
  const { logSeverityLevel, logVerbosityLevel, terminate, tag, extra } = options;
  const { signal, timeoutMs, priority } = options;
  const logLevel = logLevelOf(logSeverityLevel, 'runOptions');
  const logVerbosity = logVerbosityOf(logVerbosityLevel, 'runOptions');
  if (tag !== undefined && typeof tag !== 'string') {
    throw typeError('Invalid argument: runOptions.tag must be a string.');
  }
  const configEntries = flatten(extra, 'runOptions');
  if (terminate !== undefined && typeof terminate !== 'boolean') {
    throw typeError('Invalid argument: runOptions.terminate must be a boolean value.');
  }
  const engine = {
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(logVerbosity === undefined ? {} : { logVerbosity }),
    ...(tag === undefined ? {} : { tag }),
    ...(configEntries === undefined ? {} : { configEntries }),
  };
  const tenon: AsyncRunOptions = {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(priority === undefined ? {} : { priority }),
    ...(Object.keys(engine).length === 0 ? {} : { onnxruntime: engine }),
  };
  if (terminate === undefined && Object.keys(tenon).length === 0) return none;
  return { tenon, terminate: terminate === true, signal };
}
