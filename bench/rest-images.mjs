import path from 'node:path';

import { root } from '../scripts/run-command.mjs';
import { floatElements, onnxruntimeNode, onnxruntimeNodeSession } from './harness/engines.mjs';
import { httpCaller, serveFastify, serveTenon, wallTime } from './harness/http.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 4;

/** By how much the engine has to do: each with the shape of one image. */
const models = [
  {
    name: 'means',
    title: 'the means of an image',
    file: () => modelPath('image-means'),
    shape: [3, 224, 224],
  },
  {
    name: 'mobilenet',
    title: 'MobileNetV2',
    file: () => modelPath('mobilenet-v2'),
    shape: [3, 224, 224],
  },
  {
    name: 'digits',
    title: 'digits of 8×8',
    file: () => path.join(root, 'test/fixtures/models/digits_cnn.onnx'),
    shape: [8, 8, 1],
  },
];

const urlOf = (name) => `/v1/models/${name}:predict`;

/** One image as JSON, with the digits that a float32 takes. */
function bodyOf(shape) {
  const values = floatElements(shape.reduce((product, size) => product * size, 1));
  let next = 0;
  const build = ([size, ...rest]) =>
    Array.from({ length: size }, () =>
      rest.length > 0 ? build(rest) : Number(values[next++].toPrecision(8)),
    );
  return JSON.stringify({ instances: [build(shape)] });
}

const called = (port, { name, shape }) => ({
  block: wallTime(httpCaller(port, { path: urlOf(name), body: bodyOf(shape), inFlight })),
});

/** What one writes by hand: JSON.parse, flattened into a Float32Array, run, JSON.stringify. */
async function byHand({ name, file, shape }) {
  const { Tensor } = onnxruntimeNode();
  const session = await onnxruntimeNodeSession(file());
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return serveFastify(urlOf(name), async (body) => {
    const { instances } = JSON.parse(body.toString());
    const data = Float32Array.from(instances.flat(Infinity));
    const results = await session.run({
      [input]: new Tensor('float32', data, [instances.length, ...shape]),
    });
    const { data: values, dims } = results[output];
    const [rows, columns] = dims;
    const predictions = Array.from({ length: rows }, (_, row) =>
      Array.from(values.subarray(row * columns, (row + 1) * columns)),
    );
    return JSON.stringify({ predictions });
  });
}

/** Where the engine is not what takes the time. */
const figure = {
  figure: 'REST predict, 224×224×3 as JSON: Fastify over onnxruntime-node ÷ Tenon',
  target: { atLeast: 4 },
};

const own = ({ title }) => `tenon: ${title}`;
const peer = ({ title }) => `Fastify and onnxruntime-node: ${title}`;

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'REST: a predict of an image as JSON',
  asks:
    'How long does a request take, one after the other over each of ' +
    `${inFlight} connections, where its body is an image as JSON? Tenon’s server, and a route of ` +
    'Fastify that parses, flattens, runs onnxruntime-node and answers, both with one engine thread ' +
    'a run. MobileNetV2 is mostly the engine; what the server does by itself shows where the model ' +
    'does next to nothing.',
  blockMs: 600,
  calls: { caption: 'time for one request', unit: 'µs' },
  contenders: models.flatMap((model) => [
    {
      name: peer(model),
      open: async () => called(await byHand(model), model),
    },
    {
      name: own(model),
      open: async () => called(await serveTenon(model.name, model.file()), model),
    },
  ]),
  comparisons: models.map((model) => ({
    of: peer(model),
    to: own(model),
    ...(model.name === 'means' ? figure : {}),
  })),
};
