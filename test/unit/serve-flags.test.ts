import { describe, expect, it } from 'vitest';

import {
  flagGroups,
  flagNames,
  flagsHelp,
  idleFlags,
  nearestFlag,
  parseFlags,
} from '../../lib/server/config/flags.js';

describe('a flag', () => {
  it.each([
    ['--port=9000', 'port', 9000],
    ['--port 9000', 'port', 9000],
    ['--rest-api-port=9001', 'rest_api_port', 9001],
    ['--model_name=m', 'model_name', 'm'],
    ['--model-name=m', 'model_name', 'm'],
    ['--model_base_path=a=b', 'model_base_path', 'a=b'],
    ['--model_base_path=', 'model_base_path', ''],
    ['--enable_batching', 'enable_batching', true],
    ['--enable_batching=true', 'enable_batching', true],
    ['--enable_batching=1', 'enable_batching', true],
    ['--enable_model_warmup=false', 'enable_model_warmup', false],
    ['--per_process_gpu_memory_fraction=0.5', 'per_process_gpu_memory_fraction', 0.5],
    ['--load_retry_interval_micros=9007199254740991', 'load_retry_interval_micros', 2 ** 53 - 1],
    ['--port=1 --port=2', 'port', 2],
  ] as const)('%s', (line, name, value) => {
    const { values, given, unknown } = parseFlags(line.split(' '));
    expect(values[name]).toBe(value);
    expect([...given]).toEqual([name]);
    expect(unknown).toEqual([]);
  });

  it.each([
    '--port=x',
    '--port=',
    '--port=1.5',
    '--port=65536',
    '--port=-1',
    '--port',
    '--enable_batching=maybe',
    '--per_process_gpu_memory_fraction=2',
    '--per_process_gpu_memory_fraction=half',
    '--log_level=loud',
    '--model_name',
  ])('%s is an error that names it', (argument) => {
    const name = /^--\w+/.exec(argument)?.[0] ?? '';
    expect(() => parseFlags([argument])).toThrow(
      expect.objectContaining({
        code: 'ERR_TENON_INVALID_ARGUMENT',
        message: expect.stringContaining(`for "${name}"`) as string,
      }),
    );
  });

  it('that is bare takes no value of the next argument', () => {
    const { values, unknown } = parseFlags(['--enable_batching', '--port', '9']);
    expect(values.enable_batching).toBe(true);
    expect(values.port).toBe(9);
    expect(unknown).toEqual([]);
  });

  it('that nobody knows is left to the caller', () => {
    const { unknown } = parseFlags(['--prot=1', 'x', '--model_name=m', '--__proto__=1']);
    expect(unknown).toEqual(['--prot=1', 'x', '--__proto__=1']);
    expect(nearestFlag('--prot=1')).toBe('port');
    expect(nearestFlag('--modelname=1')).toBe('model_name');
    expect(nearestFlag('--xyz')).toBeUndefined();
  });

  it('that nothing follows from says so, where it asks for something', () => {
    const parsed = parseFlags(['--prefer_tflite_model', '--enable_profiler=true', '--port=1']);
    expect(idleFlags(parsed)).toEqual([
      { name: 'prefer_tflite_model', reason: 'no TFLite models' },
    ]);
  });
});

/** tensorflow_model_server's flags (2.20) with their defaults. */
const theirs = {
  port: 8500,
  grpc_socket_path: '',
  rest_api_port: 0,
  rest_api_timeout_in_ms: 30_000,
  rest_api_enable_cors_support: false,
  enable_batching: false,
  batching_parameters_file: '',
  enable_per_model_batching_parameters: false,
  model_config_file: '',
  model_config_file_poll_wait_seconds: 0,
  model_name: 'default',
  model_base_path: '',
  num_load_threads: 0,
  num_unload_threads: 0,
  max_num_load_retries: 5,
  load_retry_interval_micros: 60_000_000,
  file_system_poll_wait_seconds: 1,
  flush_filesystem_caches: true,
  tensorflow_session_parallelism: 0,
  tensorflow_session_config_file: '',
  tensorflow_intra_op_parallelism: 0,
  tensorflow_inter_op_parallelism: 0,
  use_alts_credentials: false,
  ssl_config_file: '',
  platform_config_file: '',
  per_process_gpu_memory_fraction: 0,
  saved_model_tags: 'serve',
  grpc_channel_arguments: '',
  enable_model_warmup: true,
  num_request_iterations_for_warmup: 1,
  monitoring_config_file: '',
  allow_version_labels_for_unavailable_models: false,
  remove_unused_fields_from_bundle_metagraph: true,
  prefer_tflite_model: false,
  enable_signature_method_name_check: false,
  enable_serialization_as_tensor_content: false,
};

it.each(Object.entries(theirs))(
  '--%s is %j by default, as in TensorFlow Serving',
  (name, value) => {
    expect(parseFlags([]).values[name as keyof typeof theirs]).toBe(value);
  },
);

it('the help names every flag, by groups', () => {
  const help = flagsHelp();
  for (const name of flagNames) expect(help).toContain(`\n  --${name}`);
  const places = Object.values(flagGroups).map((title) => help.indexOf(`${title}:`));
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(places.every((place) => place > 0)).toBe(true);
  expect(Math.max(...help.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
});

it.each(['--help', '-h'])('%s asks for it', (argument) => {
  expect(parseFlags([argument]).wantsHelp).toBe(true);
});

it('--version asks for the version', () => {
  expect(parseFlags(['--version']).wantsVersion).toBe(true);
  expect(parseFlags([]).wantsVersion).toBe(false);
});
