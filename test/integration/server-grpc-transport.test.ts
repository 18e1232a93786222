import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { connect as connectTcp, createServer as createTcpServer } from 'node:net';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import {
  type CallOutcome,
  type GrpcCall,
  type GrpcMethod,
  GrpcTransport,
  type GrpcTransportOptions,
} from '../../lib/server/grpc/transport.js';
import { makeCertificates } from '../helpers/authority.js';
import { fixtureModel } from '../helpers/fixture-models.js';
import { failureOf, GrpcClient, type Message } from '../helpers/grpc.js';
import { serveFixtures, type ServedFixtures } from '../helpers/grpc-server.js';
import { temporaryFolder } from '../helpers/temporary.js';

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A transport with methods of the test's own, and a bare HTTP/2 client of it. */
async function transportOf(
  methods: Record<string, GrpcMethod>,
  options: Partial<GrpcTransportOptions> = {},
): Promise<{ transport: GrpcTransport; session: ClientHttp2Session; port: number }> {
  const transport = new GrpcTransport({ ...options, methods: new Map(Object.entries(methods)) });
  const port = (await transport.listen({ host: '127.0.0.1', port: 0 })) as number;
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  closing.push(
    () => transport.drain(100),
    () => session.destroy(),
  );
  return { transport, session, port };
}

interface Answer {
  headers: IncomingHttpHeaders;
  /** The trailers, or the headers of an answer that has nothing else. */
  trailers: IncomingHttpHeaders;
  body: Buffer;
}

function open(
  session: ClientHttp2Session,
  target: string,
  headers: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': target,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => undefined);
  return stream;
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders | undefined;
  const pieces: Buffer[] = [];
  stream.on('response', (received: IncomingHttpHeaders) => (headers = received));
  stream.on('trailers', (received: IncomingHttpHeaders) => (trailers = received));
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  await once(stream, 'close');
  return { headers, trailers: trailers ?? headers, body: Buffer.concat(pieces) };
}

function frame(bytes: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.byteLength, 1);
  return Buffer.concat([prefix, bytes]);
}

function ask(
  session: ClientHttp2Session,
  target: string,
  body: Buffer,
  headers?: Record<string, string>,
): Promise<Answer> {
  const stream = open(session, target, headers);
  stream.end(body);
  return answerOf(stream);
}

const echo: GrpcMethod = { unary: (request) => request };
const one = frame(Buffer.from('one'));

