import path from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { fixtureModel } from '../helpers/fixture-models.js';
import { serveFixtures, type ServedFixtures } from '../helpers/grpc-server.js';
import { fixture, root } from '../helpers/paths.js';
import { runPython } from '../helpers/python.js';

let served: ServedFixtures;

beforeAll(async () => {
  served = await serveFixtures([
    fixtureModel('half', 'half_plus_two', { versionPolicy: { kind: 'all' } }),
  ]);
});

afterAll(() => served.close());

it('a client in Python is answered as TensorFlow Serving would', async () => {
  const script = path.join(root, 'test/clients/grpc_client.py');
  const stdout = await runPython([script, fixture('protos'), served.address]);
  const spec = (signature: string) => ({
    name: 'half',
    version: '124',
    signature_name: signature,
  });
  const y = { dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: '3' }] }, float_val: [3.5, 4, 5.5] };
  const scores = {
    classifications: [{ classes: [{ score: 3.5 }] }, { classes: [{ score: 5.5 }] }],
  };
  const values = { regressions: [{ value: 3.5 }, { value: 5.5 }] };
  expect(JSON.parse(stdout)).toEqual({
    predict: { model_spec: spec('serving_default'), outputs: { y } },
    content: { y },
    classify: { model_spec: spec('classify_x_to_y'), result: scores },
    regress: { model_spec: spec('regress_x_to_y'), result: values },
    multi: {
      results: [
        { model_spec: spec('classify_x_to_y'), classification_result: scores },
        { model_spec: spec('regress_x_to_y'), regression_result: values },
      ],
    },
    metadata: {
      inputs: {
        x: { name: 'x:0', dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: '-1' }] } },
      },
      outputs: {
        y: { name: 'y:0', dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: '-1' }] } },
      },
      method_name: 'tensorflow/serving/predict',
    },
    status: {
      model_version_status: ['124', '123'].map((version) => ({
        version,
        state: 'AVAILABLE',
        status: {},
      })),
    },
    large: [4_000_000, 4, 4],
    compressed: [3, 3.5, 4],
    many: true,
    unknown_model: {
      code: 'NOT_FOUND',
      details: 'Servable not found for request: Latest(größe)',
    },
    unknown_signature: {
      code: 'FAILED_PRECONDITION',
      details: 'Serving signature key "s" not found.',
    },
    no_spec: { code: 'INVALID_ARGUMENT', details: 'Missing ModelSpec' },
    no_bytes: {
      code: 'INTERNAL',
      details: expect.stringContaining('tensorflow.serving.PredictRequest') as string,
    },
    unknown_method: {
      code: 'UNIMPLEMENTED',
      details: 'The server does not implement /tensorflow.serving.PredictionService/None',
    },
  });
}, 600_000);
