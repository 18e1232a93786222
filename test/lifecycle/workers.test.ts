import { describe, expect, it, vi } from 'vitest';

import { repeatedlyMs, runRepeatedly, runScript } from '../helpers/child.js';

vi.setConfig({ testTimeout: repeatedlyMs });

const ended = { code: 0, signal: null };

describe('worker threads', () => {
  it.each([
    ['onnxruntime', 'same.onnx', 'twice', '2,4'],
    ['tensorflow', 'half_plus_two', 'y', '3.5,4'],
  ])('load, run and exit with %s', async (_engine, name, output, expected) => {
    const { code, signal, stdout } = await runScript(
      `const worker = startWorker();
      worker.on('message', (text) => console.log(text));
      const [exitCode] = await once(worker, 'exit');
      console.log(exitCode);`,
      {
        workerSource: `const m = await load(model('${name}'));
          const { ${output}: y } = await m.run({ x: [1, 2] });
          parentPort.postMessage([...y.data].join());`,
      },
    );
    expect({ code, signal }).toEqual(ended);
    expect(stdout).toBe(`${expected}\n0\n`);
  });

  it('use both engines at once', async () => {
    const { code, signal, stdout } = await runScript(
      `const workers = [startWorker(), startWorker()];
      const exits = await Promise.all(workers.map((worker) => once(worker, 'exit')));
      console.log(exits.join());`,
      {
        workerSource: `const models = await Promise.all(
            ['same.onnx', 'half_plus_two'].map((name) => load(model(name))));
          for (let i = 0; i < 200; i++) {
            await Promise.all(models.map((m) => m.run({ x: new Float32Array(20_000) })));
          }
          await Promise.all(models.map((m) => m.close()));`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '0,0\n' });
  });

  it('end after one another, thirty times', async () => {
    const { code, signal, stdout } = await runScript(
      `let sum = 0;
      for (let i = 0; i < 30; i++) sum += 1 + (await once(startWorker(), 'exit'))[0];
      console.log(sum);`,
      {
        workerSource: `const m = await load(model('same.onnx'));
          await m.run({ x: new Float32Array(20_000) });`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '30\n' });
  });

  it.each([
    ['onnxruntime', 'slow.onnx', '2_000_000n', 'same.onnx'],
    ['tensorflow', 'tf_slow', '1000n', 'half_plus_two'],
  ])('may be terminated in mid-run of %s', async (_engine, slow, length, quick) => {
    const { code, signal, stdout } = await runScript(
      `const worker = startWorker();
      await once(worker, 'message');
      console.log(await worker.terminate());
      const m = await load(model('${quick}'));
      console.log(Object.values(await m.run({ x: [1] }))[0].size);`,
      {
        workerSource: `const m = await load(model('${slow}'));
          m.run({ n: ${length} });
          m.run({ n: ${length} });
          parentPort.postMessage('running');
          stay();`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '1\n1\n' });
  });

  it('may be terminated in mid-load', async () => {
    const { code, signal } = await runScript(
      `for (let i = 0; i < 5; i++) {
        const worker = startWorker();
        await once(worker, 'message');
        await worker.terminate();
      }`,
      {
        workerSource: `load(model('digits_cnn_tf'));
          load(model('digits_cnn.onnx'));
          parentPort.postMessage('loading');`,
      },
    );
    expect({ code, signal }).toEqual(ended);
  });

  it('may call process.exit() in mid-run', async () => {
    const { code, signal, stdout } = await runScript(
      `const [exitCode] = await once(startWorker(), 'exit');
      console.log(exitCode);`,
      {
        workerSource: `const m = await load(model('slow.onnx'));
          m.run({ n: 2_000_000n });
          await nextTurn();
          process.exit(4);`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '4\n' });
  });

  it('may throw in mid-run, which their owner hears of', async () => {
    const { code, signal, stdout } = await runScript(
      `const worker = startWorker();
      const [error] = await once(worker, 'error');
      console.log(error.message);`,
      {
        workerSource: `const m = await load(model('slow.onnx'));
          m.run({ n: 2_000_000n });
          await nextTurn();
          throw new Error('in the worker');`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: 'in the worker\n' });
  });

  it.each([
    ['onnxruntime', 'slow.onnx', '2_000_000n'],
    ['tensorflow', 'tf_slow', '1000n'],
  ])('that run %s do not hold up the exit of the process', async (_engine, slow, length) => {
    const { code, signal } = await runScript(
      `const worker = startWorker();
      await once(worker, 'message');
      process.exit(6);`,
      {
        workerSource: `const m = await load(model('${slow}'));
          m.run({ n: ${length} });
          parentPort.postMessage('running');
          stay();`,
      },
    );
    expect({ code, signal }).toEqual({ code: 6, signal: null });
  });

  it('get copies of outputs, which stay with their owner', async () => {
    const { code, signal, stdout } = await runScript(
      `const m = await load(model('same.onnx'));
      const { twice } = await m.run({ x: new Float32Array(100_000).fill(1) });
      const worker = startWorker();
      worker.postMessage(twice.data);
      const [sum] = await once(worker, 'message');
      console.log(sum, twice.data.length);`,
      {
        workerSource: `const [data] = await once(parentPort, 'message');
          parentPort.postMessage(data.reduce((a, b) => a + b, 0));`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '200000 100000\n' });
  });

  it('survive that their owner tries to transfer an output', async () => {
    const { code, signal, stdout } = await runScript(
      `const m = await load(model('same.onnx'));
      const { twice } = await m.run({ x: new Float32Array(100_000).fill(1) });
      let length = 100_000;
      try {
        length = structuredClone(twice.data, { transfer: [twice.data.buffer] }).length;
      } catch (error) {
        if (error.name !== 'DataCloneError') throw error;
      }
      const y = await m.run({ x: [1] });
      console.log(length, y.twice.size);`,
    );
    expect({ code, signal, stdout }).toEqual({ ...ended, stdout: '100000 1\n' });
  });
});

