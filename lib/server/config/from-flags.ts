/** What the flags of `tenon serve` and the files they name say, as options of the server. */

import { access, readFile } from 'node:fs/promises';
import path from 'node:path';

import { TenonError } from '../../errors.js';
import type { LoadOptions } from '../../index.js';
import type { BatchingParameters } from '../../protobuf/tensorflow-serving-config.js';
import { ConfigProto } from '../../protobuf/tensorflow-config.js';
import type { GrpcOptions, ListenOptions, RestOptions, ServerOptions } from '../options.js';
import type { VersionToLoad } from '../repository/options.js';
import { tlsOptionsOf } from '../tls.js';
import { type ModelTraffic, resolveTraffic, type TrafficOptions } from '../traffic/config.js';
import { batchingSettings } from './batching.js';
import {
  readBatchingParameters,
  readModelServerConfig,
  readMonitoringConfig,
  readPlatformConfig,
  readSessionConfig,
  readSslConfig,
} from './files.js';
import { type FlagValues, idleFlags, type ParsedFlags } from './flags.js';
import { latestVersion, type ModelServerConfig } from './model-config.js';
import { readTraffic } from './traffic-file.js';

export interface ServeSettings {
  readonly options: ServerOptions;
  /** The file that says which models there are; undefined where a flag or the environment does. */
  readonly modelConfigFile: string | undefined;
  /** The file that says where requests go; undefined where there is none. */
  readonly trafficConfigFile: string | undefined;
  /** What should be told before serving begins. */
  readonly warnings: readonly string[];
}

/**
 * @throws ERR_TENON_INVALID_ARGUMENT where the flags name no models, or contradict each other;
 *   ERR_TENON_CONFIG for files; StatusError for models that cannot be served.
 */
export async function serveSettings(
  flags: ParsedFlags,
  env: NodeJS.ProcessEnv,
): Promise<ServeSettings> {
  const { values, given } = flags;
  const warnings = idleFlags(flags).map(
    ({ name, reason }) => `--${name} has no effect here: ${reason}`,
  );
  const modelConfigFile = values.model_config_file === '' ? undefined : values.model_config_file;
  if (modelConfigFile !== undefined && values.model_base_path !== '') {
    warnings.push('--model_base_path has no effect beside --model_config_file');
  }
  const models =
    modelConfigFile === undefined
      ? singleModel(values, given.has('model_name'), env)
      : await readModelServerConfig(modelConfigFile);
  const idle = Object.keys(channelOptions(values.grpc_channel_arguments)).filter(
    (name) => !usedChannelOptions.includes(name),
  );
  if (idle.length > 0) {
    warnings.push(
      `--grpc_channel_arguments: ${idle.join(', ')} has no effect here; ${usedChannelOptions.join(', ')} do`,
    );
  }
  if (given.has('rest_api_port') && values.rest_api_port === 0 && values.port === 0) {
    const sockets = values.grpc_socket_path + values.rest_api_socket_path;
    if (sockets === '') {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        'expected a port of --port and --rest_api_port, received 0 for both',
      );
    }
  }
  const trafficConfigFile =
    values.traffic_config_file === '' ? undefined : values.traffic_config_file;
  for (const name of ['route_weights', 'shadow_to'] as const) {
    if (trafficConfigFile === undefined || values[name] === '') continue;
    warnings.push(`--${name} has no effect beside --traffic_config_file`);
  }
  const traffic =
    trafficConfigFile === undefined ? trafficOptions(values) : await readTraffic(trafficConfigFile);
  const token = await authToken(values.auth_token_file, env);
  return {
    options: {
      models,
      rest: await restOptions(flags),
      grpc: await grpcOptions(flags),
      load: await loadOptions(values),
      pollIntervalSeconds: values.file_system_poll_wait_seconds,
      maxLoadRetries: values.max_num_load_retries,
      loadRetryIntervalMs: Math.min(
        2 ** 31 - 1,
        Math.ceil(values.load_retry_interval_micros / 1e3),
      ),
      loadThreads: values.num_load_threads,
      warmup: values.enable_model_warmup,
      allowLabelsForUnavailable: values.allow_version_labels_for_unavailable_models,
      checkMethodName: values.enable_signature_method_name_check,
      frontendThreads: values.frontend_threads,
      maxConcurrentRequests: values.max_concurrent_requests,
      ...(token !== undefined && { authToken: token }),
      shutdownDelayMs: values.shutdown_delay_ms,
      shutdownTimeoutMs: values.shutdown_timeout_ms,
      requestLogSampling: values.request_log_sampling_rate,
      traceSampling: values.trace_sampling_rate,
      traffic,
      ...(values.record !== '' && {
        record: {
          folder: values.record,
          sampling: values.record_sampling_rate,
          maxFileBytes: values.record_max_file_bytes,
          maxFiles: values.record_max_files,
          responses: values.record_responses,
        },
      }),
    },
    modelConfigFile,
    trafficConfigFile,
    warnings,
  };
}

