import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { RequestMeasures } from '../../lib/server/metrics.js';
import { fixtureModel } from '../helpers/fixture-models.js';
import { failureOf, GrpcClient, type Message } from '../helpers/grpc.js';
import { serveFixtures, type ServedFixtures } from '../helpers/grpc-server.js';
import { modelPath } from '../helpers/paths.js';

const prediction = 'tensorflow.serving.PredictionService';
const modelService = 'tensorflow.serving.ModelService';

let served: ServedFixtures;
let client: GrpcClient;
const measured: RequestMeasures[] = [];

beforeAll(async () => {
  served = await serveFixtures(
    [
      fixtureModel('half', 'half_plus_two', {
        versionPolicy: { kind: 'all' },
        labels: { stable: 123n },
      }),
      fixtureModel('strings', 'strings.onnx'),
      fixtureModel('multi', 'multi_io.onnx'),
      fixtureModel('slow', 'slow.onnx'),
      fixtureModel('dtypes', 'tf_dtypes'),
      fixtureModel('small', 'tf_dtypes_small'),
      fixtureModel('scalar', 'tf_scalar'),
      fixtureModel('fails', 'fails_in_run.onnx'),
      fixtureModel('sparse', 'tf_sparse'),
      fixtureModel('missing', 'no_such_model'),
    ],
    {
      metrics: {
        request: (measures) => measured.push(measures),
        runtime: () => undefined,
        examples: () => undefined,
        started: () => undefined,
        ended: () => undefined,
        refused: () => undefined,
      },
    },
  );
  client = new GrpcClient(served.address);
});

afterAll(async () => {
  client.close();
  await served.close();
});

function shape(...sizes: number[]): Message {
  return { dim: sizes.map((size) => ({ size })) };
}

function floats(values: number[], ...sizes: number[]): Message {
  return { dtype: 'DT_FLOAT', tensor_shape: shape(...sizes), float_val: values };
}

function spec(name: string, more: Message = {}): Message {
  return { name, ...more };
}

function outputsOf(response: Message): Record<string, Message> {
  return response['outputs'] as Record<string, Message>;
}

function example(x: number): Message {
  return { features: { feature: { x: { float_list: { value: [x] } } } } };
}

