import { pathToFileURL } from 'node:url';

import { batchingParts, buildBatchingParts } from './harness/build.mjs';
import { measureCalls } from './harness/measure.mjs';

/** Requests that are made at once; each is waited for. */
const wave = 256;

/** Runs nothing: every request gets the same output. */
function noOpRunner() {
  const outputs = [[1, [1, 1], new Float32Array(1)]];
  const memberOutputs = Array.from({ length: wave }, () => outputs);
  return {
    run: async () => outputs,
    runBatch: async ({ members }) =>
      members.length === wave ? memberOutputs : memberOutputs.slice(0, members.length),
    cancel: () => undefined,
    load: () => ({ lanes: 2, busy: 0, waiting: 0 }),
    close: async () => undefined,
    destroy: async () => undefined,
  };
}

const request = {
  signature: 0,
  inputs: [0],
  feeds: [[1, [1, 4], new Float32Array(4)]],
  outputs: [0],
  targets: undefined,
};

async function batcher(options) {
  const { Batcher, planSignature, resolveBatching, Tickets } = await import(
    pathToFileURL(batchingParts)
  );
  const resolved = resolveBatching(options);
  const tensor = (name, shape) => ({ kind: 'tensor', name, dtype: 'float32', shape });
  const signature = {
    name: 'serving_default',
    inputs: [tensor('x', ['batch', 4])],
    outputs: [tensor('y', ['batch', 1])],
  };
  const tickets = new Tickets();
  const made = new Batcher(noOpRunner(), {
    options: resolved,
    plans: [planSignature(signature, resolved)],
    tickets,
  });
  // Written out, as a model does: to spread others first would cost more than the batcher.
  return () =>
    made.run(request, {
      ticket: tickets.next(),
      priority: 0,
      borrow: false,
      deadline: 0,
      caller: undefined,
    });
}

/** Nanoseconds of CPU time, of all threads of the process. */
const cpuOf = (call) => async (count) => {
  const before = process.cpuUsage();
  for (let made = 0; made < count; made += wave) {
    await Promise.all(Array.from({ length: Math.min(wave, count - made) }, call));
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1e3;
};

const contender = (name, open) => ({
  name,
  open: async () => ({ block: cpuOf(await open()) }),
});

const defaults = 'batcher, defaults';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Batching: what the batcher itself costs',
  asks:
    'How many requests a second does the batcher take on one core, when the runner below it runs ' +
    `nothing? ${wave} requests at a time, each with a feed of four floats, which is copied, and a ` +
    'promise that its caller awaits. What is counted is CPU time of all threads, so the garbage ' +
    'collector’s helpers are part of it. The runner alone shows what promises cost.',
  blockMs: 150,
  contenders: [
    contender(defaults, () => batcher(true)),
    contender('batcher, maxBatchSize 8', () => batcher({ maxBatchSize: 8 })),
    contender('batcher, adaptive', () => batcher('auto')),
    contender('the runner alone', () => {
      const { run } = noOpRunner();
      return () => run();
    }),
  ],
  comparisons: [
    {
      figure: 'the batcher alone: requests a second on one core',
      kind: 'median',
      unit: '1/s',
      of: defaults,
      target: { atLeast: 500_000 },
    },
  ],
  async measure({ question, contenders, ...settings }) {
    await buildBatchingParts();
    return measureCalls(question, contenders, settings, {
      caption: 'Requests a second of CPU time',
      unit: '1/s',
    });
  },
};
