import { setTimeout as sleep } from 'node:timers/promises';

import { httpCaller, serveTenon } from './harness/http.mjs';
import { imageBody, predictUrl, serveByHand } from './harness/images.mjs';
import { delayMeasure, interleave, withContenders } from './harness/measure.mjs';
import { loopDelay } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const resolutionMs = 1;
const blockMs = 4000;
const inFlight = 4;
const model = {
  name: 'means',
  file: () => modelPath('image-means'),
  shape: [3, 224, 224],
};

/** A block of `ms` milliseconds in which `work` keeps going, and the event loop's delay in it. */
function observed(work) {
  return async (ms) => {
    const delay = await loopDelay(work, ms, resolutionMs);
    const at = (percent) => delay.percentile(percent) / 1e6;
    return { p50: at(50), p99: at(99), p999: at(99.9), max: delay.max / 1e6 };
  };
}

/** Images come in all the while, a few at a time. */
function asked(port) {
  const body = imageBody(model.shape);
  const call = httpCaller(port, { path: predictUrl(model.name), body, inFlight });
  return observed(async (until) => {
    while (performance.now() < until) await call(4 * inFlight);
  });
}

const idle = 'an idle process';
const tenon = 'tenon';
const byHand = 'Fastify and onnxruntime-node';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The event loop while images come in as JSON',
  asks:
    'How late are timers of the server while images of 3×224×224 floats come in as JSON over ' +
    `${inFlight} connections from another process? Measured in the server's process by ` +
    `perf_hooks.monitorEventLoopDelay, whose own resolution of ${resolutionMs} ms is part of every ` +
    'figure, the idle process’s included. The model does next to nothing. Beside it the route of ' +
    'Fastify that parses, flattens, runs onnxruntime-node and answers.',
  contenders: [
    { name: idle, open: () => ({ block: observed((until) => sleep(until - performance.now())) }) },
    {
      name: tenon,
      open: async () => ({ block: asked(await serveTenon(model.name, model.file())) }),
    },
    { name: byHand, open: async () => ({ block: asked(await serveByHand(model)) }) },
  ],
  comparisons: [
    {
      figure: 'event-loop delay of the server while images come in: p99.9 − the idle process’s',
      kind: 'difference',
      measure: 'p999',
      unit: 'ms',
      of: tenon,
      to: idle,
      target: { atMost: 3 },
    },
    { kind: 'difference', measure: 'p99', of: tenon, to: idle },
    { kind: 'difference', measure: 'p999', of: byHand, to: idle },
  ],
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (opened) => {
      const ms = blockMs * scale;
      for (const { block } of opened) await block(ms / 4);
      const results = await interleave(opened, rounds, ({ block }) => block(ms));
      const measure = (id, name) => delayMeasure(results, id, name);
      return {
        measures: [
          measure('p999', 'p99.9'),
          measure('p99', 'p99'),
          measure('p50', 'p50'),
          measure('max', 'maximum'),
        ],
      };
    }),
};
