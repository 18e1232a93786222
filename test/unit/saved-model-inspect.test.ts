import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { inspect } from '../../lib/inspect/index.js';

const models = 'test/fixtures/models';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tenon-inspect-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('inspect', () => {
  it('takes the highest of a folder of versions, and lists them all', async () => {
    const versions = path.join(folder, 'ranker');
    for (const version of ['9', '0010', '2']) {
      await mkdir(path.join(versions, version), { recursive: true });
      await cp(`${models}/simple_model.onnx`, path.join(versions, version, 'model.onnx'));
    }
    await mkdir(path.join(versions, '11-draft'));
    expect(await inspect(versions)).toMatchObject({
      format: 'onnx',
      engine: 'onnxruntime',
      name: 'ranker',
      path: path.join(versions, '0010', 'model.onnx'),
      version: '0010',
      versions: ['2', '9', '0010'],
    });
  });

  it('takes a path with a slash, a file: URL, bytes, and saved_model.pb itself', async () => {
    const tf = { format: 'saved-model', name: 'tf_scalar', version: null, versions: [] };
    expect(await inspect(`${models}/tf_scalar/`)).toMatchObject(tf);
    expect(await inspect(`${models}/tf_scalar/saved_model.pb`)).toMatchObject(tf);
    expect(await inspect(pathToFileURL(path.resolve(models, 'tf_scalar')))).toMatchObject(tf);
    const bytes = await readFile(`${models}/simple_model.onnx`);
    const fromBytes = await inspect(bytes);
    expect(fromBytes).toMatchObject({ format: 'onnx', name: 'model', path: null });
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    expect(await inspect(buffer)).toEqual(fromBytes);
  });

  it('gives one version folder as what it is', async () => {
    expect(await inspect(`${models}/half_plus_two/00000123`)).toMatchObject({
      name: '00000123',
      version: null,
      versions: [],
    });
  });

  it('gives signatures by name, of the tags asked for', async () => {
    const { signatures } = await inspect(`${models}/multi_io.onnx`);
    expect(signatures['serving_default']).toMatchObject({
      name: 'serving_default',
      inputs: { scale: { kind: 'tensor', dtype: 'float32', shape: [], optional: true } },
      outputs: { greater: { dtype: 'bool', shape: ['n'] } },
    });
    const train = await inspect(`${models}/tf_tags`, { tags: ['train'] });
    expect(train).toMatchObject({ metaGraph: { tags: ['train'] } });
    await expect(inspect(`${models}/tf_tags`, { tags: ['tpu'] })).rejects.toMatchObject({
      code: 'ERR_TENON_UNKNOWN_TAG',
    });
  });

  it('describes a model whose tags nobody could guess', async () => {
    const description = await inspect('test/fixtures/broken/saved_model_no_serve_tag');
    expect(Object.keys(description.signatures)).not.toHaveLength(0);
  });

  it.each([
    ['a path with nothing', 'nowhere', 'ERR_TENON_MODEL_NOT_FOUND'],
    ['a folder without a model', `${models}/..`, 'ERR_TENON_MODEL_FORMAT'],
    ['a file of another kind', 'package.json', 'ERR_TENON_MODEL_FORMAT'],
    ['an .ort file', `${models}/simple_model.ort`, 'ERR_TENON_UNSUPPORTED'],
    ['an empty path', '', 'ERR_TENON_INVALID_ARGUMENT'],
    ['a number', 3 as unknown as string, 'ERR_TENON_INVALID_ARGUMENT'],
  ])('refuses %s', async (_, source, code) => {
    await expect(inspect(source)).rejects.toMatchObject({ code });
  });

  it('refuses options it does not have', async () => {
    await expect(inspect(`${models}/tf_tags`, { tag: ['serve'] } as object)).rejects.toMatchObject({
      code: 'ERR_TENON_INVALID_ARGUMENT',
    });
  });
});
