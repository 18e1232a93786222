/** The Open Inference Protocol's REST API, over real sockets, in the main thread and in front-end threads. */

import { cpSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';

import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';

import { load } from '../../lib/index.js';
import { createServer, type Server, type ServerOptions } from '../../lib/server/index.js';
import { areSettled, fixtureModel } from '../helpers/fixture-models.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { type RawAnswer, askRaw } from '../helpers/raw-http.js';
import { temporaryFolder } from '../helpers/temporary.js';
import { readTranscripts } from '../helpers/transcripts.js';

const models = [
  fixtureModel('half', 'half_plus_two', {
    versionPolicy: { kind: 'all' },
    labels: { stable: 123n },
  }),
  fixtureModel('signatures', 'tf_signatures'),
  fixtureModel('dtypes', 'tf_dtypes'),
  fixtureModel('texts', 'tf_strings'),
  fixtureModel('multi', 'multi_io.onnx'),
  fixtureModel('digits', 'digits_cnn.onnx'),
  fixtureModel('batched', 'digits_cnn.onnx'),
  fixtureModel('same', 'simple_model.onnx'),
  fixtureModel('slow', 'slow.onnx'),
];

/** Resolves when every model serves or has failed. */
async function serve(options: Partial<ServerOptions> = {}): Promise<Server> {
  const server = createServer({
    models: { models },
    rest: { port: 0, metricsPath: '/metrics' },
    grpc: false,
    maxLoadRetries: 0,
    pollIntervalSeconds: 0,
    load: (name) => (name === 'batched' ? { batching: { maxBatchSize: 4 } } : {}),
    ...options,
  });
  await server.listen();
  while (!(server.readiness().ready && areSettled(server))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return server;
}

const floats = (...values: number[]): Buffer => Buffer.from(new Float32Array(values).buffer);

/** A request and the tensors behind it. */
function binary(request: object, ...tensors: Uint8Array[]): { body: Buffer; headers: Headers } {
  const json = Buffer.from(JSON.stringify(request));
  return {
    body: Buffer.concat([json, ...tensors]),
    headers: { 'inference-header-content-length': String(json.length) },
  };
}

type Headers = Record<string, string>;

interface Described {
  readonly content: { readonly 'application/json': { readonly schema: object } };
}

/** An answer's JSON and what follows it. */
function parts({ headers, body }: RawAnswer): { json: unknown; rest: Buffer } {
  const length = headers['inference-header-content-length'];
  const end = length === undefined ? body.length : Number(length);
  return { json: JSON.parse(body.subarray(0, end).toString()), rest: body.subarray(end) };
}

const announced = (name: string, datatype: string, shape: number[], size: number): object => ({
  name,
  datatype,
  shape,
  parameters: { binary_data_size: size },
});

describe.each([0, 2])('with %i front-end threads', (frontendThreads) => {
  let server: Server;
  const ask = (
    method: string,
    url: string,
    more: { body?: Buffer | string; headers?: Headers } = {},
  ) => askRaw(server.restPort as number, method, url, more);

  beforeAll(async () => {
    server = await serve({ frontendThreads });
  });
  afterAll(() => server.close(1000));

  describe.each(['oip.txt', 'oip-infer.txt', 'oip-errors.txt'])('%s', (file) => {
    it.each(readTranscripts(file))('line $line: $method $url', async (transcript) => {
      const { method, url, body, status, answer, isPrefix } = transcript;
      const received = await ask(method, url, body === undefined ? {} : { body });
      const text = received.body.toString();
      expect({
        status: received.status,
        body: isPrefix ? text.slice(0, method === 'HEAD' ? 0 : answer.length) : text,
      }).toEqual({ status, body: method === 'HEAD' ? '' : answer });
      expect(received.headers['content-type']).toBe('application/json');
    });
  });

  it('names the method of a path that was asked with another', async () => {
    expect((await ask('GET', '/v2/models/half/infer')).headers['allow']).toBe('POST');
    expect((await ask('POST', '/v2/models/half/ready')).headers['allow']).toBe('GET, HEAD');
  });

  describe('binary tensors', () => {
    it('come and go as the request says', async () => {
      const request = binary(
        {
          id: '7',
          parameters: { binary_data_output: true },
          inputs: [announced('a', 'FP32', [2], 8), announced('b', 'FP32', [2], 8)],
          outputs: [
            { name: 'sum' },
            { name: 'greater', parameters: { binary_data: false } },
            { name: 'shape' },
          ],
        },
        floats(1, 2),
        floats(3, 1),
      );
      const answer = await ask('POST', '/v2/models/multi/infer', request);
      expect([answer.status, answer.headers['content-type']]).toEqual([
        200,
        'application/octet-stream',
      ]);
      const { json, rest } = parts(answer);
      expect(json).toEqual({
        model_name: 'multi',
        model_version: '1',
        id: '7',
        outputs: [
          announced('sum', 'FP32', [2], 8),
          { name: 'greater', datatype: 'BOOL', shape: [2], data: [false, true] },
          announced('shape', 'INT64', [1], 8),
        ],
      });
      expect(rest).toEqual(Buffer.concat([floats(4, 3), Buffer.from([2, 0, 0, 0, 0, 0, 0, 0])]));
    });

    it('are the only way for halves, both ways', async () => {
      const half = Buffer.from([0, 0x3c, 0, 0xc0]);
      const request = (binaryOutput: boolean) =>
        binary(
          {
            parameters: { signature_name: 'echo_float16', binary_data_output: binaryOutput },
            inputs: [announced('x', 'FP16', [2], 4)],
          },
          half,
        );
      const answer = await ask('POST', '/v2/models/dtypes/infer', request(true));
      expect(parts(answer).rest).toEqual(half);
      const refused = await ask('POST', '/v2/models/dtypes/infer', request(false));
      expect([refused.status, refused.body.toString()]).toEqual([
        400,
        '{"error":"expected output \\"y\\" of FP16 to be asked for with binary_data, received a request for JSON"}',
      ]);
    });

    it('hold BYTES that are no text', async () => {
      const bytes = Buffer.from([2, 0, 0, 0, 0xff, 0xfe, 0, 0, 0, 0]);
      const request = (binaryOutput: boolean) =>
        binary(
          {
            parameters: { signature_name: 'same', binary_data_output: binaryOutput },
            inputs: [announced('bytes', 'BYTES', [2], 10)],
          },
          bytes,
        );
      const answer = await ask('POST', '/v2/models/texts/infer', request(true));
      expect(parts(answer).rest).toEqual(bytes);
      const refused = await ask('POST', '/v2/models/texts/infer', request(false));
      expect(refused.status).toBe(400);
    });

    it('are a request by themselves for a model with one input', async () => {
      const raw = { headers: { 'inference-header-content-length': '0' } };
      const answer = await ask('POST', '/v2/models/digits/infer', {
        ...raw,
        body: Buffer.alloc(64 * 4),
      });
      const { json, rest } = parts(answer);
      expect(json).toMatchObject({ outputs: [announced('probabilities', 'FP32', [1, 10], 40)] });
      expect(rest).toHaveLength(40);
      const wrong = await ask('POST', '/v2/models/digits/infer', { ...raw, body: floats(1) });
      expect([wrong.status, wrong.body.toString()]).toEqual([
        400,
        '{"error":"expected 256 bytes for input \\"images\\", which is FP32 of shape [1,8,8,1], received 4"}',
      ]);
      const many = await ask('POST', '/v2/models/multi/infer', { ...raw, body: floats(1) });
      expect(many.status).toBe(400);
    });

    it.each([
      ['a length that is none', '1x', 'expected an integer of 0 or more as Inference-Header'],
      ['a negative one', '-1', 'expected an integer of 0 or more as Inference-Header'],
      ['one past the end', '9999999', 'as Inference-Header-Content-Length has it, received a body'],
      ['one in the middle', '5', 'JSON Parse error'],
      ['a huge one', '999999999999999999999', 'expected an integer of 0 or more as Inference'],
    ])('are refused for a header with %s', async (_, length, message) => {
      const { body } = binary({ inputs: [announced('x', 'FP32', [1], 4)] }, floats(1));
      const headers = { 'inference-header-content-length': length };
      const answer = await ask('POST', '/v2/models/half/infer', { body, headers });
      expect([answer.status, answer.body.toString()]).toEqual([
        400,
        expect.stringContaining(message),
      ]);
    });

    it('of a large body are fed without a copy where they are aligned', async () => {
      const count = async (way: string): Promise<number> => {
        const { body } = await ask('GET', '/metrics');
        const line = `tenon_oip_input_bytes_total{entrypoint="REST",way="${way}"} `;
        const found = body
          .toString()
          .split('\n')
          .find((each) => each.startsWith(line));
        return Number(found?.slice(line.length) ?? 0);
      };
      const values = Float32Array.from({ length: 50_000 }, (_, i) => i);
      const tensor = Buffer.from(values.buffer);
      const echo = (inputs: object[], ...tensors: Uint8Array[]) =>
        ask(
          'POST',
          '/v2/models/half/infer',
          binary({ parameters: { binary_data_output: true }, inputs }, ...tensors),
        );
      const [passed, copied] = [await count('passed'), await count('copied')];
      const answer = await echo([announced('x', 'FP32', [50_000], tensor.length)], tensor);
      const expected = Buffer.from(values.map((value) => value / 2 + 3).buffer);
      expect(parts(answer).rest.equals(expected)).toBe(true);
      expect((await count('passed')) - passed).toBe(tensor.length);
      expect(await count('copied')).toBe(copied);
    });

    it('are written as they lie where they are large', async () => {
      const values = Float32Array.from({ length: 200_000 }, (_, i) => i);
      const tensor = Buffer.from(values.buffer);
      const request = binary(
        {
          parameters: { binary_data_output: true },
          inputs: [announced('x', 'FP32', [values.length], tensor.length)],
        },
        tensor,
      );
      const answers = await Promise.all(
        Array.from({ length: 4 }, () => ask('POST', '/v2/models/half/infer', request)),
      );
      const expected = Buffer.from(values.map((value) => value / 2 + 3).buffer);
      for (const answer of answers) expect(parts(answer).rest.equals(expected)).toBe(true);
    });
  });

  describe('compression', () => {
    const request = binary(
      {
        parameters: { binary_data_output: true },
        inputs: [announced('x', 'FP32', [1000], 4000)],
      },
      Buffer.alloc(4000),
    );
    const json = JSON.stringify({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1000], data: new Array(1000).fill(1) }],
    });

    it.each([
      ['gzip', gzipSync, gunzipSync],
      ['deflate', deflateSync, inflateSync],
    ])('takes and gives %s', async (encoding, pack, unpack) => {
      const headers = { 'content-encoding': encoding, 'accept-encoding': encoding };
      const answer = await ask('POST', '/v2/models/half/infer', {
        body: pack(request.body),
        headers: { ...headers, ...request.headers },
      });
      expect([answer.status, answer.headers['content-encoding']]).toEqual([200, encoding]);
      const plain = { ...answer, body: unpack(answer.body) };
      expect(parts(plain).rest).toEqual(floats(...new Array<number>(1000).fill(3)));
      const text = await ask('POST', '/v2/models/half/infer', { body: pack(json), headers });
      expect(unpack(text.body).toString()).toContain('[3.5, 3.5, ');
      expect(text.headers['content-type']).toBe('application/json');
    });

    it('is left out where nobody asks for it, or for little', async () => {
      const plain = await ask('POST', '/v2/models/half/infer', { body: json });
      expect(plain.headers['content-encoding']).toBeUndefined();
      const refused = await ask('POST', '/v2/models/half/infer', {
        body: json,
        headers: { 'accept-encoding': 'br, gzip;q=0' },
      });
      expect(refused.headers['content-encoding']).toBeUndefined();
      const little = await ask('POST', '/v2/models/half/infer', {
        body: '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}',
        headers: { 'accept-encoding': 'gzip' },
      });
      expect(little.headers['content-encoding']).toBeUndefined();
    });

    it.each(['gzip', 'deflate'])('refuses what is no %s', async (encoding) => {
      const answer = await ask('POST', '/v2/models/half/infer', {
        body: 'no',
        headers: { 'content-encoding': encoding },
      });
      expect([answer.status, answer.body.toString()]).toEqual([
        400,
        expect.stringContaining(`The request body is not valid ${encoding}`),
      ]);
    });
  });

  it('tells statistics of a version, of a model, and of all', async () => {
    const infer = (body: string) => ask('POST', '/v2/models/same/infer', { body });
    await infer('{"inputs":[]}');
    await infer('{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}');
    interface Stats {
      name: string;
      version: string;
      last_inference: number;
      inference_count: number;
      execution_count: number;
      inference_stats: Record<string, { count: number; ns: number }>;
    }
    const statsAt = async (url: string) => {
      const answer = await ask('GET', url);
      return (JSON.parse(answer.body.toString()) as { model_stats: Stats[] }).model_stats;
    };
    const [stats, ...others] = await statsAt('/v2/models/same/versions/1/stats');
    expect(others).toEqual([]);
    expect(stats).toMatchObject({ name: 'same', version: '1', inference_count: 1 });
    expect(stats?.execution_count).toBeGreaterThanOrEqual(1);
    expect(Math.abs(Date.now() - (stats?.last_inference ?? 0))).toBeLessThan(600_000);
    const { success, fail, compute_input, compute_output } = stats?.inference_stats ?? {};
    expect([success?.count, fail?.count, compute_input?.count, compute_output?.count]).toEqual([
      1, 1, 1, 1,
    ]);
    expect(success?.ns).toBeGreaterThan(0);
    expect(compute_input?.ns).toBeGreaterThan(0);
    const versions = await statsAt('/v2/models/half/stats');
    expect(versions.map(({ version }) => version).sort()).toEqual(['123', '124']);
    const all = await statsAt('/v2/models/stats');
    expect(new Set(all.map(({ name }) => name))).toEqual(new Set(models.map(({ name }) => name)));
  });

  it('ends requests whose time is up', async () => {
    const answer = await ask('POST', '/v2/models/slow/infer', {
      body: JSON.stringify({
        parameters: { timeout: 50_000 },
        inputs: [{ name: 'n', datatype: 'INT64', shape: [], data: [20_000] }],
      }),
    });
    expect([answer.status, answer.body.toString()]).toEqual([
      503,
      '{"error":"Timed out waiting for notification"}',
    ]);
  });

  it('is described by OpenAPI, and answers as it says', async () => {
    const { body } = await ask('GET', '/openapi.json');
    const document = JSON.parse(body.toString()) as {
      paths: Record<string, Record<string, { responses: Record<string, Described> }>>;
      components: object;
    };
    const { valid } = await new Validator().validate(structuredClone(document));
    expect(valid).toBe(true);
    const infer = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
    for (const [method, path, url, sent] of [
      ['get', '/v2', '/v2'],
      ['get', '/v2/health/ready', '/v2/health/ready'],
      ['get', '/v2/models/stats', '/v2/models/stats'],
      ['post', '/v2/repository/index', '/v2/repository/index'],
      ['get', '/v2/models/{model}', '/v2/models/half'],
      ['get', '/v2/models/{model}/ready', '/v2/models/half/ready'],
      ['get', '/v2/models/{model}/config', '/v2/models/half/config'],
      ['get', '/v2/models/{model}/stats', '/v2/models/half/stats'],
      ['post', '/v2/models/{model}/infer', '/v2/models/half/infer', infer],
      [
        'post',
        '/v2/models/{model}/versions/{version}/infer',
        '/v2/models/half/versions/123/infer',
        infer,
      ],
    ] as const) {
      const described = document.paths[path]?.[method]?.responses['200'];
      const isAnswer = new Ajv2020({ strict: false }).compile({
        ...described?.content['application/json'].schema,
        components: document.components,
      });
      const answer = await ask(method.toUpperCase(), url, sent === undefined ? {} : { body: sent });
      expect([path, isAnswer(JSON.parse(answer.body.toString())), isAnswer.errors]).toEqual([
        path,
        true,
        null,
      ]);
      expect(isAnswer({ error: 'no' })).toBe(false);
    }
  });

  describe('the repository', () => {
    const folder = temporaryFolder();
    let own: Server;
    const askOwn = (method: string, url: string, body?: string) =>
      askRaw(own.restPort as number, method, url, body === undefined ? {} : { body });
    const control = async (name: string, act: string): Promise<[number, string]> => {
      const answer = await askOwn('POST', `/v2/repository/models/${name}/${act}`);
      return [answer.status, answer.body.toString()];
    };
    const index = async (): Promise<unknown> =>
      JSON.parse((await askOwn('POST', '/v2/repository/index')).body.toString());
    const isReady = async (name: string): Promise<number> =>
      (await askOwn('GET', `/v2/models/${name}/ready`)).status;

    beforeAll(async () => {
      cpSync(modelPath('half_plus_two/00000123'), path.join(folder, 'half/1'), { recursive: true });
      cpSync(fixture('broken', 'truncated.onnx'), path.join(folder, 'broken/1/model.onnx'));
      own = await serve({
        models: { half: path.join(folder, 'half'), broken: path.join(folder, 'broken') },
        frontendThreads,
      });
    });
    afterAll(() => own.close(1000));

    it('lists what serves and what does not', async () => {
      expect(await index()).toEqual([
        { name: 'half', version: '1', state: 'READY', reason: '' },
        {
          name: 'broken',
          version: '1',
          state: 'UNAVAILABLE',
          reason: expect.stringContaining('Protobuf parsing failed') as string,
        },
      ]);
    });

    it('unloads a model and loads it again, with what is there then', async () => {
      expect(await control('half', 'unload')).toEqual([200, '{}']);
      expect(await index()).toMatchObject([{ name: 'half', state: 'UNAVAILABLE' }, {}]);
      expect(await isReady('half')).toBe(503);
      const infer = await askOwn(
        'POST',
        '/v2/models/half/infer',
        '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}',
      );
      expect(infer.status).toBe(503);
      expect((await askOwn('GET', '/v2/health/ready')).status).toBe(200);
      cpSync(modelPath('half_plus_two/00000124'), path.join(folder, 'half/2'), { recursive: true });
      expect(await control('half', 'load')).toEqual([200, '{}']);
      expect(await isReady('half/versions/2')).toBe(200);
      rmSync(path.join(folder, 'half/2'), { recursive: true });
    });

    it('says why a model cannot be loaded', async () => {
      const [status, text] = await control('broken', 'load');
      expect([status, text]).toEqual([
        400,
        expect.stringContaining('Model broken did not become available: '),
      ]);
    });
  });
});

