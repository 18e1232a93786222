/** The REST front end against clients that are slow, huge, hostile or gone. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';

import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import type { ServedModel } from '../../lib/server/models.js';
import type { Repository } from '../../lib/server/repository/repository.js';
import { fixtureModel, openRepository } from '../helpers/fixture-models.js';
import {
  errorText,
  serveRest,
  type TestServer,
  type TestServerOptions,
} from '../helpers/rest-server.js';

let repository: Repository;
let server: TestServer;
const opened: TestServer[] = [];
const sockets: Socket[] = [];

beforeAll(async () => {
  repository = await openRepository([
    fixtureModel('half_plus_two'),
    fixtureModel('slow', 'slow.onnx'),
    fixtureModel('tf_slow', 'tf_slow'),
  ]);
  server = await serveRest(repository);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(opened.splice(0).map((each) => each.close()));
});

afterAll(async () => {
  await server.close();
  await repository.close(5000);
});

async function serveWith(options: TestServerOptions): Promise<TestServer> {
  const own = await serveRest(repository, options);
  opened.push(own);
  return own;
}

/** Waits until `check` passes. */
function eventually(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, { timeout: 20_000 });
}

interface Connection {
  readonly socket: Socket;
  /** All that came on it, once it is closed. */
  readonly read: () => Promise<string>;
}

async function open(port: number): Promise<Connection> {
  const socket = connect({ port, host: '127.0.0.1' });
  sockets.push(socket);
  socket.on('error', () => {});
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  return {
    socket,
    read: async () => {
      await closed;
      return Buffer.concat(chunks).toString();
    },
  };
}

function predictHead(length: number, more = ''): string {
  return `POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n${more}\r\n`;
}

const predictUrl = '/v1/models/half_plus_two:predict';
const good = '{"instances": [1.0, 2.0]}';
const goodAnswer = '{\n    "predictions": [3.5, 4.0\n    ]\n}';

