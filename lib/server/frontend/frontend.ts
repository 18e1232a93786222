/** REST and gRPC of one thread. Connections come from outside: see `Listener`. */

import type { Socket } from 'node:net';

import type { FastifyInstance } from 'fastify';

import type { ModelServerConfig } from '../config/model-config.js';
import { createHttpApp } from '../http.js';
import type { Logger } from '../logging.js';
import type { Metrics } from '../metrics.js';
import type { ModelDirectory } from '../models.js';
import { pageRoutes } from '../page/routes.js';
import type { FrontendSettings, ResolvedGrpc, ResolvedRest } from '../options.js';
import { openInferenceApi } from '../oip/openapi.js';
import { openInference as openInferenceRoutes } from '../oip/rest.js';
import { OpenInference, type RepositoryControl } from '../oip/service.js';
import type { VersionStatistics } from '../oip/statistics.js';
import { RestCalls } from '../rest-calls.js';
import { createGrpcServer, type GrpcServer } from '../tfserving/grpc.js';
import { tensorflowServing, type TensorFlowServingRestOptions } from '../tfserving/rest.js';
import { TensorFlowServing } from '../tfserving/service.js';
import { nodeTlsOptions } from '../tls.js';
import { tokenCheck } from '../token.js';
import { openTracing } from '../tracing.js';
import { observeCall } from './grpc-hooks.js';
import type { FrontendHooks } from './hooks.js';
import type { Transport } from './messages.js';
import { addRestHooks } from './rest-hooks.js';

/** What requests are served with, in this thread or in others. */
export interface ServingParts {
  readonly settings: FrontendSettings;
  readonly models: ModelDirectory;
  readonly log: Logger;
  /** The page for Prometheus, of all threads. */
  readonly scrape: () => Promise<string>;
  /** What the page draws, of all threads, as JSON. */
  readonly numbers: () => Promise<string>;
  readonly reload: (config: ModelServerConfig) => Promise<void>;
  /** What was measured of each version, in all threads. */
  readonly statistics: () => Promise<readonly VersionStatistics[]>;
  readonly repository: RepositoryControl;
}

interface FrontendParts extends ServingParts {
  readonly metrics: Metrics;
}

/**
 * Milliseconds that a connection without a request stays while the server closes: a request that is
 * on its way is answered.
 */
const idleGraceMs = 300;
const drainCheckMs = 20;

export class Frontend {
  readonly service: TensorFlowServing<ModelServerConfig>;
  readonly #rest: FastifyInstance | undefined;
  readonly #grpc: GrpcServer | undefined;
  readonly #state: { isDraining: boolean };
  readonly #restSockets = new Set<Socket>();

  private constructor(
    service: TensorFlowServing<ModelServerConfig>,
    rest: FastifyInstance | undefined,
    grpc: GrpcServer | undefined,
    state: { isDraining: boolean },
  ) {
    this.service = service;
    this.#rest = rest;
    this.#grpc = grpc;
    this.#state = state;
  }

  static async create(parts: FrontendParts): Promise<Frontend> {
    const { settings, models, metrics, reload, log } = parts;
    const service = new TensorFlowServing<ModelServerConfig>(models, {
      metrics,
      reload,
      checkMethodName: settings.checkMethodName,
    });
    const openInference = new OpenInference({
      models,
      service,
      repository: parts.repository,
      statistics: parts.statistics,
    });
    const tracing = await openTracing(settings.traceSampling);
    const checkToken =
      settings.authToken === undefined ? undefined : tokenCheck(settings.authToken);
    const state = { isDraining: false };
    const hooks: FrontendHooks = {
      checkToken,
      tracing,
      log,
      logSampling: settings.requestLogSampling,
      isDraining: () => state.isDraining,
    };
    let rest: FastifyInstance | undefined;
    if (settings.rest !== undefined) {
      rest = createRest(settings.rest, settings.maxConcurrentRequests, parts, {
        service,
        openInference,
        hooks,
      });
      await rest.ready();
      // Its timers for slow clients start with this event; nobody listens here.
      rest.server.emit('listening');
    }
    const grpc =
      settings.grpc === undefined
        ? undefined
        : createGrpc(settings.grpc, settings.maxConcurrentRequests, parts, {
            service,
            openInference,
            hooks,
          });
    return new Frontend(service, rest, grpc, state);
  }

