import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { load, type LoadOptions, type Model, Tensor, type ValuesModel } from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { runScript } from '../helpers/script.js';
import { livingThreads } from '../helpers/threads.mjs';

const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-options-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const digits = modelPath('digits_cnn.onnx');
const images = Float32Array.from({ length: 2 * 64 }, (_, i) => (i % 17) / 17);

async function firstOutput(
  source: string | Uint8Array,
  feeds: Record<string, Tensor | Float32Array>,
  options: LoadOptions = {},
): Promise<number[]> {
  await using model = await load<ValuesModel>(source, options);
  return await firstOf(model, feeds);
}

async function firstOf(
  model: Model<ValuesModel>,
  feeds: Record<string, Tensor | Float32Array>,
): Promise<number[]> {
  const [output] = Object.values(await model.run(feeds));
  return [...((output as Tensor<'float32'>).data as Iterable<number>)];
}

const threadIds = (): string[] => livingThreads().map(({ id }) => id);

/** Which CPUs the threads may use that are not among `before`. */
function affinitiesBeside(before: readonly string[]): string[] {
  return threadIds()
    .filter((id) => !before.includes(id))
    .map((id) => {
      const status = readFileSync(`/proc/self/task/${id}/status`, 'utf8');
      return /Cpus_allowed_list:\s*(\S+)/.exec(status)?.[1] ?? '';
    })
    .sort();
}

describe.runIf(process.platform === 'linux')('threads', () => {
  // The process's own threads for loading are there from now on.
  beforeAll(async () => {
    const models = await Promise.all(Array.from({ length: 16 }, () => load(digits)));
    await Promise.all(models.map((model) => model.close()));
  });

  it.each([1, 3, 6])('of a session are one less than intraOp: %i', async (intraOp) => {
    const before = threadIds().length;
    await using model = await load(digits, { threads: { intraOp } });
    expect(model.providers).toEqual(['CPUExecutionProvider']);
    expect(threadIds().length - before).toBe(intraOp - 1);
  });

  it('of the inter-op pool come on top', async () => {
    const before = threadIds().length;
    await using model = await load(digits, { threads: { intraOp: 1, interOp: 4 } });
    expect(model.engine).toBe('onnxruntime');
    expect(threadIds().length - before).toBeGreaterThanOrEqual(3);
  });

  it('keep to the CPUs of threads.affinity', async () => {
    const before = threadIds();
    await using model = await load(digits, { threads: { intraOp: 3, affinity: [[0], [1]] } });
    expect(model.engine).toBe('onnxruntime');
    // A thread goes to its CPUs when it first runs.
    await expect.poll(() => affinitiesBeside(before), { timeout: 20_000 }).toEqual(['0', '1']);
  });

  it('are refused an affinity of another number of threads, in the engine’s words', async () => {
    await expectError(
      'ERR_TENON_MODEL_INVALID',
      () => load(digits, { threads: { intraOp: 3, affinity: [[0]] } }),
      'affinit',
    );
  });
});

describe('thread pools of the process', () => {
  it('cannot be shared where there are none', async () => {
    await expectError(
      'ERR_TENON_CONFIGURE',
      () => load(digits, { threads: { shared: true } }),
      'global thread pools',
    );
  });

  it('take no options of a model’s own threads', async () => {
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(digits, { threads: { shared: true, intraOp: 2 } }),
      'threads.intraOp',
    );
  });
});

