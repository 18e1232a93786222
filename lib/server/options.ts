import { BlockList, isIP } from 'node:net';

import { invalidArgument } from '../errors.js';
import type { LoadOptions } from '../index.js';
import { boolean, callback, checkOptions, integer, oneOf, string } from '../options.js';
import { checkModelConfig, latestVersion, type ModelServerConfig } from './config/model-config.js';
import { type Logger, logLevelNames, type LogOptions } from './logging.js';
import {
  quotaOf,
  type RecordOptions,
  type RecordSettings,
  resolveRecord,
} from './record/settings.js';
import type { VersionToLoad } from './repository/options.js';
import { share } from './shares.js';
import { resolveTraffic, type Traffic, type TrafficOptions } from './traffic/config.js';
import type { TlsOptions } from './tls.js';

export interface ListenOptions {
  /** 0: any free port; false: none, only `socketPath`. Default: 8501 for REST, 8500 for gRPC. */
  readonly port?: number | false;
  /** The address to listen on. Default: "127.0.0.1". */
  readonly host?: string;
  /** A unix socket to listen on besides. */
  readonly socketPath?: string;
  /** Default: no TLS. */
  readonly tls?: TlsOptions;
  /** Connections at the same time; more are closed at once. 0: no limit. Default: 20000. */
  readonly maxConnections?: number;
}

export interface RestOptions extends ListenOptions {
  /** Milliseconds that a request may run, 504 after that. Default: 30000. */
  readonly timeoutMs?: number;
  /** Answers requests of pages of any origin. Default: false. */
  readonly cors?: boolean;
  /** Where Prometheus finds the metrics. Default: none. */
  readonly metricsPath?: string;
  /**
   * A page to look at, `GET /`: models, live charts, predictions. "auto": where `host` is loopback,
   * for browsers that name it so. Default: "auto".
   */
  readonly page?: boolean | 'auto';
  /** Bytes of a body; more is 413. Default: 256 MiB. */
  readonly maxBodyBytes?: number;
  /** Bytes of all bodies that have come and are not answered; more is 503. Default: 1 GiB. */
  readonly maxPendingBodyBytes?: number;
  /** Milliseconds that a client may take to send the headers. Default: 10000. */
  readonly headerTimeoutMs?: number;
  /** Milliseconds that a client may take to send a whole request. Default: 120000. */
  readonly bodyTimeoutMs?: number;
  /** Milliseconds after which an idle connection is closed. Default: 75000. */
  readonly idleTimeoutMs?: number;
}

export interface GrpcOptions extends ListenOptions {
  /** Bytes of a request. Default: 2147483647. */
  readonly maxMessageBytes?: number;
  /** grpc.health.v1.Health. Default: true. */
  readonly health?: boolean;
  /** Server reflection. Default: true. */
  readonly reflection?: boolean;
  /** Answers carry tensor_content instead of typed values. Default: false. */
  readonly tensorContent?: boolean;
  /**
   * Channel options by gRPC's names, of which these count: "grpc.max_receive_message_length",
   * "grpc.max_concurrent_streams", "grpc.max_connection_idle_ms".
   */
  readonly channelOptions?: Readonly<Record<string, string | number>>;
}

