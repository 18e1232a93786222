/**
 * What the page draws, as one small JSON: counts, of which the page makes rates and quantiles from one
 * answer to the next.
 */

import { mergeSnapshots, type MetricSnapshot } from '../metric-registry.js';
import { latencyBuckets, type MeasuredModel, runsModel } from '../metrics.js';
import type { ModelListing, Readiness, VersionStatus } from '../models.js';

/** Where the numbers come from: the main thread, and what it hears of the others. */
export interface NumberSource {
  readonly list: () => readonly ModelListing[];
  readonly readiness: () => Readiness;
  /** The versions that are loaded. */
  readonly versions: () => Iterable<MeasuredModel>;
  /** `Metrics.traffic` of the main thread, and of each front-end thread. */
  readonly ownTraffic: () => readonly MetricSnapshot[];
  readonly otherTraffic: () => Promise<readonly (readonly MetricSnapshot[])[]>;
  /** How many front-end threads are asked for it. */
  readonly threads: () => number;
}

/** Requests that ran a model, since the start. */
interface Traffic {
  requests: number;
  failures: number;
  /** Counts of the buckets of latency, without those that are empty: index, count, index, count … */
  latency: number[];
}

/** Numbers are made once for all who ask within this time, in milliseconds. */
const shortestMs = 900;
/** And so seldom that making them takes at most this share of one CPU. */
const maxShare = 0.004;
/** However long it takes. */
const longestMs = 60_000;
const measuredWorks = 4;
/** The page must come late rather than twice within the time. */
const graceMs = 100;

/** Makes the numbers when they are asked for, seldom enough to cost next to nothing. */
export class PageNumbers {
  readonly #source: NumberSource;
  #latest: Promise<string> | undefined;
  #until = 0;
  #lifeMs = shortestMs;
  /** What making them took the last times. */
  readonly #workMs: number[] = [];

  constructor(source: NumberSource) {
    this.#source = source;
  }

  json(): Promise<string> {
    const now = performance.now();
    if (this.#latest === undefined || now >= this.#until) {
      this.#until = Infinity;
      this.#latest = this.#make().finally(() => (this.#until = now + this.#lifeMs));
    }
    return this.#latest;
  }

