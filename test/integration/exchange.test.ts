/** Requests of small tensors, which cross to the addon through one block of memory. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type FeedValue, load, type Model, Tensor } from '../../lib/index.js';
import { runScript } from '../helpers/child.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { positivesModel, sumModel } from '../helpers/onnx.js';
import { modelPath } from '../helpers/paths.js';

/** Feeds and outputs up to this many bytes in all go through the block. */
const blockBytes = 16 * 1024;

type Run = (model: Model, feeds: Record<string, FeedValue>) => Promise<Record<string, Tensor>>;
const runs: [string, Run][] = [
  ['run', (model, feeds) => model.run(feeds)],
  ['runSync', (model, feeds) => Promise.resolve(model.runSync(feeds))],
];

function ascending(length: number, from = 0): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, (_, i) => (from + i) % 1000);
}

function allocated(values: Float32Array): Tensor {
  const tensor = Tensor.alloc('float32', [values.length]);
  tensor.data.set(values);
  return tensor;
}

const arrayOf = ({ data }: { data: unknown }): unknown[] => Array.from(data as ArrayLike<unknown>);
const dataOf = (outputs: Record<string, Tensor>): Record<string, unknown[]> =>
  Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, arrayOf(tensor)]));

describe.each(runs)('small tensors through %s', (_title, run) => {
  const ofSum = (x: Float32Array): number[] => Array.from(x, (value) => value + value);

  it.each([
    ['small', 4],
    ['as much as the block holds', blockBytes / 4],
    ['an element more', blockBytes / 4 + 1],
  ])('are right each time the same call comes again: %s', async (_size, length) => {
    await using model = await load(modelPath('same.onnx'));
    for (let i = 0; i < 6; i++) {
      const x = ascending(length, i);
      const outputs = await run(model, { x: new Tensor('float32', x) });
      expect(dataOf(outputs)).toEqual({ x: [...x], copy: [...x], twice: ofSum(x) });
    }
  });

  it('are right while sizes change from call to call', async () => {
    await using model = await load(modelPath('multi_io.onnx'));
    for (let i = 0; i < 60; i++) {
      const a = ascending((i * i) % 7, i);
      const b = ascending(a.length, 3 * i);
      const outputs = await run(model, {
        a: new Tensor('float32', a),
        b: new Tensor('float32', b),
      });
      expect(arrayOf(outputs['sum'] as Tensor)).toEqual([...a].map((x, k) => x + (b[k] as number)));
      expect(arrayOf(outputs['shape'] as Tensor)).toEqual([BigInt(a.length)]);
    }
  });

  it('are scalars, too', async () => {
    await using model = await load(modelPath('scalars.onnx'));
    for (let i = 0; i < 5; i++) {
      const { y, twice } = await run(model, { x: i, n: BigInt(i) });
      expect([y?.shape, twice?.shape]).toEqual([[], []]);
      expect(twice?.data).toEqual(BigInt64Array.of(2n * BigInt(i)));
    }
  });

  it('may have no elements', async () => {
    await using model = await load(modelPath('same.onnx'));
    for (let i = 0; i < 4; i++) {
      const { twice } = await run(model, { x: new Tensor('float32', new Float32Array(0)) });
      expect([twice?.shape, twice?.size]).toEqual([[0], 0]);
    }
  });

  it('may be more outputs than asked for before', async () => {
    await using model = await load(modelPath('multi_io.onnx'));
    const feeds = { a: [1, 2], b: [3, 5] };
    for (const outputs of [['sum'], ['product', 'sum'], ['sum', 'product'], ['sum']]) {
      for (let i = 0; i < 3; i++) {
        const found = await model.run(feeds, { outputs });
        expect(Object.keys(found)).toEqual(outputs);
        expect(dataOf(found)['sum']).toEqual([4, 7]);
      }
    }
  });

  it.each([2, 100, 300])('may be %i inputs', async (count) => {
    await using model = await load(sumModel(count));
    for (let i = 0; i < 4; i++) {
      const feeds = Object.fromEntries(
        Array.from({ length: count }, (_, k) => [`x${k}`, new Tensor('float32', [i, k])]),
      );
      const { y } = await run(model, feeds);
      expect(arrayOf(y as Tensor)).toEqual([i * count, (count * (count - 1)) / 2]);
    }
  });

  it('are read when the call is made, whatever their memory', async () => {
    await using model = await load(modelPath('same.onnx'));
    const shared = new Float32Array(new SharedArrayBuffer(8));
    const offset = new Float32Array(new ArrayBuffer(20), 4, 2);
    for (const elements of [shared, offset, new Float32Array(2), allocated(ascending(2)).data]) {
      const x = new Tensor('float32', elements as Float32Array<ArrayBuffer>);
      for (let i = 0; i < 4; i++) {
        x.data.set([i, -i]);
        const running = run(model, { x });
        x.data.fill(99);
        expect(arrayOf((await running)['twice'] as Tensor)).toEqual([2 * i, -2 * i]);
      }
    }
  });

  it('give outputs of their own', async () => {
    await using model = await load(modelPath('same.onnx'));
    const x = new Tensor('float32', [1, 2]);
    const kept = [];
    for (let i = 0; i < 5; i++) kept.push(await run(model, { x }));
    (kept[3]?.['twice']?.data as Float32Array).fill(7);
    kept[4]?.['copy']?.dispose();
    expect(kept.slice(0, 3).map(dataOf)).toEqual(
      Array.from({ length: 3 }, () => ({ x: [1, 2], copy: [1, 2], twice: [2, 4] })),
    );
    expect(dataOf(await run(model, { x }))['twice']).toEqual([2, 4]);
  });

  it('fail with the engine’s words between runs that go well', async () => {
    await using model = await load(modelPath('fails_in_run.onnx'));
    for (let i = 0; i < 12; i++) {
      const good = await run(model, { index: [1n] });
      expect(good['y']?.size).toBe(1);
      if (i % 3 !== 2) continue;
      const words = /indices element out of data bounds/;
      await expectError('ERR_TENON_RUN', () => run(model, { index: [100n] }), words);
    }
    expect(model.stats()).toMatchObject({ runs: 16, failedRuns: 4 });
  });

  it('may come in another shape than the model declares', async () => {
    await using model = await load(positivesModel());
    const positives = async (values: number[]): Promise<unknown[]> =>
      arrayOf((await run(model, { x: new Tensor('float32', values) }))['y'] as Tensor);
    for (let round = 0; round < 3; round++) {
      // Often enough for the shape to be believed, and then wrong.
      for (let i = 0; i < 4; i++) expect(await positives([1, 2])).toEqual([1, 2]);
      expect(await positives([1, -1])).toEqual([1]);
      expect(await positives([-1, -1])).toEqual([]);
    }
    expect(model.stats()).toMatchObject({ runs: 18, failedRuns: 0 });
  });

  it('are run once by a model that keeps a state', async () => {
    await using model = await load(modelPath('tf_counter'));
    const totals = []; // it starts at 100
    for (let i = 0; i < 5; i++) totals.push((await run(model, { step: 2n }))['total']?.data);
    expect(totals.map((total) => (total as BigInt64Array)[0])).toEqual([
      102n,
      104n,
      106n,
      108n,
      110n,
    ]);
  });

  it('are for several models in turn', async () => {
    await using one = await load(modelPath('same.onnx'));
    await using other = await load(modelPath('fails_in_run.onnx'));
    const x = new Tensor('float32', [1, 2]);
    for (let i = 0; i < 5; i++) {
      expect(dataOf(await run(one, { x }))['twice']).toEqual([2, 4]);
      expect((await run(other, { index: [0n, 1n] }))['y']?.size).toBe(2);
    }
  });
});

