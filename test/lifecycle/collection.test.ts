import { describe, expect, it } from 'vitest';

import { runScript } from '../helpers/child.js';

const flags = ['--expose-gc'];
const megabyte = 2 ** 20;

/** What the scripts below use to look at themselves. */
const helpers = `
  const { readFileSync } = await import('node:fs');
  const threads = () => Number(/Threads:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  const collect = async () => { for (let i = 0; i < 5; i++) { gc(); await nextTurn(); } };
  const resident = () => process.memoryUsage.rss();
`;

describe('garbage collection', () => {
  it.runIf(process.platform === 'linux')('frees a model that nobody closed', async () => {
    const { code, stdout } = await runScript(
      `${helpers}
      const open = async () => {
        const m = await load(model('same.onnx'), { threads: { intraOp: 4 } });
        await m.run({ x: [1] });
      };
      await open();
      await collect();
      const before = threads();
      for (let i = 0; i < 20; i++) await open();
      const opened = threads();
      // Sessions go on a thread of their own, so their end is awaited turn by turn. Up to 16 such
      // threads stay, which many models that end at the same time may start.
      let after = opened;
      for (let i = 0; i < 2000 && after > before + 16; i++) {
        await collect();
        after = threads();
      }
      console.log(JSON.stringify({ before, opened, after }));`,
      { flags },
    );
    expect(code).toBe(0);
    const { before, opened, after } = JSON.parse(stdout) as Record<string, number>;
    console.log(`threads before ${before}, with 20 unclosed models ${opened}, collected ${after}`);
    expect(opened).toBeGreaterThan((before as number) + 40);
    expect(after).toBeLessThanOrEqual((before as number) + 16);
  });

  it('leaves outputs readable when model and tensor are gone', async () => {
    const { code, stdout } = await runScript(
      `${helpers}
      const kept = [];
      for (const name of ['same.onnx', 'half_plus_two', 'strings']) {
        if (name === 'strings') {
          const m = await load(model('tf_strings'), { signature: 'same' });
          const words = Array.from({ length: 10_000 }, (_, i) => 'word ' + i);
          const { bytes } = await m.run({ bytes: words });
          kept.push(bytes.bytes[9_999]);
        } else {
          const m = await load(model(name));
          const outputs = await m.run({ x: new Float32Array(100_000).fill(2) });
          for (const tensor of Object.values(outputs)) kept.push(tensor.data);
          await m.close();
        }
      }
      for (let i = 0; i < 20; i++) {
        await collect();
        new Float32Array(500_000).fill(i);
      }
      console.log(kept.map((data) => data.length + ':' + data[0] + ':' + data.at(-1)).join(' '));`,
      { flags },
    );
    expect(code).toBe(0);
    expect(stdout).toBe('100000:2:2 100000:2:2 100000:4:4 100000:4:4 9:119:57\n');
  });

  it('keeps a model that is running', async () => {
    const { code, stdout } = await runScript(
      `${helpers}
      const start = async () => (await load(model('slow.onnx'))).run({ n: 300n });
      const running = start();
      let done = false;
      running.then(() => (done = true));
      while (!done) await collect();
      console.log((await running).y.toArray());`,
      { flags },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1\n' });
  });

  it('keeps what a run reads when its tensor and feeds are dropped', async () => {
    const { code, stdout } = await runScript(
      `${helpers}
      const m = await load(model('half_plus_two'), { pool: { lanes: 1 } });
      const runs = [];
      for (let i = 0; i < 50; i++) {
        const x = Tensor.alloc('float32', [50_000]);
        x.data.fill(i);
        runs.push(m.run({ x }));
        if (i % 10 === 0) await collect();
      }
      const results = (await Promise.all(runs)).map(({ y }) => y.data[49_999]);
      console.log(results.every((value, i) => value === i / 2 + 3));`,
      { flags },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'true\n' });
  });
});

