import { describe, expect, it } from 'vitest';

import { Tensor, type Signature, type TensorSpec } from '../../lib/index.js';
import { closedLoop, pointOf } from '../../lib/tuner/closed-loop.js';
import { configFileOf } from '../../lib/tuner/config-file.js';
import { completeFeeds, packFeed, rowsOf, unpackFeed } from '../../lib/tuner/feeds.js';
import {
  affordableLooks,
  type Failure,
  race,
  type RaceOptions,
  type RaceResult,
  roundParts,
  soundings,
} from '../../lib/tuner/race.js';
import { seededRandom, shuffled } from '../../lib/tuner/random.js';
import {
  choose,
  type Measurement,
  type Objective,
  type Point,
  rank,
  scoreOf,
  survivors,
} from '../../lib/tuner/rank.js';
import { reportOf, ticks } from '../../lib/tuner/report.js';
import {
  type Configuration,
  defaultConfiguration,
  defaultSpace,
  enumerate,
  keyOf,
  loadOptionsOf,
  type Machine,
  neighbours,
} from '../../lib/tuner/space.js';
import type { TuneResult } from '../../lib/tuner/tune.js';
import { checkConfig } from '../../lib/model/config-file.js';
import { expectError } from '../helpers/errors.js';

const machine: Machine = {
  engine: 'onnxruntime',
  cpuQuota: 4,
  providers: ['CUDAExecutionProvider', 'CPUExecutionProvider'],
  canBatch: true,
};
const plain = defaultConfiguration(machine);
const throughput: Objective = { for: 'throughput', targetP99Ms: undefined };

function point(inFlight: number, perSecond: number, p99Ms: number): Point {
  return {
    inFlight,
    runs: 100,
    seconds: 1,
    throughput: perSecond,
    meanMs: p99Ms / 2,
    p50Ms: p99Ms / 2,
    p90Ms: p99Ms,
    p99Ms,
    maxMs: p99Ms,
  };
}

function measurement(
  configuration: Configuration,
  points: readonly Point[],
  round = 2,
): Measurement {
  return { configuration, points, loadMs: 10, residentBytes: 1e8, cpus: 2, round };
}

describe('the space', () => {
  it('has the default first, each configuration once, and nothing that means nothing', () => {
    const all = enumerate(defaultSpace(machine), machine);
    expect(all[0]).toEqual(plain);
    expect(new Set(all.map(keyOf)).size).toBe(all.length);
    expect(all.filter(({ batchSize, delayMicros }) => batchSize === 0 && delayMicros > 0)).toEqual(
      [],
    );
    expect(all.filter(({ intraOp, spin }) => intraOp === 1 && spin)).toEqual([]);
    const threads = all
      .slice(1)
      .filter(({ provider }) => provider === undefined)
      .map(({ intraOp, lanes, sessions }) => intraOp * lanes * sessions);
    expect(Math.max(...threads)).toBe(8);
  });

  it('has no graph levels, spinning and sessions for TensorFlow, no batches where there are none', () => {
    const all = enumerate(
      ...([
        defaultSpace({ ...machine, engine: 'tensorflow', canBatch: false }),
        { ...machine, engine: 'tensorflow', canBatch: false },
      ] as const),
    );
    expect(all.length).toBeGreaterThan(3);
    for (const each of all) {
      expect(each).toMatchObject({ graph: undefined, spin: false, sessions: 1, batchSize: 0 });
      expect(each.provider).toBeUndefined();
    }
  });

  it('turns into options of load()', () => {
    expect(loadOptionsOf({ ...plain, graph: undefined })).toEqual({
      threads: { intraOp: 4 },
      pool: { lanes: 4 },
    });
    expect(
      loadOptionsOf({
        intraOp: 1,
        spin: true,
        lanes: 2,
        sessions: 2,
        batchSize: 8,
        delayMicros: 100,
        graph: 'basic',
        provider: 'CUDAExecutionProvider',
      }),
    ).toEqual({
      threads: { intraOp: 1, spin: true },
      pool: { lanes: 2, sessions: 2 },
      batching: { maxBatchSize: 8, maxDelayMicros: 100 },
      onnxruntime: { graphOptimizationLevel: 'basic' },
      executionProviders: ['CUDAExecutionProvider'],
    });
  });

  it('knows who differs in one step', () => {
    const all = enumerate(defaultSpace(machine), machine);
    const from: Configuration = { ...plain, intraOp: 1, lanes: 2 };
    const around = neighbours(from, all).map(keyOf);
    expect(around).toContain(keyOf({ ...from, lanes: 1 }));
    expect(around).toContain(keyOf({ ...from, lanes: 4 }));
    expect(around).toContain(keyOf({ ...from, batchSize: 4 }));
    expect(around).toContain(keyOf({ ...from, intraOp: 2 }));
    expect(around).toContain(keyOf({ ...from, intraOp: 2, spin: true }));
    expect(around).not.toContain(keyOf(from));
    expect(around).not.toContain(keyOf({ ...from, batchSize: 16 }));
    expect(around).not.toContain(keyOf({ ...from, lanes: 4, intraOp: 2 }));
  });
});

