/** Elements of tensors in a message: where they lie, and how they get into a tensor's memory. */

import { type WireReader, WireType } from '../../protobuf/wire.js';
import { carrierLength, type DType, dtypes, type TypedArray } from '../../tensor/dtypes.js';
import { Tensor, type TensorElements } from '../../tensor/tensor.js';
import type { ValueLayout } from './layout.js';

/**
 * From here on elements are copied into memory of Tenon's own. Feeds of no more than this in all
 * are copied on their way to the engine anyhow, and a typed array is made in a tenth of the time.
 */
const ownedMinBytes = 16 * 1024;

/** What is known of a tensor before its elements are read. */
export interface TensorHead {
  readonly dtype: DType;
  readonly shape: number[];
  /** Elements. */
  readonly size: number;
}

export const tagOf = (field: number, wireType: number): number => (field << 3) | wireType;

/** Memory for all elements, zeroed, and its tensor. */
export function allocate({ dtype, shape, size }: TensorHead): { tensor: Tensor; data: TypedArray } {
  const length = carrierLength(dtype, size);
  const carrier = dtypes[dtype].carrier as new (length: number) => TypedArray;
  const byteLength = length * (carrier as unknown as Uint8ArrayConstructor).BYTES_PER_ELEMENT;
  if (byteLength > ownedMinBytes) {
    const tensor = Tensor.alloc(dtype, shape);
    return { tensor, data: tensor.data as TypedArray };
  }
  const data = new carrier(length);
  return { tensor: new Tensor(dtype, data as TensorElements<DType>, shape), data };
}

/** `source` as the elements: itself where it is small and aligned, else a copy. */
export function tensorOver(target: TensorHead, source: Uint8Array): Tensor {
  const { dtype, shape } = target;
  const carrier = dtypes[dtype].carrier as unknown as Uint8ArrayConstructor;
  const width = carrier.BYTES_PER_ELEMENT;
  if (source.byteLength <= ownedMinBytes && source.byteOffset % width === 0) {
    const data = new carrier(source.buffer, source.byteOffset, source.byteLength / width);
    return new Tensor(dtype, data as TensorElements<DType>, shape);
  }
  const { tensor, data } = allocate(target);
  bytesOf(data).set(source);
  return tensor;
}

export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The one packed field that holds all elements and no more; the usual case. */
export function onlyValues(
  reader: WireReader,
  layout: ValueLayout,
  byteLength: number,
): Uint8Array | undefined {
  const packedTag = tagOf(layout.field, WireType.bytes);
  const singleTag = tagOf(layout.field, wireTypeOf(layout));
  let found: Uint8Array | undefined;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === singleTag) return undefined;
    if (tag === packedTag) {
      if (found !== undefined) return undefined;
      found = reader.byteString();
    } else reader.skip(tag);
  }
  return found?.byteLength === byteLength ? found : undefined;
}

function wireTypeOf({ kind }: ValueLayout): number {
  if (kind === 'fixed32') return WireType.fixed32;
  return kind === 'fixed64' ? WireType.fixed64 : WireType.varint;
}

/** Decodes the elements in the typed field, the first `limit` of them into `data`; how many came. */
export function decodeValues(
  reader: WireReader,
  layout: ValueLayout,
  data: TypedArray,
  limit: number,
): number {
  const { kind, field } = layout;
  const packedTag = tagOf(field, WireType.bytes);
  const singleTag = tagOf(field, wireTypeOf(layout));
  const raw = bytesOf(data);
  const width = kind === 'fixed32' ? 4 : 8;
  const halves =
    kind === 'varint64' ? new Int32Array(data.buffer, data.byteOffset, 2 * data.length) : undefined;
  let count = 0;
  let last: Uint8Array | undefined;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag !== packedTag && (tag !== singleTag || kind === 'bytes')) {
      reader.skip(tag);
      continue;
    }
    const start = reader.position;
    let values: Uint8Array;
    if (tag === packedTag) values = reader.byteString();
    else {
      // One element by itself.
      reader.skip(tag);
      values = reader.bytes.subarray(start, reader.position);
    }
    if (kind === 'bytes') {
      // Not repeated: the last one counts.
      last = values;
    } else if (kind === 'fixed32' || kind === 'fixed64') {
      if (values.byteLength % width !== 0) throw reader.fail('fewer bytes than it announces');
      const room = Math.max(0, limit - count) * width;
      if (room > 0) raw.set(values.subarray(0, room), count * width);
      count += values.byteLength / width;
    } else {
      count =
        halves !== undefined
          ? decodeVarints64(values, halves, count, limit)
          : kind === 'bool'
            ? decodeBools(values, data as Uint8Array, count, limit)
            : decodeVarints32(values, data as Int32Array, count, limit);
      if (count < 0) throw reader.fail('a number that does not end');
    }
  }
  if (last === undefined) return count;
  raw.set(last.subarray(0, limit));
  return last.byteLength;
}

// Each decodes varints into `data` from `index` on and gives the index behind the last; those from
// `limit` on are passed over. -1 for one that is longer than ten bytes or than what there is.

function decodeVarints32(
  values: Uint8Array,
  data: Int32Array,
  start: number,
  limit: number,
): number {
  const end = values.length;
  let index = start;
  for (let position = 0; position < end; index++) {
    let byte = values[position++] as number;
    let value = byte & 0x7f;
    for (let shift = 7; byte > 0x7f; shift += 7) {
      if (position >= end || shift >= 70) return -1;
      byte = values[position++] as number;
      if (shift < 32) value |= (byte & 0x7f) << shift;
    }
    if (index < limit) data[index] = value;
  }
  return index;
}

function decodeVarints64(
  values: Uint8Array,
  halves: Int32Array,
  start: number,
  limit: number,
): number {
  const end = values.length;
  let index = start;
  for (let position = 0; position < end; index++) {
    let byte = values[position++] as number;
    let low = byte & 0x7f;
    let high = 0;
    for (let shift = 7; byte > 0x7f; shift += 7) {
      if (position >= end || shift >= 70) return -1;
      byte = values[position++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
    }
    if (index < limit) {
      halves[2 * index] = low;
      halves[2 * index + 1] = high;
    }
  }
  return index;
}

function decodeBools(values: Uint8Array, data: Uint8Array, start: number, limit: number): number {
  const end = values.length;
  let index = start;
  for (let position = 0; position < end; index++) {
    let byte = values[position++] as number;
    let value = byte & 0x7f;
    for (let count = 1; byte > 0x7f; count++) {
      if (position >= end || count >= 10) return -1;
      byte = values[position++] as number;
      value |= byte & 0x7f;
    }
    if (index < limit) data[index] = value === 0 ? 0 : 1;
  }
  return index;
}
