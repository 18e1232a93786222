/** Which requests may share a batch: pure functions of a request. */

import type { RunRequest, RunTensor } from '../runner.js';
import type { SignaturePlan } from './signature.js';

/** Why a request is not batched. */
export const passReasons = [
  'signature',
  'options',
  'target',
  'kind',
  'scalar',
  'rows',
  'queues',
  'outputs',
  'large',
] as const;

/**
 * - `signature`: an input or output has no batch dimension, or verification refused the signature
 * - `options`: the engine is told something of this run alone
 * - `target`: an output is to stay in the engine, or to be written into a given tensor
 * - `kind`: a feed is a sequence, a map, an absent optional, or a tensor in the engine
 * - `scalar`: a feed has no dimension 0
 * - `rows`: feeds have different numbers of rows, or none
 * - `queues`: too many different shapes wait already
 * - `outputs`: batches of such requests gave outputs that are not one row for each row
 * - `large`: more rows than a batch may have, and `splitLarge` is off or cannot split them
 */
export type PassReason = (typeof passReasons)[number];

/** The number of rows; or, where the request cannot be batched, why. */
export function rowsOf(request: RunRequest, plan: SignaturePlan): number | PassReason {
  const { inputs, feeds, outputs, targets, options } = request;
  if (plan.isRefused) return 'signature';
  if (options !== undefined) return 'options';
  if (targets !== undefined) {
    for (const target of targets) if (target !== 0) return 'target';
  }
  let rows = -1;
  for (let i = 0; i < feeds.length; i++) {
    if (plan.inputs[inputs[i] as number]?.reason !== undefined) return 'signature';
    const feed = feeds[i];
    if (!Array.isArray(feed)) return 'kind';
    const shape = (feed as unknown as RunTensor)[1];
    if (shape.length === 0) return 'scalar';
    const own = shape[0] as number;
    if (rows === -1) rows = own;
    else if (own !== rows) return 'rows';
  }
  if (rows < 1) return 'rows';
  for (let i = 0; i < outputs.length; i++) {
    if (plan.outputReasons[outputs[i] as number] !== undefined) return 'signature';
  }
  return rows;
}

/**
 * Writes what requests of one batch have in common into `key`: signature, inputs, outputs, dtypes
 * and every dimension but the first; of a dimension that is padded only its bucket.
 */
export function writeKey(
  request: RunRequest,
  plan: SignaturePlan,
  lengthBuckets: readonly number[],
  key: number[],
): void {
  const { signature, inputs, feeds, outputs } = request;
  let n = 0;
  key[n++] = signature;
  key[n++] = inputs.length;
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i] as number;
    const [dtype, shape] = feeds[i] as RunTensor;
    const { padded } = plan.inputs[input] as SignaturePlan['inputs'][number];
    key[n++] = input;
    key[n++] = dtype;
    key[n++] = shape.length;
    for (let d = 1; d < shape.length; d++) {
      const size = shape[d] as number;
      key[n++] = padded(d) ? bucketOf(size, lengthBuckets) : size;
    }
  }
  for (let i = 0; i < outputs.length; i++) key[n++] = outputs[i] as number;
  key.length = n;
}

/** The first bucket that holds `length`, by its number; one more than there are for what is longer. */
export function bucketOf(length: number, buckets: readonly number[]): number {
  let i = 0;
  while (i < buckets.length && length > (buckets[i] as number)) i++;
  return i;
}

export function sameKey(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** FNV-1a over the numbers. */
export function hashKey(key: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ (key[i] as number), 0x01000193);
  return hash;
}
