import { load, Tensor } from 'tenon';

import {
  cores,
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { timeAwaited, timeConcurrent } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 64;
const model = () => modelPath('linear');
const onnxruntimeNodeWith = (name, timed) => ({
  name: `onnxruntime-node: ${name}`,
  async open() {
    const session = await onnxruntimeNodeSession(model());
    const { Tensor: OrtTensor } = onnxruntimeNode();
    const feeds = { x: new OrtTensor('float32', floatElements(4), [1, 4]) };
    return { block: timed(() => session.run(feeds)) };
  },
});
const tenonFeeds = () => ({ x: new Tensor('float32', floatElements(4), [1, 4]) });

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: `A tiny model, ${inFlight} calls in flight`,
  asks: 'How many calls a second does one process make when callers do not wait for each other?',
  calls: { caption: 'Calls a second', unit: '1/s' },
  blockMs: 100,
  contenders: [
    {
      name: `C: Run, ${cores} threads`,
      floor: { load: () => floorOnnx(model()), mode: 'run', callers: cores },
    },
    {
      name: 'tenon: run',
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 } });
        const feeds = tenonFeeds();
        return { block: timeConcurrent(() => loaded.run(feeds), inFlight) };
      },
    },
    {
      name: 'tenon: run, on lanes',
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 }, inline: 'never' });
        const feeds = tenonFeeds();
        return { block: timeConcurrent(() => loaded.run(feeds), inFlight) };
      },
    },
    onnxruntimeNodeWith(`${inFlight} in flight`, (call) => timeConcurrent(call, inFlight)),
    onnxruntimeNodeWith('one at a time', timeAwaited),
  ],
  comparisons: [
    {
      figure: `tiny model, ${inFlight} in flight: calls a second ÷ onnxruntime-node’s`,
      of: 'tenon: run',
      to: {
        name: 'onnxruntime-node at its best',
        bestOf: [`onnxruntime-node: ${inFlight} in flight`, 'onnxruntime-node: one at a time'],
      },
      target: { atLeast: 2.5 },
    },
    {
      of: 'tenon: run, on lanes',
      to: `onnxruntime-node: ${inFlight} in flight`,
    },
  ],
};
