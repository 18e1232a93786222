/** So many requests in flight, each followed by the next as soon as it ends. */

import { setMaxListeners } from 'node:events';

import type { Point } from './rank.js';

/** Least requests of a point, where the time limit allows: fewer have no p99 to speak of. */
const leastRuns = 30;
/** Seconds a point may take in multiples of what is asked for, to get those. */
const patience = 4;
/** Part of the time in which nothing is counted, at the beginning of each point. */
const warmUpPart = 0.2;
/** Seconds after which a point of very slow requests ends with what it has. */
const longestSeconds = 20;

export interface LoopOptions {
  readonly inFlight: number;
  readonly seconds: number;
  /** Milliseconds. Default: performance.now. */
  readonly now?: () => number;
}

/**
 * Runs until the time is over and enough have ended, then aborts what is under way. Nothing counts
 * before as many requests have ended as are in flight: only then has each waited behind the others.
 * Rejects where a request does.
 */
export async function closedLoop(
  request: (signal: AbortSignal) => Promise<unknown>,
  { inFlight, seconds, now = () => performance.now() }: LoopOptions,
): Promise<Point> {
  const latencies: number[] = [];
  const over = new AbortController();
  const { signal } = over;
  setMaxListeners(0, signal);
  const start = now();
  const warm = start + seconds * warmUpPart * 1000;
  const giveUp = start + Math.max(longestSeconds, seconds * patience) * 1000;
  const least = Math.max(leastRuns, inFlight);
  let ends = 0;
  let from: number | undefined;
  let last = start;
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      const began = now();
      try {
        await request(signal);
      } catch (error) {
        if (signal.aborted) return;
        over.abort();
        throw error;
      }
      if (signal.aborted) return;
      last = now();
      ends++;
      // Time counts from one end on, so that as many requests as are counted have ended since.
      if (from === undefined) {
        if (last >= warm && ends >= inFlight) from = last;
      } else {
        latencies.push(last - began);
        const elapsed = last - from;
        const isEnough = elapsed >= seconds * 1000 && latencies.length >= least;
        if (isEnough || elapsed >= seconds * patience * 1000) over.abort();
      }
      if (last >= giveUp) over.abort();
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  if (from !== undefined && latencies.length > 0) return pointOf(inFlight, latencies, last - from);
  // So slow that nothing could be counted: what each took follows from how many ended.
  const each = (last - start) / ends;
  return pointOf(inFlight, [each * inFlight], each);
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
