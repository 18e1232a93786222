import { describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/errors.js';
import { Any } from '../../lib/protobuf/google-protobuf.js';
import { type MessageType, messageType } from '../../lib/protobuf/message.js';
import { ConfigProto, RewriterConfigToggle } from '../../lib/protobuf/tensorflow-config.js';
import {
  BatchingParameters,
  ModelServerConfig,
  MonitoringConfig,
  PlatformConfigMap,
  SavedModelBundleSourceAdapterConfig,
  SSLConfig,
} from '../../lib/protobuf/tensorflow-serving-config.js';
import { parseText, type ParseTextOptions } from '../../lib/protobuf/text.js';

interface Scalars {
  double: number;
  float: number;
  int32: number;
  int64: bigint;
  uint32: number;
  uint64: bigint;
  bool: boolean;
  text: string;
  bytes: Uint8Array;
  kind: number;
  numbers: number[];
  children: Scalars[];
  byName: Map<string, bigint>;
  choice: { case: 'word'; value: string } | { case: 'child'; value: Scalars } | undefined;
  any: Any | undefined;
}
const Scalars: MessageType<Scalars> = messageType('test.Scalars', () => [
  { name: 'double', number: 1, type: 'double' },
  { name: 'float', number: 2, type: 'float' },
  { name: 'int32', number: 3, type: 'int32' },
  { name: 'int64', number: 4, type: 'int64' },
  { name: 'uint32', number: 5, type: 'uint32' },
  { name: 'uint64', number: 6, type: 'uint64' },
  { name: 'bool', number: 7, type: 'bool' },
  { name: 'text', number: 8, type: 'string' },
  { name: 'bytes', number: 9, type: 'bytes' },
  { name: 'kind', number: 10, type: 'enum', values: { SMALL: 0, LARGE: 7, BELOW: -1 } },
  { name: 'numbers', number: 11, type: 'int32', repeated: 'packed' },
  { name: 'children', number: 12, type: Scalars, repeated: 'expanded' },
  { name: 'byName', number: 13, type: 'int64', key: 'string' },
  { name: 'word', number: 14, type: 'string', oneof: 'choice' },
  { name: 'child', number: 15, type: Scalars, oneof: 'choice' },
  { name: 'any', number: 16, type: Any },
]);

function scalars(text: string, options?: ParseTextOptions): Scalars {
  return parseText(Scalars, text, options);
}

function error(action: () => unknown): TenonError {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(TenonError);
    return thrown as TenonError;
  }
  throw new Error('expected an error');
}

