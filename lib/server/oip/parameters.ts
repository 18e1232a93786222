/** What the parameters of an Open Inference Protocol request mean to Tenon. */

import { integerParameter, type Parameters, stringParameter } from '../../codec/oip/parameters.js';

export interface RequestParameters {
  /** "" is "serving_default", or the model's one signature. */
  readonly signatureName: string;
  /** As Tenon has them: higher ones go first. Undefined: none was asked for. */
  readonly priority: number | undefined;
  /** Milliseconds that the request may take; undefined: no limit of its own. */
  readonly timeoutMs: number | undefined;
}

/** The level of requests that name none, as if there were three: a 1 goes before, a 3 behind them. */
const defaultPriorityLevel = 2;
const leastPriority = -(2 ** 31);

const unasked: RequestParameters = {
  signatureName: '',
  priority: undefined,
  timeoutMs: undefined,
};

/**
 * `signature_name`; `priority`, 1 for the highest, 0 for the default; `timeout` in microseconds, 0
 * for none. Others are passed over.
 *
 * @throws StatusError INVALID_ARGUMENT for one of another type.
 */
export function requestParameters(parameters: Parameters): RequestParameters {
  if (parameters.size === 0) return unasked;
  const level = integerParameter(parameters, 'priority');
  const timeoutMicros = integerParameter(parameters, 'timeout');
  return {
    signatureName: stringParameter(parameters, 'signature_name'),
    priority: level === 0 ? undefined : Math.max(defaultPriorityLevel - level, leastPriority),
    timeoutMs: timeoutMicros === 0 ? undefined : timeoutMicros / 1000,
  };
}
