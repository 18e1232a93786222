/** Predicts of JSON in one go, against the same in three steps. */

import { describe, expect, it } from 'vitest';

import {
  decodePredict,
  encodeAtOnceMaxElements,
  encodePredict,
  type JsonRun,
} from '../../lib/codec/json.js';
import { load, type LoadOptions, type Model, type Tensor } from '../../lib/index.js';
import { jsonRunOf } from '../../lib/model/short-cuts.js';
import { nativeAddon } from '../../lib/native/load.js';
import { expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const name = 'serving_default';

const open = (model: string, options: LoadOptions = {}): Promise<Model> =>
  load(modelPath(model), { validateShapes: false, ...options });

/** Decoded, run, and encoded, each by itself. After it the model is known to run in place. */
async function inSteps(model: Model, body: Uint8Array): Promise<string> {
  const inputs = Object.values(model.inputs).map((spec) => ({
    name: spec.name,
    dtype: (spec as { dtype: 'float32' }).dtype,
  }));
  const { format, feeds } = await decodePredict(body, () => inputs);
  const results = await model.run(feeds);
  const outputs = Object.keys(model.outputs).map((output) => ({
    name: output,
    tensor: results[output] as Tensor,
  }));
  return (await encodePredict(format, outputs)).toString();
}

/**
 * Calls `action` where a run of the model is known to be short, until it has done something: the first
 * runs are not, nor one that the thread was taken away from.
 */
async function inPlace<T>(model: Model, body: Uint8Array, action: () => T | undefined): Promise<T> {
  for (let i = 0; i < 10_000; i++) {
    await inSteps(model, body);
    const result = action();
    if (result !== undefined) return result;
  }
  throw new Error('expected a run on this thread, and there was none');
}

const newRun = (model: Model): JsonRun => jsonRunOf(model, name) as JsonRun;

describe('a run of JSON', () => {
  it.each([
    ['simple_model.onnx', '{"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]}'],
    ['simple_model.onnx', '{"inputs": [[0.5, 1e-3, -4, 1e9]]}'],
    ['half_plus_two', '{"instances": [1.0, 2.0, 5.0]}'],
    ['half_plus_two', '{"signature_name": "", "inputs": {"x": [3]}}'],
    ['strings.onnx', null],
    ['scalars.onnx', null],
    ['multi_io.onnx', null],
  ])('of %s gives what its steps do: %s', async (file, text) => {
    await using model = await open(file);
    const body = bytes(text ?? bodyFor(model));
    const run = newRun(model);
    // How long a run takes is not known yet.
    expect(run.run(body)).toBeUndefined();
    const expected = await inSteps(model, body);
    const answer = await inPlace(model, body, () => {
      const { runs } = model.stats();
      const result = run.run(body);
      expect(model.stats().runs - runs).toBe(result === undefined ? 0 : 1);
      return result;
    });
    expect(answer.toString()).toBe(expected);
    expect(run.micros).toBeGreaterThan(0);
  });

  it('writes many elements elsewhere', async () => {
    await using model = await open('same.onnx');
    const values = Array.from({ length: encodeAtOnceMaxElements + 1 }, (_, i) => i % 10);
    const body = bytes(JSON.stringify({ inputs: values }));
    const expected = await inSteps(model, body);
    const run = newRun(model);
    const answer = await inPlace(model, body, () => run.run(body));
    expect(answer.toString()).toBe(expected);
  });

  it('leaves what is not as it should be to others', async () => {
    await using model = await open('simple_model.onnx');
    const good = bytes('{"instances": [[1, 2, 3, 4]]}');
    const run = newRun(model);
    await inPlace(model, good, () => run.run(good));
    const { runs } = model.stats();
    for (const body of [
      '',
      '{"instances": [[1, 2, 3, 4]]',
      '{"instances": []}',
      '{"instances": [["a"]]}',
      '{"signature_name": "other", "instances": [[1, 2, 3, 4]]}',
      '{"inputs": {}}',
      '{"inputs": {"other": [1]}}',
      '{"instances": [[1, 2, 3, 4]]}' + ' '.repeat(20_000),
    ]) {
      expect(run.run(bytes(body)), body.slice(0, 80)).toBeUndefined();
    }
    expect(model.stats().runs).toBe(runs);
  });

  it('throws what a run throws', async () => {
    const model = await open('simple_model.onnx');
    const good = bytes('{"instances": [[1, 2, 3, 4]]}');
    const run = newRun(model);
    const bad = bytes('{"instances": [[1, 2]]}');
    await expectError('ERR_TENON_RUN', () => inPlace(model, good, () => run.run(bad)));
    expect(model.stats().failedRuns).toBe(1);
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => run.run(good));
    await expectError('ERR_TENON_MODEL_CLOSED', () => jsonRunOf(model, name));
  });

  it.each<[string, string, LoadOptions]>([
    ['batches', 'simple_model.onnx', { batching: true }],
    ['has several sessions', 'simple_model.onnx', { pool: { sessions: 2 } }],
    ['compares shapes', 'simple_model.onnx', { validateShapes: true }],
    ['takes a sequence', 'sequences.onnx', {}],
    ['gives a map', 'maps.onnx', {}],
  ])('is none of a model that %s', async (_what, file, options) => {
    await using model = await open(file, options);
    expect(jsonRunOf(model, name)).toBeUndefined();
  });

  it('is none of a signature that is not there', async () => {
    await using model = await open('half_plus_two');
    expect(jsonRunOf(model, 'none')).toBeUndefined();
  });

  it('never goes to a model whose runs are long', async () => {
    await using slow = await open('slow.onnx');
    const body = bytes('{"inputs": 60}');
    await inSteps(slow, body);
    expect(jsonRunOf(slow, name)?.run(body)).toBeUndefined();
  });
});

