import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import {
  checkModelConfig,
  engineOf,
  latestVersion,
  localPath,
  type ModelConfig,
} from '../../lib/server/config/model-config.js';

const model = (name: string, more: Partial<ModelConfig> = {}): ModelConfig => ({
  name,
  basePath: `/models/${name}`,
  versionPolicy: latestVersion,
  labels: {},
  ...more,
});

const problemOf = (
  models: ModelConfig[],
  options?: Parameters<typeof checkModelConfig>[1],
): string => {
  try {
    checkModelConfig({ models }, options);
  } catch (error) {
    if (error instanceof StatusError && error.status === 'INVALID_ARGUMENT') return error.message;
    throw error;
  }
  return 'none';
};

describe('a configuration', () => {
  it('may name models of both platforms, or none', () => {
    expect(
      problemOf([model('a', { platform: 'tensorflow' }), model('b', { platform: 'onnx' })]),
    ).toBe('none');
    expect(problemOf([model('a'), model('b', { platform: '' })])).toBe('none');
    expect(problemOf([])).toBe('none');
  });

  it('names each model, once', () => {
    expect(problemOf([model('a'), model('b'), model('a')])).toBe(
      'Illegal to list model a multiple times in config list',
    );
    expect(problemOf([model('')])).toMatch('expected a name for each model');
  });

  it('says the platform where that is demanded', () => {
    expect(problemOf([model('a')], { requirePlatform: true })).toMatch(
      'Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform',
    );
  });

  it('knows two platforms', () => {
    expect(problemOf([model('a', { platform: 'caffe' })])).toBe(
      'expected "tensorflow" or "onnx" as the platform of model a, received "caffe"',
    );
    expect(problemOf([model('a', { platform: 'constructor' })])).toMatch('received "constructor"');
    expect(engineOf(model('a', { platform: 'onnx' }))).toBe('onnxruntime');
    expect(engineOf(model('a', { platform: 'tensorflow' }))).toBe('tensorflow');
    expect(engineOf(model('a'))).toBeUndefined();
  });

  it('does not change the platform of a model that is served', () => {
    const served = { models: [model('a', { platform: 'tensorflow' }), model('b')] };
    expect(problemOf([model('a', { platform: 'onnx' })], { served })).toBe(
      "Illegal to change a model's platform. For model a platform was tensorflow and new platform requested is onnx",
    );
    expect(problemOf([model('a'), model('b', { platform: 'onnx' })], { served })).toBe('none');
  });

  it('has versions that are int64 of 0 or more', () => {
    const of = (versions: bigint[]): string =>
      problemOf([model('a', { versionPolicy: { kind: 'specific', versions } })]);
    expect(of([0n, 2n ** 63n - 1n])).toBe('none');
    expect(of([-1n])).toBe(
      'expected versions from 0 to 9223372036854775807 for model a, received -1',
    );
    expect(problemOf([model('a', { labels: { stable: 2n ** 63n } })])).toMatch('expected versions');
  });
});

describe('a base path', () => {
  it('is a path of this machine', () => {
    expect(localPath(model('a', { basePath: 'models/a' }))).toBe(path.resolve('models/a'));
    expect(localPath(model('a', { basePath: 'file:///models/a%20b' }))).toBe('/models/a b');
    expect(problemOf([model('a', { basePath: '' })])).toBe(
      'expected a base path for model a, received none',
    );
  });

  it.each([
    ['s3://bucket/a', 'aws s3 sync'],
    ['gs://bucket/a', 'gcloud storage rsync'],
    ['hdfs://host/a', 'its own tool'],
  ])('is not %s, and the error says what to do', (basePath, remedy) => {
    const problem = problemOf([model('a', { basePath })]);
    expect(problem).toMatch(
      `expected a path of this machine as the base path of model a, received ${basePath}`,
    );
    expect(problem).toMatch(remedy);
  });
});