describe('the optimized model', () => {
  it('is written as ONNX, and gives the same numbers', async () => {
    const file = path.join(folder, 'optimized.onnx');
    const options = { onnxruntime: { optimizedModelPath: file } };
    const before = await firstOutput(digits, { images }, options);
    const after = await firstOutput(
      file,
      { images },
      {
        onnxruntime: { graphOptimizationLevel: 'disabled' },
      },
    );
    expect(after).toHaveLength(before.length);
    after.forEach((value, i) => expect(value).toBeCloseTo(before[i] as number, 5));
  });

  it('is smaller or larger as the level has it', async () => {
    const sizes = new Map<string, number>();
    for (const graphOptimizationLevel of ['disabled', 'all'] as const) {
      const optimizedModelPath = path.join(folder, `${graphOptimizationLevel}.onnx`);
      await (
        await load(digits, { onnxruntime: { graphOptimizationLevel, optimizedModelPath } })
      ).close();
      sizes.set(graphOptimizationLevel, statSync(optimizedModelPath).size);
    }
    expect(sizes.get('all')).not.toBe(sizes.get('disabled'));
  });

  it('is written in the ORT format where its name says so', async () => {
    const file = path.join(folder, 'optimized.ort');
    const options = {
      onnxruntime: { optimizedModelPath: file, graphOptimizationLevel: 'extended' },
    } as const;
    await (await load(digits, options)).close();
    expect(readFileSync(file).subarray(4, 8).toString()).toBe('ORTM');
    expect(await firstOutput(file, { images })).toHaveLength(20);
  });

  it('must have a place', async () => {
    const optimizedModelPath = path.join(folder, 'nowhere', 'x.onnx');
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(digits, { onnxruntime: { optimizedModelPath } }),
      optimizedModelPath,
    );
  });
});

describe('profiling', () => {
  it('writes its file when the model is closed, under the name it was given', async () => {
    const file = path.join(folder, 'profile.json');
    const model = await load<ValuesModel>(digits, { onnxruntime: { profiling: { file } } });
    await firstOf(model, { images });
    expect(existsSync(file)).toBe(false);
    await model.close();
    const events = JSON.parse(readFileSync(file, 'utf8')) as {
      name: string;
      args?: { op_name?: string; provider?: string };
    }[];
    expect(events.map(({ name }) => name)).toContain('model_run');
    expect(events.map(({ args }) => args?.provider)).toContain('CPUExecutionProvider');
    expect(readdirSync(folder).filter((name) => name.startsWith('profile.json'))).toHaveLength(1);
  });

  it('must have a place', async () => {
    const file = path.join(folder, 'nowhere', 'profile.json');
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(digits, { onnxruntime: { profiling: { file } } }),
      file,
    );
  });

  it('ends when it is told to, and the model runs on', async () => {
    const file = path.join(folder, 'ended.json');
    await using model = await load<ValuesModel>(digits, { onnxruntime: { profiling: { file } } });
    await model.run({ images: new Float32Array(64) });
    expect(model.endProfiling()).toBe(file);
    const events = JSON.parse(readFileSync(file, 'utf8')) as { name: string }[];
    expect(events.some(({ name }) => name === 'model_run')).toBe(true);
    await model.run({ images: new Float32Array(64) });
    expect(model.endProfiling()).toBe(file);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toHaveLength(events.length);
  });

  it('cannot end where it was not asked for, or when the model is closed', async () => {
    const model = await load<ValuesModel>(digits);
    await expectError('ERR_TENON_UNSUPPORTED', () => model.endProfiling(), 'profiling');
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.endProfiling());
  });
});

describe('memory', () => {
  const shrink = { 'memory.enable_memory_arena_shrinkage': 'cpu:0' };

  it('of the arena can be shrunk after each run', async () => {
    const options = { onnxruntime: { runConfigEntries: shrink } };
    expect(await firstOutput(digits, { images }, options)).toHaveLength(20);
  });

  it('has no arena to shrink where it is off, as the engine says', async () => {
    const options = { onnxruntime: { cpuArena: false, runConfigEntries: shrink } };
    await expectError('ERR_TENON_RUN', () => firstOutput(digits, { images }, options), /arena/i);
  });

  it('comes without a pattern, too, and deterministic', async () => {
    const wanted = await firstOutput(digits, { images });
    const options = { onnxruntime: { memoryPattern: false, deterministic: true } };
    expect(await firstOutput(digits, { images }, options)).toEqual(wanted);
  });
});

describe('free dimensions', () => {
  it('get their sizes by name', async () => {
    await using model = await load<ValuesModel>(digits, {
      onnxruntime: { freeDimensionOverrides: { batch: 2 } },
    });
    const { images: spec } = model.inputs;
    expect(spec?.kind === 'tensor' && spec.shape).toEqual([2, 8, 8, 1]);
    await expectError('ERR_TENON_SHAPE', () =>
      firstOf(model, { images: new Tensor('float32', images.subarray(64), [1, 8, 8, 1]) }),
    );
  });
});

