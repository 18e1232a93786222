import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

import { load, Tensor } from 'tenon';

import {
  cores,
  floatElements,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { median } from './harness/statistics.mjs';
import { modelPath } from './models/index.mjs';

const resolutionMs = 1;
const blockMs = 2000;
const shape = [1, 3, 224, 224];
const model = () => modelPath('mobilenet-v2');
const parts = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];

/**
 * A block of `ms` milliseconds in which `work` keeps going, and the event loop's delay in it.
 *
 * @param {(until: number) => Promise<unknown>} work
 */
function observed(work) {
  return async (ms) => {
    const delay = monitorEventLoopDelay({ resolution: resolutionMs });
    delay.enable();
    await work(performance.now() + ms);
    delay.disable();
    return parts.map((part) => (part === 1 ? delay.max : delay.percentile(part * 100)) / 1e6);
  };
}

/** Keeps `inFlight` calls going; one that ends starts the next. */
const flatOut = (call, inFlight) => async (until) => {
  const caller = async () => {
    while (performance.now() < until) await call();
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
};

const tenon = (name, options) => ({
  name,
  async open() {
    const loaded = await load(model(), options);
    const image = Tensor.alloc('float32', shape);
    image.data.set(floatElements(image.size));
    return { block: observed(flatOut(() => loaded.run({ image }), 2 * cores)) };
  },
});

const idle = 'an idle process';
const allCores = 'tenon, all cores';
const peer = 'onnxruntime-node, all cores';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The event loop while a vision model runs flat out',
  asks:
    'How late are timers while MobileNetV2 (1×3×224×224) keeps every core busy? Measured by ' +
    `perf_hooks.monitorEventLoopDelay, whose own resolution of ${resolutionMs} ms is part of ` +
    'every figure, the idle process’s included. Tenon has more calls in flight than it can run at ' +
    'a time; onnxruntime-node has one, because it runs them all, one after the other, before a ' +
    'timer gets its turn.',
  contenders: [
    { name: idle, open: () => ({ block: observed((until) => sleep(until - performance.now())) }) },
    tenon(allCores, { threads: { intraOp: 1 }, pool: { lanes: cores } }),
    ...(cores > 1
      ? [
          tenon('tenon, one core left', {
            threads: { intraOp: 1 },
            pool: { lanes: cores - 1 },
          }),
        ]
      : []),
    {
      name: peer,
      async open() {
        const session = await onnxruntimeNodeSession(model(), { intraOp: cores });
        const { Tensor: OrtTensor } = onnxruntimeNode();
        const image = new OrtTensor('float32', floatElements(3 * 224 * 224), shape);
        return { block: observed(flatOut(() => session.run({ image }), 1)) };
      },
    },
  ],
  ratios: [],
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (open) => {
      const ms = blockMs * scale;
      // Loads what is loaded late, and compiles what is called often.
      for (const { block } of open) await block(ms / 4);
      const results = await interleave(open, rounds, ({ block }) => block(ms));
      const rows = (part) =>
        [...results].map(([contender, blocks]) => ({
          contender,
          samples: blocks.map((block) => block[parts.indexOf(part)]),
        }));
      const p99 = rows(0.99);
      const of = (name) => p99.find(({ contender }) => contender === name);
      return {
        measures: [
          {
            id: 'p50',
            caption: 'Delay, p50 of each block',
            unit: 'ms',
            better: 'lower',
            rows: rows(0.5),
          },
          {
            id: 'p99',
            caption: 'Delay, p99 of each block',
            unit: 'ms',
            better: 'lower',
            rows: p99,
          },
          {
            id: 'max',
            caption: 'Delay, maximum of each block',
            unit: 'ms',
            better: 'lower',
            rows: rows(1),
          },
        ],
        differences: [
          { measure: 'p99', of: allCores, to: idle, target: { atMost: 1 } },
          { measure: 'p99', of: peer, to: idle },
        ].filter(({ of: a, to: b }) => of(a) && of(b)),
        charts: [
          {
            id: 'delay',
            title: 'Event-loop delay, median of the blocks',
            logarithmic: true,
            xLabel: 'part of the samples that are no later',
            yLabel: 'ms',
            xTicks: parts.map((part) => `${Number((part * 100).toFixed(2))} %`),
            series: [...results].map(([contender, blocks]) => ({
              name: contender,
              points: parts.map((_, x) => [x, median(blocks.map((block) => block[x]))]),
            })),
          },
        ],
      };
    }),
};
