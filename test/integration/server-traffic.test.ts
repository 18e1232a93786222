import { cpSync } from 'node:fs';
import { Agent } from 'node:http';
import path from 'node:path';

import { afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

import { createServer, type Server, type ServerOptions } from '../../lib/server/index.js';
import { GrpcClient } from '../helpers/grpc.js';
import { modelPath } from '../helpers/paths.js';
import { type Answer, ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
/** Versions 1 (x/2 + 2), 2 (x/2 + 3) and 3, which has another input. */
const base = path.join(folder, 'half');
/** Versions 1 and 2, which say the same of digits within some rounding. */
const digits = path.join(folder, 'digits');

beforeAll(() => {
  const copy = (from: string[], to: string): void =>
    cpSync(modelPath(...from), to, { recursive: true });
  copy(['half_plus_two', '00000123'], path.join(base, '1'));
  copy(['half_plus_two', '00000124'], path.join(base, '2'));
  copy(['tf_scalar'], path.join(base, '3'));
  copy(['digits_cnn.onnx'], path.join(digits, '1', 'model.onnx'));
  copy(['digits_cnn_int8.onnx'], path.join(digits, '2', 'model.onnx'));
});

let server: Server | undefined;
afterEach(async () => {
  await server?.close(0);
  server = undefined;
});

const model = (name: string, basePath: string) => ({
  name,
  basePath,
  versionPolicy: { kind: 'all' } as const,
  labels: { stable: 1n, canary: 2n },
});

async function serve(options: Partial<ServerOptions>): Promise<Server> {
  server = createServer({
    models: { models: [model('half', base), model('digits', digits)] },
    rest: { port: 0 },
    grpc: { port: 0 },
    ...options,
  });
  await server.listen();
  while (
    !server.readiness().ready ||
    server.list().some(({ versions }) => versions.some(({ state }) => state !== 'AVAILABLE'))
  ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return server;
}

function predict(own: Server, url = '/v1/models/half', agent?: Agent): Promise<Answer> {
  return ask({ port: own.restPort ?? 0 }, `${url}:predict`, {
    body: { instances: [1] },
    ...(agent && { agent }),
  });
}

const versionsOf = (answers: Answer[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { headers } of answers) {
    const version = String(headers['model-version']);
    counts[version] = (counts[version] ?? 0) + 1;
  }
  return counts;
};

/** The number behind a series of the metrics, once `condition` holds for it. */
async function metric(
  own: Server,
  series: string,
  condition: (value: number) => boolean = () => true,
): Promise<number> {
  for (;;) {
    const text = await own.metrics();
    const line = text.split('\n').find((each) => each.startsWith(`${series} `));
    const value = Number(line?.slice(series.length));
    if (line !== undefined && condition(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const times = async <T>(count: number, act: () => Promise<T>): Promise<T[]> => {
  const all: T[] = [];
  for (let i = 0; i < count; i++) all.push(await act());
  return all;
};

describe('routes', () => {
  it('share requests out by weight, and leave those that say what they want alone', async () => {
    const own = await serve({
      traffic: { models: { half: { routes: { stable: 3, canary: 1 } } } },
    });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const counts = versionsOf(await times(400, () => predict(own, undefined, agent)));
    expect(Object.keys(counts).toSorted()).toEqual(['1', '2']);
    // Five standard deviations: once in a million runs it is something else.
    expect(Math.abs((counts['2'] ?? 0) - 100)).toBeLessThan(5 * Math.sqrt(400 * 0.25 * 0.75));
    const stable = 'tenon_route_requests_total{model_name="half",route="stable",version="1"}';
    expect(await metric(own, stable)).toBe(counts['1']);
    expect(await metric(own, 'tenon_route_weight{model_name="half",route="stable"}')).toBe(3);
    for (const [url, version] of [
      ['/v1/models/half/versions/2', '2'],
      ['/v1/models/half/labels/stable', '1'],
      ['/v1/models/half/labels/canary', '2'],
    ] as const) {
      expect(versionsOf(await times(5, () => predict(own, url)))).toEqual({ [version]: 5 });
    }
    // Models of which nothing is said have their highest version.
    const images = { instances: [Array<number[][]>(8).fill(Array<number[]>(8).fill([0]))] };
    const other = await ask({ port: own.restPort ?? 0 }, '/v1/models/digits:predict', {
      body: images,
    });
    expect(other.headers['model-version']).toBe('2');
  });

  it('hold for gRPC, by number as well as by label', async () => {
    const own = await serve({ traffic: { default: { routes: { '1': 1 } } } });
    const client = new GrpcClient(`127.0.0.1:${own.grpcPort}`);
    onTestFinished(() => client.close());
    const x = { dtype: 'DT_FLOAT', float_val: [1], tensor_shape: { dim: [{ size: 1 }] } };
    const request = { model_spec: { name: 'half' }, inputs: { x } };
    expect(await client.predict(request)).toMatchObject({
      model_spec: { version: { value: '1' } },
      outputs: { y: { float_val: [2.5] } },
    });
    const named = { ...request, model_spec: { name: 'half', version_label: 'canary' } };
    expect(await client.predict(named)).toMatchObject({ outputs: { y: { float_val: [3.5] } } });
  });

  it('describe the version that most requests get', async () => {
    const own = await serve({ traffic: { default: { routes: { '3': 1, stable: 9 } } } });
    const metadata = await ask({ port: own.restPort ?? 0 }, '/v1/models/half/metadata');
    expect(metadata.text).toContain('"version": "1"');
    expect(await own.metrics()).not.toContain('tenon_route_requests_total');
  });

  it('without a version give their part to others, and without any to the highest', async () => {
    const own = await serve({ traffic: { default: { routes: { stable: 1, gone: 1000 } } } });
    expect(versionsOf(await times(10, () => predict(own)))).toEqual({ '1': 10 });
    own.setTraffic({ default: { routes: { gone: 1, '77': 1 } } });
    const answer = await ask({ port: own.restPort ?? 0 }, '/v1/models/half/metadata');
    expect(answer.text).toContain('"version": "3"');
  });

  it('change while requests come, and follow labels', async () => {
    const own = await serve({});
    own.setTraffic({ default: { routes: { stable: 1 } } });
    expect(versionsOf(await times(5, () => predict(own)))).toEqual({ '1': 5 });
    await own.reload({
      models: [{ ...model('half', base), labels: { stable: 2n } }, model('digits', digits)],
    });
    expect(versionsOf(await times(5, () => predict(own)))).toEqual({ '2': 5 });
    expect(() => own.setTraffic({ default: { routes: { a: -1 } } })).toThrow('routes.a');
    expect(versionsOf(await times(5, () => predict(own)))).toEqual({ '2': 5 });
  });

  it.runIf(process.platform !== 'win32')('hold in front-end threads', async () => {
    const own = await serve({
      frontendThreads: 2,
      traffic: { default: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1 } } },
    });
    expect(versionsOf(await times(6, () => predict(own)))).toEqual({ '1': 6 });
    // One that meets another is left out.
    const labels = 'model_name="half",version="1",shadow_version="2"';
    await metric(own, `tenon_shadow_runs_total{${labels},result="compared"}`, (runs) => runs > 0);
    own.setTraffic({ default: { routes: { canary: 1 } } });
    // A message to the threads is on its way when the connection is handed over after it.
    expect(versionsOf(await times(6, () => predict(own)))).toEqual({ '2': 6 });
  });
});

describe('a shadow', () => {
  const labels = 'model_name="half",version="1",shadow_version="2"';

  it('is compared with what was served', async () => {
    const own = await serve({
      traffic: { models: { half: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1 } } } },
    });
    expect(JSON.parse((await predict(own)).text)).toEqual({ predictions: [2.5] });
    await metric(own, `tenon_shadow_runs_total{${labels},result="compared"}`, (runs) => runs === 1);
    // x/2 + 2 and x/2 + 3.
    expect(await metric(own, `tenon_shadow_max_abs_error_sum{${labels}}`)).toBe(1);
    expect(await metric(own, `tenon_shadow_latency_micros_count{${labels}}`)).toBe(1);
    // What was shadowed is no request of its own.
    expect(await own.metrics()).not.toContain('tenon_requests_total{model_name="half",version="2"');
    await predict(own, '/v1/models/half/versions/1');
    await predict(own);
    await metric(own, `tenon_shadow_runs_total{${labels},result="compared"}`, (runs) => runs === 2);
  });

  it('tells how often the classes agree', async () => {
    const own = await serve({
      traffic: {
        models: { digits: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1 } } },
      },
    });
    const row = Array.from({ length: 8 }, (_, i) => [i / 8]);
    const images = { instances: Array<number[][][]>(16).fill(Array<number[][]>(8).fill(row)) };
    await ask({ port: own.restPort ?? 0 }, '/v1/models/digits:predict', { body: images });
    const own16 = 'model_name="digits",version="1",shadow_version="2"';
    expect(await metric(own, `tenon_shadow_rows_total{${own16}}`, (rows) => rows > 0)).toBe(16);
    expect(await metric(own, `tenon_shadow_agreeing_rows_total{${own16}}`)).toBe(16);
    expect(await metric(own, `tenon_shadow_max_abs_error_sum{${own16}}`)).toBeLessThan(0.2);
  });

  it('of classify, regress and several tasks is compared as well', async () => {
    const own = await serve({
      traffic: { models: { half: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1 } } } },
    });
    const where = { port: own.restPort ?? 0 };
    const body = (signature_name: string) => ({ signature_name, examples: [{ x: 2.5 }] });
    // One after another: those that meet others are left out.
    const compared = (count: number) =>
      metric(own, `tenon_shadow_runs_total{${labels},result="compared"}`, (runs) => runs === count);
    await ask(where, '/v1/models/half:regress', { body: body('regress_x_to_y') });
    await compared(1);
    await ask(where, '/v1/models/half:classify', { body: body('classify_x_to_y') });
    await compared(2);
    const client = new GrpcClient(`127.0.0.1:${own.grpcPort}`);
    onTestFinished(() => client.close());
    const example = { features: { feature: { x: { float_list: { value: [2] } } } } };
    await client.call('tensorflow.serving.PredictionService/MultiInference', {
      tasks: [
        {
          model_spec: { name: 'half', signature_name: 'regress_x_to_y' },
          method_name: 'tensorflow/serving/regress',
        },
      ],
      input: { example_list: { examples: [example] } },
    });
    await compared(3);
    expect(await metric(own, `tenon_shadow_max_abs_error_sum{${labels}}`)).toBe(3);
  });

  it('that fails, or has other outputs, is counted and harms nobody', async () => {
    const own = await serve({
      traffic: { default: { routes: { stable: 1 }, shadow: { to: '3', share: 1 } } },
    });
    expect((await predict(own)).status).toBe(200);
    const failed = 'model_name="half",version="1",shadow_version="3",result="failed"';
    await metric(own, `tenon_shadow_runs_total{${failed}}`, (runs) => runs === 1);
  });

  it.each([
    ['unavailable', 'none'],
    ['same_version', 'stable'],
  ])('is left out where its version is %s', async (reason, to) => {
    const own = await serve({
      traffic: { default: { routes: { stable: 1 }, shadow: { to, share: 1 } } },
    });
    await predict(own);
    await metric(own, `tenon_shadow_dropped_total{model_name="half",reason="${reason}"}`);
    expect(await own.metrics()).not.toContain('tenon_shadow_runs_total{');
  });

  it('is left out first where requests wait, and many at a time', async () => {
    const slow = path.join(folder, 'slow');
    for (const version of ['1', '2']) {
      cpSync(modelPath('tf_slow'), path.join(slow, version), { recursive: true });
    }
    const own = await serve({
      models: { models: [model('slow', slow)] },
      load: { pool: { lanes: 1 } },
      traffic: {
        default: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1, maxInFlight: 1 } },
      },
    });
    const answers = await Promise.all(
      Array.from({ length: 12 }, () =>
        ask({ port: own.restPort ?? 0 }, '/v1/models/slow:predict', { body: { inputs: 20 } }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    const text = await own.metrics();
    const dropped = [
      ...text.matchAll(/tenon_shadow_dropped_total\{.*reason="(busy|in_flight)"\} (\d+)/g),
    ];
    expect(dropped.reduce((sum, [, , count]) => sum + Number(count), 0)).toBeGreaterThan(0);
    // Dropped, run, or on its way: one at the most.
    const runs = await metric(
      own,
      'tenon_shadow_runs_total{model_name="slow",version="1",shadow_version="2",result="compared"}',
    );
    const now = [...(await own.metrics()).matchAll(/tenon_shadow_dropped_total\{.*\} (\d+)/g)];
    const total = runs + now.reduce((sum, [, count]) => sum + Number(count), 0);
    expect(total).toBeGreaterThanOrEqual(11);
  });

  it('keeps its version until it has ended', async () => {
    const own = await serve({
      models: { models: [model('half', base)] },
      traffic: { default: { routes: { stable: 1 }, shadow: { to: 'canary', share: 1 } } },
    });
    await Promise.all(Array.from({ length: 20 }, () => predict(own)));
    await own.close();
    server = undefined;
  });
});

describe('a rollout', () => {
  it('takes a canary back that fails', async () => {
    const own = await serve({
      models: { models: [{ ...model('half', base), labels: { stable: 1n, canary: 3n } }] },
      traffic: {
        default: {
          routes: { stable: 1, canary: 1 },
          rollout: { canary: 'canary', stable: 'stable', intervalSeconds: 1, minRequests: 5 },
        },
      },
    });
    const weight = 'tenon_route_weight{model_name="half",route="canary"}';
    let isRolledBack = false;
    while (!isRolledBack) {
      await predict(own);
      isRolledBack = (await own.metrics()).includes(`${weight} 0\n`);
    }
    expect(
      await metric(own, 'tenon_rollout_decisions_total{model_name="half",decision="rollback"}'),
    ).toBe(1);
    expect(versionsOf(await times(10, () => predict(own)))).toEqual({ '1': 10 });
  });
});
