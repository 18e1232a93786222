/**
 * What the server measures, under TensorFlow Serving's names (`/` in them is `:`), and beside them
 * by version and signature under names of our own.
 */

import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

import type { StatusName } from '../codec/status.js';
import type { Model, ModelStats } from '../index.js';
import {
  type CodecMeasures,
  InferenceMetrics,
  type InferenceSeries,
  modelInferenceMetrics,
} from './inference-metrics.js';
import {
  Counter,
  exponentialBuckets,
  exposition,
  Gauge,
  Histogram,
  type MetricSnapshot,
} from './metric-registry.js';
import { TrafficMetrics } from './traffic/traffic-metrics.js';

/** Which call it was, by TensorFlow Serving's names and the Open Inference Protocol's. */
export type ApiMethod =
  | 'Predict'
  | 'Classify'
  | 'Regress'
  | 'MultiInference'
  | 'GetModelMetadata'
  | 'GetModelStatus'
  | 'HandleReloadConfigRequest'
  | 'ModelInfer';

/** Whether a call runs a model, as opposed to one that asks what there is. */
export const runsModel: Readonly<Record<ApiMethod, boolean>> = {
  Predict: true,
  Classify: true,
  Regress: true,
  MultiInference: true,
  GetModelMetadata: false,
  GetModelStatus: false,
  HandleReloadConfigRequest: false,
  ModelInfer: true,
};

export type Entrypoint = 'REST' | 'GRPC';

export interface RequestMeasures {
  /** As the client named it. It becomes a label only where `version` says that it exists. */
  readonly model: string;
  /** That answered; undefined where none was found. */
  readonly version: bigint | undefined;
  /** That was run; undefined where none was found, or none is meant. */
  readonly signature: string | undefined;
  readonly method: ApiMethod;
  readonly entrypoint: Entrypoint;
  readonly status: StatusName;
  /** From the whole request read to the answer handed over. */
  readonly micros: number;
}

/** What the front ends report. Every call is cheap and never throws. */
export interface ServingMetrics {
  /** A request has ended. */
  request(measures: RequestMeasures): void;
  /** A model has run for a request: how long that took, queue and batch included. */
  runtime(model: string, method: ApiMethod, engine: Model['engine'], micros: number): void;
  /** Examples of one classify or regress request. */
  examples(model: string, count: number): void;
  /** A request came in, and … */
  started(entrypoint: Entrypoint): void;
  /** … has ended: once for each. */
  ended(entrypoint: Entrypoint): void;
  /** A request was turned away because of a limit: "concurrent_requests", "body_size" … */
  refused(entrypoint: Entrypoint, limit: string): void;
  /** Tensors of a request of the Open Inference Protocol have been read, and those of its answer written. */
  codec?(measures: CodecMeasures): void;
}

/** Bounds of TensorFlow Serving's latencies, in microseconds. */
export const latencyBuckets = exponentialBuckets(10, 1.8, 33);

/** A version that is served, for the numbers its model keeps itself. */
export interface MeasuredModel {
  readonly name: string;
  readonly version: bigint;
  readonly model: Model;
}

interface RequestSeries {
  readonly count: { add(amount: number): void };
  readonly latency: { observe(micros: number): void };
  readonly versionCount: { add(amount: number): void };
  readonly versionLatency: { observe(micros: number): void };
  /** Where it is a method that infers. */
  readonly inference: InferenceSeries | undefined;
}

function isAlike(a: RequestMeasures, b: RequestMeasures): boolean {
  return (
    a.model === b.model &&
    a.version === b.version &&
    a.signature === b.signature &&
    a.method === b.method &&
    a.entrypoint === b.entrypoint &&
    a.status === b.status
  );
}

export interface MetricsOptions {
  /** Tells this thread's event loop and in-flight requests from others'. Default: "main". */
  readonly thread?: string;
  /** Versions whose models' own numbers are read with each snapshot. */
  readonly models?: () => Iterable<MeasuredModel>;
  /**
   * Whether another thread reads what is the same in all: the models' numbers that are not this
   * thread's, and the process's. Default: false.
   */
  readonly isOneOfMany?: boolean;
}