describe('a unary call', () => {
  it('is answered with headers, a message and trailers', async () => {
    const { session } = await transportOf({ '/t.S/Echo': echo });
    const { headers, trailers, body } = await ask(session, '/t.S/Echo', one);
    expect(headers).toMatchObject({ ':status': 200, 'content-type': 'application/grpc' });
    expect(trailers['grpc-status']).toBe('0');
    expect(body).toEqual(one);
  });

  it('may come in many pieces', async () => {
    const { session } = await transportOf({ '/t.S/Echo': echo });
    const body = frame(Buffer.alloc(300_000, 3));
    const stream = open(session, '/t.S/Echo');
    const answer = answerOf(stream);
    for (let at = 0; at < body.length; at += 7000) stream.write(body.subarray(at, at + 7000));
    stream.end();
    expect((await answer).body).toEqual(body);
  });

  it('may be compressed', async () => {
    const { session } = await transportOf({ '/t.S/Echo': echo });
    const compressed = frame(gzipSync('a'.repeat(1000)), 1);
    const answer = await ask(session, '/t.S/Echo', compressed, { 'grpc-encoding': 'gzip' });
    expect(answer.body).toEqual(frame(Buffer.from('a'.repeat(1000))));
  });

  it.each([
    ['to an unknown method', '/t.S/None', one, {}, 12, 'The server does not implement /t.S/None'],
    ['without a message', '/t.S/Echo', Buffer.alloc(0), {}, 12, 'Received no request message'],
    ['with two', '/t.S/Echo', Buffer.concat([one, one]), {}, 12, 'Received more than one'],
    ['with half a message', '/t.S/Echo', one.subarray(0, 6), {}, 13, 'ends before its length'],
    ['with half a prefix', '/t.S/Echo', one.subarray(0, 3), {}, 13, 'ends before its length'],
    ['that is too long', '/t.S/Echo', frame(Buffer.alloc(2000)), {}, 8, 'larger than max'],
    [
      'that claims 4 GiB',
      '/t.S/Echo',
      Buffer.from([0, 255, 255, 255, 255]),
      {},
      8,
      'Received message larger than max (4294967295 vs. 1000)',
    ],
    [
      'that decompresses to too much',
      '/t.S/Echo',
      frame(gzipSync(Buffer.alloc(100_000)), 1),
      { 'grpc-encoding': 'gzip' },
      8,
      'decompresses to more than 1000 bytes',
    ],
    [
      'of an unknown encoding',
      '/t.S/Echo',
      frame(Buffer.from('x'), 1),
      { 'grpc-encoding': 'snappy' },
      12,
      'compressed with "snappy"',
    ],
    ['with a bad timeout', '/t.S/Echo', one, { 'grpc-timeout': 'soon' }, 13, 'grpc-timeout'],
  ])('%s is refused', async (_, target, body, headers, status, text) => {
    const { session, transport } = await transportOf(
      { '/t.S/Echo': echo },
      { maxMessageBytes: 1000 },
    );
    const { trailers } = await ask(session, target, body, headers);
    expect(decodeURIComponent(trailers['grpc-message'] as string)).toContain(text);
    expect(trailers['grpc-status']).toBe(String(status));
    // The connection goes on, and nothing is kept.
    expect((await ask(session, '/t.S/Echo', one)).body).toEqual(one);
    expect(transport.pendingBytes).toBe(0);
    expect(transport.requests).toBe(0);
  });

  it('that is no gRPC is refused as HTTP', async () => {
    const { session } = await transportOf({ '/t.S/Echo': echo });
    const headers = { 'content-type': 'application/json' };
    expect((await ask(session, '/t.S/Echo', one, headers)).headers[':status']).toBe(415);
    const get = session.request({ ':method': 'GET', ':path': '/t.S/Echo' });
    expect((await answerOf(get)).headers[':status']).toBe(415);
  });

  it('fails with what its handler throws, at once or later, in any words', async () => {
    const words = `100 % "größer"\n${'x'.repeat(20_000)}`;
    const { session } = await transportOf({
      '/t.S/Now': {
        unary: () => {
          throw new StatusError('NOT_FOUND', words);
        },
      },
      '/t.S/Later': { unary: () => Promise.reject(new Error('a bug')) },
    });
    const { trailers } = await ask(session, '/t.S/Now', one);
    expect(trailers['grpc-status']).toBe('5');
    expect(decodeURIComponent(trailers['grpc-message'] as string)).toContain('100 % "größer"\nxxx');
    const later = await ask(session, '/t.S/Later', one);
    expect(later.trailers).toMatchObject({ 'grpc-status': '13', 'grpc-message': 'a bug' });
  });

  it('knows its metadata and its deadline', async () => {
    let seen: GrpcCall | undefined;
    let left: number | undefined;
    const { session } = await transportOf({
      '/t.S/Look': {
        unary: (request, call) => {
          seen = call;
          left = call.timeLeftMs();
          return request;
        },
      },
    });
    await ask(session, '/t.S/Look', one, { 'x-own': 'a', 'grpc-timeout': '30S' });
    expect(seen?.headers['x-own']).toBe('a');
    expect(seen?.path).toBe('/t.S/Look');
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(30_000);
    await ask(session, '/t.S/Look', one);
    expect(left).toBeUndefined();
  });

  it('past its deadline is answered, and its handler told', async () => {
    let told: (reason: unknown) => void = () => undefined;
    const aborted = new Promise<unknown>((resolve) => (told = resolve));
    const { session } = await transportOf({
      '/t.S/Stay': {
        unary: (_request, { signal }) =>
          new Promise(() => signal.addEventListener('abort', () => told(signal.reason))),
      },
    });
    const { trailers } = await ask(session, '/t.S/Stay', one, { 'grpc-timeout': '20m' });
    expect(trailers['grpc-status']).toBe('4');
    expect(await aborted).toMatchObject({ status: 'DEADLINE_EXCEEDED' });
  });

  it.each(['the call', 'the connection'])('ends when its client ends %s', async (what) => {
    let told: (reason: unknown) => void = () => undefined;
    const aborted = new Promise<unknown>((resolve) => (told = resolve));
    let started: () => void = () => undefined;
    const running = new Promise<void>((resolve) => (started = resolve));
    const { session, transport } = await transportOf({
      '/t.S/Stay': {
        unary: (_request, { signal }) =>
          new Promise(() => {
            signal.addEventListener('abort', () => told(signal.reason));
            started();
          }),
      },
    });
    const stream = open(session, '/t.S/Stay');
    stream.end(one);
    await running;
    expect(transport.requests).toBe(1);
    if (what === 'the call') stream.close(constants.NGHTTP2_CANCEL);
    else session.destroy();
    expect(await aborted).toMatchObject({ status: 'CANCELLED' });
    expect(transport.pendingBytes).toBe(0);
    expect(transport.requests).toBe(0);
  });
});

