import { cpSync, mkdirSync } from 'node:fs';
import { Agent } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createServer as createNetServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import type { Worker } from 'node:worker_threads';

import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { fastify } from 'fastify';
import { pino } from 'pino';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';

import { createServer, type Server, type ServerOptions } from '../../lib/server/index.js';
import { makeCertificates } from '../helpers/authority.js';
import { failureOf, GrpcClient } from '../helpers/grpc.js';
import { modelPath } from '../helpers/paths.js';
import { type Answer, ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
const half = { half: modelPath('half_plus_two') };

let server: Server | undefined;
afterEach(async () => {
  await server?.close(0);
  server = undefined;
});

/** Resolves when all models are there. */
async function serve(options: Partial<ServerOptions> = {}): Promise<{ port: number }> {
  server = createServer({ models: half, grpc: false, rest: { port: 0 }, ...options });
  await server.listen();
  await ready(server);
  return { port: server.restPort ?? 0 };
}

async function ready(one: Server): Promise<void> {
  while (!one.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
}

const predict = (where: { port: number }, x: number[], model = 'half'): Promise<Answer> =>
  ask(where, `/v1/models/${model}:predict`, { body: { instances: x } });

describe('createServer', () => {
  it('serves a SavedModel and an ONNX file', async () => {
    const where = await serve({ models: { ...half, same: modelPath('simple_model.onnx') } });
    expect(JSON.parse((await predict(where, [1, 2, 5])).text)).toEqual({
      predictions: [3.5, 4, 5.5],
    });
    const answer = await ask(where, '/v1/models/same:predict', {
      body: { instances: [[1, 2, 3, 4]] },
    });
    expect(JSON.parse(answer.text)).toEqual({ predictions: [[expect.closeTo(-1.2322286, 5)]] });
    expect(server?.list().map(({ name }) => name)).toEqual(['half', 'same']);
  });

  it('opens its ports before models are there, and is not ready then', async () => {
    server = createServer({ models: half, grpc: false, rest: { port: 0 } });
    await server.listen();
    const where = { port: server.restPort ?? 0 };
    const first = await ask(where, '/healthz/ready');
    expect(first.status).toBe(503);
    expect((await ask(where, '/healthz/live')).status).toBe(200);
    await ready(server);
    expect((await ask(where, '/healthz/ready')).status).toBe(200);
  });

  it('says which address is taken, and leaves nothing open', async () => {
    const other = createNetServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const socketPath = path.join(folder, 'taken.sock');
    server = createServer({ models: half, rest: { port: 0, socketPath }, grpc: { port } });
    await expect(server.listen()).rejects.toMatchObject({
      code: 'ERR_TENON_LISTEN',
      message: expect.stringContaining(
        `127.0.0.1:${port} for "grpc", received EADDRINUSE`,
      ) as string,
    });
    await expect(ask({ socketPath }, '/healthz/live')).rejects.toMatchObject({ code: 'ENOENT' });
    other.close();
  });

  it.runIf(process.platform !== 'win32')(
    'listens on a unix socket, also over a stale one',
    async () => {
      const socketPath = path.join(folder, 'rest.sock');
      for (let round = 0; round < 2; round++) {
        server = createServer({ models: half, grpc: false, rest: { port: false, socketPath } });
        await server.listen();
        expect(server.restPort).toBeUndefined();
        expect((await ask({ socketPath }, '/healthz/live')).status).toBe(200);
        await server.close(0);
      }
    },
  );

  it('closes what is opening', async () => {
    const opening = createServer({ models: half, rest: { port: 0 }, grpc: { port: 0 } });
    const listening = opening.listen();
    await opening.close();
    await listening;
    const { restPort = 0 } = opening;
    await expect(ask({ port: restPort }, '/healthz/live')).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
  });

  it('cannot listen once it is closed', async () => {
    const closed = createServer({ models: half, grpc: false });
    await closed.close();
    await expect(closed.listen()).rejects.toMatchObject({ code: 'ERR_TENON_INVALID_ARGUMENT' });
  });

  it.each([
    [{ models: 'x' }, '"models"'],
    [{ models: half, nonsense: 1 }, '"nonsense"'],
    [{ models: half, rest: { port: 'x' } }, '"rest.port"'],
    [{ models: half, rest: { port: false } }, '"rest.port"'],
    [{ models: half, authToken: 'a b' }, '"authToken"'],
    [{ models: half, requestLogSampling: 2 }, '"requestLogSampling"'],
    [{ models: half, rest: { metricsPath: 'm' } }, '"rest.metricsPath"'],
    [{ models: half, frontendThreads: -1 }, '"frontendThreads"'],
  ])('refuses %j', (options, text) => {
    expect(() => createServer(options as never)).toThrow(
      expect.objectContaining({
        code: 'ERR_TENON_INVALID_ARGUMENT',
        message: expect.stringContaining(text) as string,
      }),
    );
  });

  it('has routes for an application of its own', async () => {
    server = createServer({ models: half, rest: false, grpc: false });
    await server.listen();
    await ready(server);
    const app = fastify();
    app.get('/own', () => 'own');
    await app.register(server.routes, { prefix: '/ml' });
    onTestFinished(() => app.close());
    const answer = await app.inject({
      method: 'POST',
      url: '/ml/v1/models/half:predict',
      payload: { instances: [1] },
    });
    expect(answer.json()).toEqual({ predictions: [3.5] });
    expect((await app.inject('/ml/healthz/ready')).statusCode).toBe(200);
    expect((await app.inject('/own')).body).toBe('own');
    expect(server.restPort).toBeUndefined();
  });

  it('serves another configuration when it is told to', async () => {
    const where = await serve();
    const config = (name: string) => ({
      models: [
        {
          name,
          basePath: modelPath('half_plus_two'),
          versionPolicy: { kind: 'latest', numVersions: 1 } as const,
          labels: {},
        },
      ],
    });
    await server?.reload(config('other'));
    expect((await predict(where, [1], 'other')).status).toBe(200);
    expect((await predict(where, [1], 'half')).status).toBe(404);
  });
});

describe('metrics', () => {
  it('are where they were asked to be, and count', async () => {
    const where = await serve({ rest: { port: 0, metricsPath: '/metrics' } });
    await predict(where, [1, 2]);
    const { status, text, headers } = await ask(where, '/metrics');
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(text).toContain(':tensorflow:serving:request_count{model_name="half",status="OK"} 1\n');
    expect(text).toContain('tenon_model_runs_total{model_name="half",version="124"} 1\n');
    expect(text).toBe(text.replace(/\n\n/g, '\n'));
    expect(await server?.metrics()).toContain(':tensorflow:serving:request_count');
  });

  it('are nowhere by default', async () => {
    const where = await serve();
    expect((await ask(where, '/monitoring/prometheus/metrics')).status).toBe(404);
  });
});

describe('access', () => {
  it('takes the token, for everything but health', async () => {
    const where = await serve({
      authToken: 's3cret',
      rest: { port: 0, metricsPath: '/metrics' },
    });
    const authorization = 'Bearer s3cret';
    for (const url of ['/v1/models', '/metrics', '/openapi.json', '/nowhere']) {
      const refused = await ask(where, url);
      expect([url, refused.status]).toEqual([url, 401]);
      expect(refused.headers['www-authenticate']).toBe('Bearer');
      expect(JSON.parse(refused.text)).toEqual({ error: expect.any(String) as string });
    }
    expect((await ask(where, '/v1/models', { headers: { authorization } })).status).toBe(200);
    expect((await ask(where, '/healthz/live')).status).toBe(200);
    expect((await ask(where, '/healthz/ready?x')).status).toBe(200);
    expect((await ask(where, '/healthz/readyx')).status).toBe(401);
  });

  it('is over TLS, with a client certificate where one is asked for', async () => {
    const certificates = path.join(folder, 'certificates');
    mkdirSync(certificates);
    const { authority, server: own, client } = makeCertificates(certificates);
    const { port } = await serve({
      rest: {
        port: 0,
        tls: {
          key: own.key,
          certificate: own.certificate,
          clientCa: authority.certificate,
          clientVerify: true,
        },
      },
    });
    const status = (options: object): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const agent = new HttpsAgent({ ca: authority.certificate, ...options });
        httpsRequest({ host: '127.0.0.1', port, path: '/healthz/live', agent }, (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode));
        })
          .on('error', reject)
          .end();
      });
    expect(await status({ key: client.key, cert: client.certificate })).toBe(200);
    await expect(status({})).rejects.toThrow();
    await expect(ask({ port }, '/healthz/live')).rejects.toThrow();
  });
});

