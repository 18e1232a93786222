// Everything at once, for a while: loads, runs, batches, bindings, aborts, outputs kept in the engine,
// disposed tensors, models shared with workers. For the sanitizers, which see what tests do not; ends with 1
// where a result is wrong or memory stays behind.
//
//   node scripts/stress.mjs [seconds]

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { load, Tensor } from '../dist/index.js';

const models = fileURLToPath(new URL('../test/fixtures/models/', import.meta.url));
const seconds = Number(process.argv[2] ?? 10);

function expectEqual(actual, expected, what) {
  if (actual !== expected) throw new Error(`expected ${expected} for ${what}, received ${actual}`);
}

async function runMany(model, until) {
  while (performance.now() < until) {
    const feeds = Array.from({ length: 16 }, (_, i) => Float32Array.of(i, 2, 3, 4));
    const results = await Promise.all(feeds.map((input) => model.run({ input })));
    expectEqual(
      results[3].output.data[0],
      model.runSync({ input: feeds[3] }).output.data[0],
      'run',
    );
  }
}

const jobs = {
  async halfPlusTwo(until) {
    const model = await load(path.join(models, 'half_plus_two'), { inline: 'never' });
    const x = Tensor.alloc('float32', [2]);
    const binding = await model.bind({ x });
    while (performance.now() < until) {
      x.data[0] += 1;
      const { y } = await binding.run();
      expectEqual(y.data[0], Math.fround(x.data[0] / 2 + 3), 'half_plus_two');
      await model.run({ x: [1, 2, 3] });
    }
    for (const tensor of [x, binding.outputs.y]) tensor.dispose();
    await model.close();
  },

  async state(until) {
    const model = await load(path.join(models, 'rnn_state.onnx'));
    const x = Tensor.alloc('float32', [1, 3]);
    const y = Tensor.alloc('float32', [1, 2]);
    let state = Tensor.alloc('float32', [1, 1, 4]);
    while (performance.now() < until) {
      const step = await model.run({ x, state }, { outputs: { y, new_state: 'engine' } });
      state.dispose();
      state = step.new_state;
    }
    for (const tensor of [x, y, state]) tensor.dispose();
    await model.close();
  },

  async aborts(until) {
    const slow = await load(path.join(models, 'slow.onnx'), { pool: { lanes: 2 } });
    while (performance.now() < until) {
      const caller = new AbortController();
      const runs = Array.from({ length: 8 }, () =>
        slow.run({ n: 100000n }, { signal: caller.signal }).catch((error) => error.name),
      );
      setImmediate(() => caller.abort());
      for (const name of await Promise.all(runs)) expectEqual(name, 'AbortError', 'an abort');
    }
    const last = slow.run({ n: 100000n }).catch(() => 'destroyed');
    await slow.destroy();
    expectEqual(await last, 'destroyed', 'a destroyed run');
  },

  async loads(until) {
    while (performance.now() < until) {
      const [onnx, strings] = await Promise.all([
        load(path.join(models, 'simple_model.onnx')),
        load(path.join(models, 'strings.onnx')),
      ]);
      const any = [new Uint8Array([0xff, 0]), 'text'];
      const { same } = await strings.run({ text: ['a', 'B'], any });
      expectEqual(same.bytes[0][0], 0xff, 'a string');
      await Promise.all([onnx.run({ input: [1, 2, 3, 4] }), onnx.close(), strings.close()]);
    }
  },

  async batched(until) {
    while (performance.now() < until) {
      const model = await load(path.join(models, 'same.onnx'), {
        inline: 'never',
        pool: { lanes: 2 },
        batching: { maxBatchSize: 10_000, maxQueuedBatches: 4 },
      });
      const end = Math.min(until, performance.now() + 300);
      for (let round = 1; performance.now() < end; round++) {
        const caller = new AbortController();
        const runs = Array.from({ length: 24 }, async (_, i) => {
          // Small ones, large ones, and large ones of Tenon's own that are disposed of meanwhile.
          const rows = i % 6 === 0 ? 5000 : 1 + (i % 3);
          const own = i % 12 === 0 ? Tensor.alloc('float32', [rows]) : undefined;
          const x = own?.data ?? new Float32Array(rows);
          x.fill(round + i);
          const options = { outputs: ['twice'], ...(i % 4 === 3 ? { signal: caller.signal } : {}) };
          const running = model.run({ x: own ?? x }, options);
          if (own === undefined) x.fill(-1);
          else own.dispose();
          const { twice } = await running;
          expectEqual(twice.data.length, rows, 'the rows of a batched run');
          for (const value of twice.data) expectEqual(value, 2 * (round + i), 'a batched run');
          twice.dispose();
        });
        setImmediate(() => caller.abort());
        for (const { reason } of await Promise.allSettled(runs)) {
          if (reason !== undefined && reason.name !== 'AbortError') throw reason;
        }
      }
      const last = model.run({ x: [1] }, { outputs: ['twice'] }).catch(() => 'destroyed');
      await model.destroy();
      expectEqual(await last, 'destroyed', 'a destroyed run that waited for a batch');
    }
  },

  async shared(until) {
    const model = await load(path.join(models, 'simple_model.onnx'), { inline: 'never' });
    const file = fileURLToPath(import.meta.url);
    while (performance.now() < until) {
      const worker = new Worker(file, { workerData: { share: model.share() } });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await runMany(model, Math.min(until, performance.now() + 50));
      await worker.terminate();
    }
    await model.close();
  },
};

if (isMainThread) {
  const until = performance.now() + seconds * 1000;
  await Promise.all(Object.values(jobs).map((job) => job(until)));
  console.log(`${Object.keys(jobs).join(', ')}: ${seconds} s without a wrong result`);
} else {
  const model = await load(workerData.share);
  const { parentPort } = await import('node:worker_threads');
  parentPort.postMessage('attached');
  await runMany(model, Infinity);
}
