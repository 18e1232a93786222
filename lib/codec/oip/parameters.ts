import { StatusError } from '../status.js';
import { show } from './raw.js';

/** JSON has no bigint; protobuf's int64_param and uint64_param are read as such. */
export type ParameterValue = string | number | bigint | boolean;

/** By name. A Map, because clients choose the names. */
export type Parameters = ReadonlyMap<string, ParameterValue>;

export const noParameters: Parameters = new Map();

/**
 * Parameters as JSON has them; undefined and null are none.
 *
 * @param of What errors say has them: ` of the request`.
 * @throws StatusError INVALID_ARGUMENT for what is no string, number, true or false.
 */
export function parametersOf(value: unknown, of: string): Parameters {
  if (value === undefined || value === null) return noParameters;
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new StatusError(
      'INVALID_ARGUMENT',
      `expected an object as the "parameters"${of}, received ${show(value)}`,
    );
  }
  const parameters = new Map<string, string | number | boolean>();
  for (const [name, each] of Object.entries(value)) {
    if (typeof each !== 'string' && typeof each !== 'number' && typeof each !== 'boolean') {
      throw new StatusError(
        'INVALID_ARGUMENT',
        `expected a string, a number, true or false for the parameter "${name}"${of}, received ${show(each)}`,
      );
    }
    parameters.set(name, each);
  }
  return parameters;
}

/**
 * 0 where there is none.
 *
 * @param of What errors say has the parameter: ` of output "y"`.
 * @throws StatusError INVALID_ARGUMENT
 */
export function integerParameter(parameters: Parameters, name: string, of = ''): number {
  const value = parameters.get(name);
  if (value === undefined) return 0;
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number;
  throw wrong('an integer of 0 or more', name, of, value);
}

/**
 * Undefined where there is none.
 *
 * @throws StatusError INVALID_ARGUMENT
 */
export function booleanParameter(
  parameters: Parameters,
  name: string,
  of = '',
): boolean | undefined {
  const value = parameters.get(name);
  if (value === undefined || typeof value === 'boolean') return value;
  throw wrong('true or false', name, of, value);
}

/**
 * "" where there is none.
 *
 * @throws StatusError INVALID_ARGUMENT
 */
export function stringParameter(parameters: Parameters, name: string, of = ''): string {
  const value = parameters.get(name) ?? '';
  if (typeof value === 'string') return value;
  throw wrong('a string', name, of, value);
}

function wrong(expected: string, name: string, of: string, value: ParameterValue): StatusError {
  return new StatusError(
    'INVALID_ARGUMENT',
    `expected ${expected} for the parameter "${name}"${of}, received ${show(value)}`,
  );
}
