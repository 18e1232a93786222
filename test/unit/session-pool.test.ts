import { describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/errors.js';
import type { NativeOutputs } from '../../lib/native/types.js';
import {
  backOffMs,
  defaultBackOff,
  leastLoaded,
  SessionPool,
  type SessionPoolOptions,
  type SessionReplacement,
} from '../../lib/pool/session-pool.js';
import type {
  BatchOutputs,
  BatchRequest,
  Runner,
  RunnerLoad,
  RunnerOptions,
  RunRequest,
} from '../../lib/runner.js';
import { errorOf } from '../helpers/errors.js';

const request: RunRequest = {
  signature: 0,
  inputs: [],
  feeds: [],
  outputs: [],
  targets: undefined,
};
const nobody: RunnerOptions = {
  ticket: 0,
  priority: 0,
  borrow: false,
  deadline: 0,
  caller: undefined,
};
const outputs: NativeOutputs = [];

interface Deferred {
  resolve(): void;
  reject(error: Error): void;
}

/** A session whose runs end when the test says so; `inline` ones end at once. */
class FakeSession implements Runner {
  readonly runs: (Deferred & RunnerOptions)[] = [];
  readonly batches: BatchRequest[] = [];
  readonly cancelled: number[] = [];
  calls = 0;
  waiting = 0;
  inline = false;
  failure: unknown;
  ended: 'closed' | 'destroyed' | undefined;
  endFailure: unknown;
  #active = 0;

  constructor(
    readonly session: number,
    readonly lanes = 1,
  ) {}

  run(_request: RunRequest, options: RunnerOptions): NativeOutputs | Promise<NativeOutputs> {
    this.calls++;
    if (this.inline) {
      if (this.failure !== undefined) throw this.failure as Error;
      return outputs;
    }
    this.#active++;
    return new Promise((resolve, reject) => {
      this.runs.push({
        ...options,
        resolve: () => {
          this.#active--;
          resolve(outputs);
        },
        reject: (error) => {
          this.#active--;
          reject(error);
        },
      });
    });
  }

  async runBatch(batch: BatchRequest, options: RunnerOptions): Promise<BatchOutputs> {
    this.batches.push(batch);
    const one = await this.run({ ...batch, feeds: [], targets: undefined }, options);
    return batch.members.map(() => one);
  }

  cancel(ticket: number): void {
    this.cancelled.push(ticket);
  }

  load(): RunnerLoad {
    return { lanes: this.lanes, busy: this.#active, waiting: this.waiting };
  }

  close(): Promise<void> {
    this.ended ??= 'closed';
    return this.#end();
  }

  destroy(): Promise<void> {
    this.ended = 'destroyed';
    return this.#end();
  }

  async #end(): Promise<void> {
    await Promise.resolve();
    if (this.endFailure !== undefined) throw this.endFailure as Error;
  }
}

/** Matches an error with this text. */
const thrown = (message: string): unknown => expect.objectContaining({ message });

const engineFailure = (text = 'broken'): TenonError => new TenonError('ERR_TENON_RUN', text);

interface Made {
  pool: SessionPool<FakeSession>;
  /** Every session that was made, in order. */
  made: FakeSession[];
  waits: number[];
  replaced: SessionReplacement[];
  /** What `create` does from now on. */
  creating: { create: (session: number) => Promise<FakeSession> };
}

async function makePool(
  sessions: number,
  options: Partial<SessionPoolOptions<FakeSession>> = {},
): Promise<Made> {
  const made: FakeSession[] = [];
  const waits: number[] = [];
  const replaced: SessionReplacement[] = [];
  const creating: Made['creating'] = {
    create: (session) => Promise.resolve(new FakeSession(session)),
  };
  const pool = await SessionPool.create<FakeSession>({
    sessions,
    async create(session) {
      const runner = await creating.create(session);
      made.push(runner);
      return runner;
    },
    maxFailures: 2,
    isFailure: (error) => (error as { code?: unknown }).code === 'ERR_TENON_RUN',
    onSessionReplaced: (replacement) => replaced.push(replacement),
    wait: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
    ...options,
  });
  return { pool, made, waits, replaced, creating };
}

/** Until all that can go on by itself has gone on. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets runs of one session fail `count` times. */
async function failRuns(pool: SessionPool<FakeSession>, session: FakeSession, count: number) {
  const others = pool.sessions.filter((other) => other !== session);
  for (const other of others) other.waiting += 1000;
  for (let i = 0; i < count; i++) {
    const run = pool.run(request, nobody);
    session.runs.at(-1)?.reject(engineFailure());
    await errorOf(() => Promise.resolve(run));
  }
  for (const other of others) other.waiting -= 1000;
  await settle();
}

describe('leastLoaded', () => {
  const load = (busy: number, waiting = 0, lanes = 1): RunnerLoad => ({ lanes, busy, waiting });

  it('takes the one with the least to do for each lane', () => {
    expect(leastLoaded([load(1), load(0), load(1)], 0)).toBe(1);
    expect(leastLoaded([load(1, 3), load(1, 1)], 0)).toBe(1);
    expect(leastLoaded([load(2, 0, 4), load(1, 0, 1)], 0)).toBe(0);
  });

  it('takes the first from the start on among equal ones, and goes round the end', () => {
    const loads = [load(0), load(0), load(0)];
    expect([0, 1, 2].map((start) => leastLoaded(loads, start))).toEqual([0, 1, 2]);
    expect(leastLoaded([load(0), load(0), load(5)], 2)).toBe(0);
  });

  it('takes a session without lanes for one with one', () => {
    expect(leastLoaded([load(1, 0, 0), load(0, 0, 0)], 0)).toBe(1);
  });
});

describe('backOffMs', () => {
  it('tries at once, then doubles its wait up to the longest', () => {
    const backOff = { firstMs: 100, longestMs: 500, attempts: 9 };
    expect([0, 1, 2, 3, 4, 20].map((attempt) => backOffMs(attempt, backOff))).toEqual([
      0, 100, 200, 400, 500, 500,
    ]);
  });
});

describe('a pool', () => {
  it('goes round sessions that are equally loaded', async () => {
    const { pool, made } = await makePool(3);
    for (let i = 0; i < 6; i++) void pool.run(request, nobody);
    expect(made.map(({ calls }) => calls)).toEqual([2, 2, 2]);
  });

  it('goes round them for runs that end at once, too', async () => {
    const { pool, made } = await makePool(2);
    for (const session of made) session.inline = true;
    for (let i = 0; i < 4; i++) expect(pool.run(request, nobody)).toBe(outputs);
    expect(made.map(({ calls }) => calls)).toEqual([2, 2]);
  });

  it('sends a run to the session with the least to do', async () => {
    const { pool, made } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    first.waiting = 3;
    void pool.run(request, nobody);
    void pool.run(request, nobody);
    expect([first.calls, second.calls]).toEqual([0, 2]);
  });

  it('passes options on, and finds the session of a ticket', async () => {
    const { pool, made } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    void pool.run(request, { ...nobody, ticket: 7, priority: 3, borrow: true });
    void pool.run(request, { ...nobody, ticket: 8 });
    expect(first.runs[0]).toMatchObject({ ticket: 7, priority: 3, borrow: true });
    pool.cancel(8);
    pool.cancel(7);
    pool.cancel(9);
    expect([first.cancelled, second.cancelled]).toEqual([[7], [8]]);
  });

  it('sends a batch where it sends a run', async () => {
    const { pool, made } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    void pool.run(request, nobody);
    const layout = { rows: 2, shapes: [], padValues: [], masks: [], trims: [] };
    const batch: BatchRequest = {
      signature: 0,
      inputs: [],
      members: [[], []],
      outputs: [],
      layout,
    };
    const ran = pool.runBatch(batch, { ...nobody, ticket: 9 });
    expect([first.batches, second.batches]).toEqual([[], [batch]]);
    pool.cancel(9);
    expect(second.cancelled).toEqual([9]);
    second.runs[0]?.resolve();
    expect(await ran).toEqual([outputs, outputs]);
  });

  it('forgets a ticket when its run has ended', async () => {
    const { pool, made } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    const good = pool.run(request, { ...nobody, ticket: 7 });
    const bad = pool.run(request, { ...nobody, ticket: 8 });
    first.runs[0]?.resolve();
    second.runs[0]?.reject(engineFailure());
    await Promise.allSettled([good, bad]);
    pool.cancel(7);
    pool.cancel(8);
    expect([first.cancelled, second.cancelled]).toEqual([[], []]);
  });

  it('adds up what its sessions have to do', async () => {
    const { pool, made } = await makePool(2);
    for (const session of made) session.waiting = 2;
    void pool.run(request, nobody);
    expect(pool.load()).toEqual({ lanes: 2, busy: 1, waiting: 4 });
  });

  it('gives outputs and errors as they are', async () => {
    const { pool, made } = await makePool(2);
    const good = pool.run(request, nobody);
    made[0]?.runs[0]?.resolve();
    expect(await good).toBe(outputs);
    const bad = Promise.resolve(pool.run(request, nobody));
    const error = engineFailure();
    made[1]?.runs[0]?.reject(error);
    expect(await errorOf(() => bad)).toBe(error);
  });
});

describe('loading a pool', () => {
  it('warms every session up before it is there', async () => {
    const warm: number[] = [];
    const { pool } = await makePool(3, {
      warmUp: (runner) => {
        warm.push(runner.session);
        return Promise.resolve();
      },
    });
    expect(warm).toEqual([0, 1, 2]);
    expect(pool.sessionStats().map(({ runs }) => runs)).toEqual([0, 0, 0]);
  });

  it('fails with the warm-up’s error, and closes what was loaded', async () => {
    const made: FakeSession[] = [];
    const error = engineFailure('cold');
    const failing = makePool(3, {
      create: (session) => {
        const runner = new FakeSession(session);
        made.push(runner);
        return Promise.resolve(runner);
      },
      warmUp: (runner) => (runner.session === 1 ? Promise.reject(error) : Promise.resolve()),
    });
    expect(await errorOf(() => failing)).toBe(error);
    expect(made.map(({ ended }) => ended)).toEqual(['closed', 'closed', 'closed']);
  });

  it('tries one session first, so that what cannot be loaded is tried once', async () => {
    let attempts = 0;
    const error = new TenonError('ERR_TENON_MODEL_INVALID', 'no model');
    const failing = makePool(4, {
      create: () => {
        attempts++;
        return Promise.reject(error);
      },
    });
    expect(await errorOf(() => failing)).toBe(error);
    expect(attempts).toBe(1);
  });

  it('hands the signal on', async () => {
    const signals: AbortSignal[] = [];
    const { signal } = new AbortController();
    await SessionPool.create(
      {
        sessions: 2,
        create: (session, given) => {
          signals.push(given);
          return Promise.resolve(new FakeSession(session));
        },
        maxFailures: 1,
        isFailure: () => true,
      },
      signal,
    );
    expect(signals).toEqual([signal, signal]);
  });
});

describe('a session that fails repeatedly', () => {
  it('is replaced, reported, and closed', async () => {
    const { pool, made, replaced } = await makePool(2);
    const [first] = made as [FakeSession];
    await failRuns(pool, first, 2);
    expect(made).toHaveLength(3);
    expect(pool.sessions[0]).toBe(made[2]);
    expect(made[2]?.session).toBe(0);
    expect(first.ended).toBe('closed');
    expect(replaced).toEqual([{ session: 0, outcome: 'replaced', error: thrown('broken') }]);
    expect(pool.sessionStats()[0]).toEqual({
      state: 'ready',
      runs: 2,
      failures: 2,
      consecutiveFailures: 0,
      replaced: 1,
      lastError: { code: 'ERR_TENON_RUN', message: 'broken' },
      lanes: 1,
      busyLanes: 0,
      queuedRuns: 0,
    });
  });

  it('is warmed up anew, and tried again where that fails', async () => {
    let isCold = false;
    let warmUps = 0;
    const { pool, made, waits } = await makePool(2, {
      warmUp: () => {
        warmUps++;
        const fails = isCold;
        isCold = false;
        return fails ? Promise.reject(engineFailure('cold')) : Promise.resolve();
      },
      backOff: { firstMs: 100, longestMs: 1000, attempts: 5 },
    });
    isCold = true;
    await failRuns(pool, made[0] as FakeSession, 2);
    expect(warmUps).toBe(4);
    expect(waits).toEqual([100]);
    expect(made.map(({ ended }) => ended)).toEqual(['closed', undefined, 'closed', undefined]);
  });

  it('takes no runs while another is ready', async () => {
    const { pool, made, creating } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    creating.create = () => new Promise(() => undefined);
    await failRuns(pool, first, 2);
    expect(pool.sessionStats().map(({ state }) => state)).toEqual(['replacing', 'ready']);
    second.waiting = 50;
    void pool.run(request, nobody);
    expect([first.calls, second.calls]).toEqual([2, 1]);
    expect(pool.load()).toEqual({ lanes: 1, busy: 1, waiting: 50 });
  });

  it('goes on where no other is ready', async () => {
    const { pool, made, creating } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    creating.create = () => new Promise(() => undefined);
    await failRuns(pool, first, 2);
    await failRuns(pool, second, 2);
    expect(pool.sessionStats().map(({ state }) => state)).toEqual(['replacing', 'replacing']);
    const run = pool.run(request, nobody);
    expect(first.calls + second.calls).toBe(5);
    (first.calls === 3 ? first : second).runs.at(-1)?.resolve();
    expect(await run).toBe(outputs);
  });

  it('counts failures in a row only', async () => {
    const { pool, made } = await makePool(2);
    const [first] = made as [FakeSession];
    await failRuns(pool, first, 1);
    const run = pool.run(request, nobody);
    const other = pool.run(request, nobody);
    for (const session of made) session.runs.at(-1)?.resolve();
    await Promise.all([run, other]);
    await failRuns(pool, first, 1);
    expect(made).toHaveLength(2);
    expect(pool.sessionStats()[0]).toMatchObject({ failures: 2, consecutiveFailures: 1 });
  });

  it('counts neither callers’ mistakes nor stopped runs', async () => {
    const { pool, made } = await makePool(2);
    for (const code of ['ERR_TENON_ABORTED', 'ERR_TENON_SHAPE', 'ERR_TENON_TIMEOUT'] as const) {
      const run = pool.run(request, nobody);
      for (const session of made) session.runs.at(-1)?.reject(new TenonError(code, 'mistake'));
      await errorOf(() => Promise.resolve(run));
    }
    await settle();
    expect(made).toHaveLength(2);
    expect(pool.sessionStats().map(({ failures }) => failures)).toEqual([0, 0]);
  });

  it('counts runs that fail on the calling thread', async () => {
    const { pool, made } = await makePool(2);
    for (const session of made) {
      session.inline = true;
      session.failure = engineFailure();
    }
    for (let i = 0; i < 4; i++) expect(() => pool.run(request, nobody)).toThrow('broken');
    await settle();
    expect(made).toHaveLength(4);
    expect(pool.sessionStats().map(({ replaced }) => replaced)).toEqual([1, 1]);
  });

  it('lets its own last runs end, which say nothing of its successor', async () => {
    const { pool, made } = await makePool(2);
    const [first, second] = made as [FakeSession, FakeSession];
    second.waiting = 1000;
    const late = [pool.run(request, nobody), pool.run(request, nobody)];
    second.waiting = 0;
    await failRuns(pool, first, 2);
    expect(pool.sessionStats()[0]?.replaced).toBe(1);
    first.runs[0]?.reject(engineFailure('late'));
    first.runs[1]?.resolve();
    await Promise.allSettled(late.map((run) => Promise.resolve(run)));
    expect(pool.sessionStats()[0]).toMatchObject({
      runs: 4,
      failures: 3,
      consecutiveFailures: 0,
      lastError: { message: 'late' },
    });
  });

  it('is waited for longer and longer, and given up', async () => {
    const { pool, made, waits, replaced, creating } = await makePool(2, {
      backOff: { firstMs: 100, longestMs: 300, attempts: 4 },
    });
    creating.create = () => Promise.reject(new TenonError('ERR_TENON_OUT_OF_MEMORY', 'full'));
    await failRuns(pool, made[0] as FakeSession, 2);
    expect(waits).toEqual([100, 200, 300]);
    expect(pool.sessionStats()[0]).toMatchObject({
      state: 'failed',
      replaced: 0,
      lastError: { code: 'ERR_TENON_OUT_OF_MEMORY', message: 'full' },
    });
    expect(replaced).toEqual([{ session: 0, outcome: 'failed', error: thrown('full') }]);
  });

  it('is not replaced for ever by sessions that fail as well', async () => {
    const { pool, made, waits } = await makePool(2, {
      backOff: { firstMs: 100, longestMs: 300, attempts: 2 },
    });
    for (let i = 0; i < 3; i++) await failRuns(pool, pool.sessions[0] as FakeSession, 2);
    expect(pool.sessionStats()[0]).toMatchObject({ state: 'failed', replaced: 2 });
    expect(waits).toEqual([100]);
    expect(made).toHaveLength(4);
  });

  it('is ready again where it was given up and a run goes well', async () => {
    const { pool, made, creating } = await makePool(2, {
      backOff: { firstMs: 100, longestMs: 300, attempts: 1 },
    });
    creating.create = () => Promise.reject(new Error('gone'));
    for (const session of [...made]) await failRuns(pool, session, 2);
    expect(pool.sessionStats().map(({ state }) => state)).toEqual(['failed', 'failed']);
    expect(pool.sessionStats()[0]?.lastError).toEqual({ code: undefined, message: 'gone' });
    const run = pool.run(request, nobody);
    for (const session of made) session.runs.at(-1)?.resolve();
    await run;
    expect(pool.sessionStats().filter(({ state }) => state === 'ready')).toHaveLength(1);
  });

  it('is never replaced where failures are not counted', async () => {
    const { pool, made } = await makePool(2, { maxFailures: Infinity });
    await failRuns(pool, made[0] as FakeSession, 20);
    expect(made).toHaveLength(2);
  });
});

describe('the end of a pool', () => {
  it('closes every session, lets runs end, and refuses new ones', async () => {
    const { pool, made } = await makePool(2);
    const run = pool.run(request, nobody);
    const closed = pool.close();
    expect(() => pool.run(request, nobody)).toThrow(
      expect.objectContaining({ code: 'ERR_TENON_MODEL_CLOSED' }),
    );
    made[0]?.runs[0]?.resolve();
    expect(await run).toBe(outputs);
    await closed;
    expect(made.map(({ ended }) => ended)).toEqual(['closed', 'closed']);
    expect(pool.close()).toBe(closed);
  });

  it('destroys every session, those that drain included', async () => {
    const { pool, made } = await makePool(2);
    await failRuns(pool, made[0] as FakeSession, 2);
    await pool.destroy();
    expect(made.map(({ ended }) => ended)).toEqual(['closed', 'destroyed', 'destroyed']);
  });

  it('destroys what still drains after a close', async () => {
    const { pool, made } = await makePool(2);
    const closed = pool.close();
    expect(pool.destroy()).toBe(closed);
    await closed;
    expect(made.map(({ ended }) => ended)).toEqual(['destroyed', 'destroyed']);
  });

  it('rejects with what closing a session rejects with, once all have ended', async () => {
    const { pool, made } = await makePool(2);
    const error = new TenonError('ERR_TENON_INTERNAL', 'stuck');
    (made[0] as FakeSession).endFailure = error;
    expect(await errorOf(() => pool.close())).toBe(error);
    expect(made[1]?.ended).toBe('closed');
  });

  it('stops a wait for the next attempt', async () => {
    const { pool, made, creating } = await makePool(2, {
      wait: (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    });
    creating.create = () => Promise.reject(new Error('gone'));
    await failRuns(pool, made[0] as FakeSession, 2);
    await pool.close();
    expect(pool.sessionStats()[0]?.state).toBe('replacing');
  });

  it('ends a session that comes too late', async () => {
    const { pool, made, creating } = await makePool(2);
    const late = new FakeSession(0);
    let arrive: () => void = () => undefined;
    creating.create = () =>
      new Promise((resolve) => {
        arrive = () => resolve(late);
      });
    await failRuns(pool, made[0] as FakeSession, 2);
    const closed = pool.close();
    arrive();
    await closed;
    expect(late.ended).toBe('destroyed');
    expect(pool.sessions).not.toContain(late);
  });

  it('replaces nothing any more', async () => {
    const { pool, made } = await makePool(2);
    const runs = [1, 2, 3, 4].map(() => pool.run(request, nobody));
    const closed = pool.close();
    for (const session of made) for (const run of session.runs) run.reject(engineFailure());
    await Promise.allSettled(runs.map((run) => Promise.resolve(run)));
    await closed;
    await settle();
    expect(made).toHaveLength(2);
  });

  it('waits for the default back-off without holding the process, until closed', async () => {
    expect(defaultBackOff).toEqual({ firstMs: 500, longestMs: 30_000, attempts: 8 });
    const made: FakeSession[] = [];
    const pool = await SessionPool.create<FakeSession>({
      sessions: 2,
      create: (session) => {
        if (made.length >= 2) return Promise.reject(new Error('gone'));
        made.push(new FakeSession(session));
        return Promise.resolve(made.at(-1) as FakeSession);
      },
      maxFailures: 1,
      isFailure: () => true,
    });
    await failRuns(pool, made[0] as FakeSession, 1);
    await pool.close();
    expect(pool.sessionStats()[0]).toMatchObject({ state: 'replacing' });
  });
});