describe('a stream', () => {
  it.each([3, 3_000_000])(
    'ended before its client ends it has a status, after %i bytes',
    async (byteLength) => {
      const { session } = await transportOf({
        '/t.S/Talk': {
          stream: (call) => ({
            onMessage: () => {
              call.send(Buffer.alloc(byteLength));
              call.end(new StatusError('ABORTED', 'enough'));
            },
            onHalfClose: () => undefined,
            onDrain: () => undefined,
            onClose: () => undefined,
            onShutdown: () => undefined,
          }),
        },
      });
      const stream = open(session, '/t.S/Talk');
      const answer = answerOf(stream);
      stream.write(one);
      const { trailers, body } = await answer;
      expect(trailers).toMatchObject({ 'grpc-status': '10', 'grpc-message': 'enough' });
      expect(body).toHaveLength(5 + byteLength);
      expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    },
  );
});

describe('limits', () => {
  it('on calls at a time refuse one more, and take the next when one has ended', async () => {
    const refused: string[] = [];
    let finish: (() => void) | undefined;
    const { session } = await transportOf(
      {
        '/t.S/Wait': {
          unary: (request) => new Promise((resolve) => (finish = () => resolve(request))),
        },
        '/t.S/Echo': echo,
      },
      { maxConcurrentRequests: 1, onRefused: (limit) => refused.push(limit) },
    );
    const first = ask(session, '/t.S/Wait', one);
    const second = await ask(session, '/t.S/Echo', one);
    expect(second.trailers['grpc-status']).toBe('14');
    expect(second.trailers['grpc-message']).toContain('1 requests at a time');
    expect(refused).toEqual(['concurrent_requests']);
    finish?.();
    expect((await first).trailers['grpc-status']).toBe('0');
    expect((await ask(session, '/t.S/Echo', one)).trailers['grpc-status']).toBe('0');
  });

  it('on what is held of all requests refuse one more', async () => {
    const refused: string[] = [];
    const { session, transport } = await transportOf(
      { '/t.S/Echo': echo },
      { maxPendingBytes: 10_000, onRefused: (limit) => refused.push(limit) },
    );
    const half = open(session, '/t.S/Echo');
    const halfAnswer = answerOf(half);
    half.write(frame(Buffer.alloc(9000)).subarray(0, 8000));
    const large = await ask(session, '/t.S/Echo', frame(Buffer.alloc(3000)));
    expect(large.trailers['grpc-status']).toBe('14');
    expect(refused).toEqual(['pending_bytes']);
    half.end(Buffer.alloc(1005));
    expect((await halfAnswer).body).toHaveLength(9005);
    expect(transport.pendingBytes).toBe(0);
  });

  it('on calls of a connection are told to its client', async () => {
    const { session } = await transportOf({ '/t.S/Echo': echo }, { maxConcurrentStreams: 7 });
    await once(session, 'remoteSettings');
    expect(session.remoteSettings.maxConcurrentStreams).toBe(7);
  });
});

