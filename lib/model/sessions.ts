/** The engine's sessions behind a model: one with its lanes, or a pool of them. */

import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  EngineName,
  NativeCancel,
  NativeHistogram,
  NativeSession,
  NativeStats,
} from '../native/types.js';
import { SessionPool, type SessionStats } from '../pool/session-pool.js';
import type { Runner } from '../runner.js';
import type { ResolvedLoadOptions } from './load-options.js';
import { NativeRunner } from './native-runner.js';
import { warmUpOf } from './warm-up.js';

export interface Sessions {
  readonly runner: Runner;
  /** Where calls go that a runner has no part in: the first one in place. */
  first(): NativeSession;
  /** Where it is the only one. */
  readonly only: NativeSession | undefined;
  /** Of all together. */
  stats(): NativeStats;
  /** One for each session of a pool; none where there is no pool. */
  sessionStats(): SessionStats[];
  /** Numbers by which other threads attach. */
  share(): number[];
}

function oneSession(session: NativeSession): Sessions {
  return {
    runner: new NativeRunner(session),
    first: () => session,
    only: session,
    stats: () => session.stats(),
    sessionStats: () => [],
    share: () => [session.share()],
  };
}

/**
 * Loads as many sessions as asked for, and warms them up.
 *
 * @param load Called once for each session, again where one is replaced.
 * @param signal Stops the loading; replacements are stopped by the end of the pool.
 */
export async function openSessions(
  engine: EngineName,
  load: (cancel: NativeCancel) => Promise<NativeSession>,
  options: ResolvedLoadOptions,
  signal: AbortSignal,
): Promise<Sessions> {
  const warmUp = warmUpOf(options);
  if (options.sessions === 1) {
    const session = await load(cancelledBy(signal));
    const sessions = oneSession(session);
    try {
      await warmUp?.(session.info, sessions.runner);
    } catch (error) {
      await session.close();
      throw error;
    }
    return sessions;
  }
  // What sessions that are gone had counted.
  let retired: NativeStats | undefined;
  const pool = await SessionPool.create<NativeRunner>(
    {
      sessions: options.sessions,
      create: async (_, stop) => new NativeRunner(await load(cancelledBy(stop))),
      warmUp: warmUp && ((runner) => warmUp(runner.session.info, runner)),
      maxFailures: options.maxFailures,
      isFailure: (error) => isEngineFailure(error, engine),
      onSessionReplaced: options.onSessionReplaced,
      onRetired: ({ session }) => {
        const last = { ...session.stats(), queuedRuns: 0, busyLanes: 0 };
        retired = retired === undefined ? last : mergeStats([retired, last]);
      },
    },
    signal,
  );
  return {
    ...pooled(pool),
    stats: () =>
      mergeStats([
        ...(retired === undefined ? [] : [retired]),
        ...pool.sessions.map(({ session }) => session.stats()),
      ]),
  };
}

/** Attaches to what `share` gave; nothing is replaced here, the thread that loaded does that. */
export async function attachSessions(shares: readonly number[]): Promise<Sessions> {
  const [first, ...others] = shares;
  if (others.length === 0) return oneSession(nativeAddon().attach(first as number));
  return pooled(
    await SessionPool.create<NativeRunner>({
      sessions: shares.length,
      create: (i) =>
        Promise.resolve(shares[i] as number).then(
          (share) => new NativeRunner(nativeAddon().attach(share)),
        ),
      maxFailures: Infinity,
      isFailure: () => false,
    }),
  );
}

function pooled(pool: SessionPool<NativeRunner>): Sessions {
  const first = (): NativeSession => (pool.sessions[0] as NativeRunner).session;
  return {
    runner: pool,
    first,
    only: undefined,
    stats: () => mergeStats(pool.sessions.map(({ session }) => session.stats())),
    sessionStats: () => pool.sessionStats(),
    share: () => pool.sessions.map(({ session }) => session.share()),
  };
}

function cancelledBy(signal: AbortSignal): NativeCancel {
  const addon = nativeAddon();
  const cancel = addon.createCancel();
  if (signal.aborted) addon.cancelLoad(cancel);
  else signal.addEventListener('abort', () => addon.cancelLoad(cancel), { once: true });
  return cancel;
}

/** The engines' numbers for feeds they cannot work with: ORT_INVALID_ARGUMENT; TF_INVALID_ARGUMENT, TF_OUT_OF_RANGE. */
const callersFault: Readonly<Record<EngineName, readonly number[]>> = {
  onnxruntime: [2],
  tensorflow: [3, 11],
};

/** A run that the session, not its feeds, is to blame for, as far as the engine says. */
export function isEngineFailure(error: unknown, engine: EngineName): boolean {
  if (!(error instanceof TenonError)) return false;
  const { code, engineCode } = error;
  if (code === 'ERR_TENON_OUT_OF_MEMORY' || code === 'ERR_TENON_INTERNAL') return true;
  return (
    code === 'ERR_TENON_RUN' &&
    (engineCode === undefined || !callersFault[engine].includes(engineCode))
  );
}

/** Counts are added up. Of several distributions a quantile is at most the largest of theirs. */
export function mergeStats(all: readonly NativeStats[]): NativeStats {
  const sum = (of: (stats: NativeStats) => number): number =>
    all.reduce((total, stats) => total + of(stats), 0);
  return {
    runs: sum((stats) => stats.runs),
    inlineRuns: sum((stats) => stats.inlineRuns),
    failedRuns: sum((stats) => stats.failedRuns),
    cancelledRuns: sum((stats) => stats.cancelledRuns),
    queuedRuns: sum((stats) => stats.queuedRuns),
    busyLanes: sum((stats) => stats.busyLanes),
    queueMicros: mergeHistograms(all.map(({ queueMicros }) => queueMicros)),
    runMicros: mergeHistograms(all.map(({ runMicros }) => runMicros)),
    feedBytesCopied: sum((stats) => stats.feedBytesCopied),
    feedBytesPassed: sum((stats) => stats.feedBytesPassed),
    outputBytesCopied: sum((stats) => stats.outputBytesCopied),
    outputBytesPassed: sum((stats) => stats.outputBytesPassed),
    // Sessions that share a pool have the same lanes.
    lanes: [...new Map(all.flatMap(({ lanes }) => lanes).map((lane) => [lane.id, lane])).values()],
    batches: sum((stats) => stats.batches),
    batchedRuns: sum((stats) => stats.batchedRuns),
    batchRows: sum((stats) => stats.batchRows),
    paddedRows: sum((stats) => stats.paddedRows),
    batchSizes: Array.from(
      { length: Math.max(0, ...all.map(({ batchSizes }) => batchSizes.length)) },
      (_count, i) => sum(({ batchSizes }) => batchSizes[i] ?? 0),
    ),
    gatheredBytes: sum((stats) => stats.gatheredBytes),
    gatherAllocations: sum((stats) => stats.gatherAllocations),
  };
}

function mergeHistograms(all: readonly NativeHistogram[]): NativeHistogram {
  const count = all.reduce((total, histogram) => total + histogram.count, 0);
  const total = all.reduce((sum, histogram) => sum + histogram.count * histogram.mean, 0);
  const largest = (of: (histogram: NativeHistogram) => number): number =>
    Math.max(0, ...all.map(of));
  return {
    count,
    mean: count === 0 ? 0 : total / count,
    p50: largest(({ p50 }) => p50),
    p90: largest(({ p90 }) => p90),
    p99: largest(({ p99 }) => p99),
    max: largest(({ max }) => max),
  };
}
