/** Feeds to measure with: the caller's, and made-up ones where any value is as good as another. */

import { type FeedValue, type Signature, Tensor, TenonError, type ValueSpec } from '../index.js';
import { seededRandom } from './random.js';

/**
 * The given feeds, and random numbers for inputs of floats that have none.
 *
 * @param rows The size of a first dimension that the model leaves open.
 * @throws ERR_TENON_MISSING_FEED for an input whose values cannot be made up: strings and integers
 *   may be indices or words, another open dimension may be anything.
 */
export function completeFeeds(
  signature: Signature,
  given: Readonly<Record<string, FeedValue>>,
  rows: number,
  seed: number,
): Record<string, FeedValue> {
  const random = seededRandom(seed);
  const feeds: Record<string, FeedValue> = { ...given };
  for (const spec of Object.values(signature.inputs)) {
    if (Object.hasOwn(given, spec.name) || spec.optional === true) continue;
    feeds[spec.name] = randomFeed(spec, rows, random);
  }
  return feeds;
}

function randomFeed(spec: ValueSpec, rows: number, random: () => number): Tensor {
  if (spec.kind !== 'tensor') throw needed(spec, `a ${spec.kind}`);
  const { dtype, shape } = spec;
  if (dtype !== 'float32' && dtype !== 'float64' && dtype !== 'float16' && dtype !== 'bfloat16') {
    throw needed(spec, `${dtype} values, which may mean something each`);
  }
  if (shape === null) throw needed(spec, 'a tensor of any rank');
  const sizes = shape.map((dimension, axis) => {
    if (typeof dimension === 'number') return dimension;
    if (axis === 0) return rows;
    throw needed(spec, `dimension ${axis} (${dimension ?? '?'}), which the model leaves open`);
  });
  const size = sizes.reduce((product, dimension) => product * dimension, 1);
  const elements = Tensor.from(Array.from({ length: size }, random), dtype);
  return new Tensor(dtype, elements.data, sizes);
}

function needed(spec: ValueSpec, what: string): TenonError {
  return new TenonError(
    'ERR_TENON_MISSING_FEED',
    `expected a sample for input "${spec.name}" to tune with, received none: it takes ${what}`,
  );
}

/** The rows of each request where every fed tensor has as many, else 1. */
export function rowsOf(feeds: Readonly<Record<string, FeedValue>>): number {
  const rows = new Set(
    Object.values(feeds).map((feed) => (feed instanceof Tensor ? (feed.shape[0] ?? 1) : 1)),
  );
  return rows.size === 1 ? ([...rows][0] ?? 1) : 1;
}

/** Feeds that structured cloning takes: tensors become their parts. */
export interface PackedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: unknown;
}

const packedMark = 'tenon.packedTensor';

export function packFeed(feed: FeedValue): unknown {
  if (feed instanceof Tensor) {
    const { dtype, shape } = feed;
    const data = dtype === 'string' ? (feed as Tensor<'string'>).bytes : feed.data;
    return { [packedMark]: { dtype, shape, data } satisfies PackedTensor };
  }
  return Array.isArray(feed) ? feed.map((item) => packFeed(item as FeedValue)) : feed;
}

export function unpackFeed(packed: unknown): FeedValue {
  if (Array.isArray(packed)) return packed.map(unpackFeed);
  if (typeof packed === 'object' && packed !== null && packedMark in packed) {
    const { dtype, shape, data } = packed[packedMark] as PackedTensor;
    return new Tensor(dtype as 'float32', data as Float32Array, shape);
  }
  return packed as FeedValue;
}