describe('observers', () => {
  it('see each call, may refuse it, and are told what came of it', async () => {
    const outcomes: CallOutcome[] = [];
    const { session } = await transportOf(
      { '/t.S/Echo': echo },
      {
        onCall: ({ headers }) => {
          if (headers['authorization'] !== 'Bearer t') {
            throw new StatusError('UNAUTHENTICATED', 'no token');
          }
          return { run: (act) => act(), end: (outcome) => outcomes.push(outcome) };
        },
      },
    );
    const refused = await ask(session, '/t.S/Echo', one);
    expect(refused.trailers).toMatchObject({ 'grpc-status': '16', 'grpc-message': 'no token' });
    await ask(session, '/t.S/Echo', one, { authorization: 'Bearer t' });
    expect(outcomes).toMatchObject([{ status: 'OK', requestBytes: 8, responseBytes: 3 }]);
  });
});

describe('draining', () => {
  it('answers what is under way, takes nothing new, and closes', async () => {
    let finish: (() => void) | undefined;
    const { session, transport, port } = await transportOf({
      '/t.S/Wait': {
        unary: (request) => new Promise((resolve) => (finish = () => resolve(request))),
      },
      '/t.S/Echo': echo,
    });
    const waiting = ask(session, '/t.S/Wait', one);
    await ask(session, '/t.S/Echo', one);
    const goaway = once(session, 'goaway');
    const drained = transport.drain(30_000);
    await goaway;
    const late = connect(`http://127.0.0.1:${port}`);
    const [error] = (await once(late, 'error')) as [Error];
    expect(error.message).toContain('ECONNREFUSED');
    finish?.();
    expect((await waiting).trailers['grpc-status']).toBe('0');
    expect(await drained).toBe(0);
    expect(transport.connections).toBe(0);
  });

  it('cuts off what has not ended in time', async () => {
    const { session, transport } = await transportOf({
      '/t.S/Stay': { unary: () => new Promise(() => undefined) },
      '/t.S/Echo': echo,
    });
    const stream = open(session, '/t.S/Stay');
    stream.end(one);
    await ask(session, '/t.S/Echo', one);
    expect(await transport.drain(50)).toBe(1);
    expect(transport.connections).toBe(0);
  });
});

describe('clients that are none', () => {
  it('do not disturb the others', async () => {
    const { session, port } = await transportOf({ '/t.S/Echo': echo });
    const noise = [
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + '\xff'.repeat(500),
      '\x16\x03\x01\x02\x00',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    ];
    for (const bytes of noise) {
      const socket = connectTcp(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.end(Buffer.from(bytes, 'latin1'));
      await once(socket.resume(), 'close');
    }
    expect((await ask(session, '/t.S/Echo', one)).body).toEqual(one);
  });

  it('that send frames at random get no more than an end', async () => {
    const { session, port, transport } = await transportOf(
      { '/t.S/Echo': echo },
      { keepaliveMs: 300 },
    );
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48271) % 0x7fffffff;
      return seed % below;
    };
    const ends: Promise<unknown>[] = [];
    for (let round = 0; round < 60; round++) {
      const socket = connectTcp(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      // A SETTINGS frame, then frames of random types and contents.
      socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
      for (let i = 0; i < 20; i++) {
        const length = random(40);
        const content = Buffer.from(Array.from({ length }, () => random(256)));
        const head = [0, 0, length, random(11), random(64), 0, 0, 0, random(9)];
        socket.write(Buffer.concat([Buffer.from(head), content]));
      }
      socket.end();
      // It may take a while until the server has found out.
      ends.push(once(socket.resume(), 'close'));
    }
    expect((await ask(session, '/t.S/Echo', one)).body).toEqual(one);
    await Promise.all(ends);
    await expect.poll(() => transport.connections).toBe(1);
  });

  it('that stop in the middle of a message, or of reading an answer, are cut off', async () => {
    const large = Buffer.alloc(30_000_000);
    const { session, transport } = await transportOf(
      { '/t.S/Large': { unary: () => large } },
      { stallTimeoutMs: 200 },
    );
    const half = open(session, '/t.S/Large');
    half.write(one.subarray(0, 6));
    expect((await answerOf(half)).trailers['grpc-status']).toBe('4');
    const unread = open(session, '/t.S/Large');
    unread.end(one);
    await once(unread, 'close');
    expect(unread.rstCode).toBe(constants.NGHTTP2_CANCEL);
    await expect.poll(() => transport.requests).toBe(0);
  });
});

