import type { ModelSpec } from '../models.js';
import { invalid } from '../tfserving/errors.js';

const maxVersion = 2n ** 63n - 1n;

/**
 * Which version a request means, whose name and version are as the client wrote them: "" is the
 * highest that serves, digits a number, everything else a label of the model's.
 *
 * @throws StatusError INVALID_ARGUMENT for an empty name, and for a version of more than 2^63 - 1.
 */
export function modelSpec(name: string, version: string): ModelSpec {
  if (name === '') throw invalid('expected the name of a model, received none');
  if (version === '') return { name };
  if (!/^\d+$/.test(version)) return { name, label: version };
  const number = version.length <= 19 ? BigInt(version) : maxVersion + 1n;
  if (number > maxVersion) {
    throw invalid(`expected a version of at most 2^63 - 1, received ${version.slice(0, 64)}`);
  }
  return { name, version: number };
}