/** An element of each input. */
function bodyFor(model: Model): string {
  const values = Object.values(model.inputs).map((spec) => {
    if (spec.kind !== 'tensor') throw new Error(`expected a tensor, received ${spec.kind}`);
    const { dtype, shape } = spec;
    const one = dtype === 'string' ? 'a "word"' : dtype === 'bool' ? true : 1;
    const nested = (shape ?? []).reduceRight<unknown>(
      (inner, size) => Array.from({ length: typeof size === 'number' ? size : 1 }, () => inner),
      one,
    );
    return [spec.name, nested];
  });
  return JSON.stringify({ inputs: Object.fromEntries(values) as unknown });
}

it('the addon takes nothing else', async () => {
  await using model = await open('half_plus_two');
  const session = nativeAddon().attach(model.share().shares[0] as number);
  const inputs = nativeAddon().json.createInputs(name, ['x'], [1]);
  const others = nativeAddon().json.createInputs(name, ['z'], [1]);
  const micros = new Float64Array(1);
  const prepare = session.prepareJson.bind(session) as (
    ...args: unknown[]
  ) => (body: unknown) => unknown;
  const index = session.info.signatures.findIndex((signature) => signature.name === name);
  for (const wrong of [
    [99, inputs, ['y'], micros],
    ['0', inputs, ['y'], micros],
    [index, null, ['y'], micros],
    [index, {}, ['y'], micros],
    [index, others, ['y'], micros],
    [index, inputs, 'y', micros],
    [index, inputs, ['x'], micros],
    [index, inputs, [{}], micros],
    [index, inputs, ['y'], new Float64Array(0)],
    [index, inputs, ['y'], new Float32Array(1)],
    [index, inputs, ['y'], undefined],
  ]) {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => prepare(...wrong));
  }
  const run = prepare(index, inputs, ['y'], micros);
  for (const wrong of [undefined, '{}', [1], new Float32Array(2)]) {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => run(wrong));
  }
  await session.close();
});
