/** The Open Inference Protocol over gRPC: each call as an independent client makes it. */

import { once } from 'node:events';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { CodecMeasures } from '../../lib/server/inference-metrics.js';
import type { RequestMeasures } from '../../lib/server/metrics.js';
import { fixtureModel } from '../helpers/fixture-models.js';
import { type CallOptions, failureOf, GrpcClient, type Message } from '../helpers/grpc.js';
import { serveFixtures, type ServedFixtures } from '../helpers/grpc-server.js';
import { fixture } from '../helpers/paths.js';

let served: ServedFixtures;
let client: GrpcClient;
const measured: RequestMeasures[] = [];
const codecMeasured: CodecMeasures[] = [];

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
      fixtureModel('signatures', 'tf_signatures'),
      fixtureModel('small', 'tf_dtypes_small'),
      fixtureModel('dtypes', 'tf_dtypes'),
      fixtureModel('digits', 'digits_cnn.onnx'),
      fixtureModel('maps', 'maps.onnx'),
      fixtureModel('fails', 'fails_in_run.onnx'),
      { ...fixtureModel('broken'), basePath: fixture('broken', 'truncated.onnx') },
    ],
    {
      metrics: {
        request: (measures) => measured.push(measures),
        codec: (measures) => codecMeasured.push(measures),
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

const call = (method: string, request?: Message, options?: CallOptions): Promise<Message> =>
  client.inference(method, request, options);

function infer(message: Message, options?: CallOptions): Promise<Message> {
  return call('ModelInfer', message, options);
}

const failure = (message: Message, options?: CallOptions) => failureOf(infer(message, options));

function tensor(name: string, datatype: string, shape: number[], contents?: Message): Message {
  return { name, datatype, shape, ...(contents && { contents }) };
}

function floats(name: string, values: number[], shape = [values.length]): Message {
  return tensor(name, 'FP32', shape, { fp32_contents: values });
}

function bytesOf(values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

function strings(...texts: string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

function textsOf(raw: Buffer): string[] {
  const texts: string[] = [];
  for (let at = 0; at < raw.length;) {
    const end = at + 4 + raw.readUInt32LE(at);
    texts.push(raw.toString('utf8', at + 4, end));
    at = end;
  }
  return texts;
}

const string = (value: string): Message => ({ string_param: value });
const integer = (value: number): Message => ({ int64_param: value });

describe('the server', () => {
  it('is live, is ready, and says what it is', async () => {
    expect(await call('ServerLive')).toEqual({ live: true });
    expect(await call('ServerReady')).toEqual({ ready: true });
    expect(await call('ServerMetadata')).toEqual({
      name: 'tenon',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      extensions: expect.arrayContaining(['model_repository', 'classification']) as string[],
    });
  });

  it('has its health under the service’s name', async () => {
    const check = client.call('grpc.health.v1.Health/Check', {
      service: 'inference.GRPCInferenceService',
    });
    expect(await check).toEqual({ status: 'SERVING' });
  });
});

describe('a model', () => {
  it('is ready, in any version, in one, by a label', async () => {
    for (const version of ['', '123', '124', 'stable']) {
      expect(await call('ModelReady', { name: 'half', version })).toEqual({ ready: true });
    }
    expect(await call('ModelReady', { name: 'broken' })).toEqual({});
  });

  it('has metadata', async () => {
    expect(await call('ModelMetadata', { name: 'half' })).toEqual({
      name: 'half',
      versions: ['124', '123'],
      platform: 'tensorflow_savedmodel',
      inputs: [{ name: 'x', datatype: 'FP32', shape: ['-1'] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: ['-1'] }],
    });
    expect(await call('ModelMetadata', { name: 'half', version: '123' })).toMatchObject({
      versions: ['123'],
    });
    expect(await call('ModelMetadata', { name: 'digits' })).toMatchObject({
      platform: 'onnx_onnxv1',
      inputs: [{ name: 'images', datatype: 'FP32', shape: ['-1', '8', '8', '1'] }],
      outputs: [{ name: 'probabilities', datatype: 'FP32', shape: ['-1', '10'] }],
    });
  });

  it('has a configuration as Triton has it', async () => {
    const { config } = await call('ModelConfig', { name: 'digits' });
    expect(config).toEqual({
      name: 'digits',
      platform: 'onnx_onnxv1',
      backend: 'onnxruntime',
      input: [{ name: 'images', data_type: 'TYPE_FP32', dims: ['-1', '8', '8', '1'] }],
      output: [{ name: 'probabilities', data_type: 'TYPE_FP32', dims: ['-1', '10'] }],
    });
    const strings = await call('ModelConfig', { name: 'strings' });
    expect(strings['config']).toMatchObject({
      input: expect.arrayContaining([
        { name: 'text', data_type: 'TYPE_STRING', dims: ['-1'] },
      ]) as unknown[],
    });
  });

  it('has to be known, and so has its version', async () => {
    for (const method of ['ModelReady', 'ModelMetadata', 'ModelConfig']) {
      for (const request of [{ name: 'none' }, { name: 'half', version: '5' }]) {
        expect((await failureOf(call(method, request))).code).toBe('NOT_FOUND');
      }
      for (const request of [{}, { name: 'half', version: 'none' }]) {
        expect((await failureOf(call(method, request))).code).toBe('INVALID_ARGUMENT');
      }
      const huge = call(method, { name: 'half', version: '9223372036854775808' });
      expect(await failureOf(huge)).toEqual({
        code: 'INVALID_ARGUMENT',
        details: 'expected a version of at most 2^63 - 1, received 9223372036854775808',
      });
    }
    const failed = await failureOf(call('ModelMetadata', { name: 'broken' }));
    expect(failed.code).toBe('UNAVAILABLE');
  });
});

describe('ModelInfer', () => {
  it('answers typed contents with typed ones', async () => {
    const response = await infer({
      model_name: 'half',
      id: 'first',
      inputs: [floats('x', [1, 2, 5])],
    });
    expect(response).toEqual({
      model_name: 'half',
      model_version: '124',
      id: 'first',
      outputs: [floats('y', [3.5, 4, 5.5])].map((one) => ({ ...one, shape: ['3'] })),
    });
  });

  it('answers raw contents with raw ones', async () => {
    const response = await infer({
      model_name: 'half',
      model_version: '123',
      inputs: [tensor('x', 'FP32', [3])],
      outputs: [{ name: 'y' }],
      raw_input_contents: [bytesOf([1, 2, 5])],
    });
    expect(response).toEqual({
      model_name: 'half',
      model_version: '123',
      outputs: [{ name: 'y', datatype: 'FP32', shape: ['3'] }],
      raw_output_contents: [bytesOf([2.5, 3, 4.5])],
    });
  });

  it('of a version by its label', async () => {
    const response = await infer({
      model_name: 'half',
      model_version: 'stable',
      inputs: [floats('x', [2])],
    });
    expect(response).toMatchObject({ model_version: '123' });
  });

  it('takes and gives strings, raw and typed, the outputs in the order asked for', async () => {
    const outputs = [{ name: 'upper' }, { name: 'same' }];
    const inputs = ['text', 'any'].map((name) => tensor(name, 'BYTES', [2]));
    const bytes = strings('aB', 'ü');
    const raw = await infer({
      model_name: 'strings',
      inputs,
      outputs,
      raw_input_contents: [bytes, bytes],
    });
    expect((raw['outputs'] as Message[]).map(({ name }) => name)).toEqual(['upper', 'same']);
    expect((raw['raw_output_contents'] as Buffer[]).map(textsOf)).toEqual([
      ['AB', 'ü'],
      ['aB', 'ü'],
    ]);
    const contents = { bytes_contents: [Buffer.from('aB'), Buffer.from('ü')] };
    const typed = await infer({
      model_name: 'strings',
      inputs: inputs.map((input) => ({ ...input, contents })),
      outputs,
    });
    expect(typed['outputs']).toMatchObject([
      { name: 'upper', contents: { bytes_contents: [Buffer.from('AB'), Buffer.from('ü')] } },
      { name: 'same', contents },
    ]);
  });

  it('leaves an optional input out, and answers with each output’s own contents', async () => {
    const response = await infer({
      model_name: 'multi',
      inputs: [floats('a', [1, 2]), floats('b', [3, 1])],
    });
    const outputs = response['outputs'] as Message[];
    expect(Object.fromEntries(outputs.map(({ name, contents }) => [name, contents]))).toMatchObject(
      {
        sum: { fp32_contents: [4, 3] },
        greater: { bool_contents: [false, true] },
        shape: { int64_contents: ['2'] },
      },
    );
  });

  const dtypes: [string, string, string, number[]][] = [
    ['float32', 'FP32', 'fp32_contents', [1.5, -2]],
    ['float64', 'FP64', 'fp64_contents', [1.5, 1e300]],
    ['int8', 'INT8', 'int_contents', [-128, 127]],
    ['int16', 'INT16', 'int_contents', [-32768, 32767]],
    ['int32', 'INT32', 'int_contents', [-(2 ** 31), 2 ** 31 - 1]],
    ['int64', 'INT64', 'int64_contents', [-5, 7]],
    ['uint8', 'UINT8', 'uint_contents', [0, 255]],
    ['uint16', 'UINT16', 'uint_contents', [0, 65535]],
    ['uint32', 'UINT32', 'uint_contents', [0, 2 ** 32 - 1]],
    ['uint64', 'UINT64', 'uint64_contents', [0, 7]],
  ];

  it.each(dtypes)('has %s as %s in %s', async (dtype, datatype, field, values) => {
    const response = await infer({
      model_name: 'dtypes',
      parameters: { signature_name: string(`same_${dtype}`) },
      inputs: [tensor('x', datatype, [2, 1], { [field]: values })],
    });
    const given = datatype.endsWith('INT64') ? values.map(String) : values;
    expect(response['outputs']).toEqual([
      { name: 'y', datatype, shape: ['2', '1'], contents: { [field]: given } },
    ]);
  });

  it.each([
    ['float16', 'FP16'],
    ['bfloat16', 'BF16'],
  ])('has %s as %s, raw', async (dtype, datatype) => {
    const bits = Buffer.from(Uint16Array.of(0x3c00, 0xc000, 0x7e00).buffer);
    const response = await infer({
      model_name: 'dtypes',
      parameters: { signature_name: string(`same_${dtype}`) },
      inputs: [tensor('x', datatype, [3])],
      raw_input_contents: [bits],
    });
    expect(response).toMatchObject({
      outputs: [{ name: 'y', datatype, shape: ['3'] }],
      raw_output_contents: [bits],
    });
  });

  it('takes and gives large tensors, raw and typed', async () => {
    const values = Float32Array.from({ length: 1_000_000 }, (_, i) => i % 1000);
    const content = Buffer.from(values.buffer);
    const raw = await infer({
      model_name: 'half',
      inputs: [tensor('x', 'FP32', [values.length])],
      raw_input_contents: [content],
    });
    const [bytes] = raw['raw_output_contents'] as [Buffer];
    expect(bytes).toHaveLength(content.length);
    expect(bytes.readFloatLE(4 * 999_999)).toBe(999 / 2 + 3);
    const typed = await infer({ model_name: 'half', inputs: [floats('x', [...values])] });
    const [y] = typed['outputs'] as [{ contents: { fp32_contents: number[] } }];
    expect(y.contents.fp32_contents).toHaveLength(values.length);
    expect(y.contents.fp32_contents[999_999]).toBe(999 / 2 + 3);
  });

  it('feeds large raw tensors as they came, wherever in the message they are', async () => {
    codecMeasured.length = 0;
    const content = bytesOf([...new Array<number>(20_000).keys()]);
    for (let length = 0; length < 8; length++) {
      const response = await infer({
        model_name: 'half',
        id: 'x'.repeat(length),
        inputs: [tensor('x', 'FP32', [20_000])],
        raw_input_contents: [content],
      });
      const [bytes] = response['raw_output_contents'] as [Buffer];
      expect(bytes.readFloatLE(4 * 19_999)).toBe(19_999 / 2 + 3);
    }
    const each = { model: 'half', entrypoint: 'GRPC', passedBytes: 80_000, copiedBytes: 0 };
    expect(codecMeasured).toMatchObject(new Array(8).fill(each));
  });

  it('gives classes in place of numbers', async () => {
    const response = await infer({
      model_name: 'half',
      inputs: [floats('x', [1, 9, 5])],
      outputs: [{ name: 'y', parameters: { classification: integer(2) } }],
    });
    expect(response['outputs']).toEqual([
      {
        name: 'y',
        datatype: 'BYTES',
        shape: ['2'],
        contents: { bytes_contents: ['7.500000:1', '5.500000:2'].map((text) => Buffer.from(text)) },
      },
    ]);
  });

  it('runs another signature by a parameter, with a priority and a timeout', async () => {
    const response = await infer({
      model_name: 'signatures',
      parameters: {
        signature_name: string('double'),
        priority: { uint64_param: 1 },
        timeout: integer(60_000_000),
        of_others: { double_param: 0.5 },
      },
      inputs: [floats('x', [1, 2, 3], [1, 3])],
    });
    expect(response['outputs']).toHaveLength(1);
  });

  it('is measured by model, version and signature', async () => {
    measured.length = 0;
    await infer({ model_name: 'half', inputs: [floats('x', [1])] });
    await failure({ model_name: 'none' });
    await call('ServerLive');
    await call('ModelMetadata', { name: 'half' });
    const common = { method: 'ModelInfer', entrypoint: 'GRPC' };
    expect(measured).toMatchObject([
      {
        ...common,
        model: 'half',
        version: 124n,
        signature: 'serving_default',
        status: 'OK',
      },
      { ...common, model: 'none', version: undefined, status: 'NOT_FOUND' },
    ]);
  });
});

describe('ModelInfer refuses', () => {
  const four = bytesOf([1, 2, 3, 4]);
  const half = { model_name: 'half' };
  const invalid = (details: string) => ({ code: 'INVALID_ARGUMENT', details });

  it('an unknown model, version, label or signature', async () => {
    const inputs = [floats('x', [1])];
    expect((await failure({ model_name: 'none', inputs })).code).toBe('NOT_FOUND');
    expect((await failure({ ...half, model_version: '9', inputs })).code).toBe('NOT_FOUND');
    expect((await failure({ ...half, model_version: 'no', inputs })).code).toBe('INVALID_ARGUMENT');
    expect(await failure({ inputs })).toEqual(
      invalid('expected the name of a model, received none'),
    );
    expect(await failure({ model_name: 'broken', inputs })).toMatchObject({ code: 'UNAVAILABLE' });
    const parameters = { signature_name: string('none') };
    const { code, details } = await failure({ ...half, parameters, inputs });
    expect(code).toBe('INVALID_ARGUMENT');
    expect(details).toContain('as the parameter "signature_name" for model half, received none');
  });

  it('contents that are raw and typed, or of another number', async () => {
    expect(
      await failure({ ...half, inputs: [floats('x', [1])], raw_input_contents: [four] }),
    ).toEqual(
      invalid(
        'expected either raw_input_contents or typed contents, received both, those of input "x"',
      ),
    );
    expect(
      await failure({
        ...half,
        inputs: [tensor('x', 'FP32', [4])],
        raw_input_contents: [four, four],
      }),
    ).toEqual(invalid('expected raw_input_contents for each of 1 inputs, received 2'));
    expect(
      await failure({
        model_name: 'multi',
        inputs: [tensor('a', 'FP32', [4]), tensor('b', 'FP32', [4])],
        raw_input_contents: [four],
      }),
    ).toEqual(invalid('expected raw_input_contents for each of 2 inputs, received 1'));
  });

  it('sizes that lie, negative and overflowing shapes, unknown datatypes', async () => {
    const raw = (datatype: string, shape: (number | string)[]) =>
      failure({
        ...half,
        inputs: [tensor('x', datatype, shape as number[])],
        raw_input_contents: [four],
      });
    expect(await raw('FP32', [3])).toEqual(
      invalid('expected 12 bytes for input "x", which is FP32 of shape [3], received 16'),
    );
    for (const shape of [[5], [-4], ['9223372036854775807'], [2 ** 32, 2 ** 32], [4, 0]]) {
      expect((await raw('FP32', shape)).code).toBe('INVALID_ARGUMENT');
    }
    for (const datatype of ['', 'FLOAT', 'BYTES']) {
      expect((await raw(datatype, [4])).code).toBe('INVALID_ARGUMENT');
    }
    expect(await failure({ ...half, inputs: [floats('x', [1, 2], [4])] })).toEqual(
      invalid(
        'expected 4 elements in fp32_contents of input "x", which is of shape [4], received 2',
      ),
    );
    const huge = tensor('x', 'FP32', [2 ** 40], { fp32_contents: [1] });
    expect((await failure({ ...half, inputs: [huge] })).code).toBe('INVALID_ARGUMENT');
  });

  it('inputs that are missing, unknown, there twice, or of another datatype or shape', async () => {
    expect((await failure(half)).details).toBe(
      'expected input "x" for signature serving_default, received none',
    );
    expect((await failure({ ...half, inputs: [floats('z', [1])] })).details).toContain(
      'received "z"',
    );
    expect(await failure({ ...half, inputs: [floats('x', [1]), floats('x', [2])] })).toEqual(
      invalid('expected input "x" once, received it twice'),
    );
    expect((await failure({ ...half, inputs: [floats('__proto__', [1])] })).code).toBe(
      'INVALID_ARGUMENT',
    );
    const doubles = tensor('x', 'FP64', [1], { fp64_contents: [1] });
    expect(await failure({ ...half, inputs: [doubles] })).toEqual(
      invalid('expected FP32 for input "x", received FP64'),
    );
    const flat = floats('images', [1, 2], [2]);
    expect((await failure({ model_name: 'digits', inputs: [flat] })).details).toBe(
      'expected shape [-1,8,8,1] for input "images", received [2]',
    );
  });

  it('outputs that are unknown, asked for twice, or no tensors', async () => {
    const inputs = [floats('x', [1])];
    expect((await failure({ ...half, inputs, outputs: [{ name: 'z' }] })).code).toBe(
      'INVALID_ARGUMENT',
    );
    expect((await failure({ ...half, inputs, outputs: [{ name: 'y' }, { name: 'y' }] })).code).toBe(
      'INVALID_ARGUMENT',
    );
    const maps = {
      model_name: 'maps',
      inputs: [floats('probabilities', [0.1, 0.2, 0.7], [1, 3])],
    };
    expect((await failure({ ...maps, outputs: [{ name: 'maps' }] })).code).toBe('UNIMPLEMENTED');
    expect(await infer(maps)).toMatchObject({ outputs: [{ name: 'same' }] });
  });

  it('parameters of another type', async () => {
    const inputs = [floats('x', [1])];
    for (const parameters of [
      { priority: string('high') },
      { timeout: integer(-1) },
      { signature_name: integer(1) },
    ]) {
      expect((await failure({ ...half, inputs, parameters })).code).toBe('INVALID_ARGUMENT');
    }
    const outputs = [{ name: 'y', parameters: { classification: string('2') } }];
    expect(await failure({ ...half, inputs, outputs })).toEqual(
      invalid(
        'expected an integer of 0 or more for the parameter "classification" of output "y", received "2"',
      ),
    );
  });

  it('to go on after a deadline, a timeout, a cancellation', async () => {
    const slow = {
      model_name: 'slow',
      inputs: [tensor('n', 'INT64', [], { int64_contents: [20_000] })],
    };
    const deadline = await failure(slow, { deadline: new Date(Date.now() + 100) });
    expect(deadline.code).toBe('DEADLINE_EXCEEDED');
    const timeout = { ...slow, parameters: { timeout: integer(50_000) } };
    for (const options of [{}, { deadline: new Date(Date.now() + 60_000) }]) {
      expect(await failure(timeout, options)).toEqual({
        code: 'UNAVAILABLE',
        details: 'Request timeout expired',
      });
    }
    // The slow runs would be in the way of this one.
    const quick = tensor('n', 'INT64', [], { int64_contents: [1] });
    expect(await infer({ ...slow, inputs: [quick] })).toHaveProperty('outputs');
    const { answer, cancel } = client.start('inference.GRPCInferenceService/ModelInfer', slow);
    const ended = failureOf(answer);
    setImmediate(cancel);
    expect((await ended).code).toBe('CANCELLED');
    expect(await infer({ ...slow, inputs: [quick] })).toHaveProperty('outputs');
  });

  it('a run that fails with the engine’s text', async () => {
    const index = tensor('index', 'INT64', [1], { int64_contents: [99] });
    const failed = await failure({ model_name: 'fails', inputs: [index] });
    expect(failed.code).toBe('INVALID_ARGUMENT');
    expect(failed.details).toContain('indices element out of data bounds');
  });
});

describe('ModelStreamInfer', () => {
  it('answers in order, and goes on after a request that fails', async () => {
    const stream = client.inferStream();
    const answers: Message[] = [];
    stream.on('data', (answer: Message) => answers.push(answer));
    const requests = Array.from({ length: 50 }, (_, i) => ({
      model_name: i === 7 ? 'none' : 'half',
      id: String(i),
      inputs: [floats('x', [i])],
    }));
    for (const request of requests) stream.write(request);
    stream.end();
    await once(stream, 'end');
    expect(answers).toHaveLength(50);
    answers.forEach(({ error_message: error, infer_response: response }, i) => {
      if (i === 7) {
        expect(error).toContain('none');
        return;
      }
      expect(response).toMatchObject({
        id: String(i),
        outputs: [{ contents: { fp32_contents: [i / 2 + 3] } }],
      });
    });
  });

  it('answers each message before the client has sent the next', async () => {
    const stream = client.inferStream();
    for (const x of [1, 2, 3]) {
      stream.write({ model_name: 'half', inputs: [floats('x', [x])] });
      const [answer] = (await once(stream, 'data')) as [Message];
      expect(answer['infer_response']).toMatchObject({
        outputs: [{ contents: { fp32_contents: [x / 2 + 3] } }],
      });
    }
    stream.end();
    stream.resume();
    await once(stream, 'end');
  });
});

describe('the repository', () => {
  it('has an index', async () => {
    const { models } = await call('RepositoryIndex');
    expect(models).toEqual(
      expect.arrayContaining([
        { name: 'half', version: '124', state: 'READY' },
        { name: 'half', version: '123', state: 'READY' },
      ]),
    );
    const broken = (models as Message[]).find(({ name }) => name === 'broken');
    expect(broken).toMatchObject({ state: 'UNAVAILABLE' });
    expect(broken?.['reason']).not.toBe('');
    const ready = (await call('RepositoryIndex', { ready: true }))['models'] as Message[];
    expect(ready.every(({ state }) => state === 'READY')).toBe(true);
    const other = failureOf(call('RepositoryIndex', { repository_name: 'other' }));
    expect((await other).code).toBe('UNIMPLEMENTED');
  });

  it('takes no requests to load models where nobody may ask for it', async () => {
    for (const method of ['RepositoryModelLoad', 'RepositoryModelUnload']) {
      const refused = failureOf(call(method, { model_name: 'half' }));
      expect((await refused).code).toBe('UNIMPLEMENTED');
      expect((await failureOf(call(method))).code).toBe('INVALID_ARGUMENT');
    }
    expect((await failureOf(call('ModelStatistics'))).code).toBe('UNIMPLEMENTED');
  });
});