/** Metrics of one thread. */
export class Metrics implements ServingMetrics {
  /** What is routed, run again and recorded. */
  readonly routing = new TrafficMetrics();
  readonly #requests = new Counter({
    name: ':tensorflow:serving:request_count',
    help: 'The total number of requests.',
    labels: ['model_name', 'status'],
  });
  readonly #latency = new Histogram({
    name: ':tensorflow:serving:request_latency',
    help: 'Distribution of wall time (in microseconds) of requests.',
    labels: ['model_name', 'API', 'entrypoint'],
    buckets: latencyBuckets,
  });
  readonly #runtime = new Histogram({
    name: ':tensorflow:serving:runtime_latency',
    help: 'Distribution of wall time (in microseconds) of runs, queue included.',
    labels: ['model_name', 'API', 'runtime'],
    buckets: latencyBuckets,
  });
  readonly #exampleCounts = new Histogram({
    name: ':tensorflow:serving:request_example_counts',
    help: 'The number of tensorflow.Examples per request.',
    labels: ['model'],
    buckets: exponentialBuckets(1, 2, 15),
  });
  readonly #exampleTotal = new Counter({
    name: ':tensorflow:serving:request_example_count_total',
    help: 'The total number of tensorflow.Examples.',
    labels: ['model'],
  });
  readonly #warmup = new Histogram({
    name: ':tensorflow:serving:model_warmup_latency',
    help: 'Distribution of wall time (in microseconds) of the warm-up of a version.',
    labels: ['model_path', 'status'],
    buckets: latencyBuckets,
  });
  readonly #versionRequests = new Counter({
    name: 'tenon_requests_total',
    help: 'Requests by version, signature and status.',
    labels: ['model_name', 'version', 'signature', 'method', 'entrypoint', 'status'],
  });
  readonly #versionLatency = new Histogram({
    name: 'tenon_request_latency_micros',
    help: 'Wall time of requests in microseconds, by version and signature.',
    labels: ['model_name', 'version', 'signature', 'method', 'entrypoint'],
    buckets: latencyBuckets,
  });
  readonly #inFlight = new Gauge({
    name: 'tenon_in_flight_requests',
    help: 'Requests that came in and have not ended.',
    labels: ['entrypoint'],
  });
  readonly #refused = new Counter({
    name: 'tenon_refused_requests_total',
    help: 'Requests turned away because of a limit.',
    labels: ['entrypoint', 'limit'],
  });
  readonly #inference: InferenceMetrics;
  readonly #series = new Map<string, RequestSeries>();
  /** Most requests are like the one before: no key is made for them. */
  #recent: { readonly measures: RequestMeasures; readonly series: RequestSeries } | undefined;
  readonly #runtimeSeries = new Map<string, { observe(micros: number): void }>();
  readonly #thread: string;
  readonly #models: () => Iterable<MeasuredModel>;
  readonly #isOneOfMany: boolean;
  /** Batches of each version that is there, and of those that are gone: counters never go back. */
  #batches = new Map<Model, number>();
  #goneBatches = 0;
  readonly #loopDelay: IntervalHistogram = monitorEventLoopDelay({ resolution: 10 });

  constructor({ thread = 'main', models = () => [], isOneOfMany = false }: MetricsOptions = {}) {
    this.#thread = thread;
    this.#inference = new InferenceMetrics(thread);
    this.#models = models;
    this.#isOneOfMany = isOneOfMany;
    this.#loopDelay.enable();
  }

  request(measures: RequestMeasures): void {
    const recent = this.#recent;
    const series =
      recent !== undefined && isAlike(recent.measures, measures)
        ? recent.series
        : this.#seriesOf(measures);
    const { status, micros } = measures;
    series.count.add(1);
    series.latency.observe(micros);
    series.versionCount.add(1);
    series.versionLatency.observe(micros);
    if (series.inference !== undefined) {
      this.#inference.ended(series.inference, status === 'OK', micros);
    }
  }

  #seriesOf(measures: RequestMeasures): RequestSeries {
    const { model, version, signature, method, entrypoint, status } = measures;
    const key = `${model}\0${version}\0${signature}\0${method}\0${entrypoint}\0${status}`;
    let series = version === undefined ? undefined : this.#series.get(key);
    if (series === undefined) {
      // A name that no model has, and signatures of such, are the client's invention.
      const name = version === undefined ? '' : model;
      const labels = [name, String(version ?? ''), signature ?? '', method, entrypoint];
      series = {
        count: this.#requests.with(name, status),
        latency: this.#latency.with(name, method, entrypoint),
        versionCount: this.#versionRequests.with(...labels, status),
        versionLatency: this.#versionLatency.with(...labels),
        inference:
          version !== undefined && runsModel[method]
            ? this.#inference.of(model, version)
            : undefined,
      };
      if (version !== undefined && this.#series.size < maxCached) this.#series.set(key, series);
    }
    this.#recent = { measures, series };
    return series;
  }

  runtime(model: string, method: ApiMethod, engine: Model['engine'], micros: number): void {
    // No method or engine has a NUL in its name, whatever the model is called.
    const key = `${model}\0${method}\0${engine}`;
    let series = this.#runtimeSeries.get(key);
    if (series === undefined) {
      series = this.#runtime.with(model, method, engine);
      if (this.#runtimeSeries.size < maxCached) this.#runtimeSeries.set(key, series);
    }
    series.observe(micros);
  }

  examples(model: string, count: number): void {
    this.#exampleCounts.with(model).observe(count);
    this.#exampleTotal.with(model).add(count);
  }

  started(entrypoint: Entrypoint): void {
    this.#inFlight.with(entrypoint).add(1);
  }

  ended(entrypoint: Entrypoint): void {
    this.#inFlight.with(entrypoint).add(-1);
  }

  refused(entrypoint: Entrypoint, limit: string): void {
    this.#refused.with(entrypoint, limit).add(1);
  }

  codec(measures: CodecMeasures): void {
    this.#inference.codec(measures);
  }

  /** The warm-up records of a version have run. */
  warmup(path: string, status: StatusName, micros: number): void {
    this.#warmup.with(path, status).observe(micros);
  }

  /** The series of a version that is gone for good. */
  forget(model: string, version: bigint): void {
    this.#recent = undefined;
    this.#versionRequests.drop(model, String(version));
    this.#versionLatency.drop(model, String(version));
    this.#inference.forget(model, version);
    this.routing.forget(model, version);
    for (const key of this.#series.keys()) {
      if (key.startsWith(`${model}\0${version}\0`)) this.#series.delete(key);
    }
  }

  /** Everything as it is now. The event loop's delay begins anew with each snapshot. */
  snapshot(): MetricSnapshot[] {
    const models = statsOf(this.#models());
    return [
      this.#requests,
      this.#latency,
      this.#runtime,
      this.#exampleCounts,
      this.#exampleTotal,
      this.#warmup,
      this.#versionRequests,
      this.#versionLatency,
      this.#inFlight,
      this.#refused,
      this.#eventLoop(),
      ...this.routing.metrics(),
      ...batchingMetrics(models),
      this.#wrappedRuns(models),
      ...this.#inference.metrics(),
      ...(this.#isOneOfMany
        ? []
        : [...modelMetrics(models), ...modelInferenceMetrics(models), ...processMetrics()]),
    ].map((metric) => metric.snapshot());
  }

  /** Of all that, what the page draws and what canaries are judged by. The event loop's delay stays with those who scrape. */
  traffic(): MetricSnapshot[] {
    const models = statsOf(this.#models());
    return [
      this.#versionRequests,
      this.#versionLatency,
      this.#inFlight,
      this.#refused,
      ...this.routing.metrics(),
      queuedRows(models),
      ...(this.#isOneOfMany ? [] : modelMetrics(models)),
    ].map((metric) => metric.snapshot());
  }

  close(): void {
    this.#loopDelay.disable();
  }

  #wrappedRuns(models: readonly ModelNumbers[]): Counter {
    const before = this.#batches;
    this.#batches = new Map();
    for (const { model, stats } of models) {
      before.delete(model);
      if (stats.batching !== undefined) this.#batches.set(model, stats.batching.batches);
    }
    for (const batches of before.values()) this.#goneBatches += batches;
    const counter = new Counter({
      name: ':tensorflow:serving:batching_session:wrapped_run_count',
      help: 'Total count of run calls on the wrapped session.',
    });
    const total = [...this.#batches.values()].reduce((sum, each) => sum + each, this.#goneBatches);
    if (total > 0) counter.with().add(total);
    return counter;
  }

  #eventLoop(): Gauge {
    const gauge = new Gauge({
      name: 'tenon_event_loop_delay_seconds',
      help: "How late the event loop's timers were since the last scrape.",
      labels: ['thread', 'quantile'],
    });
    const delay = this.#loopDelay;
    if (delay.count > 0) {
      for (const [quantile, percentile] of [
        ['0.5', 50],
        ['0.99', 99],
        ['1', 100],
      ] as const) {
        gauge.with(this.#thread, quantile).set(delay.percentile(percentile) / 1e9);
      }
    }
    delay.reset();
    return gauge;
  }
}

/** Looked-up series that are kept; past it each request looks its own up. */
const maxCached = 10_000;

/** Snapshots as the text that Prometheus scrapes. */
export { exposition };

interface ModelNumbers extends MeasuredModel {
  readonly stats: ModelStats;
}

function statsOf(models: Iterable<MeasuredModel>): ModelNumbers[] {
  const numbers: ModelNumbers[] = [];
  for (const { name, version, model } of models) {
    try {
      numbers.push({ name, version, model, stats: model.stats() });
    } catch {
      // Closed meanwhile.
    }
  }
  return numbers;
}

const versionLabels = ['model_name', 'version'];

/** Bounds of TensorFlow Serving's waits for a batch, in microseconds. */
const queuingBuckets = exponentialBuckets(100, 1.2, 52);
/** The batcher counts 16 rows and more in eighths of an octave, of which these are ends. */
const rowBuckets = Array.from({ length: 20 }, (_, i) => 2 ** (i + 1) - 1);

/** What the batchers of this thread tell, which is what TensorFlow Serving's batching session does. */
function batchingMetrics(models: readonly ModelNumbers[]): (Gauge | Histogram)[] {
  const histogram = (name: string, help: string, buckets: readonly number[]): Histogram =>
    new Histogram({
      name: `:tensorflow:serving:batching_session:${name}`,
      help,
      labels: versionLabels,
      buckets,
    });
  const waits = histogram(
    'queuing_latency',
    'Distribution of wall time spent (in microseconds) in queuing.',
    queuingBuckets,
  );
  const requests = histogram('input_batch_size', 'Rows of a request.', rowBuckets);
  const batches = histogram(
    'processed_batch_size',
    'Rows of a batch, padding included.',
    rowBuckets,
  );
  // Most batches have none.
  const padding = histogram('padding_size', 'Rows of padding of a batch.', [0, ...rowBuckets]);
  for (const { name, version, stats } of models) {
    if (stats.batching === undefined) continue;
    const own = [name, String(version)] as const;
    const { distributions } = stats.batching;
    for (const [metric, distribution] of [
      [waits, distributions.waitMicros],
      [requests, distributions.requestRows],
      [batches, distributions.batchRows],
      [padding, distributions.paddedRows],
    ] as const) {
      if (distribution.count === 0) continue;
      const series = metric.with(...own);
      for (const [upTo, count] of distribution.places) series.count(upTo, count);
      series.add(distribution.sum);
    }
  }
  return [waits, requests, batches, padding, queuedRows(models)];
}

function queuedRows(models: readonly ModelNumbers[]): Gauge {
  const waiting = new Gauge({
    name: 'tenon_batching_queued_rows',
    help: 'Rows that wait for a batch.',
    labels: versionLabels,
  });
  for (const { name, version, stats } of models) {
    if (stats.batching === undefined) continue;
    waiting.with(name, String(version)).set(stats.batching.queuedRows);
  }
  return waiting;
}

/** What the models tell of themselves, whichever thread runs them: lanes, queues, batches. */
function modelMetrics(models: readonly ModelNumbers[]): (Counter | Gauge)[] {
  const labels = versionLabels;
  const counter = (name: string, help: string): Counter => new Counter({ name, help, labels });
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, labels });
  const runs = counter('tenon_model_runs_total', 'Runs that ended, failed ones included.');
  const failed = counter('tenon_model_failed_runs_total', 'Runs that the engine failed.');
  const cancelled = counter('tenon_model_cancelled_runs_total', 'Runs that were stopped.');
  const busy = gauge('tenon_model_busy_lanes', 'Lanes that run the engine.');
  const lanes = gauge('tenon_model_lanes', 'Lanes that have started.');
  const queued = gauge('tenon_model_queued_runs', 'Runs that wait for a lane.');
  const waits = counter(
    'tenon_model_wait_micros_total',
    'Microseconds that runs waited for a lane.',
  );
  const batches = counter('tenon_batching_batches_total', 'Calls of the engine for several runs.');
  const batchedRuns = counter('tenon_batching_runs_total', 'Runs that were made in batches.');
  const padding = counter('tenon_batching_padded_rows_total', 'Rows that filled batches up.');
  const summaries = new Gauge({
    name: 'tenon_model_wait_micros',
    help: 'Wait for a lane in microseconds, since the version was loaded.',
    labels: [...labels, 'quantile'],
  });
  const runMicros = new Gauge({
    name: 'tenon_model_run_micros',
    help: 'Calls of the engine in microseconds, since the version was loaded.',
    labels: [...labels, 'quantile'],
  });
  for (const { name, version, stats } of models) {
    const own = [name, String(version)] as const;
    runs.with(...own).add(stats.runs);
    failed.with(...own).add(stats.failedRuns);
    cancelled.with(...own).add(stats.cancelledRuns);
    busy.with(...own).set(stats.busyLanes);
    lanes.with(...own).set(stats.lanes.length);
    queued.with(...own).set(stats.queuedRuns);
    waits.with(...own).add(totalMicros(stats.queueMicros));
    batches.with(...own).add(stats.batches);
    batchedRuns.with(...own).add(stats.batchedRuns);
    padding.with(...own).add(stats.paddedRows);
    for (const [metric, summary] of [
      [summaries, stats.queueMicros],
      [runMicros, stats.runMicros],
    ] as const) {
      if (summary.count === 0) continue;
      metric.with(...own, '0.5').set(summary.p50);
      metric.with(...own, '0.9').set(summary.p90);
      metric.with(...own, '0.99').set(summary.p99);
    }
  }
  return [
    runs,
    failed,
    cancelled,
    busy,
    lanes,
    queued,
    waits,
    batches,
    batchedRuns,
    padding,
    summaries,
    runMicros,
  ];
}

/**
 * All times of a summary together, whole microseconds. What is added is whole nanoseconds: the small
 * share keeps the rounding of a mean from making a counter go back.
 */
function totalMicros({ count, mean }: { count: number; mean: number }): number {
  return Math.floor(count * mean + 4e-4);
}

function processMetrics(): (Counter | Gauge)[] {
  const { user, system } = process.cpuUsage();
  const cpu = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the process, all threads together.',
  });
  cpu.with().add((user + system) / 1e6);
  const memory = new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory of the process that is in RAM.',
  });
  memory.with().set(process.memoryUsage.rss());
  const started = new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process started, in seconds since 1970.',
  });
  started.with().set(Math.round(performance.timeOrigin / 1e3));
  return [cpu, memory, started];
}
