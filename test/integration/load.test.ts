import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { beforeAll, describe, expect, it } from 'vitest';

import { load, type LoadOptions, type ModelSource, TenonError } from '../../lib/index.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
const simple = readFileSync(modelPath('simple_model.onnx'));

async function expectSimple(source: ModelSource, options: LoadOptions = {}): Promise<void> {
  await using model = await load(source, options);
  expect(model.engine).toBe('onnxruntime');
  expect((await model.run([[1, 2, 3, 4]]))['output']?.shape).toEqual([1, 1]);
}

/** What half_plus_two adds tells its versions apart: 2 in 123, 3 in 124. */
async function expectHalfPlus(added: number, source: ModelSource): Promise<void> {
  await using model = await load(source);
  expect(model.engine).toBe('tensorflow');
  expect((await model.run([4]))['y']?.toArray()).toEqual([2 + added]);
}

describe('a model is loaded from', () => {
  it('a path', () => expectSimple(modelPath('simple_model.onnx')));

  it('a path relative to the working directory', () =>
    expectSimple(path.relative(process.cwd(), modelPath('simple_model.onnx'))));

  it('a file: URL', async () => {
    await expectSimple(pathToFileURL(modelPath('simple_model.onnx')));
    await expectHalfPlus(2, pathToFileURL(modelPath('half_plus_two/00000123')));
  });

  it('the ORT format', () => expectSimple(modelPath('simple_model.ort')));

  it('an ONNX file with its weights beside it', async () => {
    await using model = await load(modelPath('external_data/model.onnx'));
    const x = new Float32Array(16).fill(1);
    expect((await model.run(x))['y']?.shape).toEqual([1, 16]);
  });

  it('a folder that holds one ONNX file, weights beside it', async () => {
    await using model = await load(modelPath('external_data'));
    expect(model.engine).toBe('onnxruntime');
  });

  it('a symbolic link', async () => {
    const link = path.join(folder, 'link.onnx');
    symlinkSync(modelPath('simple_model.onnx'), link);
    await expectSimple(link);
  });

  it.each([['spaces and ümläute'], ['日本語'], ['🙂'], ['percent %20 #hash?'], ['quote\'s "x"']])(
    'a folder named %s',
    async (name) => {
      const place = path.join(folder, name);
      mkdirSync(place);
      copyFileSync(modelPath('simple_model.onnx'), path.join(place, 'modél.onnx'));
      await expectSimple(path.join(place, 'modél.onnx'));
      await expectSimple(pathToFileURL(path.join(place, 'modél.onnx')));
      cpSync(modelPath('half_plus_two/00000123'), path.join(place, 'tf'), { recursive: true });
      await expectHalfPlus(2, path.join(place, 'tf'));
    },
  );

  it('the saved_model.pb inside a SavedModel', () =>
    expectHalfPlus(2, modelPath('half_plus_two/00000123/saved_model.pb')));

  it('a file without extension, where the engine is named', async () => {
    const file = path.join(folder, 'model');
    copyFileSync(modelPath('simple_model.onnx'), file);
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(file), 'engine');
    await expectSimple(file, { engine: 'onnxruntime' });
  });

  it('a SavedModel with an asset and a table to fill', async () => {
    await using model = await load(modelPath('tf_vocabulary'));
    expect((await model.run({ words: ['nobody knows this'] }))['ids']?.dtype).toBe('int64');
  });
});

