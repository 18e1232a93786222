/**
 * Several sessions of one model as one Runner. Lanes over one session come first: a pool is for
 * devices, or for sessions that are not to fall together.
 */

import { setTimeout as delay } from 'node:timers/promises';

import { type ErrorSummary, inShort, modelClosed } from '../errors.js';
import {
  type BatchRequest,
  isUnderWay,
  type Runner,
  type RunnerLoad,
  type RunnerOptions,
  type RunRequest,
} from '../runner.js';

/**
 * 'ready' takes runs; 'replacing' has failed repeatedly and its successor is being loaded; 'failed'
 * has had as many successors as a pool tries. The last two take runs only while none is ready.
 */
export type SessionState = 'ready' | 'replacing' | 'failed';

/** One session of a pool: a snapshot of plain numbers, counted by the pool itself. */
export interface SessionStats {
  readonly state: SessionState;
  /** Runs that ended, those of the sessions it replaced included. */
  readonly runs: number;
  /** Of these, the ones that the engine failed: neither callers' mistakes nor stopped runs. */
  readonly failures: number;
  /** Failures since a run of the session in place went well. */
  readonly consecutiveFailures: number;
  /** How often its place was given to a new session. */
  readonly replaced: number;
  /** The last failure of a run, or of loading a successor. */
  readonly lastError: ErrorSummary | undefined;
  readonly lanes: number;
  readonly busyLanes: number;
  /** Runs that wait for one of its lanes. */
  readonly queuedRuns: number;
}

/** What `onSessionReplaced` is told. */
export interface SessionReplacement {
  /** Which session, from 0. */
  readonly session: number;
  /** Whether a new session has taken its place, or the pool has given up trying. */
  readonly outcome: 'replaced' | 'failed';
  /** The run's failure that took it out; where the pool gave up, why its successor did not load. */
  readonly error: unknown;
}

/** Waits between attempts to replace a session that does not stay well. */
export interface BackOff {
  /** Before the second attempt; the first is made at once. */
  readonly firstMs: number;
  /** It doubles up to this. */
  readonly longestMs: number;
  /** Attempts without a run that went well in between, after which the pool gives up. */
  readonly attempts: number;
}

export const defaultBackOff: BackOff = Object.freeze({
  firstMs: 500,
  longestMs: 30_000,
  attempts: 8,
});

/** Milliseconds before the attempt with this number, from 0. */
export function backOffMs(attempt: number, { firstMs, longestMs }: BackOff): number {
  return attempt === 0 ? 0 : Math.min(firstMs * 2 ** (attempt - 1), longestMs);
}

export interface SessionPoolOptions<R extends Runner> {
  /** How many; 2 or more is where a pool begins to make sense. */
  readonly sessions: number;
  /** Loads the session for a place, from 0; again where that is to be replaced. */
  create(session: number, signal: AbortSignal): Promise<R>;
  /** Runs that a session has to pass before it takes traffic. */
  readonly warmUp?: ((runner: R) => Promise<void>) | undefined;
  /** Failures one after another that take a session out; Infinity: never. */
  readonly maxFailures: number;
  /** Whether an error of a run is the session's fault. */
  isFailure(error: unknown): boolean;
  readonly onSessionReplaced?: ((replacement: SessionReplacement) => void) | undefined;
  /** Called with a session whose place was taken, before it is closed. */
  readonly onRetired?: ((runner: R) => void) | undefined;
  readonly backOff?: BackOff;
  /** How attempts wait; resolves or rejects early when the signal is aborted. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * The least loaded by runs under way and waiting for each lane; of equal ones the first from
 * `start` on, so that a caller who moves `start` on goes round.
 */
export function leastLoaded(loads: readonly RunnerLoad[], start: number): number {
  let best = 0;
  let least = Infinity;
  for (let i = 0; i < loads.length; i++) {
    const index = (start + i) % loads.length;
    const { lanes, busy, waiting } = loads[index] as RunnerLoad;
    const load = (busy + waiting) / Math.max(1, lanes);
    if (load < least) {
      least = load;
      best = index;
    }
  }
  return best;
}

interface Place<R extends Runner> {
  readonly index: number;
  runner: R;
  state: SessionState;
  runs: number;
  failures: number;
  consecutiveFailures: number;
  replaced: number;
  lastError: unknown;
  /** Replacements begun since a run went well. */
  attempts: number;
}

/**
 * Sends each run to the session with the least to do. A session whose runs fail `maxFailures`
 * times in a row takes no more of them, and another is loaded in its place; as long as no session
 * is ready the failing ones go on, because a model that fails sometimes is better than none, and
 * because it may be the callers' data that fails. Runs that have begun on a session end there.
 *
 * There is no growing and shrinking with the load: a session takes as long to load as many runs
 * take, an idle one costs memory and no CPU, and engines seldom give memory back.
 */
export class SessionPool<R extends Runner = Runner> implements Runner {
  readonly #options: SessionPoolOptions<R>;
  readonly #places: Place<R>[];
  readonly #running = new Map<number, R>();
  /** Sessions that were replaced and still have runs to end. */
  readonly #retiring = new Map<R, Promise<void>>();
  readonly #replacing = new Set<Promise<void>>();
  readonly #ending = new AbortController();
  #next = 0;
  #closed: Promise<void> | undefined;

