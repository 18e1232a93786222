import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { encodeRecord } from '../../lib/codec/tf-record.js';
import type { LoadOptions, Tensor } from '../../lib/index.js';
import { PredictionLog } from '../../lib/protobuf/tensorflow-serving.js';
import { latestVersion, type ModelConfig } from '../../lib/server/config/model-config.js';
import type { ModelSpec } from '../../lib/server/models.js';
import { Repository, type RepositoryOptions } from '../../lib/server/repository/repository.js';
import { createWarmUp } from '../../lib/server/tfserving/warm-up.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { statesOf, TestLog, until } from '../helpers/repository.js';
import { temporaryFolder } from '../helpers/temporary.js';

const everything = temporaryFolder();
let tests = 0;

let root: string;
let log: TestLog;
let repository: Repository | undefined;

beforeEach(() => {
  root = path.join(everything, String(++tests));
  mkdirSync(root);
  log = new TestLog();
});

afterEach(async () => {
  await repository?.close();
  repository = undefined;
});

const hourMs = 3_600_000;

function modelAt(name: string, more: Partial<ModelConfig> = {}): ModelConfig {
  return {
    name,
    basePath: path.join(root, name),
    versionPolicy: latestVersion,
    labels: {},
    ...more,
  };
}

/** Copies a model of the fixtures to where a version of `name` lies, as a whole. */
function put(source: string, name: string, version: number | string): string {
  const folder = path.join(root, name, String(version));
  const made = path.join(root, `copy-${name}-${version}`);
  mkdirSync(made);
  if (source.endsWith('.onnx')) cpSync(source, path.join(made, 'model.onnx'));
  else cpSync(source, made, { recursive: true });
  mkdirSync(path.dirname(folder), { recursive: true });
  renameSync(made, folder);
  return folder;
}

const halfPlusTwo = modelPath('half_plus_two/00000123');
const halfPlusThree = modelPath('half_plus_two/00000124');
const simple = modelPath('simple_model.onnx');

async function start(
  models: readonly ModelConfig[],
  options: Partial<RepositoryOptions> = {},
): Promise<Repository> {
  repository = new Repository({
    config: { models },
    log,
    pollIntervalSeconds: 0.05,
    loadRetryIntervalMs: hourMs,
    ...options,
  });
  await repository.start();
  return repository;
}

async function serving(
  models: readonly ModelConfig[],
  options: Partial<RepositoryOptions> = {},
): Promise<Repository> {
  const made = await start(models, options);
  await until(made, () => made.readiness().ready);
  return made;
}

const isAvailable = (from: Repository, name: string, version: number) => (): boolean =>
  statesOf(from, name)[String(version)] === 'AVAILABLE';

async function predict(from: Repository, spec: ModelSpec, feeds: object): Promise<unknown[]> {
  const held = from.acquire(spec);
  try {
    const outputs = await held.model.run(feeds as Record<string, number[]>);
    return Object.values(outputs).map((output) => output.toArray());
  } finally {
    held.release();
  }
}

