import { typeError } from './errors.js';

/**
 * The option `extra`, nested objects of strings, as configuration entries:
 * `{ session: { set_denormal_as_zero: '1' } }` is `session.set_denormal_as_zero`.
 */
export function flatten(extra: unknown, subject: string): Record<string, string> | undefined {
  if (extra === undefined) return undefined;
  if (typeof extra !== 'object' || extra === null) {
    throw typeError(`Invalid argument: ${subject}.extra must be an object.`);
  }
  const entries: Record<string, string> = {};
  const add = (object: object, prefix: string): void => {
    for (const [key, value] of Object.entries(object) as [string, unknown][]) {
      if (typeof value === 'string') entries[prefix + key] = value;
      else if (typeof value === 'object' && value !== null) add(value, `${prefix}${key}.`);
      else {
        throw typeError(
          `Invalid argument: ${subject}.extra value must be a string in Node.js binding.`,
        );
      }
    }
  };
  add(extra, '');
  return entries;
}
