import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { load, type Model, Tensor, type ValuesModel } from '../../lib/index.js';
import { WireReader, WireType } from '../../lib/protobuf/wire.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { runScript } from '../helpers/script.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-run-options-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const place = (name: string): string => path.join(folder, name);
const images = Float32Array.from({ length: 2 * 64 }, (_, i) => (i % 17) / 17);

function numbers(outputs: object): number[] {
  const [output] = Object.values(outputs) as Tensor<'float32'>[];
  return [...(output as Tensor<'float32'>).data];
}

describe('LoRA adapters of one run', () => {
  const x = Float32Array.of(1, 2, 3);
  // From Python, by lora.py.
  const wanted = { none: [3, 3.75, 4.5], one: [4, 5.75, 4.5], two: [8, 8.75, 16.5] };
  let model: Model;

  beforeAll(async () => {
    model = await load(fixture('lora/model.onnx'), {
      onnxruntime: {
        loraAdapters: {
          one: fixture('lora/one.onnx_adapter'),
          two: new Uint8Array(readFileSync(fixture('lora/two.onnx_adapter'))),
        },
        activeLoraAdapters: ['one'],
      },
      pool: { lanes: 2 },
    });
  });
  afterAll(() => model.close());

  it.each([
    ['one', undefined],
    ['none', []],
    ['two', ['two']],
    ['two', ['two', 'two']],
  ] as const)('take the place of those that are active: %s', async (name, loraAdapters) => {
    const options = { onnxruntime: loraAdapters === undefined ? {} : { loraAdapters } };
    expect(numbers(await model.run({ x }, options))).toEqual(wanted[name]);
    expect(numbers(model.runSync({ x }, options))).toEqual(wanted[name]);
    const binding = await model.bind({ x }, options);
    expect(numbers(await binding.run())).toEqual(wanted[name]);
    expect(numbers(binding.runSync())).toEqual(wanted[name]);
  });

  it('are not those of the run beside it', async () => {
    const names = Array.from({ length: 60 }, (_, i) => (['none', 'one', 'two'] as const)[i % 3]);
    const runs = names.map((name = 'none') =>
      model.run({ x }, { onnxruntime: { loraAdapters: name === 'none' ? [] : [name] } }),
    );
    expect((await Promise.all(runs)).map(numbers)).toEqual(
      names.map((name = 'none') => wanted[name]),
    );
  });

  it('must have been loaded', async () => {
    const options = { onnxruntime: { loraAdapters: ['three'] } };
    for (const action of [
      () => model.run({ x }, options),
      () => model.runSync({ x }, options),
      () => model.bind({ x }, options),
    ]) {
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, 'LoRA adapter', '"three"');
    }
    expect(numbers(await model.run({ x }))).toEqual(wanted.one);
  });
});

describe('configuration entries of one run', () => {
  const shrink = { 'memory.enable_memory_arena_shrinkage': 'cpu:0' };

  it('reach the engine, and no other run', async () => {
    // Which refuses this one, because there is no arena.
    await using model = await load(modelPath('digits_cnn.onnx'), {
      onnxruntime: { cpuArena: false },
    });
    await expectError(
      'ERR_TENON_RUN',
      () => model.run(images, { onnxruntime: { configEntries: shrink } }),
      /arena/i,
    );
    expect(numbers(await model.run(images))).toHaveLength(20);
  });

  it('take the place of the model’s, key by key', async () => {
    await using model = await load(modelPath('digits_cnn.onnx'), {
      onnxruntime: { cpuArena: false, runConfigEntries: shrink },
    });
    const configEntries = { 'memory.enable_memory_arena_shrinkage': '' };
    expect(numbers(await model.run(images, { onnxruntime: { configEntries } }))).toHaveLength(20);
    await expectError('ERR_TENON_RUN', () => model.run(images), /arena/i);
  });

  it('are refused by name where the engine does not have them', async () => {
    await using model = await load(modelPath('digits_cnn.onnx'));
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () =>
        model.run(images, {
          onnxruntime: { configEntries: { 'memory.enable_arena_shrinkage': 1 } },
        }),
      '"memory.enable_arena_shrinkage"',
    );
  });
});

describe('the profile of one run', () => {
  let model: Model;

  beforeAll(async () => {
    model = await load(modelPath('digits_cnn.onnx'), { pool: { lanes: 2 } });
  });
  afterAll(() => model.close());

  const operators = (file: string): string[] =>
    (JSON.parse(readFileSync(file, 'utf8')) as { args?: { op_name?: string } }[]).flatMap(
      ({ args }) => args?.op_name ?? [],
    );

  it('is there when the run has ended, under the name it was given, and of that run alone', async () => {
    const own = path.join(folder, 'profile');
    const options = { onnxruntime: { profiling: { file: `${own}.json` } } };
    await model.run(images);
    await model.run(images, options);
    const first = operators(`${own}.json`);
    expect(first).toContain('Conv');
    await model.run(images);
    expect(numbers(model.runSync(images, options))).toHaveLength(20);
    expect(operators(`${own}.json`)).toEqual(first);
    expect(readdirSync(folder).filter((name) => name.startsWith('profile'))).toEqual([
      'profile.json',
    ]);
  });

  it('is a file of its own for each of several at once', async () => {
    const files = Array.from({ length: 8 }, (_, i) => place(`at-once-${i}.json`));
    await Promise.all(
      files.map((file) => model.run(images, { onnxruntime: { profiling: { file } } })),
    );
    for (const file of files) expect(operators(file)).toContain('Conv');
  });

  it('must have a place', async () => {
    const file = place('nowhere/profile.json');
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => model.run(images, { onnxruntime: { profiling: { file } } }),
      file,
    );
  });
});