describe('Predict', () => {
  it('answers with the resolved signature, the version and typed values', async () => {
    const response = await client.predict({
      model_spec: spec('half'),
      inputs: { x: floats([1, 2, 5], 3) },
    });
    expect(response).toEqual({
      model_spec: {
        name: 'half',
        version: { value: '124' },
        version_choice: 'version',
        signature_name: 'serving_default',
      },
      outputs: {
        y: {
          dtype: 'DT_FLOAT',
          tensor_shape: { dim: [{ size: '3' }] },
          float_val: [3.5, 4, 5.5],
        },
      },
    });
  });

  it('of a version, of a label', async () => {
    for (const choice of [{ version: { value: 123 } }, { version_label: 'stable' }]) {
      const { model_spec: answered, outputs } = await client.predict({
        model_spec: spec('half', choice),
        inputs: { x: floats([2], 1) },
      });
      expect(answered).toMatchObject({ version: { value: '123' } });
      expect(outputs).toMatchObject({ y: { float_val: [3] } });
    }
  });

  it('takes tensor_content, a missing shape, and any shape', async () => {
    const content = Buffer.from(Float32Array.of(4, 6).buffer);
    const inputs = (x: Message): Message => ({ model_spec: spec('half'), inputs: { x } });
    expect(
      outputsOf(
        await client.predict(
          inputs({ dtype: 'DT_FLOAT', tensor_shape: shape(2), tensor_content: content }),
        ),
      )['y'],
    ).toMatchObject({ float_val: [5, 6] });
    expect(
      outputsOf(await client.predict(inputs({ dtype: 'DT_FLOAT', float_val: [4] })))['y'],
    ).toEqual({ dtype: 'DT_FLOAT', tensor_shape: {}, float_val: [5] });
    expect(outputsOf(await client.predict(inputs(floats([4], 2, 2))))['y']).toMatchObject({
      tensor_shape: { dim: [{ size: '2' }, { size: '2' }] },
      float_val: [5, 5, 5, 5],
    });
    expect(outputsOf(await client.predict(inputs(floats([], 0))))['y']).toEqual({
      dtype: 'DT_FLOAT',
      tensor_shape: { dim: [{}] },
    });
  });

  it('of an ONNX model with strings, filtered outputs in the order of the filter', async () => {
    const text = {
      dtype: 'DT_STRING',
      tensor_shape: shape(2),
      string_val: [Buffer.from('aB'), Buffer.from('ü')],
    };
    const response = await client.predict({
      model_spec: spec('strings'),
      inputs: { text, any: text },
      output_filter: ['upper', 'same'],
    });
    const outputs = outputsOf(response);
    expect(Object.keys(outputs)).toEqual(['upper', 'same']);
    expect((outputs['upper']?.['string_val'] as Buffer[]).map(String)).toEqual(['AB', 'ü']);
    expect((outputs['same']?.['string_val'] as Buffer[]).map(String)).toEqual(['aB', 'ü']);
  });

  it('leaves an optional input out, and answers with each output’s own field', async () => {
    const response = await client.predict({
      model_spec: spec('multi'),
      inputs: { a: floats([1, 2], 2), b: floats([3, 1], 2) },
    });
    expect(outputsOf(response)).toMatchObject({
      sum: { float_val: [4, 3] },
      product: { float_val: [3, 2] },
      greater: { dtype: 'DT_BOOL', bool_val: [false, true] },
      shape: { dtype: 'DT_INT64', int64_val: ['2'] },
    });
  });

  it('answers with tensor_content where the server is told to', async () => {
    const other = await serveFixtures([fixtureModel('half', 'half_plus_two')], {
      tensorContent: true,
    });
    const own = new GrpcClient(other.address);
    const response = await own.predict({
      model_spec: spec('half'),
      inputs: { x: floats([1], 1) },
    });
    expect(outputsOf(response)['y']).toEqual({
      dtype: 'DT_FLOAT',
      tensor_shape: { dim: [{ size: '1' }] },
      tensor_content: Buffer.from(Float32Array.of(3.5).buffer),
    });
    own.close();
    await other.close();
  });

  it('takes and gives large tensors', async () => {
    const values = Float32Array.from({ length: 3_000_000 }, (_, i) => i % 1000);
    const response = await client.predict({
      model_spec: spec('half'),
      inputs: {
        x: {
          dtype: 'DT_FLOAT',
          tensor_shape: shape(values.length),
          tensor_content: Buffer.from(values.buffer),
        },
      },
    });
    const answered = outputsOf(response)['y']?.['float_val'] as number[];
    expect(answered).toHaveLength(values.length);
    expect(answered[2_999_999]).toBe(999 / 2 + 3);
  });

  const dtypes: [string, string, Message, Message?][] = [
    ['float32', 'DT_FLOAT', { float_val: [1.5, -2] }],
    ['float64', 'DT_DOUBLE', { double_val: [1.5, 1e300] }],
    ['float16', 'DT_HALF', { half_val: [0x3c00, 0xc000] }],
    ['bfloat16', 'DT_BFLOAT16', { half_val: [0x3f80, 0xc000] }],
    ['int8', 'DT_INT8', { int_val: [-128, 127] }],
    ['uint8', 'DT_UINT8', { int_val: [0, 255] }],
    ['int16', 'DT_INT16', { int_val: [-32768, 32767] }],
    ['uint16', 'DT_UINT16', { int_val: [0, 65535] }],
    ['int32', 'DT_INT32', { int_val: [-(2 ** 31), 2 ** 31 - 1] }],
    ['uint32', 'DT_UINT32', { uint32_val: [0, 2 ** 32 - 1] }],
    ['int64', 'DT_INT64', { int64_val: ['-9223372036854775808', '9223372036854775807'] }],
    ['uint64', 'DT_UINT64', { uint64_val: ['0', '18446744073709551615'] }],
    ['bool', 'DT_BOOL', { bool_val: [true, false] }],
    ['string', 'DT_STRING', { string_val: [Buffer.from([0xff, 0]), Buffer.from('b')] }],
    ['complex64', 'DT_COMPLEX64', { scomplex_val: [1, -2, 3, 4] }],
    ['complex128', 'DT_COMPLEX128', { dcomplex_val: [1, -2, 3, 4] }],
  ];
  it.each(dtypes)('of %s comes back as it went', async (name, dtype, values) => {
    const x = { dtype, tensor_shape: shape(2), ...values };
    const response = await client.predict({
      model_spec: spec('dtypes', { signature_name: `echo_${name}` }),
      inputs: { x },
    });
    expect(outputsOf(response)['y']).toMatchObject({ dtype, ...values });
  });

  it.each([
    ['no spec', {}, 'INVALID_ARGUMENT', 'Missing ModelSpec'],
    ['no name', { model_spec: {} }, 'INVALID_ARGUMENT', 'ModelSpec has no name specified.'],
    [
      'an unknown model',
      { model_spec: spec('none') },
      'NOT_FOUND',
      'Servable not found for request: Latest(none)',
    ],
    [
      'an unknown version',
      { model_spec: spec('half', { version: { value: 50 } }) },
      'NOT_FOUND',
      'Servable not found for request: Specific(half, 50)',
    ],
    [
      'an unknown label',
      { model_spec: spec('half', { version_label: 'X' }) },
      'INVALID_ARGUMENT',
      'Unrecognized servable version label: X',
    ],
    [
      'a model that could not be loaded',
      { model_spec: spec('missing') },
      'NOT_FOUND',
      'Servable not found for request: Latest(missing)',
    ],
    [
      'an unknown signature',
      { model_spec: spec('half', { signature_name: 's' }), inputs: { x: floats([1], 1) } },
      'FAILED_PRECONDITION',
      'Serving signature key "s" not found.',
    ],
    [
      'too many inputs',
      { model_spec: spec('half'), inputs: { x: floats([1], 1), z: floats([1], 1) } },
      'INVALID_ARGUMENT',
      'input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.',
    ],
    [
      'no input',
      { model_spec: spec('half') },
      'INVALID_ARGUMENT',
      'input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.',
    ],
    [
      'an input of another dtype',
      {
        model_spec: spec('half'),
        inputs: { x: { dtype: 'DT_DOUBLE', tensor_shape: shape(1), double_val: [1] } },
      },
      'INVALID_ARGUMENT',
      'Expects arg[0] to be float but double is provided',
    ],
    [
      'a tensor that is none',
      { model_spec: spec('half'), inputs: { x: { dtype: 'DT_INVALID' } } },
      'INVALID_ARGUMENT',
      'tensor parsing error: x',
    ],
    [
      'tensor_content of another length',
      {
        model_spec: spec('half'),
        inputs: {
          x: { dtype: 'DT_FLOAT', tensor_shape: shape(2), tensor_content: Buffer.alloc(4) },
        },
      },
      'INVALID_ARGUMENT',
      'tensor parsing error: x',
    ],
    [
      'an unknown output',
      { model_spec: spec('half'), inputs: { x: floats([1], 1) }, output_filter: ['z'] },
      'INVALID_ARGUMENT',
      'output tensor alias not found in signature: z Outputs expected to be in the set {y}.',
    ],
    [
      'an output twice',
      { model_spec: spec('half'), inputs: { x: floats([1], 1) }, output_filter: ['y', 'y'] },
      'INVALID_ARGUMENT',
      'duplicate output tensor alias: y',
    ],
  ])('with %s fails', async (_, request: Message, code, details) => {
    expect(await failureOf(client.predict(request))).toEqual({ code, details });
  });

  it('with more elements claimed than the request is worth fails, and takes no memory', async () => {
    const { code, details } = await failureOf(
      client.predict({ model_spec: spec('half'), inputs: { x: floats([1], 2 ** 40) } }),
    );
    expect(code).toBe('INVALID_ARGUMENT');
    expect(details).toContain('tensor parsing error: x: shape [1099511627776]');
  });

  it('that fails in the engine carries its text', async () => {
    const { details } = await failureOf(
      client.predict({
        model_spec: spec('fails'),
        inputs: { index: { dtype: 'DT_INT64', tensor_shape: shape(1), int64_val: [7] } },
      }),
    );
    expect(details).toContain('indices element out of data bounds');
  });

  it('is counted with what it was', async () => {
    measured.length = 0;
    await client.predict({ model_spec: spec('half'), inputs: { x: floats([1], 1) } });
    await failureOf(client.predict({ model_spec: spec('none') }));
    expect(measured).toMatchObject([
      {
        model: 'half',
        version: 124n,
        signature: 'serving_default',
        method: 'Predict',
        entrypoint: 'GRPC',
        status: 'OK',
      },
      { model: 'none', version: undefined, status: 'NOT_FOUND' },
    ]);
  });
});