describe('models of both engines', () => {
  it('are served from version folders, a folder of their own and a file', async () => {
    put(halfPlusTwo, 'half', '00000123');
    put(simple, 'simple', 5);
    cpSync(halfPlusThree, path.join(root, 'bare'), { recursive: true });
    cpSync(simple, path.join(root, 'net.onnx'));
    const made = await serving([
      modelAt('half', { platform: 'tensorflow' }),
      modelAt('simple', { platform: 'onnx' }),
      modelAt('bare'),
      modelAt('net', { basePath: path.join(root, 'net.onnx') }),
    ]);
    expect(made.readiness().failed).toEqual([]);
    expect(made.list().map(({ name, versions }) => [name, versions[0]?.version])).toEqual([
      ['half', 123n],
      ['simple', 5n],
      ['bare', 1n],
      ['net', 1n],
    ]);
    expect(await predict(made, { name: 'half', version: 123n }, { x: [2, 4] })).toEqual([[3, 4]]);
    expect(await predict(made, { name: 'bare' }, { x: [2, 4] })).toEqual([[4, 5]]);
    const feeds = { input: [[1, 2, 3, 4]] };
    expect(await predict(made, { name: 'simple' }, feeds)).toEqual(
      await predict(made, { name: 'net' }, feeds),
    );
  });

  it('have signatures with the names of their tensors', async () => {
    put(halfPlusTwo, 'half', 1);
    put(modelPath('tf_sparse'), 'sparse', 1);
    put(modelPath('symbolic.onnx'), 'symbolic', 1);
    const made = await serving(['half', 'sparse', 'symbolic'].map((name) => modelAt(name)));
    const signatures = (name: string): unknown => {
      const held = made.acquire({ name });
      held.release();
      return held.signatureDefs();
    };
    expect(signatures('half')).toEqual({
      classify_x_to_y: {
        inputs: { inputs: { name: 'tf_example:0', dtype: 'DT_STRING', shape: [-1] } },
        outputs: { scores: { name: 'scores:0', dtype: 'DT_FLOAT', shape: [-1, 1] } },
        methodName: 'tensorflow/serving/classify',
      },
      regress_x_to_y: {
        inputs: { inputs: { name: 'tf_example:0', dtype: 'DT_STRING', shape: [-1] } },
        outputs: { outputs: { name: 'scores:0', dtype: 'DT_FLOAT', shape: [-1, 1] } },
        methodName: 'tensorflow/serving/regress',
      },
      serving_default: {
        inputs: { x: { name: 'x:0', dtype: 'DT_FLOAT', shape: [-1] } },
        outputs: { y: { name: 'y:0', dtype: 'DT_FLOAT', shape: [-1] } },
        methodName: 'tensorflow/serving/predict',
      },
    });
    expect(signatures('sparse')).toHaveProperty('serving_default.inputs.x.cooSparse');
    expect(signatures('symbolic')).toMatchObject({
      serving_default: {
        inputs: {
          named: { name: 'named', dtype: 'DT_FLOAT', shape: [-1, 3, -1] },
          any_rank: { name: 'any_rank', dtype: 'DT_FLOAT', shape: undefined },
        },
        methodName: 'tensorflow/serving/predict',
      },
    });
  });

  it('take feeds of any shape, and the options they are given', async () => {
    put(halfPlusTwo, 'half', 1);
    put(simple, 'simple', 1);
    const asked: unknown[] = [];
    const made = await serving([modelAt('half'), modelAt('simple')], {
      loadOptions: (name, version): LoadOptions => {
        asked.push([name, version]);
        return { validateShapes: true, pool: { lanes: 1 } };
      },
    });
    expect(await predict(made, { name: 'half' }, { x: [[2], [4]] })).toEqual([[[3], [4]]]);
    expect(asked).toEqual(
      expect.arrayContaining([
        ['half', { version: 1n, path: path.join(root, 'half/1'), engine: 'tensorflow' }],
        ['simple', { version: 1n, path: path.join(root, 'simple/1'), engine: 'onnxruntime' }],
      ]),
    );
  });
});