describe('the log of one run', () => {
  it('has its tag and its level', async () => {
    const { code, reported, stderr } = await runScript(`
      const records = [];
      const next = () => new Promise((resolve) => { arrived = resolve; });
      let arrived;
      configure({ onnxruntime: { logLevel: 'error', logger: (record) => { records.push(record.logId); arrived(); } } });
      const m = await load(model('fails_in_run.onnx'), { onnxruntime: { logId: 'model' } });
      const fail = (onnxruntime) => codeOf(() => m.run({ index: [100n] }, { onnxruntime }));
      report(await fail({ logLevel: 'fatal', tag: 'quiet' }));
      const came = next();
      report(await fail({ tag: 'loud', logVerbosity: 1 }));
      await came;
      report(records);
      await m.close();
    `);
    expect({ code, reported }, stderr).toEqual({
      code: 0,
      reported: ['ERR_TENON_RUN', 'ERR_TENON_RUN', ['model:loud']],
    });
  });
});

describe('the trace of a TensorFlow run', () => {
  interface Event {
    name: string;
    ph: string;
    ts?: number;
    dur?: number;
    args: { name?: string; node?: string; label?: string };
  }
  let model: Model<ValuesModel>;

  beforeEach(async () => {
    model = await load<ValuesModel>(modelPath('digits_cnn_tf'));
  });
  afterEach(() => model.close());

  const read = (file: string): Event[] =>
    (JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: Event[] }).traceEvents;

  it('is JSON for Chrome’s viewer: devices, operations, their times', async () => {
    const file = place('trace.json');
    const untraced = numbers(await model.run(images));
    expect(numbers(await model.run(images, { tensorflow: { trace: { file } } }))).toEqual(untraced);
    const events = read(file);
    expect(events.filter(({ ph }) => ph === 'M').map(({ args }) => args.name)).toContain(
      '/job:localhost/replica:0/task:0/device:CPU:0',
    );
    const steps = events.filter(({ ph }) => ph === 'X');
    expect(steps.some(({ name }) => name.includes('Conv2D'))).toBe(true);
    expect(Math.min(...steps.map(({ ts = -1 }) => ts))).toBe(0);
    expect(Math.max(...steps.map(({ dur = 0 }) => dur))).toBeGreaterThan(0);
    for (const { name, args } of steps) expect(args.label).toContain(name);
  });

  it('is a RunMetadata as it is where the name ends in .pb', async () => {
    const file = place('trace.pb');
    await model.run(images, { tensorflow: { trace: { file } } });
    expect(nodesOf(readFileSync(file)).some((name) => name.includes('conv2d'))).toBe(true);
  });

  it('of runSync and of a binding is that of the newest run', async () => {
    const file = place('newest.json');
    const options = { tensorflow: { trace: { file } } };
    const binding = await model.bind({ images: Tensor.alloc('float32', [2, 8, 8, 1]) }, options);
    for (const action of [
      () => model.runSync(images, options),
      () => binding.run(),
      () => binding.runSync(),
    ]) {
      rmSync(file, { force: true });
      await action();
      expect(read(file).length).toBeGreaterThan(1);
    }
  });

  it('is a file of its own for each of several at once', async () => {
    const files = Array.from({ length: 8 }, (_, i) => place(`trace-${i}.json`));
    await Promise.all(files.map((file) => model.run(images, { tensorflow: { trace: { file } } })));
    for (const file of files) {
      expect(read(file).some(({ name }) => name.includes('Conv2D'))).toBe(true);
    }
  });

  it('of the hardware, too, is the same where there are only CPUs', async () => {
    const file = place('hardware.json');
    await model.run(images, { tensorflow: { trace: { file, hardware: true } } });
    expect(read(file).some(({ name }) => name.includes('Conv2D'))).toBe(true);
  });

  it('must have a place', async () => {
    const file = place('nowhere/trace.json');
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => model.run(images, { tensorflow: { trace: { file } } }),
      file,
    );
  });

  it('is not there where the run failed', async () => {
    const file = place('failed.json');
    await using failing = await load(modelPath('tf_fails_in_run'));
    await expectError('ERR_TENON_RUN', () =>
      failing.run({ index: [100n] }, { tensorflow: { trace: { file } } }),
    );
    expect(existsSync(file)).toBe(false);
  });

  /** Names of the nodes in a serialized RunMetadata: step_stats (1), dev_stats (1), node_stats (2), node_name (1). */
  function nodesOf(bytes: Uint8Array, fields: readonly number[] = [1, 1, 2, 1]): string[] {
    const [field, ...below] = fields;
    if (field === undefined) return [new TextDecoder().decode(bytes)];
    const reader = new WireReader(bytes);
    const found: string[] = [];
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === ((field << 3) | WireType.bytes)) {
        found.push(...nodesOf(reader.byteString(), below));
      } else reader.skip(tag);
    }
    return found;
  }
});

