import { describe, expect, it } from 'vitest';

import { type LoadOptions, resolveLoadOptions } from '../../lib/model/load-options.js';
import { nativeAddon } from '../../lib/native/load.js';
import * as check from '../../lib/options.js';
import { expectError } from '../helpers/errors.js';

function resolve(options: unknown) {
  return resolveLoadOptions(options as LoadOptions);
}

describe('load options', () => {
  it.each([
    ['engine', 'pytorch', '"onnxruntime", "tensorflow"'],
    ['engine', 1, 'engine'],
    ['engine', null, 'engine'],
    ['engine', 'toString', 'engine'],
    ['signature', 1, 'a string'],
    ['tags', 'serve', 'an array of strings'],
    ['tags', [1], 'tags[0]'],
    ['threads', 4, 'an options object'],
    ['threads', [4], 'an options object'],
    ['threads', null, 'an options object'],
    ['threads', { intra: 1 }, 'received "intra"'],
    ['threads', { intraOp: 0 }, 'threads.intraOp'],
    ['threads', { intraOp: 1.5 }, 'threads.intraOp'],
    ['threads', { intraOp: '4' }, 'threads.intraOp'],
    ['threads', { intraOp: 1e6 }, 'threads.intraOp'],
    ['threads', { interOp: -1 }, 'threads.interOp'],
    ['threads', { interOp: NaN }, 'threads.interOp'],
    ['threads', { spin: 1 }, 'threads.spin'],
    ['executionProviders', 'cuda', 'an array of providers'],
    ['executionProviders', [1], 'executionProviders[0]'],
    ['executionProviders', [null], 'executionProviders[0]'],
    ['executionProviders', [{}], 'executionProviders[0].name'],
    ['executionProviders', [{ name: 'cuda', device: {} }], 'executionProviders[0].device'],
    ['pool', { lanes: 0 }, 'pool.lanes'],
    ['pool', { lanes: Infinity }, 'pool.lanes'],
    ['pool', { maxQueue: -1 }, 'pool.maxQueue'],
    ['pool', { size: 1 }, 'received "size"'],
    ['validateShapes', 'no', 'a boolean'],
    ['onnxruntime', { optLevel: 1 }, 'received "optLevel"'],
    ['onnxruntime', { graphOptimizationLevel: 'most' }, 'graphOptimizationLevel'],
    ['onnxruntime', { graphOptimizationLevel: 'toString' }, 'graphOptimizationLevel'],
    ['onnxruntime', { configEntries: [] }, 'configEntries'],
    ['onnxruntime', { configEntries: { key: null } }, 'configEntries.key'],
    ['onnxruntime', { configEntries: { key: NaN } }, 'configEntries.key'],
    ['onnxruntime', { freeDimensionOverrides: { batch: '1' } }, 'freeDimensionOverrides.batch'],
    ['onnxruntime', { freeDimensionOverrides: { batch: -1 } }, 'freeDimensionOverrides.batch'],
    ['onnxruntime', { customOpLibraries: 'x.so' }, 'customOpLibraries'],
    ['onnxruntime', { library: 1 }, 'onnxruntime.library'],
    ['tensorflow', { library: {} }, 'tensorflow.library'],
    ['tensorflow', { opLibraries: [1] }, 'opLibraries[0]'],
    ['tensorflow', { config: 'abc' }, 'tensorflow.config'],
    ['tensorflow', { config: [1] }, 'tensorflow.config'],
    ['tensorflow', { inputs: 'x:0' }, 'tensorflow.inputs'],
    ['tensorflow', { inputs: [1] }, 'tensorflow.inputs[0]'],
    ['tensorflow', { outputs: { y: null } }, 'tensorflow.outputs.y'],
    ['tensorflow', { outputs: 3 }, 'tensorflow.outputs'],
  ])('%s: %o is refused by name', async (option, value, word) => {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => resolve({ [option]: value }), word);
  });

  it.each([['modelPath'], ['lanes'], ['__proto__x'], ['constructor']])(
    'refuses the unknown option %s and names those there are',
    async (option) => {
      const action = () => resolve({ [option]: 1 });
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, `"${option}"`, 'validateShapes');
    },
  );

  it.each([[null], [1], ['x'], [[]], [() => 1]])(
    'refuses %o in place of options',
    async (value) => {
      await expectError('ERR_TENON_INVALID_ARGUMENT', () => resolve(value), 'an options object');
    },
  );

  it('take the CPU quota as their default', () => {
    const quota = nativeAddon().cpuQuota();
    const resolved = resolve(undefined);
    expect(resolved.intraOpThreads).toBe(quota);
    expect(resolved.lanes).toBe(Math.min(quota, 8));
    expect(resolved.interOpThreads).toBeUndefined();
  });

  it('may be undefined one by one', () => {
    expect(resolve({ engine: undefined, threads: undefined, tags: undefined })).toEqual(
      resolve({}),
    );
  });

  it('note what only one engine has', () => {
    const { onlyFor } = resolve({
      tags: ['serve'],
      threads: { spin: true },
      executionProviders: [],
    });
    expect(onlyFor.map(({ option }) => option).sort()).toEqual([
      'executionProviders',
      'tags',
      'threads.spin',
    ]);
  });

  it('write the options of a provider out as text', () => {
    const { onnxruntime } = resolve({
      executionProviders: ['cpu', { name: 'cuda', device_id: 0, fast: true, mode: 'x' }],
    });
    expect(onnxruntime.providers).toEqual([
      { name: 'cpu', options: [] },
      {
        name: 'cuda',
        options: [
          ['device_id', '0'],
          ['fast', '1'],
          ['mode', 'x'],
        ],
      },
    ]);
  });

  it('name graph tensors by an array or a record', () => {
    const { tensorflow } = resolve({
      tensorflow: { inputs: ['x:0', 'y', 'z:1'], outputs: { sum: 'add', second: 'split:1' } },
    });
    expect(tensorflow.inputs).toEqual([
      ['x', 'x:0'],
      ['y', 'y:0'],
      ['z:1', 'z:1'],
    ]);
    expect(tensorflow.outputs).toEqual([
      ['sum', 'add:0'],
      ['second', 'split:1'],
    ]);
  });
});

describe('integers', () => {
  it.each([[1.5], ['1'], [NaN], [0], [11], [1n], [null], [Infinity]])(
    'refuse %o',
    async (value) => {
      const action = () => check.integer(value, 'count', 5, 1, 10);
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, 'from 1 to 10', '"count"');
    },
  );

  it('fall back where nothing is given', () => {
    expect(check.integer(undefined, 'count', 5, 1)).toBe(5);
  });
});
