import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { load, Tensor } from 'tenon';

import { floorProgram } from './harness/build.mjs';
import {
  cores,
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { delayMeasure, interleave, withContenders } from './harness/measure.mjs';
import { loopDelay } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const resolutionMs = 1;
const blockMs = 2000;
/** About as often as two cores have an image done. */
const wakeMs = 4;
const shape = [1, 3, 224, 224];
const model = () => modelPath('mobilenet-v2');

/** Upper bounds of the chart's bars, in ms; the last one has what is above. */
const bounds = [1.1, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, Infinity];

/**
 * A block of `ms` milliseconds in which `work` keeps going, and the event loop's delay in it.
 *
 * @param {(until: number) => Promise<unknown>} work
 */
function observed(work) {
  return async (ms) => {
    const delay = await loopDelay(work, ms, resolutionMs);
    const at = (percent) => delay.percentile(percent) / 1e6;
    // Every thousandth of the samples, as many as a block of two seconds has.
    const thousandths = Array.from({ length: 1000 }, (_, i) => at((i + 1) / 10));
    return {
      p50: at(50),
      p99: at(99),
      max: delay.max / 1e6,
      bars: bounds.map(
        (bound, i) =>
          thousandths.filter((ms) => ms <= bound && ms > (bounds[i - 1] ?? 0)).length / 10,
      ),
    };
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

/** Has the C program, a process of its own, run the model on every core. */
async function besideTheEngine() {
  const program = spawn(floorProgram(), { stdio: ['pipe', 'pipe', 2] });
  process.once('exit', () => program.kill());
  const answers = createInterface(program.stdout)[Symbol.asyncIterator]();
  const command = async (...words) => {
    program.stdin.write(`${words.join('\t')}\n`);
    return (await answers.next()).value;
  };
  const run = async (calls) => Number(await command('run', 'run', calls, cores));
  await command(...floorOnnx(model()));
  await run(2 * cores);
  const perCall = (await run(8 * cores)) / (8 * cores) / 1e6;
  return async (until) => {
    const ms = until - performance.now();
    await Promise.all([sleep(ms), run(Math.ceil(ms / perCall))]);
  };
}

/** As often as results come, a message wakes the event loop, and nothing else happens. */
function woken() {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const nobody = new Int32Array(new SharedArrayBuffer(4));
     for (;;) {
       Atomics.wait(nobody, 0, 0, ${wakeMs});
       parentPort.postMessage(undefined);
     }`,
    { eval: true },
  );
  worker.on('message', () => undefined);
  return (until) => sleep(until - performance.now());
}

const idle = 'an idle process';
const idleWoken = `idle, woken every ${wakeMs} ms`;
const idleBeside = 'idle, beside the C program';
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
    'timer gets its turn. An idle process while the C program, another process, does the same work ' +
    'shows what the operating system’s scheduler takes; one that is woken as often as results come, ' +
    'what Node’s timers do: they count whole milliseconds.',
  contenders: [
    { name: idle, open: () => ({ block: observed((until) => sleep(until - performance.now())) }) },
    { name: idleWoken, open: () => ({ block: observed(woken()) }) },
    {
      name: idleBeside,
      open: async () => ({ block: observed(await besideTheEngine()) }),
    },
    tenon(allCores, { threads: { intraOp: 1 }, pool: { lanes: cores } }),
    tenon('tenon, all cores, niceness 0', {
      threads: { intraOp: 1 },
      pool: { lanes: cores },
      niceness: 0,
    }),
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
  comparisons: [
    {
      figure: 'event-loop delay while a vision model runs flat out: p99 − the idle process’s',
      kind: 'difference',
      measure: 'p99',
      unit: 'ms',
      of: allCores,
      to: idle,
      target: { atMost: 1 },
    },
    { kind: 'difference', measure: 'p99', of: allCores, to: idleWoken },
    { kind: 'difference', measure: 'p99', of: idleBeside, to: idle },
    { kind: 'difference', measure: 'p99', of: peer, to: idle },
  ],
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (open) => {
      const ms = blockMs * scale;
      // Loads what is loaded late, and compiles what is called often.
      for (const { block } of open) await block(ms / 4);
      const results = await interleave(open, rounds, ({ block }) => block(ms));
      const measure = (id, name) => delayMeasure(results, id, name);
      return {
        measures: [measure('p50', 'p50'), measure('p99', 'p99'), measure('max', 'maximum')],
        charts: [
          {
            kind: 'histogram',
            id: 'delay',
            title: 'Event-loop delay: share of the samples of all blocks',
            xLabel: 'ms, up to and with; the resolution of 1 ms included',
            bars: bounds.map((bound) => (bound === Infinity ? 'more' : `${bound}`)),
            series: [...results].map(([name, blocks]) => ({
              name,
              shares: bounds.map(
                (_, bar) => blocks.reduce((sum, { bars }) => sum + bars[bar], 0) / blocks.length,
              ),
            })),
          },
        ],
      };
    }),
};
