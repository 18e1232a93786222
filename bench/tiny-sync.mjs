import { load, Tensor } from 'tenon';

import {
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { timeAwaited, timeSync } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const model = () => modelPath('linear');
const floor = (mode) => ({ load: () => floorOnnx(model()), mode });

async function tenonModel() {
  const loaded = await load(model(), { threads: { intraOp: 1 } });
  return { loaded, feeds: { x: new Tensor('float32', floatElements(4), [1, 4]) } };
}

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Synchronous calls of a tiny model',
  asks:
    'What does Tenon add to the engine’s own call? A linear layer, 4 → 1, one thread; feeds are ' +
    'made once.',
  calls: { caption: 'Time of one call', unit: 'µs' },
  contenders: [
    { name: 'C: Run', floor: floor('run') },
    { name: 'C: Run, preallocated', floor: floor('preallocated') },
    { name: 'C: RunWithBinding', floor: floor('bound') },
    {
      name: 'tenon: model.runSync',
      async open() {
        const { loaded, feeds } = await tenonModel();
        return { block: timeSync(() => loaded.runSync(feeds)) };
      },
    },
    {
      name: 'tenon: model.runSync, preallocated',
      async open() {
        const { loaded, feeds } = await tenonModel();
        const options = { outputs: { y: Tensor.alloc('float32', [1, 1]) } };
        return { block: timeSync(() => loaded.runSync(feeds, options)) };
      },
    },
    {
      name: 'tenon: binding.runSync',
      async open() {
        const { loaded } = await tenonModel();
        const x = Tensor.alloc('float32', [1, 4]);
        x.data.set(floatElements(4));
        const y = Tensor.alloc('float32', [1, 1]);
        const binding = await loaded.bind({ x }, { outputs: { y } });
        return { block: timeSync(() => binding.runSync()) };
      },
    },
    {
      name: 'onnxruntime-node: await run',
      async open() {
        const session = await onnxruntimeNodeSession(model());
        const { Tensor: OrtTensor } = onnxruntimeNode();
        const feeds = { x: new OrtTensor('float32', floatElements(4), [1, 4]) };
        return { block: timeAwaited(() => session.run(feeds)) };
      },
    },
  ],
  comparisons: [
    {
      figure: 'tiny model: `binding.runSync()` ÷ the C call, bound',
      of: 'tenon: binding.runSync',
      to: 'C: RunWithBinding',
      target: { atMost: 1.2 },
    },
    {
      figure: 'tiny model: `model.runSync()` ÷ onnxruntime-node’s `await run()`',
      of: 'tenon: model.runSync',
      to: 'onnxruntime-node: await run',
      target: { atMost: 0.4 },
    },
    { of: 'tenon: model.runSync', to: 'C: Run' },
    { of: 'tenon: model.runSync, preallocated', to: 'C: Run, preallocated' },
  ],
};