/** A client of the server's, closed with the test. */
function grpcClient(address: string, ...rest: [ChannelCredentials?]): GrpcClient {
  const client = new GrpcClient(address, ...rest);
  onTestFinished(() => client.close());
  return client;
}

const floats = {
  model_spec: { name: 'half' },
  inputs: {
    x: { dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: 3 }] }, float_val: [1, 2, 5] },
  },
};

describe.each([0, 2])('gRPC with %i front-end threads', (frontendThreads) => {
  it('answers, is counted, and is healthy', async () => {
    await serve({ frontendThreads, grpc: { port: 0 } });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    expect(await client.predict(floats)).toMatchObject({
      outputs: { y: { float_val: [3.5, 4, 5.5] } },
    });
    expect(await client.call('grpc.health.v1.Health/Check', { service: '' })).toEqual({
      status: 'SERVING',
    });
    expect(await server?.metrics()).toContain(
      'tenon_requests_total{model_name="half",version="124",signature="serving_default",method="Predict",entrypoint="GRPC",status="OK"} 1\n',
    );
  });

  it('speaks the Open Inference Protocol', async () => {
    await serve({ frontendThreads, grpc: { port: 0 } });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    expect(await client.inference('ServerReady')).toEqual({ ready: true });
    const x = { name: 'x', datatype: 'FP32', shape: [3], contents: { fp32_contents: [1, 2, 5] } };
    expect(await client.inference('ModelInfer', { model_name: 'half', inputs: [x] })).toMatchObject(
      { outputs: [{ name: 'y', contents: { fp32_contents: [3.5, 4, 5.5] } }] },
    );
    expect(await client.inference('RepositoryIndex')).toEqual({
      models: [{ name: 'half', version: '124', state: 'READY' }],
    });
    expect(await server?.metrics()).toContain(
      'tenon_requests_total{model_name="half",version="124",signature="serving_default",method="ModelInfer",entrypoint="GRPC",status="OK"} 1\n',
    );
    expect(await client.inference('ModelStatistics', { name: 'half' })).toMatchObject({
      model_stats: [
        {
          name: 'half',
          version: '124',
          inference_count: '1',
          execution_count: '1',
          inference_stats: { success: { count: '1' }, compute_infer: { count: '1' } },
        },
      ],
    });
  });

  it('unloads and loads models as Triton’s clients and KServe’s ask', async () => {
    await serve({ frontendThreads, grpc: { port: 0 } });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    for (const request of [{ model_name: 'half' }, { repository_name: 'half' }]) {
      expect(await client.inference('RepositoryModelUnload', request)).toEqual({
        model_name: 'half',
        isUnloaded: true,
      });
      expect(await client.inference('ModelReady', { name: 'half' })).toEqual({});
      expect(await client.inference('RepositoryModelLoad', request)).toEqual({
        model_name: 'half',
        isLoaded: true,
      });
      expect(await client.inference('ModelReady', { name: 'half' })).toEqual({ ready: true });
    }
    const config = { model_name: 'half', parameters: { config: { string_param: '{}' } } };
    expect((await failureOf(client.inference('RepositoryModelLoad', config))).code).toBe(
      'INVALID_ARGUMENT',
    );
    for (const method of ['RepositoryModelLoad', 'RepositoryModelUnload']) {
      const unknown = client.inference(method, { model_name: '../half' });
      expect((await failureOf(unknown)).code).toBe('NOT_FOUND');
    }
  });

  it('reloads what is served', async () => {
    const where = await serve({ frontendThreads, grpc: { port: 0 } });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    const reload = (basePath: string): Promise<unknown> =>
      client.call('tensorflow.serving.ModelService/HandleReloadConfigRequest', {
        config: {
          model_config_list: {
            config: [{ name: 'other', base_path: basePath, model_platform: 'tensorflow' }],
          },
        },
      });
    expect(await failureOf(reload('gs://bucket/m'))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('gcloud storage') as string,
    });
    await reload(modelPath('half_plus_two'));
    expect((await predict(where, [1], 'other')).status).toBe(200);
  });

  it('takes the token, for everything but health', async () => {
    await serve({ frontendThreads, grpc: { port: 0 }, authToken: 's3cret' });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    expect(await failureOf(client.predict(floats))).toMatchObject({
      code: 'UNAUTHENTICATED',
    });
    const metadata = { authorization: 'Bearer s3cret' };
    expect(await client.predict(floats, { metadata })).toHaveProperty('outputs');
    expect(await client.call('grpc.health.v1.Health/Check', {})).toEqual({ status: 'SERVING' });
    expect(await client.inference('ServerLive')).toEqual({ live: true });
    expect((await failureOf(client.inference('RepositoryIndex'))).code).toBe('UNAUTHENTICATED');
  });

  it.runIf(process.platform !== 'win32')('listens on a unix socket', async () => {
    const socketPath = path.join(folder, `grpc-${frontendThreads}.sock`);
    await serve({ frontendThreads, grpc: { port: false, socketPath } });
    expect(await grpcClient(`unix:${socketPath}`).predict(floats)).toHaveProperty('outputs');
  });

  it('is over TLS with client certificates', async () => {
    const certificates = path.join(folder, `grpc-${frontendThreads}`);
    mkdirSync(certificates);
    const { authority, server: own, client } = makeCertificates(certificates);
    await serve({
      frontendThreads,
      grpc: {
        port: 0,
        tls: {
          key: own.key,
          certificate: own.certificate,
          clientCa: authority.certificate,
          clientVerify: true,
        },
      },
    });
    const address = `localhost:${server?.grpcPort}`;
    const ca = Buffer.from(authority.certificate);
    const known = credentials.createSsl(
      ca,
      Buffer.from(client.key),
      Buffer.from(client.certificate),
    );
    expect(await grpcClient(address, known).predict(floats)).toHaveProperty('outputs');
    const unknown = grpcClient(address, credentials.createSsl(ca)).predict(floats);
    expect(await failureOf(unknown)).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('answers what is under way when the server closes', async () => {
    await serve({
      frontendThreads,
      models: { slow: modelPath('slow.onnx') },
      grpc: { port: 0 },
    });
    const client = grpcClient(`127.0.0.1:${server?.grpcPort}`);
    const running = client.predict({
      model_spec: { name: 'slow' },
      inputs: { n: { dtype: 'DT_INT64', int64_val: [20] } },
    });
    await inFlight(server as Server, 1, 'GRPC');
    await (server as Server).close();
    expect(await running).toHaveProperty('outputs');
  });
});

describe('closing', () => {
  it('answers what is under way, and takes no more', async () => {
    const where = await serve({ models: { slow: modelPath('slow.onnx') } });
    const running = ask(where, '/v1/models/slow:predict', { body: { inputs: 20 } });
    await inFlight(server as Server, 1);
    const closing = (server as Server).close();
    expect((await running).status).toBe(200);
    expect((await running).headers.connection).toBe('close');
    await closing;
    await expect(ask(where, '/healthz/live')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('ends what takes too long, and does not hang', async () => {
    const where = await serve({ models: { slow: modelPath('slow.onnx') } });
    const running = ask(where, '/v1/models/slow:predict', { body: { inputs: 100_000_000 } });
    running.catch(() => undefined);
    await inFlight(server as Server, 1);
    await (server as Server).close(100);
    await expect(running).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('does not wait for idle connections', async () => {
    const where = await serve();
    const agent = new Agent({ keepAlive: true });
    const idle = await ask(where, '/healthz/live', { agent });
    expect(idle.headers.connection).toBe('keep-alive');
    await (server as Server).close();
    agent.destroy();
  });
});

/** Resolves when so many requests have begun. */
async function inFlight(one: Server, count: number, entrypoint = 'REST'): Promise<void> {
  const pattern = new RegExp(
    `tenon_in_flight_requests\\{entrypoint="${entrypoint}"\\} ${count}\\n`,
  );
  while (!pattern.test(await one.metrics())) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

it.each(process.platform === 'win32' ? [0] : [0, 1])(
  'the counts of a version go with it and its last request, with %i front-end threads',
  async (frontendThreads) => {
    const where = await serve({ models: { slow: modelPath('slow.onnx') }, frontendThreads });
    const one = server as Server;
    const running = ask(where, '/v1/models/slow:predict', { body: { inputs: 20 } });
    await inFlight(one, 1);
    await one.reload({ models: [] });
    expect((await running).status).toBe(200);
    const isGone = (): boolean =>
      one.list().every(({ versions }) => versions.every(({ state }) => state === 'END'));
    while (!isGone()) await new Promise((resolve) => setTimeout(resolve, 10));
    const page = await one.metrics();
    expect(page).toContain(':tensorflow:serving:request_count{model_name="slow",status="OK"} 1\n');
    expect(page).not.toMatch(/^tenon_requests_total\{model_name="slow"/m);
  },
);

describe.runIf(process.platform !== 'win32')('front-end threads', () => {
  const workers: Worker[] = [];
  process.on('worker', (worker) => workers.push(worker));

  it('share the models and the connections, and are measured together', async () => {
    const where = await serve({ frontendThreads: 2, rest: { port: 0, metricsPath: '/metrics' } });
    expect(server?.frontendThreads).toBe(2);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => predict(where, [2 * i])),
    );
    expect(answers.map(({ text }) => JSON.parse(text) as unknown)).toEqual(
      Array.from({ length: 20 }, (_, i) => ({ predictions: [i + 3] })),
    );
    const { text } = await ask(where, '/metrics');
    expect(text).toContain(':tensorflow:serving:request_count{model_name="half",status="OK"} 20\n');
    expect(text).toContain('tenon_model_runs_total{model_name="half",version="124"} 20\n');
    expect(new Set(text.match(/thread="[^"]+"/g))).toEqual(
      new Set(['thread="main"', 'thread="frontend-1"', 'thread="frontend-2"']),
    );
  });

  it('batch the requests that come to each', async () => {
    const where = await serve({
      frontendThreads: 1,
      load: { batching: { maxDelayMicros: 50_000, verifyBatching: 'warn' } },
    });
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => predict(where, [i])));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200));
    const page = await server?.metrics();
    expect(page).toMatch(/tenon_batching_batches_total\{model_name="half",version="124"\} [1-9]/);
    for (const name of ['input_batch_size', 'queuing_latency']) {
      expect(page).toContain(
        `:tensorflow:serving:batching_session:${name}_count{model_name="half",version="124"} 8\n`,
      );
    }
    const rows = ':tensorflow:serving:batching_session:processed_batch_size_sum';
    expect(page).toContain(`${rows}{model_name="half",version="124"} 8\n`);
  });

  it('have as many connections as are allowed, all together', async () => {
    const where = await serve({ frontendThreads: 2, rest: { port: 0, maxConnections: 2 } });
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const held = await Promise.all([1, 2].map(() => ask(where, '/healthz/live', { agent })));
    expect(held.map(({ status }) => status)).toEqual([200, 200]);
    await expect(ask(where, '/healthz/live')).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('follow a new version without a failed request', async () => {
    const base = path.join(folder, 'followed');
    const version = (name: string): string => modelPath('half_plus_two', name);
    cpSync(version('00000123'), path.join(base, '1'), { recursive: true });
    const where = await serve({
      models: { half: base },
      frontendThreads: 2,
      pollIntervalSeconds: 1,
    });
    const answers = new Map<string, number>();
    let isDone = false;
    const clients = Array.from({ length: 4 }, async () => {
      while (!isDone) {
        const { status, headers } = await predict(where, [1]);
        const seen = `${status} ${String(headers['model-version'])}`;
        answers.set(seen, (answers.get(seen) ?? 0) + 1);
      }
    });
    cpSync(version('00000124'), path.join(base, '2'), { recursive: true });
    while (!answers.has('200 2')) await new Promise((resolve) => setTimeout(resolve, 10));
    while (server?.list()[0]?.versions.find(({ version: v }) => v === 1n)?.state !== 'END') {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    isDone = true;
    await Promise.all(clients);
    expect([...answers.keys()].toSorted()).toEqual(['200 1', '200 2']);
  });

  it('know the same errors, statuses and labels as the main thread', async () => {
    const models = {
      models: [
        {
          name: 'half',
          basePath: modelPath('half_plus_two'),
          versionPolicy: { kind: 'all' } as const,
          labels: { stable: 123n },
        },
      ],
    };
    const texts: Record<string, unknown>[] = [];
    for (const frontendThreads of [0, 1]) {
      const where = await serve({ models, frontendThreads });
      const isThere = (): boolean =>
        server?.list()[0]?.versions.every(({ state }) => state === 'AVAILABLE') === true;
      while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 10));
      const all: Record<string, unknown> = {};
      for (const url of [
        '/v1/models',
        '/v1/models/half',
        '/v1/models/half/versions/123',
        '/v1/models/half/versions/1',
        '/v1/models/half/labels/stable',
        '/v1/models/half/labels/none',
        '/v1/models/half/labels/constructor',
        '/v1/models/half/metadata',
        '/v1/models/none',
        '/healthz/ready',
      ]) {
        const { status, text } = await ask(where, url);
        all[url] = [status, text];
      }
      for (const url of [
        'half',
        'half/versions/123',
        'half/labels/stable',
        'half/labels/constructor',
        'half/versions/9',
        'none',
      ]) {
        const { status, text } = await ask(where, `/v1/models/${url}:predict`, {
          body: { instances: [1] },
        });
        all[`POST ${url}`] = [status, text];
      }
      texts.push(all);
      await server?.close(0);
    }
    expect(texts[1]).toEqual(texts[0]);
    expect(texts[0]?.['POST half/labels/stable']).toEqual([200, expect.stringContaining('2.5')]);
  });

  it('that die are replaced, and their counts are kept', async () => {
    workers.length = 0;
    const where = await serve({ frontendThreads: 1, rest: { port: 0, metricsPath: '/metrics' } });
    await predict(where, [1]);
    await ask(where, '/metrics');
    expect(workers).toHaveLength(1);
    await workers[0]?.terminate();
    // The connection waits for the thread that takes the other's place.
    const { text } = await predict(where, [1, 2, 5]);
    expect(JSON.parse(text)).toEqual({ predictions: [3.5, 4, 5.5] });
    expect(workers).toHaveLength(2);
    expect((await ask(where, '/metrics')).text).toContain(
      ':tensorflow:serving:request_count{model_name="half",status="OK"} 2\n',
    );
  });

  // The longer one is more than setTimeout takes with the grace that a thread has.
  it.each([30_000, 2 ** 31 - 1])(
    'answer what is under way when the server closes within %i ms',
    async (timeoutMs) => {
      const warnings: string[] = [];
      const where = await serve({
        models: { slow: modelPath('slow.onnx') },
        frontendThreads: 1,
        log: pino({ level: 'warn' }, { write: (line) => warnings.push(line) }),
      });
      const running = ask(where, '/v1/models/slow:predict', { body: { inputs: 1000 } });
      await inFlight(server as Server, 1);
      await (server as Server).close(timeoutMs);
      expect((await running).status).toBe(200);
      expect(warnings).toEqual([]);
    },
  );

  it('that are starting do not keep the server from closing', async () => {
    workers.length = 0;
    await serve({ frontendThreads: 1 });
    const another = new Promise((resolve) => process.once('worker', resolve));
    await workers[0]?.terminate();
    await another;
    await server?.close(3_600_000);
  });

  it('are over TLS', async () => {
    const certificates = path.join(folder, 'threads');
    mkdirSync(certificates);
    const { authority, server: own } = makeCertificates(certificates);
    const { port } = await serve({
      frontendThreads: 1,
      rest: { port: 0, tls: { key: own.key, certificate: own.certificate } },
    });
    const agent = new HttpsAgent({ ca: authority.certificate });
    const status = await new Promise((resolve, reject) => {
      httpsRequest({ host: '127.0.0.1', port, path: '/healthz/live', agent }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(200);
  });
});
