import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterEach, describe, expect, it } from 'vitest';

import {
  decodePredictRequest,
  decodePredictResponse,
  readPredictionLog,
} from '../../lib/codec/proto/index.js';
import { readRecords } from '../../lib/codec/tf-record.js';
import { createServer, type Server, type ServerOptions } from '../../lib/server/index.js';
import { GrpcClient } from '../helpers/grpc.js';
import { modelPath } from '../helpers/paths.js';
import { ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

const root = temporaryFolder();
let folders = 0;
const newFolder = (): string => path.join(root, `records-${++folders}`);

let server: Server | undefined;
afterEach(async () => {
  await server?.close(0);
  server = undefined;
});

async function serve(options: Partial<ServerOptions>): Promise<Server> {
  server = createServer({
    models: { half: modelPath('half_plus_two') },
    rest: { port: 0 },
    grpc: { port: 0 },
    ...options,
  });
  await server.listen();
  while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
  return server;
}

/** The records of all files, oldest first. */
async function recorded(folder: string): Promise<Uint8Array[]> {
  const records: Uint8Array[] = [];
  for (const name of readdirSync(folder).toSorted()) {
    for await (const record of readRecords([readFileSync(path.join(folder, name))])) {
      records.push(record);
    }
  }
  return records;
}

const predict = (one: Server, x: number[], url = '/v1/models/half:predict') =>
  ask({ port: one.restPort ?? 0 }, url, { body: { instances: x } });

const example = { features: { feature: { x: { float_list: { value: [2] } } } } };

describe('a server that records', () => {
  it('has a REST predict as the equal PredictRequest, with its answer', async () => {
    const folder = newFolder();
    const own = await serve({ record: { folder, sampling: 1 } });
    await predict(own, [1, 2, 5]);
    await predict(own, [4], '/v1/models/half/versions/124:predict');
    await own.close();
    const [first, second] = (await recorded(folder)).map((record) => readPredictionLog(record));
    if (first?.kind !== 'predict' || second?.kind !== 'predict') throw new Error('no predicts');
    const { modelSpec, inputs } = decodePredictRequest(first.request);
    expect(modelSpec).toEqual({
      name: 'half',
      version: undefined,
      label: undefined,
      signatureName: 'serving_default',
    });
    expect(inputs['x']?.toArray()).toEqual([1, 2, 5]);
    expect(decodePredictResponse(first.response as Uint8Array)['y']?.toArray()).toEqual([
      3.5, 4, 5.5,
    ]);
    expect(decodePredictRequest(second.request).modelSpec).toMatchObject({ version: 124n });
  });

  it('has gRPC requests as they came', async () => {
    const folder = newFolder();
    const own = await serve({ record: { folder, sampling: 1, responses: false } });
    const client = new GrpcClient(`127.0.0.1:${own.grpcPort}`);
    const x = { dtype: 'DT_FLOAT', float_val: [7], tensor_shape: { dim: [{ size: 1 }] } };
    await client.predict({ model_spec: { name: 'half' }, inputs: { x }, output_filter: ['y'] });
    const modelSpec = (signature_name: string) => ({ name: 'half', signature_name });
    const service = 'tensorflow.serving.PredictionService';
    const input = { example_list: { examples: [example] } };
    await client.call(`${service}/Classify`, { model_spec: modelSpec('classify_x_to_y'), input });
    await client.call(`${service}/Regress`, { model_spec: modelSpec('regress_x_to_y'), input });
    await client.call(`${service}/MultiInference`, {
      tasks: [
        { model_spec: modelSpec('regress_x_to_y'), method_name: 'tensorflow/serving/regress' },
        { model_spec: modelSpec('classify_x_to_y'), method_name: 'tensorflow/serving/classify' },
      ],
      input,
    });
    client.close();
    await own.close();
    const logs = (await recorded(folder)).map((record) => readPredictionLog(record));
    expect(logs.map(({ kind }) => kind)).toEqual([
      'predict',
      'classify',
      'regress',
      'multiInference',
    ]);
    const [first] = logs;
    if (first?.kind !== 'predict') throw new Error('no predict');
    expect(first.response).toBeUndefined();
    // float_val, as it was sent, and the filter.
    expect(Buffer.from(first.request).includes(Buffer.from(Float32Array.of(7).buffer))).toBe(true);
    expect(decodePredictRequest(first.request).outputFilter).toEqual(['y']);
  });

  it('has only requests that were answered', async () => {
    const folder = newFolder();
    const own = await serve({ record: { folder, sampling: 1 } });
    await predict(own, ['x'] as never);
    await predict(own, [1], '/v1/models/none:predict');
    await ask({ port: own.restPort ?? 0 }, '/v1/models/half/metadata');
    await predict(own, [1]);
    await own.close();
    expect(await recorded(folder)).toHaveLength(1);
  });

  it('keeps models apart, in files that warm them up', async () => {
    const folder = newFolder();
    const models = { half: modelPath('half_plus_two'), 'a/b.c': modelPath('simple_model.onnx') };
    const own = await serve({ models, record: { folder, sampling: 1 } });
    for (let i = 0; i < 3; i++) await predict(own, [i]);
    const other = await ask({ port: own.restPort ?? 0 }, '/v1/models/a%2Fb.c:predict', {
      body: { instances: [[1, 2, 3, 4]] },
    });
    expect(other.status).toBe(200);
    await ask({ port: own.restPort ?? 0 }, '/v1/models/half:regress', {
      body: { signature_name: 'regress_x_to_y', examples: [{ x: 2.5 }] },
    });
    await own.close();
    const names = readdirSync(folder).toSorted();
    expect(names).toEqual(['a%2Fb%2ec.0.00000002.tfrecord', 'half.0.00000001.tfrecord']);

    const base = path.join(root, 'warm');
    cpSync(modelPath('half_plus_two', '00000124'), path.join(base, '124'), { recursive: true });
    const assets = path.join(base, '124', 'assets.extra');
    mkdirSync(assets);
    cpSync(path.join(folder, names[1] as string), path.join(assets, 'tf_serving_warmup_requests'));
    const warm = await serve({ models: { half: base } });
    const metrics = await warm.metrics();
    expect(metrics).toMatch(/model_warmup_latency_count\{.*\} 1\n/);
    expect(metrics).toMatch(/tenon_model_runs_total\{model_name="half",version="124"\} 4\n/);
  });

  it('says how many', async () => {
    const folder = newFolder();
    const own = await serve({ record: { folder, sampling: 1, maxFileBytes: 1024 } });
    await predict(own, [1]);
    await predict(own, Array<number>(1000).fill(1));
    while (!(await own.metrics()).includes('tenon_recorded_requests_total{model_name="half"} 1')) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const metrics = await own.metrics();
    expect(metrics).toContain('tenon_record_lost_total{reason="too_large"} 1');
    const [name] = readdirSync(folder);
    const { size, mode } = statSync(path.join(folder, name as string));
    expect(metrics).toContain(`tenon_recorded_bytes_total{model_name="half"} ${size}`);
    // What clients sent is nobody else's to read.
    if (process.platform !== 'win32') expect(mode & 0o077).toBe(0);
  });

  it.runIf(process.platform !== 'win32')('has a file for each front-end thread', async () => {
    const folder = newFolder();
    const own = await serve({ frontendThreads: 2, record: { folder, sampling: 1 } });
    // A connection each, which the threads get in turn while both are open.
    const clients = [1, 2].map(() => new GrpcClient(`127.0.0.1:${own.grpcPort}`));
    const x = { dtype: 'DT_FLOAT', float_val: [7], tensor_shape: { dim: [{ size: 1 }] } };
    for (const client of clients)
      await client.predict({ model_spec: { name: 'half' }, inputs: { x } });
    for (const client of clients) client.close();
    await predict(own, [1]);
    await own.close();
    expect(await recorded(folder)).toHaveLength(3);
    expect(readdirSync(folder).length).toBeGreaterThanOrEqual(1);
    expect(readdirSync(folder).every((name) => /^half\.[12]\./.test(name))).toBe(true);
  });

  it('does not begin where it cannot make the folder', async () => {
    const file = path.join(root, 'file');
    writeFileSync(file, '');
    const own = createServer({
      models: { half: modelPath('half_plus_two') },
      rest: { port: 0 },
      grpc: false,
      record: { folder: path.join(file, 'records') },
    });
    await expect(own.listen()).rejects.toMatchObject({
      code: 'ERR_TENON_CONFIG',
      message: expect.stringContaining('"record.folder"') as string,
    });
  });

  it.each([
    [{ folder: '' }, '"record.folder"'],
    [{ folder: 'x', sampling: 2 }, '"record.sampling"'],
    [{ folder: 'x', maxFiles: 0 }, '"record.maxFiles"'],
    [{ folder: 'x', more: 1 }, '"more"'],
  ])('refuses %j', (record, text) => {
    expect(() => createServer({ models: {}, record: record })).toThrow(
      expect.objectContaining({
        code: 'ERR_TENON_INVALID_ARGUMENT',
        message: expect.stringContaining(text) as string,
      }),
    );
  });
});
