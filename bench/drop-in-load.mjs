import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

import * as dropIn from 'tenon/onnxruntime';

import { onnxruntimeNode, sessionOptions } from './harness/engines.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { modelPath } from './models/index.mjs';

const own = 'tenon/onnxruntime';
const peer = 'onnxruntime-node';

const contender = (name, moduleOf) => ({
  name,
  async open() {
    const { InferenceSession } = moduleOf();
    const file = modelPath('large');
    const block = async () => {
      const delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
      // The monitor counts from its first look on.
      await sleep(5);
      const start = performance.now();
      const session = await InferenceSession.create(file, sessionOptions());
      const time = performance.now() - start;
      // One that held the loop is seen by the look after it.
      await sleep(5);
      delay.disable();
      await session.release();
      return { time, gap: delay.max / 1e6 };
    };
    return { block };
  },
});

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Loading a model of 205 MB through the drop-in',
  asks:
    'How long does `InferenceSession.create()` take from a file that the operating system has in ' +
    'memory, and how long does it keep the event loop from its turn meanwhile?',
  contenders: [contender(own, () => dropIn), contender(peer, onnxruntimeNode)],
  comparisons: [
    { measure: 'time', of: own, to: peer },
    { measure: 'gap', of: own, to: peer },
  ],
  measure: ({ question, contenders, rounds }) =>
    withContenders(question, contenders, async (open) => {
      for (const { block } of open) await block(1);
      const results = await interleave(open, rounds, ({ block }) => block(1));
      const measure = (id, caption) => ({
        id,
        caption,
        unit: 'ms',
        better: 'lower',
        rows: [...results].map(([name, blocks]) => ({
          contender: name,
          samples: blocks.map((one) => one[id]),
        })),
      });
      return {
        measures: [
          measure('time', 'Time of one load'),
          measure('gap', 'Longest gap of the event loop meanwhile'),
        ],
      };
    }),
};
