import path from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { createServer, type Server } from '../../lib/server/index.js';
import { areSettled, fixtureModel } from '../helpers/fixture-models.js';
import { root } from '../helpers/paths.js';
import { runPython } from '../helpers/python.js';

let server: Server;

beforeAll(async () => {
  server = createServer({
    models: {
      models: [
        fixtureModel('half', 'half_plus_two', { versionPolicy: { kind: 'all' } }),
        fixtureModel('texts', 'tf_strings'),
      ],
    },
    rest: { port: 0 },
    grpc: false,
    pollIntervalSeconds: 0,
  });
  await server.listen();
  while (!(server.readiness().ready && areSettled(server))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

afterAll(() => server.close(1000));

it('a client in Python is answered by the Open Inference Protocol', async () => {
  const script = path.join(root, 'test/clients/oip_rest_client.py');
  const stdout = await runPython([script, String(server.restPort)]);
  const x = [{ name: 'x', datatype: 'FP32', shape: [-1] }];
  const y = (data: number[]): object => ({ name: 'y', datatype: 'FP32', shape: [3], data });
  const of = (version: string, more: object = {}): object => ({
    model_name: 'half',
    model_version: version,
    ...more,
  });
  const entry = (name: string, version: string): object => ({
    name,
    version,
    state: 'READY',
    reason: '',
  });
  expect(JSON.parse(stdout)).toEqual({
    live: [200, { live: true }],
    ready: [200, { ready: true }],
    model_ready: [200, { name: 'half', ready: true }],
    metadata: [
      200,
      {
        name: 'half',
        versions: ['124', '123'],
        platform: 'tensorflow_savedmodel',
        inputs: x,
        outputs: [{ name: 'y', datatype: 'FP32', shape: [-1] }],
      },
    ],
    config: [
      200,
      {
        name: 'half',
        platform: 'tensorflow_savedmodel',
        backend: 'tensorflow',
        max_batch_size: 0,
        input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [-1] }],
        output: [{ name: 'y', data_type: 'TYPE_FP32', dims: [-1] }],
      },
    ],
    unknown: [404, { error: 'Could not find any versions of model none' }],
    server: 'tenon',
    infer: [200, of('124', { id: 'a', outputs: [y([3.5, 4, 5.5])] })],
    version: [200, of('123', { outputs: [y([2.5, 3, 4.5])] })],
    nan: true,
    binary: [
      of('124', {
        outputs: [
          { name: 'y', datatype: 'FP32', shape: [3], parameters: { binary_data_size: 12 } },
        ],
      }),
      [3.5, 4, 5.5],
    ],
    compressed: ['gzip', true],
    bytes: true,
    classes: [{ name: 'y', datatype: 'BYTES', shape: [2], data: ['5.500000:2', '4.000000:1'] }],
    lies: {
      error: 'expected 16 bytes for input "x", which is FP32 of shape [4], received 12',
    },
    index: [200, [entry('half', '124'), entry('half', '123'), entry('texts', '1')]],
    unload: [200, {}],
    unloaded: [503, { name: 'texts', ready: false }],
    load: [200, {}],
    loaded: [200, { name: 'texts', ready: true }],
    // Those of version 124: all but one, and the one that was refused.
    statistics: { success: 5, fail: 1 },
  });
}, 600_000);
