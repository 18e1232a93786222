import { describe, expect, it } from 'vitest';

import { createPool, load, type Model, Pool } from '../../lib/index.js';
import { runScript } from '../helpers/child.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

const forever = 2_000_000n;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

/** A run that keeps one lane of the pool until `end()`. */
async function occupy(model: Model, pool: Pool): Promise<{ end: () => Promise<void> }> {
  const controller = new AbortController();
  const before = pool.stats().busyLanes;
  const ended = model.run({ n: forever }, { signal: controller.signal }).catch(() => undefined);
  await until(() => pool.stats().busyLanes === before + 1);
  return {
    end: async () => {
      controller.abort();
      await ended;
    },
  };
}

describe('a shared pool', () => {
  it('starts no more lanes than it has, however many models are in it', async () => {
    const { stdout, stderr } = await runScript(`
      const threads = () => livingThreads().length;
      const pool = tenon.createPool({ lanes: 2 });
      const options = { threads: { intraOp: 1 }, inline: 'never', pool: { shared: pool } };
      const first = await load(model('simple_model.onnx'), options);
      const models = [first];
      for (let i = 1; i < 10; i++) models.push(await load(model('simple_model.onnx'), options));
      // The threads that load are those of the process, at most four.
      const before = threads();
      await Promise.all(
        Array.from({ length: 200 }, (_, i) => models[i % 10].run({ input: new Float32Array(4) })),
      );
      while (pool.stats().busyLanes > 0) await nextTurn();
      const { lanes, sessions } = pool.stats();
      console.log(JSON.stringify({
        started: threads() - before,
        lanes: lanes.length,
        runs: lanes.reduce((sum, { runs }) => sum + runs, 0),
        sessions,
      }));
      await Promise.all(models.map((m) => m.close()));
      await pool.close();
    `);
    expect(JSON.parse(stdout || stderr)).toEqual({ started: 2, lanes: 2, runs: 200, sessions: 10 });
  });

  it('gives its lanes by weight', async () => {
    await using pool = createPool({ lanes: 1 });
    const shared = { threads: { intraOp: 1 } };
    await using blocker = await load(modelPath('slow.onnx'), { ...shared, pool: { shared: pool } });
    await using heavy = await load(modelPath('slow.onnx'), {
      ...shared,
      pool: { shared: pool, weight: 8 },
    });
    await using light = await load(modelPath('slow.onnx'), { ...shared, pool: { shared: pool } });
    const busy = await occupy(blocker, pool);
    const order: string[] = [];
    const runs = Array.from({ length: 40 }, (_value, i) => {
      const [model, name] = i % 2 === 0 ? ([light, 'light'] as const) : ([heavy, 'heavy'] as const);
      return model.run({ n: 10n }).then(() => order.push(name));
    });
    await busy.end();
    await Promise.all(runs);
    // Of the first half nearly nine in ten are the heavy one's; a machine that is busy with
    // something else may make one of its runs look long.
    const firstHalf = order.slice(0, 20).filter((name) => name === 'heavy').length;
    expect(firstHalf).toBeGreaterThanOrEqual(13);
    expect(order).toHaveLength(40);
  });

  it('lets a model alone use all of its lanes', async () => {
    await using pool = createPool({ lanes: 3 });
    await using model = await load(modelPath('slow.onnx'), { pool: { shared: pool } });
    await using other = await load(modelPath('slow.onnx'), { pool: { shared: pool } });
    expect(other.stats().busyLanes).toBe(0);
    const held = [];
    for (let i = 0; i < 3; i++) held.push(await occupy(model, pool));
    expect(model.stats()).toMatchObject({ busyLanes: 3, queuedRuns: 0 });
    await Promise.all(held.map(({ end }) => end()));
  });

  it('bounds the queue of each model by itself', async () => {
    await using pool = createPool({ lanes: 1 });
    await using blocker = await load(modelPath('slow.onnx'), { pool: { shared: pool } });
    await using model = await load(modelPath('slow.onnx'), {
      pool: { shared: pool, maxQueue: 2 },
    });
    const busy = await occupy(blocker, pool);
    const taken = [1, 2, 3].map(() => model.run({ n: 1n }));
    await expectError('ERR_TENON_QUEUE_FULL', () => model.run({ n: 1n }));
    await busy.end();
    await Promise.all(taken);
  });

  it('says that the lane of an abandoned TensorFlow run is busy until it ends', async () => {
    await using pool = createPool({ lanes: 1 });
    await using model = await load(modelPath('tf_slow'), {
      pool: { shared: pool },
      inline: 'never',
    });
    const run = model.run({ n: 2000n }, { timeoutMs: 20 });
    await expectError('ERR_TENON_TIMEOUT', () => run);
    const { busyLanes, lanes } = pool.stats();
    expect(busyLanes).toBe(1);
    expect(lanes).toMatchObject([{ isBusy: true, runs: 0 }]);
    await until(() => pool.stats().busyLanes === 0);
    const [lane] = pool.stats().lanes;
    expect(lane).toMatchObject({ isBusy: false, runs: 1 });
    expect(lane?.busyMicros).toBeGreaterThan(20_000);
    expect(model.stats().lanes).toEqual(pool.stats().lanes);
  });

  it('serves its models after its close, and takes no other', async () => {
    const pool = createPool({ lanes: 1 });
    await using model = await load(modelPath('simple_model.onnx'), {
      pool: { shared: pool },
      inline: 'never',
    });
    const closing = pool.close();
    expect(pool.close()).toBe(closing);
    await closing;
    const { output } = await model.run({ input: [1, 2, 3, 4] });
    expect(output?.shape).toEqual([1, 1]);
    await expectError('ERR_TENON_POOL_CLOSED', () => pool.stats());
    await expectError('ERR_TENON_POOL_CLOSED', () =>
      load(modelPath('simple_model.onnx'), { pool: { shared: pool } }),
    );
  });

  it('serves models of both engines, several sessions, and models attached to', async () => {
    await using pool = createPool({ lanes: 2 });
    const options = { pool: { shared: pool }, inline: 'never' } as const;
    await using onnx = await load(modelPath('simple_model.onnx'), {
      ...options,
      pool: { shared: pool, sessions: 2 },
    });
    await using tensorflow = await load(modelPath('half_plus_two'), options);
    await using attached = await load(onnx.share());
    for (let i = 0; i < 4; i++) {
      await Promise.all([
        onnx.run({ input: [1, 2, 3, 4] }),
        attached.run({ input: [1, 2, 3, 4] }),
        tensorflow.run({ x: [1] }),
      ]);
    }
    expect(pool.stats().sessions).toBe(3);
    await until(() => pool.stats().busyLanes === 0);
    const runs = pool.stats().lanes.reduce((sum, lane) => sum + lane.runs, 0);
    expect(runs).toBe(12);
    expect(onnx.stats().lanes.length).toBeLessThanOrEqual(2);
  });

  it('may spin', async () => {
    await using pool = createPool({ lanes: 1, spinMicros: 50 });
    await using model = await load(modelPath('simple_model.onnx'), {
      pool: { shared: pool },
      inline: 'never',
    });
    for (let i = 0; i < 100; i++) await model.run({ input: [1, 2, 3, 4] });
    // A run's promise settles before its lane has counted it.
    await until(() => pool.stats().busyLanes === 0);
    expect(pool.stats().lanes[0]?.runs).toBe(100);
  });
});

