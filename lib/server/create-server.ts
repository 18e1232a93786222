/** The server as a function: repository, front ends and listeners put together. */

import { setTimeout as after } from 'node:timers/promises';

import type { FastifyPluginAsync } from 'fastify';

import { TenonError } from '../errors.js';
import {
  load as loadModel,
  type BatchingOptions,
  type LoadOptions,
  type Model,
  type ModelSource,
} from '../index.js';
import type { ModelServerConfig } from './config/model-config.js';
import { Frontend, restRouteOptions } from './frontend/frontend.js';
import type { Transport } from './frontend/messages.js';
import { FrontendThreads } from './frontend/threads.js';
import { Listener } from './listener.js';
import { type Logger, openLog, type OpenLog, silentLogger } from './logging.js';
import { exposition, mergeSnapshots, type MetricSnapshot } from './metric-registry.js';
import { type MeasuredModel, Metrics } from './metrics.js';
import type { ModelListing, Readiness } from './models.js';
import { PageNumbers } from './page/numbers.js';
import {
  recordingThreads,
  type ResolvedServerOptions,
  resolveServerOptions,
  type ServerOptions,
} from './options.js';
import { prepareRecordFolder } from './record/record-files.js';
import type { RecordSettings } from './record/settings.js';
import { systemClock } from './repository/clock.js';
import type { WarmUp } from './repository/options.js';
import { Repository } from './repository/repository.js';
import { openInferenceApi } from './oip/openapi.js';
import { openInference } from './oip/rest.js';
import { OpenInference } from './oip/service.js';
import { statisticsOf, type VersionStatistics } from './oip/statistics.js';
import { RestCalls } from './rest-calls.js';
import { tensorflowServing } from './tfserving/rest.js';
import { TensorFlowServing } from './tfserving/service.js';
import { createWarmUp } from './tfserving/warm-up.js';
import { resolveTraffic, type TrafficOptions } from './traffic/config.js';
import { Rollouts } from './traffic/rollout.js';
import { recorderOf, TrafficDirectory } from './traffic/traffic-directory.js';
import { weightMetric } from './traffic/traffic-metrics.js';
import { endOfTurn } from './turn.js';

/**
 * A server for clients of TensorFlow Serving: REST and gRPC over models that are loaded, replaced
 * and unloaded while it serves.
 */
