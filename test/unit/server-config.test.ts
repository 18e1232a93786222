import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import {
  readBatchingParameters,
  readModelServerConfig,
  readMonitoringConfig,
  readPlatformConfig,
  readSessionConfig,
} from '../../lib/server/config/files.js';
import { parseFlags } from '../../lib/server/config/flags.js';
import { serveSettings, type ServeSettings } from '../../lib/server/config/from-flags.js';
import { ConfigProto } from '../../lib/protobuf/tensorflow-config.js';
import type { LoadOptions } from '../../lib/index.js';
import type { RestOptions, GrpcOptions } from '../../lib/server/options.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
let files = 0;

function write(text: string, extension = 'txt'): string {
  const file = path.join(folder, `file-${++files}.${extension}`);
  writeFileSync(file, text);
  return file;
}

function settings(line: string, env: NodeJS.ProcessEnv = {}): Promise<ServeSettings> {
  return serveSettings(parseFlags(line.split(' ').filter((each) => each !== '')), env);
}

/** How a version of a model is loaded under these flags. */
async function loadOf(
  line: string,
  engine: 'tensorflow' | 'onnxruntime' = 'tensorflow',
  versionFolder = folder,
): Promise<LoadOptions> {
  const { options } = await settings(`--model_base_path=/m ${line}`);
  const load = options.load as (name: string, version: object) => Promise<LoadOptions>;
  return load('m', { version: 1n, path: versionFolder, engine });
}

const textProto = `
# What TensorFlow Serving reads.
model_config_list {
  config: {
    name: "a", base_path: '/models/a', model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary', value: 43 }
  }
  config { name: 'b' base_path: '/models/b' model_platform: "onnx"
           model_version_policy: { latest { num_versions: 2 } } }
  config { name: 'c' base_path: '/models/c' model_version_policy { all {} } }
  config { name: 'd' base_path: '/models/d' }
}`;

const yaml = `
model_config_list:
  config:
    - name: a
      base_path: /models/a
      model_platform: tensorflow
      model_version_policy: { specific: { versions: [42, 43] } }
      version_labels: { stable: 42, canary: 43 }
    - { name: b, base_path: /models/b, model_platform: onnx, model_version_policy: { latest: { num_versions: 2 } } }
    - { name: c, base_path: /models/c, model_version_policy: { all: {} } }
    - { name: d, base_path: /models/d }
`;

const expected = {
  models: [
    {
      name: 'a',
      basePath: '/models/a',
      platform: 'tensorflow',
      versionPolicy: { kind: 'specific', versions: [42n, 43n] },
      labels: { stable: 42n, canary: 43n },
    },
    {
      name: 'b',
      basePath: '/models/b',
      platform: 'onnx',
      versionPolicy: { kind: 'latest', numVersions: 2 },
      labels: {},
    },
    {
      name: 'c',
      basePath: '/models/c',
      platform: undefined,
      versionPolicy: { kind: 'all' },
      labels: {},
    },
    {
      name: 'd',
      basePath: '/models/d',
      platform: undefined,
      versionPolicy: { kind: 'latest', numVersions: 1 },
      labels: {},
    },
  ],
};

