import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { createServer, type Server } from '../../lib/server/index.js';
import { openTracing } from '../../lib/server/tracing.js';
import { GrpcClient } from '../helpers/grpc.js';
import { modelPath } from '../helpers/paths.js';
import { ask } from '../helpers/serve.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';
const traceparent = `00-${traceId}-${parentId}-01`;

const exporter = new InMemorySpanExporter();
let server: Server;

/** The span of the one request there was, once it has ended. */
async function span(): Promise<ReadableSpan> {
  for (;;) {
    const [first, ...others] = exporter.getFinishedSpans();
    if (first !== undefined) {
      expect(others).toEqual([]);
      return first;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

beforeAll(async () => {
  // Nothing is registered yet, which is how most users have it.
  expect(await openTracing()).toBeUndefined();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const spanProcessors = [new SimpleSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));

  server = createServer({
    models: { half: modelPath('half_plus_two') },
    rest: { port: 0 },
    grpc: { port: 0 },
  });
  await server.listen();
  while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
});

afterAll(async () => {
  await server.close();
  trace.disable();
  propagation.disable();
  context.disable();
});

beforeEach(() => exporter.reset());

describe('a span', () => {
  it("of a REST request is below the caller's", async () => {
    await ask({ port: server.restPort ?? 0 }, '/v1/models/half:predict', {
      body: { instances: [1] },
      headers: { traceparent },
    });
    const { name, attributes, parentSpanContext } = await span();
    expect(name).toBe('POST /v1/*:predict');
    expect(parentSpanContext).toMatchObject({ traceId, spanId: parentId });
    expect(attributes).toEqual({
      'http.request.method': 'POST',
      'url.path': '/v1/models/half:predict',
      'http.response.status_code': 200,
    });
  });

  it("of a gRPC call is below the caller's", async () => {
    const client = new GrpcClient(`127.0.0.1:${server.grpcPort}`);
    const x = { dtype: 'DT_FLOAT', float_val: [1], tensor_shape: { dim: [{ size: 1 }] } };
    const request = { model_spec: { name: 'half' }, inputs: { x } };
    await client.predict(request, { metadata: { traceparent } });
    client.close();
    const { name, attributes, parentSpanContext } = await span();
    expect(name).toBe('tensorflow.serving.PredictionService/Predict');
    expect(parentSpanContext).toMatchObject({ traceId, spanId: parentId });
    expect(attributes).toMatchObject({ 'rpc.system': 'grpc', 'rpc.grpc.status_code': 0 });
  });

  it('begins a trace where the caller has none', async () => {
    await ask({ port: server.restPort ?? 0 }, '/v1/models/none');
    const { parentSpanContext, attributes } = await span();
    expect(parentSpanContext).toBeUndefined();
    expect(attributes).toMatchObject({ 'http.response.status_code': 404 });
  });

  it('is made of a share of the requests, and of each that belongs to a trace', async () => {
    const own = createServer({
      models: { half: modelPath('half_plus_two') },
      rest: { port: 0 },
      grpc: { port: 0 },
      traceSampling: 0,
    });
    await own.listen();
    onTestFinished(() => own.close(0));
    const where = { port: own.restPort ?? 0 };
    const client = new GrpcClient(`127.0.0.1:${own.grpcPort}`);
    onTestFinished(() => client.close());
    await ask(where, '/v1/models/none');
    await expect(client.predict({ model_spec: { name: 'none' } })).rejects.toThrow('NOT_FOUND');
    await ask(where, '/v1/models/none', { headers: { traceparent } });
    expect((await span()).parentSpanContext).toMatchObject({ traceId, spanId: parentId });
    exporter.reset();
    await expect(
      client.predict({ model_spec: { name: 'none' } }, { metadata: { traceparent } }),
    ).rejects.toThrow('NOT_FOUND');
    expect((await span()).parentSpanContext).toMatchObject({ traceId, spanId: parentId });
  });

  it('is not made of a look at the health', async () => {
    await ask({ port: server.restPort ?? 0 }, '/healthz/live');
    await ask({ port: server.restPort ?? 0 }, '/v1/models');
    expect((await span()).attributes['url.path']).toBe('/v1/models');
  });
});