describe('what goes on while a request is written', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath('multi_io.onnx'));
    for (let i = 0; i < 4; i++) model.runSync({ a: [1], b: [2] });
  });
  afterAll(() => model.close());

  const sumOf = (feeds: Record<string, FeedValue>): unknown[] =>
    arrayOf(model.runSync(feeds)['sum'] as Tensor);
  const other = (): unknown[] => sumOf({ a: [100], b: [200] });

  it('may be a run in a getter of the feeds', () => {
    const inner: unknown[] = [];
    const feeds = {
      a: new Tensor('float32', [1]),
      get b() {
        inner.push(...other());
        return new Tensor('float32', [2]);
      },
    };
    expect(sumOf(feeds)).toEqual([3]);
    expect(inner).toContain(300);
  });

  it('may be a run in a Proxy', () => {
    const feeds = new Proxy(
      { a: new Tensor('float32', [1]), b: new Tensor('float32', [2]) },
      {
        get(target, name) {
          other();
          return Reflect.get(target, name) as unknown;
        },
      },
    );
    expect(sumOf(feeds)).toEqual([3]);
  });

  it('may be a run in the shape of a tensor', () => {
    const tensor = new Tensor('float32', [2]);
    let asked = 0;
    Object.defineProperty(tensor.shape, 0, {
      get() {
        asked += 1;
        other();
        return 1;
      },
    });
    expect(sumOf({ a: new Tensor('float32', [1]), b: tensor })).toEqual([3]);
    expect(asked).toBeGreaterThan(0);
  });

  it('may make a tensor’s array shorter', () => {
    const buffer = new (
      ArrayBuffer as unknown as new (
        byteLength: number,
        options: { maxByteLength: number },
      ) => ArrayBuffer & { resize(byteLength: number): void }
    )(8, { maxByteLength: 8 });
    const a = new Tensor('float32', new Float32Array(buffer));
    const feeds = {
      a,
      get b() {
        buffer.resize(4);
        return new Tensor('float32', [2, 3]);
      },
    };
    expect(() => model.runSync(feeds)).toThrow(/expected|elements/);
  });

  it('may claim a length that an array has not', () => {
    const elements = new Float32Array(1);
    Object.defineProperty(elements, 'length', { value: 4000 });
    const a = new Tensor('float32', elements, [4000]);
    const b = new Tensor('float32', new Float32Array(4000));
    // What the rest of the block holds is nobody's promise; a result of that shape or an error is.
    let shape: readonly number[] | undefined;
    try {
      shape = model.runSync({ a, b })['sum']?.shape;
    } catch (error) {
      expect((error as { code?: string }).code).toBe('ERR_TENON_DATA_LENGTH');
      return;
    }
    expect(shape).toEqual([4000]);
  });
});

