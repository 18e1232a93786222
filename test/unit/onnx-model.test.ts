import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/errors.js';
import { dtypeFromOnnx } from '../../lib/onnx-model/dtypes.js';
import { readOnnxModel } from '../../lib/onnx-model/read.js';
import { WireWriter } from '../../lib/protobuf/wire.js';
import { type ReferenceSpec, specsOf } from './saved-model-references.js';

const fixtures = 'test/fixtures';

interface Reference {
  inputs?: Record<string, ReferenceSpec>;
  outputs?: Record<string, ReferenceSpec>;
}

const references = JSON.parse(await readFile(`${fixtures}/signatures.json`, 'utf8')) as Record<
  string,
  Reference
>;
const models = Object.entries(references).flatMap(([name, { inputs, outputs }]) =>
  inputs === undefined || outputs === undefined || !name.endsWith('.onnx')
    ? []
    : [{ name, inputs, outputs }],
);

async function failure(promise: Promise<unknown>): Promise<TenonError> {
  const thrown: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(TenonError);
  return thrown as TenonError;
}

describe('readOnnxModel', () => {
  it('has models to read', () => expect(models.length).toBeGreaterThan(40));

  it.each(models)('says of $name what Python reads from it', async ({ name, inputs, outputs }) => {
    const model = await readOnnxModel(path.join(fixtures, name));
    expect(Object.fromEntries(model.inputs.map((spec) => [spec.name, spec]))).toEqual(
      specsOf(inputs),
    );
    const read = Object.fromEntries(model.outputs.map((spec) => [spec.name, spec]));
    expect(read).toMatchObject(specsOf(outputs));
    expect(model.irVersion).toBeGreaterThan(3);
    expect(model.nodes).toBe(model.operators.reduce((sum, { count }) => sum + count, 0));
  });

  it('reads the same from bytes as from the file', async () => {
    for (const { name } of models) {
      const file = path.join(fixtures, name);
      expect(await readOnnxModel(await readFile(file))).toEqual(await readOnnxModel(file));
    }
  });

  it('gives metadata, opsets and what the graph is made of', async () => {
    expect(await readOnnxModel(`${fixtures}/models/metadata.onnx`)).toEqual({
      irVersion: 8,
      opsets: [{ domain: '', version: 17 }],
      producerName: 'tenon fixtures',
      producerVersion: '1.2.3',
      domain: 'fixtures.example',
      modelVersion: 1099511627783,
      docString: 'A model with everything to say about itself: ä 🙂',
      graphName: 'metadata graph',
      graphDocString: 'What the graph says.',
      metadata: { author: 'the fixtures', empty: '', json: '{"a":[1,2]}', unicode: '漢字 🙂' },
      inputs: [{ kind: 'tensor', name: 'x', dtype: 'float32', shape: ['n'] }],
      outputs: [{ kind: 'tensor', name: 'y', dtype: 'float32', shape: ['n'] }],
      nodes: 1,
      operators: [{ domain: '', type: 'Identity', count: 1 }],
      functions: 0,
      initializers: 0,
      parameters: 0,
      externalData: [],
    });
    const cnn = await readOnnxModel(`${fixtures}/models/digits_cnn.onnx`);
    expect(cnn.producerName).toBe('pytorch');
    expect(cnn.operators.find(({ type }) => type === 'Conv')?.count).toBeGreaterThan(0);
    expect(cnn.parameters).toBeGreaterThan(1000);
  });

  it('counts the nodes inside If and Loop', async () => {
    const { operators } = await readOnnxModel(`${fixtures}/models/control_flow.onnx`);
    const types = operators.map(({ type }) => type);
    expect(types).toContain('If');
    expect(types).toContain('Loop');
    expect(types.length).toBeGreaterThan(2);
  });

  it('names the files that hold weights', async () => {
    const model = await readOnnxModel(`${fixtures}/models/external_data/model.onnx`);
    expect(model.externalData).toEqual([
      { location: 'model.onnx.data', tensors: expect.any(Number) as number, byteLength: 1024 },
    ]);
  });

  it('refuses what is no model, and describes broken ones it can', async () => {
    const missing = await failure(readOnnxModel(`${fixtures}/models/none.onnx`));
    expect(missing.code).toBe('ERR_TENON_MODEL_NOT_FOUND');
    for (const name of ['empty', 'truncated', 'wrong_magic', 'deep_nesting']) {
      const error = await failure(readOnnxModel(`${fixtures}/broken/${name}.onnx`));
      expect(error.code, name).toBe('ERR_TENON_MODEL_INVALID');
    }
    for (const name of ['cyclic', 'unknown_op', 'missing_external', 'future_opset']) {
      expect((await readOnnxModel(`${fixtures}/broken/${name}.onnx`)).nodes).toBeGreaterThan(0);
    }
  });

  it('survives graphs inside graphs', async () => {
    // graph → node (1) → attribute (5) → graph (6), forty times.
    let graph: Uint8Array = new Uint8Array(0);
    for (let depth = 0; depth < 40; depth++) {
      for (const field of [6, 5, 1]) {
        graph = new WireWriter().tag(field, 2).byteString(graph).finish();
      }
    }
    const bytes = new WireWriter().tag(1, 0).uint32(8).tag(7, 2).byteString(graph).finish();
    expect((await failure(readOnnxModel(bytes))).message).toContain('nested too deep');
  });

  it('cut off at any byte gives a coded error or a model', async () => {
    const bytes = await readFile(`${fixtures}/models/control_flow.onnx`);
    for (let length = 0; length < bytes.length; length++) {
      const result: unknown = await readOnnxModel(bytes.subarray(0, length)).catch(
        (error: unknown) => error,
      );
      if (result instanceof Error) {
        expect((result as TenonError).code).toBe('ERR_TENON_MODEL_INVALID');
      }
    }
  });

  it('knows no dtype for numbers ONNX has not given', () => {
    for (const number of [0, 27, 28, 29, -1]) expect(dtypeFromOnnx(number)).toBeUndefined();
  });
});

describe('damaged files', () => {
  it('give a coded error or a model', async () => {
    const bytes = await readFile(`${fixtures}/models/multi_io.onnx`);
    let state = 11;
    let refused = 0;
    for (let round = 0; round < 3000; round++) {
      const damaged = bytes.slice();
      for (let i = 0; i < 3; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        damaged[state % damaged.length] = state >>> 24;
      }
      const result: unknown = await readOnnxModel(damaged).catch((error: unknown) => error);
      if (!(result instanceof Error)) continue;
      expect((result as TenonError).code).toBe('ERR_TENON_MODEL_INVALID');
      refused++;
    }
    expect(refused).toBeGreaterThan(100);
  });
});