describe('bytes', () => {
  const { buffer, byteOffset, byteLength } = simple;
  const forms: [string, ModelSource][] = [
    ['a Buffer', simple],
    ['a Uint8Array', new Uint8Array(simple)],
    ['an ArrayBuffer', new Uint8Array(simple).buffer],
    ['a view of a Buffer’s pool', Buffer.concat([Buffer.alloc(3), simple]).subarray(3)],
    ['a DataView', new DataView(buffer, byteOffset, byteLength) as unknown as Uint8Array],
    ['the ORT format', readFileSync(modelPath('simple_model.ort'))],
  ];

  it.each(forms)('in %s are a model', (_, source) => expectSimple(source));

  it('in shared memory are a model', async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(simple.length));
    shared.set(simple);
    await expectSimple(shared);
    await expectSimple(shared.buffer as unknown as ArrayBuffer);
  });

  it('may be changed right after load() was called', async () => {
    const bytes = new Uint8Array(simple);
    const loading = load(bytes);
    bytes.fill(0);
    await (await loading).close();
  });

  it('may be transferred right after load() was called', async () => {
    const bytes = new Uint8Array(simple);
    const loading = load(bytes);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    await (await loading).close();
  });

  it('that are gone end in ERR_TENON_DETACHED', async () => {
    const bytes = new Uint8Array(simple);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    await expectError('ERR_TENON_DETACHED', () => load(bytes), '"source"');
    await expectError('ERR_TENON_DETACHED', () => load(bytes.buffer), '"source"');
  });

  it.each([
    ['none', new Uint8Array()],
    ['an empty ArrayBuffer', new ArrayBuffer(0)],
    ['zeros', new Uint8Array(1000)],
    ['text', Buffer.from('this is no model')],
    ['half a model', simple.subarray(0, simple.length / 2)],
    ['a SavedModel', readFileSync(modelPath('tf_scalar/saved_model.pb'))],
  ])('that are %s end in ERR_TENON_MODEL_INVALID', async (_, bytes) => {
    await expectError('ERR_TENON_MODEL_INVALID', () => load(bytes));
  });

  it('are nothing TensorFlow can load', async () => {
    const action = () => load(simple, { engine: 'tensorflow' });
    await expectError('ERR_TENON_MODEL_FORMAT', action, 'bytes');
  });
});

describe('a folder of versions', () => {
  function versions(name: string, contents: Record<string, string | undefined>): string {
    const place = path.join(folder, name);
    for (const [version, source] of Object.entries(contents)) {
      if (source === undefined) mkdirSync(path.join(place, version), { recursive: true });
      else cpSync(modelPath(source), path.join(place, version), { recursive: true });
    }
    return place;
  }
  const v123 = 'half_plus_two/00000123';
  const v124 = 'half_plus_two/00000124';

  it('gives its highest', () => expectHalfPlus(3, modelPath('half_plus_two')));

  it('compares numbers, not text', async () => {
    await expectHalfPlus(3, versions('numbers', { 9: v123, 10: v124 }));
  });

  it('has versions of any length', async () => {
    const long = '123456789012345678901234567890';
    await expectHalfPlus(3, versions('long', { '99999999999999999999': v123, [long]: v124 }));
  });

  it('passes over what is no number', async () => {
    const place = versions('names', { 1: v123, latest: v124, '2-old': v124, v3: v124, '.4': v124 });
    await expectHalfPlus(2, place);
  });

  it('passes over a file that is called like a number', async () => {
    const place = versions('files', { 1: v123 });
    writeFileSync(path.join(place, '7'), 'no folder');
    await expectHalfPlus(2, place);
  });

  it('may hold ONNX models', async () => {
    const place = path.join(folder, 'onnx-versions');
    mkdirSync(path.join(place, '3'), { recursive: true });
    copyFileSync(modelPath('simple_model.onnx'), path.join(place, '3', 'model.onnx'));
    await expectSimple(place);
  });

  it('without a model in any of them ends in ERR_TENON_MODEL_FORMAT', async () => {
    const place = versions('hollow', { 1: undefined, 2: undefined });
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(place), 'versions 2, 1');
  });
});