describe('values in text', () => {
  it.each([
    ['int32: -0x80000000', { int32: -(2 ** 31) }],
    ['int32: - 017', { int32: -15 }],
    ['uint32: 4294967295', { uint32: 0xffffffff }],
    ['int64: -9223372036854775808', { int64: -(2n ** 63n) }],
    ['uint64: 0xFFFFFFFFFFFFFFFF', { uint64: 2n ** 64n - 1n }],
    ['bool: True', { bool: true }],
    ['bool: 1', { bool: true }],
    ['bool: f', { bool: false }],
    ['kind: LARGE', { kind: 7 }],
    ['kind: -1', { kind: -1 }],
    ['kind: 99', { kind: 99 }],
    ['double: .5e1', { double: 5 }],
    ['double: 3', { double: 3 }],
    ['double: 1.', { double: 1 }],
    ['double: -inf', { double: -Infinity }],
    ['double: Infinity', { double: Infinity }],
    ['double: -nan', { double: NaN }],
    ['double: -0', { double: -0 }],
    ['float: 0.1f', { float: Math.fround(0.1) }],
    ['float: 1e39', { float: Infinity }],
    [String.raw`text: "a\n\t\"\'\?\\ü\x41\101"`, { text: 'a\n\t"\'?\\üAA' }],
    [String.raw`text: 'it"s' "\u00e9" '\U0001F642\ud83d\ude42'`, { text: 'it"sé🙂🙂' }],
    [String.raw`bytes: '\377\x00\1'`, { bytes: new Uint8Array([255, 0, 1]) }],
    ['text: ""', { text: '' }],
  ])('%s', (text, expected) => {
    expect(scalars(text)).toEqual({ ...Scalars.create(), ...expected });
  });

  it.each([
    ['int32: 2147483648', 'an integer that fits int32'],
    ['uint32: -1', 'an integer that fits uint32'],
    [`int64: ${'9'.repeat(500_000)}`, 'an integer that fits int64'],
    ['int32: 1.5', 'an integer'],
    ['int32: 08', 'an integer'],
    ['int32: "1"', 'an integer'],
    ['bool: 2', 'true or false'],
    ['bool: TRUE', 'true or false'],
    ['kind: MEDIUM', 'one of SMALL, LARGE, BELOW'],
    ['kind: toString', 'one of SMALL, LARGE, BELOW'],
    ['double: 0x10', 'a decimal number'],
    ['double: 1.2.3', 'a decimal number'],
    ['double: wide', 'a number'],
    ['text: bare', 'a string in quotes'],
    ['text: "a\nb"', 'a closing " on the same line'],
    ["text: 'open", "a closing ' on the same line"],
    [String.raw`text: "\q"`, 'a known escape'],
    [String.raw`text: "\377"`, 'a string of UTF-8'],
    [String.raw`bytes: "\777"`, 'an escape of at most \\377'],
    [String.raw`text: "\ud83d"`, 'a character of Unicode'],
    [String.raw`text: "\U00110000"`, 'a character of Unicode'],
    ['text "x"', '":" after "text"'],
    ['text:', 'a string in quotes'],
    ['children: 3', '"{" for test.Scalars'],
    ['children {', '"}" at the end of test.Scalars'],
    ['children < }', 'a field of test.Scalars'],
    ['}', 'a field of test.Scalars'],
    ['numbers: [1, 2', '"," or "]" in the list "numbers"'],
    ['numbers: [1,]', 'an integer'],
    ['unknown: 1', 'a field of test.Scalars'],
    ['__proto__ {}', 'a field of test.Scalars'],
    ['byNumber: 1', 'a field of test.Scalars'],
    ['byName {}', 'a field of test.Scalars'],
    ['by_name { key: "a" other: 1 }', '"key" or "value"'],
    ['by_name { key: "a" key: "b" }', '"key" once'],
    ['int32: 1 int32: 2', '"int32" once'],
    ['child {} word: "a"', 'one field of "choice" once'],
    ['[some.extension] { }', 'a field of test.Scalars'],
  ])('%s is refused', (text, expected) => {
    const { message, code } = error(() => scalars(text));
    expect(message).toContain(`expected ${expected}`);
    expect(code).toBe('ERR_TENON_INVALID_ARGUMENT');
  });

  it('may be separated by spaces, comments, commas or semicolons, or not at all', () => {
    const text = '\ufeff# first\n int32:1,text:"a";uint32 : 2# last\nbool:true';
    expect(scalars(text)).toMatchObject({ int32: 1, text: 'a', uint32: 2, bool: true });
    expect(scalars('')).toEqual(Scalars.create());
    expect(scalars('#')).toEqual(Scalars.create());
  });

  it('of a repeated field may come one by one or as a list, messages in either brackets', () => {
    expect(scalars('numbers: 1 numbers: [2, 3] numbers: []').numbers).toEqual([1, 2, 3]);
    const { children } = scalars(
      'children { int32: 1 } children: < int32: 2 > children [{ int32: 3 }, <int32: 4>]',
    );
    expect(children.map(({ int32 }) => int32)).toEqual([1, 2, 3, 4]);
  });

  it('of a map may leave out key or value, and the last of a key holds', () => {
    const { byName } = scalars(
      'by_name { key: "a", value: 1 } by_name: [{ value: 2 }, { key: "b" }, {key:"a" value:3}]',
    );
    expect(byName).toEqual(
      new Map([
        ['a', 3n],
        ['', 2n],
        ['b', 0n],
      ]),
    );
  });

  it('of a oneof are told apart by their case', () => {
    expect(scalars('word: "x"').choice).toEqual({ case: 'word', value: 'x' });
    expect(scalars('child { int32: 1 }').choice).toMatchObject({
      case: 'child',
      value: { int32: 1 },
    });
  });
});