describe('configuration entries', () => {
  it.each([
    ['configEntries', 'session.intra_op.allow_spining'],
    ['configEntries', 'optimization.enable_gelu'],
    // A word of the engine's own that sets nothing.
    ['configEntries', 'session.intra_op_num_threads'],
    ['runConfigEntries', 'memory.enable_arena_shrinkage'],
  ])('%s: %s is refused by name', async (option, key) => {
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(digits, { onnxruntime: { [option]: { [key]: '1' } } }),
      key,
      'ONNX Runtime 1.',
    );
  });

  it('reach the engine', async () => {
    // The engine looks at this one's value, and says so.
    await expectError(
      'ERR_TENON_MODEL_INVALID',
      () =>
        load(digits, {
          onnxruntime: { configEntries: { 'session.load_model_format': 'ORT' } },
        }),
      /ORT|flatbuffer|verif/i,
    );
  });

  it('of providers and custom operators pass', async () => {
    const configEntries = { 'ep.mine.key': 1, 'custom_op.mine.key': 'x' };
    await (await load(digits, { onnxruntime: { configEntries } })).close();
  });
});

describe('weights from elsewhere', () => {
  const x = new Tensor('float32', Float32Array.of(1, 2, 3), [1, 3]);
  const linear = fixture('lora/model.onnx');

  it('take the place of the model’s own, and lie where they were', async () => {
    const w = Tensor.alloc('float32', [3, 3]);
    w.data.set([1, 0, 0, 0, 1, 0, 0, 0, 1]);
    // Nothing is folded or packed: the sum with the adapters' inputs is made in each run.
    const options: LoadOptions = { onnxruntime: { initializers: { w } } };
    await using first = await load<ValuesModel>(linear, options);
    await using second = await load<ValuesModel>(linear, options);
    expect(await firstOf(first, { x })).toEqual([1, 2, 3]);
    // Not to be done by anybody else: it shows that both read the same bytes.
    w.data[0] = 10;
    expect(await firstOf(first, { x })).toEqual([10, 2, 3]);
    expect(await firstOf(second, { x })).toEqual([10, 2, 3]);
  });

  it.each([
    ['float64', new Tensor('float64', new Float64Array(9), [3, 3]), 'ERR_TENON_DTYPE'],
    ['shape', new Tensor('float32', new Float32Array(3), [1, 3]), 'ERR_TENON_SHAPE'],
  ] as const)('must be like the model’s: %s', async (_, w, code) => {
    await expectError(code, () => load(linear, { onnxruntime: { initializers: { w } } }), '"w"');
  });

  it.each([
    ['initializers', { u: new Tensor('float32', [1]) }, '"w"'],
    ['externalData', { 'u.bin': new Uint8Array(1) }, 'it has none'],
    ['freeDimensionOverrides', { u: 1 }, 'it has none'],
  ])('%s must name what the model has', async (option, value, words) => {
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(linear, { onnxruntime: { [option]: value } }),
      option,
      words,
      '"u',
    );
  });

  it('are those of a file that is not read', async () => {
    const model = readFileSync(modelPath('external_data/model.onnx'));
    const weights = Tensor.alloc('float32', [16, 16]);
    const options: LoadOptions = { onnxruntime: { externalInitializers: { weights } } };
    for (let i = 0; i < 16; i++) weights.data[17 * i] = i;
    const row = Float32Array.from({ length: 16 }, () => 2);
    expect(await firstOutput(model, { x: new Tensor('float32', row, [1, 16]) }, options)).toEqual(
      Array.from(row, (_, i) => 2 * i),
    );
  });

  it('that the model says are elsewhere must be so', async () => {
    const w = new Tensor('float32', new Float32Array(9), [3, 3]);
    await expectError(
      'ERR_TENON_MODEL_INVALID',
      () => load(linear, { onnxruntime: { externalInitializers: { w } } }),
      'non-external',
    );
  });

  it('cannot be strings', async () => {
    const w = Tensor.from(['a']);
    await expectError(
      'ERR_TENON_UNSUPPORTED',
      () => load(linear, { onnxruntime: { externalInitializers: { w } } }),
      'received string',
    );
  });

  const external = modelPath('external_data/model.onnx');
  const bytes = readFileSync(external);
  const data = new Uint8Array(readFileSync(modelPath('external_data/model.onnx.data')));

  async function outputOf(source: string | Uint8Array, options?: LoadOptions): Promise<number[]> {
    await using model = await load<ValuesModel>(source, options);
    const feeds = Object.fromEntries(
      Object.entries(model.inputs).map(([name, spec]) => {
        const shape = (spec.kind === 'tensor' ? (spec.shape ?? []) : []).map((size) =>
          typeof size === 'number' ? size : 1,
        );
        const size = shape.reduce((product, dimension) => product * dimension, 1);
        return [name, new Tensor('float32', new Float32Array(size).fill(0.5), shape)];
      }),
    );
    return await firstOf(model, feeds);
  }

  it('come as files in memory, by the name the model has', async () => {
    await expectError('ERR_TENON_MODEL_INVALID', () => load(bytes));
    const options = { onnxruntime: { externalData: { 'model.onnx.data': data } } };
    expect(await outputOf(bytes, options)).toEqual(await outputOf(external));
  });

  it('of another file’s name are not found', async () => {
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(bytes, { onnxruntime: { externalData: { 'other.data': data } } }),
      '"model.onnx.data"',
    );
  });

  it.runIf(process.platform === 'linux')(
    'are there once, packed and unpacked, for a group of sessions that are given the same',
    async () => {
      const grown = async (options: string): Promise<number> => {
        const { code, reported, stderr } = await runScript(
          `
            const { initializer, model: write, node, valueInfo } = await import(
              path.join(fixture('..', '..'), 'bench/models/onnx.mjs'));
            const size = 2048;
            const w = Tensor.alloc('float32', [size, size]);
            w.data.fill(1);
            const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'tenon-wide-')), 'wide.onnx');
            fs.writeFileSync(file, write({
              name: 'wide',
              nodes: [node('MatMul', ['x', 'w'], ['y'])],
              initializers: [initializer('w', w.data, [size, size])],
              inputs: [valueInfo('x', 'float32', [1, size])],
              outputs: [valueInfo('y', 'float32', [1, size])],
            }));
            const resident = () => Number(/VmRSS:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
            const options = { onnxruntime: ${options} };
            const models = [await load(file, options)];
            const before = resident();
            for (let i = 0; i < 5; i++) models.push(await load(file, options));
            report((resident() - before) / 1024);
            const { y } = await models[5].run({ x: new Float32Array(size).fill(1) });
            report(y.data.every((value) => value === size));
            for (const m of models) await m.close();
            fs.rmSync(path.dirname(file), { recursive: true });
          `,
          // What is freed goes back to the system, so that resident memory is what is in use.
          { env: { MALLOC_MMAP_THRESHOLD_: String(1 << 20) } },
        );
        expect([code, reported[1]], stderr).toEqual([0, true]);
        return reported[0] as number;
      };
      // Five times 16 MiB, or nothing.
      expect(await grown('{}')).toBeGreaterThan(64);
      expect(await grown("{ weightGroup: 'wide' }")).toBeGreaterThan(64);
      expect(await grown("{ initializers: { w }, weightGroup: 'wide' }")).toBeLessThan(16);
    },
  );

  it('can be packed once for all sessions of a group', async () => {
    const wanted = await firstOutput(digits, { images });
    const options = { onnxruntime: { weightGroup: 'digits' } };
    await using first = await load<ValuesModel>(digits, options);
    await using second = await load<ValuesModel>(digits, options);
    expect(await firstOf(first, { images })).toEqual(wanted);
    expect(await firstOf(second, { images })).toEqual(wanted);
  });
});