describe('Classify, Regress and MultiInference', () => {
  const list = { example_list: { examples: [example(1), example(5)] } };
  const withContext = {
    example_list_with_context: { context: example(5), examples: [{}, example(1)] },
  };

  it('give a result for each example', async () => {
    const classify = spec('half', { signature_name: 'classify_x_to_y' });
    expect(
      await client.call(`${prediction}/Classify`, { model_spec: classify, input: list }),
    ).toEqual({
      model_spec: {
        name: 'half',
        version: { value: '124' },
        version_choice: 'version',
        signature_name: 'classify_x_to_y',
      },
      result: {
        classifications: [{ classes: [{ score: 3.5 }] }, { classes: [{ score: 5.5 }] }],
      },
    });
    const regress = spec('half', { signature_name: 'regress_x_to_y', version: { value: 123 } });
    expect(
      await client.call(`${prediction}/Regress`, { model_spec: regress, input: list }),
    ).toMatchObject({
      model_spec: { version: { value: '123' }, signature_name: 'regress_x_to_y' },
      result: { regressions: [{ value: 2.5 }, { value: 4.5 }] },
    });
  });

  it('take a context’s features where an example has none', async () => {
    const regress = spec('half', { signature_name: 'regress_x_to_y' });
    const { result } = await client.call(`${prediction}/Regress`, {
      model_spec: regress,
      input: withContext,
    });
    expect(result).toEqual({ regressions: [{ value: 5.5 }, { value: 3.5 }] });
  });

  it('answer several tasks at once', async () => {
    const task = (kind: string): Message => ({
      model_spec: spec('half', { signature_name: `${kind}_x_to_y` }),
      method_name: `tensorflow/serving/${kind}`,
    });
    const { results } = await client.call(`${prediction}/MultiInference`, {
      tasks: [task('classify'), task('regress')],
      input: list,
    });
    expect(results).toMatchObject([
      {
        model_spec: { version: { value: '124' }, signature_name: 'classify_x_to_y' },
        classification_result: { classifications: [{ classes: [{ score: 3.5 }] }, {}] },
      },
      { regression_result: { regressions: [{ value: 3.5 }, { value: 5.5 }] } },
    ]);
  });

  it.each([
    ['Classify', {}, 'Missing ModelSpec'],
    [
      'Classify',
      { model_spec: spec('half', { signature_name: 's' }), input: list },
      'No signature was found with the name: s',
    ],
    [
      'Regress',
      { model_spec: spec('half', { signature_name: 's' }), input: list },
      'No signature was found with the name: s',
    ],
    [
      'Regress',
      { model_spec: spec('half', { signature_name: 'regress_x_to_y' }) },
      'Input is empty.',
    ],
    ['Regress', { model_spec: spec('half'), input: list }, 'No regression inputs found'],
    ['MultiInference', { tasks: [], input: list }, 'ModelSpec has no name specified.'],
  ])('%s of %j fails', async (method, request: Message, text) => {
    const { code, details } = await failureOf(client.call(`${prediction}/${method}`, request));
    expect(details).toContain(text);
    expect(code).toBe('INVALID_ARGUMENT');
  });
});

