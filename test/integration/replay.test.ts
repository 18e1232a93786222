import { execFile } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { encodePredictionLog, encodePredictRequest } from '../../lib/codec/proto/index.js';
import { encodeRecord } from '../../lib/codec/tf-record.js';
import { Tensor } from '../../lib/index.js';
import { createServer, type Server } from '../../lib/server/index.js';
import { GrpcClient } from '../helpers/grpc.js';
import { modelPath, root } from '../helpers/paths.js';
import { ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

function replay(args: string[], env: object = {}): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [path.join(root, 'dist/cli.js'), 'replay', ...args],
      { env: { ...process.env, ...env }, maxBuffer: 1e8, timeout: 50_000 },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

const folder = temporaryFolder();
const base = path.join(folder, 'half');
let server: Server;
let rest: string;
let grpc: string;
/** Requests of all kinds: a predict by REST and one by gRPC, classify, regress, several tasks. */
let recorded: string;

const token = 'let-me-in';

beforeAll(async () => {
  cpSync(modelPath('half_plus_two', '00000123'), path.join(base, '1'), { recursive: true });
  cpSync(modelPath('half_plus_two', '00000124'), path.join(base, '2'), { recursive: true });
  const records = path.join(folder, 'records');
  server = createServer({
    models: {
      models: [
        {
          name: 'half',
          basePath: base,
          versionPolicy: { kind: 'all' },
          labels: { stable: 1n, canary: 2n },
        },
        ...['tf_dtypes', 'digits_cnn.onnx', 'strings.onnx'].map((name) => ({
          name,
          basePath: modelPath(name),
          versionPolicy: { kind: 'latest', numVersions: 1 } as const,
          labels: {},
        })),
      ],
    },
    rest: { port: 0 },
    grpc: { port: 0 },
    record: { folder: records, sampling: 1 },
    traffic: { models: { half: { routes: { stable: 1 } } } },
  });
  await server.listen();
  while (
    !server.readiness().ready ||
    server.list().some(({ versions }) => versions.some(({ state }) => state !== 'AVAILABLE'))
  ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const port = server.restPort ?? 0;
  rest = `http://127.0.0.1:${port}`;
  grpc = `grpc://127.0.0.1:${server.grpcPort}`;
  await ask({ port }, '/v1/models/half:predict', { body: { instances: [1, 2, 5] } });
  const client = new GrpcClient(`127.0.0.1:${server.grpcPort}`);
  const x = { dtype: 'DT_FLOAT', float_val: [7], tensor_shape: { dim: [{ size: 1 }] } };
  const model_spec = { name: 'half', version_label: 'stable' };
  await client.predict({ model_spec, inputs: { x }, output_filter: ['y'] });
  const examples = { examples: [{ x: 2.5 }, { x: -4.25 }] };
  await ask({ port }, '/v1/models/half:classify', {
    body: { signature_name: 'classify_x_to_y', ...examples },
  });
  await ask({ port }, '/v1/models/half:regress', {
    body: { signature_name: 'regress_x_to_y', ...examples },
  });
  const example = { features: { feature: { x: { float_list: { value: [2] } } } } };
  await client.call('tensorflow.serving.PredictionService/MultiInference', {
    tasks: [
      {
        model_spec: { name: 'half', signature_name: 'regress_x_to_y' },
        method_name: 'tensorflow/serving/regress',
      },
      {
        model_spec: { name: 'half', signature_name: 'classify_x_to_y' },
        method_name: 'tensorflow/serving/classify',
      },
    ],
    input: { example_list: { examples: [example] } },
  });
  client.close();
  // They are in the file half a second later.
  while (!(await server.metrics()).includes('tenon_recorded_requests_total{model_name="half"} 5')) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  // What is sent again is recorded again.
  recorded = path.join(folder, 'recorded.tfrecord');
  cpSync(path.join(records, 'half.0.00000001.tfrecord'), recorded);
});

afterAll(() => server.close(0));

const json = (result: Result): Record<string, unknown> =>
  JSON.parse(result.stdout) as Record<string, unknown>;

describe('tenon replay', () => {
  it('sends requests to gRPC again, and finds the answers that were recorded', async () => {
    const result = await replay([recorded, '--url', grpc, '--json', '-n', '3', '-c', '4']);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(json(result)).toMatchObject({
      requests: 15,
      target: { target: grpc, answered: 15, failed: 0 },
      compared: 15,
      maxAbsError: 0,
      // Two and one examples of classify, the label and the score: one score has no rows.
      rows: 9,
      agreeingRows: 9,
    });
  });

  it('asks REST for the same, but for what REST has no request for', async () => {
    const result = await replay([recorded, '--url', rest, '--json', '--max-failures', '1']);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(json(result)).toMatchObject({
      target: {
        answered: 4,
        failed: 1,
        failures: [
          {
            reason: 'UNIMPLEMENTED: REST has no MultiInference: give a grpc:// address',
            count: 1,
          },
        ],
      },
      compared: 4,
      maxAbsError: 0,
    });
  });

  it('runs them on a model without a server', async () => {
    const same = await replay([recorded, '--model', path.join(base, '1'), '--json']);
    expect(same.code).toBe(0);
    expect(json(same)).toMatchObject({ compared: 5, maxAbsError: 0 });
    const other = await replay([recorded, '--model', path.join(base, '2')]);
    expect(other.code).toBe(1);
    expect(other.stdout).toContain('largest difference  1');
    expect(other.stderr).toMatch(
      /error: the largest difference is 1 \(record \d of .*\), above 0.001/,
    );
    const tolerant = await replay([recorded, '--model', path.join(base, '2'), '--tolerance', '1']);
    expect(tolerant.code).toBe(0);
  });

  it('sends all to a version that the address names, and compares two targets', async () => {
    for (const target of [
      `${rest}/v1/models/half/versions/2`,
      `${grpc}/v1/models/half/labels/canary`,
    ]) {
      const result = await replay([
        recorded,
        '--url',
        target,
        '--against',
        `${grpc}/v1/models/half/labels/stable`,
        '--json',
        '--max-failures',
        '1',
        '--tolerance',
        '2',
      ]);
      expect(result).toMatchObject({ code: 0, stderr: '' });
      expect(json(result)).toMatchObject({ maxAbsError: 1, against: { answered: 5, failed: 0 } });
    }
  });

  it('fails where requests do, and tells with what', async () => {
    const result = await replay([recorded, '--url', `${grpc}/v1/models/none`]);
    expect(result.code).toBe(1);
    expect(result.stdout).toContain(
      'failed: 5 × NOT_FOUND: Servable not found for request: Latest(none)',
    );
    expect(result.stderr).toBe(`error: 5 requests to ${grpc}/v1/models/none failed\n`);
    const gone = await replay([recorded, '--url', 'http://127.0.0.1:1', '--json']);
    expect(gone.code).toBe(1);
    expect(json(gone)).toMatchObject({
      target: {
        answered: 0,
        failed: 5,
        failures: [{ reason: expect.stringContaining('ECONNREFUSED') as string }, {}],
      },
    });
    const noGrpc = await replay([recorded, '--url', 'grpc://127.0.0.1:1', '--json']);
    expect(json(noGrpc)).toMatchObject({ target: { failed: 5 } });
  });

  it('uses what comes before the place where a file is cut off or damaged', async () => {
    const bytes = readFileSync(recorded);
    const cut = path.join(folder, 'cut.tfrecord');
    writeFileSync(cut, bytes.subarray(0, bytes.length - 1));
    const damaged = path.join(folder, 'damaged.tfrecord');
    const broken = Buffer.from(bytes);
    const first = Number(bytes.readBigUInt64LE()) + 16;
    broken[first + 20] = (broken[first + 20] as number) ^ 1;
    writeFileSync(damaged, broken);
    const noLog = path.join(folder, 'no-log.tfrecord');
    writeFileSync(noLog, Buffer.concat([bytes.subarray(0, first), encodeRecord(Buffer.from('x'))]));
    const result = await replay([cut, damaged, noLog, '--url', grpc, '--json']);
    expect(result.code).toBe(0);
    const [one, two, three, ...others] = result.stderr.trim().split('\n');
    expect(one).toMatch(
      /cut\.tfrecord: truncated record at \d+; 4 records before that can be used$/,
    );
    expect(two).toBe(`${damaged}: corrupted record at ${first}; 1 record before that can be used`);
    expect(three).toContain('record 2 is no PredictionLog');
    expect(others).toEqual([]);
    expect(json(result)).toMatchObject({ requests: 6, compared: 6 });
    const none = path.join(folder, 'none.tfrecord');
    writeFileSync(none, 'nothing');
    expect(await replay([none, '--url', grpc])).toMatchObject({
      code: 1,
      stderr: `${none}: truncated record at 0; 0 records before that can be used\nerror: there is no request to send\n`,
    });
    expect(await replay([path.join(folder, 'gone'), '--url', grpc])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENOENT') as string,
    });
  });

  it('carries elements of many kinds to REST and back', async () => {
    const log = (name: string, signatureName: string, inputs: Record<string, Tensor>): Buffer => {
      const modelSpec = { name, version: undefined, label: undefined, signatureName };
      const request = encodePredictRequest({ modelSpec, inputs, outputFilter: [] });
      return encodeRecord(encodePredictionLog({ kind: 'predict', request, response: undefined }));
    };
    const x = (
      dtype: 'float64' | 'int64' | 'bool' | 'float32' | 'int8',
      data: unknown,
      shape: number[],
    ) => ({
      x: new Tensor(dtype, data as never, shape),
    });
    const file = path.join(folder, 'dtypes.tfrecord');
    const strings = new Tensor('string', [Buffer.from('a'), Buffer.from('ü')], [2]);
    writeFileSync(
      file,
      Buffer.concat([
        log(
          'tf_dtypes',
          'echo_float64',
          x('float64', Float64Array.of(NaN, -Infinity, -0, 1e300), [2, 2]),
        ),
        log('tf_dtypes', 'echo_float32', x('float32', Float32Array.of(0.1, 3), [2, 1])),
        log('tf_dtypes', 'echo_int64', x('int64', BigInt64Array.of(-(2n ** 40n), 3n), [2])),
        log('tf_dtypes', 'echo_int8', x('int8', Int8Array.of(-128), [])),
        log('tf_dtypes', 'echo_bool', x('bool', Uint8Array.of(1, 0), [1, 2])),
        log('strings.onnx', '', { text: strings, any: strings }),
      ]),
    );
    const result = await replay([
      file,
      '--url',
      rest,
      '--against',
      grpc,
      '--json',
      '--min-agreement',
      '1',
    ]);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(json(result)).toMatchObject({ compared: 6, mismatched: 0, maxAbsError: 0 });
    const alone = await replay([file, '--url', grpc]);
    expect(alone).toMatchObject({ code: 0, stderr: '' });
    expect(alone.stdout).toContain('6 with nothing to compare them with');
  });

  it('sends a token, and no more requests a second than it may', async () => {
    const own = createServer({
      models: { half: base },
      rest: { port: 0 },
      grpc: { port: 0 },
      authToken: token,
    });
    await own.listen();
    while (!own.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
    try {
      const args = [recorded, '--url', `grpc://127.0.0.1:${own.grpcPort}/v1/models/half`, '--json'];
      const refused = await replay(args);
      expect(refused.code).toBe(1);
      expect(refused.stdout).toContain('UNAUTHENTICATED');
      const env = { TENON_AUTH_TOKEN: token };
      const taken = await replay([...args, '--tolerance', '1', '--rate', '20', '-c', '8'], env);
      expect(taken).toMatchObject({ code: 0, stderr: '' });
      expect(json(taken)['seconds']).toBeGreaterThanOrEqual(0.2);
      const byRest = await replay(
        [
          recorded,
          '--url',
          `http://127.0.0.1:${own.restPort}/v1/models/half`,
          '--limit',
          '1',
          '--tolerance',
          '1',
        ],
        env,
      );
      expect(byRest).toMatchObject({ code: 0, stderr: '' });
    } finally {
      await own.close(0);
    }
  });

  it.each([
    [['--url', 'ftp://x'], 'expected an address of http, https, grpc or grpcs for --url'],
    [[], 'expected one of --url and --model'],
    [['--url', 'http://x', '--model', 'y'], 'expected one of --url and --model'],
    [['--url', 'http://x', '--rate', '0'], 'above 0'],
  ])('called wrongly with %j says so', async (args, text) => {
    const result = await replay([recorded, ...args]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain(text);
  });
});
