import { describe, expect, it, vi } from 'vitest';

import { repeatedlyMs, runRepeatedly, runScript } from '../helpers/child.js';

vi.setConfig({ testTimeout: repeatedlyMs });

const engines = [
  ['onnxruntime', 'same.onnx', 'slow.onnx', '2_000_000n'],
  // TensorFlow cannot stop a run: what ends in mid-run waits for it.
  ['tensorflow', 'half_plus_two', 'tf_slow', '1000n'],
] as const;

describe.each(engines)('a process that uses %s', (_engine, quick, slow, length) => {
  const loadQuick = `const m = await load(model('${quick}'));`;
  const startSlow = `const m = await load(model('${slow}'));
    const running = m.run({ n: ${length} });
    await nextTurn();`;

  it('ends by itself after a load', async () => {
    const { code, signal } = await runScript(loadQuick);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
  });

  it('ends by itself after a run, without close', async () => {
    const { code, signal, stdout } = await runScript(`${loadQuick}
      const outputs = await m.run({ x: [1, 2] });
      console.log(Object.values(outputs)[0].shape.join());`);
    expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: '2\n' });
  });

  it('ends by itself after close', async () => {
    const { code, signal } = await runScript(`${loadQuick}
      await m.run({ x: [1, 2] });
      await m.close();`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
  });

  it('is kept alive by a run that nobody awaits', async () => {
    const { code, stdout } = await runScript(`const m = await load(model('${slow}'));
      m.run({ n: 20n }).then(({ y }) => console.log(y.toArray()));`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1\n' });
  });

  it('is kept alive by a load that nobody awaits', async () => {
    const { code, stdout } = await runScript(
      `load(model('${quick}')).then((m) => console.log(m.engine));`,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${_engine}\n` });
  });

  it('keeps the code of process.exit() in mid-run', async () => {
    const { code, signal } = await runScript(`${startSlow}
      process.exit(7);`);
    expect({ code, signal }).toEqual({ code: 7, signal: null });
  });

  it('keeps the code of process.exit() in mid-load', async () => {
    const { code, signal } = await runScript(`${loadQuick}
      load(model('${quick}'));
      load(model('${slow}'));
      await nextTurn();
      process.exit(8);`);
    expect({ code, signal }).toEqual({ code: 8, signal: null });
  });

  it('keeps the code of process.exit() with runs in the queue', async () => {
    const { code, signal } = await runScript(`
      const m = await load(model('${slow}'), { pool: { lanes: 1 } });
      for (let i = 0; i < 50; i++) m.run({ n: 200n });
      await nextTurn();
      process.exit(9);`);
    expect({ code, signal }).toEqual({ code: 9, signal: null });
  });

  it('keeps code and message of an uncaught exception in mid-run', async () => {
    const { code, signal, stderr } = await runScript(`${startSlow}
      setImmediate(() => { throw new Error('nobody catches this'); });
      await running;`);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain('nobody catches this');
  });

  it('ends with code 1 where a failed run is not handled', async () => {
    const { code, signal, stderr } = await runScript(`${loadQuick}
      m.run({ nowhere: [1] });`);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain('ERR_TENON_UNKNOWN_FEED');
  });

  it('is ended by a signal in mid-run', async () => {
    const { code, signal } = await runScript(`${startSlow}
      process.kill(process.pid, 'SIGTERM');
      await running;`);
    expect({ code, signal }).toEqual({ code: null, signal: 'SIGTERM' });
  });

  it('may exit in a handler of its own end', async () => {
    const { code, signal, stdout } = await runScript(`${startSlow}
      process.on('exit', (code) => console.log('exit', code));
      process.on('SIGTERM', () => process.exit(5));
      process.kill(process.pid, 'SIGTERM');
      await running;`);
    expect({ code, signal, stdout }).toEqual({ code: 5, signal: null, stdout: 'exit 5\n' });
  });
});

describe('a process that uses both engines', () => {
  it('ends by itself with models of both open', async () => {
    const { code, signal, stdout } = await runScript(`
      const models = await Promise.all(['same.onnx', 'half_plus_two'].map((m) => load(model(m))));
      const outputs = await Promise.all(models.map((m) => m.run({ x: [1, 2] })));
      console.log(outputs.length);`);
    expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: '2\n' });
  });

  it('survives an abort that comes after everything was closed', async () => {
    const { code, signal } = await runScript(`
      const controller = new AbortController();
      const m = await load(model('slow.onnx'));
      const running = m.run({ n: 5n }, { signal: controller.signal, timeoutMs: 40_000 });
      await m.close();
      await running;
      controller.abort();`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
  });
});

describe('process.exit(), twenty times', () => {
  const exits = (code: number) => [{ code, signal: null, stdout: '', stderr: '' }];

  it.each([
    ['one lane of slow.onnx', 'slow.onnx', '2_000_000n', 1],
    ['several lanes of slow.onnx', 'slow.onnx', '2_000_000n', 3],
    ['one lane of tf_slow', 'tf_slow', '1000n', 1],
    ['several lanes of tf_slow', 'tf_slow', '1000n', 3],
  ])('in mid-run on %s', async (_what, slow, length, lanes) => {
    const results = await runRepeatedly(`
      const m = await load(model('${slow}'), { pool: { lanes: ${lanes} } });
      for (let i = 0; i < ${lanes}; i++) m.run({ n: ${length} });
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      process.exit(7);`);
    expect(results).toEqual(exits(7));
  });

  it.each([
    ['slow.onnx', '2_000_000n'],
    ['tf_slow', '1000n'],
  ])('in mid-run of a binding of %s', async (slow, length) => {
    const results = await runRepeatedly(`
      const m = await load(model('${slow}'), { inline: 'never' });
      const n = Tensor.alloc('int64', []);
      n.data[0] = 1n;
      const binding = await m.bind({ n });
      n.data[0] = ${length};
      binding.run();
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      process.exit(7);`);
    expect(results).toEqual(exits(7));
  });

  it.each(['digits_cnn.onnx', 'digits_cnn_tf'])('between runs of %s', async (name) => {
    const results = await runRepeatedly(`
      const m = await load(model('${name}'), {
        inline: 'never',
        pool: { lanes: 2, maxQueue: 100_000 },
      });
      const [[input, { shape }]] = Object.entries(m.inputs);
      const image = Tensor.alloc('float32', shape.map((size) => (size > 0 ? size : 1)));
      await m.run({ [input]: image });
      for (let i = 0; i < 500; i++) m.run({ [input]: image });
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 5));
      process.exit(7);`);
    expect(results).toEqual(exits(7));
  });

  it.each([
    ['ONNX', 'digits_cnn.onnx', 40],
    ['TensorFlow', 'digits_cnn_tf', 300],
  ])('in mid-load of the first %s model', async (_engine, name, longest) => {
    const results = await runRepeatedly(`
      load(model('${name}'));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * ${longest}));
      process.exit(8);`);
    expect(results).toEqual(exits(8));
  });

  it('in mid-load of both engines', async () => {
    const results = await runRepeatedly(`
      await load(model('same.onnx'));
      load(model('digits_cnn_tf'));
      load(model('digits_cnn.onnx'));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 300));
      process.exit(8);`);
    expect(results).toEqual(exits(8));
  });

  it('in mid-run of the second engine', async () => {
    const results = await runRepeatedly(`
      await load(model('same.onnx'));
      const m = await load(model('tf_slow'));
      m.run({ n: 1000n });
      await nextTurn();
      process.exit(7);`);
    expect(results).toEqual(exits(7));
  });
});
