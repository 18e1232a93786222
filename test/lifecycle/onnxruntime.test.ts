import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { describe, expect, it, vi } from 'vitest';

import { repeatedlyMs, runRepeatedly } from '../helpers/child.js';
import { root } from '../helpers/paths.js';

vi.setConfig({ testTimeout: repeatedlyMs });

// Sessions of the drop-in, in threads and processes that end in the middle of a run.

const code = 7;
const ended = (exitCode: number | null) => [
  { code: exitCode, signal: null, stdout: '', stderr: '' },
];

// Workers come from data: URLs, which find no packages.
const dropIn = pathToFileURL(path.join(root, 'dist/onnxruntime.js')).href;

const starts = `
  const { InferenceSession, Tensor: OrtTensor } = await import('${dropIn}');
  const session = await InferenceSession.create(model('slow.onnx'), { logSeverityLevel: 4 });
  const feeds = () => ({ n: new OrtTensor('int64', [1_000_000n], []) });
  for (let i = 0; i < 3; i++) session.run(feeds()).catch(() => undefined);
  await nextTurn();
`;

describe('a worker with sessions of the drop-in', () => {
  const workerSource = `${starts} parentPort.postMessage('runs'); stay();`;

  it('may be terminated in the middle of runs', async () => {
    const results = await runRepeatedly(
      `const worker = startWorker();
       await once(worker, 'message');
       await worker.terminate();
       process.exitCode = ${code};`,
      { workerSource },
    );
    expect(results).toEqual(ended(code));
  });

  it('may be left in the middle of runs by a process that exits', async () => {
    const results = await runRepeatedly(
      `const worker = startWorker();
       await once(worker, 'message');
       process.exit(${code});`,
      { workerSource },
    );
    expect(results).toEqual(ended(code));
  });
});

describe('a process with sessions of the drop-in', () => {
  it('may exit in the middle of runs', async () => {
    expect(await runRepeatedly(`${starts} process.exit(${code});`)).toEqual(ended(code));
  });
});