describe('a caller that never lets the event loop turn', () => {
  /** Megabytes of the largest resident size so far. */
  const peak = `const peak = () => process.resourceUsage().maxRSS / 1024;`;

  it('has the memory of a disposed tensor back at once', async () => {
    const { code, stdout } = await runScript(
      `${peak}
      const m = await load(model('same.onnx'));
      const { liveBuffers, liveBytes } = m.stats();
      const before = peak();
      const kept = [];
      for (let i = 0; i < 500; i++) {
        const x = Tensor.alloc('float32', [2 ** 20]);
        x.data.fill(i);
        const { twice } = m.runSync({ x }, { outputs: ['twice'] });
        const live = m.stats();
        kept.push(live.liveBuffers - liveBuffers, live.liveBytes - liveBytes);
        twice.dispose();
        x.dispose();
        kept.push(m.stats().liveBuffers - liveBuffers, m.stats().liveBytes - liveBytes);
      }
      console.log(JSON.stringify([...new Set(kept)]), Math.round(peak() - before));`,
    );
    expect(code).toBe(0);
    const [live, growth] = stdout.trim().split(' ');
    // Two tensors of 4 MB while they are there, nothing afterwards, each of the 500 times.
    expect(JSON.parse(live as string)).toEqual([2, 2 * 4 * megabyte, 0]);
    console.log(`4 GB allocated and disposed of: ${growth} MiB more at most`);
    expect(Number(growth)).toBeLessThan(100);
  });

  it('keeps what a run in flight reads when its tensor is disposed', async () => {
    const { code, stdout } = await runScript(
      `const m = await load(model('half_plus_two'), { inline: 'never', pool: { lanes: 1 } });
      const { liveBuffers } = m.stats();
      const runs = [];
      for (let i = 0; i < 100; i++) {
        const x = Tensor.alloc('float32', [50_000]);
        x.data.fill(i);
        runs.push(m.run({ x }));
        x.dispose();
        const other = Tensor.alloc('float32', [50_000]);
        other.data.fill(-1);
        other.dispose();
      }
      console.log(m.stats().liveBuffers - liveBuffers);
      const results = (await Promise.all(runs)).map(({ y }) => y.data[49_999]);
      console.log(results.every((value, i) => value === i / 2 + 3));`,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: '0\ntrue\n' });
  });

  it('may drop the outputs of runSync without end', async () => {
    const { code, stdout } = await runScript(
      `${peak}
      const m = await load(model('same.onnx'));
      const x = Tensor.alloc('float32', [2 ** 20]);
      const before = peak();
      for (let i = 0; i < 500; i++) m.runSync({ x }, { outputs: ['twice'] });
      console.log(Math.round(peak() - before));`,
    );
    expect(code).toBe(0);
    console.log(`2 GB of outputs dropped in one turn: ${stdout.trim()} MiB more at most`);
    expect(Number(stdout)).toBeLessThan(800);
  });

  it('gets outputs without a copy again once the loop has turned', async () => {
    const { code, stdout } = await runScript(
      `const m = await load(model('same.onnx'));
      const x = Tensor.alloc('float32', [2 ** 20]);
      const copied = () => m.stats().outputBytesCopied;
      while (copied() === 0) m.runSync({ x }, { outputs: ['twice'] });
      const before = copied();
      await nextTurn();
      await nextTurn();
      m.runSync({ x }, { outputs: ['twice'] });
      console.log(before, copied() - before);`,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${4 * megabyte} 0\n` });
  });
});

describe('external memory', () => {
  it('is accounted to the garbage collector, and given back by dispose', async () => {
    const { code, stdout } = await runScript(
      `const m = await load(model('same.onnx'));
      const megabytes = () => Math.round(process.memoryUsage().external / 2 ** 20);
      const before = megabytes();
      const x = Tensor.alloc('float32', [2 ** 24]);
      const { twice } = m.runSync({ x }, { outputs: ['twice'] });
      const held = megabytes() - before;
      x.dispose();
      twice.dispose();
      console.log(held, megabytes() - before);`,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: '128 0\n' });
  });

  it('has the garbage collector start before it grows without bound', async () => {
    // No gc() here: only what V8 was told of can make it collect.
    const { code, stdout } = await runScript(
      `const m = await load(model('same.onnx'), { inline: 'never' });
      const x = Tensor.alloc('float32', [2 ** 20]);
      const { liveBytes } = m.stats();
      let most = 0;
      for (let i = 0; i < 1000; i++) {
        await m.run({ x }, { outputs: ['twice'] });
        most = Math.max(most, m.stats().liveBytes - liveBytes);
      }
      console.log(Math.round(most / 2 ** 20));`,
    );
    expect(code).toBe(0);
    console.log(`4 GB of outputs dropped: ${stdout.trim()} MiB live at most`);
    expect(Number(stdout)).toBeLessThan(500);
  });
});

describe('resident memory', () => {
  /** Runs `body` `count` times after a warm-up and prints the growth in MiB. */
  const measured = (setUp: string, body: string, warmUp: number, count: number) => `${helpers}
    ${setUp}
    const step = async (i) => { ${body} };
    for (let i = 0; i < ${warmUp}; i++) await step(i);
    await collect();
    const before = resident();
    for (let i = 0; i < ${count}; i++) await step(i);
    await collect();
    console.log(Math.round((resident() - before) / ${megabyte}));`;

  const cycles: [string, string, string, number][] = [
    [
      '200 loads and closes of an ONNX model',
      '',
      `await (await load(model('digits_cnn.onnx'))).close();`,
      200,
    ],
    [
      '50 loads and closes of a SavedModel',
      '',
      `await (await load(model('digits_cnn_tf'))).close();`,
      50,
    ],
    [
      '2000 runs with outputs of 4 MB that nobody disposes of',
      `const m = await load(model('same.onnx'));
       const x = Tensor.alloc('float32', [1_000_000]);`,
      `await m.run({ x }, { outputs: ['twice'] });`,
      2000,
    ],
    [
      '1000 runs of TensorFlow with outputs of 4 MB that nobody disposes of',
      `const m = await load(model('half_plus_two'));
       const x = Tensor.alloc('float32', [1_000_000]);`,
      'await m.run({ x });',
      1000,
    ],
    [
      '3000 runs that fail',
      `const m = await load(model('tf_fails_in_run'));`,
      'await m.run({ index: [100n] }).catch(() => {});',
      3000,
    ],
    [
      '1000 aborted runs',
      `const m = await load(model('slow.onnx'), { pool: { lanes: 1 } });`,
      `const controller = new AbortController();
       const running = m.run({ n: 100_000n }, { signal: controller.signal, timeoutMs: 10_000 });
       controller.abort();
       await running.catch(() => {});`,
      1000,
    ],
    [
      '30 runs of 50000 strings',
      `const m = await load(model('tf_strings'), { signature: 'same' });
       const words = Array.from({ length: 50_000 }, (_, i) => 'a word longer than inline ' + i);`,
      `(await m.run({ bytes: words })).bytes.dispose();`,
      30,
    ],
  ];

  it.each(cycles)('stays bounded over %s', async (title, setUp, body, count) => {
    const source = measured(setUp, body, Math.ceil(count / 5), count);
    const { code, stdout } = await runScript(source, { flags });
    expect(code).toBe(0);
    const growth = Number(stdout);
    console.log(`${title}: ${growth} MiB more`);
    expect(growth).toBeLessThan(100);
  });
});
