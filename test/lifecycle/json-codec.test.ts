import { describe, expect, it, vi } from 'vitest';

import { repeatedlyMs, runRepeatedly, runScript } from '../helpers/child.js';
import { root } from '../helpers/paths.js';

vi.setConfig({ testTimeout: repeatedlyMs });

const ended = { code: 0, signal: null };

/** The addon itself: the package does not export the codec. */
const codec = `
  const { createRequire } = await import('node:module');
  const root = ${JSON.stringify(root)};
  const { json } = createRequire(path.join(root, 'package.json'))('node-gyp-build')(root);
  const inputs = json.createInputs('serving_default', ['x'], [1]);
  const bodyOf = (count) =>
    new TextEncoder().encode(JSON.stringify({ inputs: new Array(count).fill(0.123456789) }));
`;

describe('bodies that threads of the codec read', () => {
  it('are done with before their worker is gone', async () => {
    const results = await runRepeatedly(
      `${codec}
      const worker = startWorker();
      await once(worker, 'message');
      console.log(await worker.terminate());
      const decoded = await json.decodePredict(bodyOf(1000), inputs, true);
      console.log(decoded[2][0][1].join());`,
      {
        workerSource: `${codec}
          // Some are read, and some wait.
          const body = bodyOf(200_000);
          for (let i = 0; i < 50; i++) json.decodePredict(body, inputs, true);
          parentPort.postMessage('reading');
          stay();`,
      },
    );
    expect(results).toEqual([{ ...ended, stdout: '1\n1000\n', stderr: '' }]);
  });

  it('may be read when the process exits', async () => {
    const results = await runRepeatedly(
      `${codec}
      const body = bodyOf(200_000);
      for (let i = 0; i < 50; i++) json.decodePredict(body, inputs, true);
      setImmediate(() => process.exit(7));`,
    );
    expect(results).toEqual([{ code: 7, signal: null, stdout: '', stderr: '' }]);
  });

  it('keep the process and are kept until they are read', async () => {
    const { code, signal, stdout } = await runScript(
      `${codec}
      for (let i = 0; i < 5; i++) {
        json.decodePredict(bodyOf(100_000 + i), inputs, true).then((decoded) => {
          const [[, shape, data]] = decoded[2];
          console.log(shape[0], new Float32Array(data).at(-1) === Math.fround(0.123456789));
        });
      }
      globalThis.gc();`,
      { flags: ['--expose-gc'] },
    );
    expect({ code, signal }).toEqual(ended);
    const lines = stdout.trim().split('\n').sort();
    expect(lines).toEqual([0, 1, 2, 3, 4].map((i) => `${100_000 + i} true`));
  });

  it('give back their memory', async () => {
    const { code, stdout } = await runScript(
      `${codec}
      const body = bodyOf(250_000);
      const round = async () => {
        for (let i = 0; i < 20; i++) await json.decodePredict(body, inputs, true);
        for (let turn = 0; turn < 3; turn++) {
          globalThis.gc();
          await nextTurn();
        }
        return process.memoryUsage.rss();
      };
      for (let i = 0; i < 3; i++) await round();
      const before = await round();
      for (let i = 0; i < 5; i++) await round();
      console.log((await round()) - before < 20 * 2 ** 20);`,
      { flags: ['--expose-gc'] },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'true\n' });
  });
});