describe('bodies', () => {
  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=latin1',
    ';;;',
    'nonsense',
    '',
  ])('are JSON whatever their content type says: %j', async (type) => {
    const { status, body } = await server.ask('POST', predictUrl, {
      body: good,
      headers: { 'content-type': type },
    });
    expect({ status, body }).toEqual({ status: 200, body: goodAnswer });
  });

  it('may come in chunks of any size', async () => {
    const { socket, read } = await open(server.port);
    const chunks = [...good].map((char) => `1\r\n${char}\r\n`).join('');
    socket.write(
      `POST ${predictUrl} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
    );
    expect(await read()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*"predictions": \[3.5, 4.0\s+\]/);
  });

  it('may be cut off at any byte: 400, never a crash', async () => {
    const sample =
      '{"signature_name": "serving_default", "instances": [{"x": 1.5e0}, {"x": -2}], "z": [null, true, "\\u00e4", NaN]}';
    for (let length = 0; length < sample.length; length++) {
      const { status, body } = await server.ask('POST', predictUrl, {
        body: sample.slice(0, length),
      });
      expect([length, status, JSON.parse(body)]).toEqual([
        length,
        400,
        { error: expect.stringMatching(/^JSON Parse error: /) as string },
      ]);
    }
  });

  it('may have any byte replaced: an answer, never a crash', async () => {
    const sample = '{"instances": [{"x": 1.5}], "z": ["\\u00e4", NaN]}';
    for (let index = 0; index < sample.length; index++) {
      for (const byte of [0, 0x22, 0x5b, 0x5d, 0x7b, 0x7d, 0x2c, 0x39, 0xff]) {
        const body = Buffer.from(sample);
        body[index] = byte;
        const answer = await server.ask('POST', predictUrl, { body });
        expect([200, 400]).toContain(answer.status);
        if (answer.status === 400) expect(JSON.parse(answer.body)).toHaveProperty('error');
      }
    }
  });

  it('may be nested 500 000 deep', async () => {
    for (const body of [
      `{"instances": ${'['.repeat(500_000)}${']'.repeat(500_000)}}`,
      `{"instances": ${'['.repeat(500_000)}`,
      `{"ignored": ${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}, "instances": [1]}`,
      '[{'.repeat(500_000),
    ]) {
      const { status } = await server.ask('POST', predictUrl, { body });
      expect([200, 400]).toContain(status);
    }
    expect((await server.ask('POST', predictUrl, { body: good })).body).toBe(goodAnswer);
  });

  it('are read each for itself, many large ones of different lengths at a time', async () => {
    const ask = async (count: number): Promise<void> => {
      const numbers = Array.from({ length: count }, (_, i) => ((count + i) % 1000) + 0.5);
      const { status, body } = await server.post(predictUrl, { instances: numbers });
      expect(status).toBe(200);
      const { predictions } = JSON.parse(body) as { predictions: number[] };
      expect(predictions).toEqual(numbers.map((number) => number * 0.5 + 3));
    };
    // Four at a time, of 20 KB to 2 MB, so that memory of one serves another.
    const counts = Array.from({ length: 40 }, (_, i) => Math.round(4000 * 1.12 ** ((i * 7) % 40)));
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let count = counts.pop(); count !== undefined; count = counts.pop()) await ask(count);
      }),
    );
  });

  it('are left alone where somebody else reads them, too', async () => {
    const seen: Buffer[] = [];
    const own = await serveWith({});
    own.app.server.prependListener('request', (request) => {
      request.on('data', (chunk: Buffer) => seen.push(chunk));
    });
    const body = JSON.stringify({ instances: Array.from({ length: 100_000 }, (_, i) => i) });
    expect((await own.ask('POST', predictUrl, { body })).status).toBe(200);
    expect(Buffer.concat(seen).equals(Buffer.from(body))).toBe(true);
  });

  it('that are too large get 413, and the connection an answer', async () => {
    const own = await serveWith({ rest: { maxBodyBytes: 1000 } });
    const { status, body } = await own.ask('POST', predictUrl, { body: Buffer.alloc(1001, 0x20) });
    expect({ status, body }).toEqual({
      status: 413,
      body: errorText('The request body is larger than 1000 bytes'),
    });
    const chunked = await own.ask('POST', predictUrl, {
      body: Buffer.alloc(4_000_000, 0x20),
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(chunked.status).toBe(413);
    const padded = good.padEnd(1000);
    expect((await own.ask('POST', predictUrl, { body: padded })).body).toBe(goodAnswer);
  });

  it('that hold too much together get 503', async () => {
    const own = await serveWith({ rest: { maxPendingBodyBytes: 2000 } });
    const { socket: waiting } = await open(own.port);
    waiting.write(predictHead(3000) + ' '.repeat(1500));
    await eventually(async () => {
      const { status, body } = await own.ask('POST', predictUrl, { body: good.padEnd(600) });
      expect(status).toBe(503);
      expect(body).toMatch(/^\{\s+"error": "The server holds \d+ bytes of requests/);
    });
    // What waits is given back with its connection.
    waiting.destroy();
    await eventually(async () => {
      expect((await own.ask('POST', predictUrl, { body: good.padEnd(600) })).status).toBe(200);
    });
  });
});

describe('gzip', () => {
  const zipped = { 'content-encoding': 'gzip' };

  it('is decompressed', async () => {
    for (const encoding of ['gzip', 'x-gzip', 'GZIP']) {
      const { body } = await server.ask('POST', predictUrl, {
        body: gzipSync(good),
        headers: { 'content-encoding': encoding },
      });
      expect(body).toBe(goodAnswer);
    }
  });

  it('that is none, or cut off, is 400', async () => {
    for (const body of [Buffer.from(good), gzipSync(good).subarray(0, -9), Buffer.alloc(0)]) {
      const answer = await server.ask('POST', predictUrl, { body, headers: zipped });
      expect(answer.status).toBe(400);
      expect(answer.body).toMatch(
        /^\{\s+"error": "(The request body is not valid gzip|JSON Parse)/,
      );
    }
  });

  it('bombs end at the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(200 << 20, 0x20));
    const before = process.memoryUsage.rss();
    const { status, body } = await server.ask('POST', predictUrl, { body: bomb, headers: zipped });
    expect({ status, body }).toEqual({
      status: 413,
      body: errorText('The request body is larger than 104857600 bytes'),
    });
    const own = await serveWith({ rest: { maxBodyBytes: 1 << 20 } });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        own.ask('POST', predictUrl, { body: bomb, headers: zipped }),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual(Array(20).fill(413));
    expect(process.memoryUsage.rss() - before).toBeLessThan(300 << 20);
  });
});

describe('connections', () => {
  it('that send a header too slowly get 408', async () => {
    const own = await serveWith({
      http: { headersTimeoutMs: 200, requestTimeoutMs: 400, checkIntervalMs: 50 },
    });
    const silent = await open(own.port);
    const slow = await open(own.port);
    slow.socket.write('POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nA: ');
    const body = await open(own.port);
    body.socket.write(predictHead(100) + '{');
    expect(await silent.read()).toMatch(/^(HTTP\/1.1 408 |$)/);
    expect(await slow.read()).toMatch(
      /^HTTP\/1.1 408 Request Timeout\r\n[^]*"error": "The request did not come in time"\s+\}$/,
    );
    expect(await body.read()).toMatch(/^(HTTP\/1.1 408 |$)/);
  });

  it('with too large a header get 431, with no HTTP 400', async () => {
    const large = await open(server.port);
    large.socket.write(`GET /healthz/live HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`);
    expect(await large.read()).toMatch(
      /^HTTP\/1.1 431 .*\r\n[^]*"error": "The header is too large"\s+\}$/,
    );
    const other = await open(server.port);
    other.socket.write('\x16\x03\x01\x02\x00\x01\x00\r\n\r\n');
    expect(await other.read()).toMatch(
      /^HTTP\/1.1 400 .*\r\n[^]*"error": "The request is not valid HTTP"\s+\}$/,
    );
  });

  it('of any number may be idle', async () => {
    const idle = await Promise.all(Array.from({ length: 2000 }, () => open(server.port)));
    expect((await server.ask('POST', predictUrl, { body: good })).body).toBe(goodAnswer);
    expect(idle.every(({ socket }) => !socket.destroyed)).toBe(true);
  });

  it('beyond the limit are closed', async () => {
    const own = await serveWith({ http: { maxConnections: 2 } });
    const kept = [await open(own.port), await open(own.port)];
    const extra = await open(own.port);
    expect(await extra.read()).toBe('');
    for (const { socket } of kept) socket.destroy();
    await eventually(async () => {
      expect((await own.ask('POST', predictUrl, { body: good })).body).toBe(goodAnswer);
    });
  });

  it('take pipelined requests in order', async () => {
    const { socket, read } = await open(server.port);
    const one = predictHead(20) + '{"instances": [1.0]}';
    const two = predictHead(20) + '{"instances": [5.0]}';
    const last = predictHead(4, 'Connection: close\r\n') + 'oops';
    socket.write(one + two + last);
    const text = await read();
    expect(text.match(/"(predictions|error)": .*/g)).toEqual([
      '"predictions": [3.5',
      '"predictions": [5.5',
      '"error": "JSON Parse error: Invalid value. at offset: 0"',
    ]);
  });
});

describe('runs', () => {
  it('that take too long are 504', async () => {
    const own = await serveWith({ rest: { timeoutMs: 100 } });
    for (const model of ['slow', 'tf_slow']) {
      const { status, body } = await own.post(`/v1/models/${model}:predict`, { inputs: 2000 });
      expect({ status, body }).toEqual({
        status: 504,
        body: errorText('Timed out waiting for notification'),
      });
    }
  });

  it('beyond the limit are 503, and do not wait', async () => {
    const own = await serveWith({ rest: { maxConcurrentRequests: 1 } });
    const { socket: held } = await open(own.port);
    held.write(predictHead(100));
    await eventually(async () => {
      const { status, body, headers } = await own.ask('POST', predictUrl, { body: good });
      expect({ status, body, retry: headers['retry-after'] }).toEqual({
        status: 503,
        body: errorText('The server has 1 requests at a time, and takes no more now'),
        retry: '1',
      });
    });
    // Others than runs are answered all the same.
    expect((await own.ask('GET', '/v1/models/half_plus_two')).status).toBe(200);
    held.destroy();
    await eventually(async () => {
      expect((await own.ask('POST', predictUrl, { body: good })).status).toBe(200);
    });
  });

  it('that wait behind another on a connection that goes give their place back', async () => {
    const own = await serveWith({ rest: { maxConcurrentRequests: 2 } });
    const { socket } = await open(own.port);
    const body = '{"inputs": 200000}';
    const slow = `POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    socket.write(slow + slow);
    await eventually(async () => {
      expect((await own.ask('POST', predictUrl, { body: good })).status).toBe(503);
    });
    socket.destroy();
    await eventually(async () => {
      const answers = [1, 2].map(() => own.ask('POST', predictUrl, { body: good }));
      const statuses = (await Promise.all(answers)).map(({ status }) => status);
      expect(statuses).toEqual([200, 200]);
    });
    const again = repository.acquire({ name: 'slow' });
    await eventually(() => expect(again.model.stats().busyLanes).toBe(0));
    again.release();
  });

  // A half-closed connection cannot be told from a closed one, whose run nobody waits for.
  it.each([
    ['closed', (socket: Socket) => socket.destroy()],
    ['half closed', (socket: Socket) => socket.end()],
  ])('of clients that have %s are stopped, and give their model back', async (_, leave) => {
    let held = 0;
    let cancelled = 0;
    const counted = Object.assign(Object.create(repository) as Repository, {
      acquire: (...args: Parameters<Repository['acquire']>): ServedModel => {
        const served = repository.acquire(...args);
        held++;
        return {
          name: served.name,
          version: served.version,
          model: served.model,
          signatureDefs: () => served.signatureDefs(),
          release: () => {
            held--;
            served.release();
          },
        };
      },
      list: () => repository.list(),
      status: (...args: Parameters<Repository['status']>) => repository.status(...args),
      readiness: () => repository.readiness(),
    });
    const own = await serveRest(counted, {
      rest: {
        metrics: {
          request: ({ status }) => void (cancelled += status === 'CANCELLED' ? 1 : 0),
          runtime() {},
          examples() {},
          started: () => {},
          ended: () => {},
          refused() {},
        },
      },
    });
    opened.push(own);
    const body = '{"inputs": 200000}';
    const { socket } = await open(own.port);
    socket.write(
      `POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually(() => expect(held).toBe(1));
    leave(socket);
    // The model would run for more than a minute.
    await eventually(() => expect([held, cancelled]).toEqual([0, 1]));
    const again = repository.acquire({ name: 'slow' });
    await eventually(() => expect(again.model.stats().busyLanes).toBe(0));
    again.release();
  });
});

it('clients that do not read their answer lose it in the end', async () => {
  const own = await serveWith({ rest: { sendTimeoutMs: 200 } });
  const socket = connect({ port: own.port, host: '127.0.0.1' });
  sockets.push(socket);
  socket.on('error', () => {});
  const body = JSON.stringify({ inputs: Array.from({ length: 1_500_000 }, () => 0.1234567) });
  socket.pause();
  socket.write(predictHead(Buffer.byteLength(body)));
  socket.write(body);
  await eventually(async () => {
    const count = await new Promise<number>((resolve, reject) =>
      own.app.server.getConnections((error, n) => (error ? reject(error) : resolve(n))),
    );
    expect(count).toBe(0);
  });
});
