// Mixed load on both engines: runs of small and large tensors, of bindings, of batches, runs that
// fail, are aborted or time out, and models loaded and closed meanwhile.
//   npm run soak -- mixed [--minutes 30]
import { load, Tensor } from 'tenon';

import { floatElements } from '../harness/engines.mjs';
import { halfPlusTwo, modelPath } from '../models/index.mjs';
import { numbers, soak } from './soak.mjs';

const { minutes } = numbers({ minutes: 30 });
const linear = await load(modelPath('linear'), { threads: { intraOp: 1 } });
const identity = await load(modelPath('identity'), { threads: { intraOp: 1 } });
const encoder = await load(modelPath('encoder'), { threads: { intraOp: 1 } });
const batched = await load(modelPath('mlp'), { threads: { intraOp: 1 }, batching: true });
const saved = await load(halfPlusTwo, { threads: { intraOp: 1, interOp: 1 } });
const binding = await linear.bind({ x: Tensor.alloc('float32', [1, 4]) });

const x = new Tensor('float32', floatElements(4), [1, 4]);
const large = Tensor.alloc('float32', [2 ** 20]);
const digit = new Tensor('float32', floatElements(784), [1, 784]);
const ids = new Tensor('int64', new BigInt64Array(64).fill(7n), [4, 16]);

/** Rejections are part of the load; anything but those expected is not. */
async function rejects(promise, accepted) {
  try {
    await promise;
  } catch (error) {
    if (!accepted(error)) throw error;
  }
}

const kinds = [
  () => Promise.all(Array.from({ length: 32 }, () => linear.run({ x }))),
  () => Array.from({ length: 32 }, () => linear.runSync({ x })),
  () => Array.from({ length: 32 }, () => binding.runSync()),
  () => Promise.all(Array.from({ length: 32 }, () => batched.run({ x: digit }))),
  () => Promise.all(Array.from({ length: 8 }, () => saved.run({ x: [3] }))),
  () => {
    const controller = new AbortController();
    const runs = Array.from({ length: 8 }, (_, i) =>
      batched.run({ x: digit }, i < 4 ? {} : { signal: controller.signal }),
    );
    controller.abort();
    return Promise.all(runs.map((run) => rejects(run, ({ name }) => name === 'AbortError')));
  },
  () => Promise.all([identity.run({ x: large }), identity.run({ x: new Float32Array(100_000) })]),
  async () => {
    const { y } = await identity.run({ x: large });
    y.dispose();
  },
  () => encoder.run({ ids }),
  () => rejects(linear.run({ x: large }), ({ code }) => code === 'ERR_TENON_SHAPE'),
  () => {
    const controller = new AbortController();
    const run = encoder.run({ ids }, { signal: controller.signal });
    setImmediate(() => controller.abort());
    return rejects(run, ({ name }) => name === 'AbortError');
  },
  () => rejects(encoder.run({ ids }, { timeoutMs: 1 }), ({ code }) => code === 'ERR_TENON_TIMEOUT'),
  async () => {
    const model = await load(modelPath('linear'));
    const runs = [model.run({ x }), model.run({ x })];
    await model.close();
    await Promise.all(runs);
  },
];

let next = 0;

await soak({
  name: 'mixed load',
  unit: 'minutes',
  total: minutes,
  // So long it takes until each thread has met whatever comes, and its arena has what that needs.
  warmUp: minutes / 10,
  async work(amount) {
    const end = performance.now() + amount * 60_000;
    const caller = async () => {
      while (performance.now() < end) await kinds[next++ % kinds.length]();
    };
    await Promise.all(Array.from({ length: 4 }, caller));
  },
});
await Promise.all([linear, identity, encoder, batched, saved].map((model) => model.close()));