export interface ServerOptions {
  /**
   * What to serve: base paths by name, or a whole configuration with version policies and labels. A
   * base path is a folder of version folders, a model's own folder, or an `.onnx` file.
   */
  readonly models: ModelServerConfig | Readonly<Record<string, string>>;
  /** false: none, as where its routes are mounted elsewhere. Default: port 8501 of loopback. */
  readonly rest?: false | RestOptions;
  /** false: none. Default: port 8500 of loopback. */
  readonly grpc?: false | GrpcOptions;
  /**
   * How versions are loaded: options, or a function that gives them for each. `validateShapes` is
   * always false: shapes are not compared with the signature.
   */
  readonly load?:
    LoadOptions | ((name: string, version: VersionToLoad) => LoadOptions | Promise<LoadOptions>);
  /** Seconds between looks at the base paths; 0: once. Default: 1. */
  readonly pollIntervalSeconds?: number;
  /** Tries after a failed load. Default: 5. */
  readonly maxLoadRetries?: number;
  /** Milliseconds between them. Default: 60000. */
  readonly loadRetryIntervalMs?: number;
  /** Versions that load at the same time; 0: a default. Default: 0. */
  readonly loadThreads?: number;
  /** Runs the warm-up records of a version before it serves. Default: true. */
  readonly warmup?: boolean;
  /** Labels may name versions that are not there yet. Default: false. */
  readonly allowLabelsForUnavailable?: boolean;
  /** Classify and regress demand the signature's method name. Default: false. */
  readonly checkMethodName?: boolean;
  /**
   * Threads that parse requests and write answers, over one shared copy of each model. 0: the
   * calling thread does. Default: 0.
   */
  readonly frontendThreads?: number;
  /** Requests under way, of all front ends; more are refused. 0: no limit. Default: 2000. */
  readonly maxConcurrentRequests?: number;
  /** Requests must carry `Authorization: Bearer <token>`; health is exempt. Default: none. */
  readonly authToken?: string;
  /**
   * Milliseconds that `close()` goes on serving, new connections included, while it is not ready: what
   * balances load has the time to notice. Default: 0.
   */
  readonly shutdownDelayMs?: number;
  /**
   * Milliseconds that `close()` waits after that for requests in flight; then they are aborted.
   * Default: 25000.
   */
  readonly shutdownTimeoutMs?: number;
  /** Share of the requests that are logged, 0 to 1. Default: 0. */
  readonly requestLogSampling?: number;
  /**
   * Share of the requests that have a span, 0 to 1, of those that belong to no trace yet; the others
   * have one. Nothing follows without OpenTelemetry. Default: 1.
   */
  readonly traceSampling?: number;
  /** Records a share of the requests to files, which warm models up and can be sent again. Default: none. */
  readonly record?: RecordOptions;
  /**
   * Which version takes a request that names neither version nor label, and which other one runs it
   * as well, by model. `setTraffic()` changes it. Default: the highest takes all, none runs it again.
   */
  readonly traffic?: TrafficOptions;
  /** A pino logger, or options for one. Default: silent. */
  readonly log?: Logger | LogOptions;
}

export interface ResolvedListen {
  /** Undefined: only the socket. */
  readonly port: number | undefined;
  readonly host: string;
  readonly socketPath: string | undefined;
  readonly tls: TlsOptions | undefined;
  readonly maxConnections: number;
}

export type ResolvedRest = ResolvedListen &
  Required<Omit<RestOptions, keyof ListenOptions | 'metricsPath' | 'page'>> & {
    readonly metricsPath: string | undefined;
    readonly page: PageAccess;
  };

export type ResolvedGrpc = ResolvedListen & Required<Omit<GrpcOptions, keyof ListenOptions>>;

/** Who gets the page: nobody, who calls this server by a name of loopback, whoever may ask. */
export type PageAccess = 'off' | 'loopback' | 'everyone';

/** What a front end needs to know; plain data, to be posted to its thread. */
export interface FrontendSettings {
  readonly rest: ResolvedRest | undefined;
  readonly grpc: ResolvedGrpc | undefined;
  readonly checkMethodName: boolean;
  readonly maxConcurrentRequests: number;
  readonly authToken: string | undefined;
  readonly requestLogSampling: number;
  readonly traceSampling: number;
  /** With its thread's part of the files. */
  readonly record: RecordSettings | undefined;
}

export interface ResolvedServerOptions {
  readonly config: ModelServerConfig;
  readonly frontend: FrontendSettings;
  readonly frontendThreads: number;
  /** Of all threads together. */
  readonly record: RecordSettings | undefined;
  readonly load: (name: string, version: VersionToLoad) => LoadOptions | Promise<LoadOptions>;
  readonly pollIntervalSeconds: number;
  readonly maxLoadRetries: number;
  readonly loadRetryIntervalMs: number;
  readonly loadThreads: number;
  readonly warmup: boolean;
  readonly allowLabelsForUnavailable: boolean;
  readonly shutdownDelayMs: number;
  readonly shutdownTimeoutMs: number;
  readonly traffic: Traffic;
  readonly log: Logger | LogOptions | undefined;
}

const listenNames = ['port', 'host', 'socketPath', 'tls', 'maxConnections'];
const maxFrontendThreads = 128;

/**
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option; StatusError INVALID_ARGUMENT for models that
 *   cannot be served.
 */
