import { floatElements } from './harness/engines.mjs';
import { httpCaller, serveTenon, wallTime } from './harness/http.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 4;
const shape = [1, 3, 224, 224];
const url = '/v2/models/means/infer';

const pixels = () => floatElements(shape.reduce((product, size) => product * size, 1));

/** The image with the digits that a float32 takes. */
function jsonRequest(name) {
  const data = Array.from(pixels(), (value) => Number(value.toPrecision(8)));
  return { body: JSON.stringify({ inputs: [{ name, shape, datatype: 'FP32', data }] }) };
}

/** The image's bytes behind the JSON that announces them, and the answer in that form as well. */
function binaryRequest(name) {
  const { buffer, byteOffset, byteLength } = pixels();
  const tensor = Buffer.from(buffer, byteOffset, byteLength);
  const header = Buffer.from(
    JSON.stringify({
      parameters: { binary_data_output: true },
      inputs: [{ name, shape, datatype: 'FP32', parameters: { binary_data_size: byteLength } }],
    }),
  );
  return {
    body: Buffer.concat([header, tensor]),
    headers: { 'Inference-Header-Content-Length': String(header.length) },
  };
}

/** @param {(name: string) => { body: string | Buffer, headers?: Record<string, string> }} request */
async function called(request) {
  const port = await serveTenon('means', modelPath('image-means'));
  const metadata = await fetch(`http://127.0.0.1:${port}/v2/models/means`);
  const { inputs } = await metadata.json();
  const caller = httpCaller(port, { path: url, inFlight, ...request(inputs[0].name) });
  return { block: wallTime(caller) };
}

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'REST: the Open Inference Protocol, an image in binary and as JSON',
  asks:
    'How long does an inference take, one after the other over each of ' +
    `${inFlight} connections, with an image of 224×224×3 as FP32, in the protocol’s binary form and ` +
    'as JSON? The model gives the image’s means, so that the server and not the engine is measured.',
  blockMs: 600,
  calls: { caption: 'time for one request', unit: 'µs' },
  contenders: [
    { name: 'JSON', open: () => called(jsonRequest) },
    { name: 'binary', open: () => called(binaryRequest) },
  ],
  comparisons: [
    {
      of: 'JSON',
      to: 'binary',
      figure: 'Open Inference Protocol over REST, 224×224×3: JSON ÷ binary',
      target: { atLeast: 3 },
    },
  ],
};