describe('what is no model', () => {
  it.each([
    ['ERR_TENON_MODEL_NOT_FOUND', 'missing.onnx', 'ENOENT'],
    ['ERR_TENON_MODEL_NOT_FOUND', 'missing', 'ENOENT'],
    ['ERR_TENON_MODEL_NOT_FOUND', 'simple_model.onnx/model.onnx', 'ENOTDIR'],
    ['ERR_TENON_MODEL_NOT_FOUND', `${'x'.repeat(300)}.onnx`, 'ENAMETOOLONG'],
    ['ERR_TENON_MODEL_FORMAT', '.', 'saved_model.pb'],
    ['ERR_TENON_MODEL_FORMAT', 'digits_cnn_tf/variables', 'saved_model.pb'],
    ['ERR_TENON_MODEL_FORMAT', '../references.json', '"engine" option'],
  ] as const)('ends in %s: %s', async (code, name, word) => {
    await expectError(code, () => load(modelPath(name)), word);
  });

  it.each([
    ['model.h5', 'model.export'],
    ['model.keras', 'model.export'],
    ['model.pt', 'torch.onnx.export'],
    ['model.safetensors', 'torch.onnx.export'],
    ['model.tflite', 'SavedModel'],
  ])('%s is refused with what helps', async (name, word) => {
    const file = path.join(folder, name);
    writeFileSync(file, 'weights');
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(file), word);
  });

  it.each([
    ['an empty path', ''],
    ['a path with a NUL', 'model\0.onnx'],
    ['a number', 5],
    ['null', null],
    ['nothing', undefined],
    ['an object', { path: 'model.onnx' }],
    ['an array', [1, 2, 3]],
    ['a URL of another machine', new URL('file://elsewhere/model.onnx')],
    ['a URL that hides a slash', new URL('file:///a%2Fb.onnx')],
    ['an object that says it is an ArrayBuffer', { [Symbol.toStringTag]: 'ArrayBuffer' }],
  ])('%s as the source ends in ERR_TENON_INVALID_ARGUMENT', async (_, source) => {
    const action = () => load(source as unknown as string);
    await expectError('ERR_TENON_INVALID_ARGUMENT', action, '"source"');
  });

  it('a URL to download is refused with what helps', async () => {
    const action = () => load(new URL('https://localhost/model.onnx'));
    await expectError('ERR_TENON_MODEL_FORMAT', action, 'download');
  });

  it('a model of the other engine is refused', async () => {
    const tensorflow = () => load(modelPath('simple_model.onnx'), { engine: 'tensorflow' });
    const onnx = () => load(modelPath('tf_scalar'), { engine: 'onnxruntime' });
    await expectError('ERR_TENON_MODEL_FORMAT', onnx, 'onnxruntime', 'tensorflow');
    await expectError('ERR_TENON_MODEL_FORMAT', tensorflow, 'onnxruntime', 'tensorflow');
  });

  it('a SavedModel in text form is refused with what helps', async () => {
    const place = path.join(folder, 'text-form');
    mkdirSync(place);
    writeFileSync(path.join(place, 'saved_model.pbtxt'), 'saved_model_schema_version: 1');
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(place), 'saved_model.pbtxt');
  });
});

describe.skipIf(process.platform === 'win32')(
  'a pipe, which would be waited for without end,',
  () => {
    const pipes = [
      ['model.onnx', 'model.onnx'],
      ['in-folder/model.onnx', 'in-folder'],
      ['graph.pb', 'graph.pb'],
      ['saved/saved_model.pb', 'saved'],
      ['versions/1/saved_model.pb', 'versions'],
    ] as const;
    const place = path.join(folder, 'pipes');

    beforeAll(() => {
      for (const [file] of pipes) {
        mkdirSync(path.dirname(path.join(place, file)), { recursive: true });
        execFileSync('mkfifo', [path.join(place, file)]);
      }
    });

    it.each(pipes)('as %s is refused', async (_, source) => {
      const options = source === 'graph.pb' ? { tensorflow: { outputs: ['y'] } } : {};
      const error = await errorOf(() => load(path.join(place, source), options));
      expect(['ERR_TENON_MODEL_FORMAT', 'ERR_TENON_MODEL_NOT_FOUND']).toContain(error.code);
      expect(error.message).toContain('file');
    });

    it('as a device is refused', async () => {
      const action = () => load('/dev/zero', { engine: 'onnxruntime' });
      await expectError('ERR_TENON_MODEL_FORMAT', action, 'device');
    });
  },
);

interface Broken {
  engine: 'onnx' | 'tensorflow';
  stage: 'load' | 'run';
  python: string;
}

describe('broken models', () => {
  const broken = JSON.parse(readFileSync(fixture('broken/errors.json'), 'utf8')) as Record<
    string,
    Broken
  >;
  // Not in load: see the fixtures' README for what the C API does.
  const failsInRun = 'saved_model_missing_variables';
  const codes: Record<string, string> = {
    saved_model_empty: 'ERR_TENON_MODEL_INVALID',
    saved_model_no_serve_tag: 'loads',
  };
  const names = Object.keys(broken).filter((name) => name !== failsInRun);

  it.each(names)('%s is refused by load, and the next load works', async (name) => {
    const options: LoadOptions = name.endsWith('.pb')
      ? { tensorflow: { inputs: ['x'], outputs: ['sum'] } }
      : {};
    let code = 'loads';
    let message = '';
    try {
      await (await load(fixture('broken', name), options)).close();
    } catch (error) {
      code = error instanceof TenonError ? error.code : `uncoded: ${String(error)}`;
      message = String(error);
    }
    expect(code, message).toBe(codes[name] ?? 'ERR_TENON_MODEL_INVALID');
    await expectSimple(simple);
  });

  it(`${failsInRun} fails in its first run`, async () => {
    await using model = await load(fixture('broken', failsInRun));
    const feeds = Object.fromEntries(
      Object.entries(model.inputs).map(([name, spec]) => {
        const shape = (spec.kind === 'tensor' ? (spec.shape ?? []) : []).map(
          (size) => Number(size) || 1,
        );
        return [name, new Float32Array(shape.reduce((a, b) => a * b, 1))];
      }),
    );
    await expectError('ERR_TENON_RUN', () => model.run(feeds));
  });
});

