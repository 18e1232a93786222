import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { parseFlags } from '../../lib/server/config/flags.js';
import { serveSettings } from '../../lib/server/config/from-flags.js';
import { readTraffic } from '../../lib/server/config/traffic-file.js';
import type { MetricSnapshot } from '../../lib/server/metric-registry.js';
import { Metrics } from '../../lib/server/metrics.js';
import type { ModelListing } from '../../lib/server/models.js';
import {
  compareAnswers,
  type ComparedOutput,
  comparedTensor,
} from '../../lib/server/traffic/compare.js';
import {
  type ModelTraffic,
  resolveTraffic,
  type ResolvedRollout,
  type Traffic,
} from '../../lib/server/traffic/config.js';
import { judge, type RolloutCounts, Rollouts } from '../../lib/server/traffic/rollout.js';
import { weightMetric } from '../../lib/server/traffic/traffic-metrics.js';
import { TestClock, TestLog } from '../helpers/repository.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();

describe('a comparison', () => {
  const float = (shape: number[], ...values: number[]): ComparedOutput => ({
    kind: 'float',
    shape,
    values,
  });
  const exact = (shape: number[], ...values: string[]): ComparedOutput => ({
    kind: 'exact',
    shape,
    values,
  });
  const compare = (a: ComparedOutput, b: ComparedOutput) =>
    compareAnswers(new Map([['y', a]]), new Map([['y', b]]));

  it('has the largest difference and the rows whose greatest element is the same', async () => {
    const served = float([3, 2], 0.9, 0.1, 0.2, 0.8, 0.5, 0.4);
    const other = float([3, 2], 0.8, 0.2, 0.45, 0.55, 0.4, 0.5);
    expect(await compare(served, other)).toEqual({
      mismatch: undefined,
      maxAbsError: expect.closeTo(0.25, 12) as number,
      rows: 3,
      agreeingRows: 2,
    });
  });

  it('has no rows of numbers without classes', async () => {
    const result = await compare(float([2], 1, 2), float([2], 1, 3));
    expect(result).toMatchObject({ maxAbsError: 1, rows: 0 });
    expect(await compare(float([2, 1], 1, 2), float([2, 1], 2, 2))).toMatchObject({ rows: 0 });
  });

  it.each([
    [NaN, NaN, 0],
    [NaN, 1, Infinity],
    [1, NaN, Infinity],
    [Infinity, Infinity, 0],
    [Infinity, -Infinity, Infinity],
    [-0, 0, 0],
  ])('of %d and %d is %d', async (a, b, error) => {
    expect((await compare(float([], a), float([], b))).maxAbsError).toBe(error);
  });

  it('of strings and integers asks whether they are equal', async () => {
    expect(
      await compare(exact([2, 2], 'a', 'b', 'c', 'd'), exact([2, 2], 'a', 'b', 'c', 'x')),
    ).toEqual({ mismatch: undefined, maxAbsError: 0, rows: 2, agreeingRows: 1 });
    const ids = (...data: bigint[]) =>
      comparedTensor(new Tensor('int64', BigInt64Array.from(data), [data.length]));
    expect(await compare(ids(1n, 2n, 2n ** 60n), ids(1n, 4n, 2n ** 60n))).toMatchObject({
      maxAbsError: 2,
      rows: 3,
      agreeingRows: 2,
    });
  });

  it.each([
    [float([2], 1, 2), float([1], 1), 'output "y" has the shape [1] instead of [2]'],
    [float([1], 1), exact([1], 'a'), 'output "y" has elements of another kind'],
  ])('of others than can be compared says why', async (a, b, mismatch) => {
    expect(await compare(a, b)).toMatchObject({ mismatch });
    expect(await compareAnswers(new Map([['y', a]]), new Map())).toMatchObject({
      mismatch: 'there is no output "y"',
    });
  });

  it('lets others have a turn', async () => {
    const many = new Float32Array(300_000).fill(1);
    const output = { kind: 'float', shape: [150_000, 2], values: many } as const;
    let turns = 0;
    const count = (): void => void (turns++, (counting = setImmediate(count)));
    let counting = setImmediate(count);
    expect(await compare(output, output)).toMatchObject({ rows: 150_000, agreeingRows: 150_000 });
    clearImmediate(counting);
    expect(turns).toBeGreaterThanOrEqual(3);
  });

  it.each([
    ['float16', Uint16Array.of(0x3c00), [1]],
    ['bfloat16', Uint16Array.of(0x3f80), [1]],
    ['int4', Uint8Array.of(0x0f), [-1]],
    ['bool', Uint8Array.of(1), [1]],
    ['complex64', Float32Array.of(1, 2), [1, 2]],
  ] as const)('reads %s', (dtype, data, values) => {
    const { values: read } = comparedTensor(new Tensor(dtype, data as never, [1]));
    expect(Array.from(read as ArrayLike<number>)).toEqual(values);
  });
});

