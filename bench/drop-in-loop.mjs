import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

import * as dropIn from 'tenon/onnxruntime';

import { cores, floatElements, onnxruntimeNode, sessionOptions } from './harness/engines.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { modelPath } from './models/index.mjs';

const blockMs = 1000;
const inFlight = 10;
const shape = [1, 3, 224, 224];
const idle = 'an idle process';
const own = 'tenon/onnxruntime';
const peer = 'onnxruntime-node';

/** The longest the event loop kept a timer of 1 ms waiting, and calls a second. */
function observed(call) {
  return async (ms) => {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    let calls = 0;
    delay.enable();
    const start = performance.now();
    const caller = async () => {
      for (; performance.now() < start + ms; calls++) await call();
    };
    await Promise.all(Array.from({ length: call === undefined ? 0 : inFlight }, caller));
    if (call === undefined) await sleep(ms);
    const seconds = (performance.now() - start) / 1e3;
    delay.disable();
    return { gap: delay.max / 1e6, rate: calls / seconds };
  };
}

const contender = (name, moduleOf) => ({
  name,
  async open() {
    const { InferenceSession, Tensor } = moduleOf();
    const options = sessionOptions({ intraOp: cores });
    const session = await InferenceSession.create(modelPath('mobilenet-v2'), options);
    const image = new Tensor('float32', floatElements(3 * 224 * 224), shape);
    return { block: observed(() => session.run({ image })) };
  },
});

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The event loop while ten images go through the drop-in',
  asks:
    'How long does the event loop keep a timer waiting while ten callers send MobileNetV2 ' +
    '(1×3×224×224) one image after the other? The longest gap of each block, the 1 ms between two ' +
    'looks included.',
  contenders: [
    { name: idle, open: () => ({ block: observed() }) },
    contender(own, () => dropIn),
    contender(peer, onnxruntimeNode),
  ],
  comparisons: [
    {
      figure: 'drop-in, ten images in flight: longest event-loop gap − the idle process’s',
      kind: 'difference',
      measure: 'gap',
      unit: 'ms',
      of: own,
      to: idle,
      target: { atMost: 2 },
    },
    { kind: 'difference', measure: 'gap', unit: 'ms', of: peer, to: idle },
    { measure: 'rate', of: own, to: peer },
  ],
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (open) => {
      for (const { block } of open) await block((blockMs * scale) / 2);
      const results = await interleave(open, rounds, ({ block }) => block(blockMs * scale));
      const measure = (id, caption, unit, better) => ({
        id,
        caption,
        unit,
        better,
        rows: [...results]
          .filter(([name]) => id === 'gap' || name !== idle)
          .map(([name, blocks]) => ({ contender: name, samples: blocks.map((one) => one[id]) })),
      });
      return {
        measures: [
          measure('gap', 'Longest gap of each block', 'ms', 'lower'),
          measure('rate', 'Images a second', '1/s', 'higher'),
        ],
      };
    }),
};
