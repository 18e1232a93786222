import { load, Tensor } from 'tenon';

import { floorTensorFlow, tensorflowLibrary } from './harness/engines.mjs';
import { timeAwaited, timeSync } from './harness/timing.mjs';
import { halfPlusTwo } from './models/index.mjs';

async function tenonModel() {
  tensorflowLibrary();
  const loaded = await load(halfPlusTwo, { threads: { intraOp: 1, interOp: 1 } });
  const x = Tensor.alloc('float32', [1]);
  x.data[0] = 3;
  return { loaded, feeds: { x } };
}

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Calls of a tiny TensorFlow graph',
  asks:
    'What does Tenon add to TF_SessionRun? half_plus_two, y = x / 2 + 2, one thread. TensorFlow ' +
    'hands each run to a thread of its own, unless it is told to run on the calling thread, which ' +
    'Tenon does where it measures that to be faster: hence two floors. There is no ' +
    'onnxruntime-node here; tfjs-node does not install on current versions of Node.',
  calls: { caption: 'Time of one call', unit: 'µs' },
  contenders: [
    {
      name: 'C: TF_SessionRun',
      floor: {
        load: () => floorTensorFlow(halfPlusTwo, { input: 'x', output: 'y' }),
        mode: 'run',
      },
    },
    {
      name: 'C: TF_SessionRun, on the calling thread',
      floor: {
        load: () => floorTensorFlow(halfPlusTwo, { interOp: -1, input: 'x', output: 'y' }),
        mode: 'run',
      },
    },
    {
      name: 'tenon: model.runSync',
      async open() {
        const { loaded, feeds } = await tenonModel();
        return { block: timeSync(() => loaded.runSync(feeds)) };
      },
    },
    {
      name: 'tenon: binding.runSync',
      async open() {
        const { loaded, feeds } = await tenonModel();
        const binding = await loaded.bind(feeds);
        return { block: timeSync(() => binding.runSync()) };
      },
    },
    {
      name: 'tenon: await run',
      async open() {
        const { loaded, feeds } = await tenonModel();
        return { block: timeAwaited(() => loaded.run(feeds)) };
      },
    },
  ],
  comparisons: [
    {
      figure: 'TensorFlow, tiny graph: `runSync` ÷ the C call',
      of: 'tenon: model.runSync',
      to: 'C: TF_SessionRun',
      target: { atMost: 1.2 },
    },
    {
      figure: 'the same ÷ the C call that runs on the calling thread',
      of: 'tenon: model.runSync',
      to: 'C: TF_SessionRun, on the calling thread',
      target: { atMost: 1.2 },
    },
    { of: 'tenon: binding.runSync', to: 'C: TF_SessionRun, on the calling thread' },
  ],
};
