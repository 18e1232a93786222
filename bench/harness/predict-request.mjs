// A PredictRequest of gRPC as bytes, so that a client needs no library.

export const predictPath = '/tensorflow.serving.PredictionService/Predict';

/** A length-delimited field of protobuf. */
export function field(number, content) {
  const head = [(number << 3) | 2];
  let length = content.length;
  for (; length > 0x7f; length >>>= 7) head.push((length & 0x7f) | 0x80);
  head.push(length);
  return Buffer.concat([Buffer.from(head), content]);
}

/**
 * For the input x of a model.
 *
 * @param {string} model
 * @param {Float32Array} values
 * @param {number[]} shape
 */
export function predictRequest(model, values, shape) {
  const float = Buffer.from([0x08, 1]);
  const sizes = shape.map((size) => field(2, Buffer.from([0x08, size])));
  const elements = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const tensor = Buffer.concat([float, field(2, Buffer.concat(sizes)), field(5, elements)]);
  const input = Buffer.concat([field(1, Buffer.from('x')), field(2, tensor)]);
  return Buffer.concat([field(1, field(1, Buffer.from(model))), field(2, input)]);
}