describe('an Any', () => {
  it('may be expanded where its type is known', () => {
    const text = 'any { [type.googleapis.com/test.Scalars] { int32: 5 } }';
    const { any } = scalars(text, { anyTypes: [Scalars] });
    expect(any?.typeUrl).toBe('type.googleapis.com/test.Scalars');
    expect(Scalars.decode(any?.value as Uint8Array).int32).toBe(5);
  });

  it('may be written as its fields', () => {
    const { any } = scalars(String.raw`any { type_url: "a/b" value: "\001" }`);
    expect(any).toEqual({ typeUrl: 'a/b', value: new Uint8Array([1]) });
  });

  it('of an unknown type, or with more beside it, is refused', () => {
    const unknown = 'any { [type.googleapis.com/test.Other] {} }';
    expect(error(() => scalars(unknown)).message).toContain('an Any of a known type');
    expect(error(() => scalars(unknown, { anyTypes: [Scalars] })).message).toContain(
      'expected one of type.googleapis.com/test.Scalars for "text:1:8"',
    );
    const both = 'any { type_url: "x" [a/test.Scalars] {} }';
    expect(error(() => scalars(both, { anyTypes: [Scalars] })).message).toContain(
      'nothing beside the expanded form',
    );
  });
});

describe('errors', () => {
  it('say where, and carry the code and the subject asked for', () => {
    const { message, code } = error(() =>
      parseText(ModelServerConfig, 'model_config_list {\n  config { nam: "x" }\n}', {
        code: 'ERR_TENON_CONFIG',
        subject: 'models.config',
      }),
    );
    expect(code).toBe('ERR_TENON_CONFIG');
    expect(message).toBe(
      'expected a field of tensorflow.serving.ModelConfig for "models.config:2:12", received "nam"',
    );
  });
});

describe('bounds', () => {
  it('end messages nested too deep', () => {
    const nested = (depth: number): string => 'child{'.repeat(depth) + '}'.repeat(depth);
    expect(scalars(nested(100)).choice?.case).toBe('child');
    expect(error(() => scalars(nested(101))).message).toContain('nested at most 100 deep');
    expect(error(() => scalars('child{'.repeat(500_000))).message).toContain('100 deep');
  });

  it('end text that is too long or has too many values', () => {
    expect(error(() => scalars(' '.repeat(101), { maxLength: 100 })).message).toContain(
      'at most 100 characters',
    );
    expect(error(() => scalars(`numbers:[${'1,'.repeat(1_000_001)}1]`)).message).toContain(
      'at most 1000000 values',
    );
  });

  it('do not keep a million escapes or comments from being read', () => {
    const text = `${'#\n'.repeat(1_000_000)}bytes: "${'\\1'.repeat(1_000_000)}"`;
    expect(scalars(text).bytes).toHaveLength(1_000_000);
  });

  it('hold for any text: what is no message is a coded error', () => {
    const text = `model_config_list { config { name:'m' base_path:"/m" model_platform:'tensorflow'
      model_version_policy { specific { versions: [42, 0x2b] } } version_labels { key:'s' value:42 } } }`;
    for (let end = 0; end < text.length; end++) {
      for (const broken of [text.slice(0, end), text.slice(0, end) + text.slice(end + 1)]) {
        try {
          parseText(ModelServerConfig, broken);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(TenonError);
        }
      }
    }
  });
});

