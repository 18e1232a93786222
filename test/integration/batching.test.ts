import { afterEach, describe, expect, it, vi } from 'vitest';

import {
  type BatchingOptions,
  type Dimension,
  load,
  type LoadOptions,
  type Model,
  type ModelSource,
  Tensor,
  type TensorSpec,
} from '../../lib/index.js';
import { nativeAddon } from '../../lib/native/load.js';
import { expectError } from '../helpers/errors.js';
import { centred, oneNode, pooledEncoder } from '../helpers/onnx-models.js';
import { modelPath } from '../helpers/paths.js';

const opened: Model[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((model) => model.destroy()));
});

async function open(source: ModelSource, options?: LoadOptions): Promise<Model> {
  const model = await load(source, options);
  opened.push(model);
  return model;
}

/** Far longer than any test: what waits for it waits until something else happens. */
const forever = 60_000_000;

/** The elements, rounded as kernels for other sizes may. */
function numbers(tensor: Tensor | undefined): number[] {
  return Array.from(tensor?.data as Float32Array, (value) => Number(value.toFixed(4)) + 0);
}

function stats(model: Model): NonNullable<ReturnType<Model['stats']>['batching']> {
  const { batching } = model.stats();
  if (batching === undefined) throw new Error('expected a model that batches');
  return batching;
}

const image = (seed: number): Tensor =>
  new Tensor(
    'float32',
    Float32Array.from({ length: 64 }, (_, i) => ((i * seed) % 17) / 16),
    [1, 8, 8, 1],
  );

describe.each(['digits_cnn.onnx', 'digits_cnn_tf'])('a trained network (%s)', (file) => {
  it('gives the same batched as alone', async () => {
    const alone = await open(modelPath(file));
    const model = await open(modelPath(file), { batching: true });
    expect(stats(model).verification['serving_default']?.status).toBe('verified');
    const images = Array.from({ length: 48 }, (_, i) => image(i + 1));
    const expected = [];
    for (const each of images) expected.push((await alone.run(each))['probabilities']);
    const results = await Promise.all(images.map((each) => model.run(each)));
    for (const [i, { probabilities }] of results.entries()) {
      expect(probabilities?.shape).toEqual([1, 10]);
      expect(numbers(probabilities)).toEqual(numbers(expected[i]));
    }
    const { requests, batches, batchRows } = stats(model);
    expect(requests).toBe(48);
    expect(batches).toBeLessThan(48);
    expect(batchRows.max).toBe(32);
    expect(model.stats().batchedRuns).toBeGreaterThan(0);
  });

  it('splits what is too large, and fills up to allowed sizes', async () => {
    const alone = await open(modelPath(file));
    const model = await open(modelPath(file), {
      batching: { allowedBatchSizes: [2, 4], splitLarge: true },
    });
    const images = Tensor.alloc('float32', [11, 8, 8, 1]);
    images.data.forEach((_, i) => (images.data[i] = ((i * 5) % 17) / 16));
    const [whole, single] = await Promise.all([model.run({ images }), alone.run({ images })]);
    const one = await model.run({ images: image(3) });
    expect(whole['probabilities']?.shape).toEqual([11, 10]);
    expect(numbers(whole['probabilities'])).toEqual(numbers(single['probabilities']));
    expect(one['probabilities']?.shape).toEqual([1, 10]);
    expect(stats(model).paddedRows).toBeGreaterThan(0);
    expect(stats(model).requests).toBe(4);
  });

  it('answers with NaN only who asked with it', async () => {
    const model = await open(modelPath(file), { batching: true });
    const bad = new Tensor('float32', new Float32Array(64).fill(NaN), [1, 8, 8, 1]);
    const [good, nan, other] = await Promise.all(
      [image(2), bad, image(2)].map((x) => model.run(x)),
    );
    // Not every kernel hands NaN on.
    const alone = await open(modelPath(file));
    expect(numbers(nan?.['probabilities'])).toEqual(
      numbers((await alone.run(bad))['probabilities']),
    );
    expect(numbers(good?.['probabilities'])).toEqual(numbers(other?.['probabilities']));
    expect(numbers(good?.['probabilities']).some(Number.isNaN)).toBe(false);
  });
});

