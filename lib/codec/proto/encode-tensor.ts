/**
 * Tensor → tensorflow.TensorProto. A message's length stands before it, so all is measured first
 * and then written once, into one buffer.
 */

import { dtypeToTensorFlow } from '../../protobuf/tensorflow-dtypes.js';
import { WireType } from '../../protobuf/wire.js';
import { unpack } from '../../tensor/convert.js';
import { dtypes, type TypedArray } from '../../tensor/dtypes.js';
import type { Tensor } from '../../tensor/tensor.js';
import { StatusError } from '../status.js';
import { layoutOf, type ValueLayout } from './layout.js';
import { type ByteWriter, varintLength } from './writer.js';

/** A tensor measured: `byteLength` of its TensorProto, and what writes that. */
export interface MeasuredTensor {
  readonly byteLength: number;
  write(writer: ByteWriter): void;
}

/**
 * @param tensorContent Whether elements go into `tensor_content`, as they lie in memory, instead of
 *   the dtype's own field.
 * @throws StatusError UNIMPLEMENTED for a dtype that TensorFlow does not have.
 */
export function measureTensorProto(tensor: Tensor, tensorContent: boolean): MeasuredTensor {
  const { dtype, shape } = tensor;
  const dataType = dtypeToTensorFlow(dtype);
  const layout = layoutOf(dtype);
  if (dataType === undefined || layout === undefined) {
    throw new StatusError('UNIMPLEMENTED', `a TensorProto has no place for elements of ${dtype}`);
  }
  const values = tensorContent ? measureContent(tensor, layout) : measureValues(tensor, layout);
  let shapeLength = 0;
  for (const size of shape) {
    const dimLength = size === 0 ? 0 : 1 + varintLength(size);
    shapeLength += 1 + varintLength(dimLength) + dimLength;
  }
  const byteLength =
    1 + varintLength(dataType) + 1 + varintLength(shapeLength) + shapeLength + values.byteLength;
  return {
    byteLength,
    write(writer) {
      writer.tag(1, WireType.varint);
      writer.varint(dataType);
      writer.tag(2, WireType.bytes);
      writer.varint(shapeLength);
      for (const size of shape) {
        writer.tag(2, WireType.bytes);
        if (size === 0) writer.varint(0);
        else {
          writer.varint(1 + varintLength(size));
          writer.tag(1, WireType.varint);
          writer.varint(size);
        }
      }
      values.write(writer);
    },
  };
}

const nothing: MeasuredTensor = { byteLength: 0, write: () => undefined };

/** A length-delimited field whose content has `length` bytes. */
function delimited(
  field: number,
  length: number,
  writeContent: (writer: ByteWriter) => void,
): MeasuredTensor {
  if (length === 0) return nothing;
  return {
    byteLength: varintLength(field << 3) + varintLength(length) + length,
    write(writer) {
      writer.tag(field, WireType.bytes);
      writer.varint(length);
      writeContent(writer);
    },
  };
}

const contentField = 4;

function measureContent(tensor: Tensor, { kind }: ValueLayout): MeasuredTensor {
  if (kind === 'string') {
    const strings = tensor.bytes as unknown as Uint8Array[];
    let length = 0;
    for (const { byteLength } of strings) length += varintLength(byteLength) + byteLength;
    return delimited(contentField, length, (writer) => {
      for (const { byteLength } of strings) writer.varint(byteLength);
      for (const string of strings) writer.raw(string);
    });
  }
  if (kind === 'packed') {
    const elements = unpacked(tensor);
    return delimited(contentField, elements.byteLength, (writer) =>
      // TensorFlow keeps the sign in the whole byte.
      writer.raw(new Uint8Array(elements.buffer)),
    );
  }
  return measureElements(tensor, contentField);
}

/** The elements as they lie in memory. */
function measureElements(tensor: Tensor, field: number): MeasuredTensor {
  const data = tensor.data as TypedArray;
  return delimited(field, data.byteLength, (writer) => writer.elements(data));
}

/** The elements in a typed field. */
export function measureValues(tensor: Tensor, { kind, field }: ValueLayout): MeasuredTensor {
  switch (kind) {
    case 'fixed32':
    case 'fixed64':
    case 'bytes':
      return measureElements(tensor, field);
    case 'bool': {
      const data = tensor.data as Uint8Array;
      return delimited(field, data.length, (writer) => writer.bools(data));
    }
    case 'varint32':
    case 'packed': {
      const data = (kind === 'packed' ? unpacked(tensor) : tensor.data) as TypedArray;
      const numbers = data as Exclude<TypedArray, BigInt64Array | BigUint64Array>;
      return delimited(field, varints32Length(numbers), (writer) => writer.varints32(numbers));
    }
    case 'varint64': {
      const data = tensor.data as BigInt64Array;
      const halves = new Uint32Array(data.buffer, data.byteOffset, 2 * data.length);
      return delimited(field, varints64Length(halves), (writer) => writer.varints64(halves));
    }
    case 'string': {
      const strings = tensor.bytes as unknown as Uint8Array[];
      let byteLength = 0;
      for (const string of strings) {
        byteLength += 1 + varintLength(string.byteLength) + string.byteLength;
      }
      return {
        byteLength,
        write(writer) {
          for (const string of strings) {
            writer.tag(field, WireType.bytes);
            writer.varint(string.byteLength);
            writer.raw(string);
          }
        },
      };
    }
  }
}

/** The elements of a packed tensor, a byte each. */
function unpacked(tensor: Tensor): Int8Array {
  const { bits } = dtypes[tensor.dtype];
  const signed = tensor.dtype === 'int4' || tensor.dtype === 'int2';
  const data = tensor.data as Uint8Array;
  const elements = new Int8Array(tensor.size);
  for (let i = 0; i < elements.length; i++) elements[i] = unpack(data, i, bits, signed);
  return elements;
}

/** A negative number is extended to 64 bits, which take ten bytes. */
function varints32Length(numbers: ArrayLike<number>): number {
  let length = 0;
  for (let i = 0; i < numbers.length; i++) {
    const value = numbers[i] as number;
    if (value < 0) length += 10;
    else if (value < 0x80) length += 1;
    else if (value < 0x4000) length += 2;
    else if (value < 0x200000) length += 3;
    else length += value < 0x10000000 ? 4 : 5;
  }
  return length;
}

/** Of 64-bit integers as pairs of low and high halves. */
function varints64Length(halves: Uint32Array): number {
  let length = 0;
  for (let i = 0; i < halves.length; i += 2) {
    length += varint64Length(halves[i] as number, halves[i + 1] as number);
  }
  return length;
}

function varint64Length(low: number, high: number): number {
  if (high === 0) return varintLength(low);
  // 4 bits of the fifth byte are the low half's.
  const bits = 64 - Math.clz32(high);
  return Math.ceil(bits / 7);
}
