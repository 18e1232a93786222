import { load, Tensor } from 'tenon';

import { floatElements } from './harness/engines.mjs';
import { timeAwaited } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

/** Models whose own time does not hide a microsecond: some runs of the MLP differ by ten. */
const models = [
  { name: 'linear layer', model: 'linear', shape: [1, 4] },
  { name: 'MLP', model: 'mlp', shape: [1, 784] },
];

const contender = ({ name, model, shape }, kind, options) => ({
  name: `${name}, ${kind}`,
  async open() {
    const loaded = await load(modelPath(model), { threads: { intraOp: 1 }, ...options });
    const x = new Tensor('float32', floatElements(shape[1]), shape);
    return { block: timeAwaited(() => loaded.run({ x })) };
  },
});

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Batching: what a lone request pays',
  asks:
    'What does batching add to a request that nobody shares a batch with? One request at a time, ' +
    'of a linear layer and of the MLP. Both run on the calling thread, but for a run in ten of the ' +
    'MLP, after which the event loop gets its turn.',
  calls: { caption: 'Time of one request', unit: 'µs' },
  blockMs: 100,
  contenders: models.flatMap((model) => [
    contender(model, 'unbatched', {}),
    contender(model, 'batching', { batching: true }),
  ]),
  comparisons: models.map(({ name }) => ({
    figure: `batching, a lone request of the ${name}: time added`,
    kind: 'difference',
    unit: 'µs',
    of: `${name}, batching`,
    to: `${name}, unbatched`,
    target: { atMost: 5 },
  })),
};
