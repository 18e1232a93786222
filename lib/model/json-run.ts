/** What the server has of a model beyond its public methods. */

import type { JsonRun } from '../codec/json.js';

/** The method of a model that `jsonRunOf` calls. */
export const jsonRun = Symbol('jsonRun');

interface RunsJson {
  [jsonRun](signature: string): JsonRun | undefined;
}

/**
 * A new JsonRun of all inputs and outputs of a signature, for as long as the model is open; undefined
 * where runs have to go another way: they are batched, spread over sessions, or compared with the
 * declared shapes first, or a value is no tensor.
 */
export function jsonRunOf(model: object, signature: string): JsonRun | undefined {
  return (model as RunsJson)[jsonRun](signature);
}
