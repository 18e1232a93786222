/**
 * A batch on its way to the addon and back. What describes it goes as numbers in one array, because
 * each value that crosses through Node-API costs; small outputs come back as the batch has
 * them, and are cut here, which costs less than a buffer made for each.
 */

import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  NativeBatchOutputs,
  NativeBatchResult,
  NativeFeedSource,
  NativeSession,
  NativeTensorIn,
  NativeTensorOut,
  NativeValueOut,
} from '../native/types.js';
import type { BatchRequest, RunnerOptions } from '../runner.js';
import { dtypeFromNumber, dtypes, type TypedArray } from '../tensor/dtypes.js';

type Member = readonly NativeTensorIn[];

/** The session's runBatch. */
export function runBatch(
  session: NativeSession,
  batch: BatchRequest,
  { ticket, priority, borrow, onLane = false }: RunnerOptions,
): NativeBatchOutputs | Promise<NativeBatchOutputs> {
  const { numbers, length, sources } = packBatch(batch);
  // As they are now: a shape may be written to meanwhile.
  const rows = batch.members.map((feeds) => (feeds[0] as NativeTensorIn)[1][0] as number);
  const started = session.runBatch(numbers, length, sources, ticket, priority, borrow, onLane);
  spare = numbers;
  return started instanceof Promise
    ? started.then((results) => cutOutputs(results, rows))
    : cutOutputs(started, rows);
}

export interface PackedBatch {
  readonly numbers: Float64Array;
  /** How many of the numbers count. */
  readonly length: number;
  readonly sources: readonly NativeFeedSource[];
}

/** Numbers of a tensor besides its sizes. */
const tensorNumbers = 5;
/** What the last batch was described in; taken while it is written, so that nobody else does. */
let spare: Float64Array | undefined;

/**
 * The first arguments of runBatch, see there.
 *
 * @throws ERR_TENON_UNSUPPORTED for what is no tensor in host memory, ERR_TENON_INVALID_ARGUMENT
 *   for members without a tensor for each input.
 */
export function packBatch(batch: BatchRequest): PackedBatch {
  const { signature, inputs, outputs, members, layout } = batch;
  const numbers = takeSpare(lengthOf(batch));
  let at = 0;
  numbers[at++] = signature;
  numbers[at++] = layout.rows;
  numbers[at++] = outputs.length;
  for (let i = 0; i < outputs.length; i++) numbers[at++] = outputs[i] as number;
  numbers[at++] = inputs.length;
  for (let i = 0; i < inputs.length; i++) numbers[at++] = inputs[i] as number;
  for (let i = 0; i < inputs.length; i++) {
    const shape = layout.shapes[i] as readonly number[];
    const padValue = layout.padValues[i] as number | 'first';
    numbers[at++] = padValue === 'first' ? NaN : padValue;
    numbers[at++] = shape.length;
    for (let d = 0; d < shape.length; d++) numbers[at++] = shape[d] as number;
  }
  for (const rows of [layout.masks, layout.trims]) {
    numbers[at++] = rows.length;
    for (const row of rows) for (let i = 0; i < row.length; i++) numbers[at++] = row[i] as number;
  }
  numbers[at++] = members.length;

  const sources: NativeFeedSource[] = [];
  let buffer: ArrayBufferLike | undefined;
  for (let m = 0; m < members.length; m++) {
    for (let i = 0; i < inputs.length; i++) {
      const [dtype, shape, data] = (members[m] as Member)[i] as NativeTensorIn;
      let offset = 0;
      let byteLength = 0;
      if (!ArrayBuffer.isView(data)) {
        buffer = undefined;
        sources.push(data);
      } else {
        const isShared = data.buffer instanceof SharedArrayBuffer;
        if (isShared || data.buffer !== buffer) {
          buffer = isShared ? undefined : data.buffer;
          sources.push(isShared ? data : data.buffer);
        }
        if (!isShared) offset = data.byteOffset;
        byteLength = data.byteLength;
      }
      numbers[at++] = dtype;
      numbers[at++] = sources.length - 1;
      numbers[at++] = offset;
      numbers[at++] = byteLength;
      numbers[at++] = shape.length;
      for (let d = 0; d < shape.length; d++) numbers[at++] = shape[d] as number;
    }
  }
  return { numbers, length: at, sources };
}

function takeSpare(length: number): Float64Array {
  const numbers = spare;
  spare = undefined;
  return numbers === undefined || numbers.length < length ? new Float64Array(2 * length) : numbers;
}

/** How many numbers describe the batch. Checks the members on the way. */
function lengthOf({ inputs, outputs, members, layout }: BatchRequest): number {
  const { shapes, masks, trims } = layout;
  let length = 7 + outputs.length + 3 * inputs.length + 4 * (masks.length + trims.length);
  for (let i = 0; i < shapes.length; i++) length += (shapes[i] as readonly number[]).length;
  for (let m = 0; m < members.length; m++) {
    const feeds = members[m] as Member;
    if (feeds.length !== inputs.length) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected a tensor for each of ${inputs.length} inputs, received ${feeds.length} (member ${m} of the batch)`,
      );
    }
    for (let i = 0; i < feeds.length; i++) {
      const feed = feeds[i];
      if (!Array.isArray(feed)) throw noTensor(m);
      length += tensorNumbers + (feed as unknown as NativeTensorIn)[1].length;
    }
  }
  return length;
}

function noTensor(member: number): TenonError {
  return new TenonError(
    'ERR_TENON_UNSUPPORTED',
    `expected tensors in host memory to batch, received another value: it has no rows (member ${member} of the batch)`,
  );
}

/** From this size on a batch's output comes as memory of Tenon's, which is given back at once. */
const givenBackFromBytes = 16 * 1024;

/**
 * The outputs of each member.
 *
 * @param rows How many each has.
 */
function cutOutputs(
  results: readonly NativeBatchResult[],
  rows: readonly number[],
): NativeBatchOutputs {
  const outputs: NativeValueOut[][] = [];
  for (let m = 0; m < rows.length; m++) outputs.push([]);
  for (const result of results) {
    if (result[0]) {
      cutRows(result[1], rows, outputs);
      continue;
    }
    for (let m = 0; m < rows.length; m++) {
      (outputs[m] as NativeValueOut[]).push(result[1][m] as NativeValueOut);
    }
  }
  return outputs;
}

/** Gives each member its rows of `tensor` in memory of its own. */
function cutRows(
  [dtype, shape, data]: NativeTensorOut,
  rows: readonly number[],
  outputs: NativeValueOut[][],
): void {
  const { carrier } = dtypes[dtypeFromNumber(dtype)];
  const elements = new (carrier as new (buffer: ArrayBuffer) => TypedArray)(data as ArrayBuffer);
  const all = shape[0] as number;
  const perRow = all === 0 ? 0 : elements.length / all;
  let first = 0;
  for (let m = 0; m < rows.length; m++) {
    const own = rows[m] as number;
    const ownShape = shape.slice();
    ownShape[0] = own;
    const end = first + own;
    (outputs[m] as NativeValueOut[]).push([
      dtype,
      ownShape,
      elements.slice(first * perRow, end * perRow),
    ]);
    first = end;
  }
  if (data.byteLength >= givenBackFromBytes) nativeAddon().release(data as ArrayBuffer);
}
