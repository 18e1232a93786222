// ONNX's TensorProto, SequenceProto and OptionalProto as Tenon's values. Field
// numbers and the rules of where each dtype keeps its elements are those of
// onnx.proto.
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

import { Tensor } from '../../dist/index.js';

/**
 * TensorProto.DataType → dtype, the array behind it, and the field that holds the elements where
 * `raw_data` does not. Small types lie in `int32_data`: half floats and 8-bit floats as bits,
 * types below 8 bits packed as they are in memory, one byte an element of the field.
 */
const dataTypes = {
  1: ['float32', Float32Array, 'floats'],
  2: ['uint8', Uint8Array, 'int32s'],
  3: ['int8', Int8Array, 'int32s'],
  4: ['uint16', Uint16Array, 'int32s'],
  5: ['int16', Int16Array, 'int32s'],
  6: ['int32', Int32Array, 'int32s'],
  7: ['int64', BigInt64Array, 'int64s'],
  8: ['string', Array, 'strings'],
  9: ['bool', Uint8Array, 'int32s'],
  10: ['float16', Uint16Array, 'int32s'],
  11: ['float64', Float64Array, 'doubles'],
  12: ['uint32', Uint32Array, 'uint64s'],
  13: ['uint64', BigUint64Array, 'uint64s'],
  14: ['complex64', Float32Array, 'floats'],
  15: ['complex128', Float64Array, 'doubles'],
  16: ['bfloat16', Uint16Array, 'int32s'],
  17: ['float8e4m3fn', Uint8Array, 'int32s'],
  18: ['float8e4m3fnuz', Uint8Array, 'int32s'],
  19: ['float8e5m2', Uint8Array, 'int32s'],
  20: ['float8e5m2fnuz', Uint8Array, 'int32s'],
  21: ['uint4', Uint8Array, 'int32s'],
  22: ['int4', Uint8Array, 'int32s'],
  23: ['float4e2m1', Uint8Array, 'int32s'],
  24: ['float8e8m0', Uint8Array, 'int32s'],
  25: ['uint2', Uint8Array, 'int32s'],
  26: ['int2', Uint8Array, 'int32s'],
};

/** A file of a data set, read as the kind of value that the model declares. */
export function decodeValue(bytes, spec) {
  switch (spec.kind) {
    case 'tensor':
      return decodeTensor(bytes);
    case 'sequence':
      return decodeSequence(bytes);
    case 'optional':
      return decodeOptional(bytes);
    default:
      throw new Error(`expected a tensor, sequence or optional, received a ${spec.kind}`);
  }
}

function decodeTensor(bytes) {
  const shape = [];
  const typed = { floats: [], int32s: [], strings: [], int64s: [], doubles: [], uint64s: [] };
  let dataType = 0;
  let raw;
  readFields(bytes, {
    1: (reader, wireType) => readNumbers(reader, wireType, shape, () => Number(reader.int64())),
    2: (reader) => (dataType = reader.int32()),
    4: (reader, wireType) => readNumbers(reader, wireType, typed.floats, () => reader.float()),
    5: (reader, wireType) => readNumbers(reader, wireType, typed.int32s, () => reader.int32()),
    6: (reader) => typed.strings.push(reader.bytes()),
    7: (reader, wireType) =>
      readNumbers(reader, wireType, typed.int64s, () => BigInt(reader.int64())),
    9: (reader) => (raw = reader.bytes()),
    10: (reader, wireType) => readNumbers(reader, wireType, typed.doubles, () => reader.double()),
    11: (reader, wireType) =>
      readNumbers(reader, wireType, typed.uint64s, () => BigInt(reader.uint64())),
    13: () => refuse('external data'),
  });
  const [dtype, carrier, field] =
    dataTypes[dataType] ?? refuse(`TensorProto.data_type ${dataType}`);
  if (dtype === 'string') return new Tensor(dtype, typed.strings, shape);
  if (raw !== undefined) {
    // Copied, because elements may begin at any byte of the file; little-endian like the CPU.
    return new Tensor(dtype, new carrier(new Uint8Array(raw).buffer), shape);
  }
  const elements = dtype === 'uint32' ? typed.uint64s.map(Number) : typed[field];
  return new Tensor(dtype, carrier.from(elements), shape);
}

/** SequenceProto says what it holds in `elem_type`; only one of the repeated fields is used. */
function decodeSequence(bytes) {
  const values = [];
  readFields(bytes, {
    3: (reader) => values.push(decodeTensor(reader.bytes())),
    4: () => refuse('a sequence of sparse tensors'),
    5: (reader) => values.push(decodeSequence(reader.bytes())),
    6: () => refuse('a sequence of maps'),
    7: (reader) => values.push(decodeOptional(reader.bytes())),
  });
  return values;
}

function decodeOptional(bytes) {
  let value = null;
  readFields(bytes, {
    3: (reader) => (value = decodeTensor(reader.bytes())),
    4: () => refuse('an optional sparse tensor'),
    5: (reader) => (value = decodeSequence(reader.bytes())),
    6: () => refuse('an optional map'),
    7: (reader) => (value = decodeOptional(reader.bytes())),
  });
  return value;
}

/** Calls the reader of each field; skips the fields that have none. */
function readFields(bytes, readers) {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (readers[field] === undefined) reader.skip(wireType, field);
    else readers[field](reader, wireType);
  }
}

/** Repeated numbers come packed or one by one. */
function readNumbers(reader, wireType, into, readOne) {
  if (wireType !== WireType.LengthDelimited) {
    into.push(readOne());
    return;
  }
  const end = reader.uint32() + reader.pos;
  while (reader.pos < end) into.push(readOne());
}

function refuse(what) {
  throw new Error(`expected a value in the file itself, of a type Tenon has; received ${what}`);
}
