/** What the server does with tensors, whatever carries them: statuses and texts of every refusal. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import { type DType, Tensor, TenonError, type TenonErrorCode } from '../../lib/index.js';
import type { ServedModel } from '../../lib/server/models.js';
import type { Repository } from '../../lib/server/repository/repository.js';
import { statusOf } from '../../lib/server/tfserving/errors.js';
import {
  type CallContext,
  type InferenceTask,
  type PredictRequest,
  TensorFlowServing,
} from '../../lib/server/tfserving/service.js';
import { fixtureModel, openRepository } from '../helpers/fixture-models.js';

let repository: Repository;
let service: TensorFlowServing;

beforeAll(async () => {
  repository = await openRepository(
    [
      fixtureModel('half_plus_two'),
      fixtureModel('dtypes', 'tf_dtypes'),
      fixtureModel('signatures', 'tf_signatures'),
      fixtureModel('multi', 'multi_io.onnx'),
      fixtureModel('maps', 'maps.onnx'),
      fixtureModel('slow', 'slow.onnx'),
      fixtureModel('digits', 'digits_cnn.onnx'),
      fixtureModel('batched', 'half_plus_two'),
    ],
    { loadOptions: { batched: { batching: { maxBatchSize: 4 } } } },
  );
  service = new TensorFlowServing(repository);
});

afterAll(() => repository.close(5000));

const float = (values: unknown): Tensor => Tensor.from(values, 'float32');

async function predict(
  name: string,
  request: Partial<PredictRequest>,
  call: CallContext = {},
): Promise<Record<string, unknown>> {
  const served = repository.acquire({ name });
  try {
    const { outputs, signatureName, version } = await service.predict(
      served,
      { signatureName: '', feeds: {}, api: 'GRPC', ...request },
      call,
    );
    return {
      signatureName,
      version,
      ...Object.fromEntries(outputs.map(({ name: key, tensor }) => [key, tensor.toArray()])),
    };
  } finally {
    served.release();
  }
}

/** `STATUS: text` of what a call rejects with. */
async function refusal(start: () => unknown): Promise<string> {
  try {
    await start();
  } catch (error) {
    if (error instanceof StatusError) return `${error.status}: ${error.message}`;
    throw new Error(`expected a StatusError`, { cause: error });
  }
  throw new Error('expected a refusal, and there was none');
}