describe('a version that is replaced under load', () => {
  it.each([
    ['tensorflow', [halfPlusTwo, halfPlusThree], { x: [2] }],
    ['onnxruntime', [simple, simple], { input: [[1, 2, 3, 4]] }],
  ])('costs no request (%s)', async (_, sources, feeds) => {
    put(sources[1] as string, 'm', 1);
    const made = await serving([modelAt('m')]);
    const answers = [await predict(made, { name: 'm' }, feeds)];
    let isDone = false;
    let requests = 0;
    const client = async (): Promise<void> => {
      while (!isDone) {
        const held = made.acquire({ name: 'm' });
        const output = Object.values(await held.model.run(feeds as Record<string, number[]>))[0];
        // Each version answers as it does, from the first request to the last.
        const known = answers[Number(held.version) % 2 === 1 ? 0 : 1];
        if (known !== undefined) expect([(output as Tensor).toArray()]).toEqual(known);
        held.release();
        requests++;
      }
    };
    const clients = [client(), client(), client()];
    for (let version = 2; version <= 12; version++) {
      put(sources[version % 2] as string, 'm', version);
      await Promise.race([until(made, isAvailable(made, 'm', version)), ...clients]);
      if (version === 2) answers.push(await predict(made, { name: 'm' }, feeds));
      rmSync(path.join(root, 'm', String(version - 1)), { recursive: true });
    }
    const before = requests;
    await Promise.race([until(made, () => requests > before), ...clients]);
    isDone = true;
    await Promise.all(clients);
    await until(made, () => made.list()[0]?.versions.filter((v) => v.state !== 'END').length === 1);
  });
});

describe('a folder', () => {
  it('that appears in pieces is served when it is whole, long before the next try is due', async () => {
    mkdirSync(path.join(root, 'half'));
    mkdirSync(path.join(root, 'simple'));
    const made = await start([modelAt('half'), modelAt('simple')]);
    const half = path.join(root, 'half/1');
    mkdirSync(half);
    const whole = readFileSync(path.join(halfPlusTwo, 'saved_model.pb'));
    writeFileSync(path.join(half, 'saved_model.pb'), whole.subarray(0, whole.length / 2));
    const model = readFileSync(simple);
    mkdirSync(path.join(root, 'simple/1'));
    const file = path.join(root, 'simple/1/model.onnx');
    writeFileSync(file, model.subarray(0, model.length / 2));
    const failed = (): number => log.lines.filter((line) => line.includes('failed (try')).length;
    await until(made, () => failed() >= 2);
    expect(statesOf(made, 'half')).toEqual({ 1: 'LOADING' });
    expect(statesOf(made, 'simple')).toEqual({ 1: 'LOADING' });
    writeFileSync(file, model);
    cpSync(halfPlusTwo, half, { recursive: true });
    await until(made, isAvailable(made, 'simple', 1));
    await until(made, isAvailable(made, 'half', 1));
    expect(await predict(made, { name: 'half' }, { x: [2] })).toEqual([[3]]);
  });

  it('that vanishes while it is loaded, or serves, crashes nothing', async () => {
    put(halfPlusTwo, 'half', 1);
    put(simple, 'simple', 1);
    const made = await serving([modelAt('half'), modelAt('simple')], { maxLoadRetries: 0 });
    for (let version = 2; version <= 9; version++) {
      for (const [source, name] of [
        [halfPlusThree, 'half'],
        [simple, 'simple'],
      ] as const) {
        const folder = put(source, name, version);
        await until(made, () => String(version) in statesOf(made, name));
        for (const entry of readdirSync(folder)) {
          rmSync(path.join(folder, entry), { recursive: true, force: true });
        }
      }
    }
    rmSync(path.join(root, 'half'), { recursive: true });
    rmSync(path.join(root, 'simple'), { recursive: true });
    expect(await predict(made, { name: 'half' }, { x: [2] })).toHaveLength(1);
    expect(await predict(made, { name: 'simple' }, { input: [[1, 2, 3, 4]] })).toHaveLength(1);
  });
});

