/** Checks of option objects: every key is known and of the right type, or an error names it. */

import { describe, invalidArgument, TenonError } from './errors.js';

/**
 * @throws ERR_TENON_INVALID_ARGUMENT for anything but an object, and for a key that is not in
 *   `known`: a misspelt option is never dropped.
 */
export function checkOptions(
  options: unknown,
  subject: string,
  known: readonly string[],
): Record<string, unknown> {
  if (options === undefined) return {};
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgument(subject, 'an options object', options);
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected the options ${known.join(', ')} in ${subject}, received "${key}"`,
      );
    }
  }
  return options as Record<string, unknown>;
}

/** `over` on top of `under`: groups (objects) option by option, everything else as a whole. */
export function overlaid<T extends object>(under: T, over: T): T {
  const result = { ...under } as Record<string, unknown>;
  for (const [name, value] of Object.entries(over) as [string, unknown][]) {
    if (value === undefined) continue;
    const below = result[name];
    result[name] = isGroup(value) && isGroup(below) ? { ...below, ...value } : value;
  }
  return result as T;
}

function isGroup(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function integer(
  value: unknown,
  name: string,
  fallback: number,
  minimum: number,
  maximum = 2 ** 31 - 1,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < minimum || value > maximum) {
    throw invalidArgument(name, `an integer from ${minimum} to ${maximum}`, value);
  }
  return value;
}

export function boolean(value: unknown, name: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw invalidArgument(name, 'a boolean', value);
  return value;
}

export function callback<T extends (...args: never[]) => unknown>(
  value: unknown,
  name: string,
): T | undefined {
  if (value !== undefined && typeof value !== 'function') {
    throw invalidArgument(name, 'a function', value);
  }
  return value as T | undefined;
}

export function string(value: unknown, name: string): string | undefined {
  if (value !== undefined && typeof value !== 'string') {
    throw invalidArgument(name, 'a string', value);
  }
  return value;
}

export function strings(value: unknown, name: string): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalidArgument(name, 'an array of strings', value);
  return value.map((item: unknown, index) => {
    if (typeof item !== 'string') throw invalidArgument(`${name}[${index}]`, 'a string', item);
    return item;
  });
}

export function oneOf<T extends string>(
  value: unknown,
  name: string,
  choices: readonly T[],
): T | undefined {
  if (value === undefined) return undefined;
  if (!choices.includes(value as T)) {
    throw invalidArgument(name, `one of ${choices.map((c) => describe(c)).join(', ')}`, value);
  }
  return value as T;
}

/** A flat object as pairs, each value turned into what the engine takes. */
export function entries<T>(
  value: unknown,
  name: string,
  convert: (value: unknown, name: string) => T,
): [string, T][] {
  if (value === undefined) return [];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(name, 'an object', value);
  }
  return Object.entries(value).map(([key, item]) => [key, convert(item, `${name}.${key}`)]);
}

/** What engines take as text: strings as they are, numbers and booleans written out. */
export function text(value: unknown, name: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  if (typeof value === 'boolean') return value ? '1' : '0';
  throw invalidArgument(name, 'a string, number or boolean', value);
}

/** What `value` stands for in `choices`; undefined where it is not given. */
export function choice<T>(
  value: unknown,
  name: string,
  choices: Readonly<Record<string, T>>,
): T | undefined {
  const chosen = oneOf(value, name, Object.keys(choices));
  return chosen === undefined ? undefined : choices[chosen];
}

/** A path that C functions take whole. */
export function path(value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    throw invalidArgument(name, 'a path without NUL characters', value);
  }
  return value;
}

/** The path in `{ file }`; empty where nothing is given. */
export function outputFile(value: unknown, name: string): string {
  if (value === undefined) return '';
  return requiredPath(checkOptions(value, name, ['file'])['file'], `${name}.file`);
}

export function requiredPath(value: unknown, name: string): string {
  const given = path(value, name);
  if (given === undefined) throw invalidArgument(name, 'a path', undefined);
  return given;
}

export function paths(value: unknown, name: string): string[] {
  return strings(value, name).map((item, index) => path(item, `${name}[${index}]`) as string);
}