/** For every model. */
function trafficOptions(values: FlagValues): TrafficOptions {
  const { route_weights: weights, shadow_to: to, shadow_share: share } = values;
  if (weights === '' && to === '') return {};
  const routes = Object.fromEntries(
    weights
      .split(',')
      .filter((pair) => pair.trim() !== '')
      .map((pair) => {
        const [target = '', weight = ''] = pair.split('=', 2).map((part) => part.trim());
        if (target === '' || !/^(\d+\.?\d*|\.\d+)$/.test(weight)) {
          throw new TenonError(
            'ERR_TENON_INVALID_ARGUMENT',
            `expected label=weight for "--route_weights", received ${JSON.stringify(pair)}`,
          );
        }
        return [target, Number(weight)];
      }),
  );
  const all: ModelTraffic = { routes, ...(to !== '' && { shadow: { to, share } }) };
  resolveTraffic({ default: all }, '--route_weights, --shadow_to');
  return { default: all };
}

/** The model of two flags, or that of TensorFlow Serving's image. */
function singleModel(
  { model_name: name, model_base_path: basePath }: FlagValues,
  isNamed: boolean,
  env: NodeJS.ProcessEnv,
): ModelServerConfig {
  const model = (each: string, folder: string): ModelServerConfig => ({
    models: [{ name: each, basePath: folder, versionPolicy: latestVersion, labels: {} }],
  });
  if (basePath !== '') return model(name, basePath);
  const { MODEL_NAME, MODEL_BASE_PATH } = env;
  if (MODEL_NAME === undefined && MODEL_BASE_PATH === undefined) {
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      'expected --model_base_path or --model_config_file, received neither',
    );
  }
  const imageName = isNamed ? name : (MODEL_NAME ?? 'model');
  return model(imageName, path.posix.join(MODEL_BASE_PATH ?? '/models', imageName));
}

/** A port that is given listens on all interfaces, anything else on loopback. */
function listenOptions(
  values: FlagValues,
  isGiven: boolean,
): Pick<ListenOptions, 'host' | 'maxConnections'> {
  const { host } = values;
  return {
    host: host === '' ? (isGiven ? '::' : '127.0.0.1') : host,
    maxConnections: values.max_connections,
  };
}

async function restOptions({ values, given }: ParsedFlags): Promise<false | RestOptions> {
  const isGiven = given.has('rest_api_port');
  const socketPath = values.rest_api_socket_path;
  // As in TensorFlow Serving there is none, unless nothing at all is said of ports.
  const port = isGiven ? values.rest_api_port : given.has('port') ? 0 : 8501;
  if (port === 0 && socketPath === '') return false;
  const metricsPath =
    values.monitoring_config_file === ''
      ? undefined
      : await readMonitoringConfig(values.monitoring_config_file);
  const tlsFile = values.rest_api_ssl_config_file;
  return {
    ...listenOptions(values, isGiven),
    port: port === 0 ? false : port,
    ...(socketPath !== '' && { socketPath }),
    ...(tlsFile !== '' && { tls: await tlsOptionsOf(await readSslConfig(tlsFile), tlsFile) }),
    timeoutMs: Math.max(1, values.rest_api_timeout_in_ms),
    cors: values.rest_api_enable_cors_support,
    ...(metricsPath !== undefined && { metricsPath }),
    page: values.rest_api_page === 'auto' ? 'auto' : values.rest_api_page === 'on',
    maxBodyBytes: Math.max(1, values.max_body_bytes),
    maxPendingBodyBytes: values.max_pending_body_bytes,
    headerTimeoutMs: Math.max(1, values.rest_api_header_timeout_ms),
    bodyTimeoutMs: Math.max(1, values.rest_api_body_timeout_ms),
    idleTimeoutMs: Math.max(1, values.rest_api_idle_timeout_ms),
  };
}