describe('traffic', () => {
  it.each([
    [{ models: { m: { routes: { a: -1 } } } }, '"traffic.models.m.routes.a"'],
    [{ models: { m: { routes: { a: 0 } } } }, '"traffic.models.m.routes"'],
    [{ models: { m: { routes: [1] } } }, '"traffic.models.m.routes"'],
    [{ models: { m: { shadow: { to: 'a' } } } }, '"traffic.models.m.shadow.share"'],
    [{ models: { m: { shadow: { share: 1 } } } }, '"traffic.models.m.shadow.to"'],
    [{ default: { shadow: { to: 'a', share: 2 } } }, '"traffic.default.shadow.share"'],
    [{ default: { shadow: { to: 'a', share: 1, maxInFlight: 0 } } }, 'shadow.maxInFlight"'],
    [
      { default: { routes: { a: 1 }, rollout: { canary: 'b', stable: 'a' } } },
      '"traffic.default.rollout.canary"',
    ],
    [
      { default: { routes: { a: 1 }, rollout: { canary: 'a', stable: 'a' } } },
      '"traffic.default.rollout.canary"',
    ],
    [{ defaults: {} }, '"defaults"'],
  ])('refuses %j', (options, text) => {
    expect(() => resolveTraffic(options)).toThrow(
      expect.objectContaining({
        code: 'ERR_TENON_INVALID_ARGUMENT',
        message: expect.stringContaining(text) as string,
      }),
    );
  });

  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return file;
  };

  it('comes from a file', async () => {
    const file = write(
      'traffic.yaml',
      `models:
  max_rows:
    routes: { stable: 90, my_canary: 10 }
    shadow: { to: my_canary, share: 0.5, max_in_flight: 4 }
    rollout: { canary: my_canary, stable: stable, min_agreement: 0.9, steps: [0.5, 1] }
default:
  shadow: { to: 7, share: 0.1 }
`,
    );
    const { models, default: fallback } = resolveTraffic(await readTraffic(file));
    expect(models.get('max_rows')).toEqual({
      routes: [
        { target: 'stable', weight: 90 },
        { target: 'my_canary', weight: 10 },
      ],
      shadow: { to: 'my_canary', share: 0.5, maxInFlight: 4 },
      rollout: {
        canary: 'my_canary',
        stable: 'stable',
        steps: [0.5, 1],
        intervalSeconds: 10,
        minRequests: 100,
        maxErrorRateIncrease: 0.01,
        minAgreement: 0.9,
      },
    });
    expect(fallback?.shadow?.to).toBe('7');
    const json = write('traffic.json', '{"default": {"routes": {"stable": 1}}}');
    expect(await readTraffic(json)).toEqual({ default: { routes: { stable: 1 } } });
    expect(await readTraffic(write('empty.yaml', ''))).toEqual({});
  });

  it.each([
    ['bad.yaml', 'models: [', 'bad.yaml'],
    ['wrong.yaml', 'models: { m: { route: {} } }', 'received "route"'],
    ['list.yaml', '- 1', 'expected an options object for "traffic"'],
  ])('that is wrong in a file says where (%s)', async (name, content, text) => {
    await expect(readTraffic(write(name, content))).rejects.toMatchObject({
      code: 'ERR_TENON_CONFIG',
      message: expect.stringContaining(text) as string,
    });
  });

  it('comes from flags', async () => {
    const settings = (line: string) =>
      serveSettings(parseFlags(['--model_base_path=/m', ...line.split(' ')]), {});
    const { options } = await settings(
      '--route_weights=stable=90,canary=10.5 --shadow_to=canary --shadow_share=0.2',
    );
    expect(options.traffic).toEqual({
      default: {
        routes: { stable: 90, canary: 10.5 },
        shadow: { to: 'canary', share: 0.2 },
      },
    });
    expect((await settings('--port=1')).options).toMatchObject({ traffic: {} });
    expect((await settings('--record=/r --record_max_files=3')).options.record).toEqual({
      folder: '/r',
      sampling: 0.01,
      maxFileBytes: 16 << 20,
      maxFiles: 3,
      responses: true,
    });
    await expect(settings('--route_weights=stable')).rejects.toMatchObject({
      code: 'ERR_TENON_INVALID_ARGUMENT',
      message: 'expected label=weight for "--route_weights", received "stable"',
    });
    const file = write('none.yaml', '');
    const { warnings } = await settings(`--traffic_config_file=${file} --shadow_to=x`);
    expect(warnings).toEqual(['--shadow_to has no effect beside --traffic_config_file']);
  });
});

