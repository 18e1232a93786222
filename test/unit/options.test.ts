import { describe, expect, it } from 'vitest';

import { type LoadOptions, resolveLoadOptions } from '../../lib/model/load-options.js';
import { createPool } from '../../lib/model/pool.js';
import { nativeAddon } from '../../lib/native/load.js';
import * as check from '../../lib/options.js';
import { ConfigProto } from '../../lib/protobuf/tensorflow-config.js';
import { expectError } from '../helpers/errors.js';

function resolve(options: unknown) {
  return resolveLoadOptions(options as LoadOptions);
}

describe('load options', () => {
  it('have the lanes of a shared pool, by which TensorFlow counts its inter-op threads', async () => {
    await using shared = createPool({ lanes: 5 });
    expect(resolve({ pool: { shared } }).lanes).toBe(5);
  });

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
    ['executionProviders', [['cuda']], 'executionProviders[0]'],
    ['executionProviders', [{ name: 'x', devices: 0 }], 'executionProviders[0].devices'],
    ['executionProviders', [{ name: 'x', devices: [-1] }], 'executionProviders[0].devices[0]'],
    ['allowProviderFallback', 1, 'a boolean'],
    ['threads', { shared: 'yes' }, 'threads.shared'],
    ['threads', { affinity: 1 }, 'threads.affinity'],
    ['threads', { affinity: [1] }, 'threads.affinity[0]'],
    ['threads', { affinity: [[]] }, 'threads.affinity[0]'],
    ['threads', { affinity: [[0, -1]] }, 'threads.affinity[0][1]'],
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
    ['onnxruntime', { optimizedModelPath: '' }, 'optimizedModelPath'],
    ['onnxruntime', { optimizedModelPath: 'a\0b' }, 'optimizedModelPath'],
    ['onnxruntime', { cpuArena: 0 }, 'cpuArena'],
    ['onnxruntime', { memoryPattern: 'off' }, 'memoryPattern'],
    ['onnxruntime', { deterministic: 1 }, 'deterministic'],
    ['onnxruntime', { runConfigEntries: { key: {} } }, 'runConfigEntries.key'],
    ['onnxruntime', { freeDenotationOverrides: { X: 1.5 } }, 'freeDenotationOverrides.X'],
    ['onnxruntime', { customOpLibraries: [''] }, 'customOpLibraries[0]'],
    ['onnxruntime', { profiling: true }, 'onnxruntime.profiling'],
    ['onnxruntime', { profiling: {} }, 'onnxruntime.profiling.file'],
    ['onnxruntime', { profiling: { file: 1 } }, 'onnxruntime.profiling.file'],
    ['onnxruntime', { profiling: { path: 'x' } }, 'received "path"'],
    ['onnxruntime', { logLevel: 'loud' }, 'logLevel'],
    ['onnxruntime', { logVerbosity: -1 }, 'logVerbosity'],
    ['onnxruntime', { logId: 1 }, 'logId'],
    ['onnxruntime', { initializers: { w: [1] } }, 'initializers.w'],
    ['onnxruntime', { externalInitializers: [] }, 'externalInitializers'],
    ['onnxruntime', { externalData: { 'x.bin': 'x' } }, 'externalData.x.bin'],
    ['onnxruntime', { weightGroup: true }, 'weightGroup'],
    ['onnxruntime', { loraAdapters: { a: 1 } }, 'loraAdapters.a'],
    ['onnxruntime', { loraAdapters: { a: '' } }, 'loraAdapters.a'],
    ['onnxruntime', { activeLoraAdapters: ['a'] }, 'activeLoraAdapters'],
    ['onnxruntime', { library: 1 }, 'onnxruntime.library'],
    ['tensorflow', { library: {} }, 'tensorflow.library'],
    ['tensorflow', { opLibraries: [1] }, 'opLibraries[0]'],
    ['tensorflow', { config: 'abc' }, 'tensorflow.config'],
    ['tensorflow', { config: [1] }, 'tensorflow.config'],
    ['tensorflow', { config: Uint8Array.of(10) }, 'tensorflow.config'],
    ['tensorflow', { allowSoftPlacement: 1 }, 'allowSoftPlacement'],
    ['tensorflow', { logDevicePlacement: 'yes' }, 'logDevicePlacement'],
    ['tensorflow', { deviceCount: { CPU: -1 } }, 'deviceCount.CPU'],
    ['tensorflow', { deviceCount: 1 }, 'deviceCount'],
    ['tensorflow', { operationTimeoutMs: 0.5 }, 'operationTimeoutMs'],
    ['tensorflow', { gpu: { growth: true } }, 'received "growth"'],
    ['tensorflow', { gpu: { memoryFraction: -1 } }, 'memoryFraction'],
    ['tensorflow', { gpu: { memoryFraction: NaN } }, 'memoryFraction'],
    ['tensorflow', { gpu: { allowGrowth: 1 } }, 'allowGrowth'],
    ['tensorflow', { gpu: { visibleDevices: '0' } }, 'visibleDevices'],
    ['tensorflow', { gpu: { visibleDevices: ['0'] } }, 'visibleDevices[0]'],
    ['tensorflow', { globalJitLevel: 1 }, 'globalJitLevel'],
    ['tensorflow', { globalJitLevel: 'on3' }, '"on1"'],
    ['tensorflow', { optimizerLevel: 'L9' }, 'optimizerLevel'],
    ['tensorflow', { rewriter: 'off' }, 'tensorflow.rewriter'],
    ['tensorflow', { rewriter: { folding: 'on' } }, 'received "folding"'],
    ['tensorflow', { rewriter: { constantFolding: true } }, 'rewriter.constantFolding'],
    ['tensorflow', { rewriter: { disableMetaOptimizer: 'on' } }, 'disableMetaOptimizer'],
    ['tensorflow', { rewriter: { metaOptimizerIterations: 3 } }, 'metaOptimizerIterations'],
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
    expect(resolved.threads.intraOp).toBe(quota);
    expect(resolved.lanes).toBe(Math.min(quota, 8));
    expect(resolved.threads.interOp).toBeUndefined();
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
    const { providers } = resolve({
      executionProviders: [
        'cpu',
        { name: 'cuda', device_id: 0, fast: true, mode: 'x', devices: [1] },
      ],
    });
    expect(providers).toEqual([
      { name: 'cpu', options: [], devices: [] },
      {
        name: 'cuda',
        devices: [1],
        options: [
          ['device_id', '0'],
          ['fast', '1'],
          ['mode', 'x'],
        ],
      },
    ]);
  });

  it('take CPUs from 0 and write them as ONNX Runtime counts, from 1', () => {
    expect(resolve({ threads: { affinity: [[0], [2, 3]] } }).threads.affinity).toBe('1;3,4');
    expect(resolve({ threads: { affinity: '1-2;3' } }).threads.affinity).toBe('1-2;3');
  });

  it('read the thread counts off a raw ConfigProto', () => {
    const config = ConfigProto.encode({ intraOpParallelismThreads: 3 });
    const { configThreads } = resolve({ tensorflow: { config } }).tensorflow;
    expect(configThreads).toEqual({ intraOp: 3, interOp: undefined });
  });

  it('are encoded as a ConfigProto, under the raw one', () => {
    const raw = ConfigProto.encode({
      allowSoftPlacement: true,
      deviceCount: new Map([['GPU', 0]]),
    });
    const { config } = resolve({
      tensorflow: {
        config: raw,
        logDevicePlacement: true,
        deviceCount: { CPU: 2 },
        operationTimeoutMs: 1500,
        gpu: { memoryFraction: 0.25, allowGrowth: true, visibleDevices: [1, 0] },
        globalJitLevel: 'on2',
        cpuGlobalJit: true,
        optimizerLevel: 'L0',
        rewriter: {
          constantFolding: 'off',
          remapping: 'aggressive',
          metaOptimizerIterations: 1,
          minGraphNodes: -1,
          cpuLayoutConversion: 'nchwToNhwc',
          memoryOptimization: 'off',
        },
      },
    }).tensorflow;
    const decoded = ConfigProto.decode(config);
    expect(decoded.allowSoftPlacement).toBe(true);
    expect(decoded.logDevicePlacement).toBe(true);
    expect(decoded.deviceCount).toEqual(
      new Map([
        ['CPU', 2],
        ['GPU', 0],
      ]),
    );
    expect(decoded.operationTimeoutInMs).toBe(1500n);
    expect(decoded.gpuOptions).toMatchObject({
      perProcessGpuMemoryFraction: 0.25,
      allowGrowth: true,
      visibleDeviceList: '1,0',
    });
    expect(decoded.graphOptions?.optimizerOptions).toMatchObject({
      globalJitLevel: 2,
      optLevel: -1,
      cpuGlobalJit: true,
    });
    expect(decoded.graphOptions?.rewriteOptions).toMatchObject({
      constantFolding: 2,
      remapping: 3,
      layoutOptimizer: 0,
      metaOptimizerIterations: 1,
      minGraphNodes: -1,
      cpuLayoutConversion: 1,
      memoryOptimization: 1,
    });
  });

  it('encode to nothing where nothing is asked for', () => {
    expect(resolve({}).tensorflow.config).toHaveLength(0);
    expect(
      resolve({ tensorflow: { rewriter: true, gpu: undefined } }).tensorflow.config,
    ).toHaveLength(0);
  });

  it('switch the rewriter off as a whole', () => {
    const { config } = resolve({ tensorflow: { rewriter: false } }).tensorflow;
    expect(ConfigProto.decode(config).graphOptions?.rewriteOptions?.disableMetaOptimizer).toBe(
      true,
    );
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
