import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/errors.js';
import type { ValueSpec } from '../../lib/model/spec.js';
import { decodeFile } from '../../lib/protobuf/project.js';
import {
  DataType,
  GraphDef,
  MetaGraphDef,
  SavedModel,
  TensorInfo,
} from '../../lib/protobuf/tensorflow.js';
import { WireWriter } from '../../lib/protobuf/wire.js';
import { dtypeFromTensorFlow } from '../../lib/protobuf/tensorflow-dtypes.js';
import { readGraphDef } from '../../lib/saved-model/graph-def.js';
import { readSavedModel, selectMetaGraph } from '../../lib/saved-model/read.js';
import { dtypes } from '../../lib/tensor/dtypes.js';
import { type ReferenceSpec, specsOf } from './saved-model-references.js';

const fixtures = 'test/fixtures';

interface ReferenceSignature {
  method: string;
  inputs: Record<string, ReferenceSpec>;
  outputs: Record<string, ReferenceSpec>;
}

interface Reference {
  metaGraphs?: { tags: string[]; signatures: Record<string, ReferenceSignature> }[];
}

const references = JSON.parse(await readFile(`${fixtures}/signatures.json`, 'utf8')) as Record<
  string,
  Reference
>;
const savedModels = Object.entries(references).flatMap(([name, { metaGraphs }]) =>
  metaGraphs === undefined ? [] : [{ name, metaGraphs }],
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tenon-saved-model-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(name: string, bytes: Uint8Array | string): Promise<string> {
  const model = path.join(folder, name);
  await mkdir(model, { recursive: true });
  await writeFile(path.join(model, 'saved_model.pb'), bytes);
  return model;
}

async function failure(promise: Promise<unknown>): Promise<TenonError> {
  const thrown: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(TenonError);
  return thrown as TenonError;
}

function specs(bindings: readonly { spec: ValueSpec }[]): Record<string, ValueSpec> {
  return Object.fromEntries(bindings.map(({ spec }) => [spec.name, spec]));
}

describe('readSavedModel', () => {
  it.each(savedModels)('says of $name what Python reads from it', async ({ name, metaGraphs }) => {
    const model = await readSavedModel(path.join(fixtures, name));
    expect(model.schemaVersion).toBe(1);
    expect(model.metaGraphs.map(({ tags }) => tags)).toEqual(metaGraphs.map(({ tags }) => tags));
    metaGraphs.forEach(({ signatures }, index) => {
      const read = model.metaGraphs[index]?.signatures ?? [];
      expect(read.map((signature) => signature.name)).toEqual(Object.keys(signatures).sort());
      for (const signature of read) {
        const reference = signatures[signature.name] as ReferenceSignature;
        expect(signature.methodName).toBe(reference.method);
        expect(specs(signature.inputs)).toEqual(specsOf(reference.inputs));
        expect(specs(signature.outputs)).toEqual(specsOf(reference.outputs));
      }
    });
  });

  it('gives the graph tensors, versions, assets and the init op', async () => {
    const [metaGraph] = (await readSavedModel(`${fixtures}/models/tf_vocabulary`)).metaGraphs;
    expect(metaGraph).toMatchObject({
      tensorflowVersion: '2.21.0',
      tensorflowGitVersion: expect.stringMatching(/^v2\.21\.0/) as string,
      assets: [{ filename: 'words.txt', tensor: 'asset_path_initializer:0' }],
      initOp: 'NoOp',
    });
    expect(metaGraph?.signatures[0]?.inputs[0]?.tensor).toBe('serving_default_words:0');
  });

  it('reads the same from the file as from all of its bytes', async () => {
    for (const { name } of savedModels) {
      const file = path.join(fixtures, name, 'saved_model.pb');
      const handle = await open(file);
      const projected = await decodeFile(SavedModel, handle);
      await handle.close();
      expect(projected).toEqual(SavedModel.decode(await readFile(file)));
    }
  });

  it('passes over a graph of a gigabyte without reading it', async () => {
    const model = await written('large', '');
    const handle = await open(path.join(model, 'saved_model.pb'), 'w');
    const rest = SavedModel.encode(
      SavedModel.decode(await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`)),
    );
    // Field 2 of field 2: a graph_def that is a hole in the file.
    const graphLength = 1_000_000_000;
    const graphHeader = new WireWriter().tag(2, 2).uint32(graphLength).finish();
    const header = new WireWriter()
      .tag(2, 2)
      .uint32(graphHeader.length + graphLength)
      .raw(graphHeader)
      .finish();
    await handle.write(header, 0, header.length, 0);
    await handle.write(rest, 0, rest.length, header.length + graphLength);
    await handle.close();
    const before = process.memoryUsage().arrayBuffers;
    const { metaGraphs } = await readSavedModel(model);
    expect(metaGraphs).toHaveLength(2);
    expect(metaGraphs[1]?.signatures[0]?.name).toBe('serving_default');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
  });

  it('cut off at any byte gives a coded error, never a hang', async () => {
    const { metaGraphs } = SavedModel.decode(
      await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`),
    );
    const graph = new WireWriter().tag(2, 2).byteString(new Uint8Array(200).fill(0xff)).finish();
    const metaGraph = new WireWriter()
      .raw(graph)
      .raw(MetaGraphDef.encode(metaGraphs[0] ?? {}))
      .finish();
    const bytes = new WireWriter().tag(1, 0).uint32(1).tag(2, 2).byteString(metaGraph).finish();
    expect((await readSavedModel(await written('cut', bytes))).metaGraphs).toHaveLength(1);
    for (let length = 0; length < bytes.length; length++) {
      const error = await failure(readSavedModel(await written('cut', bytes.subarray(0, length))));
      expect(error.code).toBe('ERR_TENON_MODEL_INVALID');
    }
  });

  it('with damaged bytes gives a coded error or a model', async () => {
    const bytes = await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`);
    let state = 7;
    for (let round = 0; round < 300; round++) {
      const damaged = bytes.slice();
      for (let i = 0; i < 3; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        damaged[state % damaged.length] = state >>> 24;
      }
      const model = await written('damaged', damaged);
      const thrown: unknown = await readSavedModel(model).catch((error: unknown) => error);
      if (thrown instanceof Error) expect(thrown).toBeInstanceOf(TenonError);
    }
  });

  it.each([
    ['nothing at the path', 'models/no_such_model', 'ERR_TENON_MODEL_NOT_FOUND', 'found nothing'],
    ['a file', 'models/tf_frozen.pb', 'ERR_TENON_MODEL_NOT_FOUND', 'received a file'],
    ['a folder without it', 'models', 'ERR_TENON_MODEL_NOT_FOUND', 'found none'],
    ['text', 'broken/saved_model_text', 'ERR_TENON_MODEL_INVALID', 'tensorflow.SavedModel'],
    ['a cut file', 'broken/saved_model_truncated', 'ERR_TENON_MODEL_INVALID', 'fewer bytes'],
    ['an empty file', 'broken/saved_model_empty', 'ERR_TENON_MODEL_INVALID', 'meta graph'],
  ])('refuses %s', async (_, name, code, message) => {
    const error = await failure(readSavedModel(path.join(fixtures, name)));
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
  });

  it('says what to do with the text form', async () => {
    const model = path.join(folder, 'text');
    await mkdir(model);
    await writeFile(path.join(model, 'saved_model.pbtxt'), 'saved_model_schema_version: 1');
    const error = await failure(readSavedModel(model));
    expect(error.code).toBe('ERR_TENON_MODEL_FORMAT');
    expect(error.message).toContain('tf.saved_model.save');
  });

  it('keeps the cause of a file that cannot be read', async () => {
    const model = path.join(folder, 'unreadable');
    await mkdir(path.join(model, 'saved_model.pb'), { recursive: true });
    expect((await failure(readSavedModel(model))).code).toBe('ERR_TENON_MODEL_NOT_FOUND');
    const nul = await failure(readSavedModel('a\0b'));
    expect(nul.code).toBe('ERR_TENON_MODEL_NOT_FOUND');
    expect(nul.cause).toBeInstanceOf(Error);
  });

  it('names a data type it does not know', async () => {
    const proto = SavedModel.decode(await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`));
    const info = proto.metaGraphs[0]?.signatureDef.get('serving_default')?.inputs.get('x');
    if (info !== undefined) info.dtype = 77;
    const error = await failure(readSavedModel(await written('dtype', SavedModel.encode(proto))));
    expect(error.code).toBe('ERR_TENON_MODEL_INVALID');
    expect(error.message).toContain('input "x" of signature "serving_default"');
    expect(error.message).toContain('number 77');
  });

  it('takes a missing shape for an unknown one, and refuses negative sizes', async () => {
    const proto = SavedModel.decode(await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`));
    const inputs = proto.metaGraphs[0]?.signatureDef.get('serving_default')?.inputs;
    const x = inputs?.get('x') as TensorInfo;
    x.tensorShape = undefined;
    const open = await readSavedModel(await written('shape', SavedModel.encode(proto)));
    expect(specs(open.metaGraphs[0]?.signatures[0]?.inputs ?? [])['x']).toMatchObject({
      shape: null,
    });
    x.tensorShape = { dim: [{ size: -2n, name: '' }], unknownRank: false };
    const error = await failure(
      readSavedModel(await written('negative', SavedModel.encode(proto))),
    );
    expect(error.code).toBe('ERR_TENON_MODEL_INVALID');
  });

  it('lists composite tensors and resources as opaque', async () => {
    const proto = SavedModel.decode(await readFile(`${fixtures}/models/tf_scalar/saved_model.pb`));
    const inputs = proto.metaGraphs[0]?.signatureDef.get('serving_default')?.inputs;
    const part = TensorInfo.create({ encoding: { case: 'name', value: 'part:0' } });
    inputs?.set(
      'ragged',
      TensorInfo.create({
        encoding: { case: 'compositeTensor', value: { components: [part] } },
      }),
    );
    inputs?.set('table', TensorInfo.create({ dtype: DataType.DT_RESOURCE }));
    const model = await readSavedModel(await written('composite', SavedModel.encode(proto)));
    const bindings = model.metaGraphs[0]?.signatures[0]?.inputs ?? [];
    expect(specs(bindings)).toMatchObject({
      ragged: { kind: 'opaque', name: 'ragged' },
      table: { kind: 'opaque', name: 'table' },
    });
    expect(bindings.find(({ spec }) => spec.name === 'ragged')?.tensor).toBe('part:0');
  });
});

describe('selectMetaGraph', () => {
  it('takes "serve", or the tags asked for in any order', async () => {
    const model = await readSavedModel(`${fixtures}/models/tf_tags`);
    expect(selectMetaGraph(model).tags).toEqual(['serve']);
    expect(selectMetaGraph(model, ['gpu', 'serve']).tags).toEqual(['serve', 'gpu']);
    expect(selectMetaGraph(model, ['train'])).toBe(model.metaGraphs[2]);
  });

  it('lists the tags there are where none fit', async () => {
    const model = await readSavedModel(`${fixtures}/models/tf_tags`);
    for (const tags of [['tpu'], ['gpu'], []]) {
      expect(() => selectMetaGraph(model, tags)).toThrow(
        expect.objectContaining({ code: 'ERR_TENON_UNKNOWN_TAG' }) as Error,
      );
    }
    expect(() => selectMetaGraph(model, ['tpu'])).toThrow('["serve"], ["serve", "gpu"], ["train"]');
  });

  it('takes the only one there is where nobody asks', async () => {
    const model = await readSavedModel(`${fixtures}/broken/saved_model_no_serve_tag`);
    expect(selectMetaGraph(model)).toBe(model.metaGraphs[0]);
    expect(() => selectMetaGraph(model, ['serve'])).toThrow(TenonError);
  });
});

describe('TensorFlow data types', () => {
  it('each have a dtype of the same number of bits, or are opaque', () => {
    const seen = new Set<string>();
    for (const [name, number] of Object.entries(DataType)) {
      const dtype = dtypeFromTensorFlow(number);
      if (name === 'DT_INVALID') expect(dtype).toBeUndefined();
      else if (/RESOURCE|VARIANT/.test(name)) expect(dtype).toBe('opaque');
      else {
        expect(dtypes).toHaveProperty(String(dtype));
        expect(dtypeFromTensorFlow(number % 100)).toBe(dtype);
        seen.add(String(dtype));
      }
    }
    expect(seen.size).toBe(31);
    for (const number of [0, 34, 100, 134, 200, -1]) {
      expect(dtypeFromTensorFlow(number)).toBeUndefined();
    }
  });
});

describe('readGraphDef', () => {
  it('finds what a frozen graph can be fed and asked for', async () => {
    expect(await readGraphDef(`${fixtures}/models/tf_frozen.pb`)).toMatchObject({
      placeholders: [
        { kind: 'tensor', name: 'x', dtype: 'float32', shape: [null] },
        { kind: 'tensor', name: 'y', dtype: 'float32', shape: [null] },
      ],
      leaves: ['sum', 'product'],
    });
  });

  it('refuses what is none', async () => {
    const truncated = await failure(readGraphDef(`${fixtures}/broken/truncated_frozen.pb`));
    expect(truncated.code).toBe('ERR_TENON_MODEL_INVALID');
    const file = path.join(folder, 'empty.pb');
    await writeFile(file, GraphDef.encode({}));
    expect((await failure(readGraphDef(file))).code).toBe('ERR_TENON_MODEL_INVALID');
  });
});