describe.each([
  ['fails_in_run.onnx', 100n],
  ['tf_fails_in_run', 100n],
] as const)('an engine that fails in mid-batch (%s)', (file, bad) => {
  it('fails the request that is to blame', async () => {
    const model = await open(modelPath(file), { batching: true });
    expect(stats(model).verification['serving_default']?.status).toBe('unverified');
    const requests = [[0n], [1n], [bad], [2n], [1n]].map((index) => model.run({ index }));
    const [first, , third, , last] = await Promise.allSettled(requests);
    expect(third).toMatchObject({ status: 'rejected', reason: { code: 'ERR_TENON_RUN' } });
    const alone = await open(modelPath(file));
    const value = (settled: typeof first): number[] =>
      numbers((settled as PromiseFulfilledResult<Record<string, Tensor>>).value['y']);
    expect(value(first)).toEqual(numbers((await alone.run({ index: [0n] }))['y']));
    expect(value(last)).toEqual(numbers((await alone.run({ index: [1n] }))['y']));
    expect(stats(model)).toMatchObject({ failedBatches: 1, retried: 5, failed: 1 });
  });
});

describe('strings', () => {
  it('are batched', async () => {
    const model = await open(modelPath('tf_strings'), { batching: true });
    const texts = [
      ['Äpfel', 'b'],
      ['C d', ''],
      ['漢字 🙂', 'E'],
    ];
    const results = await Promise.all(texts.map((text) => model.run({ text })));
    expect(results.map(({ lower }) => lower?.data)).toEqual(
      texts.map((text) => text.map((each) => each.toLowerCase())),
    );
    expect(stats(model)).toMatchObject({ requests: 3, batches: 1 });
  });
});

describe('feeds that wait', () => {
  it('may be written to by their caller at once', async () => {
    const model = await open(modelPath('half_plus_two'), { batching: true });
    const x = Float32Array.of(2);
    const run = model.run({ x });
    x[0] = 100;
    expect(numbers((await run)['y'])).toEqual([4]);
  });

  it('may be disposed of', async () => {
    const model = await open(modelPath('external_data/model.onnx'), {
      batching: { maxBatchSize: 8192, maxDelayMicros: forever, verifyBatching: false },
    });
    const before = nativeAddon().memory().buffers;
    const rows = 2048;
    const x = Tensor.alloc('float32', [rows, 16]);
    x.data.fill(1);
    const run = model.run({ x });
    x.dispose();
    expect(() => x.data).toThrow(expect.objectContaining({ code: 'ERR_TENON_DISPOSED' }) as Error);
    const closed = model.close();
    const { y } = await run;
    expect(y?.shape).toEqual([rows, 16]);
    expect(numbers(y).slice(0, 16)).toEqual(numbers(y).slice(-16));
    await closed;
    y?.dispose();
    await vi.waitUntil(() => nativeAddon().memory().buffers <= before);
  });
});

describe('a caller that stops', () => {
  const waiting = { batching: { maxDelayMicros: forever, maxBatchSize: 3 } };

  it('leaves the queue, with its own reason', async () => {
    const model = await open(modelPath('half_plus_two'), waiting);
    const controller = new AbortController();
    const stopped = model.run({ x: [1] }, { signal: controller.signal });
    const other = model.run({ x: [2] });
    controller.abort(new Error('gone'));
    await expect(stopped).rejects.toThrow('gone');
    const late = model.run({ x: [9] }, { timeoutMs: 1 });
    await expectError('ERR_TENON_TIMEOUT', () => late);
    const rest = [model.run({ x: [3] }), model.run({ x: [4] })];
    expect(numbers((await other)['y'])).toEqual([4]);
    expect(await Promise.all(rest)).toHaveLength(2);
    expect(stats(model)).toMatchObject({ stopped: 2, queuedRequests: 0 });
  });

  it('closes and destroys like any model', async () => {
    const model = await open(modelPath('half_plus_two'), waiting);
    const drained = [model.run({ x: [1] }), model.run({ x: [2] })];
    const closed = model.close();
    expect((await Promise.all(drained)).map(({ y }) => numbers(y))).toEqual([[3.5], [4]]);
    await closed;
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.run({ x: [1] }));

    const other = await open(modelPath('half_plus_two'), waiting);
    const rejected = other.run({ x: [1] });
    const destroyed = other.destroy(new Error('enough'));
    await expect(rejected).rejects.toThrow('enough');
    await destroyed;
  });
});

