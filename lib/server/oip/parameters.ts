/** What the parameters of an Open Inference Protocol request mean to Tenon. */

import { show } from '../../codec/oip/raw.js';
import { invalid } from '../tfserving/errors.js';

/** JSON has no bigint; protobuf's int64_param and uint64_param are read as such. */
export type ParameterValue = string | number | bigint | boolean;

/** By name. A Map, because clients choose the names. */
export type Parameters = ReadonlyMap<string, ParameterValue>;

export const noParameters: Parameters = new Map();

export interface RequestParameters {
  /** "" is "serving_default". */
  readonly signatureName: string;
  /** As Tenon has them: higher ones go first. Undefined: none was asked for. */
  readonly priority: number | undefined;
  /** Milliseconds that the request may take; undefined: no limit of its own. */
  readonly timeoutMs: number | undefined;
}

/** The level of requests that name none, as if there were three: a 1 goes before, a 3 behind them. */
const defaultPriorityLevel = 2;

/**
 * `signature_name`; `priority`, 1 for the highest, 0 for the default; `timeout` in microseconds, 0
 * for none. Others are passed over.
 *
 * @throws StatusError INVALID_ARGUMENT for one of another type.
 */
export function requestParameters(parameters: Parameters): RequestParameters {
  if (parameters.size === 0) return unasked;
  const signatureName = parameters.get('signature_name') ?? '';
  if (typeof signatureName !== 'string') {
    throw invalid(
      `expected a string for the parameter "signature_name", received ${show(signatureName)}`,
    );
  }
  const level = integerParameter(parameters, 'priority');
  const timeoutMicros = integerParameter(parameters, 'timeout');
  return {
    signatureName,
    priority: level === 0 ? undefined : Math.max(defaultPriorityLevel - level, leastPriority),
    timeoutMs: timeoutMicros === 0 ? undefined : timeoutMicros / 1000,
  };
}

const unasked: RequestParameters = {
  signatureName: '',
  priority: undefined,
  timeoutMs: undefined,
};

const leastPriority = -(2 ** 31);

/** 0 where there is none. */
export function integerParameter(parameters: Parameters, name: string): number {
  const value = parameters.get(name);
  if (value === undefined) return 0;
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number;
  throw invalid(
    `expected an integer of 0 or more for the parameter "${name}", received ${show(value)}`,
  );
}

/**
 * False where there is none.
 *
 * @param of What errors say has the parameter: ` of output "y"`.
 */
export function booleanParameter(parameters: Parameters, name: string, of = ''): boolean {
  const value = parameters.get(name) ?? false;
  if (typeof value === 'boolean') return value;
  throw invalid(`expected true or false for the parameter "${name}"${of}, received ${show(value)}`);
}
