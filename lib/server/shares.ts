import { invalidArgument } from '../errors.js';

/** An option that is a share of a whole. @throws ERR_TENON_INVALID_ARGUMENT naming it. */
export function share(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
    throw invalidArgument(name, 'a number from 0 to 1', value);
  }
  return value;
}