describe('ranking', () => {
  const a = measurement({ ...plain, lanes: 1 }, [point(1, 100, 5), point(8, 300, 30)]);
  const b = measurement({ ...plain, lanes: 2 }, [point(1, 90, 8), point(8, 280, 15)]);

  it('by throughput takes the best point, by a target the best within it', () => {
    expect(scoreOf(a, throughput)).toMatchObject({ value: 300, meetsTarget: true });
    expect(rank([b, a], throughput)[0]?.measurement).toBe(a);
    const within = { for: 'throughput', targetP99Ms: 20 } as const;
    expect(scoreOf(a, within).at.inFlight).toBe(1);
    expect(rank([a, b], within)[0]?.measurement).toBe(b);
  });

  it('puts who misses the target last, the one with the lowest p99 first among them', () => {
    const tight = { for: 'throughput', targetP99Ms: 6 } as const;
    const c = measurement({ ...plain, lanes: 4 }, [point(1, 1000, 7)]);
    const order = rank([c, b, a], tight).map((each) => each.measurement);
    expect(order).toEqual([a, c, b]);
    expect(rank([c], tight)[0]?.score.meetsTarget).toBe(false);
  });

  it('by latency takes the geometric mean of p99', () => {
    const latency = { for: 'latency', targetP99Ms: undefined } as const;
    expect(scoreOf(a, latency).value).toBeCloseTo(1 / Math.sqrt(5 * 30), 12);
    expect(rank([a, b], latency)[0]?.measurement).toBe(b);
  });

  it('settles ties by threads, then by name, whatever the order of measuring', () => {
    const points = [point(1, 100, 5)];
    const tied = [4, 1, 2].map((lanes) => measurement({ ...plain, lanes }, points));
    const named = ['basic', 'all'].map((graph) =>
      measurement({ ...plain, lanes: 1, graph: graph as 'all' }, points),
    );
    const order = (all: Measurement[]) =>
      rank(all, throughput).map((each) => keyOf(each.measurement.configuration));
    expect(order([...tied, ...named])).toEqual(order([...named, ...tied].reverse()));
    expect(order(tied)).toEqual([1, 2, 4].map((lanes) => keyOf({ ...plain, lanes })));
  });

  it('chooses the plainest of those that are as good as the best, measured longest', () => {
    const best = measurement({ ...plain, sessions: 2, spin: true }, [point(8, 1000, 5)]);
    const near = measurement({ ...plain, intraOp: 1, lanes: 1 }, [point(8, 985, 5)]);
    const far = measurement({ ...plain, intraOp: 1, lanes: 2 }, [point(8, 970, 5)]);
    const brief = measurement({ ...plain, intraOp: 2, lanes: 1 }, [point(8, 9999, 5)], 0);
    const ranked = rank([brief, best, near, far], throughput);
    expect(choose(ranked)?.measurement).toBe(near);
    expect(choose([])).toBeUndefined();
  });

  it('lets the best part go on, less what is clearly worse', () => {
    const values = [1000, 900, 700, 500, 400];
    const ranked = rank(
      values.map((value, i) => measurement({ ...plain, lanes: i + 1 }, [point(1, value, 1)], 0)),
      throughput,
    );
    const lanes = (keep: number) => survivors(ranked, keep).map((each) => each.lanes);
    expect(lanes(2)).toEqual([1, 2]);
    expect(lanes(5)).toEqual([1, 2, 3]);
    expect(lanes(0)).toEqual([1]);
    expect(survivors([], 3)).toEqual([]);
  });
});

