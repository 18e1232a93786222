/** Which of the measured configurations is best, and why. */

import { type Configuration, keyOf, threadsOf } from './space.js';

/** One closed loop: so many requests in flight, each followed by the next. */
export interface Point {
  readonly inFlight: number;
  /** Requests that ended. */
  readonly runs: number;
  readonly seconds: number;
  /** Requests per second. */
  readonly throughput: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface Measurement {
  readonly configuration: Configuration;
  /** By rising number in flight. */
  readonly points: readonly Point[];
  readonly loadMs: number;
  /** Resident memory of its process at the end, the engine's library included. */
  readonly residentBytes: number;
  /** Seconds of CPU for each second measured. */
  readonly cpus: number;
  /** How long it was measured: 0 is a first look. */
  readonly round: number;
}

export interface Objective {
  readonly for: 'throughput' | 'latency';
  readonly targetP99Ms: number | undefined;
}

export interface Score {
  /** Higher is better. */
  readonly value: number;
  /** The target is met, at the operating point or, for latency, at each point. */
  readonly meetsTarget: boolean;
  /** Where on its curve the configuration is at its best. */
  readonly at: Point;
}

/**
 * For throughput: the most requests per second at a number in flight whose p99 is within the
 * target; where none is, the lower its best p99 the better, and below all that meet it. For
 * latency: the lower the p99, as geometric mean over all numbers in flight, the better.
 */
export function scoreOf({ points }: Measurement, objective: Objective): Score {
  const target = objective.targetP99Ms ?? Infinity;
  const fastest = [...points].sort((a, b) => a.p99Ms - b.p99Ms)[0] as Point;
  if (objective.for === 'latency') {
    const logs = points.map(({ p99Ms }) => Math.log(p99Ms));
    const mean = Math.exp(logs.reduce((sum, each) => sum + each, 0) / logs.length);
    const meetsTarget = points.every(({ p99Ms }) => p99Ms <= target);
    return { value: 1 / mean, meetsTarget, at: fastest };
  }
  const good = points.filter(({ p99Ms }) => p99Ms <= target);
  if (good.length === 0) return { value: 1 / fastest.p99Ms, meetsTarget: false, at: fastest };
  const at = good.reduce((best, point) => (point.throughput > best.throughput ? point : best));
  return { value: at.throughput, meetsTarget: true, at };
}

export interface Ranked {
  readonly measurement: Measurement;
  readonly score: Score;
}

/** Best first. Equal ones: fewer threads, then by their names, so that the order is settled. */
export function rank(measurements: readonly Measurement[], objective: Objective): Ranked[] {
  return measurements
    .map((measurement) => ({ measurement, score: scoreOf(measurement, objective) }))
    .sort(
      (a, b) =>
        Number(b.score.meetsTarget) - Number(a.score.meetsTarget) ||
        b.score.value - a.score.value ||
        cost(a) - cost(b) ||
        (keyOf(a.measurement.configuration) < keyOf(b.measurement.configuration) ? -1 : 1),
    );
}

/** Differences of measurements smaller than this say nothing. */
const tieMargin = 0.02;

/**
 * The one to use: of those measured longest, the plainest of the ones within `tieMargin` of the
 * best. Plain is: few threads, one session, no delay, no batches.
 */
export function choose(ranked: readonly Ranked[]): Ranked | undefined {
  const longest = Math.max(...ranked.map(({ measurement }) => measurement.round));
  const final = ranked.filter(({ measurement }) => measurement.round === longest);
  const best = final[0];
  if (best === undefined) return undefined;
  return final
    .filter(
      ({ score }) =>
        score.meetsTarget === best.score.meetsTarget &&
        score.value >= best.score.value * (1 - tieMargin),
    )
    .reduce((plainest, each) => (cost(each) < cost(plainest) ? each : plainest));
}

function cost({ measurement: { configuration } }: Ranked): number {
  const { sessions, batchSize, delayMicros, spin } = configuration;
  return (
    threadsOf(configuration) +
    2 * (sessions - 1) +
    (batchSize > 0 ? 1 : 0) +
    (delayMicros > 0 ? 1 : 0) +
    (spin ? 1 : 0)
  );
}

/** In the first look a configuration has to reach this part of the best to be looked at again. */
export const dominatedBelow = 0.6;

/**
 * Which go on to the next round: the best `keep`, less those that are clearly worse than the best.
 * At least one.
 */
export function survivors(ranked: readonly Ranked[], keep: number): Configuration[] {
  const [best] = ranked;
  if (best === undefined) return [];
  return ranked
    .filter(
      ({ score }, index) =>
        index === 0 ||
        (index < keep &&
          score.meetsTarget === best.score.meetsTarget &&
          score.value >= best.score.value * dominatedBelow),
    )
    .map(({ measurement }) => measurement.configuration);
}
