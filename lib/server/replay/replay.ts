/** Sends recorded requests again, and tells how far the answers lie from those they had. */

import { setTimeout as after } from 'node:timers/promises';

import { StatusError } from '../../codec/status.js';
import { compareAnswers, type ComparedAnswer } from '../traffic/compare.js';
import type { RecordedRequest } from './records.js';
import { comparedResponse } from './requests.js';
import { aligned } from './rest-answer.js';
import type { Target } from './targets.js';

export interface ReplayOptions {
  readonly target: Target;
  /** Gets each request as well, and its answer is what is expected; else the recorded one is. */
  readonly against?: Target | undefined;
  /** Requests at the same time. */
  readonly concurrency: number;
  /** How often each is sent. */
  readonly repeat: number;
  /** Requests a second at most; undefined: as fast as they are answered. */
  readonly rate?: number | undefined;
  readonly signal: AbortSignal;
  readonly onProgress?: (sent: number, of: number) => void;
}

export interface Latencies {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface TargetResult {
  readonly target: string;
  readonly answered: number;
  readonly failed: number;
  /** What requests failed with, and how many did; the most frequent first. */
  readonly failures: readonly { readonly reason: string; readonly count: number }[];
  /** Of requests that were answered; undefined where none was. */
  readonly latencies: Latencies | undefined;
}

export interface ReplayResult {
  readonly requests: number;
  readonly seconds: number;
  readonly target: TargetResult;
  readonly against: TargetResult | undefined;
  readonly compared: number;
  /** Compared with nothing: no answer was recorded. */
  readonly unknown: number;
  readonly mismatched: number;
  readonly mismatches: readonly { readonly reason: string; readonly count: number }[];
  readonly maxAbsError: number;
  /** The request that it was of. */
  readonly worst: string | undefined;
  readonly rows: number;
  readonly agreeingRows: number;
}

/** Reasons that are told apart. */
const maxReasons = 100;

/** @throws The signal's reason. */
export async function replay(
  requests: readonly RecordedRequest[],
  { target, against, concurrency, repeat, rate, signal, onProgress }: ReplayOptions,
): Promise<ReplayResult> {
  const count = requests.length * repeat;
  const own = new Tally();
  const other = new Tally();
  const mismatches = new Reasons();
  let compared = 0;
  let unknown = 0;
  let maxAbsError = 0;
  let worst: string | undefined;
  let rows = 0;
  let agreeingRows = 0;
  let next = 0;
  const started = performance.now();

  const sendOne = async (request: RecordedRequest): Promise<void> => {
    const [actual, beside] = await Promise.all([
      own.measure(target, request, signal),
      against === undefined ? undefined : other.measure(against, request, signal),
    ]);
    signal.throwIfAborted();
    if (actual === undefined) return;
    let expected: ComparedAnswer | undefined = beside;
    try {
      if (against === undefined && request.response !== undefined) {
        expected = comparedResponse(request.kind, request.response);
      }
    } catch (error) {
      mismatches.add(`the recorded answer is none: ${(error as Error).message}`);
      return;
    }
    if (expected === undefined) {
      if (against === undefined) unknown++;
      return;
    }
    const result = await compareAnswers(...aligned(expected, actual));
    if (result.mismatch !== undefined) {
      mismatches.add(result.mismatch);
      return;
    }
    compared++;
    rows += result.rows;
    agreeingRows += result.agreeingRows;
    if (result.maxAbsError > maxAbsError) {
      ({ maxAbsError } = result);
      worst = `record ${request.number} of ${request.file}`;
    }
  };

  const sendAll = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      if (rate !== undefined) {
        const waitMs = started + (index * 1000) / rate - performance.now();
        if (waitMs > 0) await after(waitMs, undefined, { signal });
      }
      signal.throwIfAborted();
      await sendOne(requests[index % requests.length] as RecordedRequest);
      onProgress?.(index + 1, count);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, sendAll));
  return {
    requests: count,
    seconds: (performance.now() - started) / 1000,
    target: own.result(target.name),
    against: against && other.result(against.name),
    compared,
    unknown,
    mismatched: mismatches.total,
    mismatches: mismatches.list(),
    maxAbsError,
    worst,
    rows,
    agreeingRows,
  };
}

class Reasons {
  readonly #counts = new Map<string, number>();
  total = 0;

  add(reason: string): void {
    this.total++;
    const own = this.#counts.has(reason) || this.#counts.size < maxReasons ? reason : 'others';
    this.#counts.set(own, (this.#counts.get(own) ?? 0) + 1);
  }

  list(): { reason: string; count: number }[] {
    return [...this.#counts]
      .map(([reason, count]) => ({ reason, count }))
      .sort((a, b) => b.count - a.count);
  }
}

class Tally {
  readonly #millis: number[] = [];
  readonly #failures = new Reasons();

  /** Undefined where it failed. */
  async measure(
    target: Target,
    request: RecordedRequest,
    signal: AbortSignal,
  ): Promise<ComparedAnswer | undefined> {
    const started = performance.now();
    try {
      const answer = await target.send(request, signal);
      this.#millis.push(performance.now() - started);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      const { message } = error as Error;
      const status = error instanceof StatusError ? error.status : 'UNKNOWN';
      this.#failures.add(message.startsWith('HTTP ') ? message : `${status}: ${message}`);
      return undefined;
    }
  }

  result(target: string): TargetResult {
    const sorted = Float64Array.from(this.#millis).sort();
    const at = (part: number): number =>
      sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] as number;
    return {
      target,
      answered: sorted.length,
      failed: this.#failures.total,
      failures: this.#failures.list(),
      latencies:
        sorted.length === 0
          ? undefined
          : { p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), maxMs: at(1) },
    };
  }
}