/** A made-up machine: each configuration has its speed, measuring takes time, and both are settled. */
interface Simulated {
  result: RaceResult;
  /** What was measured, in order. */
  calls: [key: string, round: number][];
  seconds: number;
}

/** A clock that goes on whenever it is read. */
let clicks = 0;

function speedOf({
  intraOp,
  lanes,
  sessions,
  batchSize,
  delayMicros,
  spin,
}: Configuration): number {
  const parallel = Math.min(4, intraOp ** 0.6 * lanes * sessions ** 0.9);
  const batch = batchSize === 0 ? 1 : 1 + Math.log2(batchSize) / (lanes + 1);
  return 100 * parallel * batch * (spin ? 1.05 : 1) * (delayMicros > 0 ? 0.9 : 1);
}

async function simulate(options: Partial<RaceOptions> = {}, noise = 0.05): Promise<Simulated> {
  let clock = 0;
  const calls: Simulated['calls'] = [];
  const random = seededRandom(99);
  const result = await race({
    all: enumerate(defaultSpace(machine), machine),
    objective: throughput,
    seed: 1,
    search: 'race',
    seconds: 300,
    now: () => clock,
    isStopped: () => false,
    measure: (configuration, round) => {
      calls.push([keyOf(configuration), round]);
      clock += 0.8 + 9 * (roundParts[round] as number);
      if (configuration.provider !== undefined) {
        const failure: Failure = {
          configuration,
          code: 'ERR_TENON_PROVIDER',
          message: 'no device',
        };
        return Promise.resolve(failure);
      }
      const speed = speedOf(configuration) * (1 + noise * (random() - 0.5));
      return Promise.resolve(
        measurement(configuration, [point(1, speed / 2, 4), point(8, speed, 9)], round),
      );
    },
    ...options,
  });
  return { result, calls, seconds: clock };
}

