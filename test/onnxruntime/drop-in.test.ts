import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { load, Tensor as OwnTensor } from '../../lib/index.js';
import * as ort from '../../lib/onnxruntime/index.js';
import { modelPath } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

// What the drop-in has beyond the stock binding; what both have is in suite.mjs.

const folder = temporaryFolder();
const { InferenceSession, Tensor } = ort;
const simple = modelPath('simple_model.onnx');
const answer = -1.2322286;
const feed = () => ({ input: new Tensor('float32', [1, 2, 3, 4], [1, 4]) });
const steps = (n: bigint) => ({ n: new Tensor('int64', [n], []) });

async function withSession<T>(
  use: (session: ort.InferenceSession) => T | Promise<T>,
  options: ort.InferenceSession.SessionOptions = {},
  source = simple,
): Promise<T> {
  const session = await InferenceSession.create(source, options);
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

async function failureOf(run: Promise<unknown>): Promise<Error & { code?: string }> {
  const failed = await run.then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  if (failed === undefined) throw new Error('expected a failure, and there was none');
  return failed;
}

describe('a tensor given as a fetch', () => {
  const given = (data: Float32Array) => new Tensor('float32', data, [1, 1]);

  it.each([
    ['a caller’s memory', () => new Float32Array(1)],
    ['memory of Tenon’s own', () => OwnTensor.alloc('float32', [1, 1]).data],
  ])('is written in place and comes back: %s', async (_, data) => {
    await withSession(async (session) => {
      for (const run of [session.run.bind(session), session.runSync.bind(session)]) {
        const output = given(data());
        const results = await run(feed(), { output });
        expect(results['output']).toBe(output);
        expect(output.data[0]).toBeCloseTo(answer, 5);
      }
    });
  });

  it('is written by the engine itself where its memory is Tenon’s own', async () => {
    const size = 2 ** 16;
    const place = OwnTensor.alloc('float32', [size]).data;
    await withSession(
      async (session) => {
        const x = new Tensor('float32', new Float32Array(size).fill(2), [size]);
        const twice = new Tensor('float32', place, [size]);
        const results = await session.run({ x }, { twice, copy: null });
        expect(results['twice']).toBe(twice);
        expect([place[0], place[size - 1]]).toEqual([4, 4]);
        expect(Object.keys(results)).toEqual(['copy', 'twice']);
      },
      {},
      modelPath('same.onnx'),
    );
  });

  it('may hold strings', async () => {
    await withSession(
      async (session) => {
        const texts = new Tensor('string', ['Ab', 'cD'], [2]);
        const upper = new Tensor('string', ['', ''], [2]);
        const results = await session.run({ text: texts, any: texts }, { upper });
        expect(results['upper']).toBe(upper);
        expect(upper.data).toEqual(['AB', 'CD']);
      },
      {},
      modelPath('strings.onnx'),
    );
  });

  it('must have the shape of the output', async () => {
    await withSession(
      async (session) => {
        const x = new Tensor('float32', [1, 2, 3], [3]);
        const twice = new Tensor('float32', [0, 0], [2]);
        const { message, code } = await failureOf(session.run({ x }, { twice }));
        expect([message.split('\n')[0], code]).toEqual([
          'Got invalid dimensions for output: twice for the following indices',
          'ERR_TENON_SHAPE',
        ]);
      },
      {},
      modelPath('same.onnx'),
    );
  });
});

describe('a run', () => {
  it('leaves the event loop free', async () => {
    await withSession(
      async (session) => {
        let isDone = false;
        const run = session.run(steps(100n)).finally(() => (isDone = true));
        let turns = 0;
        while (!isDone) {
          await new Promise((resolve) => setImmediate(resolve));
          turns++;
        }
        await run;
        expect(turns).toBeGreaterThan(10);
      },
      {},
      modelPath('slow.onnx'),
    );
  });

  it('may happen on the calling thread', async () => {
    await withSession((session) => {
      expect((session.runSync(feed())['output']?.data as Float32Array)[0]).toBeCloseTo(answer, 5);
      expect(Object.keys(session.runSync(feed(), ['output'], { tag: 'x' }))).toEqual(['output']);
      expect(() => session.runSync({})).toThrow("input 'input' is missing in 'feeds'.");
      expect(() => session.runSync(feed(), { terminate: true })).toThrow('terminate flag');
    });
  });

  it('rejects with the reason of its signal', async () => {
    await withSession(
      async (session) => {
        const caller = new AbortController();
        const run = session.run(steps(1_000_000n), { signal: caller.signal });
        caller.abort(new Error('the caller has gone'));
        expect((await failureOf(run)).message).toBe('the caller has gone');
        const late = session.run(steps(1n), { signal: caller.signal });
        expect((await failureOf(late)).message).toBe('the caller has gone');
      },
      {},
      modelPath('slow.onnx'),
    );
  });

  it('ends in time', async () => {
    await withSession(
      async (session) => {
        const { code } = await failureOf(session.run(steps(1_000_000n), { timeoutMs: 1 }));
        expect(code).toBe('ERR_TENON_TIMEOUT');
      },
      {},
      modelPath('slow.onnx'),
    );
  });

  it('ends with all others of its options when they say terminate', async () => {
    await withSession(
      async (session) => {
        const options = { terminate: false, tag: 'x' };
        const runs = [1, 2].map(() => failureOf(session.run(steps(1_000_000n), options)));
        const other = session.run(steps(1n), { terminate: false });
        options.terminate = true;
        for (const { name, message, code } of await Promise.all(runs)) {
          expect([name, message, code]).toEqual([
            'Error',
            'Exiting due to terminate flag being set to true.',
            'ERR_TENON_ABORTED',
          ]);
        }
        await other;
        expect(Object.getOwnPropertyDescriptor(options, 'terminate')).toEqual({
          configurable: true,
          enumerable: true,
          writable: true,
          value: true,
        });
      },
      {},
      modelPath('slow.onnx'),
    );
  });

  it('is told of options that the engine refuses', async () => {
    await withSession(async (session) => {
      const extra = { memory: { enable_memory_arena_shrinkage: 'nonsense' } };
      await expect(session.run(feed(), { extra })).rejects.toThrow();
    });
  });
});

describe('values that onnxruntime-common has no tensor for', () => {
  it('may be fed: sequences, maps, optionals', async () => {
    await withSession(
      async (session) => {
        const floats = (...values: number[]) => new Tensor('float32', values, [values.length]);
        const feeds = {
          parts: [floats(1, 2), floats(3)],
          position: new Tensor('int64', [1n], []),
          x: floats(1, 2, 3),
          lengths: new Tensor('int64', [1n, 2n], [2]),
        };
        const { at } = await session.run(feeds, ['at']);
        expect(at?.data).toEqual(Float32Array.of(3));
        const wrong = await failureOf(session.run({ ...feeds, parts: floats(1) }, ['at']));
        expect(wrong).toBeInstanceOf(TypeError);
      },
      {},
      modelPath('sequences.onnx'),
    );
  });

  it('are errors with a code as outputs', async () => {
    await withSession(
      async (session) => {
        const probabilities = new Tensor('float32', [0.1, 0.2, 0.7], [1, 3]);
        const { message, code } = await failureOf(session.run({ probabilities }));
        expect(code).toBe('ERR_TENON_UNSUPPORTED');
        expect(message).toContain('Non tensor type is temporarily not supported.');
        expect(Object.keys(await session.run({ probabilities }, ['same']))).toEqual(['same']);
      },
      {},
      modelPath('maps.onnx'),
    );
  });
});

describe('session options', () => {
  it('name the profile’s file, written when it ends', async () => {
    const profileFilePrefix = path.join(folder, 'profile');
    await withSession(
      async (session) => {
        await session.run(feed());
        const file = session.endProfiling() as string;
        expect(path.basename(file)).toMatch(/^profile_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{3}\.json$/);
        const events = JSON.parse(readFileSync(file, 'utf8')) as { name: string }[];
        expect(events.map(({ name }) => name)).toContain('model_run');
      },
      { enableProfiling: true, profileFilePrefix },
    );
    await withSession((session) => expect(session.endProfiling()).toBeUndefined());
  });

  it('take external data from files and Blobs', async () => {
    const model = modelPath('external_data/model.onnx');
    const blob = new Blob([readFileSync(`${model}.data`)]) as unknown as string;
    const x = new Tensor('float32', new Float32Array(16).fill(1), [1, 16]);
    const expected = await withSession(async (session) => session.run({ x }), {}, model);
    for (const externalData of [
      ['model.onnx.data'],
      [{ path: 'model.onnx.data', data: `${model}.data` }],
      [{ path: 'model.onnx.data', data: blob }],
    ]) {
      const results = await withSession((session) => session.run({ x }), { externalData }, model);
      expect(results['y']?.data).toEqual(expected['y']?.data);
    }
    const gone = failureOf(InferenceSession.create(model, { externalData: ['none.data'] }));
    expect(await gone).toMatchObject({ code: 'ERR_TENON_MODEL_NOT_FOUND' });
  });

  it('leave out dimensions that the model does not have', async () => {
    await withSession(
      (session) => {
        expect(session.inputMetadata[0]).toMatchObject({ shape: [2, 4] });
      },
      { freeDimensionOverrides: { batch: 2, others: 7 } },
    );
  });

  it('write no optimized model where a load fails', async () => {
    const optimizedModelFilePath = path.join(folder, 'optimized.onnx');
    const options = { optimizedModelFilePath, intraOpNumThreads: -1 };
    expect(await failureOf(InferenceSession.create(simple, options))).toBeInstanceOf(RangeError);
    expect(existsSync(optimizedModelFilePath)).toBe(false);
  });
});

describe('the backend', () => {
  it('is that of sessions made by onnxruntime-common', async () => {
    const common = await import('onnxruntime-common');
    expect([common.Tensor, common.env]).toEqual([Tensor, ort.env]);
    for (const executionProviders of [undefined, ['cpu'], ['tenon']]) {
      const options = executionProviders === undefined ? {} : { executionProviders };
      const session = await common.InferenceSession.create(simple, options);
      const output = new Tensor('float32', [0], [1, 1]);
      expect((await session.run(feed(), { output }))['output']).toBe(output);
      await session.release();
    }
  });

  it('shares the engine with models of tenon', async () => {
    await using model = await load(simple);
    const { output } = await withSession((session) => session.run(feed()));
    const own = await model.run({ input: Float32Array.of(1, 2, 3, 4) });
    expect(own['output']?.data).toEqual(output?.data);
  });
});