describe('feeds that cannot be read', () => {
  it.each(runs)('are refused, and the next run is right (%s)', async (_title, run) => {
    await using model = await load(modelPath('same.onnx'));
    const good = new Tensor('float32', [1, 2]);
    for (let i = 0; i < 4; i++) {
      const gone = new Tensor('float32', [1, 2]);
      structuredClone(gone.data, { transfer: [gone.data.buffer] });
      await expectError('ERR_TENON_DETACHED', () => run(model, { x: gone }));
      const disposed = allocated(ascending(2));
      disposed.dispose();
      await expectError('ERR_TENON_DISPOSED', () => run(model, { x: disposed }));
      const reshaped = new Tensor('float32', [1, 2]);
      (reshaped.shape as number[])[0] = 3;
      await expectError('ERR_TENON_DATA_LENGTH', () => run(model, { x: reshaped }));
      const negative = new Tensor('float32', [1, 2]);
      (negative.shape as number[])[0] = -2;
      await errorOf(() => run(model, { x: negative }));
      expect(dataOf(await run(model, { x: good }))['twice']).toEqual([2, 4]);
    }
  });

  it('are refused after the model was closed', async () => {
    const model = await load(modelPath('same.onnx'));
    const x = new Tensor('float32', [1, 2]);
    for (let i = 0; i < 4; i++) model.runSync({ x });
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.runSync({ x }));
  });
});

describe('stats', () => {
  it.each([
    ['up to what the block holds, copied', blockBytes / 4, 'copied'],
    ['above that, passed', blockBytes / 4 + 1, 'passed'],
  ])('count bytes of Tensor.alloc %s', async (_title, length, how) => {
    await using model = await load(modelPath('same.onnx'));
    const x = allocated(ascending(length));
    for (let i = 0; i < 5; i++) model.runSync({ x }, { outputs: ['twice'] });
    const { feedBytesCopied, feedBytesPassed } = model.stats();
    const bytes = 5 * x.byteLength;
    expect([feedBytesCopied, feedBytesPassed]).toEqual(how === 'copied' ? [bytes, 0] : [0, bytes]);
  });

  it('count outputs that come through the block as copied', async () => {
    await using model = await load(modelPath('same.onnx'));
    for (let i = 0; i < 5; i++) model.runSync({ x: [1, 2, 3] }, { outputs: ['twice'] });
    const { runs: count, outputBytesCopied, outputBytesPassed } = model.stats();
    expect([count, outputBytesCopied, outputBytesPassed]).toEqual([5, 60, 0]);
  });
});