describe('the race', () => {
  it('is the same for a seed, and another for another', async () => {
    const [first, again, other] = await Promise.all([
      simulate(),
      simulate(),
      simulate({ seed: 2 }),
    ]);
    expect(again.calls).toEqual(first.calls);
    expect(again.result).toEqual(first.result);
    expect(other.calls).not.toEqual(first.calls);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('comes near the best there is: seed %i', async (seed) => {
    const { result } = await simulate({ seed });
    const all = enumerate(defaultSpace(machine), machine).filter((each) => !each.provider);
    const best = Math.max(...all.map(speedOf));
    const chosen = choose(rank(result.measurements, throughput))?.measurement.configuration;
    expect(speedOf(chosen as Configuration)).toBeGreaterThan(0.9 * best);
  });

  it('keeps to its time, and says that it ran out', async () => {
    const { seconds, result } = await simulate({ seconds: 60 });
    // One that has begun ends.
    expect(seconds).toBeLessThan(60 + 0.8 + 3 * 3);
    expect(result.untried.length).toBeGreaterThan(100);
  });

  it('measures the default first and in every round', async () => {
    const { calls } = await simulate();
    expect(calls[0]).toEqual([keyOf(plain), 0]);
    const rounds = calls.filter(([key]) => key === keyOf(plain)).map(([, round]) => round);
    expect(rounds).toEqual([0, 1, 2]);
  });

  it('tries a provider once where it does not start', async () => {
    const { calls, result } = await simulate();
    expect(calls.filter(([key]) => key.includes('CUDA'))).toHaveLength(1);
    expect(result.failures).toHaveLength(1);
    const pruned = result.pruned.filter(({ configuration }) => configuration.provider);
    expect(new Set(pruned.map(({ reason }) => reason))).toEqual(
      new Set(['CUDAExecutionProvider: no device']),
    );
  });

  it('leaves batches where the model refuses them', async () => {
    const { calls, result } = await simulate({
      measure: (configuration, round) =>
        Promise.resolve(
          configuration.batchSize > 0
            ? { configuration, code: 'ERR_TENON_BATCH', message: 'dim 0 is no batch' }
            : measurement(configuration, [point(1, speedOf(configuration), 1)], round),
        ),
      now: () => clicks++,
    });
    expect(calls).toEqual([]);
    expect(result.failures).toHaveLength(1);
    expect(result.measurements.every(({ configuration }) => configuration.batchSize === 0)).toBe(
      true,
    );
  });

  it('says why each was left', async () => {
    const { result } = await simulate();
    const reasons = result.pruned.map(({ reason }) => reason.replace(/\d+/g, 'n'));
    expect(new Set(reasons)).toEqual(
      new Set(['CUDAExecutionProvider: no device', 'n % of the best', 'not among the best n']),
    );
    for (const { configuration } of result.pruned) {
      expect(result.untried.map(keyOf)).not.toContain(keyOf(configuration));
    }
  });

  it('holds the first look to a looser target than the last', async () => {
    const { result } = await simulate({
      objective: { for: 'throughput', targetP99Ms: 8 },
      measure: (configuration, round) => {
        // In a short look p99 is nearly the maximum.
        const p99 = (round === 0 ? 11 : 7) + (configuration.lanes > 2 ? 5 : 0);
        return Promise.resolve(
          measurement(configuration, [point(8, speedOf(configuration), p99)], round),
        );
      },
      now: () => clicks++,
      seconds: 1e6,
    });
    const chosen = choose(rank(result.measurements, { for: 'throughput', targetP99Ms: 8 }));
    expect(chosen?.score.meetsTarget).toBe(true);
    expect(chosen?.measurement.configuration.lanes).toBeLessThanOrEqual(2);
  });

  it('keeps what it has when it is stopped', async () => {
    let left = 6;
    const { result, calls } = await simulate({ isStopped: () => left-- <= 0 });
    expect(result.ended).toBe('stopped');
    expect(calls.length).toBeGreaterThan(1);
    expect(result.measurements).toHaveLength(calls.filter(([key]) => !key.includes('CUDA')).length);
  });

  it('measures everything at full length where that is asked for', async () => {
    const space = { ...defaultSpace(machine), sessions: [1], graph: ['all' as const] };
    const all = enumerate({ ...space, providers: ['cpu'] }, machine);
    const { result, calls } = await simulate({ all, search: 'exhaustive', seconds: 1e5 });
    expect(result.measurements).toHaveLength(all.length);
    expect(result.measurements.every(({ round }) => round === roundParts.length - 1)).toBe(true);
    expect(calls.length).toBe(all.length + soundings(all).length);
    expect(result).toMatchObject({ pruned: [], untried: [], ended: 'done' });
  });

  it('reports each measurement', async () => {
    const seen: string[] = [];
    const { calls } = await simulate({
      seconds: 60,
      onProgress: ({ last }) => seen.push(keyOf(last.configuration)),
    });
    expect(seen).toEqual(calls.map(([key]) => key));
  });

  it('counts how many looks there is time for', () => {
    expect(affordableLooks(0, 1)).toBe(1);
    expect(affordableLooks(100, 1)).toBeGreaterThan(affordableLooks(50, 1));
    expect(affordableLooks(100, 10)).toBeLessThan(10);
  });
});

describe('a closed loop', () => {
  it('keeps its number in flight, and counts what ends after the warm-up', async () => {
    let clock = 0;
    let running = 0;
    let most = 0;
    const result = await closedLoop(
      async () => {
        most = Math.max(most, ++running);
        await Promise.resolve();
        clock += 1;
        running--;
      },
      { inFlight: 4, seconds: 1, now: () => clock },
    );
    expect(most).toBe(4);
    expect(result.inFlight).toBe(4);
    // A request ends each millisecond; four are under way, so each takes about four.
    expect(result.throughput).toBeCloseTo(1000, -1);
    expect(result.p50Ms).toBe(4);
    expect(result.seconds).toBeCloseTo(1, 1);
  });

  it('has patience with few requests, and not for ever', async () => {
    let clock = 0;
    const slow = (ms: number) =>
      closedLoop(
        () => {
          clock += ms;
          return Promise.resolve();
        },
        { inFlight: 1, seconds: 0.1, now: () => clock },
      );
    expect((await slow(12)).runs).toBe(30);
    expect((await slow(50)).runs).toBeLessThan(30);
    expect(await slow(25_000)).toMatchObject({ runs: 1, p99Ms: 25_000, throughput: 0.04 });
  });

  it('counts from when each request has waited behind the others, and stops what is left', async () => {
    let clock = 0;
    const waiting: (() => void)[] = [];
    const aborted: AbortSignal[] = [];
    let isServing = false;
    // One lane: a request each ten milliseconds.
    const serve = async (): Promise<void> => {
      isServing = true;
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        clock += 10;
        next();
        await new Promise((resolve) => setImmediate(resolve));
      }
      isServing = false;
    };
    const result = await closedLoop(
      (signal) =>
        new Promise((resolve, reject) => {
          waiting.push(() => resolve(undefined));
          signal.addEventListener('abort', () => {
            aborted.push(signal);
            reject(signal.reason as Error);
          });
          if (!isServing) void serve();
        }),
      { inFlight: 8, seconds: 0.1, now: () => clock },
    );
    expect(result).toMatchObject({ runs: 30, throughput: 100, p50Ms: 80, p99Ms: 80 });
    expect(aborted.length).toBeGreaterThanOrEqual(7);
  });

  it('ends with a request that fails', async () => {
    const error = new Error('broken');
    await expect(closedLoop(() => Promise.reject(error), { inFlight: 2, seconds: 1 })).rejects.toBe(
      error,
    );
  });

  it('takes quantiles by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(pointOf(1, values, 1000)).toMatchObject({
      runs: 100,
      throughput: 100,
      p50Ms: 50,
      p90Ms: 90,
      p99Ms: 99,
      maxMs: 100,
      meanMs: 50.5,
    });
  });
});