describe('createPool', () => {
  it.each([
    [{ lanes: 0 }, 'lanes'],
    [{ lanes: 1025 }, 'lanes'],
    [{ spinMicros: -1 }, 'spinMicros'],
    [{ size: 1 }, 'size'],
  ])('refuses %j', async (options, name) => {
    const error = await errorOf(() => createPool(options as object));
    expect([error.code, error.message.includes(name)]).toEqual([
      'ERR_TENON_INVALID_ARGUMENT',
      true,
    ]);
  });

  it('is the only way to a Pool', () => {
    const PoolClass = Pool as unknown as new () => Pool;
    expect(() => new PoolClass()).toThrow(TypeError);
  });
});

describe('the options of a pool', () => {
  it.each([
    [{ shared: {} }, 'pool.shared'],
    [{ shared: null }, 'pool.shared'],
    [{ weight: 2 }, 'pool.weight'],
  ])('%j are refused', async (pool, name) => {
    const run = () => load(modelPath('simple_model.onnx'), { pool: pool as object });
    await expectError('ERR_TENON_INVALID_ARGUMENT', run, name);
  });

  it.each([{ lanes: 2 }, { spinMicros: 10 }, { weight: 0 }])(
    '%j are refused beside a shared one',
    async (given) => {
      await using pool = createPool({ lanes: 1 });
      const run = () => load(modelPath('simple_model.onnx'), { pool: { shared: pool, ...given } });
      await expectError('ERR_TENON_INVALID_ARGUMENT', run, Object.keys(given)[0] as string);
    },
  );
});