describe('limits', () => {
  it('are those of the port: of a body, and of health without a token', async () => {
    const server = await serve({
      models: { half: modelPath('half_plus_two') },
      rest: { port: 0, maxBodyBytes: 1000 },
      authToken: 'secret',
    });
    onTestFinished(() => server.close(0));
    const port = server.restPort as number;
    const headers = { authorization: 'Bearer secret' };
    for (const url of ['/v2/health/live', '/v2/health/ready']) {
      expect((await askRaw(port, 'GET', url)).status).toBe(200);
    }
    for (const url of ['/v2', '/v2/models/half/ready', '/v2/models/stats']) {
      expect((await askRaw(port, 'GET', url)).status).toBe(401);
      expect((await askRaw(port, 'GET', url, { headers })).status).toBe(200);
    }
    const large = await askRaw(port, 'POST', '/v2/models/half/infer', {
      headers,
      body: Buffer.alloc(1001),
    });
    expect([large.status, large.body.toString()]).toEqual([
      413,
      '{"error":"The request body is larger than 1000 bytes"}',
    ]);
  });

  it('of requests at a time count those of both APIs', async () => {
    const server = await serve({
      models: { slow: modelPath('slow.onnx'), half: modelPath('half_plus_two') },
      maxConcurrentRequests: 1,
    });
    onTestFinished(() => server.close(0));
    const port = server.restPort as number;
    const slow = connect(port, '127.0.0.1');
    onTestFinished(() => void slow.destroy());
    const body = JSON.stringify({ instances: 1 });
    slow.write(
      `POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    const infer = () =>
      askRaw(port, 'POST', '/v2/models/half/infer', {
        body: '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}',
      });
    // Until the other has been seen.
    let answer = await infer();
    while (answer.status === 200) answer = await infer();
    expect([answer.status, answer.headers['retry-after'], answer.body.toString()]).toEqual([
      503,
      '1',
      '{"error":"The server has 1 requests at a time, and takes no more now"}',
    ]);
  });

  it('hold no memory of requests that have been answered', async () => {
    const server = await serve({ models: { half: modelPath('half_plus_two') } });
    onTestFinished(() => server.close(0));
    const port = server.restPort as number;
    // Any model tells of the memory of all.
    const model = await load(modelPath('simple_model.onnx'));
    onTestFinished(() => model.close());
    const tensor = Buffer.alloc(400_000);
    const request = binary(
      {
        parameters: { binary_data_output: true },
        inputs: [announced('x', 'FP32', [100_000], tensor.length)],
      },
      tensor,
    );
    const before = model.stats().liveBuffers;
    for (let i = 0; i < 20; i++) {
      expect((await askRaw(port, 'POST', '/v2/models/half/infer', request)).status).toBe(200);
    }
    // That of the last answer goes when it has been sent, which its client may know first.
    await vi.waitFor(() => expect(model.stats().liveBuffers).toBeLessThanOrEqual(before));
  });
});