describe('feeds', () => {
  const spec = (name: string, dtype: TensorSpec['dtype'], shape: TensorSpec['shape']) =>
    ({ kind: 'tensor', name, dtype, shape }) as TensorSpec;
  const signature = (...specs: TensorSpec[]): Signature => ({
    name: 'serving_default',
    inputs: Object.fromEntries(specs.map((each) => [each.name, each])),
    outputs: {},
  });

  it('of floats are made up, the same for a seed', () => {
    const asked = signature(
      spec('a', 'float32', ['batch', 3]),
      spec('b', 'float64', [2]),
      spec('c', 'float16', [4]),
      spec('d', 'bfloat16', [4]),
    );
    const feeds = completeFeeds(asked, {}, 2, 7);
    expect((feeds['a'] as Tensor).shape).toEqual([2, 3]);
    const values = (seed: number) =>
      Object.values(completeFeeds(asked, {}, 2, seed)).map((feed) => [
        ...(feed as Tensor).toFloat32(),
      ]);
    expect(values(7)).toEqual(values(7));
    expect(values(7)).not.toEqual(values(8));
    for (const feed of Object.values(feeds)) {
      for (const value of (feed as Tensor).toFloat32()) {
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1);
      }
    }
    expect((feeds['c'] as Tensor).toFloat32().some((value) => value > 0.01)).toBe(true);
  });

  it.each([
    [spec('ids', 'int64', [null, 4]), 'int64 values'],
    [spec('text', 'string', [null]), 'string values'],
    [spec('any', 'float32', null), 'any rank'],
    [spec('long', 'float32', [null, 'length']), 'dimension 1 (length)'],
  ])('that may mean something are asked for: %o', (input, words) =>
    expectError(
      'ERR_TENON_MISSING_FEED',
      () => completeFeeds(signature(input), {}, 1, 1),
      input.name,
      words,
    ),
  );

  it('that are given stay, optional ones stay out', () => {
    const given = { ids: [1n] };
    const maybe: TensorSpec = { ...spec('maybe', 'string', [1]), optional: true };
    const feeds = completeFeeds(signature(spec('ids', 'int64', [1]), maybe), given, 1, 1);
    expect(feeds).toEqual(given);
  });

  const arrays = (feed: unknown): unknown =>
    Array.isArray(feed) ? feed.map(arrays) : (feed as Tensor).toArray();

  it('go to another process and come back', () => {
    const tensor = new Tensor('float32', [1, 2], [2, 1]);
    const words = new Tensor('string', ['a', 'ü'], [2]);
    for (const feed of [tensor, words, [tensor, words]]) {
      const back = unpackFeed(structuredClone(packFeed(feed)));
      expect(arrays(back)).toEqual(arrays(feed));
    }
    expect(unpackFeed(structuredClone(packFeed(5)))).toBe(5);
  });

  it('have rows where all agree', () => {
    const of = (rows: number) => new Tensor('float32', new Float32Array(rows), [rows]);
    expect(rowsOf({ a: of(3), b: of(3) })).toBe(3);
    expect(rowsOf({ a: of(3), b: of(2) })).toBe(1);
    expect(rowsOf({ a: 1 })).toBe(1);
  });
});