describe('options of one engine', () => {
  it.each([
    [{ tags: ['serve'] }, 'simple_model.onnx', 'tags'],
    [{ executionProviders: ['cpu'] }, 'tf_scalar', 'executionProviders'],
    [{ threads: { spin: true } }, 'tf_scalar', 'threads.spin'],
  ] as [LoadOptions, string, string][])('%o are refused for %s', async (options, file, word) => {
    const action = () => load(modelPath(file), options);
    await expectError('ERR_TENON_INVALID_ARGUMENT', action, `"${word}"`);
  });

  it.each([['no-such-provider'], ['NoSuchExecutionProvider'], [''], ['cuda\0']])(
    'the provider %j is ERR_TENON_PROVIDER',
    async (name) => {
      const action = () => load(modelPath('simple_model.onnx'), { executionProviders: [name] });
      await expectError('ERR_TENON_PROVIDER', action);
      await expectSimple(simple);
    },
  );

  it('the CPU provider has a short and a long name', async () => {
    await expectSimple(simple, { executionProviders: ['cpu'] });
    await expectSimple(simple, { executionProviders: ['CPUExecutionProvider'] });
  });

  it.each(['disabled', 'basic', 'extended', 'layout', 'all'] as const)(
    'the graph optimization level %s loads',
    (graphOptimizationLevel) => expectSimple(simple, { onnxruntime: { graphOptimizationLevel } }),
  );

  it('sizes of symbolic dimensions are in the inputs', async () => {
    const onnxruntime = { freeDimensionOverrides: { batch: 2 } };
    await using model = await load(modelPath('simple_model.onnx'), { onnxruntime });
    expect(model.inputs['input']).toMatchObject({ shape: [2, 4] });
    await expectError('ERR_TENON_SHAPE', () => model.run([[1, 2, 3, 4]]), '[2,4]', '[1,4]');
  });

  it('a ConfigProto that is none ends in ERR_TENON_INVALID_ARGUMENT', async () => {
    const tensorflow = { config: Uint8Array.of(255, 255, 255) };
    const action = () => load(modelPath('tf_scalar'), { tensorflow });
    await expectError('ERR_TENON_INVALID_ARGUMENT', action);
  });

  it('an op library that is none ends in ERR_TENON_ENGINE_LOAD', async () => {
    const file = path.join(folder, 'no-library.so');
    writeFileSync(file, 'no library');
    for (const library of [file, path.join(folder, 'missing.so')]) {
      const tensorflow = { opLibraries: [library] };
      const action = () => load(modelPath('tf_scalar'), { tensorflow });
      await expectError('ERR_TENON_ENGINE_LOAD', action, library);
    }
  });

  it('a custom-op library that is none ends in ERR_TENON_ENGINE_LOAD', async () => {
    const file = path.join(folder, 'no-custom-ops.so');
    writeFileSync(file, 'no library');
    const onnxruntime = { customOpLibraries: [file] };
    await expectError('ERR_TENON_ENGINE_LOAD', () => load(simple, { onnxruntime }), file);
  });

  it('a session entry that ONNX Runtime refuses ends in ERR_TENON_INVALID_ARGUMENT', async () => {
    const onnxruntime = {
      configEntries: { 'session.intra_op.allow_spinning': 'x'.repeat(50_000) },
    };
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => load(simple, { onnxruntime }));
  });
});

describe('loading', () => {
  it('many models at once gives each of them', async () => {
    const files = ['simple_model.onnx', 'tf_scalar', 'same.onnx', 'half_plus_two', 'scalars.onnx'];
    const models = await Promise.all([...files, ...files].map((file) => load(modelPath(file))));
    expect(models.map(({ engine }) => engine).filter((name) => name === 'tensorflow')).toHaveLength(
      4,
    );
    await Promise.all(models.map((model) => model.close()));
  });

  it('leaves the event loop free', async () => {
    let turns = 0;
    let isLoading = true;
    const turn = (): void => {
      turns++;
      if (isLoading) setImmediate(turn);
    };
    setImmediate(turn);
    await using model = await load(modelPath('mobilenetv2_tf'));
    isLoading = false;
    expect(model.engine).toBe('tensorflow');
    expect(turns).toBeGreaterThanOrEqual(20);
  });
});