describe('LoRA adapters', () => {
  const linear = fixture('lora/model.onnx');
  const x = Float32Array.of(1, 2, 3);
  const one = fixture('lora/one.onnx_adapter');
  const two = new Uint8Array(readFileSync(fixture('lora/two.onnx_adapter')));
  // From Python, by lora.py.
  const outputs = { none: [3, 3.75, 4.5], one: [4, 5.75, 4.5], two: [8, 8.75, 16.5] };

  it.each(['none', 'one', 'two'] as const)('hold for every run: %s', async (name) => {
    const options: LoadOptions = {
      onnxruntime: {
        loraAdapters: { one, two },
        activeLoraAdapters: name === 'none' ? [] : [name],
      },
    };
    expect(await firstOutput(linear, { x }, options)).toEqual(outputs[name]);
  });

  it('are refused in the engine’s words where they are none', async () => {
    const bad = new Uint8Array(100);
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(linear, { onnxruntime: { loraAdapters: { bad } } }),
      'LoRA adapter "bad"',
      'valid lora parameter format',
    );
  });
});

describe('custom operator libraries', () => {
  it('that are not there are refused by name', async () => {
    await expectError(
      'ERR_TENON_ENGINE_LOAD',
      () => load(digits, { onnxruntime: { customOpLibraries: ['/nowhere/ops.so'] } }),
      'custom operator library "/nowhere/ops.so"',
    );
  });
});