  /** Serves a connection. `socket` has not been read from. */
  accept(transport: Transport, socket: Socket): void {
    if (transport === 'grpc' && this.#grpc !== undefined) {
      this.#grpc.accept(socket);
    } else if (transport === 'rest' && this.#rest !== undefined) {
      this.#restSockets.add(socket);
      socket.once('close', () => this.#restSockets.delete(socket));
      this.#rest.server.emit('connection', socket);
    } else {
      socket.destroy();
    }
  }

  /** The state of the models has changed. */
  onModelsChanged(): void {
    this.#grpc?.onModelsChanged();
  }

  /** Serves on, and has clients of REST connect anew for their next request. */
  beginDrain(): void {
    this.#state.isDraining = true;
  }

  /**
   * Resolves when the requests under way have been answered, those that come on open connections
   * meanwhile included, and all connections are closed; after `timeoutMs` they are cut off.
   *
   * @returns How many connections were cut off.
   */
  async drain(timeoutMs: number): Promise<number> {
    this.beginDrain();
    const [rest, grpc] = await Promise.all([
      this.#drainRest(timeoutMs),
      this.#grpc?.drain(timeoutMs) ?? 0,
    ]);
    await this.#rest?.close();
    return rest + grpc;
  }

  async #drainRest(timeoutMs: number): Promise<number> {
    if (this.#rest === undefined) return 0;
    const { server } = this.#rest;
    const started = performance.now();
    const sockets = this.#restSockets;
    while (sockets.size > 0) {
      const elapsed = performance.now() - started;
      if (elapsed >= timeoutMs) {
        const cutOff = sockets.size;
        for (const socket of sockets) socket.destroy();
        return cutOff;
      }
      if (elapsed >= Math.min(idleGraceMs, timeoutMs / 2)) server.closeIdleConnections();
      await new Promise((resolve) => setTimeout(resolve, drainCheckMs));
    }
    return 0;
  }
}

interface Services {
  readonly service: TensorFlowServing<ModelServerConfig>;
  readonly openInference: OpenInference;
  readonly hooks: FrontendHooks;
}

function createRest(
  settings: ResolvedRest,
  maxConcurrentRequests: number,
  { models, metrics, scrape, numbers }: FrontendParts,
  { service, openInference, hooks }: Services,
): FastifyInstance {
  const { tls } = settings;
  const app = createHttpApp({
    headersTimeoutMs: settings.headerTimeoutMs,
    requestTimeoutMs: settings.bodyTimeoutMs,
    keepAliveTimeoutMs: settings.idleTimeoutMs,
    tls: tls && nodeTlsOptions(tls),
  });
  // Before the routes, which take those that are there.
  addRestHooks(app, hooks);
  const options = restRouteOptions(settings, scrape);
  const calls = new RestCalls({ ...options, maxConcurrentRequests }, metrics);
  void app.register(tensorflowServing, {
    models,
    // REST has no call that reloads.
    service: service as unknown as TensorFlowServing,
    metrics,
    calls,
    answersEarly: true,
    otherApis: [openInferenceApi],
    ...options,
  });
  void app.register(openInferenceRoutes, { service: openInference, metrics, calls, ...options });
  if (settings.page !== 'off') {
    void app.register(pageRoutes, { models, numbers, access: settings.page });
  }
  return app;
}

/** What the routes themselves are told. */
export function restRouteOptions(
  { metricsPath, ...settings }: ResolvedRest,
  scrape: () => Promise<string>,
): Pick<
  TensorFlowServingRestOptions,
  'timeoutMs' | 'cors' | 'maxBodyBytes' | 'maxPendingBodyBytes' | 'metricsPage'
> {
  return {
    timeoutMs: settings.timeoutMs,
    cors: settings.cors,
    maxBodyBytes: settings.maxBodyBytes,
    maxPendingBodyBytes: settings.maxPendingBodyBytes,
    metricsPage: metricsPath === undefined ? undefined : { path: metricsPath, render: scrape },
  };
}

function createGrpc(
  settings: ResolvedGrpc,
  maxConcurrentRequests: number,
  { models, metrics }: FrontendParts,
  { service, openInference, hooks }: Services,
): GrpcServer {
  const { tls, channelOptions, maxMessageBytes, ...rest } = settings;
  const option = (name: string): number | undefined => {
    const value = channelOptions[name];
    return typeof value === 'number' && value > 0 ? value : undefined;
  };
  return createGrpcServer({
    models,
    service,
    openInference,
    metrics,
    maxConcurrentRequests,
    tls: tls && nodeTlsOptions(tls),
    health: rest.health,
    reflection: rest.reflection,
    tensorContent: rest.tensorContent,
    maxMessageBytes: option('grpc.max_receive_message_length') ?? maxMessageBytes,
    maxConcurrentStreams: option('grpc.max_concurrent_streams'),
    idleTimeoutMs: option('grpc.max_connection_idle_ms'),
    onCall: observeCall(hooks),
  });
}
