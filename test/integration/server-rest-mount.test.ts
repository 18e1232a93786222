/** The REST routes beside others: in an existing Fastify application, health, metrics, OpenAPI. */

import { type AddressInfo, connect } from 'node:net';

import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { fastify } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import { Metrics } from '../../lib/server/metrics.js';
import type { ModelDirectory, Readiness } from '../../lib/server/models.js';
import type { Repository } from '../../lib/server/repository/repository.js';
import { tensorflowServing } from '../../lib/server/tfserving/rest.js';
import { TensorFlowServing } from '../../lib/server/tfserving/service.js';
import { fixtureModel, openRepository } from '../helpers/fixture-models.js';
import { askPort, errorText, serveRest, type TestServer } from '../helpers/rest-server.js';

let repository: Repository;

beforeAll(async () => {
  repository = await openRepository([
    fixtureModel('half_plus_two'),
    fixtureModel('a b/c', 'multi_io.onnx'),
    fixtureModel('texts', 'tf_strings'),
    fixtureModel('signatures', 'tf_signatures'),
    fixtureModel('maps', 'maps.onnx'),
    fixtureModel('symbolic', 'symbolic.onnx'),
  ]);
});

afterAll(() => repository.close(5000));

const predictUrl = '/v1/models/half_plus_two:predict';

describe('in an existing application', () => {
  it('the routes lie under the prefix, and leave the others as they are', async () => {
    const app = fastify();
    app.post('/echo', (request) => ({ got: request.body }));
    app.addHook('onSend', async (_request, reply) => void reply.header('x-own', 'yes'));
    await app.register(tensorflowServing, {
      prefix: '/ml',
      models: repository,
      service: new TensorFlowServing(repository),
    });
    const answer = await app.inject({
      method: 'POST',
      url: `/ml${predictUrl}`,
      payload: '{"instances": [1.0]}',
    });
    expect([answer.statusCode, answer.body, answer.headers['x-own']]).toEqual([
      200,
      '{\n    "predictions": [3.5\n    ]\n}',
      'yes',
    ]);
    expect(answer.headers['model-version']).toBe('124');
    const malformed = await app.inject({ method: 'GET', url: '/ml/v1/other' });
    expect(malformed.json()).toEqual({ error: 'Malformed request: GET /v1/other' });
    expect((await app.inject({ method: 'GET', url: '/ml/healthz/live' })).statusCode).toBe(200);
    expect((await app.inject({ method: 'GET', url: predictUrl })).statusCode).toBe(404);
    const echoed = await app.inject({ method: 'POST', url: '/echo', payload: { a: 1 } });
    expect(echoed.json()).toEqual({ got: { a: 1 } });
    await app.close();
  });

  it("its preHandler hooks come before a request's body is read", async () => {
    const app = fastify();
    app.addHook('preHandler', async (_request, reply) => reply.code(401).send({ who: 'are you' }));
    await app.register(tensorflowServing, {
      models: repository,
      service: new TensorFlowServing(repository),
    });
    const answer = await app.inject({ method: 'POST', url: predictUrl, payload: '{' });
    expect([answer.statusCode, answer.json()]).toEqual([401, { who: 'are you' }]);
    await app.close();
  });
});

it('injected requests give their place back, as others do', async () => {
  const app = fastify();
  await app.register(tensorflowServing, {
    models: repository,
    service: new TensorFlowServing(repository),
    maxConcurrentRequests: 1,
  });
  for (let i = 0; i < 3; i++) {
    const payload = '{"instances": [1.0]}';
    expect((await app.inject({ method: 'POST', url: predictUrl, payload })).statusCode).toBe(200);
  }
  await app.close();
});