describe.each([
  ['onnxruntime', 'slow.onnx', '2_000_000n', 'same.onnx'],
  ['tensorflow', 'tf_slow', '1000n', 'half_plus_two'],
])('a worker in mid-run of %s, twenty times', (_engine, slow, length, quick) => {
  const start = `const m = await load(model('${slow}'), { pool: { lanes: 2 } });
    m.run({ n: ${length} });
    m.run({ n: ${length} });
    await nextTurn();`;
  const result = (code: number, stdout = '') => [{ code, signal: null, stdout, stderr: '' }];
  const idle = `parentPort.postMessage('running');
    stay();`;
  // The addon is loaded by the worker alone, until it has ended.
  const goOn = `const again = await load(model('${quick}'));
    console.log(Object.values(await again.run({ x: [1] }))[0].size);
    process.exit(0);`;

  it('is terminated', async () => {
    const results = await runRepeatedly(
      `const worker = startWorker();
      await once(worker, 'message');
      console.log(await worker.terminate());
      ${goOn}`,
      { workerSource: `${start} ${idle}` },
    );
    expect(results).toEqual(result(0, '1\n1\n'));
  });

  it('calls process.exit()', async () => {
    const results = await runRepeatedly(
      `console.log((await once(startWorker(), 'exit'))[0]);
      ${goOn}`,
      { workerSource: `${start} process.exit(4);` },
    );
    expect(results).toEqual(result(0, '4\n1\n'));
  });

  it('throws', async () => {
    const results = await runRepeatedly(
      `console.log((await once(startWorker(), 'error'))[0].message);
      ${goOn}`,
      { workerSource: `${start} throw new Error('in the worker');` },
    );
    expect(results).toEqual(result(0, 'in the worker\n1\n'));
  });

  it('is left by the main thread, which calls process.exit()', async () => {
    const results = await runRepeatedly(
      `await once(startWorker(), 'message');
      process.exit(6);`,
      { workerSource: `${start} ${idle}` },
    );
    expect(results).toEqual(result(6));
  });

  it('is left by the main thread, which ends by itself', async () => {
    const results = await runRepeatedly(
      `const worker = startWorker();
      await once(worker, 'message');
      worker.unref();`,
      { workerSource: `${start} ${idle}` },
    );
    expect(results).toEqual(result(0));
  });
});

it.each([
  ['onnxruntime', 'same.onnx', 'twice'],
  ['tensorflow', 'half_plus_two', 'y'],
])(
  'a worker that lent its buffers to %s is terminated once they are read, twenty times',
  async (_engine, name, output) => {
    const results = await runRepeatedly(
      `const worker = startWorker();
      await once(worker, 'message');
      console.log(await worker.terminate());`,
      {
        workerSource: `const m = await load(model('${name}'), { inline: 'never' });
          const feeds = () => ({ x: new Float32Array(2 ** 22).fill(1) });
          const options = { borrow: true, outputs: ['${output}'] };
          for (let i = 0; i < 4; i++) m.run(feeds(), options).catch(() => {});
          parentPort.postMessage('running');
          stay();`,
      },
    );
    expect(results).toEqual([{ ...ended, stdout: '1\n', stderr: '' }]);
  },
);