describe('broken models', () => {
  it('end with the reason and keep no other from serving', async () => {
    const table = JSON.parse(readFileSync(fixture('broken/errors.json'), 'utf8')) as Record<
      string,
      { stage: string }
    >;
    // What is no model of a version folder, and what Tenon loads and fails in the first run.
    const others = /\.(ort|pb)$|missing_variables|no_serve_tag/;
    const names = Object.entries(table)
      .filter(([name, { stage }]) => stage === 'load' && !others.test(name))
      .map(([name]) => name);
    for (const name of names) put(fixture('broken', name), name, 1);
    put(halfPlusTwo, 'good', 1);
    const models = [...names, 'good'].map((name) => modelAt(name));
    const made = await serving(models, { maxLoadRetries: 0 });
    expect(await predict(made, { name: 'good' }, { x: [2] })).toEqual([[3]]);
    await until(made, () => made.readiness().failed.length === names.length);
    const reports = names.map((name) => [name, made.status({ name })[0]] as const);
    for (const [name, report] of reports) {
      expect(report, name).toMatchObject({ version: 1n, state: 'END' });
      expect(report?.error.status, name).not.toBe('OK');
      expect(report?.error.message, name).not.toBe('');
    }
    expect(names.length).toBeGreaterThan(15);
  });
});

describe('a warm-up', () => {
  /** A TFRecord file with a request of `x` for each of the signatures. */
  function records(signatures: readonly string[]): Buffer {
    const parts: Uint8Array[] = [];
    for (const signature of signatures) {
      const record = PredictionLog.encode(
        PredictionLog.decode(
          Buffer.concat([
            // predict_log { request { model_spec { name: "half" signature_name } inputs { x } } }
            field(6, field(1, Buffer.concat([modelSpec(signature), input()]))),
          ]),
        ),
      );
      parts.push(encodeRecord(record));
    }
    return Buffer.concat(parts);
  }

  /** A field of bytes; all are short here. */
  function field(number: number, bytes: Uint8Array): Buffer {
    return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.byteLength]), bytes]);
  }

  function modelSpec(signature: string): Buffer {
    return field(
      1,
      Buffer.concat([field(1, Buffer.from('half')), field(3, Buffer.from(signature))]),
    );
  }

  /** x: a float tensor of shape [1] with the value 2. */
  function input(): Buffer {
    const shape = field(2, field(2, Buffer.from([1 << 3, 1])));
    const value = Buffer.alloc(4);
    value.writeFloatLE(2);
    const tensor = Buffer.concat([Buffer.from([1 << 3, 1]), shape, field(5, value)]);
    return field(2, Buffer.concat([field(1, Buffer.from('x')), field(2, tensor)]));
  }

  function putWith(file: Uint8Array, version: number): void {
    const made = put(halfPlusTwo, 'made', version);
    mkdirSync(path.join(made, 'assets.extra'));
    writeFileSync(path.join(made, 'assets.extra/tf_serving_warmup_requests'), file);
    mkdirSync(path.join(root, 'half'), { recursive: true });
    renameSync(made, path.join(root, 'half', String(version)));
  }

  it('runs its records before the version is available', async () => {
    putWith(records(['', 'serving_default', '']), 1);
    const warmUp = createWarmUp();
    let runs = 0;
    const made = await serving([modelAt('half')], {
      warmUp: {
        records: (file) => warmUp.records(file),
        run: async (served, record) => {
          expect(statesOf(repository as Repository, 'half')).toEqual({ 1: 'LOADING' });
          await warmUp.run(served, record);
          runs++;
        },
      },
    });
    expect(made.readiness().failed).toEqual([]);
    expect(runs).toBe(3);
    expect(await predict(made, { name: 'half' }, { x: [2] })).toEqual([[3]]);
  });

  it.each([
    ['a request that fails', () => records(['', 'nothing']), 'Warm-up record 2 of'],
    ['a file that is cut off', () => records(['', '']).subarray(0, -3), 'truncated record'],
    ['more than 1000 records', () => records(Array<string>(1001).fill('')), 'exceeds the maximum'],
  ])('with %s fails the load', async (_, file, message) => {
    putWith(file(), 7);
    const made = await serving([modelAt('half')], { warmUp: createWarmUp(), maxLoadRetries: 0 });
    expect(made.status({ name: 'half' })[0]?.state).toBe('END');
    expect(made.readiness().failed[0]?.message).toMatch(message);
  });
});