describe('requests of different lengths', () => {
  const batching: BatchingOptions = {
    padVariableLength: true,
    maskInput: 'attention_mask',
    padValues: { ids: 9 },
    sample: [{ ids: [[1n, 2n, 3n]] }, { ids: [[4n]] }],
  };
  const lengths = [1, 4, 2, 7, 3];
  const idsOf = (length: number): bigint[][] => [
    Array.from({ length }, (_, i) => BigInt((i * 3 + length) % 9)),
  ];

  it('share a batch with a mask, and give what they give alone', async () => {
    const alone = await open(pooledEncoder());
    const model = await open(pooledEncoder(), { batching });
    expect(stats(model).verification['serving_default']?.status).toBe('verified');
    const results = await Promise.all(lengths.map((length) => model.run({ ids: idsOf(length) })));
    for (const [i, length] of lengths.entries()) {
      const attention_mask = [Array<bigint>(length).fill(1n)];
      const expected = await alone.run({ ids: idsOf(length), attention_mask });
      expect(results[i]?.['hidden']?.shape).toEqual([1, length, 2]);
      expect(numbers(results[i]?.['hidden'])).toEqual(numbers(expected['hidden']));
      expect(numbers(results[i]?.['pooled'])).toEqual(numbers(expected['pooled']));
    }
    expect(stats(model)).toMatchObject({ requests: 5, batches: 1 });
    // One that comes alone gets its mask, too; one that is fed keeps its own.
    const lone = await model.run({ ids: idsOf(4) });
    expect(numbers(lone['pooled'])).toEqual(numbers(results[1]?.['pooled']));
    const own = await model.run({ ids: [[1n, 2n]], attention_mask: [[1n, 0n]] });
    expect(numbers(own['pooled'])).toEqual(
      numbers((await model.run({ ids: [[1n]], attention_mask: [[1n]] }))['pooled']),
    );
  });

  it("are padded with their own first element, as TensorFlow Serving's are", async () => {
    // It gives back what it was fed, padding included.
    const model = await open(oneNode('Identity', {}, ['batch', 'length'], ['batch', 'width']), {
      batching: { padVariableLength: true, padValue: 'first', verifyBatching: false },
      pool: { lanes: 1 },
    });
    const results = await Promise.all([[5], [7, 8, 9], [-1, 2]].map((x) => model.run({ x: [x] })));
    expect(results.map(({ y }) => numbers(y))).toEqual([
      [5, 5, 5],
      [7, 8, 9],
      [-1, 2, -1],
    ]);
  });

  it('in buckets travel with their like', async () => {
    const model = await open(pooledEncoder(), {
      batching: { ...batching, lengthBuckets: [2, 8] },
      pool: { lanes: 1 },
    });
    await Promise.all(lengths.map((length) => model.run({ ids: idsOf(length) })));
    expect(stats(model)).toMatchObject({ requests: 5, batches: 2 });
  });

  it('without a mask are found out at load', async () => {
    const { maskInput, ...unmasked } = batching;
    expect(maskInput).toBeDefined();
    const sample = [
      { ids: [[1n, 2n, 3n]], attention_mask: [[1n, 1n, 1n]] },
      { ids: [[4n]], attention_mask: [[1n]] },
    ];
    // Padding is marked as real.
    const wrong = { ...unmasked, sample, padValues: { attention_mask: 1 } };
    await expectError(
      'ERR_TENON_NOT_BATCHABLE',
      () => open(pooledEncoder(), { batching: wrong }),
      'pooled',
    );
    const right = { ...unmasked, sample, padValues: { attention_mask: 0 } };
    await open(pooledEncoder(), { batching: right });
  });
});