describe('predict', () => {
  it('resolves the signature and the version', async () => {
    expect(await predict('half_plus_two', { feeds: { x: float([1, 2]) } })).toEqual({
      signatureName: 'serving_default',
      version: 124n,
      y: [3.5, 4],
    });
    expect(
      await predict('signatures', { signatureName: 'double', feeds: { x: float([[1, 2, 3]]) } }),
    ).toEqual({ signatureName: 'double', version: 1n, y: [[2, 4, 6]] });
  });

  it('computes the outputs of the filter, in its order', async () => {
    const feeds = { a: float([1, 2]), b: float([3, 1]) };
    const served = repository.acquire({ name: 'multi' });
    const { outputs } = await service.predict(served, {
      signatureName: '',
      feeds,
      outputFilter: ['greater', 'sum'],
      api: 'GRPC',
    });
    served.release();
    expect(outputs.map(({ name, tensor }) => [name, tensor.toArray()])).toEqual([
      ['greater', [false, true]],
      ['sum', [4, 3]],
    ]);
  });

  it('takes an ONNX input with a default, or leaves it out', async () => {
    const feeds = { a: float([1, 2]), b: float([3, 1]) };
    const outputFilter = ['scaled'];
    expect((await predict('multi', { feeds, outputFilter }))['scaled']).toEqual([40, 30]);
    const scale = float(2);
    expect(
      (await predict('multi', { feeds: { ...feeds, scale }, outputFilter }))['scaled'],
    ).toEqual([8, 6]);
  });

  it('computes tensors of a model that gives others as well', async () => {
    const feeds = { probabilities: float([[0.5, 0.25, 0.25]]) };
    expect((await predict('maps', { feeds, outputFilter: ['same'] }))['same']).toEqual([
      [0.5, 0.25, 0.25],
    ]);
    expect(await refusal(() => predict('maps', { feeds }))).toBe(
      'UNIMPLEMENTED: Output "maps" is of kind sequence, no tensor; name the outputs to compute',
    );
  });

  it.each<[string, string, Partial<PredictRequest>, string]>([
    [
      'an unknown signature, over gRPC',
      'half_plus_two',
      { signatureName: 's' },
      'FAILED_PRECONDITION: Serving signature key "s" not found.',
    ],
    [
      'an unknown signature, over REST',
      'half_plus_two',
      { signatureName: 's', api: 'REST' },
      'INVALID_ARGUMENT: Serving signature name: "s" not found in signature def',
    ],
    [
      'an input too many',
      'half_plus_two',
      { feeds: { x: float([1]), z: float([1]) } },
      'INVALID_ARGUMENT: input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.',
    ],
    [
      'an input too few',
      'signatures',
      { signatureName: 'stats', feeds: { values: float([1]) } },
      'INVALID_ARGUMENT: input size does not match signature: 1!=3 len({values}) != len({digits,values,weights}). Sent extra: {}. Missing but required: {digits,weights}.',
    ],
    [
      'an input of another name',
      'half_plus_two',
      { feeds: { z: float([1]) } },
      'INVALID_ARGUMENT: input tensor alias not found in signature: z. Inputs expected to be in the set {x}.',
    ],
    [
      'an output that is none',
      'half_plus_two',
      { feeds: { x: float([1]) }, outputFilter: ['z'] },
      'INVALID_ARGUMENT: output tensor alias not found in signature: z Outputs expected to be in the set {y}.',
    ],
    [
      'an output twice',
      'half_plus_two',
      { feeds: { x: float([1]) }, outputFilter: ['y', 'y'] },
      'INVALID_ARGUMENT: duplicate output tensor alias: y',
    ],
    [
      'more rows than a batched model takes',
      'batched',
      { feeds: { x: float([1, 2, 3, 4, 5]) } },
      'INVALID_ARGUMENT: Task size 5 is larger than maximum input batch size 4',
    ],
  ])('refuses %s', async (_, name, request, expected) => {
    expect(await refusal(() => predict(name, request))).toBe(expected);
  });

  it.each<[string, DType, string]>([
    ['float64', 'float64', 'Expects arg[0] to be float but double is provided'],
    ['int64', 'int64', 'Expects arg[0] to be float but int64 is provided'],
    ['float16', 'float16', 'Expects arg[0] to be float but half is provided'],
    ['string', 'string', 'Expects arg[0] to be float but string is provided'],
  ])('refuses %s where the signature has float32', async (_, dtype, text) => {
    const x = dtype === 'string' ? Tensor.from(['a'], dtype) : Tensor.alloc(dtype, [1]);
    expect(await refusal(() => predict('half_plus_two', { feeds: { x } }))).toBe(
      `INVALID_ARGUMENT: ${text}`,
    );
  });

  it('leaves shapes to the model', async () => {
    expect((await predict('half_plus_two', { feeds: { x: float([[1], [2]]) } }))['y']).toEqual([
      [3.5],
      [4],
    ]);
    expect(
      await refusal(() =>
        predict('digits', { feeds: { images: Tensor.alloc('float32', [1, 3, 3, 1]) } }),
      ),
    ).toMatch(/^INVALID_ARGUMENT: Got invalid dimensions for input: images/);
  });

  it('tells what the client did wrong from what the engine did, where ONNX Runtime does not', async () => {
    const feeds = { a: float([1, 2]), b: float([1, 2, 3]) };
    expect(await refusal(() => predict('multi', { feeds }))).toMatch(
      /^INVALID_ARGUMENT: Non-zero status code returned/,
    );
  });

  it('ends with the time it has', async () => {
    const feeds = { n: Tensor.from(20_000n, 'int64') };
    const text = 'DEADLINE_EXCEEDED: Timed out waiting for notification';
    expect(await refusal(() => predict('slow', { feeds }, { timeoutMs: 50 }))).toBe(text);
    expect(await refusal(() => predict('slow', { feeds }, { timeoutMs: 0 }))).toBe(text);
    expect(await refusal(() => predict('slow', { feeds }, { timeoutMs: -1.5 }))).toBe(text);
    // Further away than a timer can wait.
    const x = float([1]);
    expect((await predict('half_plus_two', { feeds: { x } }, { timeoutMs: 2 ** 40 }))['y']).toEqual(
      [3.5],
    );
  });

  it('ends with its signal, and with what that says', async () => {
    const feeds = { n: Tensor.from(200_000n, 'int64') };
    const ended = new AbortController();
    const started = refusal(() => predict('slow', { feeds }, { signal: ended.signal }));
    ended.abort();
    expect(await started).toBe('CANCELLED: Run call was cancelled');
    const reason = new StatusError('UNAVAILABLE', 'The server is stopping');
    expect(
      await refusal(() => predict('slow', { feeds }, { signal: AbortSignal.abort(reason) })),
    ).toBe('UNAVAILABLE: The server is stopping');
  });

  it('refuses methods that are none of its own where it is to look', async () => {
    const strict = new TensorFlowServing(repository, { checkMethodName: true });
    const served = repository.acquire({ name: 'half_plus_two' });
    const { model } = served;
    const { serving_default: signature, regress_x_to_y: regress } = model.signatures;
    const renamed: ServedModel = {
      name: served.name,
      version: served.version,
      model: Object.assign(Object.create(model) as typeof model, {
        signatures: {
          serving_default: { ...signature, methodName: 'other' },
          regress_x_to_y: { ...regress, methodName: 'other' },
        },
      }),
      signatureDefs: () => served.signatureDefs(),
      release: () => served.release(),
    };
    const request = { signatureName: '', feeds: { x: float([1]) }, api: 'GRPC' } as const;
    expect(await refusal(() => strict.predict(renamed, request))).toBe(
      'INTERNAL: Expected prediction signature method_name to be one of {tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress}. Was: other',
    );
    const examples = { signatureName: 'regress_x_to_y', examples: [new Uint8Array()] };
    expect(await refusal(() => strict.regress(renamed, examples))).toBe(
      'INVALID_ARGUMENT: Expected regression signature method_name to be tensorflow/serving/regress. Was: other',
    );
    expect((await strict.predict(served, request)).version).toBe(124n);
    renamed.release();
  });
});

