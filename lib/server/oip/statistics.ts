/** The statistics extension: what the metrics of all threads say of each version. */

import { inferenceSeries } from '../inference-metrics.js';
import type { MetricSnapshot } from '../metric-registry.js';

/** How often, and how long that took in all, in nanoseconds. */
export interface Duration {
  readonly count: number;
  readonly ns: number;
}

/** Of a version that is loaded, since it was. Plain data, to be posted between threads. */
export interface VersionStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970; 0: there was none. */
  readonly lastInference: number;
  /** Rows of batched runs, and one for each other run. */
  readonly inferenceCount: number;
  /** Calls of the engine. */
  readonly executionCount: number;
  /** Whole requests, of all protocols. */
  readonly success: Duration;
  readonly fail: Duration;
  /** Runs that waited for a lane. */
  readonly queue: Duration;
  /** Of requests of the Open Inference Protocol alone. */
  readonly computeInput: Duration;
  readonly computeInfer: Duration;
  readonly computeOutput: Duration;
}

/** @param metrics Of all threads, added up. */
export function statisticsOf(metrics: readonly MetricSnapshot[]): VersionStatistics[] {
  const byName = new Map(metrics.map((metric) => [metric.name, metric]));
  // The models' own numbers are there for each that is loaded.
  const loaded = byName.get(inferenceSeries.executions)?.series ?? [];
  return loaded.map(([[name = '', version = '']]) => {
    const values = (series: keyof typeof inferenceSeries): number[] =>
      (byName.get(inferenceSeries[series])?.series ?? [])
        .filter(([labels]) => labels[0] === name && labels[1] === version)
        .map(([, numbers]) => numbers[0] as number);
    const value = (series: keyof typeof inferenceSeries): number => values(series)[0] ?? 0;
    const duration = (
      count: keyof typeof inferenceSeries,
      micros: keyof typeof inferenceSeries,
    ): Duration => ({ count: value(count), ns: Math.round(value(micros) * 1000) });
    return {
      name,
      version,
      lastInference: Math.round(Math.max(0, ...values('last')) * 1000),
      inferenceCount: value('inferences'),
      executionCount: value('executions'),
      success: duration('success', 'duration'),
      fail: duration('failure', 'failedDuration'),
      queue: duration('queued', 'queue'),
      computeInput: duration('decoded', 'input'),
      computeInfer: duration('executions', 'infer'),
      computeOutput: duration('decoded', 'output'),
    };
  });
}
