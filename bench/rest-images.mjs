import path from 'node:path';

import { root } from '../scripts/run-command.mjs';
import { httpCaller, serveTenon, wallTime } from './harness/http.mjs';
import { imageBody, predictUrl, serveByHand } from './harness/images.mjs';
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

const called = (port, { name, shape }) => ({
  block: wallTime(httpCaller(port, { path: predictUrl(name), body: imageBody(shape), inFlight })),
});

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
      open: async () => called(await serveByHand(model), model),
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
