/** So many requests in flight, each followed by the next as soon as it ends. */

import type { Point } from './rank.js';

/** Least requests of a point, where the time limit allows: fewer have no p99 to speak of. */
const leastRuns = 30;
/** Seconds a point may take in multiples of what is asked for, to get those. */
const patience = 4;
/** Part of the time in which nothing is counted, at the beginning of each point. */
const warmUpPart = 0.2;

export interface LoopOptions {
  readonly inFlight: number;
  readonly seconds: number;
  /** Milliseconds. Default: performance.now. */
  readonly now?: () => number;
}

/** Runs until the time is over and enough have ended. Rejects where one request does. */
export async function closedLoop(
  request: () => Promise<unknown>,
  { inFlight, seconds, now = () => performance.now() }: LoopOptions,
): Promise<Point> {
  const latencies: number[] = [];
  const start = now();
  const countFrom = start + seconds * warmUpPart * 1000;
  const end = countFrom + seconds * 1000;
  const latest = countFrom + seconds * patience * 1000;
  const least = Math.max(leastRuns, inFlight);
  let from: number | undefined;
  let last = start;
  let isOver = false;
  const loop = async (): Promise<void> => {
    while (!isOver) {
      const began = now();
      await request();
      const ended = now();
      if (ended < countFrom || isOver) continue;
      // Time counts from the first end on, so that n - 1 requests have ended since.
      if (from === undefined) {
        from = ended;
      } else {
        latencies.push(ended - began);
        last = ended;
      }
      isOver = (ended >= end && latencies.length >= least) || ended >= latest;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  if (from === undefined || latencies.length === 0) {
    // One request alone takes longer than all the patience there is.
    const elapsed = Math.max(1e-3, now() - start);
    return pointOf(inFlight, [elapsed], elapsed / inFlight);
  }
  return pointOf(inFlight, latencies, last - from);
}

/** Of the latencies that ended within `elapsedMs`. */
export function pointOf(inFlight: number, latencies: readonly number[], elapsedMs: number): Point {
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] as number;
  const seconds = Math.max(elapsedMs, 1e-6) / 1000;
  return {
    inFlight,
    runs: sorted.length,
    seconds,
    throughput: sorted.length / seconds,
    meanMs: sorted.reduce((sum, each) => sum + each, 0) / sorted.length,
    p50Ms: quantile(0.5),
    p90Ms: quantile(0.9),
    p99Ms: quantile(0.99),
    maxMs: sorted.at(-1) as number,
  };
}
