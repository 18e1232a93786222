/** A request that is larger than a batch, in pieces and together again: pure functions. */

import { TenonError } from '../errors.js';
import type { RunOutputs, RunTensor, RunTensorOut } from '../runner.js';
import { carrierPerRow } from './signature.js';

/**
 * Feeds in pieces of at most `limit` rows, as views; undefined where rows cannot be told apart
 * (packed elements that do not end on a byte).
 */
export function splitFeeds(
  feeds: readonly RunTensor[],
  rows: number,
  limit: number,
): RunTensor[][] | undefined {
  const perRow = feeds.map(([dtype, shape]) => carrierPerRow(dtype, shape));
  if (perRow.includes(undefined)) return undefined;
  const pieces: RunTensor[][] = [];
  for (let start = 0; start < rows; start += limit) {
    const end = Math.min(rows, start + limit);
    pieces.push(
      feeds.map(([dtype, shape, data], i): RunTensor => {
        const size = perRow[i] as number;
        const part = Array.isArray(data)
          ? (data as readonly string[]).slice(start * size, end * size)
          : (data as Uint8Array).subarray(start * size, end * size);
        return [dtype, [end - start, ...shape.slice(1)], part];
      }),
    );
  }
  return pieces;
}

/**
 * The outputs of pieces below each other.
 *
 * @throws ERR_TENON_BATCH where an output is no tensor, or its other dimensions are not the same in
 *   all pieces.
 */
export function joinOutputs(pieces: readonly RunOutputs[]): RunOutputs {
  const [first = []] = pieces;
  return first.map((_, output) =>
    joinTensors(
      pieces.map((piece) => piece[output]),
      output,
    ),
  );
}

function joinTensors(values: readonly unknown[], output: number): RunTensorOut {
  const tensors = values.map((value) => {
    if (Array.isArray(value)) return value as unknown as RunTensorOut;
    throw new TenonError(
      'ERR_TENON_BATCH',
      `expected tensors in host memory as output ${output} of a split request, received another kind`,
    );
  });
  const [dtype, [, ...rest]] = tensors[0] as RunTensorOut;
  const bytes = tensors.reduce((sum, [, , data]) => sum + data.byteLength, 0);
  const joined = new Uint8Array(bytes);
  let rows = 0;
  let at = 0;
  const offsets: number[] = [0];
  for (const [, [own = 0, ...others], data, ends] of tensors) {
    if (others.length !== rest.length || others.some((size, d) => size !== rest[d])) {
      throw new TenonError(
        'ERR_TENON_BATCH',
        `expected output ${output} of a split request to have the shape [${rest.join(', ')}] for each row in every part, received [${others.join(', ')}]`,
      );
    }
    joined.set(bytesOf(data), at);
    if (ends !== undefined) for (const end of ends.subarray(1)) offsets.push(at + end);
    at += data.byteLength;
    rows += own;
  }
  const shape = [rows, ...rest];
  return offsets.length > 1
    ? [dtype, shape, joined.buffer, Float64Array.from(offsets)]
    : [dtype, shape, joined.buffer];
}

/** An output's bytes, whether it came as elements or as memory. */
export function bytesOf(data: ArrayBuffer | ArrayBufferView): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
