/** What the Open Inference Protocol asks of models, whatever carries it: answers and refusals. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { noParameters, type ParameterValue } from '../../lib/codec/oip/parameters.js';
import {
  type CallContext,
  type InferRequest,
  type InferResult,
  OpenInference,
} from '../../lib/server/oip/service.js';
import type { Repository } from '../../lib/server/repository/repository.js';
import { TensorFlowServing } from '../../lib/server/tfserving/service.js';
import { fixtureModel, openRepository } from '../helpers/fixture-models.js';
import { fixture } from '../helpers/paths.js';

let repository: Repository;
let oip: OpenInference;

beforeAll(async () => {
  repository = await openRepository([
    fixtureModel('half', 'half_plus_two', {
      versionPolicy: { kind: 'all' },
      labels: { stable: 123n },
    }),
    fixtureModel('signatures', 'tf_signatures'),
    fixtureModel('multi', 'multi_io.onnx'),
    fixtureModel('maps', 'maps.onnx'),
    fixtureModel('digits', 'digits_cnn.onnx'),
    { ...fixtureModel('broken'), basePath: fixture('broken', 'truncated.onnx') },
  ]);
  oip = new OpenInference({ models: repository, service: new TensorFlowServing(repository) });
});

afterAll(() => repository.close(5000));

const float = (values: unknown): Tensor => Tensor.from(values, 'float32');

async function infer(
  model: string,
  request: Partial<InferRequest>,
  call?: CallContext,
): Promise<InferResult> {
  const served = oip.acquire({ name: model });
  try {
    const filled = { parameters: noParameters, feeds: {}, outputs: [], api: 'REST', ...request };
    return await oip.infer(served, filled as InferRequest, call);
  } finally {
    served.release();
  }
}

const x = (shape: number[]): Record<string, Tensor> => ({
  x: new Tensor('float32', new Float32Array(shape.reduce((a, b) => a * b, 1)), shape),
});

describe('infer', () => {
  it('runs the default signature and names the version that answered', async () => {
    const { outputs, ...result } = await infer('half', { feeds: { x: float([1, 2, 5]) } });
    expect(result).toEqual({
      modelName: 'half',
      modelVersion: 124n,
      signatureName: 'serving_default',
    });
    expect(outputs.map(({ name, tensor }) => [name, tensor.toArray()])).toEqual([
      ['y', [3.5, 4, 5.5]],
    ]);
  });

  it('gives classes in place of numbers where it is asked to', async () => {
    const feeds = { x: float([1, 5, 2]) };
    const { outputs } = await infer('half', { feeds, outputs: [{ name: 'y', classification: 2 }] });
    expect(outputs[0]?.tensor).toMatchObject({ dtype: 'string', shape: [2] });
    expect(outputs[0]?.tensor.data).toEqual(['5.500000:1', '4.000000:2']);
  });

  it.each([
    ['an input nobody knows', { feeds: { z: float([1]) } }, 'expected inputs among "x"'],
    ['no input', {}, 'expected input "x" for signature serving_default, received none'],
    [
      'another datatype',
      { feeds: { x: Tensor.from([1], 'int32') } },
      'expected FP32 for input "x", received INT32',
    ],
    ['another rank', { feeds: x([1, 1, 1]) }, 'for input "x", received [1,1,1]'],
    [
      'an output nobody knows',
      { feeds: { x: float([1]) }, outputs: [{ name: 'z' }] },
      'expected outputs among "y" for signature serving_default, received "z"',
    ],
    [
      'an output that is asked for twice',
      { feeds: { x: float([1]) }, outputs: [{ name: 'y' }, { name: 'y' }] },
      'expected output "y" once, received it twice',
    ],
    ...(
      [
        [
          'signature_name',
          'none',
          'as the parameter "signature_name" for model half, received none',
        ],
        ['signature_name', 7, 'expected a string for the parameter "signature_name", received 7'],
        ['priority', 'high', 'expected an integer of 0 or more for the parameter "priority"'],
        ['timeout', -1n, 'expected an integer of 0 or more for the parameter "timeout"'],
      ] as [string, ParameterValue, string][]
    ).map(([name, value, message]): [string, Partial<InferRequest>, string] => [
      `${name} ${value}`,
      { feeds: { x: float([1]) }, parameters: new Map([[name, value]]) },
      message,
    ]),
  ])('refuses %s', async (_, request, message) => {
    await expect(infer('half', request)).rejects.toMatchObject({
      status: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message) as string,
    });
  });

  it('gives of a model those outputs that are tensors, and refuses the others', async () => {
    const feeds = { probabilities: float([[1, 2, 3]]) };
    const { outputs } = await infer('maps', { feeds });
    expect(outputs.map(({ name }) => name)).toEqual(['same']);
    await expect(infer('maps', { feeds, outputs: [{ name: 'maps' }] })).rejects.toMatchObject({
      status: 'UNIMPLEMENTED',
      message: 'output "maps" is of kind sequence, no tensor',
    });
  });
});

describe('models', () => {
  it('tells which serve', () => {
    expect(oip.modelReady({ name: 'half' })).toBe(true);
    expect(oip.modelReady({ name: 'half', version: 123n })).toBe(true);
    expect(oip.modelReady({ name: 'broken' })).toBe(false);
    expect(() => oip.modelReady({ name: 'none' })).toThrow(/Could not find any versions/);
  });

  it('tells an unknown model from one that does not serve', () => {
    expect(() => oip.acquire({ name: 'none' })).toThrow(
      expect.objectContaining({ status: 'NOT_FOUND' }) as Error,
    );
    expect(() => oip.acquire({ name: 'broken' })).toThrow(
      expect.objectContaining({ status: 'UNAVAILABLE' }) as Error,
    );
  });

  it('describes a signature', () => {
    expect(oip.modelMetadata({ name: 'digits' })).toMatchObject({
      name: 'digits',
      versions: ['1'],
      platform: 'onnx_onnxv1',
    });
    expect(oip.modelMetadata({ name: 'half', label: 'stable' })).toEqual({
      name: 'half',
      versions: ['123'],
      platform: 'tensorflow_savedmodel',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1] }],
    });
  });
});
