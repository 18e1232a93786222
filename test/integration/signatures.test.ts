import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { load, type LoadOptions, type ValueSpec } from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { dtypeOf } from '../helpers/references.js';

/** A value as signatures.json describes it, read from the model's protobuf in Python. */
type Described =
  | {
      dtype: string;
      shape: (number | string | null)[] | null;
      hasDefault?: true;
      encoding?: string;
    }
  | { sequence: Described }
  | { optional: Described }
  | { map: { key: string; value: Described } };

interface DescribedSignature {
  method?: string;
  inputs: Record<string, Described>;
  outputs: Record<string, Described>;
}

type DescribedModel =
  | DescribedSignature
  | { metaGraphs: { tags: string[]; signatures: Record<string, DescribedSignature> }[] };

const described = JSON.parse(readFileSync(fixture('signatures.json'), 'utf8')) as Record<
  string,
  DescribedModel
>;

/** Tenon's description, without names, in the form of the fixtures' one. */
function plain(spec: ValueSpec): unknown {
  switch (spec.kind) {
    case 'tensor':
      return {
        dtype: spec.dtype,
        shape: spec.shape,
        ...(spec.optional ? { hasDefault: true } : {}),
      };
    case 'sequence':
      return { sequence: plain(spec.element) };
    case 'optional':
      return { optional: plain(spec.element) };
    case 'map':
      return { map: { key: spec.key, value: plain(spec.value) } };
    default:
      return spec.kind;
  }
}

function expected(value: Described): unknown {
  if ('sequence' in value) return { sequence: expected(value.sequence) };
  if ('optional' in value) return { optional: expected(value.optional) };
  if ('map' in value) return { map: { key: value.map.key, value: expected(value.map.value) } };
  if (value.encoding === 'coo_sparse') return 'sparse';
  const { shape, hasDefault } = value;
  return { dtype: dtypeOf(value.dtype), shape, ...(hasDefault ? { hasDefault } : {}) };
}

function mapped<V, R>(
  values: Readonly<Record<string, V>>,
  map: (value: V) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value)]));
}

describe('signatures read from the model', () => {
  const rows = Object.entries(described)
    .filter(([name]) => !name.includes('dtypes/complex') && !name.endsWith('.pb'))
    // ONNX Runtime infers the ranks of its outputs, which the file leaves open.
    .filter(([name]) => !name.endsWith('/strings.onnx'))
    .flatMap(([name, model]): [string, LoadOptions, Record<string, DescribedSignature>][] =>
      'metaGraphs' in model
        ? model.metaGraphs.map(({ tags, signatures }) => [name, { tags }, signatures])
        : [[name, {}, { serving_default: model }]],
    );

  it.each(rows)('%s with %o are what Python reads', async (name, options, signatures) => {
    await using model = await load(fixture(name), options);
    const actual = mapped(model.signatures, ({ inputs, outputs, methodName }) => ({
      ...(methodName === undefined ? {} : { method: methodName }),
      inputs: mapped(inputs, plain),
      outputs: mapped(outputs, plain),
    }));
    expect(actual).toEqual(
      mapped(signatures, ({ method, inputs, outputs }) => ({
        ...(method === undefined ? {} : { method }),
        inputs: mapped(inputs, expected),
        outputs: mapped(outputs, expected),
      })),
    );
  });
});