  async #make(): Promise<string> {
    const { ownTraffic, otherTraffic, threads } = this.#source;
    const others = await otherTraffic();
    const started = performance.now();
    const text = JSON.stringify(
      pageNumbers(this.#source, mergeSnapshots([ownTraffic(), ...others])),
    );
    // Each thread did less than this one.
    this.#workMs.push((performance.now() - started) * (1 + threads()));
    if (this.#workMs.length > measuredWorks) this.#workMs.shift();
    // A time may hold that of others who had the CPU meanwhile, and the first that of compiling.
    const workMs = this.#workMs.length === 1 ? 0 : Math.min(...this.#workMs);
    this.#lifeMs = Math.min(longestMs, Math.max(shortestMs, workMs / maxShare));
    return `{"nextMs":${Math.ceil(this.#lifeMs + graceMs)},${text.slice(1)}`;
  }
}

/** @param traffic Of all threads. */
function pageNumbers(
  { list, readiness, versions, threads }: Omit<NumberSource, 'ownTraffic' | 'otherTraffic'>,
  traffic: readonly MetricSnapshot[],
): object {
  const { byVersion, others } = trafficByVersion(traffic);
  const numberOf = (name: string): ((key: string) => number) => {
    const values = new Map(
      seriesOf(traffic, name).map(([[model = '', version = ''], [value = 0]]) => [
        keyOf(model, version),
        value,
      ]),
    );
    return (key) => values.get(key) ?? 0;
  };
  const runs = numberOf('tenon_model_runs_total');
  const batchedRuns = numberOf('tenon_batching_runs_total');
  const batches = numberOf('tenon_batching_batches_total');
  const queuedRuns = numberOf('tenon_model_queued_runs');
  const queuedRows = numberOf('tenon_batching_queued_rows');
  const busyLanes = numberOf('tenon_model_busy_lanes');
  const loaded = new Map<string, object>();
  for (const { name, version, model } of versions()) {
    const key = keyOf(name, version);
    loaded.set(key, {
      engine: model.engine,
      runs: runs(key),
      // A batch is one call of the engine for the runs in it.
      calls: runs(key) - batchedRuns(key) + batches(key),
      waiting: queuedRuns(key) + queuedRows(key),
      running: busyLanes(key),
    });
  }
  const { ready, waiting, failed } = readiness();
  const { user, system } = process.cpuUsage();
  return {
    server: {
      pid: process.pid,
      startedAt: Math.round(performance.timeOrigin),
      uptimeMs: Math.round(performance.now()),
      cpuMicros: user + system,
      residentBytes: process.memoryUsage.rss(),
      inFlight: sumOf(traffic, 'tenon_in_flight_requests'),
      refused: sumOf(traffic, 'tenon_refused_requests_total'),
      frontendThreads: threads(),
    },
    readiness: { ready, waiting, failed },
    latencyBounds: latencyBuckets.map(Math.round),
    models: list().map(({ name, versions: all, labels }) => ({
      name,
      labels: Object.entries(labels).map(([label, version]) => [label, String(version)]),
      versions: all.map(({ version, state, error }: VersionStatus) => {
        const key = keyOf(name, version);
        return {
          version: String(version),
          state,
          ...(error.status !== 'OK' && { error: `${error.status}: ${error.message}` }),
          ...byVersion.get(key),
          ...loaded.get(key),
        };
      }),
    })),
    // Requests of which no version is known, such as those for models that are not there.
    others,
  };
}

/** No version has a space. */
function keyOf(name: string, version: string | bigint): string {
  return `${version} ${name}`;
}

function trafficByVersion(metrics: readonly MetricSnapshot[]): {
  byVersion: ReadonlyMap<string, Traffic>;
  others: Traffic;
} {
  const others: Traffic = { requests: 0, failures: 0, latency: [] };
  const byVersion = new Map<string, Traffic>();
  const of = (name: string, version: string): Traffic => {
    if (version === '') return others;
    const key = keyOf(name, version);
    let traffic = byVersion.get(key);
    if (traffic === undefined) {
      byVersion.set(key, (traffic = { requests: 0, failures: 0, latency: [] }));
    }
    return traffic;
  };
  for (const [labels, [count = 0]] of seriesOf(metrics, 'tenon_requests_total')) {
    const [name = '', version = '', , method = '', , status = ''] = labels;
    if (!isRun(method)) continue;
    const traffic = of(name, version);
    traffic.requests += count;
    if (status !== 'OK') traffic.failures += count;
  }
  const buckets = new Map<Traffic, number[]>();
  for (const [labels, numbers] of seriesOf(metrics, 'tenon_request_latency_micros')) {
    const [name = '', version = '', , method = ''] = labels;
    if (!isRun(method)) continue;
    const traffic = of(name, version);
    // The last number is the sum.
    const counts = numbers.slice(0, -1);
    const sum = buckets.get(traffic);
    if (sum === undefined) buckets.set(traffic, counts);
    else counts.forEach((count, i) => ((sum[i] as number) += count));
  }
  for (const [traffic, counts] of buckets) {
    traffic.latency = counts.flatMap((count, i) => (count === 0 ? [] : [i, count]));
  }
  return { byVersion, others };
}

/** A series that stands for all beyond the limit has no method. */
function isRun(method: string): boolean {
  return Object.hasOwn(runsModel, method) ? runsModel[method as keyof typeof runsModel] : true;
}

function seriesOf(metrics: readonly MetricSnapshot[], name: string): MetricSnapshot['series'] {
  return metrics.find((metric) => metric.name === name)?.series ?? [];
}

function sumOf(metrics: readonly MetricSnapshot[], name: string): number {
  return seriesOf(metrics, name).reduce((sum, [, [number = 0]]) => sum + number, 0);
}