describe('threads', () => {
  it('have a block each', async () => {
    const worker = `
      parentPort.once('message', async ({ handle, from }) => {
        const live = await load(handle);
        let wrong = 0;
        for (let i = 0; i < 20000; i++) {
          const x = new Tensor('float32', [from + i, i]);
          const { twice } = i % 2 === 0 ? live.runSync({ x }) : await live.run({ x });
          if (twice.data[0] !== 2 * (from + i) || twice.data[1] !== 2 * i) wrong += 1;
        }
        await live.close();
        parentPort.postMessage(wrong);
        parentPort.close();
      });`;
    const { code, stdout, stderr } = await runScript(
      `
      const live = await load(model('same.onnx'));
      const wrong = await Promise.all([1000, 5000, 9000].map(async (from) => {
        const thread = startWorker();
        thread.postMessage({ handle: live.share(), from });
        // Both may come in one turn.
        const [[count]] = await Promise.all([once(thread, 'message'), once(thread, 'exit')]);
        return count;
      }));
      const { twice } = live.runSync({ x: [1] });
      console.log(JSON.stringify([wrong, [...twice.data]]));
      await live.close();
    `,
      { workerSource: worker },
    );
    expect([code, stdout], stderr).toEqual([0, '[[0,0,0],[2]]\n']);
  });

  it('of one thread share a block between both builds of the package', async () => {
    const { code, stdout, stderr } = await runScript(`
      const { createRequire } = await import('node:module');
      const other = createRequire(process.cwd() + '/package.json')('./dist/index.cjs');
      const one = await load(model('same.onnx'));
      const two = await other.load(model('same.onnx'));
      const sums = [];
      for (let i = 0; i < 6; i++) {
        const x = new Tensor('float32', [i]);
        const y = new other.Tensor('float32', [10 * i]);
        sums.push(one.runSync({ x: y }).twice.data[0] + two.runSync({ x }).twice.data[0]);
        sums.push((await two.run({ x: y })).twice.data[0]);
      }
      console.log(sums.join());
      await one.close();
      await two.close();
    `);
    expect([code, stdout], stderr).toEqual([0, '0,0,22,20,44,40,66,60,88,80,110,100\n']);
  });
});

describe('runSync into a given tensor', () => {
  it.each([
    ['small', 3],
    ['as large as is copied from the block', 1024],
    ['an element more', 1025],
  ])('writes in place, each time the same call comes again: %s', async (_size, length) => {
    await using model = await load(modelPath('same.onnx'));
    const buffer = new Float32Array(length + 2);
    const twice = new Tensor('float32', buffer.subarray(1, length + 1));
    for (let i = 0; i < 5; i++) {
      const x = ascending(length, i);
      const outputs = model.runSync({ x: new Tensor('float32', x) }, { outputs: { twice } });
      expect(outputs['twice']).toBe(twice);
      expect([...buffer]).toEqual([0, ...x.map((value) => value + value), 0]);
    }
  });

  it('gives what goes elsewhere beside it', async () => {
    await using model = await load(modelPath('same.onnx'));
    const twice = Tensor.alloc('float32', [2]);
    const x = ascending(2, 5);
    const outputs = model.runSync({ x }, { outputs: { copy: 'host', twice } });
    expect(dataOf(outputs)).toEqual({ copy: [5, 6], twice: [10, 12] });
    const { copy } = model.runSync({ x }, { outputs: { copy: 'engine', twice } });
    expect(copy?.location).toBe('engine');
  });

  it('may write over what it is fed', async () => {
    await using model = await load(modelPath('same.onnx'));
    const x = new Tensor('float32', ascending(3, 1));
    for (let i = 0; i < 3; i++) model.runSync({ x }, { outputs: { twice: x } });
    expect([...x.data]).toEqual([8, 16, 24]);
  });

  it.each([
    ['an ONNX model', 'same.onnx', 'x', 'twice'],
    ['a TensorFlow model', 'half_plus_two/00000123', 'x', 'y'],
  ])('leaves it alone where its shape is another: %s', async (_title, file, input, output) => {
    await using model = await load(modelPath(file));
    const target = new Tensor('float32', [7, 7, 7]);
    await expectError(
      'ERR_TENON_SHAPE',
      () => model.runSync({ [input]: [1, 2] }, { outputs: { [output]: target } }),
      output,
      '[3]',
    );
    expect([...target.data]).toEqual([7, 7, 7]);
  });
});
