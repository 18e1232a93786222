/**
 * Runs models through one module, so that what two modules answer can be compared:
 *
 *   node test/onnxruntime/answers.mjs <module> <file of cases> <index of the first>
 *
 * prints one line of JSON for each case: the metadata and outputs, or the error.
 */

import { readFileSync } from 'node:fs';

const [module, file, start] = process.argv.slice(2);
const { InferenceSession, Tensor } = await import(module);
const cases = JSON.parse(readFileSync(file, 'utf8'));

const carriers = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  int4: Uint8Array,
  uint4: Uint8Array,
};

function feedOf({ type, dims, base64, strings }) {
  if (type === 'string') return new Tensor('string', strings, dims);
  const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
  const carrier = carriers[type];
  // What onnxruntime-common has no tensor for is given by its properties.
  if (carrier === undefined) {
    const data = type === 'bfloat16' ? new Uint16Array(bytes.buffer) : bytes;
    return { type, dims, data, location: 'cpu' };
  }
  return new Tensor(type, new carrier(bytes.buffer), dims);
}

function outputOf({ type, dims, data, location }) {
  if (type === 'string') return { type, dims, location, strings: data };
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { type, dims, location, carrier: data.constructor.name, base64: bytes.toString('base64') };
}

async function answer({ model, feeds }) {
  const options = { intraOpNumThreads: 1, logSeverityLevel: 4 };
  const session = await InferenceSession.create(model, options);
  const { inputMetadata, outputMetadata } = session;
  const given = Object.entries(feeds).map(([name, value]) => [name, feedOf(value)]);
  const results = await session.run(Object.fromEntries(given));
  const outputs = Object.entries(results).map(([name, value]) => [name, outputOf(value)]);
  await session.release();
  return { inputMetadata, outputMetadata, outputs: Object.fromEntries(outputs) };
}

for (let index = Number(start); index < cases.length; index++) {
  let result;
  try {
    result = await answer(cases[index]);
  } catch ({ name, message, code }) {
    result = { error: { name, message, code } };
  }
  console.log(JSON.stringify({ index, ...result }));
}
