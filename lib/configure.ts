import { TenonError } from './errors.js';
import { boolean, checkOptions, oneOf } from './options.js';

/** Severities of the engines' logs, quietest last. */
export const logLevels = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;

export interface ConfigureOptions {
  onnxruntime?: {
    /**
     * What ONNX Runtime writes to stderr. Default: 'error', because a failed call is an error of
     * its own and needs no warning beside it.
     */
    logLevel?: (typeof logLevels)[number];
    /**
     * Lets ONNX Runtime collect telemetry, which its official builds from 1.29 on would do by
     * default. Default: false.
     */
    telemetry?: boolean;
  };
}

export interface ProcessSettings {
  readonly logSeverity: number;
  readonly telemetry: boolean;
}

let settings: ProcessSettings = { logSeverity: logLevels.indexOf('error'), telemetry: false };
let frozen = false;

/**
 * Settings an engine fixes once for the process. Call it before the first `load()`.
 *
 * @throws ERR_TENON_CONFIGURE for a value that conflicts with the one in force after a model was
 *   loaded; ERR_TENON_INVALID_ARGUMENT.
 */
export function configure(options: ConfigureOptions): void {
  const { onnxruntime } = checkOptions(options, 'configure', ['onnxruntime']);
  const checked = checkOptions(onnxruntime, 'configure.onnxruntime', ['logLevel', 'telemetry']);
  const level = oneOf(checked['logLevel'], 'onnxruntime.logLevel', logLevels);
  const next: ProcessSettings = {
    logSeverity: level === undefined ? settings.logSeverity : logLevels.indexOf(level),
    telemetry: boolean(checked['telemetry'], 'onnxruntime.telemetry', settings.telemetry),
  };
  const isSame = next.logSeverity === settings.logSeverity && next.telemetry === settings.telemetry;
  if (frozen && !isSame) {
    throw new TenonError(
      'ERR_TENON_CONFIGURE',
      'expected configure() before the first load(), received other settings after it: the engine has taken the old ones for the whole process',
    );
  }
  settings = next;
}

/** The settings in force, from now on fixed. */
export function freezeSettings(): ProcessSettings {
  frozen = true;
  return settings;
}