const rollout: ResolvedRollout = {
  canary: 'canary',
  stable: 'stable',
  steps: [0.5, 1],
  intervalSeconds: 10,
  minRequests: 100,
  maxErrorRateIncrease: 0.02,
  minAgreement: undefined,
};

const counts = (more: Partial<RolloutCounts> = {}): RolloutCounts => ({
  stable: { requests: 1000, failures: 10 },
  canary: { requests: 100, failures: 1 },
  rows: 0,
  agreeingRows: 0,
  ...more,
});

describe('a canary', () => {
  it.each([
    ['advances', counts(), {}, true, 'advance'],
    ['waits for requests', counts({ canary: { requests: 99, failures: 99 } }), {}, true, 'wait'],
    ['fails more', counts({ canary: { requests: 100, failures: 4 } }), {}, true, 'rollback'],
    [
      'fails as much as the other',
      counts({
        stable: { requests: 1000, failures: 300 },
        canary: { requests: 100, failures: 31 },
      }),
      {},
      true,
      'advance',
    ],
    [
      'fails where the other has no requests',
      counts({ stable: { requests: 0, failures: 0 }, canary: { requests: 100, failures: 5 } }),
      {},
      true,
      'rollback',
    ],
    ['disagrees', counts({ rows: 100, agreeingRows: 89 }), { minAgreement: 0.9 }, true, 'rollback'],
    ['agrees', counts({ rows: 100, agreeingRows: 90 }), { minAgreement: 0.9 }, true, 'advance'],
    ['waits for rows', counts({ rows: 99, agreeingRows: 0 }), { minAgreement: 0.9 }, true, 'wait'],
    [
      'without requests is judged by its rows',
      counts({ canary: { requests: 0, failures: 0 }, rows: 100, agreeingRows: 100 }),
      { minAgreement: 0.9 },
      false,
      'advance',
    ],
    [
      'of which nothing is known waits',
      counts({ canary: { requests: 0, failures: 0 } }),
      {},
      false,
      'wait',
    ],
  ] as const)('%s', (_, since, more, hasRequests, verdict) => {
    expect(judge({ ...rollout, ...more }, since, hasRequests).kind).toBe(verdict);
  });
});

