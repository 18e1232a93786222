import { describe, expect, it, vi } from 'vitest';

import { repeatedlyMs, runRepeatedly, runScript } from '../helpers/child.js';

vi.setConfig({ testTimeout: repeatedlyMs });

const ended = { code: 0, signal: null, stderr: '' };

/** What a worker does first: waits for the handle, and attaches to the model. */
const attach = `const [shared] = await once(parentPort, 'message');
  const m = await load(shared);`;

describe.each([
  ['onnxruntime', 'slow.onnx', '2_000_000n', 'same.onnx', 'twice', '2,4'],
  ['tensorflow', 'tf_slow', '1000n', 'half_plus_two', 'y', '3.5,4'],
])('a model of %s that is shared', (_engine, slow, length, quick, output, expected) => {
  it('gives two workers at once what it gives its owner', async () => {
    const results = await runRepeatedly(
      `const m = await load(model('${quick}'));
      const workers = [startWorker(), startWorker()];
      const sums = workers.map((worker) => once(worker, 'message'));
      const exits = workers.map((worker) => once(worker, 'exit'));
      for (const worker of workers) worker.postMessage(m.share());
      const { ${output}: own } = await m.run({ x: [1, 2] });
      const all = (await Promise.all(sums)).flat();
      console.log([[...own.data].join(), ...all].join(' '), (await Promise.all(exits)).join());
      await m.close();`,
      {
        workerSource: `${attach}
          let seen = '';
          for (let i = 0; i < 50; i++) {
            const { ${output}: y } = await m.run({ x: [1, 2] });
            seen = [...y.data].join();
          }
          parentPort.postMessage(seen);
          await m.close();`,
      },
    );
    const stdout = `${expected} ${expected} ${expected} 0,0\n`;
    expect(results).toEqual([{ ...ended, stdout }]);
  });

  it('stays for a worker when its owner closes it in mid-run', async () => {
    const results = await runRepeatedly(
      `const m = await load(model('${slow}'));
      const worker = startWorker();
      const exit = once(worker, 'exit');
      worker.postMessage(m.share());
      await once(worker, 'message');
      await m.close();
      worker.postMessage('closed');
      const [sizes] = await once(worker, 'message');
      console.log(sizes, (await exit)[0]);`,
      {
        workerSource: `${attach}
          const running = m.run({ n: 20n });
          parentPort.postMessage('running');
          await once(parentPort, 'message');
          const first = await running;
          const second = await m.run({ n: 1n });
          parentPort.postMessage(first.y.size + second.y.size);`,
      },
    );
    expect(results).toEqual([{ ...ended, stdout: '2 0\n' }]);
  });

  it('goes on for its owner when a worker is terminated in mid-run', async () => {
    const results = await runRepeatedly(
      `const m = await load(model('${slow}'), { pool: { lanes: 2 } });
      const worker = startWorker();
      worker.postMessage(m.share());
      await once(worker, 'message');
      const running = m.run({ n: 20n });
      console.log(await worker.terminate());
      console.log((await running).y.size, (await m.run({ n: 1n })).y.size);
      process.exit(0);`,
      {
        workerSource: `${attach}
          m.run({ n: ${length} });
          parentPort.postMessage('running');
          stay();`,
      },
    );
    expect(results).toEqual([{ ...ended, stdout: '1\n1 1\n' }]);
  });

  it('cannot be attached to once its owner has closed it', async () => {
    const { code, signal, stdout } = await runScript(
      `const m = await load(model('${quick}'));
      const worker = startWorker();
      const shared = m.share();
      await m.close();
      worker.postMessage(shared);
      console.log((await once(worker, 'message'))[0]);`,
      {
        workerSource: `const [shared] = await once(parentPort, 'message');
          parentPort.postMessage(await load(shared).catch((error) => error.code));`,
      },
    );
    expect({ code, signal, stdout }).toEqual({
      code: 0,
      signal: null,
      stdout: 'ERR_TENON_MODEL_CLOSED\n',
    });
  });

  it('is one model, with one count of runs', async () => {
    const { code, signal, stdout } = await runScript(
      `const m = await load(model('${quick}'), { inline: 'never' });
      const worker = startWorker();
      worker.postMessage(m.share());
      await once(worker, 'exit');
      console.log(m.stats().runs);`,
      {
        workerSource: `${attach}
          for (let i = 0; i < 3; i++) await m.run({ x: [1, 2] });`,
      },
    );
    expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: '3\n' });
  });
});

it.runIf(process.platform === 'linux')('attaching starts no threads of an engine', async () => {
  const { code, stdout } = await runScript(
    `const count = () => livingThreads().length;
    const m = await load(model('digits_cnn.onnx'), { threads: { intraOp: 8 } });
    const worker = startWorker();
    await once(worker, 'message');
    const before = count();
    worker.postMessage(m.share());
    await once(worker, 'message');
    console.log(count() - before);
    await worker.terminate();`,
    {
      workerSource: `parentPort.postMessage('started');
        ${attach}
        parentPort.postMessage('attached');
        await once(parentPort, 'message');`,
    },
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: '0\n' });
});
