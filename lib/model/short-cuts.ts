/** What the server has of a model beyond its public methods. */

import type { JsonRun } from '../codec/json.js';
import type { Value } from './types.js';

/** The methods of a model that the functions here call. */
export const jsonRun = Symbol('jsonRun');
export const startRun = Symbol('startRun');

/** By name. */
export type RunResults = Readonly<Record<string, Value>>;

interface ShortCuts {
  [jsonRun](signature: string): JsonRun | undefined;
  [startRun](feeds: object, options: object): RunResults | Promise<RunResults>;
}

/**
 * A new JsonRun of all inputs and outputs of a signature, for as long as the model is open; undefined
 * where runs have to go another way: they are batched, spread over sessions, or compared with the
 * declared shapes first, or a value is no tensor.
 */
export function jsonRunOf(model: object, signature: string): JsonRun | undefined {
  return (model as ShortCuts)[jsonRun](signature);
}

/**
 * `model.run()` for callers to whom a promise is a price: one comes back only where the run goes on.
 *
 * @throws What a run throws, at once or later.
 */
export function runOf(
  model: object,
  feeds: object,
  options: object,
): RunResults | Promise<RunResults> {
  return (model as ShortCuts)[startRun](feeds, options);
}