describe('choosing a signature', () => {
  it('is serving_default where nothing is said', async () => {
    await using model = await load(modelPath('tf_signatures'));
    expect(Object.keys(model.inputs)).toEqual(['x']);
    expect((await model.run([1]))['y']?.toArray()).toEqual([2]);
  });

  it('happens with each run', async () => {
    await using model = await load(modelPath('tf_signatures'));
    const feed = { x: [[1, 2, 3]] };
    expect((await model.run(feed, { signature: 'double' }))['y']?.toArray()).toEqual([[2, 4, 6]]);
    expect(model.runSync(feed, { signature: 'double' })['y']?.toArray()).toEqual([[2, 4, 6]]);
  });

  it('happens once with load', async () => {
    await using model = await load(modelPath('tf_signatures'), { signature: 'double' });
    expect(model.inputs).toBe(model.signatures['double']?.inputs);
    expect((await model.run([[1, 2, 3]]))['y']?.toArray()).toEqual([[2, 4, 6]]);
    expect((await model.run([1], { signature: 'serving_default' }))['y']?.toArray()).toEqual([2]);
  });

  it('that the model lacks ends in ERR_TENON_UNKNOWN_SIGNATURE with those it has', async () => {
    await using model = await load(modelPath('tf_signatures'));
    for (const name of ['missing', '', 'toString', '__proto__']) {
      const run = () => model.run({ x: [1] }, { signature: name });
      await expectError('ERR_TENON_UNKNOWN_SIGNATURE', run, '"double"', '"stats"', `"${name}"`);
    }
  });

  it('that the model lacks is refused by load', async () => {
    const options = { signature: 'missing' };
    const tensorflow = () => load(modelPath('tf_signatures'), options);
    await expectError('ERR_TENON_UNKNOWN_SIGNATURE', tensorflow, '"double"', '"missing"');
    const onnx = () => load(modelPath('same.onnx'), options);
    await expectError('ERR_TENON_UNKNOWN_SIGNATURE', onnx, '"serving_default"', '"missing"');
  });

  it('an ONNX model has one, serving_default', async () => {
    await using model = await load(modelPath('same.onnx'), { signature: 'serving_default' });
    expect(Object.keys(model.signatures)).toEqual(['serving_default']);
  });

  it('with a sparse input is listed, and running it is ERR_TENON_UNSUPPORTED', async () => {
    await using model = await load(modelPath('tf_sparse'));
    expect(model.inputs['x']?.kind).toBe('sparse');
    await expectError('ERR_TENON_UNSUPPORTED', () => model.run({ x: [1] }), '"x"', 'sparse');
    expect((await model.run([1, 2], { signature: 'dense' }))['y']?.dtype).toBe('float32');
  });
});

describe('choosing outputs', () => {
  it('computes those and no others', async () => {
    await using model = await load(modelPath('multi_io.onnx'));
    const outputs = await model.run({ a: [1], b: [2] }, { outputs: ['product', 'sum'] });
    expect(Object.keys(outputs)).toEqual(['product', 'sum']);
  });

  it('takes a name twice for once', async () => {
    await using model = await load(modelPath('tf_signatures'));
    const outputs = await model.run([1], { outputs: ['y', 'y'] });
    expect(Object.keys(outputs)).toEqual(['y']);
  });

  it.each([
    ['same.onnx', [1]],
    ['tf_shared_outputs', [[1]]],
  ])('that %s lacks ends in ERR_TENON_UNKNOWN_OUTPUT with those it has', async (file, x) => {
    await using model = await load(modelPath(file));
    const known = `"${Object.keys(model.outputs)[0]}"`;
    const options = { outputs: ['missing'] };
    await expectError('ERR_TENON_UNKNOWN_OUTPUT', () => model.run(x, options), known, '"missing"');
    await expectError('ERR_TENON_UNKNOWN_OUTPUT', () => model.runSync(x, options), known);
  });
});

describe('meta graphs', () => {
  it.each([
    [undefined, 2],
    [['serve'], 2],
    [['serve', 'gpu'], 3],
    [['gpu', 'serve'], 3],
    [['train'], 4],
  ])('with the tags %j are loaded', async (tags, result) => {
    await using model = await load(modelPath('tf_tags'), tags === undefined ? {} : { tags });
    expect((await model.run([1]))['y']?.toArray()).toEqual([result]);
  });

  it.each([[['gpu']], [['serve', 'train']], [['serve', 'gpu', 'more']], [[]], [['']], [['a\0b']]])(
    'with the tags %j end in ERR_TENON_UNKNOWN_TAG with those there are',
    async (tags) => {
      const action = () => load(modelPath('tf_tags'), { tags });
      await expectError('ERR_TENON_UNKNOWN_TAG', action, '"train"', '"gpu"');
    },
  );
});

describe('metadata', () => {
  it('of an ONNX model is what its author wrote', async () => {
    await using model = await load(modelPath('metadata.onnx'));
    const { custom, ...own } = model.metadata;
    expect(Object.keys(custom).length).toBeGreaterThan(0);
    expect(own).toMatchObject({ producer: expect.stringMatching(/./) as string });
  });

  it('of a SavedModel has its tags and its TensorFlow', async () => {
    await using model = await load(modelPath('tf_tags'), { tags: ['serve', 'gpu'] });
    expect(JSON.stringify(model.metadata)).toMatch(/serve.*gpu|gpu.*serve/);
    expect(JSON.stringify(model.metadata)).toMatch(/2\.\d+\.\d+/);
  });
});
