/**
 * Random schedules over a runner whose calls end when the schedule says so: whatever comes, each
 * request settles once, with exactly its own rows. A schedule is settled by its seed alone; set
 * TENON_BATCHING_SEED to run one again.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Batcher } from '../../lib/batching/batcher.js';
import { resolveBatching } from '../../lib/batching/options.js';
import { planSignature } from '../../lib/batching/signature.js';
import { TenonError } from '../../lib/errors.js';
import { Tickets } from '../../lib/runner.js';
import { FakeRunner, requestOf, settle, valuesOf } from '../helpers/fake-runner.js';

const schedules = 3000;
const steps = 60;
const given = process.env['TENON_BATCHING_SEED'];

/** mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Sent {
  readonly expected: number[];
  readonly isBad: boolean;
  readonly ticket: number;
  stopped: boolean;
  settled: number;
  readAfter: boolean;
  outputs: number[] | undefined;
  error: unknown;
}

const bad = -1;

async function runSchedule(seed: number): Promise<{ requests: number; batches: number }> {
  const random = randomOf(seed);
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  const chance = (p: number): boolean => random() < p;

  const maxBatchSize = pick([1, 2, 4, 8, 16]);
  const options = resolveBatching({
    maxBatchSize,
    maxDelayMicros: pick([0, 0, 300, 5000]),
    splitLarge: chance(0.5),
    ...(chance(0.3) ? { allowedBatchSizes: [...new Set([1, maxBatchSize])] } : {}),
    ...(chance(0.3) ? { maxQueuedBatches: 1 + below(3) } : {}),
    ...(chance(0.3) ? { priorityLevels: 2 } : {}),
    ...(chance(0.3) ? { targetLatencyMs: pick([1, 20]) } : {}),
    ...(chance(0.4) ? { padVariableLength: true, lengthBuckets: [2, 4] } : {}),
  });
  if (options === undefined) throw new Error('expected options');
  const plan = planSignature(
    {
      name: 'serving_default',
      inputs: [{ kind: 'tensor', name: 'x', dtype: 'float32', shape: ['batch', 'length'] }],
      outputs: [{ kind: 'tensor', name: 'y', dtype: 'float32', shape: ['batch', 'length'] }],
    },
    options,
  );
  const tickets = new Tickets();
  const runner = new FakeRunner(1 + below(3));
  const batcher = new Batcher(runner, { options, plans: [plan, plan], tickets });
  const isBadCall = (members: readonly (readonly unknown[])[]): boolean =>
    members.some(([feed]) => (feed as [number, number[], Float32Array])[2].includes(bad));
  const refusesBad = chance(0.3);
  const refusesToQueue = chance(0.1);
  const inline = pick([0, 0, 0.5, 1]);
  runner.refuse = (members) => {
    if (refusesBad && isBadCall(members)) return new TenonError('ERR_TENON_DETACHED', 'bad member');
    // Only a batch that was sent ahead finds all lanes busy.
    return refusesToQueue && runner.calls.length >= runner.lanes
      ? new TenonError('ERR_TENON_QUEUE_FULL', 'full')
      : undefined;
  };

  runner.runsInline = (members) => chance(inline) && !isBadCall(members);

  const sent: Sent[] = [];
  let isEnding = false;
  let flaky = 0;

  const send = (): void => {
    const rows = 1 + below(chance(0.1) ? 40 : 4);
    const length = 1 + below(chance(0.5) ? 1 : 5);
    const id = sent.length + 1;
    const isBad = chance(0.08);
    const values = Float32Array.from({ length: rows * length }, (_, i) => id * 512 + i);
    if (isBad) values[0] = bad;
    const ticket = tickets.next();
    const state: Sent = {
      expected: [...values].map((value) => 2 * value),
      isBad,
      ticket,
      stopped: false,
      settled: 0,
      readAfter: false,
      outputs: undefined,
      error: undefined,
    };
    sent.push(state);
    const borrow = chance(0.3);
    const end = (outputs: number[] | undefined, error: unknown): void => {
      state.settled++;
      // Memory that was lent is given back when the engine has left it.
      state.readAfter ||=
        borrow &&
        runner.calls.some(({ members }) =>
          members.some((feeds) =>
            feeds.some(([, , data]) => (data as Float32Array).buffer === values.buffer),
          ),
        );
      state.outputs = outputs;
      state.error = error;
    };
    try {
      const started = batcher.run(requestOf(values, [rows, length], below(2)), {
        ticket,
        priority: below(4) - 1,
        borrow,
        deadline: chance(0.1) ? performance.now() + below(8) : 0,
        caller: pick([undefined, undefined, 'a', 'b']),
      });
      void Promise.resolve(started).then(
        (outputs) => end(valuesOf(outputs), undefined),
        (error: unknown) => end(undefined, error),
      );
    } catch (error) {
      end(undefined, error);
    }
    // The caller uses its array for something else at once.
    if (!borrow && rows <= maxBatchSize) values.fill(7);
  };

  const finishOne = (): void => {
    if (runner.calls.length === 0) return;
    const call = pick(runner.calls);
    if (isBadCall(call.members)) {
      call.fail(new TenonError('ERR_TENON_RUN', 'bad member'));
    } else if (chance(0.05)) {
      flaky++;
      call.fail(new TenonError('ERR_TENON_RUN', 'flaky'));
    } else {
      call.succeed();
    }
  };

  for (let step = 0; step < steps; step++) {
    const action = random();
    if (action < 0.5) {
      for (let n = 1 + below(4); n > 0; n--) send();
    } else if (action < 0.8) {
      finishOne();
    } else if (action < 0.9) {
      const victim = sent.length === 0 ? undefined : pick(sent);
      if (victim !== undefined) {
        victim.stopped ||= victim.settled === 0;
        batcher.cancel(victim.ticket);
      }
    } else if (action < 0.98) {
      vi.advanceTimersByTime(pick([0, 1, 6]));
    } else if (action < 0.985 && !isEnding) {
      isEnding = true;
      void batcher.close();
    } else if (action < 0.99 && !isEnding) {
      isEnding = true;
      for (const state of sent) state.stopped ||= state.settled === 0;
      void batcher.destroy();
    }
    if (chance(0.7)) await settle();
  }

  const closed = batcher.close();
  for (let i = 0; i < 10_000 && sent.some(({ settled }) => settled === 0); i++) {
    finishOne();
    vi.advanceTimersByTime(1);
    await settle();
  }
  await closed;

  for (const [i, state] of sent.entries()) {
    const where = `seed ${seed}, request ${i}`;
    expect(state.settled, where).toBe(1);
    expect(state.readAfter, where).toBe(false);
    if (state.outputs !== undefined) {
      expect(state.outputs, where).toEqual(state.expected);
      expect(state.isBad, where).toBe(false);
      continue;
    }
    const { code, message } = state.error as TenonError;
    const allowed = [
      ...(state.isBad ? ['ERR_TENON_RUN', 'ERR_TENON_DETACHED'] : []),
      ...(state.stopped ? ['ERR_TENON_ABORTED'] : []),
      ...(isEnding ? ['ERR_TENON_MODEL_CLOSED'] : []),
      ...(message === 'flaky' ? ['ERR_TENON_RUN'] : []),
      'ERR_TENON_QUEUE_FULL',
      'ERR_TENON_DEADLINE',
      'ERR_TENON_TIMEOUT',
    ];
    expect(allowed, `${where}: ${message}`).toContain(code);
  }
  const stats = batcher.stats();
  const where = `seed ${seed}`;
  expect([stats.queuedRequests, stats.queuedRows, stats.inFlight], where).toEqual([0, 0, 0]);
  for (const { batch } of runner.history) {
    if (batch === undefined) continue;
    const rows = batch.members.reduce((sum, [feed]) => sum + (feed?.[1][0] ?? 0), 0);
    expect(rows, where).toBeLessThanOrEqual(maxBatchSize);
    expect(batch.layout.rows, where).toBeGreaterThanOrEqual(rows);
    const shape = batch.layout.shapes[0] ?? [];
    for (const [feed] of batch.members) {
      const own = feed?.[1] ?? [];
      if (options.padVariableLength) expect(own[1], where).toBeLessThanOrEqual(shape[1] ?? 0);
      else expect(own.slice(1), where).toEqual(shape.slice(1));
    }
  }
  // A request is run at most twice: in a batch, and alone where that failed.
  const passed = Object.values(stats.passed).reduce((sum, count) => sum + count, 0);
  expect(runner.history.length, where).toBeLessThanOrEqual(2 * stats.requests + passed);
  expect(flaky, where).toBeLessThanOrEqual(runner.history.length);
  return { requests: sent.length, batches: stats.batches };
}

describe('batching', () => {
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['performance', 'setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('settles each request once with exactly its own rows', async () => {
    const first = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
    const count = given === undefined ? schedules : 1;
    let requests = 0;
    let batches = 0;
    for (let seed = first; seed < first + count; seed++) {
      try {
        const ran = await runSchedule(seed);
        requests += ran.requests;
        batches += ran.batches;
      } catch (error) {
        throw new Error(`seed ${seed} failed: run it again with TENON_BATCHING_SEED=${seed}`, {
          cause: error,
        });
      }
    }
    process.stdout.write(
      `${count} random schedules from seed ${first}: ${requests} requests, ${batches} batches\n`,
    );
    expect(requests).toBeGreaterThan(0);
  });
});
