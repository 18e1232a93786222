/**
 * A batch on its way to the addon and back. What describes the members goes as numbers in one array,
 * because each value that crosses through Node-API costs; small outputs come back as the batch has
 * them, and are cut here, which costs less than a buffer made for each.
 */

import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  NativeBatchOutputs,
  NativeBatchResult,
  NativeMembers,
  NativeSession,
  NativeTensorIn,
  NativeTensorOut,
  NativeValueOut,
} from '../native/types.js';
import type { BatchRequest, RunnerOptions } from '../runner.js';
import { dtypeFromNumber, dtypes, type TypedArray } from '../tensor/dtypes.js';

type Members = readonly (readonly NativeTensorIn[])[];

/** The session's runBatch. */
export async function runBatch(
  session: NativeSession,
  { signature, inputs, members, outputs, layout }: BatchRequest,
  { ticket, priority, borrow }: RunnerOptions,
): Promise<NativeBatchOutputs> {
  const packed = packMembers(members, inputs.length);
  const started = session.runBatch(
    signature,
    inputs,
    packed,
    outputs,
    layout,
    ticket,
    priority,
    borrow,
  );
  // As they are now: a shape may be written to meanwhile.
  const rows = members.map((feeds) => (feeds[0] as NativeTensorIn)[1][0] as number);
  spare = packed.numbers;
  return cutOutputs(await started, rows);
}

/** Numbers of a tensor besides its sizes. */
const tensorNumbers = 5;
/** What the last batch was described in; taken while it is written, so that nobody else does. */
let spare: Float64Array | undefined;

/**
 * Members whose tensors have the same number of dimensions as those of the first.
 *
 * @throws ERR_TENON_UNSUPPORTED for what is no tensor in host memory, ERR_TENON_INVALID_ARGUMENT
 *   for members without a tensor for each input.
 */
export function packMembers(members: Members, inputs: number): NativeMembers {
  let length = 0;
  for (let m = 0; m < members.length; m++) {
    const feeds = members[m] as readonly NativeTensorIn[];
    if (feeds.length !== inputs) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected a tensor for each of ${inputs} inputs, received ${feeds.length} (member ${m} of the batch)`,
      );
    }
    for (let i = 0; i < inputs; i++) {
      const feed = feeds[i];
      if (!Array.isArray(feed)) throw noTensor(m);
      length += tensorNumbers + (feed as NativeTensorIn)[1].length;
    }
  }
  let numbers = spare;
  spare = undefined;
  if (numbers === undefined || numbers.length < length) numbers = new Float64Array(2 * length);
  const sources: NativeMembers['sources'][number][] = [];
  let buffer: ArrayBufferLike | undefined;
  let at = 0;
  for (let m = 0; m < members.length; m++) {
    for (let i = 0; i < inputs; i++) {
      const [dtype, shape, data] = (members[m] as Members[number])[i] as NativeTensorIn;
      numbers[at++] = dtype;
      if (ArrayBuffer.isView(data)) {
        const isShared = data.buffer instanceof SharedArrayBuffer;
        if (isShared || data.buffer !== buffer) {
          buffer = isShared ? undefined : data.buffer;
          sources.push(isShared ? data : data.buffer);
        }
        numbers[at++] = sources.length - 1;
        numbers[at++] = isShared ? 0 : data.byteOffset;
        numbers[at++] = data.byteLength;
      } else {
        buffer = undefined;
        sources.push(data);
        numbers[at++] = sources.length - 1;
        numbers[at++] = 0;
        numbers[at++] = 0;
      }
      numbers[at++] = shape.length;
      for (let d = 0; d < shape.length; d++) numbers[at++] = shape[d] as number;
    }
  }
  return { count: members.length, numbers, length, sources };
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
    if ('whole' in result) {
      cutRows(result.whole, rows, outputs);
      continue;
    }
    for (let m = 0; m < rows.length; m++) {
      (outputs[m] as NativeValueOut[]).push(result.members[m] as NativeValueOut);
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