export interface Server {
  /** The port REST listens on, once `listen()` has resolved; undefined without REST. */
  readonly restPort: number | undefined;
  /** The port gRPC listens on likewise. */
  readonly grpcPort: number | undefined;
  /** The front-end threads that serve now. */
  readonly frontendThreads: number;
  /**
   * The REST routes over this server's models, to be mounted in a Fastify application:
   * `app.register(server.routes, { prefix: '/models' })`. What that application does for all of its
   * routes (TLS, access, logs) it does for these; limits and metrics are this server's.
   */
  readonly routes: FastifyPluginAsync;
  /** Models, their versions and labels. */
  list(): readonly ModelListing[];
  readiness(): Readiness;
  /**
   * Opens the ports, if there are any, and begins to load. Resolves when clients can connect; models may still be
   * loading, which `readiness()` tells, and a request for one is NOT_FOUND until it is there.
   *
   * @throws ERR_TENON_LISTEN where an address is taken, unknown or not allowed; nothing is open then.
   */
  listen(): Promise<void>;
  /**
   * Serves this configuration from now on; resolves when the models it adds are available.
   *
   * @throws StatusError: INVALID_ARGUMENT for one that cannot be, which changes nothing; UNKNOWN for
   *   new models that could not be loaded; FAILED_PRECONDITION for labels of versions that are not
   *   there.
   */
  reload(config: ModelServerConfig): Promise<void>;
  /**
   * Where requests go from now on that name neither version nor label; see the option `traffic`.
   *
   * @throws ERR_TENON_INVALID_ARGUMENT naming the option; then nothing changes.
   */
  setTraffic(traffic: TrafficOptions): void;
  /** The metrics of all threads, in Prometheus' text format. */
  metrics(): Promise<string>;
  /**
   * Not ready from here on, and after `shutdownDelayMs`, if it listens: takes no more connections,
   * answers what is under way, unloads. What has not ended `timeoutMs` later (default:
   * `shutdownTimeoutMs`) is aborted. Closing again waits for the same end.
   */
  close(timeoutMs?: number): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a server that does not listen yet.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option; StatusError INVALID_ARGUMENT for models that
 *   cannot be served.
 */
export function createServer(options: ServerOptions): Server {
  return new TenonServer(resolveServerOptions(options));
}

/** Of `close()`, milliseconds to unload models once their requests have ended. */
const unloadMs = 5_000;

class TenonServer implements Server {
  readonly #options: ResolvedServerOptions;
  readonly #log: Logger;
  readonly #openLog: OpenLog | undefined;
  readonly #repository: Repository;
  readonly #metrics: Metrics;
  readonly #numbers: PageNumbers;
  /** The repository's models, as this thread's requests get them. */
  readonly #traffic: TrafficDirectory;
  readonly #rollouts: Rollouts;
  readonly #available = new Map<Model, MeasuredModel>();
  /** Where versions lie that are being loaded, and since when models run warm-up records. */
  readonly #paths = new Map<string, string>();
  readonly #warming = new WeakMap<Model, number>();
  readonly #batching = new WeakMap<Model, BatchingOptions | boolean | 'auto'>();
  #frontend: Frontend | undefined;
  #threads: FrontendThreads | undefined;
  #listeners = new Map<Transport, Listener>();
  #listening: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ResolvedServerOptions) {
    this.#options = options;
    const { log } = options;
    if (log === undefined) this.#log = silentLogger();
    else if (isLogger(log)) this.#log = log;
    else ({ logger: this.#log } = this.#openLog = openLog(log));
    this.#metrics = new Metrics({ models: () => this.#available.values() });
    this.#repository = this.#createRepository();
    this.#numbers = new PageNumbers({
      list: () => this.#repository.list(),
      readiness: () => this.#repository.readiness(),
      versions: () => this.#available.values(),
      ownTraffic: () => this.#metrics.traffic(),
      otherTraffic: async () => (await this.#threads?.measure('traffic')) ?? [],
      threads: () => this.frontendThreads,
    });
    const metrics = this.#metrics.routing;
    this.#traffic = new TrafficDirectory({
      models: this.#repository,
      metrics,
      recorder: recorderOf(options.frontend.record, 0, { log: this.#log, metrics }),
    });
    this.#rollouts = new Rollouts({
      list: () => this.#repository.list(),
      measure: async () => {
        const threads = (await this.#threads?.measure('traffic')) ?? [];
        return mergeSnapshots([this.#metrics.traffic(), ...threads]);
      },
      apply: (traffic) => {
        this.#traffic.update(traffic);
        this.#threads?.route(traffic);
      },
      onDecision: (model, decision) => metrics.decided(model, decision),
      log: this.#log,
      clock: systemClock,
    });
    this.#rollouts.update(options.traffic);
  }

  get routes(): FastifyPluginAsync {
    const { rest, maxConcurrentRequests, checkMethodName } = this.#options.frontend;
    const models = this.#traffic;
    const metrics = this.#metrics;
    const service = new TensorFlowServing<never>(models, { metrics, checkMethodName });
    const limits = rest && restRouteOptions(rest, () => this.metrics());
    const shared = {
      metrics,
      calls: new RestCalls({ ...limits, maxConcurrentRequests }, metrics),
      ...limits,
    };
    const oip = new OpenInference({
      models,
      service,
      repository: this.#repository,
      statistics: () => this.#statistics(),
    });
    return async (app) => {
      await app.register(tensorflowServing, {
        models,
        service: service as unknown as TensorFlowServing,
        otherApis: [openInferenceApi],
        ...shared,
      });
      await app.register(openInference, { service: oip, ...shared });
    };
  }

  get restPort(): number | undefined {
    return this.#listeners.get('rest')?.port;
  }

  get grpcPort(): number | undefined {
    return this.#listeners.get('grpc')?.port;
  }

  get frontendThreads(): number {
    return this.#threads?.size ?? 0;
  }

  list(): readonly ModelListing[] {
    return this.#repository.list();
  }

  readiness(): Readiness {
    return this.#repository.readiness();
  }

  listen(): Promise<void> {
    this.#listening ??= this.#listen();
    return this.#listening;
  }

  reload(config: ModelServerConfig): Promise<void> {
    return this.#repository.reload(config);
  }

  setTraffic(options: TrafficOptions): void {
    this.#rollouts.update(resolveTraffic(options));
  }

  async metrics(): Promise<string> {
    const all = await this.#measure();
    return exposition([...all, weightMetric(this.#traffic.traffic)]);
  }

  close(timeoutMs: number = this.#options.shutdownTimeoutMs): Promise<void> {
    if (this.#closing === undefined) {
      this.#repository.beginStop();
      // What is opening is closed once it is open.
      const opened = this.#listening?.catch(() => undefined) ?? Promise.resolve();
      this.#closing = opened.then(() => this.#close(timeoutMs));
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #measure(): Promise<readonly MetricSnapshot[]> {
    const threads = (await this.#threads?.measure()) ?? [];
    return mergeSnapshots([this.#metrics.snapshot(), ...threads]);
  }

  async #statistics(): Promise<readonly VersionStatistics[]> {
    return statisticsOf(await this.#measure());
  }

  #createRepository(): Repository {
    const { config, load, frontendThreads, ...rest } = this.#options;
    const repository = new Repository({
      config,
      loadOptions: (name, version) => {
        this.#paths.set(`${version.version} ${name}`, version.path);
        return load(name, version);
      },
      load: (async (source: ModelSource, given?: LoadOptions) => {
        const { batching = false, ...others } = given ?? {};
        // Each thread batches for itself: requests that meet in one never cross threads.
        const model = await loadModel(source, frontendThreads > 0 ? others : given);
        this.#batching.set(model, batching);
        return model;
        // Of models whose types nobody knows.
      }) as typeof loadModel,
      pollIntervalSeconds: rest.pollIntervalSeconds,
      maxLoadRetries: rest.maxLoadRetries,
      loadRetryIntervalMs: rest.loadRetryIntervalMs,
      loadThreads: rest.loadThreads,
      allowLabelsForUnavailable: rest.allowLabelsForUnavailable,
      warmUp: rest.warmup ? this.#measuredWarmUp() : undefined,
      log: this.#log,
    });
    repository.onAvailable(async (served) => {
      this.#onWarm(served);
      this.#available.set(served.model, served);
      await this.#threads?.add(served, this.#batching.get(served.model) ?? false);
    });
    repository.onUnload(async ({ name, version, model }) => {
      this.#available.delete(model);
      await this.#threads?.remove(model);
      await endOfTurn();
      this.#metrics.forget(name, version);
    });
    repository.onChange(() => {
      this.#traffic.onModelsChanged();
      this.#frontend?.onModelsChanged();
      this.#threads?.update();
    });
    return repository;
  }

  #measuredWarmUp(): WarmUp {
    const warmUp = createWarmUp();
    return {
      records: (file) => warmUp.records(file),
      run: (served, record) => {
        if (!this.#warming.has(served.model)) this.#warming.set(served.model, performance.now());
        return warmUp.run(served, record);
      },
    };
  }

  #onWarm({ name, version, model }: MeasuredModel): void {
    const key = `${version} ${name}`;
    const path = this.#paths.get(key) ?? '';
    this.#paths.delete(key);
    const started = this.#warming.get(model);
    if (started === undefined) return;
    this.#metrics.warmup(path, 'OK', (performance.now() - started) * 1000);
  }

  async #listen(): Promise<void> {
    if (this.#closing !== undefined) throw serverClosed();
    const { frontend: settings, frontendThreads, record } = this.#options;
    const shared = {
      scrape: () => this.metrics(),
      numbers: () => this.#numbers.json(),
      reload: (config: ModelServerConfig) => this.reload(config),
      statistics: () => this.#statistics(),
      repository: this.#repository,
      log: this.#log,
      settings,
    };
    try {
      if (record !== undefined) await openRecordFolder(record, frontendThreads);
      if (frontendThreads > 0) {
        this.#threads = await FrontendThreads.start(
          frontendThreads,
          { ...shared, models: this.#repository },
          this.#traffic.traffic,
        );
        // It may have changed while they started.
        this.#threads.route(this.#traffic.traffic);
      } else {
        this.#frontend = await Frontend.create({
          ...shared,
          models: this.#traffic,
          metrics: this.#metrics,
        });
      }
      for (const transport of ['rest', 'grpc'] as const) {
        const where = settings[transport];
        if (where === undefined) continue;
        const listener = await Listener.open(transport, where, {
          isPaused: frontendThreads > 0,
          accept: (socket) => (this.#threads ?? this.#frontend)?.accept(transport, socket),
        });
        this.#listeners.set(transport, listener);
        const { port } = listener;
        const { host, socketPath, tls } = where;
        this.#log.info(
          {
            api: transport,
            ...(port !== undefined && { host, port }),
            socketPath,
            tls: tls !== undefined,
          },
          `Listening for ${transport === 'rest' ? 'REST' : 'gRPC'}`,
        );
      }
    } catch (error) {
      if (this.#closing === undefined) {
        this.#closing = this.#close(0);
        await this.#closing;
      }
      throw error;
    }
    this.#repository.start().catch((error: unknown) => {
      this.#log.error({ err: error }, 'The models could not be looked for');
    });
  }

  async #close(timeoutMs: number): Promise<void> {
    const started = performance.now();
    this.#repository.beginStop();
    const delayMs = this.#listeners.size > 0 ? this.#options.shutdownDelayMs : 0;
    if (delayMs > 0) {
      this.#log.info({ delayMs }, 'Closing: not ready, and serving for a while');
      (this.#threads ?? this.#frontend)?.beginDrain();
      await after(delayMs);
    }
    this.#log.info({ timeoutMs }, 'Closing: taking no more connections');
    for (const listener of this.#listeners.values()) await listener.close();
    const cutOff = await ((this.#threads ?? this.#frontend)?.drain(timeoutMs) ?? 0);
    if (cutOff > 0) {
      this.#log.warn({ connections: cutOff }, 'Cut off connections that had not ended in time');
    }
    await this.#rollouts.stop();
    await this.#traffic.close();
    await this.#repository.close(cutOff > 0 ? 0 : unloadMs);
    await this.#threads?.terminate();
    this.#metrics.close();
    this.#log.info({ ms: Math.round(performance.now() - started) }, 'Closed');
    await this.#openLog?.flush();
  }
}

async function openRecordFolder(record: RecordSettings, frontendThreads: number): Promise<void> {
  try {
    await prepareRecordFolder(record.folder, record, recordingThreads(frontendThreads));
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected a folder for records at ${record.folder} for "record.folder": ${(cause as Error).message}`,
      { cause },
    );
  }
}

function serverClosed(): TenonError {
  return new TenonError(
    'ERR_TENON_INVALID_ARGUMENT',
    'expected a server that was not closed, received a call of listen() after close()',
  );
}

function isLogger(log: object): log is Logger {
  return 'info' in log;
}
