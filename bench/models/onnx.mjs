// A writer of ONNX files: as much of onnx.proto as the benchmarks' models need.
// Field numbers are those of onnx.proto (github.com/onnx/onnx).

export const elementTypes = { float32: 1, int64: 7 };

/** A number in base 128, low digits first, each byte but the last with its top bit set. */
function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);

/** A field of bytes: a text, a tensor's elements, another message. */
function bytes(field, value) {
  const data = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint((field << 3) | 2), varint(data.byteLength), data]);
}

function float(field, value) {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), data]);
}

const each = (field, values, write) => values.map((value) => write(field, value));

/**
 * @param {string} name
 * @param {Float32Array | BigInt64Array} data
 * @param {number[]} dims
 */
export function initializer(name, data, dims) {
  const type = data instanceof Float32Array ? elementTypes.float32 : elementTypes.int64;
  return Buffer.concat([
    ...each(1, dims, integer),
    integer(2, type),
    bytes(8, name),
    bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

/**
 * A number is an integer attribute, an array one of integers, `{ float }` a float.
 *
 * @param {string} name
 * @param {number | number[] | { float: number }} value
 */
function attribute(name, value) {
  const [float32, int64, ints] = [1, 2, 7];
  if (Array.isArray(value)) {
    return Buffer.concat([bytes(1, name), ...each(8, value, integer), integer(20, ints)]);
  }
  if (typeof value === 'number') {
    return Buffer.concat([bytes(1, name), integer(3, value), integer(20, int64)]);
  }
  return Buffer.concat([bytes(1, name), float(2, value.float), integer(20, float32)]);
}

/**
 * @param {string} opType
 * @param {string[]} inputs
 * @param {string[]} outputs
 * @param {Record<string, number | number[] | { float: number }>} [attributes]
 */
export function node(opType, inputs, outputs, attributes = {}) {
  return Buffer.concat([
    ...each(1, inputs, bytes),
    ...each(2, outputs, bytes),
    bytes(4, opType),
    ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
  ]);
}

/**
 * @param {string} name
 * @param {keyof typeof elementTypes} dtype
 * @param {(number | string)[]} shape A text is a dimension left open.
 */
export function valueInfo(name, dtype, shape) {
  const dimensions = shape.map((size) =>
    bytes(1, typeof size === 'number' ? integer(1, size) : bytes(2, size)),
  );
  const tensor = Buffer.concat([
    integer(1, elementTypes[dtype]),
    bytes(2, Buffer.concat(dimensions)),
  ]);
  return Buffer.concat([bytes(1, name), bytes(2, bytes(1, tensor))]);
}

/** @param {{ name: string, nodes: Buffer[], initializers?: Buffer[], inputs: Buffer[], outputs: Buffer[] }} graph */
export function model({ name, nodes, initializers = [], inputs, outputs }) {
  const [irVersion, opset] = [8, 17];
  const graph = Buffer.concat([
    ...each(1, nodes, bytes),
    bytes(2, name),
    ...each(5, initializers, bytes),
    ...each(11, inputs, bytes),
    ...each(12, outputs, bytes),
  ]);
  return Buffer.concat([
    integer(1, irVersion),
    bytes(7, graph),
    bytes(8, Buffer.concat([bytes(1, ''), integer(2, opset)])),
  ]);
}