describe('multiInference', () => {
  // tensorflow.Example { features { feature { key: "x" value { float_list { value: 80 } } } } }
  const example = Buffer.from('0a0f0a0d0a0178120812060a040000a042', 'hex');
  const task = (
    signatureName: string,
    methodName: string,
    name = 'half_plus_two',
  ): InferenceTask => ({
    modelSpec: { name, signatureName },
    methodName: `tensorflow/serving/${methodName}`,
  });
  const classify = task('classify_x_to_y', 'classify');
  const regress = task('regress_x_to_y', 'regress');

  it('asks several signatures about the same examples', async () => {
    expect(await service.multiInference([classify, regress], [example, example])).toEqual([
      {
        kind: 'classify',
        name: 'half_plus_two',
        signatureName: 'classify_x_to_y',
        version: 124n,
        classifications: [[{ label: '', score: 43 }], [{ label: '', score: 43 }]],
      },
      {
        kind: 'regress',
        name: 'half_plus_two',
        signatureName: 'regress_x_to_y',
        version: 124n,
        values: [43, 43],
      },
    ]);
  });

  it.each<[string, InferenceTask[], string]>([
    ['no task', [], 'INVALID_ARGUMENT: ModelSpec has no name specified.'],
    [
      'an unknown model',
      [task('', 'regress', 'none')],
      'NOT_FOUND: Servable not found for request: Latest(none)',
    ],
    [
      'a task without a model',
      [regress, task('', 'regress', '')],
      'INVALID_ARGUMENT: Found ModelSpec with an empty model name.',
    ],
    [
      'two models',
      [regress, task('', 'regress', 'signatures')],
      'INVALID_ARGUMENT: All ModelSpecs in a MultiInferenceRequest must access the same model name.',
    ],
    [
      'a signature twice',
      [regress, regress],
      'INVALID_ARGUMENT: Duplicate evaluation of signature: regress_x_to_y',
    ],
    [
      'an unknown signature',
      [task('none', 'regress')],
      'INVALID_ARGUMENT: Requested signature not found in model graph: none',
    ],
    [
      'another method',
      [task('regress_x_to_y', 'predict')],
      'UNIMPLEMENTED: Unsupported signature method_name: tensorflow/serving/predict',
    ],
  ])('refuses %s', async (_, tasks, expected) => {
    expect(await refusal(() => service.multiInference(tasks, [example]))).toBe(expected);
  });

  it('refuses no examples', async () => {
    expect(await refusal(() => service.multiInference([regress], []))).toBe(
      'INVALID_ARGUMENT: Input is empty.',
    );
  });
});

describe('reload', () => {
  it('is unimplemented without a repository, and passes refusals on', async () => {
    expect(await refusal(() => service.reload({}))).toBe(
      'UNIMPLEMENTED: This server takes no new configuration',
    );
    const refused = new StatusError('INVALID_ARGUMENT', 'no');
    const own = new TensorFlowServing(repository, { reload: () => Promise.reject(refused) });
    expect(await refusal(() => own.reload({}))).toBe('INVALID_ARGUMENT: no');
  });
});

it.each<[TenonErrorCode, string]>([
  ['ERR_TENON_TIMEOUT', 'DEADLINE_EXCEEDED: Timed out waiting for notification'],
  ['ERR_TENON_ABORTED', 'CANCELLED: Run call was cancelled'],
  [
    'ERR_TENON_DEADLINE',
    'RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue',
  ],
  [
    'ERR_TENON_QUEUE_FULL',
    'UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; why',
  ],
  ['ERR_TENON_OUT_OF_MEMORY', 'RESOURCE_EXHAUSTED: why'],
  ['ERR_TENON_UNSUPPORTED', 'UNIMPLEMENTED: why'],
  ['ERR_TENON_MODEL_CLOSED', 'UNAVAILABLE: why'],
  ['ERR_TENON_INTERNAL', 'INTERNAL: why'],
])('%s is %s', (code, expected) => {
  const { status, message } = statusOf(new TenonError(code, 'why'));
  expect(`${status}: ${message}`).toBe(expected);
});
