import { createRequire } from 'node:module';

import { load, Tensor } from 'tenon';

import { nodeApiAddon } from './harness/build.mjs';
import {
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { timeAwaited } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const model = () => modelPath('linear');
const tenonFeeds = () => ({ x: new Tensor('float32', floatElements(4), [1, 4]) });
const nodeApi = () => createRequire(import.meta.url)(nodeApiAddon());

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Awaited calls of a tiny model, one at a time',
  asks:
    'What does a promise cost, and what a hand-off to another thread and back? The linear layer ' +
    'again, each call awaited before the next.',
  calls: { caption: 'Time of one call', unit: 'µs' },
  contenders: [
    { name: 'C: Run', floor: { load: () => floorOnnx(model()), mode: 'run' } },
    {
      name: 'Node-API: a settled promise',
      open: () => ({ block: timeAwaited(nodeApi().settle) }),
    },
    {
      name: 'Node-API: a thread round trip',
      open: () => ({ block: timeAwaited(nodeApi().roundTrip) }),
    },
    {
      name: 'Node-API: a thread round trip, with C: Run on it',
      open() {
        const floor = nodeApi();
        floor.load(process.env.TENON_ONNXRUNTIME_LIBRARY, model());
        return { block: timeAwaited(floor.roundTrip) };
      },
    },
    {
      name: 'tenon: await run',
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 } });
        const feeds = tenonFeeds();
        return { block: timeAwaited(() => loaded.run(feeds)) };
      },
    },
    {
      name: 'tenon: await run, on a lane',
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 }, inline: 'never' });
        const feeds = tenonFeeds();
        return { block: timeAwaited(() => loaded.run(feeds)) };
      },
    },
    {
      name: 'tenon: await binding.run',
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 } });
        const outputs = { y: Tensor.alloc('float32', [1, 1]) };
        const binding = await loaded.bind(tenonFeeds(), { outputs });
        return { block: timeAwaited(() => binding.run()) };
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
      figure: 'tiny model, one at a time: `await model.run()` ÷ onnxruntime-node’s',
      of: 'tenon: await run',
      to: 'onnxruntime-node: await run',
      target: { atMost: 1 },
    },
    {
      figure: 'the same on a lane ÷ a bare Node-API thread round trip',
      of: 'tenon: await run, on a lane',
      to: 'Node-API: a thread round trip',
      target: { atMost: 1.3 },
    },
    {
      of: 'tenon: await run, on a lane',
      to: 'Node-API: a thread round trip, with C: Run on it',
    },
  ],
};