export function resolveServerOptions(options: ServerOptions): ResolvedServerOptions {
  const given = checkOptions(options, 'createServer', [
    'models',
    'rest',
    'grpc',
    'load',
    'pollIntervalSeconds',
    'maxLoadRetries',
    'loadRetryIntervalMs',
    'loadThreads',
    'warmup',
    'allowLabelsForUnavailable',
    'checkMethodName',
    'frontendThreads',
    'maxConcurrentRequests',
    'authToken',
    'shutdownDelayMs',
    'shutdownTimeoutMs',
    'requestLogSampling',
    'traceSampling',
    'record',
    'traffic',
    'log',
  ]);
  const rest = given['rest'] === false ? undefined : resolveRest(given['rest']);
  const grpc = given['grpc'] === false ? undefined : resolveGrpc(given['grpc']);
  const threads = given['frontendThreads'];
  const frontendThreads = integer(threads, 'frontendThreads', 0, 0, maxFrontendThreads);
  const record = resolveRecord(given['record']);
  return {
    config: resolveModels(given['models']),
    frontend: {
      rest,
      grpc,
      checkMethodName: boolean(given['checkMethodName'], 'checkMethodName', false),
      maxConcurrentRequests:
        integer(given['maxConcurrentRequests'], 'maxConcurrentRequests', 2000, 0) || Infinity,
      authToken: resolveToken(given['authToken']),
      requestLogSampling: share(given['requestLogSampling'], 'requestLogSampling', 0),
      traceSampling: share(given['traceSampling'], 'traceSampling', 1),
      record: record && { ...record, ...quotaOf(record, recordingThreads(frontendThreads)) },
    },
    frontendThreads,
    record,
    load: resolveLoad(given['load']),
    pollIntervalSeconds: integer(given['pollIntervalSeconds'], 'pollIntervalSeconds', 1, 0),
    maxLoadRetries: integer(given['maxLoadRetries'], 'maxLoadRetries', 5, 0),
    loadRetryIntervalMs: integer(given['loadRetryIntervalMs'], 'loadRetryIntervalMs', 60_000, 0),
    loadThreads: integer(given['loadThreads'], 'loadThreads', 0, 0),
    warmup: boolean(given['warmup'], 'warmup', true),
    allowLabelsForUnavailable: boolean(
      given['allowLabelsForUnavailable'],
      'allowLabelsForUnavailable',
      false,
    ),
    shutdownDelayMs: integer(given['shutdownDelayMs'], 'shutdownDelayMs', 0, 0),
    shutdownTimeoutMs: integer(given['shutdownTimeoutMs'], 'shutdownTimeoutMs', 25_000, 0),
    traffic: resolveTraffic(given['traffic']),
    log: resolveLog(given['log']),
  };
}

/** The main thread has routes for other applications beside its front-end threads. */
export function recordingThreads(frontendThreads: number): number {
  return frontendThreads + 1;
}

function resolveModels(value: unknown): ModelServerConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument('models', 'base paths by name or a ModelServerConfig', value);
  }
  const config: ModelServerConfig =
    'models' in value && Array.isArray(value.models)
      ? (value as ModelServerConfig)
      : {
          models: Object.entries(value).map(([name, basePath]) => {
            if (typeof basePath !== 'string') {
              throw invalidArgument(`models.${name}`, 'a base path', basePath);
            }
            return { name, basePath, versionPolicy: latestVersion, labels: {} };
          }),
        };
  checkModelConfig(config);
  return config;
}

function resolveListen(
  given: Record<string, unknown>,
  subject: string,
  defaultPort: number,
): ResolvedListen {
  const port = given['port'];
  const socketPath = string(given['socketPath'], `${subject}.socketPath`);
  if (port === false && socketPath === undefined) {
    throw invalidArgument(`${subject}.port`, 'a port where there is no socketPath', false);
  }
  return {
    port: port === false ? undefined : integer(port, `${subject}.port`, defaultPort, 0, 65535),
    host: string(given['host'], `${subject}.host`) ?? '127.0.0.1',
    socketPath,
    tls: resolveTls(given['tls'], `${subject}.tls`),
    maxConnections:
      integer(given['maxConnections'], `${subject}.maxConnections`, 20_000, 0) || Infinity,
  };
}

function resolveTls(value: unknown, subject: string): TlsOptions | undefined {
  if (value === undefined) return undefined;
  const given = checkOptions(value, subject, ['key', 'certificate', 'clientCa', 'clientVerify']);
  const required = (name: string): string => {
    const text = string(given[name], `${subject}.${name}`);
    if (text === undefined) throw invalidArgument(`${subject}.${name}`, 'PEM text', undefined);
    return text;
  };
  return {
    key: required('key'),
    certificate: required('certificate'),
    clientCa: string(given['clientCa'], `${subject}.clientCa`),
    clientVerify: boolean(given['clientVerify'], `${subject}.clientVerify`, false),
  };
}

