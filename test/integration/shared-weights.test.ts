import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { load, type Tensor } from '../../lib/index.js';
import { readWeights } from '../../lib/onnx-model/weights.js';
import { dtypes } from '../../lib/tensor/dtypes.js';
import { modelPath } from '../helpers/paths.js';

const digits = modelPath('digits_cnn.onnx');
const images = Float32Array.from({ length: 64 }, (_, i) => (i % 17) / 16);

async function probabilities(sessions: number, source: string | Uint8Array): Promise<number[][]> {
  await using model = await load(source, { pool: { sessions, lanes: 1 } });
  const runs = Array.from({ length: 2 * sessions }, () => model.run({ images }));
  const outputs = await Promise.all(runs);
  expect(model.stats().sessions.every(({ runs: count }) => sessions === 1 || count > 0)).toBe(true);
  return outputs.map((each) => [...((each['probabilities'] as Tensor).data as Float32Array)]);
}

describe('sessions that share weights', () => {
  it.each([
    ['a file', digits],
    ['bytes', readFileSync(digits)],
  ])('give what one gives: %s', async (_, source) => {
    const [alone] = await probabilities(1, source);
    const together = await probabilities(4, source);
    for (const each of together) expect(each).toEqual(alone);
  });

  it('give way to initializers of the caller', async () => {
    const [name, [, shape, data]] = (await readWeights(digits))[0] as Awaited<
      ReturnType<typeof readWeights>
    >[number];
    const { Tensor: TensorClass } = await import('../../lib/index.js');
    const zeros = TensorClass.alloc('float32', shape);
    expect(zeros.size * 4).toBe((data as Uint8Array).byteLength);
    const options = { onnxruntime: { initializers: { [name]: zeros } } };
    await using one = await load(digits, options);
    await using pool = await load(digits, { ...options, pool: { sessions: 3, lanes: 1 } });
    const of = async (model: typeof one) => [
      ...((await model.run({ images }))['probabilities']?.data as Float32Array),
    ];
    expect(await of(pool)).toEqual(await of(one));
  });
});

describe('readWeights', () => {
  it('finds the large ones, the same in a file and in bytes', async () => {
    const weights = await readWeights(digits);
    expect(weights.length).toBeGreaterThan(0);
    for (const [, [number, shape, data]] of weights) {
      const size = shape.reduce((product, each) => product * each, 1);
      expect(number).toBe(dtypes.float32.number);
      expect((data as Uint8Array).byteLength).toBe(4 * size);
      expect(size * 4).toBeGreaterThanOrEqual(4096);
    }
    expect(await readWeights(readFileSync(digits))).toEqual(weights);
  });

  it.each([
    'external_data/model.onnx',
    'simple_model.ort',
    '../broken/truncated.onnx',
    '../broken/empty.onnx',
    '../broken/huge_dims.onnx',
    '../broken/short_weights.onnx',
    '../broken/wrong_magic.onnx',
    'nowhere.onnx',
  ])('says nothing of %s', async (file) => {
    expect(await readWeights(modelPath(file))).toEqual([]);
  });

  it('survives a file cut anywhere, and bytes of any kind', async () => {
    const bytes = readFileSync(digits);
    for (let length = 0; length < bytes.byteLength; length += 97) {
      const found = await readWeights(bytes.subarray(0, length));
      expect(found).toEqual([]);
    }
    const noise = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251);
    expect(await readWeights(noise)).toEqual([]);
  });
});