describe('the server', () => {
  async function serve(
    options: Parameters<typeof serveFixtures>[1] = {},
    models = [fixtureModel('scalars', 'scalars.onnx'), fixtureModel('slow', 'slow.onnx')],
  ): Promise<ServedFixtures> {
    const served = await serveFixtures(models, options);
    closing.push(() => served.close());
    return served;
  }

  function clientOf(...args: ConstructorParameters<typeof GrpcClient>): GrpcClient {
    const client = new GrpcClient(...args);
    closing.push(() => client.close());
    return client;
  }

  const scalars: Message = {
    model_spec: { name: 'scalars' },
    inputs: {
      x: { dtype: 'DT_FLOAT', float_val: [3] },
      n: { dtype: 'DT_INT64', int64_val: [4] },
    },
  };

  function slow(n: number): Message {
    return {
      model_spec: { name: 'slow' },
      inputs: { n: { dtype: 'DT_INT64', int64_val: [n] } },
    };
  }

  it('listens on a unix socket', async () => {
    const { address } = await serve({ path: path.join(temporaryFolder(), 'grpc.sock') });
    const { outputs } = await clientOf(address).predict(scalars);
    expect(outputs).toHaveProperty('y');
  });

  it('serves connections that were accepted elsewhere', async () => {
    const { server } = await serve();
    const listener = createTcpServer((socket) => server.accept(socket));
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    closing.push(() => listener.close());
    const { port } = listener.address() as { port: number };
    const { outputs } = await clientOf(`127.0.0.1:${port}`).predict(scalars);
    expect(outputs).toHaveProperty('y');
  });

  it('speaks TLS, and asks for client certificates', async () => {
    const { authority, server: own, client } = makeCertificates(temporaryFolder());
    const { address } = await serve({
      tls: {
        key: own.key,
        cert: own.certificate,
        ca: authority.certificate,
        requestCert: true,
      },
    });
    const ca = Buffer.from(authority.certificate);
    const withoutOwn = clientOf(address, credentials.createSsl(ca));
    expect((await failureOf(withoutOwn.predict(scalars))).code).toBe('UNAVAILABLE');
    const withOwn = clientOf(
      address,
      credentials.createSsl(ca, Buffer.from(client.key), Buffer.from(client.certificate)),
    );
    expect(await withOwn.predict(scalars)).toHaveProperty('outputs');
  });

  it('stops a run at the client’s deadline, and when the client cancels', async () => {
    const { address, repository } = await serve();
    const client = clientOf(address);
    const late = client.predict(slow(100_000), { deadline: new Date(Date.now() + 100) });
    expect((await failureOf(late)).code).toBe('DEADLINE_EXCEEDED');
    const call = client.start('tensorflow.serving.PredictionService/Predict', slow(100_000));
    const failure = failureOf(call.answer);
    // The run has to be there before it is stopped.
    await clientOf(address).predict(scalars);
    call.cancel();
    expect((await failure).code).toBe('CANCELLED');
    const held = repository.acquire({ name: 'slow' });
    await expect
      .poll(() => held.model.stats().cancelledRuns + held.model.stats().failedRuns, {
        timeout: 30_000,
      })
      .toBeGreaterThanOrEqual(1);
    held.release();
  });

  it('tells its health, and who watches when it changes', async () => {
    const { address, server } = await serve();
    const client = clientOf(address);
    const check = (service: string): Promise<Message> =>
      client.call('grpc.health.v1.Health/Check', { service });
    expect(await check('')).toEqual({ status: 'SERVING' });
    expect(await check('tensorflow.serving.PredictionService')).toEqual({ status: 'SERVING' });
    expect(await failureOf(check('none'))).toEqual({
      code: 'NOT_FOUND',
      details: 'unknown service none',
    });
    const watch = client.watch('');
    const told: unknown[] = [];
    const ended = new Promise<{ code: number }>((resolve) => {
      watch.on('error', (error: Error & { code: number }) => resolve(error));
    });
    watch.on('data', ({ status }: Message) => told.push(status));
    const unknown = client.watch('none');
    const [first] = (await once(unknown, 'data')) as [Message];
    expect(first).toEqual({ status: 'SERVICE_UNKNOWN' });
    unknown.on('error', () => undefined);
    server.onModelsChanged();
    expect(await server.drain(10_000)).toBe(0);
    expect((await ended).code).toBe(14);
    expect(told).toEqual(['SERVING', 'NOT_SERVING']);
  });

  it('is not healthy before its models are there', async () => {
    const { address } = await serve({
      models: {
        acquire: () => {
          throw new StatusError('NOT_FOUND', 'none');
        },
        status: () => [],
        list: () => [],
        readiness: () => ({ ready: false, waiting: ['m'], failed: [] }),
      },
    });
    expect(await clientOf(address).call('grpc.health.v1.Health/Check', {})).toEqual({
      status: 'NOT_SERVING',
    });
  });

  it('describes itself so that a client needs no protos', async () => {
    const { address } = await serve();
    const reflection = clientOf(address).reflect();
    const asked = async (request: Message): Promise<Message> => {
      const answer = once(reflection, 'data') as Promise<[Message]>;
      reflection.write(request);
      return (await answer)[0];
    };
    const services = await asked({ list_services: '' });
    expect(services['list_services_response']).toEqual({
      service: [
        'tensorflow.serving.PredictionService',
        'tensorflow.serving.ModelService',
        'inference.GRPCInferenceService',
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ].map((name) => ({ name })),
    });
    for (const { name } of (services['list_services_response'] as { service: { name: string }[] })
      .service) {
      const answer = await asked({ file_containing_symbol: name });
      const { file_descriptor_proto: files } = answer['file_descriptor_response'] as {
        file_descriptor_proto: Buffer[];
      };
      // bufbuild's registry refuses files that do not belong together.
      const file = sortedFiles(files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes)));
      const registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
      expect(registry.getService(name)?.methods.length).toBeGreaterThan(0);
    }
    const predict = await asked({
      file_containing_symbol: 'tensorflow.serving.PredictionService.Predict',
    });
    expect(predict).toHaveProperty('file_descriptor_response');
    const file = await asked({ file_by_filename: 'tensorflow/core/framework/tensor.proto' });
    expect(file).toHaveProperty('file_descriptor_response');
    for (const request of [
      { file_containing_symbol: 'no.Such' },
      { file_by_filename: 'no.proto' },
      { file_containing_extension: { containing_type: 'no.Such', extension_number: 1 } },
    ]) {
      expect(await asked(request)).toMatchObject({ error_response: { error_code: 5 } });
    }
    reflection.end();
    await once(reflection, 'end');
  });

  it('leaves health and reflection out where it is told to', async () => {
    const { address } = await serve({ health: false, reflection: false });
    const client = clientOf(address);
    const check = client.call('grpc.health.v1.Health/Check', {});
    expect((await failureOf(check)).code).toBe('UNIMPLEMENTED');
  });

  it('answers many calls at once over one connection', async () => {
    const { address } = await serve();
    const client = clientOf(address);
    const answers = await Promise.all(Array.from({ length: 500 }, () => client.predict(scalars)));
    expect(answers).toHaveLength(500);
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });
});

type FileProto = ReturnType<typeof fromBinary<typeof FileDescriptorProtoSchema>>;

/** Files behind those that they import. */
function sortedFiles(files: FileProto[]): FileProto[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  const sorted = new Set<FileProto>();
  const add = (file: FileProto): void => {
    for (const name of file.dependency) {
      const dependency = byName.get(name);
      if (dependency === undefined) throw new Error(`${file.name} imports ${name}: not answered`);
      add(dependency);
    }
    sorted.add(file);
  };
  files.forEach(add);
  return [...sorted];
}