describe('random numbers', () => {
  it('are the same for a seed, and spread', () => {
    const take = (seed: number) => Array.from({ length: 1000 }, seededRandom(seed));
    expect(take(1)).toEqual(take(1));
    expect(take(1)).not.toEqual(take(2));
    const mean = take(3).reduce((sum, each) => sum + each, 0) / 1000;
    expect(mean).toBeCloseTo(0.5, 1);
    const items = [1, 2, 3, 4, 5, 6, 7, 8];
    const mixed = shuffled(items, seededRandom(5));
    expect(mixed).not.toEqual(items);
    expect([...mixed].sort()).toEqual(items);
  });
});

describe('the report', () => {
  const chosen = measurement({ ...plain, lanes: 1 }, [point(1, 900, 2), point(8, 3000, 12)]);
  const first = measurement(plain, [point(1, 800, 2), point(8, 1500, 30)]);
  const ranked = rank([chosen, first], throughput);
  const result: TuneResult = {
    model: { path: '/models/<b>&.onnx', sha256: 'ab'.repeat(32) },
    engine: 'onnxruntime',
    engineVersion: '1.30.0',
    objective: { for: 'throughput', targetP99Ms: 20 },
    inFlight: [1, 8],
    rows: 1,
    seed: 1,
    machine: {
      platform: 'linux',
      arch: 'x64',
      cpu: 'Some CPU',
      cpuQuota: 4,
      memoryBytes: 2 ** 34,
      node: 'v20.0.0',
    },
    date: '2030-01-02T03:04:05.678Z',
    seconds: 60,
    ended: 'done',
    ranked,
    chosen: ranked[0] as TuneResult['chosen'],
    default: ranked[1] as TuneResult['default'],
    failures: [],
    pruned: [],
    untried: [],
    configurations: 2,
    options: loadOptionsOf(chosen.configuration),
  };

  it('is a page by itself, with names from outside escaped', () => {
    const page = reportOf(result, '1.2.3');
    expect(page).not.toMatch(/(src|href)=|url\(|@import|<script|<b>/);
    expect(page).toContain('&lt;b&gt;&amp;.onnx');
    expect(page).toContain('2 × the throughput of the default');
    expect(page).toContain('target 20 ms');
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('says so where the default is best', () => {
    const page = reportOf({ ...result, chosen: result.default }, '1.2.3');
    expect(page).toContain('which is the default');
    expect(page).not.toMatch(/NaN|undefined/);
  });

  it('has ticks around what it shows', () => {
    expect(ticks([3, 40])).toEqual([2, 5, 10, 20, 50]);
    expect(ticks([7])).toEqual([5, 10]);
    expect(ticks([1])).toEqual([1, 2]);
    const many = ticks([0.02, 30_000]);
    expect(many).toEqual([0.01, 0.1, 1, 10, 100, 1000, 10_000, 100_000]);
  });

  it('has a file that load() takes', () => {
    const file = JSON.parse(JSON.stringify(configFileOf(result, '1.2.3'))) as unknown;
    expect(checkConfig(file, 'x.tenon.json')).toEqual({
      threads: { intraOp: 4 },
      pool: { lanes: 1 },
      onnxruntime: { graphOptimizationLevel: 'all' },
    });
    expect(file).toMatchObject({
      provenance: { tenon: '1.2.3', seed: 1, model: { file: '<b>&.onnx' } },
    });
    expect(JSON.stringify(file)).not.toContain('/models/');
  });
});
