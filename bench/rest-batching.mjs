import { floatElements } from './harness/engines.mjs';
import { httpCaller, startTenon, wallTime } from './harness/http.mjs';
import { predictUrl } from './harness/images.mjs';
import { modelPath } from './models/index.mjs';

const clients = 64;

/** By name, with the size of one item. */
const models = { linear: 4, mlp: 784 };
const batching = { off: false, on: { maxBatchSize: clients, verifyBatching: 'warn' } };

const named = (model, state) => `${model}, batching ${state}`;

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Batching of the server',
  asks:
    'How many requests a second does the server answer with batching, and how many without? ' +
    `${clients} clients in another process, each with a connection and one item a request: four ` +
    'floats for the linear layer, 784 for the multilayer perceptron, whose JSON the main thread ' +
    'hands to the codec. One engine thread a run.',
  blockMs: 500,
  calls: { caption: 'requests a second', unit: '1/s' },
  contenders: Object.entries(models).flatMap(([model, size]) =>
    Object.entries(batching).map(([state, options]) => ({
      name: named(model, state),
      async open() {
        const { restPort } = await startTenon({
          models: { [model]: modelPath(model) },
          grpc: false,
          load: { batching: options },
        });
        const item = Array.from(floatElements(size), (value) => Number(value.toPrecision(8)));
        const body = JSON.stringify({ instances: [item] });
        const request = { path: predictUrl(model), body, inFlight: clients };
        return { block: wallTime(httpCaller(restPort, request)) };
      },
    })),
  ),
  comparisons: Object.keys(models).map((model) => ({
    of: named(model, 'on'),
    to: named(model, 'off'),
  })),
};