describe('a file of models', () => {
  it.each([
    ['text proto', textProto, 'config'],
    ['YAML', yaml, 'yaml'],
    [
      'JSON',
      JSON.stringify({
        model_config_list: {
          config: expected.models.map(({ name, basePath, platform }) => ({
            name,
            base_path: basePath,
            model_platform: platform,
          })),
        },
      }),
      'json',
    ],
  ])('is read as %s', async (_, text, extension) => {
    const config = await readModelServerConfig(write(text, extension));
    expect(config.models.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd']);
    if (extension !== 'json') expect(config).toEqual(expected);
  });

  it.each([
    ['text proto', 'model_config_list { config { nam: "x" } }', 'txt', /:1:30/],
    ['text proto', 'model_config_list {', 'txt', /:1:20/],
    ['YAML', 'model_config_list: [', 'yaml', /./],
    ['YAML', 'model_config_list: { config: [{ nam: x }] }', 'yaml', /config\[0\].*"nam"/],
    ['YAML', 'model_config_list: { config: [{ name: 1 }] }', 'yaml', /a string for ".*\.name"/],
  ])('that is no %s fails as TensorFlow Serving says: %s', async (_, text, extension, where) => {
    const reading = readModelServerConfig(write(text, extension));
    await expect(reading).rejects.toMatchObject({ code: 'ERR_TENON_CONFIG' });
    await expect(reading).rejects.toThrow(
      /^Error parsing text-format tensorflow\.serving\.ModelServerConfig: /,
    );
    await expect(reading).rejects.toThrow(where);
  });

  it('that is not there is named', async () => {
    await expect(readModelServerConfig('/nowhere/models.config')).rejects.toMatchObject({
      code: 'ERR_TENON_CONFIG',
      message: expect.stringContaining('/nowhere/models.config') as string,
    });
  });

  it.each([
    ["name: 'a' base_path: '/a' } config { name: 'a' base_path: '/b'", /multiple times/],
    ["name: 'a' base_path: 's3://bucket/a'", /s3 sync/],
    ["name: 'a' base_path: 'gs://bucket/a'", /gcloud storage/],
    ["name: 'a'", /base path for model a/],
    ["name: 'a' base_path: '/a' model_platform: 'caffe'", /"caffe"/],
  ])('of models that cannot be served is refused: %s', async (config, message) => {
    const reading = readModelServerConfig(write(`model_config_list { config { ${config} } }`));
    await expect(reading).rejects.toBeInstanceOf(StatusError);
    await expect(reading).rejects.toThrow(message);
  });
});

describe('other files', () => {
  it('monitoring: a path, the default one, or nothing', async () => {
    const read = (text: string, extension?: string): Promise<string | undefined> =>
      readMonitoringConfig(write(text, extension));
    expect(await read('prometheus_config { enable: true path: "/m" }')).toBe('/m');
    expect(await read('prometheus_config { enable: true }')).toBe('/monitoring/prometheus/metrics');
    expect(await read('prometheus_config { path: "/m" }')).toBeUndefined();
    expect(await read('')).toBeUndefined();
    expect(await read('prometheus_config: { enable: true, path: /m }', 'yaml')).toBe('/m');
  });

  it('batching: wrapped numbers as text proto, bare ones as YAML', async () => {
    const text = await readBatchingParameters(
      write('max_batch_size { value: 128 } allowed_batch_sizes: 64 allowed_batch_sizes: 128'),
    );
    const same = await readBatchingParameters(
      write('max_batch_size: 128\nallowed_batch_sizes: [64, 128]', 'yml'),
    );
    expect(same).toEqual(text);
    expect(text.maxBatchSize?.value).toBe(128n);
  });

  it('a session config is what the engine takes', async () => {
    const bytes = await readSessionConfig(
      write('intra_op_parallelism_threads: 3 gpu_options { allow_growth: true }'),
    );
    const config = ConfigProto.decode(bytes);
    expect(config.intraOpParallelismThreads).toBe(3);
    expect(config.gpuOptions?.allowGrowth).toBe(true);
  });

  it('a platform config holds the adapter of SavedModels', async () => {
    const config = await readPlatformConfig(
      write(`platform_configs { key: "tensorflow" value { source_adapter_config {
        [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
          legacy_config { saved_model_tags: "serve" batching_parameters { max_batch_size { value: 7 } } }
        } } } }`),
    );
    expect(config?.savedModelTags).toEqual(['serve']);
    expect(config?.batchingParameters?.maxBatchSize?.value).toBe(7n);
  });
});

describe('flags say', () => {
  const listen = async (line: string): Promise<unknown> => {
    const { options } = await settings(`--model_base_path=/m ${line}`);
    const of = (end: false | RestOptions | GrpcOptions | undefined): unknown =>
      end === undefined || end === false ? false : [end.host, end.port, end.socketPath];
    return { rest: of(options.rest), grpc: of(options.grpc) };
  };

  it.each([
    ['', ['127.0.0.1', 8501, undefined], ['127.0.0.1', 8500, undefined]],
    ['--port=9', false, ['::', 9, undefined]],
    ['--rest_api_port=9', ['::', 9, undefined], ['127.0.0.1', 8500, undefined]],
    ['--port=9 --rest_api_port=8', ['::', 8, undefined], ['::', 9, undefined]],
    ['--rest_api_port=0', false, ['127.0.0.1', 8500, undefined]],
    ['--port=0 --rest_api_port=8', ['::', 8, undefined], false],
    ['--port=9 --host=127.0.0.1', false, ['127.0.0.1', 9, undefined]],
    ['--host=0.0.0.0', ['0.0.0.0', 8501, undefined], ['0.0.0.0', 8500, undefined]],
    ['--port=0 --grpc_socket_path=/s --rest_api_port=0', false, ['::', false, '/s']],
    ['--port=9 --rest_api_socket_path=/s', ['127.0.0.1', false, '/s'], ['::', 9, undefined]],
  ])('where to listen: %s', async (line, rest, grpc) => {
    expect(await listen(line)).toEqual({ rest, grpc });
  });

  it('that something listens', async () => {
    await expect(settings('--model_base_path=/m --port=0 --rest_api_port=0')).rejects.toMatchObject(
      { code: 'ERR_TENON_INVALID_ARGUMENT' },
    );
  });

  const models = async (line: string, env: NodeJS.ProcessEnv = {}): Promise<unknown> =>
    ((await settings(line, env)).options.models as typeof expected).models.map(
      ({ name, basePath }) => [name, basePath],
    );

  it('which model', async () => {
    expect(await models('--model_base_path=/m')).toEqual([['default', '/m']]);
    expect(await models('--model_name=x --model_base_path=/m')).toEqual([['x', '/m']]);
    await expect(models('--model_name=x')).rejects.toMatchObject({
      code: 'ERR_TENON_INVALID_ARGUMENT',
      message: expect.stringContaining('--model_base_path') as string,
    });
  });

  it('which model, where the environment of the image does not', async () => {
    const env = { MODEL_NAME: 'x', MODEL_BASE_PATH: '/somewhere' };
    expect(await models('', env)).toEqual([['x', '/somewhere/x']]);
    expect(await models('', { MODEL_NAME: 'x' })).toEqual([['x', '/models/x']]);
    expect(await models('', { MODEL_BASE_PATH: '/b' })).toEqual([['model', '/b/model']]);
    expect(await models('--model_base_path=/m', env)).toEqual([['default', '/m']]);
    const file = write(textProto);
    expect(await models(`--model_config_file=${file}`, env)).toHaveLength(4);
  });

  it('that a file of models wins over a model', async () => {
    const { warnings, modelConfigFile, options } = await settings(
      `--model_config_file=${write(textProto)} --model_base_path=/m`,
    );
    expect(modelConfigFile).toBeDefined();
    expect(options.models).toEqual(expected);
    expect(warnings).toEqual([expect.stringContaining('--model_base_path')]);
  });

  it('what a token is', async () => {
    const token = async (line: string, env = {}): Promise<string | undefined> =>
      (await settings(`--model_base_path=/m ${line}`, env)).options.authToken;
    expect(await token('')).toBeUndefined();
    expect(await token('', { TENON_AUTH_TOKEN: 'abc' })).toBe('abc');
    expect(await token(`--auth_token_file=${write('secret\n')}`)).toBe('secret');
    await expect(token(`--auth_token_file=${write('\n')}`)).rejects.toMatchObject({
      code: 'ERR_TENON_CONFIG',
    });
  });

  it('which channel arguments gRPC has', async () => {
    const { options, warnings } = await settings(
      '--model_base_path=/m --grpc_channel_arguments=grpc.max_concurrent_streams=7,a=b',
    );
    expect(warnings).toEqual([expect.stringMatching(/: a has no effect here/)]);
    expect((options.grpc as GrpcOptions).channelOptions).toEqual({
      'grpc.max_concurrent_streams': 7,
      a: 'b',
    });
  });
});

describe('versions load', () => {
  it('unbatched by default, with the tags and the queue', async () => {
    expect(await loadOf('')).toEqual({
      threads: {},
      pool: { maxQueue: 16_384 },
      tags: ['serve'],
      tensorflow: {},
    });
    expect(await loadOf('', 'onnxruntime')).toEqual({ threads: {}, pool: { maxQueue: 16_384 } });
  });

  it('with the threads of the flags', async () => {
    expect((await loadOf('--tensorflow_intra_op_parallelism=2')).threads).toEqual({ intraOp: 2 });
    const both = '--tensorflow_session_parallelism=3 --tensorflow_inter_op_parallelism=5';
    expect((await loadOf(both)).threads).toEqual({ intraOp: 3, interOp: 5 });
    expect((await loadOf(both, 'onnxruntime')).threads).toEqual({ intraOp: 3 });
  });

  it("in TensorFlow Serving's batches, where they are enabled", async () => {
    expect((await loadOf('--enable_batching')).batching).toEqual({
      maxBatchSize: 1000,
      maxDelayMicros: 0,
      maxQueuedBatches: 10,
      splitLarge: false,
      verifyBatching: 'warn',
    });
  });

  it('in the batches of a file', async () => {
    const file = write(
      `max_batch_size { value: 128 } batch_timeout_micros { value: 500 }
       max_enqueued_batches { value: 3 } num_batch_threads { value: 4 }
       allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: true`,
    );
    const { batching, pool } = await loadOf(
      `--enable_batching --batching_parameters_file=${file}`,
      'onnxruntime',
    );
    expect(batching).toEqual({
      maxBatchSize: 128,
      maxDelayMicros: 500,
      maxQueuedBatches: 3,
      allowedBatchSizes: [32, 128],
      splitLarge: false,
      padVariableLength: true,
      padValue: 'first',
      verifyBatching: 'warn',
    });
    expect(pool).toEqual({ maxQueue: 16_384, lanes: 4 });
  });

  it('split as a file says', async () => {
    const file = write(
      `max_batch_size { value: 128 } max_execution_batch_size { value: 32 }
       enable_large_batch_splitting { value: true }`,
    );
    const { batching } = await loadOf(`--enable_batching --batching_parameters_file=${file}`);
    expect(batching).toMatchObject({ maxBatchSize: 32, splitLarge: true });
  });

  it('in batches of their own, where a version has a file of them', async () => {
    const version = path.join(folder, 'version');
    mkdirSync(version);
    writeFileSync(path.join(version, 'batching_params.pbtxt'), 'max_batch_size { value: 5 }');
    const flags = '--enable_batching --enable_per_model_batching_parameters';
    expect((await loadOf(flags, 'tensorflow', version)).batching).toMatchObject({
      maxBatchSize: 5,
    });
    expect((await loadOf('--enable_batching', 'tensorflow', version)).batching).toMatchObject({
      maxBatchSize: 1000,
    });
  });

  it('not at all where a file of batches comes without the flag for them', async () => {
    await expect(loadOf(`--batching_parameters_file=${write('')}`)).rejects.toThrow(
      'server_options.batching_parameters_file is set without setting server_options.enable_batching to true.',
    );
  });
});