describe('configuration files of TensorFlow Serving', () => {
  it('of models', () => {
    const { config } = parseText(
      ModelServerConfig,
      `model_config_list {
         config {
           name: 'm'
           base_path: '/models/m'
           model_platform: 'tensorflow'
           model_version_policy { specific { versions: 42 versions: 43 } }
           version_labels { key: 'stable' value: 42 }
         }
         config { name: "n" base_path: "/models/n" model_version_policy: { latest { num_versions: 2 } } },
         config: < name: "o", model_version_policy { all {} } model_type: TENSORFLOW >
       }`,
    );
    if (config?.case !== 'modelConfigList') throw new Error('expected a list of models');
    expect(config.value.config).toMatchObject([
      {
        name: 'm',
        basePath: '/models/m',
        modelPlatform: 'tensorflow',
        modelVersionPolicy: { policyChoice: { case: 'specific', value: { versions: [42n, 43n] } } },
        versionLabels: new Map([['stable', 42n]]),
      },
      { modelVersionPolicy: { policyChoice: { case: 'latest', value: { numVersions: 2 } } } },
      { name: 'o', modelType: 1, modelVersionPolicy: { policyChoice: { case: 'all', value: {} } } },
    ]);
  });

  it('of batching, monitoring and TLS', () => {
    expect(
      parseText(
        BatchingParameters,
        `max_batch_size { value: 128 } batch_timeout_micros { value: 0 } allowed_batch_sizes: 32
         thread_pool_name { value: 'p' } enable_large_batch_splitting { value: true }
         allowed_batch_sizes: [64, 128] pad_variable_length_inputs: true`,
      ),
    ).toMatchObject({
      maxBatchSize: { value: 128n },
      batchTimeoutMicros: { value: 0n },
      maxEnqueuedBatches: undefined,
      threadPoolName: { value: 'p' },
      enableLargeBatchSplitting: { value: true },
      allowedBatchSizes: [32n, 64n, 128n],
      padVariableLengthInputs: true,
    });
    expect(
      parseText(MonitoringConfig, 'prometheus_config { enable: true, path: "/metrics" }'),
    ).toEqual({ prometheusConfig: { enable: true, path: '/metrics' } });
    expect(
      parseText(SSLConfig, String.raw`server_key: "a\nb" server_cert: "c" client_verify: true`),
    ).toEqual({ serverKey: 'a\nb', serverCert: 'c', customCa: '', clientVerify: true });
  });

  it('of platforms, with the source adapter expanded in an Any', () => {
    const { platformConfigs } = parseText(
      PlatformConfigMap,
      `platform_configs {
         key: "tensorflow"
         value {
           source_adapter_config {
             [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
               legacy_config { session_config { intra_op_parallelism_threads: 2 }
                               batching_parameters { max_batch_size { value: 8 } } }
             }
           }
         }
       }`,
      { anyTypes: [SavedModelBundleSourceAdapterConfig] },
    );
    const any = platformConfigs.get('tensorflow')?.sourceAdapterConfig;
    const { legacyConfig } = SavedModelBundleSourceAdapterConfig.decode(any?.value as Uint8Array);
    expect(legacyConfig?.sessionConfig?.intraOpParallelismThreads).toBe(2);
    expect(legacyConfig?.batchingParameters?.maxBatchSize?.value).toBe(8n);
  });

  it('of sessions', () => {
    const config = parseText(
      ConfigProto,
      `device_count { key: "CPU" value: 1 } gpu_options { allow_growth: true
         experimental { virtual_devices { memory_limit_mb: 1024 } } }
       graph_options { rewrite_options { constant_folding: OFF } } experimental { use_tfrt: false }`,
    );
    expect(config.deviceCount.get('CPU')).toBe(1);
    expect(config.gpuOptions?.experimental?.virtualDevices[0]?.memoryLimitMb).toEqual([1024]);
    expect(config.graphOptions?.rewriteOptions?.constantFolding).toBe(RewriterConfigToggle.OFF);
  });
});
