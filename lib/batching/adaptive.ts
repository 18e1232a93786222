/**
 * Chooses how large batches may be, and how long one waits for more, by what batches were measured
 * to take. Nothing here reads a clock or sets a timer: times come with the calls.
 */

import { Histogram } from './histogram.js';
import type { RunTimes } from './run-times.js';
import { type RunTime } from './run-times.js';

export interface AdaptiveLimits {
  /** 99 of 100 requests are to take no longer, from the call to the result. */
  readonly targetMicros: number;
  readonly maxBatchSize: number;
  readonly maxDelayMicros: number;
  /** Sizes a batch may have; empty: any. */
  readonly allowedBatchSizes: readonly number[];
}

/** What is known when a choice is made. */
export interface Situation {
  readonly times: Pick<RunTimes, 'expected' | 'high' | 'batches' | 'largestRows'>;
  /** Batches that run at a time. */
  readonly lanes: number;
  /** Rows in a batch, of late. */
  readonly meanRows: number;
  /** Rows that come in a second. */
  readonly rowsPerSecond: number;
  /** Share of the lanes' time that runs take, 0 … 1. */
  readonly busyShare: number;
  /** Requests come faster than they are done: full batches leave others behind. */
  readonly isOverloaded: boolean;
  /** Share of the target that may be planned with; falls where the target was missed. */
  readonly headroom: number;
}

export interface Choice {
  readonly maxBatchSize: number;
  readonly delayMicros: number;
  readonly why: string;
}

/** Batches before anything is concluded from them. */
const minBatches = 4;
/** The size to begin with. */
const firstSize = 8;
/** Throughput that counts as the same: the smaller batch is then the better one. */
const same = 0.02;
/** From this share on, lanes are what there is too little of. */
const saturated = 0.8;

/**
 * The size with the most rows a second among those whose worst case meets the target: a request
 * comes just after a batch of that size has left, waits for it to end, and runs in the next.
 *
 * A delay makes sense only where lanes have no time left and batches are small all the same,
 * because several lanes take from one queue; it is what it takes to fill a batch, at most what the
 * target leaves.
 */
export function chooseBatching(
  { targetMicros, maxBatchSize, maxDelayMicros, allowedBatchSizes }: AdaptiveLimits,
  { times, lanes, meanRows, rowsPerSecond, busyShare, isOverloaded, headroom }: Situation,
): Choice {
  const sizes = candidateSizes(maxBatchSize, allowedBatchSizes);
  if (times.batches < minBatches) {
    const first = sizes.findLast((size) => size <= firstSize) ?? sizes[0] ?? 1;
    return { maxBatchSize: first, delayMicros: 0, why: 'too few batches have been measured' };
  }
  // Beyond what was measured times are a guess: a step at a time.
  const larger = sizes.findIndex((size) => size > times.largestRows);
  const known = larger < 0 ? sizes : sizes.slice(0, larger + 1);
  const throughput = (size: number): number => size / Math.max(1, times.expected(size));
  // Where others wait anyway, only a batch's own time can still be chosen.
  const rounds = isOverloaded ? 1 : 2;
  const budget = targetMicros * headroom;
  const feasible = known.filter((size) => rounds * times.high(size) <= budget);
  const best = (among: readonly number[]): number => {
    const most = Math.max(...among.map(throughput));
    return among.find((size) => throughput(size) >= most * (1 - same)) as number;
  };
  const ms = (micros: number): string => `${(micros / 1000).toPrecision(3)} ms`;
  if (feasible.length === 0) {
    const size = best(known);
    return {
      maxBatchSize: size,
      delayMicros: 0,
      why: `a batch of ${sizes[0]} already takes up to ${ms(times.high(sizes[0] as number))} of the ${ms(targetMicros)}: ${size} has the most throughput`,
    };
  }
  const size = best(feasible);
  const next = sizes.find((other) => other > size);
  const limit =
    next === undefined
      ? 'it is the largest allowed'
      : feasible.includes(next)
        ? `${next} would bring no more throughput`
        : !known.includes(next)
          ? `${next} comes when this is measured`
          : `${next} would take up to ${rounds} × ${ms(times.high(next))}`;
  const why = `${rounds} × ${ms(times.high(size))} for ${size} rows is within ${ms(budget)}; ${limit}`;

  const missing = size - meanRows;
  const gain = throughput(size) / Math.max(Number.MIN_VALUE, throughput(Math.max(1, meanRows)));
  if (lanes < 2 || isOverloaded || busyShare < saturated || missing < size / 2 || gain < 1.1) {
    return { maxBatchSize: size, delayMicros: 0, why };
  }
  const fill = (missing / Math.max(1, rowsPerSecond)) * 1e6;
  const left = budget - 2 * times.high(size);
  const delayMicros = Math.max(0, Math.floor(Math.min(fill, left, maxDelayMicros)));
  return {
    maxBatchSize: size,
    delayMicros,
    why: `${why}; batches of ${meanRows.toFixed(1)} rows keep the lanes busy, so they wait up to ${delayMicros} µs for more`,
  };
}