function resolveRest(value: unknown): ResolvedRest {
  const given = checkOptions(value, 'rest', [
    ...listenNames,
    'timeoutMs',
    'cors',
    'metricsPath',
    'page',
    'maxBodyBytes',
    'maxPendingBodyBytes',
    'headerTimeoutMs',
    'bodyTimeoutMs',
    'idleTimeoutMs',
  ]);
  const metricsPath = string(given['metricsPath'], 'rest.metricsPath');
  if (metricsPath !== undefined && !metricsPath.startsWith('/')) {
    throw invalidArgument('rest.metricsPath', 'a path that begins with "/"', metricsPath);
  }
  const listen = resolveListen(given, 'rest', 8501);
  return {
    ...listen,
    timeoutMs: integer(given['timeoutMs'], 'rest.timeoutMs', 30_000, 1),
    cors: boolean(given['cors'], 'rest.cors', false),
    metricsPath,
    page: resolvePage(given['page'], listen),
    maxBodyBytes: integer(given['maxBodyBytes'], 'rest.maxBodyBytes', 256 << 20, 1),
    maxPendingBodyBytes: integer(
      given['maxPendingBodyBytes'],
      'rest.maxPendingBodyBytes',
      2 ** 30,
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    headerTimeoutMs: integer(given['headerTimeoutMs'], 'rest.headerTimeoutMs', 10_000, 1),
    bodyTimeoutMs: integer(given['bodyTimeoutMs'], 'rest.bodyTimeoutMs', 120_000, 1),
    idleTimeoutMs: integer(given['idleTimeoutMs'], 'rest.idleTimeoutMs', 75_000, 1),
  };
}

function resolvePage(value: unknown, { port, host }: ResolvedListen): PageAccess {
  if (value === undefined || value === 'auto') {
    return port !== undefined && isLoopback(host) ? 'loopback' : 'off';
  }
  if (typeof value !== 'boolean') throw invalidArgument('rest.page', 'a boolean or "auto"', value);
  return value ? 'everyone' : 'off';
}

/** Whether nobody outside of this machine can reach the address. */
function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === 'localhost';
  return loopback.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function resolveGrpc(value: unknown): ResolvedGrpc {
  const given = checkOptions(value, 'grpc', [
    ...listenNames,
    'maxMessageBytes',
    'health',
    'reflection',
    'tensorContent',
    'channelOptions',
  ]);
  return {
    ...resolveListen(given, 'grpc', 8500),
    maxMessageBytes: integer(given['maxMessageBytes'], 'grpc.maxMessageBytes', 2 ** 31 - 1, 1),
    health: boolean(given['health'], 'grpc.health', true),
    reflection: boolean(given['reflection'], 'grpc.reflection', true),
    tensorContent: boolean(given['tensorContent'], 'grpc.tensorContent', false),
    channelOptions: checkChannelOptions(given['channelOptions']),
  };
}

function checkChannelOptions(value: unknown): Readonly<Record<string, string | number>> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null) {
    throw invalidArgument('grpc.channelOptions', 'options by name', value);
  }
  for (const [name, each] of Object.entries(value)) {
    if (typeof each !== 'string' && typeof each !== 'number') {
      throw invalidArgument(`grpc.channelOptions.${name}`, 'a string or a number', each);
    }
  }
  return value as Readonly<Record<string, string | number>>;
}

function resolveLoad(value: unknown): ResolvedServerOptions['load'] {
  if (typeof value === 'function') return callback(value, 'load') as ResolvedServerOptions['load'];
  if (value === undefined) return () => ({});
  if (typeof value !== 'object' || value === null) {
    throw invalidArgument('load', 'options or a function that gives them', value);
  }
  return () => value;
}

function resolveToken(value: unknown): string | undefined {
  const token = string(value, 'authToken');
  // What a header can carry.
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw invalidArgument('authToken', 'visible ASCII characters', 'something else');
  }
  return token;
}

function resolveLog(value: unknown): Logger | LogOptions | undefined {
  if (value === undefined) return undefined;
  if (typeof (value as Logger).info === 'function') return value as Logger;
  const given = checkOptions(value, 'log', ['level', 'format', 'file']);
  const level = oneOf(given['level'], 'log.level', logLevelNames);
  const format = oneOf(given['format'], 'log.format', ['json', 'pretty']);
  const file = string(given['file'], 'log.file');
  return {
    ...(level !== undefined && { level }),
    ...(format !== undefined && { format }),
    ...(file !== undefined && { file }),
  };
}