describe('execution providers', () => {
  it('that the library does not have are refused, and what it has is named', async () => {
    await expectError(
      'ERR_TENON_PROVIDER',
      () => load(digits, { executionProviders: ['abacus'] }),
      '"abacus"',
      'CPUExecutionProvider',
    );
  });

  it('that cannot start fail the load with the engine’s words', async () => {
    await expectError(
      'ERR_TENON_PROVIDER',
      () => load(digits, { executionProviders: ['cuda'] }),
      'execution provider "cuda"',
    );
  });

  it('that cannot start are left out and noted where that is allowed', async () => {
    await using model = await load<ValuesModel>(digits, {
      executionProviders: ['abacus', 'cuda', 'cpu'],
      allowProviderFallback: true,
    });
    expect(model.providers).toEqual(['CPUExecutionProvider']);
    expect(model.providerFallbacks.map(({ provider }) => provider)).toEqual(['abacus', 'cuda']);
    expect(model.providerFallbacks[0]?.reason).toContain('expected an execution provider among');
    expect(await firstOf(model, { images })).toEqual(await firstOutput(digits, { images }));
  });

  it('are not blamed for a model that no provider can load', async () => {
    await expectError('ERR_TENON_MODEL_INVALID', () =>
      load(fixture('broken/truncated.onnx'), {
        executionProviders: ['cpu'],
        allowProviderFallback: true,
      }),
    );
  });

  it('have options that are checked', async () => {
    await expectError(
      'ERR_TENON_PROVIDER',
      () => load(digits, { executionProviders: [{ name: 'cpu', arena: false }] }),
      'use_arena',
    );
  });

  it.runIf(process.platform === 'linux' && process.arch === 'x64')(
    'get their options as they are, and refuse them in their own words',
    async () => {
      const webgpu = { name: 'webgpu', validationMode: 'loose' };
      await expectError(
        'ERR_TENON_PROVIDER',
        () => load(digits, { executionProviders: [webgpu] }),
        'Invalid validation mode: loose',
      );
    },
  );

  it('can be told which of their devices to use', async () => {
    await using model = await load(digits, { executionProviders: [{ name: 'cpu', devices: [0] }] });
    expect(model.providers).toEqual(['CPUExecutionProvider']);
    await expectError(
      'ERR_TENON_PROVIDER',
      () => load(digits, { executionProviders: [{ name: 'cpu', devices: [99] }] }),
      'a device of "cpu" below',
    );
  });
});

describe('a session’s log', () => {
  it('takes the least severe level by name', async () => {
    // What is written goes to stderr; the child processes of options-process.test.ts read it.
    const options = {
      onnxruntime: { logLevel: 'fatal', logId: 'quiet', logVerbosity: 1 },
    } as const;
    await (await load(fixture('lora/model.onnx'), options)).close();
  });
});
