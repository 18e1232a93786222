import {
  Counter,
  exponentialBuckets,
  Gauge,
  Histogram,
  type MetricSnapshot,
} from '../metric-registry.js';
import type { RecordLoss } from '../record/record-files.js';
import type { Comparison } from './compare.js';
import type { Traffic } from './config.js';

/** Why a request that was chosen was not run again. */
export type ShadowDrop = 'in_flight' | 'busy' | 'unavailable' | 'same_version';

export type ShadowOutcome = 'failed' | { readonly micros: number; readonly comparison: Comparison };

export interface ShadowedRequest {
  readonly model: string;
  /** That answered. */
  readonly version: bigint;
  readonly shadowVersion: bigint;
}

const versions = ['model_name', 'version', 'shadow_version'];

/** What becomes of requests beside their being answered, in one thread. Every call is cheap. */
export class TrafficMetrics {
  readonly #routed = new Counter({
    name: 'tenon_route_requests_total',
    help: 'Requests that named neither version nor label, by the route they took.',
    labels: ['model_name', 'route', 'version'],
  });
  readonly #routes = new WeakMap<object, { add(amount: number): void }>();
  readonly #runs = new Counter({
    name: 'tenon_shadow_runs_total',
    help: 'Requests run again on another version: compared, mismatched (other outputs or shapes), failed.',
    labels: [...versions, 'result'],
  });
  readonly #dropped = new Counter({
    name: 'tenon_shadow_dropped_total',
    help: 'Requests that were to be run again and were not.',
    labels: ['model_name', 'reason'],
  });
  readonly #errors = new Histogram({
    name: 'tenon_shadow_max_abs_error',
    help: 'The largest difference of a number from the one that was served, by request.',
    labels: versions,
    buckets: [0, ...exponentialBuckets(1e-7, 10, 11)],
  });
  readonly #rows = new Counter({
    name: 'tenon_shadow_rows_total',
    help: 'Rows of which an agreement could be told.',
    labels: versions,
  });
  readonly #agreeing = new Counter({
    name: 'tenon_shadow_agreeing_rows_total',
    help: 'Rows whose greatest element was the same; of integers and strings all.',
    labels: versions,
  });
  readonly #micros = new Histogram({
    name: 'tenon_shadow_latency_micros',
    help: 'Wall time of shadow runs in microseconds, queue included.',
    labels: versions,
    buckets: exponentialBuckets(10, 1.8, 33),
  });
  readonly #decisions = new Counter({
    name: 'tenon_rollout_decisions_total',
    help: 'Changes of weights that followed from a canary: advance, rollback, done.',
    labels: ['model_name', 'decision'],
  });
  readonly #recorded = new Counter({
    name: 'tenon_recorded_requests_total',
    help: 'Requests that are in a file of records.',
    labels: ['model_name'],
  });
  readonly #recordedBytes = new Counter({
    name: 'tenon_recorded_bytes_total',
    help: 'Bytes of such files that were written.',
    labels: ['model_name'],
  });
  readonly #lost = new Counter({
    name: 'tenon_record_lost_total',
    help: 'Requests that were to be recorded and were not.',
    labels: ['reason'],
  });

  /** @param route The same object as long as the version stays: its series is looked up once. */
  routed(model: string, route: { readonly target: string; readonly version: bigint }): void {
    let series = this.#routes.get(route);
    if (series === undefined) {
      series = this.#routed.with(model, route.target, String(route.version));
      this.#routes.set(route, series);
    }
    series.add(1);
  }

  shadowed({ model, version, shadowVersion }: ShadowedRequest, outcome: ShadowOutcome): void {
    const own = [model, String(version), String(shadowVersion)] as const;
    if (outcome === 'failed') {
      this.#runs.with(...own, 'failed').add(1);
      return;
    }
    const { micros, comparison } = outcome;
    this.#micros.with(...own).observe(micros);
    if (comparison.mismatch !== undefined) {
      this.#runs.with(...own, 'mismatched').add(1);
      return;
    }
    this.#runs.with(...own, 'compared').add(1);
    this.#errors.with(...own).observe(comparison.maxAbsError);
    this.#rows.with(...own).add(comparison.rows);
    this.#agreeing.with(...own).add(comparison.agreeingRows);
  }

  shadowDropped(model: string, reason: ShadowDrop): void {
    this.#dropped.with(model, reason).add(1);
  }

  decided(model: string, decision: string): void {
    this.#decisions.with(model, decision).add(1);
  }

  recorded(model: string, records: number, bytes: number): void {
    this.#recorded.with(model).add(records);
    this.#recordedBytes.with(model).add(bytes);
  }

  recordLost(reason: RecordLoss, records: number): void {
    this.#lost.with(reason).add(records);
  }

  /** The series of a version that is gone for good. */
  forget(model: string, version: bigint): void {
    const gone = String(version);
    this.#routed.drop(model, undefined, gone);
    for (const metric of [this.#runs, this.#errors, this.#rows, this.#agreeing, this.#micros]) {
      metric.drop(model, gone);
      metric.drop(model, undefined, gone);
    }
  }

  metrics(): (Counter | Histogram)[] {
    return [
      this.#routed,
      this.#runs,
      this.#dropped,
      this.#errors,
      this.#rows,
      this.#agreeing,
      this.#micros,
      this.#decisions,
      this.#recorded,
      this.#recordedBytes,
      this.#lost,
    ];
  }
}

/** The weights that are in force, which are the same in all threads: one tells. */
export function weightMetric({ models, default: fallback }: Traffic): MetricSnapshot {
  const gauge = new Gauge({
    name: 'tenon_route_weight',
    help: 'Weight of a route; the model_name is empty for those of all other models.',
    labels: ['model_name', 'route'],
  });
  for (const [model, each] of [...models, ['', fallback] as const]) {
    for (const { target, weight } of each?.routes ?? []) gauge.with(model, target).set(weight);
  }
  return gauge.snapshot();
}