/** Powers of two up to `maxBatchSize` and that itself, or the allowed ones. */
export function candidateSizes(
  maxBatchSize: number,
  allowedBatchSizes: readonly number[],
): readonly number[] {
  if (allowedBatchSizes.length > 0) return allowedBatchSizes;
  const sizes: number[] = [];
  for (let size = 1; size < maxBatchSize; size *= 2) sizes.push(size);
  return [...sizes, maxBatchSize];
}

/** Down by a fifth where the target was missed and smaller batches would help; slowly up again. */
export function nextHeadroom(
  headroom: number,
  p99Micros: number,
  targetMicros: number,
  isOverloaded: boolean,
): number {
  if (isOverloaded) return Math.min(1, headroom * 1.1);
  if (p99Micros > targetMicros) return Math.max(0.2, headroom * 0.8);
  return p99Micros < 0.8 * targetMicros ? Math.min(1, headroom * 1.1) : headroom;
}

export interface AdaptiveStats {
  readonly targetLatencyMs: number;
  readonly maxBatchSize: number;
  readonly delayMicros: number;
  /** Why these, in words. */
  readonly why: string;
  /** What batches were measured to take. */
  readonly times: readonly RunTime[];
  /** 99 of 100 requests took no longer, of late, in microseconds. */
  readonly p99Micros: number;
  /** Share of the target that is planned with. */
  readonly headroom: number;
}

/** Batches between two choices. */
const period = 16;

/** A choice that is made anew every so many batches. */
export class Adaptive {
  readonly times: RunTimes;
  readonly #limits: AdaptiveLimits;
  readonly #latencies = new Histogram();
  #choice: Choice;
  #headroom = 1;
  #p99Micros = 0;
  // Since the last choice.
  #sinceMicros: number;
  #batches = 0;
  #rows = 0;
  #busyMicros = 0;
  #leftBehind = 0;

  constructor(limits: AdaptiveLimits, times: RunTimes, nowMicros: number) {
    this.#limits = limits;
    this.times = times;
    this.#sinceMicros = nowMicros;
    this.#choice = chooseBatching(limits, {
      times,
      lanes: 1,
      meanRows: 0,
      rowsPerSecond: 0,
      busyShare: 0,
      isOverloaded: false,
      headroom: 1,
    });
  }

  get maxBatchSize(): number {
    return this.#choice.maxBatchSize;
  }

  get delayMicros(): number {
    return this.#choice.delayMicros;
  }

  /** A request's time from the call to its result. */
  noteLatency(micros: number): void {
    this.#latencies.add(micros);
  }

  /**
   * A batch that ended and is in `times` already.
   *
   * @param queuedRows Rows that still waited when it ended.
   */
  noteBatch(
    rows: number,
    runMicros: number,
    queuedRows: number,
    lanes: number,
    nowMicros: number,
  ): void {
    this.#batches++;
    this.#rows += rows;
    this.#busyMicros += runMicros;
    if (queuedRows >= 2 * this.#choice.maxBatchSize) this.#leftBehind++;
    const isNew = this.times.batches <= period;
    if (this.#batches < (isNew ? minBatches : period)) return;
    const elapsed = Math.max(1, nowMicros - this.#sinceMicros);
    const isOverloaded = this.#leftBehind > this.#batches / 2;
    if (this.#latencies.count >= 100) {
      this.#p99Micros = this.#latencies.quantile(0.99);
      this.#headroom = nextHeadroom(
        this.#headroom,
        this.#p99Micros,
        this.#limits.targetMicros,
        isOverloaded,
      );
      this.#latencies.clear();
    }
    this.#choice = chooseBatching(this.#limits, {
      times: this.times,
      lanes,
      meanRows: this.#rows / this.#batches,
      rowsPerSecond: (this.#rows / elapsed) * 1e6,
      busyShare: Math.min(1, this.#busyMicros / (elapsed * lanes)),
      isOverloaded,
      headroom: this.#headroom,
    });
    this.#sinceMicros = nowMicros;
    this.#batches = this.#rows = this.#busyMicros = this.#leftBehind = 0;
  }

  stats(): AdaptiveStats {
    return {
      targetLatencyMs: this.#limits.targetMicros / 1000,
      ...{ maxBatchSize: this.maxBatchSize, delayMicros: this.delayMicros, why: this.#choice.why },
      times: this.times.table(),
      p99Micros: this.#p99Micros,
      headroom: this.#headroom,
    };
  }
}
