import path from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { fixtureModel } from '../helpers/fixture-models.js';
import { serveFixtures, type ServedFixtures } from '../helpers/grpc-server.js';
import { fixture, root } from '../helpers/paths.js';
import { runPython } from '../helpers/python.js';

let served: ServedFixtures;

beforeAll(async () => {
  served = await serveFixtures([
    fixtureModel('half', 'half_plus_two'),
    fixtureModel('strings', 'strings.onnx'),
  ]);
});

afterAll(() => served.close());

it('a client in Python is answered as the protocol has it', async () => {
  const script = path.join(root, 'test/clients/oip_grpc_client.py');
  const stdout = await runPython([script, fixture('protos'), served.address]);
  const y = { name: 'y', datatype: 'FP32', shape: ['3'] };
  expect(JSON.parse(stdout)).toEqual({
    live: true,
    ready: true,
    server: 'tenon',
    model_ready: true,
    metadata: {
      name: 'half',
      versions: ['124'],
      platform: 'tensorflow_savedmodel',
      inputs: [{ name: 'x', datatype: 'FP32', shape: ['-1'] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: ['-1'] }],
    },
    index: {
      models: [
        { name: 'half', version: '124', state: 'READY' },
        { name: 'strings', version: expect.any(String) as string, state: 'READY' },
      ],
    },
    typed: {
      model_name: 'half',
      model_version: '124',
      id: '1',
      outputs: [{ ...y, contents: { fp32_contents: [3.5, 4, 5.5] } }],
    },
    raw: { values: [[3.5, 4, 5.5]], outputs: [y] },
    strings: [Buffer.from('\x02\0\0\0AB\x02\0\0\0ü').toString('hex')],
    classes: ['BYTES', '7.500000:1'],
    scheduled: [4],
    large: [16_000_000, 4],
    compressed: [3, 3.5, 4],
    many: true,
    stream: [[3], true, [3.5], [4]],
    unknown_model: {
      code: 'NOT_FOUND',
      details: expect.stringContaining('größe') as string,
    },
    unknown_datatype: {
      code: 'INVALID_ARGUMENT',
      details: expect.stringMatching(/datatype of input "x", received "FP8"$/) as string,
    },
    both: {
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('received both') as string,
    },
  });
}, 600_000);