it('requests whose client has gone before their turn hold no place', async () => {
  let came: (value: unknown) => void = () => {};
  let goOn: (value: unknown) => void = () => {};
  const hasCome = new Promise((resolve) => (came = resolve));
  const mayGoOn = new Promise((resolve) => (goOn = resolve));
  const app = fastify();
  let isFirst = true;
  app.addHook('preHandler', async () => {
    if (!isFirst) return;
    isFirst = false;
    came(undefined);
    await mayGoOn;
  });
  await app.register(tensorflowServing, {
    models: repository,
    service: new TensorFlowServing(repository),
    maxConcurrentRequests: 1,
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1' });
  socket.write(`POST ${predictUrl} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{`);
  await hasCome;
  socket.destroy();
  await vi.waitFor(async () => {
    const count = await new Promise<number>((resolve) =>
      app.server.getConnections((_error, open) => resolve(open)),
    );
    expect(count).toBe(0);
  });
  goOn(undefined);
  await mayGoOn;
  const { status } = await askPort(port, 'POST', predictUrl, { body: '{"instances": [1.0]}' });
  expect(status).toBe(200);
  await app.close();
});

describe('beside the models', () => {
  let server: TestServer;
  const metrics = new Metrics();

  beforeAll(async () => {
    server = await serveRest(repository, {
      service: { metrics },
      rest: {
        metrics,
        cors: true,
        metricsPage: {
          path: '/monitoring/prometheus/metrics',
          render: () =>
            metrics
              .snapshot()
              .map(({ name }) => `${name} 1\n`)
              .join(''),
        },
      },
    });
  });

  afterAll(async () => {
    await server.close();
    metrics.close();
  });

  it('GET /v1/models lists all of them', async () => {
    const { status, body } = await server.ask('GET', '/v1/models');
    expect(status).toBe(200);
    const { models } = JSON.parse(body) as { models: { name: string }[] };
    expect(models[0]).toEqual({
      name: 'half_plus_two',
      model_version_status: [
        { version: '124', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } },
      ],
      version_labels: {},
    });
    expect(models.map(({ name }) => name)).toEqual([
      'half_plus_two',
      'a b/c',
      'texts',
      'signatures',
      'maps',
      'symbolic',
    ]);
  });

  it('HEAD answers as GET, without the body', async () => {
    const get = await server.ask('GET', '/v1/models/half_plus_two');
    const head = await server.ask('HEAD', '/v1/models/half_plus_two');
    expect([head.status, head.body]).toEqual([200, '']);
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
    expect((await server.ask('HEAD', predictUrl)).status).toBe(400);
  });

  it('CORS headers come with every answer, and preflights are answered', async () => {
    const cors = {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST, GET',
      'access-control-allow-headers': 'Content-Type',
    };
    const preflight = await server.ask('OPTIONS', predictUrl, {
      headers: { origin: 'https://example.com' },
    });
    expect([preflight.status, preflight.body]).toEqual([200, '']);
    expect(preflight.headers).toMatchObject(cors);
    expect((await server.ask('OPTIONS', predictUrl)).status).toBe(400);
    expect((await server.post(predictUrl, { instances: [1] })).headers).toMatchObject(cors);
    expect((await server.ask('GET', '/v1/models/none')).headers).toMatchObject(cors);
  });

  it('a preflight is answered without the headers where CORS is off', async () => {
    const plain = await serveRest(repository);
    const { status, headers } = await plain.ask('OPTIONS', predictUrl, {
      headers: { origin: 'http://example.com' },
    });
    expect([status, headers['access-control-allow-origin']]).toEqual([200, undefined]);
    await plain.close();
  });

  it('metrics have a page where one is asked for', async () => {
    await server.post(predictUrl, { instances: [1] });
    const { headers, body } = await server.ask('GET', '/monitoring/prometheus/metrics');
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(body).toContain(':tensorflow:serving:request_count 1\n');
  });

  it('requests are counted with what they ended with', async () => {
    const counted: unknown[] = [];
    const own = await serveRest(repository, {
      rest: {
        metrics: {
          request: ({ micros, ...measures }) => {
            expect(micros).toBeGreaterThan(0);
            counted.push(measures);
          },
          runtime() {},
          examples() {},
          started: () => {},
          ended: () => {},
          refused: (entrypoint, limit) => void counted.push([entrypoint, limit]),
        },
        maxBodyBytes: 100,
      },
    });
    await own.post(predictUrl, { instances: [1] });
    await own.post(predictUrl, { signature_name: 'none', instances: [1] });
    await own.post('/v1/models/none/versions/1:regress', {});
    await own.post(predictUrl, ' '.repeat(101));
    await own.ask('GET', '/v1/models/half_plus_two');
    await own.ask('GET', '/v1/models/half_plus_two/metadata');
    await own.close();
    const base = { model: 'half_plus_two', entrypoint: 'REST' };
    expect(counted).toEqual([
      { ...base, version: 124n, signature: 'serving_default', method: 'Predict', status: 'OK' },
      {
        ...base,
        version: 124n,
        signature: undefined,
        method: 'Predict',
        status: 'INVALID_ARGUMENT',
      },
      {
        ...base,
        model: 'none',
        version: undefined,
        signature: undefined,
        method: 'Regress',
        status: 'NOT_FOUND',
      },
      ['REST', 'body_size'],
      {
        ...base,
        version: undefined,
        signature: undefined,
        method: 'Predict',
        status: 'RESOURCE_EXHAUSTED',
      },
      { ...base, version: 124n, signature: undefined, method: 'GetModelStatus', status: 'OK' },
      { ...base, version: 124n, signature: undefined, method: 'GetModelMetadata', status: 'OK' },
    ]);
  });
});

describe('health', () => {
  const asked = async (readiness: Readiness): Promise<{ status: number; body: unknown }> => {
    const models = { readiness: () => readiness } as ModelDirectory;
    const server = await serveRest(models);
    const { status, body } = await server.ask('GET', '/healthz/ready');
    expect((await server.ask('GET', '/healthz/live')).status).toBe(200);
    await server.close();
    return { status, body: JSON.parse(body) };
  };

  it('is ready once every model serves or has failed, and says which have', async () => {
    const failed = [{ name: 'b', message: 'no model' }];
    expect(await asked({ ready: true, waiting: [], failed })).toEqual({
      status: 200,
      body: { ready: true, waiting: [], failed },
    });
  });

  it('waits for models', async () => {
    expect(await asked({ ready: false, waiting: ['a', 'c'], failed: [] })).toEqual({
      status: 503,
      body: {
        ready: false,
        error: 'model a is loading; model c is loading',
        waiting: ['a', 'c'],
        failed: [],
      },
    });
  });

  it('is not ready while the server stops', async () => {
    expect(await asked({ ready: false, waiting: [], failed: [] })).toEqual({
      status: 503,
      body: { ready: false, error: 'the server is stopping', waiting: [], failed: [] },
    });
  });
});

describe('/openapi.json', () => {
  interface Document {
    servers: { url: string }[];
    paths: Record<string, Record<string, Operation>>;
    components: { schemas: object };
  }
  interface Operation {
    requestBody: { content: { 'application/json': { schema: object } } };
    responses: Record<string, { content: { 'application/json': { schema: object } } }>;
  }

  let server: TestServer;
  let document: Document;

  beforeAll(async () => {
    server = await serveRest(repository, { prefix: '/ml' });
    document = JSON.parse((await server.ask('GET', '/ml/openapi.json')).body) as Document;
  });

  afterAll(() => server.close());

  /** A schema of the document, with what it refers to. */
  const validator = (schema: object) =>
    new Ajv2020({ strict: false }).compile({ ...schema, components: document.components });

  it('is valid OpenAPI 3.1', async () => {
    const result = await new Validator().validate(
      structuredClone<object>(document) as Record<string, unknown>,
    );
    expect(result).toEqual({ valid: true });
    expect(document.servers).toEqual([{ url: '/ml' }]);
  });

  it('has the models that are served, with their signatures', () => {
    expect(Object.keys(document.paths).filter((path) => path.endsWith(':predict'))).toEqual([
      '/v1/models/{model}:predict',
      '/v1/models/{model}/versions/{version}:predict',
      '/v1/models/{model}/labels/{label}:predict',
      '/v1/models/half_plus_two:predict',
      '/v1/models/a%20b%2Fc:predict',
      '/v1/models/texts:predict',
      '/v1/models/signatures:predict',
      '/v1/models/symbolic:predict',
    ]);
  });

  it.each([
    ['half_plus_two', { instances: [1, 2] }],
    ['half_plus_two', { inputs: { x: [1, 2] } }],
    ['texts', { instances: ['a', { b64: 'aGk=' }] }],
    ['texts', { signature_name: 'same', inputs: 'a' }],
    ['signatures', { signature_name: 'double', instances: [[1, 2, 3]] }],
    ['a%20b%2Fc', { inputs: { a: [1, 2], b: [3, 4], scale: 2 } }],
  ])('describes what %s takes and gives: %j', async (model, body) => {
    const path = `/v1/models/${model}:predict`;
    const operation = document.paths[path]?.['post'] as Operation;
    const isRequest = validator(operation.requestBody.content['application/json'].schema);
    expect([isRequest(body), isRequest.errors]).toEqual([true, null]);
    expect(isRequest({ instances: { no: 'array' } })).toBe(false);
    const answer = await server.post(`/ml${path}`, body);
    const isAnswer = validator(
      operation.responses['200']?.content['application/json'].schema ?? {},
    );
    expect([answer.status, isAnswer(JSON.parse(answer.body)), isAnswer.errors]).toEqual([
      200,
      true,
      null,
    ]);
    expect(isAnswer({ error: 'no' })).toBe(false);
  });
});

it('errors that nobody foresaw are answered', async () => {
  const models = {
    acquire() {
      throw new StatusError('UNAVAILABLE', 'The server is stopping');
    },
    status() {
      throw new TypeError('a defect');
    },
    list() {
      throw new TypeError('a defect');
    },
  } as unknown as ModelDirectory;
  const server = await serveRest(models);
  const ask = async (method: string, url: string): Promise<unknown> => {
    const { status, body } = await server.ask(method, url);
    return [status, body];
  };
  expect(await ask('POST', predictUrl)).toEqual([503, errorText('The server is stopping')]);
  expect(await ask('GET', '/v1/models/x')).toEqual([500, errorText('a defect')]);
  expect(await ask('GET', '/v1/models')).toEqual([500, errorText('a defect')]);
  await server.close();
});