describe('a model that cannot be batched', () => {
  const reduced = (): Buffer =>
    oneNode(
      'ReduceSum',
      { keepdims: 1 },
      ['batch', 4],
      ['rows', 4],
      [['axes', BigInt64Array.of(0n)]],
    );

  it.each<[string, () => Buffer, string]>([
    [
      'a softmax over rows',
      () => oneNode('Softmax', { axis: 0 }, ['batch', 4], ['batch', 4]),
      'other results',
    ],
    ['a mean over rows', centred, 'other results'],
    ['a sum over rows', reduced, 'output'],
    [
      'a fixed first dimension',
      () => oneNode('Relu', {}, [1, 4], [1, 4]),
      'has 1 as its first dimension',
    ],
    [
      'rows in the second dimension',
      () => oneNode('Transpose', { perm: [1, 0] }, ['batch', 4], ['a', 'b']),
      'as its first dimension',
    ],
    ['scalars', () => oneNode('Relu', {}, [], []), 'is a scalar'],
  ])('is refused: %s', async (_what, build, reason) => {
    await expectError('ERR_TENON_NOT_BATCHABLE', () => open(build(), { batching: true }), reason);
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    try {
      const model = await open(build(), { batching: { verifyBatching: 'warn' } });
      expect(warned).toHaveBeenCalledWith(expect.stringContaining(reason), expect.anything());
      expect(stats(model).verification['serving_default']).toMatchObject({ status: 'refused' });
      const { shape } = model.inputs['x'] as TensorSpec & { shape: readonly Dimension[] };
      const x = Tensor.alloc(
        'float32',
        shape.map((size) => (typeof size === 'number' ? size : 1)),
      );
      x.data.forEach((_, i) => (x.data[i] = i));
      const [one, two] = await Promise.all([model.run({ x }), model.run({ x })]);
      expect(numbers(one['y'])).toEqual(numbers(two['y']));
      expect(stats(model)).toMatchObject({ requests: 0, passed: { signature: 2 } });
    } finally {
      warned.mockRestore();
    }
  });

  it('is found out by its first batch where nobody looked', async () => {
    // Two rows of each.
    const halved = oneNode(
      'Reshape',
      {},
      ['batch', 4],
      ['rows', 2],
      [['shape', BigInt64Array.of(-1n, 2n)]],
    );
    await expectError('ERR_TENON_NOT_BATCHABLE', () => open(halved, { batching: true }), '[2, 2]');
    const model = await open(halved, { batching: { verifyBatching: false } });
    expect(stats(model).verification['serving_default']?.status).toBe('off');
    const x = [
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ];
    const results = await Promise.all(x.map((row) => model.run({ x: [row] })));
    expect(results.map(({ y }) => numbers(y))).toEqual(x);
    expect(stats(model)).toMatchObject({ failedBatches: 1, retried: 2 });
    await model.run({ x: [[1, 1, 1, 1]] });
    expect(stats(model).passed.outputs).toBe(1);
  });

  it('refuses options that name what it does not have', async () => {
    for (const batching of [
      { padVariableLength: true, maskInput: 'none' },
      { padVariableLength: true, padValues: { none: 1 } },
      { padVariableLength: true, trimOutputs: { none: {} } },
    ]) {
      await expectError(
        'ERR_TENON_INVALID_ARGUMENT',
        () => open(pooledEncoder(), { batching }),
        'none',
      );
    }
  });

  it('fails with what its sample fails with', async () => {
    const batching = { sample: { index: [100n] } };
    await expectError('ERR_TENON_RUN', () => open(modelPath('fails_in_run.onnx'), { batching }));
  });
});

describe('batching: "auto"', () => {
  it('learns, and says what it chose and why', async () => {
    const model = await open(modelPath('digits_cnn.onnx'), { batching: 'auto' });
    for (let round = 0; round < 30; round++) {
      await Promise.all(Array.from({ length: 40 }, (_, i) => model.run(image(i + 1))));
    }
    const [adaptive] = stats(model).adaptive;
    expect(adaptive).toMatchObject({ targetLatencyMs: 50 });
    expect(adaptive?.times.length).toBeGreaterThan(0);
    expect(adaptive?.maxBatchSize).toBeGreaterThanOrEqual(1);
    expect(adaptive?.why).not.toContain('too few');
  });
});

describe('a pool of sessions', () => {
  it('batches before it chooses a session', async () => {
    const model = await open(modelPath('simple_model.onnx'), {
      batching: { maxBatchSize: 4 },
      pool: { sessions: 2, lanes: 1 },
    });
    const alone = await open(modelPath('simple_model.onnx'));
    const rows = Array.from({ length: 16 }, (_, i) => [[i, i + 1, i + 2, i + 3]]);
    const results = await Promise.all(rows.map((input) => model.run({ input })));
    for (const [i, input] of rows.entries()) {
      expect(numbers(results[i]?.['output'])).toEqual(
        numbers((await alone.run({ input }))['output']),
      );
    }
    expect(stats(model).batches).toBe(4);
  });

  it('is batched in each thread that shares it', async () => {
    const model = await open(modelPath('half_plus_two'));
    const attached = await load(model.share(), { batching: true });
    opened.push(attached);
    const results = await Promise.all([1, 2].map((x) => attached.run({ x: [x] })));
    expect(results.map(({ y }) => numbers(y))).toEqual([[3.5], [4]]);
    expect(stats(attached)).toMatchObject({ requests: 2, batches: 1 });
    expect(model.stats().batching).toBeUndefined();
  });
});
