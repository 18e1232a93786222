import { setTimeout as sleep } from 'node:timers/promises';

import { load, Tensor } from 'tenon';

import { encoder } from './harness/batching.mjs';
import { cores, onnxruntimeNodeSession } from './harness/engines.mjs';
import { number } from './harness/figures.mjs';
import { handBatcher } from './harness/hand-batcher.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { quantile } from './harness/statistics.mjs';
import { timeConcurrent } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const blockMs = 1000;
/** In shares of what the contender with the most throughput can do. */
const loads = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85];
const inFlight = 64;
const { input, itemShape, elements } = encoder;
const path = () => modelPath(encoder.model);

/** Milliseconds between requests that come at random, as from many callers: exponential. */
function* gaps(perSecond, seed) {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield (-Math.log(1 - state / 2 ** 32) * 1000) / perSecond;
  }
}

/**
 * Blocks of two kinds. { capacity: calls }: how many calls a second with many in flight.
 * { perSecond, ms, seed }: requests come at that rate, whether or not others have ended; the
 * latencies of those of `ms` milliseconds, from when each was due.
 *
 * @param {() => Promise<unknown>} call
 */
function served(call) {
  const closed = timeConcurrent(call, inFlight);
  return async ({ capacity, perSecond, ms, seed }) => {
    if (capacity !== undefined) return (capacity * 1e9) / (await closed(capacity));
    const latencies = [];
    const running = [];
    const start = performance.now();
    let due = 0;
    for (const gap of gaps(perSecond, seed)) {
      due += gap;
      if (due > ms && running.length > 0) break;
      const since = start + due;
      const wait = since - performance.now();
      // A timer comes up to a millisecond late, for all contenders alike.
      if (wait > 0) await sleep(wait);
      running.push(call().then(() => latencies.push(performance.now() - since)));
    }
    await Promise.all(running);
    return { latencies, perSecond: (1000 * running.length) / (performance.now() - start) };
  };
}

const tenon = (name, options) => ({
  name: `tenon, ${name}`,
  async open() {
    const loaded = await load(path(), options);
    const ids = new Tensor(encoder.dtype, elements(itemShape[0]), [1, ...itemShape]);
    return { block: served(() => loaded.run({ [input]: ids })) };
  },
});

const batching = 'tenon, batching';
const unbatched = 'tenon, unbatched';
const peer = 'onnxruntime-node, hand-written batcher';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Batching: latency at a given load',
  asks:
    'How long do requests take when they come at random, at a rate that does not wait for ' +
    'answers? The transformer encoder, one text a request, Tenon with its defaults; rates in shares of the ' +
    'highest throughput of any contender. Latency counts from when a request was due, so a contender that ' +
    'keeps the event loop, and with it the next request, waiting pays for it.',
  contenders: [
    tenon('unbatched', {}),
    tenon('batching', { batching: true }),
    {
      name: peer,
      async open() {
        const session = await onnxruntimeNodeSession(path(), { intraOp: cores });
        const run = handBatcher(session, { ...encoder, maxBatchSize: 32 });
        const ids = elements(itemShape[0]);
        return { block: served(() => run(ids)) };
      },
    },
  ],
  comparisons: loads.flatMap((share, i) =>
    [unbatched, peer].map((to) => ({ measure: `p99-${i}`, of: batching, to })),
  ),
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (open) => {
      const ms = blockMs * scale;
      const capacities = [];
      for (const { block } of open) {
        await block({ capacity: inFlight });
        capacities.push(await block({ capacity: 4 * inFlight }));
      }
      const most = Math.max(...capacities);
      const rates = loads.map((share) => Number((share * most).toPrecision(2)));
      const measures = [];
      const table = [['Requests a second, offered', 'contender', 'answered', 'p50', 'p99']];
      const lines = open.map(({ name }) => ({ name, p50: [], p99: [] }));
      for (const [i, perSecond] of rates.entries()) {
        let seed = 0;
        const results = await interleave(open, rounds, ({ name, block }) => {
          // All contenders of a round get the same requests.
          if (name === open[0].name) seed++;
          return block({ perSecond, ms, seed });
        });
        const measure = (id, part) => ({
          id: `${id}-${i}`,
          name: `${id} at ${perSecond} a second`,
          caption: `Latency at ${perSecond} requests a second, ${id} of each block`,
          unit: 'ms',
          better: 'lower',
          rows: [...results].map(([contender, blocks]) => ({
            contender,
            samples: blocks.map(({ latencies }) => quantile(latencies, part)),
          })),
        });
        measures.push(measure('p50', 0.5), measure('p99', 0.99));
        for (const { name, p50, p99 } of lines) {
          const blocks = results.get(name);
          const latencies = blocks.flatMap((block) => block.latencies);
          p50.push([perSecond, quantile(latencies, 0.5)]);
          p99.push([perSecond, quantile(latencies, 0.99)]);
          const answered = blocks.reduce((sum, block) => sum + block.perSecond, 0) / blocks.length;
          table.push([
            `${perSecond}`,
            name,
            number(answered),
            `${number(p50.at(-1)[1])} ms`,
            `${number(p99.at(-1)[1])} ms`,
          ]);
        }
      }
      return {
        measures,
        tables: [table],
        charts: ['p50', 'p99'].map((id) => ({
          kind: 'lines',
          id,
          title: `Latency, ${id} of all requests, by the load`,
          xLabel: 'requests a second, offered',
          yLabel: 'ms',
          logarithmic: true,
          series: lines.map((line) => ({ name: line.name, points: line[id] })),
        })),
      };
    }),
};