describe('a rollout', () => {
  function start(own: Partial<ModelTraffic['rollout']> = {}) {
    const clock = new TestClock(0);
    const log = new TestLog();
    const metrics = new Metrics();
    const applied: Traffic[] = [];
    const decisions: string[] = [];
    let labels: Record<string, bigint> = { stable: 1n, canary: 2n };
    const listing = (): ModelListing => ({
      name: 'm',
      versions: [3n, 2n, 1n].map((version) => ({
        version,
        state: 'AVAILABLE',
        error: { status: 'OK', message: '' },
      })),
      labels,
    });
    const given = resolveTraffic({
      models: {
        m: {
          routes: { stable: 90, canary: 10, other: 100 },
          shadow: { to: 'canary', share: 0.1 },
          rollout: { canary: 'canary', stable: 'stable', steps: [0.5, 1], ...own },
        },
      },
    });
    const rollouts = new Rollouts({
      list: () => [listing()],
      measure: (): Promise<readonly MetricSnapshot[]> => Promise.resolve(metrics.traffic()),
      apply: (traffic) => applied.push(traffic),
      onDecision: (_model, decision) => decisions.push(decision),
      log,
      clock,
    });
    rollouts.update(given);
    metrics.close();
    return {
      given,
      rollouts,
      decisions,
      log,
      relabel: (next: Record<string, bigint>) => (labels = next),
      /** Weights in force. */
      weights: () =>
        applied
          .at(-1)
          ?.models.get('m')
          ?.routes.map(({ weight }) => weight),
      shadow: () => applied.at(-1)?.models.get('m')?.shadow,
      answer: (version: bigint, requests: number, failures: number) => {
        for (let i = 0; i < requests; i++) {
          metrics.request({
            model: 'm',
            version,
            signature: 's',
            method: 'Predict',
            entrypoint: 'REST',
            status: i < failures ? 'INTERNAL' : 'OK',
            micros: 1,
          });
        }
      },
      metrics,
      pass: async (seconds: number) => {
        for (let i = 0; i < seconds; i++) {
          clock.advance(1000);
          await new Promise((resolve) => setImmediate(resolve));
        }
      },
    };
  }

  it('goes step by step, and ends', async () => {
    const own = start();
    await own.pass(1);
    for (const weights of [
      [50, 50, 100],
      [0, 100, 100],
    ]) {
      own.answer(1n, 200, 2);
      own.answer(2n, 200, 2);
      await own.pass(10);
      expect(own.weights()).toEqual(weights);
    }
    own.answer(2n, 200, 2);
    await own.pass(10);
    expect(own.decisions).toEqual(['advance', 'advance', 'done']);
    // It has had its chance.
    own.answer(2n, 200, 200);
    await own.pass(20);
    expect(own.decisions).toHaveLength(3);
    await own.rollouts.stop();
  });

  it('is rolled back at once, and stays so until there is another canary', async () => {
    const own = start();
    await own.pass(1);
    own.answer(1n, 1000, 0);
    own.answer(2n, 100, 50);
    await own.pass(10);
    expect(own.weights()).toEqual([100, 0, 100]);
    expect(own.shadow()).toBeUndefined();
    expect(own.decisions).toEqual(['rollback']);
    // The same configuration is read again.
    own.rollouts.update(own.given);
    expect(own.weights()).toEqual([100, 0, 100]);
    await own.pass(30);
    own.relabel({ stable: 1n, canary: 3n });
    await own.pass(20);
    expect(own.weights()).toEqual([90, 10, 100]);
    expect(own.shadow()).toBeDefined();
    await own.rollouts.stop();
  });

  it('counts only what came since the step began, and requests that were answered', async () => {
    const own = start();
    own.answer(2n, 500, 500);
    await own.pass(1);
    own.answer(2n, 100, 0);
    await own.pass(10);
    expect(own.decisions).toEqual(['advance']);
    await own.rollouts.stop();
  });

  it('takes shadow runs into account, those that failed included', async () => {
    const own = start({ minAgreement: 0.9, steps: [] });
    await own.pass(1);
    const shadowed = { model: 'm', version: 1n, shadowVersion: 2n };
    const comparison = { mismatch: undefined, maxAbsError: 0, rows: 1, agreeingRows: 1 };
    for (let i = 0; i < 200; i++) own.metrics.routing.shadowed(shadowed, { micros: 1, comparison });
    await own.pass(10);
    expect(own.decisions).toEqual([]);
    for (let i = 0; i < 200; i++) own.metrics.routing.shadowed(shadowed, 'failed');
    await own.pass(10);
    expect(own.decisions).toEqual(['rollback']);
    await own.rollouts.stop();
  });

  it('shows the weights that are in force', () => {
    const { given } = start();
    expect(weightMetric(given).series).toEqual([
      [['m', 'stable'], [90]],
      [['m', 'canary'], [10]],
      [['m', 'other'], [100]],
    ]);
  });
});