describe('GetModelMetadata', () => {
  it('gives the signatures as an Any', async () => {
    const response = await client.call(`${prediction}/GetModelMetadata`, {
      model_spec: spec('half'),
      metadata_field: ['signature_def'],
    });
    expect(response['model_spec']).toEqual({
      name: 'half',
      version: { value: '124' },
      version_choice: 'version',
    });
    const { signature_def: any } = response['metadata'] as Record<string, Message>;
    expect(any?.['type_url']).toBe('type.googleapis.com/tensorflow.serving.SignatureDefMap');
    expect(String(any?.['value'])).toContain('tensorflow/serving/regress');
  });

  it.each([
    [{}, 'Missing ModelSpec'],
    [
      { model_spec: spec('half') },
      'GetModelMetadataRequest must specify at least one metadata_field',
    ],
    [
      { model_spec: spec('half'), metadata_field: ['other'] },
      'Metadata field other is not supported',
    ],
  ])('of %j fails', async (request: Message, details) => {
    const failure = await failureOf(client.call(`${prediction}/GetModelMetadata`, request));
    expect(failure).toEqual({ code: 'INVALID_ARGUMENT', details });
  });
});

describe('ModelService', () => {
  it('gives the state of all versions, newest first, or of one', async () => {
    const status = (name: string, more: Message = {}): Promise<Message> =>
      client.call(`${modelService}/GetModelStatus`, { model_spec: spec(name, more) });
    expect(await status('half')).toEqual({
      model_version_status: ['124', '123'].map((version) => ({
        version,
        state: 'AVAILABLE',
        status: {},
      })),
    });
    expect(await status('half', { version: { value: 123 } })).toMatchObject({
      model_version_status: [{ version: '123' }],
    });
    expect(await failureOf(status('none'))).toEqual({
      code: 'NOT_FOUND',
      details: 'Could not find any versions of model none',
    });
    expect(await failureOf(status('half', { version: { value: 5 } }))).toEqual({
      code: 'NOT_FOUND',
      details: 'Could not find version 5 of model half',
    });
  });

  it('takes a new configuration', async () => {
    const own = await serveFixtures([fixtureModel('half', 'half_plus_two')]);
    const ownClient = new GrpcClient(own.address);
    const reload = (config: Message): Promise<Message> =>
      ownClient.call(`${modelService}/HandleReloadConfigRequest`, { config });
    const response = await reload({
      model_config_list: {
        config: [
          {
            name: 'other',
            base_path: modelPath('half_plus_two'),
            model_platform: 'tensorflow',
            model_version_policy: { specific: { versions: [123] } },
            version_labels: { stable: 123 },
          },
        ],
      },
    });
    expect(response).toEqual({ status: {} });
    const answer = await ownClient.predict({
      model_spec: spec('other', { version_label: 'stable' }),
      inputs: { x: floats([2], 1) },
    });
    expect(outputsOf(answer)['y']).toMatchObject({ float_val: [3] });
    expect(await failureOf(ownClient.predict({ model_spec: spec('half') }))).toMatchObject({
      code: 'NOT_FOUND',
    });
    const { code, details } = await failureOf(reload({ custom_model_config: {} }));
    expect(code).toBe('INVALID_ARGUMENT');
    expect(details).toContain('ServerModelConfig type not supported');
    ownClient.close();
    await own.close();
  });
});