  private constructor(options: SessionPoolOptions<R>, runners: readonly R[]) {
    this.#options = options;
    this.#places = runners.map((runner, index) => ({
      index,
      runner,
      state: 'ready',
      runs: 0,
      failures: 0,
      consecutiveFailures: 0,
      replaced: 0,
      lastError: undefined,
      attempts: 0,
    }));
  }

  /**
   * Loads and warms up every session: the first alone, which fails early what cannot be loaded and
   * makes what the others share, then the others at once.
   *
   * @throws What `create` and `warmUp` throw, once every session that was loaded is closed.
   */
  static async create<R extends Runner>(
    options: SessionPoolOptions<R>,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<SessionPool<R>> {
    const first = await makeSession(options, 0, signal);
    const others = await Promise.allSettled(
      Array.from({ length: options.sessions - 1 }, (_, i) => makeSession(options, i + 1, signal)),
    );
    const failure = others.find(({ status }) => status === 'rejected');
    if (failure === undefined) {
      return new SessionPool(options, [first, ...others.map((other) => valueOf(other))]);
    }
    const loaded = others.filter(({ status }) => status === 'fulfilled');
    await Promise.allSettled([first, ...loaded.map(valueOf)].map((runner) => runner.close()));
    throw (failure as PromiseRejectedResult).reason;
  }

  run(request: RunRequest, options: RunnerOptions): ReturnType<Runner['run']> {
    return this.#start(options.ticket, (runner) => runner.run(request, options));
  }

  runBatch(batch: BatchRequest, options: RunnerOptions): ReturnType<Runner['runBatch']> {
    return this.#start(options.ticket, (runner) => runner.runBatch(batch, options));
  }

  #start<Outputs extends readonly unknown[]>(
    ticket: number,
    start: (runner: R) => Outputs | Promise<Outputs>,
  ): Outputs | Promise<Outputs> {
    const place = this.#choose();
    const { runner } = place;
    let started: Outputs | Promise<Outputs>;
    try {
      started = start(runner);
    } catch (error) {
      this.#failed(place, runner, error);
      throw error;
    }
    if (isUnderWay(started)) return this.#watch(place, runner, ticket, started);
    this.#succeeded(place, runner);
    return started;
  }

  cancel(ticket: number): void {
    this.#running.get(ticket)?.cancel(ticket);
  }

  /** Of the sessions that take runs. */
  load(): RunnerLoad {
    let lanes = 0;
    let busy = 0;
    let waiting = 0;
    for (const { runner } of this.#candidates()) {
      const load = runner.load();
      lanes += load.lanes;
      busy += load.busy;
      waiting += load.waiting;
    }
    return { lanes, busy, waiting };
  }

  /** The sessions in place, in order. */
  get sessions(): readonly R[] {
    return this.#places.map(({ runner }) => runner);
  }

  /** One for each session. */
  sessionStats(): SessionStats[] {
    return this.#places.map((place) => {
      const { lanes, busy, waiting } = place.runner.load();
      return {
        state: place.state,
        runs: place.runs,
        failures: place.failures,
        consecutiveFailures: place.consecutiveFailures,
        replaced: place.replaced,
        lastError: place.lastError === undefined ? undefined : inShort(place.lastError),
        lanes,
        busyLanes: busy,
        queuedRuns: waiting,
      };
    });
  }

  close(): Promise<void> {
    return this.#end((runner) => runner.close());
  }

  destroy(): Promise<void> {
    // After close() too: what still drains is stopped.
    if (this.#closed !== undefined) {
      for (const runner of this.#allRunners()) runner.destroy().catch(() => undefined);
      return this.#closed;
    }
    return this.#end((runner) => runner.destroy());
  }

  #end(end: (runner: R) => Promise<void>): Promise<void> {
    this.#closed ??= (async () => {
      this.#ending.abort();
      const ended = await Promise.allSettled([
        ...this.#allRunners().map(end),
        ...this.#replacing,
        ...this.#retiring.values(),
      ]);
      const failure = ended.find(({ status }) => status === 'rejected');
      if (failure !== undefined) throw (failure as PromiseRejectedResult).reason;
    })();
    return this.#closed;
  }

  #allRunners(): R[] {
    return [...this.sessions, ...this.#retiring.keys()];
  }

  #candidates(): Place<R>[] {
    const ready = this.#places.filter(({ state }) => state === 'ready');
    return ready.length > 0 ? ready : this.#places;
  }

  #choose(): Place<R> {
    if (this.#closed !== undefined) {
      throw modelClosed();
    }
    const candidates = this.#candidates();
    const chosen = leastLoaded(
      candidates.map(({ runner }) => runner.load()),
      this.#next % candidates.length,
    );
    this.#next = chosen + 1;
    return candidates[chosen] as Place<R>;
  }

  #watch<T>(place: Place<R>, runner: R, ticket: number, started: Promise<T>): Promise<T> {
    if (ticket !== 0) this.#running.set(ticket, runner);
    return started.then(
      (outputs) => {
        this.#running.delete(ticket);
        this.#succeeded(place, runner);
        return outputs;
      },
      (error: unknown) => {
        this.#running.delete(ticket);
        this.#failed(place, runner, error);
        throw error;
      },
    );
  }

  #succeeded(place: Place<R>, runner: R): void {
    place.runs++;
    if (place.runner !== runner) return;
    place.consecutiveFailures = 0;
    place.attempts = 0;
    if (place.state === 'failed') place.state = 'ready';
  }

  #failed(place: Place<R>, runner: R, error: unknown): void {
    place.runs++;
    if (!this.#options.isFailure(error)) return;
    place.failures++;
    place.lastError = error;
    // A run of the session that was here before says nothing of the one that is.
    if (place.runner !== runner) return;
    place.consecutiveFailures++;
    const isOut = place.consecutiveFailures >= this.#options.maxFailures;
    if (!isOut || place.state !== 'ready' || this.#closed !== undefined) return;
    place.state = 'replacing';
    const replacing = this.#replace(place, error).finally(() => this.#replacing.delete(replacing));
    this.#replacing.add(replacing);
  }

  /** Never rejects: what goes wrong is in the place's `lastError`. */
  async #replace(place: Place<R>, cause: unknown): Promise<void> {
    const { signal } = this.#ending;
    const { backOff = defaultBackOff, wait = sleep } = this.#options;
    while (place.attempts < backOff.attempts) {
      const ms = backOffMs(place.attempts++, backOff);
      let fresh: R;
      try {
        if (ms > 0) await wait(ms, signal);
        signal.throwIfAborted();
        fresh = await makeSession(this.#options, place.index, signal);
      } catch (error) {
        if (signal.aborted) return;
        place.lastError = error;
        continue;
      }
      if (signal.aborted) {
        await fresh.destroy().catch(() => undefined);
        return;
      }
      const old = place.runner;
      place.runner = fresh;
      place.state = 'ready';
      place.consecutiveFailures = 0;
      place.replaced++;
      this.#retire(old);
      this.#report({ session: place.index, outcome: 'replaced', error: cause });
      return;
    }
    place.state = 'failed';
    this.#report({ session: place.index, outcome: 'failed', error: place.lastError });
  }

  #retire(runner: R): void {
    this.#options.onRetired?.(runner);
    const ended = runner.close().then(
      () => undefined,
      () => undefined, // It was failing; nobody waits for its end.
    );
    this.#retiring.set(runner, ended);
    void ended.then(() => this.#retiring.delete(runner));
  }

  #report(replacement: SessionReplacement): void {
    const { onSessionReplaced } = this.#options;
    if (onSessionReplaced === undefined) return;
    // A caller's mistake in here is the caller's uncaught exception, not the pool's end.
    queueMicrotask(() => onSessionReplaced(replacement));
  }
}

async function makeSession<R extends Runner>(
  options: SessionPoolOptions<R>,
  session: number,
  signal: AbortSignal,
): Promise<R> {
  const runner = await options.create(session, signal);
  try {
    await options.warmUp?.(runner);
  } catch (error) {
    await runner.close().catch(() => undefined);
    throw error;
  }
  return runner;
}

async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  // A process that has nothing else to do need not wait for a spare session.
  await delay(ms, undefined, { ref: false, signal });
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  return (settled as PromiseFulfilledResult<T>).value;
}
