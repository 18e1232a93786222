import * as dropIn from 'tenon/onnxruntime';

import { floatElements, onnxruntimeNode, sessionOptions } from './harness/engines.mjs';
import { timeAwaited, timeConcurrent, timeSync } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 10;
const own = 'tenon/onnxruntime';
const peer = 'onnxruntime-node';

const contender = (name, how, moduleOf, timed) => ({
  name: `${name}: ${how}`,
  async open() {
    const { InferenceSession, Tensor } = moduleOf();
    const session = await InferenceSession.create(modelPath('linear'), sessionOptions());
    const feeds = { x: new Tensor('float32', floatElements(4), [1, 4]) };
    return { block: timed(session, feeds) };
  },
});
const ways = {
  'one at a time': (session, feeds) => timeAwaited(() => session.run(feeds)),
  [`${inFlight} in flight`]: (session, feeds) => timeConcurrent(() => session.run(feeds), inFlight),
};

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'A tiny model through the drop-in for onnxruntime-node',
  asks:
    'What does a call cost that is made through `tenon/onnxruntime`, beside the same line through ' +
    'onnxruntime-node? The linear layer, alone and with ten calls in flight.',
  calls: { caption: 'Time of one call', unit: 'µs' },
  contenders: [
    ...Object.entries(ways).flatMap(([how, timed]) => [
      contender(own, how, () => dropIn, timed),
      contender(peer, how, onnxruntimeNode, timed),
    ]),
    contender(
      own,
      'runSync',
      () => dropIn,
      (session, feeds) => timeSync(() => session.runSync(feeds)),
    ),
  ],
  comparisons: [
    {
      figure: 'drop-in, tiny model, one at a time ÷ onnxruntime-node’s',
      of: `${own}: one at a time`,
      to: `${peer}: one at a time`,
      target: { atMost: 0.8 },
    },
    {
      figure: `drop-in, tiny model, ${inFlight} in flight ÷ onnxruntime-node’s`,
      of: `${own}: ${inFlight} in flight`,
      to: `${peer}: ${inFlight} in flight`,
      target: { atMost: 0.5 },
    },
  ],
};
