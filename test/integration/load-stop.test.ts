import { describe, expect, it } from 'vitest';

import { load } from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';
import { runScript } from '../helpers/script.js';

/** The next turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe.each([
  ['onnxruntime', 'digits_cnn.onnx'],
  ['tensorflow', 'digits_cnn_tf'],
])('a load of %s', (_engine, file) => {
  it('with a signal that is aborted already rejects with its reason', async () => {
    const reason = new Error('never mind');
    const signal = AbortSignal.abort(reason);
    await expect(load(modelPath(file), { signal })).rejects.toBe(reason);
  });

  it.each([0, 1, 3])('rejects with the signal’s reason after %i turns, too', async (turns) => {
    const controller = new AbortController();
    const reason = new Error('the caller has gone');
    const loading = load(modelPath(file), { signal: controller.signal });
    // One that was faster than those turns is not stopped any more.
    const ended = loading.then(
      (model) => model.close(),
      (error: unknown) => error,
    );
    for (let i = 0; i < turns; i++) await nextTurn();
    controller.abort(reason);
    expect([undefined, reason]).toContain(await ended);
    if (turns === 0) expect(await ended).toBe(reason);
    // And nothing of it is in the way of the next.
    await using model = await load(modelPath(file));
    expect(Object.keys(await model.run({ images: new Float32Array(64) }))).toHaveLength(1);
  });

  it('within its time limit is not stopped, and leaves no timer behind', async () => {
    await using model = await load(modelPath(file), { timeoutMs: 2 ** 31 - 1 });
    expect(Object.keys(await model.run({ images: new Float32Array(64) }))).toHaveLength(1);
  });

  it.each([0, -1, 1.5, 2 ** 31, '1'])('refuses %j as a time limit', async (timeoutMs) => {
    const options = { timeoutMs: timeoutMs as number };
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => load(modelPath(file), options));
  });
});

// Opening TensorFlow's library takes longer than such a limit, in a process that has not done so yet.
describe('a load that takes longer than its limit', () => {
  it('is ERR_TENON_TIMEOUT, and ends unheard', async () => {
    const { code, reported, stderr } = await runScript(`
      const file = model('digits_cnn_tf');
      report(await load(file, { timeoutMs: 1 }).catch(({ code, message }) => [code, message]));
      const m = await load(file);
      report(Object.keys(await m.run({ images: new Float32Array(64) })));
      await m.close();
    `);
    expect({ code, reported }, stderr).toEqual({
      code: 0,
      reported: [
        ['ERR_TENON_TIMEOUT', 'expected the load to end within 1 ms, and it did not'],
        ['probabilities'],
      ],
    });
  });

  it('lets its process end, and exit in the middle of it', async () => {
    for (const end of ['', 'process.exit(0);']) {
      const { code, reported, stderr } = await runScript(`
        report(await codeOf(() => load(model('digits_cnn_tf'), { timeoutMs: 1 })));
        ${end}
      `);
      expect({ code, reported }, stderr).toEqual({ code: 0, reported: ['ERR_TENON_TIMEOUT'] });
    }
  });
});
