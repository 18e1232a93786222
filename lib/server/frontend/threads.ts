/** Front ends in threads of their own: what the main thread does about them. */

import { closeSync, existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { TenonError } from '../../errors.js';
import type { BatchingOptions, Model } from '../../index.js';
import { nativeAddon } from '../../native/load.js';
import { mergeSnapshots, type MetricSnapshot } from '../metric-registry.js';
import type { FrontendSettings } from '../options.js';
import { systemClock } from '../repository/clock.js';
import type { ServedVersionInfo } from '../repository/served-version.js';
import type { Traffic } from '../traffic/config.js';
import { asError, errorOf, messageOf } from './error-message.js';
import type { ServingParts } from './frontend.js';
import type {
  AvailableVersion,
  DirectoryState,
  FromFrontend,
  Measured,
  FrontendThreadData,
  ToFrontend,
  Transport,
} from './messages.js';

/** A thread that does not answer a scrape in time is measured by what it said last. */
const measureMs = 1_000;
/** Milliseconds before a thread that ended by itself is replaced; doubled up to the other. */
const restartMs = 100;
const maxRestartMs = 10_000;
/** A thread that served so long has not failed at its start. */
const stableMs = 60_000;
/** Connections that may wait for a thread, while none is ready. */
const maxWaiting = 1024;
/** What a thread gets to close by itself beyond the time for its requests. */
const drainGraceMs = 2_000;

export class FrontendThreads {
  readonly #parts: ServingParts;
  readonly #threads: FrontendThread[] = [];
  readonly #versions = new Map<Model, AvailableVersion>();
  /** Counts of threads that are gone: counters never go back. */
  #retired: readonly MetricSnapshot[] = [];
  #waiting: { transport: Transport; socket: Socket }[] = [];
  #lastId = 0;
  #traffic: Traffic;
  #isClosing = false;
  readonly #restarts = new Set<NodeJS.Timeout>();

  private constructor(parts: ServingParts, traffic: Traffic) {
    this.#parts = parts;
    this.#traffic = traffic;
  }

  /** Resolves when all threads take connections. @throws What one fails to start with. */
  static async start(
    count: number,
    parts: ServingParts,
    traffic: Traffic,
  ): Promise<FrontendThreads> {
    if (process.platform === 'win32') {
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        `expected 0 for "frontendThreads" on Windows, received ${count}`,
      );
    }
    const threads = new FrontendThreads(
      { ...parts, settings: shareOf(parts.settings, count) },
      traffic,
    );
    try {
      await Promise.all(Array.from({ length: count }, (_, i) => threads.#start(i, restartMs)));
    } catch (error) {
      await threads.terminate();
      throw error;
    }
    return threads;
  }

  /** Those that take connections. */
  get size(): number {
    return this.#threads.filter((thread) => thread.isReady).length;
  }

  /** Hands a connection, of which nothing has been read, to the thread with the fewest. */
  accept(transport: Transport, socket: Socket): void {
    const ready = this.#threads.filter((thread) => thread.isReady);
    const [first, ...others] = ready;
    const limit = this.#parts.settings[transport]?.maxConnections ?? Infinity;
    if (ready.reduce((sum, thread) => sum + thread.open[transport], 0) >= limit) {
      socket.destroy();
      return;
    }
    if (first === undefined) {
      if (this.#isClosing || this.#waiting.length >= maxWaiting) socket.destroy();
      else this.#waiting.push({ transport, socket });
      return;
    }
    let least = first;
    for (const thread of others) if (thread.connections < least.connections) least = thread;
    least.connect(transport, socket);
  }

  /** Resolves when every thread has attached to the version. */
  async add(
    { name, version, model, signatureDefs, maxRows }: ServedVersionInfo,
    batching: boolean | 'auto' | BatchingOptions,
  ): Promise<void> {
    const available: AvailableVersion = {
      id: ++this.#lastId,
      name,
      version,
      share: model.share(),
      batching,
      signatureDefs,
      maxRows,
    };
    this.#versions.set(model, available);
    await Promise.all(this.#threads.map((thread) => thread.add(available)));
  }

  /** Resolves when no thread holds the version any more. */
  async remove(model: Model): Promise<void> {
    const version = this.#versions.get(model);
    if (version === undefined) return;
    this.#versions.delete(model);
    await Promise.all(this.#threads.map((thread) => thread.remove(version.id)));
  }

  /**
   * Tells all threads the state of the models; at once, because what is said of versions before and
   * after it has to be understood in that order.
   */
  update(): void {
    const state = this.#state();
    for (const thread of this.#threads) thread.update(state);
  }

  /** Tells all threads where requests go from now on. */
  route(traffic: Traffic): void {
    this.#traffic = traffic;
    for (const thread of this.#threads) thread.route(traffic);
  }

  #state(): DirectoryState {
    const { models } = this.#parts;
    return { models: models.list(), readiness: models.readiness() };
  }

  async measure(what: Measured = 'all'): Promise<readonly (readonly MetricSnapshot[])[]> {
    return [
      this.#retired,
      ...(await Promise.all(this.#threads.map((thread) => thread.measure(what, measureMs)))),
    ];
  }

  beginDrain(): void {
    for (const thread of this.#threads) thread.beginDrain();
  }

  /** @returns How many connections were cut off after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<number> {
    this.#isClosing = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    const cutOff = await Promise.all(this.#threads.map((thread) => thread.drain(timeoutMs)));
    return cutOff.reduce((sum, count) => sum + count, 0);
  }

  async terminate(): Promise<void> {
    this.#isClosing = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  async #start(index: number, delayMs: number): Promise<void> {
    const startedAt = performance.now();
    const thread = new FrontendThread(index, this.#parts, (ended) => {
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      this.#retired = mergeSnapshots([this.#retired, countersOf(thread.lastMetrics)]);
      if (this.#isClosing) return;
      const served = performance.now() - startedAt;
      const next = served >= stableMs ? restartMs : delayMs;
      this.#parts.log.error(
        { thread: thread.name, err: ended, connections: thread.connections, restartMs: next },
        'A front-end thread has ended and is replaced; its connections are lost',
      );
      const timer = setTimeout(() => {
        this.#restarts.delete(timer);
        // One that fails at once comes here again, by its end.
        this.#start(index, Math.min(2 * next, maxRestartMs)).catch(() => undefined);
      }, next);
      this.#restarts.add(timer);
    });
    this.#threads.push(thread);
    for (const version of this.#versions.values()) void thread.add(version).catch(() => undefined);
    thread.update(this.#state());
    thread.route(this.#traffic);
    await thread.start();
    if (this.#isClosing) return;
    for (const { transport, socket } of this.#waiting.splice(0)) this.accept(transport, socket);
  }
}

interface Deferred<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

class FrontendThread {
  readonly name: string;
  isReady = false;
  /** Connections that it has. */
  readonly open: Record<Transport, number> = { rest: 0, grpc: 0 };
  /** What the thread last measured. */
  lastMetrics: readonly MetricSnapshot[] = [];
  readonly #worker: Worker;
  readonly #parts: ServingParts;
  readonly #ready: Promise<void>;
  #onReady!: Deferred<void>;
  /** By number of the request, calls that wait for its 'done'. */
  readonly #pending = new Map<number, Deferred<void>>();
  readonly #measures = new Map<number, (metrics: readonly MetricSnapshot[]) => void>();
  #onDrained: ((cutOff: number) => void) | undefined;
  #lastRequest = 0;
  #hasEnded = false;

  constructor(index: number, parts: ServingParts, onEnd: (error: Error) => void) {
    this.name = `frontend-${index + 1}`;
    this.#parts = parts;
    this.#ready = new Promise((resolve, reject) => (this.#onReady = { resolve, reject }));
    const data: FrontendThreadData = {
      settings: parts.settings,
      thread: this.name,
      recordSlot: index + 1,
      logLevel: parts.log.level,
    };
    this.#worker = new Worker(program(), { workerData: data, name: `tenon ${this.name}` });
    let failure: Error | undefined;
    this.#worker.on('error', (error) => (failure = asError(error)));
    this.#worker.on('exit', (code) => {
      failure ??= new Error(`it exited with code ${code}`);
      this.#hasEnded = true;
      this.isReady = false;
      this.#onReady.reject(failure);
      // A thread that is gone holds nothing.
      for (const { resolve } of this.#pending.values()) resolve();
      for (const resolve of this.#measures.values()) resolve(this.lastMetrics);
      this.#onDrained?.(this.connections);
      onEnd(failure);
    });
    this.#worker.on('message', (message: FromFrontend) => this.#receive(message));
  }

  get connections(): number {
    return this.open.rest + this.open.grpc;
  }

  start(): Promise<void> {
    this.#post({ kind: 'start' });
    return this.#ready;
  }

  connect(transport: Transport, socket: Socket): void {
    const handle = (socket as unknown as { _handle: { fd: number } | null })._handle;
    // The thread gets a descriptor of its own, so that each side closes what it has.
    const descriptor = handle === null ? -1 : nativeAddon().duplicateDescriptor(handle.fd);
    socket.destroy();
    if (descriptor < 0) return;
    if (this.#hasEnded) {
      closeSync(descriptor);
      return;
    }
    this.open[transport]++;
    this.#post({ kind: 'connection', transport, descriptor });
  }

  add(version: AvailableVersion): Promise<void> {
    return this.#ask((request) => ({ kind: 'available', request, version }));
  }

  remove(id: number): Promise<void> {
    return this.#ask((request) => ({ kind: 'unload', request, id }));
  }

  update(state: DirectoryState): void {
    this.#post({ kind: 'state', state });
  }

  route(traffic: Traffic): void {
    this.#post({ kind: 'traffic', traffic });
  }

  measure(what: Measured, timeoutMs: number): Promise<readonly MetricSnapshot[]> {
    if (this.#hasEnded) return Promise.resolve([]);
    const request = ++this.#lastRequest;
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(this.lastMetrics), timeoutMs);
      const settle = (metrics: readonly MetricSnapshot[]): void => {
        clearTimeout(timer);
        this.#measures.delete(request);
        resolve(metrics);
      };
      this.#measures.set(request, settle);
      this.#post({ kind: 'measure', request, what });
    });
  }

  beginDrain(): void {
    this.#post({ kind: 'begin-drain' });
  }

  drain(timeoutMs: number): Promise<number> {
    if (this.#hasEnded) return Promise.resolve(0);
    return new Promise((resolve) => {
      // The longest time there may be is one that setTimeout does not take.
      const timer = systemClock.after(timeoutMs + drainGraceMs, () => settle(this.connections));
      const settle = (cutOff: number): void => {
        timer.cancel();
        resolve(cutOff);
      };
      this.#onDrained = settle;
      this.#post({ kind: 'drain', timeoutMs });
    });
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(message: (request: number) => ToFrontend): Promise<void> {
    if (this.#hasEnded) return Promise.resolve();
    const request = ++this.#lastRequest;
    return new Promise((resolve, reject) => {
      this.#pending.set(request, { resolve, reject });
      this.#post(message(request));
    });
  }

  #post(message: ToFrontend): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromFrontend): void {
    switch (message.kind) {
      case 'ready':
        this.isReady = true;
        this.#onReady.resolve();
        break;
      case 'done': {
        const pending = this.#pending.get(message.request);
        this.#pending.delete(message.request);
        if (message.error === undefined) pending?.resolve();
        else pending?.reject(errorOf(message.error));
        break;
      }
      case 'scrape':
        this.#answer(message.request, this.#parts.scrape());
        break;
      case 'numbers':
        this.#answer(message.request, this.#parts.numbers());
        break;
      case 'statistics':
        this.#answer(
          message.request,
          this.#parts.statistics().then((statistics) => JSON.stringify(statistics)),
        );
        break;
      case 'control':
        this.#answer(
          message.request,
          this.#parts.repository[message.act](message.name).then(() => ''),
        );
        break;
      case 'reload':
        this.#answer(
          message.request,
          this.#parts.reload(message.config).then(() => ''),
        );
        break;
      case 'closed':
        this.open[message.transport]--;
        break;
      case 'measured':
        this.lastMetrics = replaced(this.lastMetrics, message.metrics);
        this.#measures.get(message.request)?.(message.metrics);
        break;
      case 'drained':
        this.#onDrained?.(message.cutOff);
        break;
      case 'log':
        this.#log(message.line);
        break;
    }
  }

  #answer(request: number, result: Promise<string>): void {
    result.then(
      (text) => this.#post({ kind: 'answer', request, text, error: undefined }),
      (error: unknown) =>
        this.#post({ kind: 'answer', request, text: '', error: messageOf(error) }),
    );
  }

  #log(line: string): void {
    const { level, msg, ...fields } = JSON.parse(line) as Record<string, unknown> & {
      level: 'info';
      msg?: string;
    };
    this.#parts.log[level]({ thread: this.name, ...fields }, msg);
  }
}

/** What the process may hold in all, for one of `count` threads. */
function shareOf(settings: FrontendSettings, count: number): FrontendSettings {
  const share = (limit: number): number => Math.ceil(limit / count);
  const { rest, maxConcurrentRequests } = settings;
  return {
    ...settings,
    maxConcurrentRequests: share(maxConcurrentRequests),
    rest: rest && { ...rest, maxPendingBodyBytes: share(rest.maxPendingBodyBytes) },
  };
}

/** In dist/ beside this file's chunk; from the source, three folders up. */
function program(): string {
  const places = ['./server-frontend.js', '../../../dist/server-frontend.js'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  return places.find((place) => existsSync(place)) ?? (places[0] as string);
}

/** `last` with what is newer. */
function replaced(
  last: readonly MetricSnapshot[],
  newer: readonly MetricSnapshot[],
): readonly MetricSnapshot[] {
  const names = new Set(newer.map(({ name }) => name));
  return [...newer, ...last.filter(({ name }) => !names.has(name))];
}

/** Gauges are of what is now; a thread that is gone has nothing. */
function countersOf(metrics: readonly MetricSnapshot[]): readonly MetricSnapshot[] {
  return metrics.filter(({ type }) => type !== 'gauge');
}
