import { describe, expect, it } from 'vitest';

import { load, type Model, type SessionReplacement, type Tensor } from '../../lib/index.js';
import { isEngineFailure, mergeStats } from '../../lib/model/sessions.js';
import { TenonError } from '../../lib/errors.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

const two = { pool: { sessions: 2, lanes: 1 } };
const x = [1, 2, 3];

/** The next turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

const engines: [engine: string, file: string, output: string, y: number[]][] = [
  ['onnxruntime', 'same.onnx', 'twice', [2, 4, 6]],
  ['tensorflow', 'half_plus_two', 'y', [3.5, 4, 4.5]],
];

describe.each(engines)('a pool of sessions of %s', (_engine, file, output, y) => {
  const numbers = (outputs: Record<string, Tensor>): number[] => [
    ...(outputs[output]?.data as Float32Array),
  ];

  it('gives what one session gives, and goes round', async () => {
    await using model = await load(modelPath(file), two);
    for (let i = 0; i < 10; i++) expect(numbers(await model.run({ x }))).toEqual(y);
    const { runs, failedRuns, sessions } = model.stats();
    expect({ runs, failedRuns }).toEqual({ runs: 10, failedRuns: 0 });
    // A lane may still count as busy when its outputs arrive, so turns are not exact.
    expect(sessions.every((session) => session.runs > 0)).toBe(true);
    expect(sessions[0]).toMatchObject({ state: 'ready', lanes: 1, failures: 0, replaced: 0 });
    expect(sessions[0]?.lastError).toBeUndefined();
  });

  it('has no part in the stats of a model of one session', async () => {
    await using model = await load(modelPath(file));
    await model.run({ x });
    expect(model.stats().sessions).toEqual([]);
  });

  it('runs synchronously and binds on its first session', async () => {
    await using model = await load(modelPath(file), two);
    expect(numbers(model.runSync({ x }))).toEqual(y);
    const binding = await model.bind({ x });
    expect(numbers(binding.runSync())).toEqual(y);
    expect(numbers(await binding.run())).toEqual(y);
  });

  it('is shared as a whole', async () => {
    await using model = await load(modelPath(file), two);
    const shared = model.share();
    expect(shared.shares).toHaveLength(2);
    await using other = await load(structuredClone(shared));
    for (let i = 0; i < 4; i++) expect(numbers(await other.run({ x }))).toEqual(y);
    expect(other.stats().runs).toBe(4);
    expect(model.stats().runs).toBe(4);
    expect(other.stats().sessions.every(({ runs }) => runs > 0)).toBe(true);
  });

  it('is not attached to in part', async () => {
    const model = await load(modelPath(file), two);
    const shared = model.share();
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => load(shared));
  });

  it('warms up with zeros or with feeds', async () => {
    await using zeros = await load(modelPath(file), { pool: { ...two.pool, warmup: 3 } });
    expect(zeros.stats().runs).toBe(6);
    expect(zeros.stats().sessions.map(({ runs }) => runs)).toEqual([0, 0]);
    await using feeds = await load(modelPath(file), { pool: { sessions: 1, warmup: { x } } });
    expect(feeds.stats().runs).toBe(1);
  });

  it('refuses runs once it is closed', async () => {
    const model = await load(modelPath(file), two);
    const runs = Array.from({ length: 8 }, () => model.run({ x }));
    await model.close();
    expect((await Promise.all(runs)).map((run) => numbers(run))).toEqual(runs.map(() => y));
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.run({ x }));
    await model.close();
  });
});

describe.each([
  ['onnxruntime', 'slow.onnx', 2_000_000n],
  ['tensorflow', 'tf_slow', 300n],
])('runs of a pool of %s that are stopped', (_engine, file, n) => {
  const busy = (model: Model): number[] =>
    model.stats().sessions.map(({ busyLanes, queuedRuns }) => busyLanes + queuedRuns);

  it('are found on their session, and are nobody’s failure', async () => {
    await using model = await load(modelPath(file), two);
    const controllers = [1, 2, 3, 4].map(() => new AbortController());
    const runs = controllers.map(({ signal }) => model.run({ n }, { signal }));
    await until(() => busy(model).join() === '2,2');
    for (const controller of controllers)
      controller.abort(new TenonError('ERR_TENON_ABORTED', '.'));
    for (const run of runs) expect((await errorOf(() => run)).code).toBe('ERR_TENON_ABORTED');
    await until(() => busy(model).join() === '0,0');
    expect(model.stats().sessions.map(({ failures }) => failures)).toEqual([0, 0]);
  });

  it('end with the model', async () => {
    const model = await load(modelPath(file), two);
    const runs = [1, 2, 3].map(() => errorOf(() => model.run({ n })));
    await until(() => busy(model).every((count) => count > 0));
    const reason = new TenonError('ERR_TENON_ABORTED', 'no more');
    await model.destroy(reason);
    for (const error of await Promise.all(runs)) expect(error).toBe(reason);
  });
});

describe('a session whose runs ONNX Runtime fails', () => {
  // Sizes that cannot be added are an exception inside the engine, with a number that blames nobody.
  const bad = { a: new Float32Array(2), b: new Float32Array(3) };
  const good = { a: new Float32Array(2), b: new Float32Array(2) };

  it('is loaded anew, and says so', async () => {
    const replacements: SessionReplacement[] = [];
    await using model = await load(modelPath('multi_io.onnx'), {
      validateShapes: false,
      pool: {
        ...two.pool,
        maxFailures: 2,
        warmup: good,
        onSessionReplaced: (replacement) => replacements.push(replacement),
      },
    });
    for (let i = 0; i < 4; i++) await errorOf(() => model.run(bad));
    await until(() => replacements.length === 2);
    expect(replacements.map(({ outcome }) => outcome)).toEqual(['replaced', 'replaced']);
    expect(replacements.map(({ session }) => session).sort()).toEqual([0, 1]);
    await model.run(good);
    const { sessions, failedRuns, runs } = model.stats();
    expect(sessions.map(({ state, replaced }) => [state, replaced])).toEqual([
      ['ready', 1],
      ['ready', 1],
    ]);
    expect(sessions[0]?.lastError?.code).toBe('ERR_TENON_RUN');
    // Those of the sessions that are gone included; each was warmed up once, and its successor.
    expect({ failedRuns, runs }).toEqual({ failedRuns: 4, runs: 9 });
  });

  it('stays where that is asked for', async () => {
    await using model = await load(modelPath('multi_io.onnx'), {
      validateShapes: false,
      pool: { ...two.pool, maxFailures: 0 },
    });
    for (let i = 0; i < 20; i++) await errorOf(() => model.run(bad));
    expect(model.stats().sessions.map(({ replaced }) => replaced)).toEqual([0, 0]);
  });
});

describe('loading a pool', () => {
  it('from bytes gives each session the model', async () => {
    const { readFileSync } = await import('node:fs');
    await using model = await load(readFileSync(modelPath('same.onnx')), two);
    const { twice } = await model.run({ x });
    expect([...(twice?.data as Float32Array)]).toEqual([2, 4, 6]);
  });

  it.each(['fails_in_run.onnx', 'tf_fails_in_run'])('fails where its warm-up does: %s', (file) =>
    expectError('ERR_TENON_RUN', () =>
      load(modelPath(file), { pool: { sessions: 2, warmup: { index: [100n] } } }),
    ),
  );

  it('fails where one session’s warm-up does', () =>
    expectError('ERR_TENON_UNKNOWN_FEED', () =>
      load(modelPath('same.onnx'), { pool: { warmup: { y: [1] } } }),
    ));

  it('wants feeds for inputs that have no zeros', () =>
    expectError(
      'ERR_TENON_MISSING_FEED',
      () => load(modelPath('strings.onnx'), { pool: { warmup: 1 } }),
      'pool.warmup',
    ));

  it.each([
    ['sessions', 0],
    ['sessions', 65],
    ['sessions', 1.5],
    ['warmup', 'yes'],
    ['warmup', -1],
    ['warmup', [1]],
    ['maxFailures', -1],
    ['onSessionReplaced', 1],
  ])('refuses pool.%s of %j', (name, value) =>
    expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => load(modelPath('same.onnx'), { pool: { [name]: value } }),
      `pool.${name}`,
    ),
  );

  it('stops by its signal', async () => {
    const controller = new AbortController();
    const loading = load(modelPath('same.onnx'), { ...two, signal: controller.signal });
    const reason = new TenonError('ERR_TENON_ABORTED', 'not now');
    controller.abort(reason);
    expect(await errorOf(() => loading)).toBe(reason);
  });
});

describe('isEngineFailure', () => {
  it.each([
    ['ERR_TENON_RUN', 6, 'onnxruntime', true],
    ['ERR_TENON_RUN', 2, 'onnxruntime', false],
    ['ERR_TENON_RUN', 13, 'tensorflow', true],
    ['ERR_TENON_RUN', 3, 'tensorflow', false],
    ['ERR_TENON_RUN', undefined, 'tensorflow', true],
    ['ERR_TENON_OUT_OF_MEMORY', undefined, 'onnxruntime', true],
    ['ERR_TENON_ABORTED', undefined, 'onnxruntime', false],
    ['ERR_TENON_SHAPE', undefined, 'onnxruntime', false],
  ] as const)('of %s, number %s of %s: %s', (code, engineCode, engine, expected) => {
    const options = engineCode === undefined ? {} : { engineCode };
    expect(isEngineFailure(new TenonError(code, '', options), engine)).toBe(expected);
    expect(isEngineFailure(new Error('other'), engine)).toBe(false);
  });
});

describe('mergeStats', () => {
  it('adds counts up, weighs means, and takes the largest quantiles', () => {
    const stats = (runs: number, mean: number, p99: number) => {
      const histogram = { count: runs, mean, p50: mean, p90: p99, p99, max: p99 + 1 };
      return {
        runs,
        inlineRuns: 1,
        failedRuns: 2,
        cancelledRuns: 3,
        queuedRuns: 4,
        busyLanes: 5,
        queueMicros: histogram,
        runMicros: histogram,
        feedBytesCopied: 6,
        feedBytesPassed: 7,
        outputBytesCopied: 8,
        outputBytesPassed: 9,
        lanes: [{ id: runs, runs, busyMicros: 1, isBusy: false }],
        batches: 10,
        batchedRuns: 11,
        batchRows: 12,
        paddedRows: 13,
        batchSizes: runs === 1 ? [1, 2] : [3],
        gatheredBytes: 14,
        gatherAllocations: 15,
      };
    };
    const merged = mergeStats([stats(1, 10, 20), stats(3, 30, 10)]);
    expect(merged).toMatchObject({ runs: 4, inlineRuns: 2, busyLanes: 10, outputBytesPassed: 18 });
    expect(merged).toMatchObject({ batches: 20, batchSizes: [4, 2], gatherAllocations: 30 });
    expect(merged.runMicros).toEqual({ count: 4, mean: 25, p50: 30, p90: 20, p99: 20, max: 21 });
    expect(mergeStats([]).runMicros.mean).toBe(0);
  });
});