async function grpcOptions({ values, given }: ParsedFlags): Promise<false | GrpcOptions> {
  const socketPath = values.grpc_socket_path;
  if (values.port === 0 && socketPath === '') return false;
  const tlsFile = values.ssl_config_file;
  return {
    ...listenOptions(values, given.has('port')),
    port: values.port === 0 ? false : values.port,
    ...(socketPath !== '' && { socketPath }),
    ...(tlsFile !== '' && { tls: await tlsOptionsOf(await readSslConfig(tlsFile), tlsFile) }),
    maxMessageBytes: Math.max(1, values.max_grpc_message_bytes),
    health: values.enable_grpc_healthcheck_service,
    reflection: values.enable_grpc_reflection,
    tensorContent: values.enable_serialization_as_tensor_content,
    channelOptions: channelOptions(values.grpc_channel_arguments),
  };
}

const usedChannelOptions = [
  'grpc.max_receive_message_length',
  'grpc.max_concurrent_streams',
  'grpc.max_connection_idle_ms',
];

/** "name=value,name=value"; whole numbers become numbers. */
function channelOptions(list: string): Record<string, string | number> {
  const pairs = list.split(',').filter((pair) => pair.trim() !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name, value] = pair.split('=', 2).map((part) => part.trim());
      if (!name || value === undefined) {
        throw new TenonError(
          'ERR_TENON_INVALID_ARGUMENT',
          `expected name=value for "--grpc_channel_arguments", received ${JSON.stringify(pair)}`,
        );
      }
      return [name, /^-?\d+$/.test(value) ? Number(value) : value];
    }),
  );
}

async function authToken(file: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (file === '') return env['TENON_AUTH_TOKEN'] || undefined;
  try {
    const token = (await readFile(file, 'utf8')).trim();
    if (token === '') throw new Error('it is empty');
    return token;
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected a token in ${file} for "--auth_token_file": ${(cause as Error).message}`,
      { cause },
    );
  }
}

const perModelFile = 'batching_params.pbtxt';

async function loadOptions(
  values: FlagValues,
): Promise<(name: string, version: VersionToLoad) => Promise<LoadOptions>> {
  const platform =
    values.platform_config_file === ''
      ? undefined
      : await readPlatformConfig(values.platform_config_file);
  if (values.batching_parameters_file !== '' && !values.enable_batching) {
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      'server_options.batching_parameters_file is set without setting server_options.enable_batching to true.',
    );
  }
  const parameters =
    platform?.batchingParameters ??
    (values.batching_parameters_file === ''
      ? undefined
      : await readBatchingParameters(values.batching_parameters_file));
  const isBatched = values.enable_batching || platform?.batchingParameters !== undefined;
  const perModel =
    values.enable_per_model_batching_parameters || platform?.enablePerModelBatchingParams === true;
  const sessionConfig =
    platform?.sessionConfig !== undefined
      ? ConfigProto.encode(platform.sessionConfig)
      : values.tensorflow_session_config_file === ''
        ? undefined
        : await readSessionConfig(values.tensorflow_session_config_file);
  const threads = (flag: number): number | undefined =>
    flag || values.tensorflow_session_parallelism || undefined;
  const intraOp = threads(values.tensorflow_intra_op_parallelism);
  const interOp = threads(values.tensorflow_inter_op_parallelism);
  const tags = platform?.savedModelTags.length
    ? platform.savedModelTags
    : values.saved_model_tags.split(',').filter((tag) => tag !== '');
  const memoryFraction = values.per_process_gpu_memory_fraction;

  return async (_name, { path: folder, engine }) => {
    const own: BatchingParameters | undefined =
      isBatched && perModel ? await perModelParameters(folder) : undefined;
    const { batching, lanes } = batchingSettings(own ?? parameters);
    return {
      threads: {
        ...(intraOp !== undefined && { intraOp }),
        // ONNX Runtime runs operations side by side only when asked to, and is slower then.
        ...(interOp !== undefined && engine === 'tensorflow' && { interOp }),
      },
      pool: {
        maxQueue: values.max_queued_runs,
        ...(isBatched && lanes !== undefined && { lanes }),
      },
      ...(isBatched && { batching }),
      ...(engine === 'tensorflow' && {
        tags,
        tensorflow: {
          ...(sessionConfig !== undefined && { config: sessionConfig }),
          ...(memoryFraction > 0 && { gpu: { memoryFraction } }),
        },
      }),
    };
  };
}

async function perModelParameters(folder: string): Promise<BatchingParameters | undefined> {
  const file = path.join(folder, perModelFile);
  try {
    await access(file);
  } catch {
    return undefined;
  }
  return readBatchingParameters(file);
}