describe('the engine’s own time limit for one run', () => {
  it('fails that run when TensorFlow next looks, and leaves the lane free', async () => {
    await using model = await load(modelPath('tf_slow'), { pool: { lanes: 1 } });
    const n = new Tensor('int64', BigInt64Array.of(2_000_000n), []);
    const options = { tensorflow: { timeoutMs: 50 } };
    const binding = await model.bind({ n: new Tensor('int64', BigInt64Array.of(1n), []) }, options);
    expect(binding.runSync()['y']?.shape).toEqual([]);
    for (const action of [() => model.run({ n }, options), () => model.runSync({ n }, options)]) {
      const { code, engineCode } = await errorOf(action);
      // TensorFlow's number for DEADLINE_EXCEEDED.
      expect([code, engineCode]).toEqual(['ERR_TENON_RUN', 4]);
    }
    expect(model.stats().busyLanes).toBe(0);
    expect((await model.run({ n: 3n })).y?.shape).toEqual([]);
  });
});

describe('options of one run', () => {
  let onnx: Model;

  beforeAll(async () => {
    onnx = await load(modelPath('digits_cnn.onnx'));
  });
  afterAll(() => onnx.close());

  it.each([
    ['onnxruntime', { configEntry: {} }, 'configEntry'],
    ['onnxruntime', { configEntries: { a: null } }, 'configEntries.a'],
    ['onnxruntime', { loraAdapters: 'one' }, 'loraAdapters'],
    ['onnxruntime', { logLevel: 'loud' }, 'logLevel'],
    ['onnxruntime', { logVerbosity: -1 }, 'logVerbosity'],
    ['onnxruntime', { tag: 1 }, 'tag'],
    ['onnxruntime', { profiling: {} }, 'profiling.file'],
    ['onnxruntime', 1, 'onnxruntime'],
    ['tensorflow', { timeout: 1 }, 'timeout'],
    ['tensorflow', { timeoutMs: -1 }, 'timeoutMs'],
    ['tensorflow', { trace: { file: '' } }, 'trace.file'],
    ['tensorflow', { trace: { path: 'x' } }, 'path'],
    ['tensorflow', { trace: { file: 'x', hardware: 1 } }, 'trace.hardware'],
  ])('are checked, whichever engine runs: %s %j', async (group, options, words) => {
    const given = { [group]: options };
    for (const action of [
      () => onnx.run(images, given),
      () => onnx.runSync(images, given),
      () => onnx.bind({ images }, given),
    ]) {
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, words);
    }
  });

  it.each([
    ['a tag with a NUL', { tag: 'a\0b' }],
    ['a key with a NUL', { configEntries: { 'a\0b': 1 } }],
  ])('refuse %s', async (_, onnxruntime) => {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => onnx.run(images, { onnxruntime }), 'NUL');
  });

  it('of the other engine say nothing', async () => {
    const wanted = numbers(await onnx.run(images));
    const file = place('not-written.json');
    const tensorflow = { timeoutMs: 1, trace: { file } };
    expect(numbers(await onnx.run(images, { tensorflow }))).toEqual(wanted);
    expect(existsSync(file)).toBe(false);
  });

  it('keep the run out of batches, which it would change for the others', async () => {
    await using model = await load(modelPath('digits_cnn.onnx'), { batching: true });
    const file = place('beside-a-batch.json');
    const [batched, alone] = await Promise.all([
      model.run(images),
      model.run(images, { onnxruntime: { profiling: { file } } }),
    ]);
    numbers(alone).forEach((value, i) => expect(value).toBeCloseTo(numbers(batched)[i] ?? NaN, 5));
    expect(existsSync(file)).toBe(true);
    expect(model.stats().batching?.passed).toMatchObject({ options: 1, target: 0 });
  });

  it('take the run to a lane', async () => {
    await using model = await load(fixture('lora/model.onnx'));
    const x = Float32Array.of(1, 2, 3);
    const inline = async (options?: object): Promise<number> => {
      const before = model.stats().inlineRuns;
      await model.run({ x }, options);
      return model.stats().inlineRuns - before;
    };
    while ((await inline()) === 0);
    for (let i = 0; i < 20; i++) expect(await inline({ onnxruntime: { tag: 'lane' } })).toBe(0);
  });
});
