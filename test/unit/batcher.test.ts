import { describe, expect, it, vi } from 'vitest';

import { Batcher } from '../../lib/batching/batcher.js';
import { copyTensor, type FeedMemory } from '../../lib/batching/feeds.js';
import { resolveBatching } from '../../lib/batching/options.js';
import { type BatchSignature, planSignature } from '../../lib/batching/signature.js';
import { TenonError } from '../../lib/errors.js';
import type { RunnerOptions, RunOutputs, RunRequest, RunTensor } from '../../lib/runner.js';
import { Tickets } from '../../lib/runner.js';
import {
  type FakeCall,
  FakeRunner,
  nobody,
  requestOf,
  settle,
  valuesOf,
} from '../helpers/fake-runner.js';

const open: BatchSignature = {
  name: 'serving_default',
  inputs: [{ kind: 'tensor', name: 'x', dtype: 'float32', shape: ['batch', 'length'] }],
  outputs: [{ kind: 'tensor', name: 'y', dtype: 'float32', shape: ['batch', 'length'] }],
};

interface Made {
  batcher: Batcher;
  runner: FakeRunner;
  tickets: Tickets;
}

function make(given: object | true = true, lanes = 1, memory?: FeedMemory): Made {
  const options = resolveBatching(given);
  if (options === undefined) throw new Error('expected options');
  const runner = new FakeRunner(lanes);
  const tickets = new Tickets();
  const plans = [planSignature(open, options)];
  const parts = { options, plans, tickets, ...(memory === undefined ? {} : { memory }) };
  return { batcher: new Batcher(runner, parts), runner, tickets };
}

/** One row of one element. */
function send(
  batcher: Batcher,
  value: number,
  options: Partial<RunnerOptions> = {},
): Promise<RunOutputs> {
  return sendRows(batcher, [value], options);
}

/** A request of so many rows of one element. */
async function sendRows(
  batcher: Batcher,
  values: readonly number[],
  options: Partial<RunnerOptions> = {},
): Promise<RunOutputs> {
  return batcher.run(requestOf(Float32Array.from(values), [values.length, 1]), {
    ...nobody,
    ...options,
  });
}

/** What each of the requests comes to: its values, or its error's code. */
async function ended(requests: readonly Promise<RunOutputs>[]): Promise<(number[] | string)[]> {
  const all = await Promise.allSettled(requests);
  return all.map((each) =>
    each.status === 'fulfilled'
      ? valuesOf(each.value)
      : ((each.reason as TenonError).code ?? String(each.reason)),
  );
}

/** The rows of the members of each call so far. */
const rowsOf = (runner: FakeRunner): number[][] =>
  runner.history.map(({ members }) => members.map(([feed]) => (feed as RunTensor)[1][0] as number));

const broken = (text = 'broken'): TenonError => new TenonError('ERR_TENON_RUN', text);

describe('requests that come together', () => {
  it('are one call, and each gets its own rows', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2, 3].map((value) => send(batcher, value));
    await settle();
    expect(rowsOf(runner)).toEqual([[1, 1, 1]]);
    expect(runner.calls[0]?.batch?.layout).toMatchObject({ rows: 3, shapes: [[3, 1]] });
    runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[2], [4], [6]]);
    expect(batcher.stats()).toMatchObject({ requests: 3, batches: 1, lone: 0, inFlight: 0 });
  });

  it('go alone where there is one', async () => {
    const { batcher, runner } = make();
    const request = send(batcher, 1, { ticket: 5, priority: 2 });
    await settle();
    expect(runner.calls[0]?.batch).toBeUndefined();
    expect(runner.calls[0]?.options).toMatchObject({ ticket: 5, priority: 2 });
    runner.calls[0]?.succeed();
    expect(await ended([request])).toEqual([[2]]);
    expect(batcher.stats()).toMatchObject({ batches: 1, lone: 1 });
  });

  it('gather while all lanes are busy, and leave as soon as one is free', async () => {
    const { batcher, runner } = make(true, 2);
    const requests = [send(batcher, 1)];
    await settle();
    requests.push(send(batcher, 2));
    await settle();
    requests.push(send(batcher, 3), send(batcher, 4));
    await settle();
    requests.push(send(batcher, 5));
    await settle();
    expect(rowsOf(runner)).toEqual([[1], [1]]);
    expect(batcher.load()).toEqual({ lanes: 2, busy: 2, waiting: 3 });
    runner.calls[1]?.succeed();
    await settle();
    expect(rowsOf(runner)).toEqual([[1], [1], [1, 1, 1]]);
    while (runner.calls.length > 0) runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[2], [4], [6], [8], [10]]);
  });

  it('of different sizes, dtypes, inputs or outputs go apart', async () => {
    const { batcher, runner } = make(true, 9);
    const x = new Float32Array(6);
    const base = requestOf(x, [2, 3]);
    const requests: RunRequest[] = [
      base,
      requestOf(x, [3, 2]),
      { ...base, feeds: [[2, [2, 3], new Float64Array(6)]] },
      { ...base, outputs: [0, 0] },
      base,
    ];
    for (const request of requests) void batcher.run(request, nobody);
    await settle();
    expect(rowsOf(runner).sort()).toEqual([[2, 2], [2], [2], [3]].sort());
  });

  it('are at most maxBatchSize rows', async () => {
    const { batcher, runner } = make({ maxBatchSize: 4 }, 9);
    for (const rows of [2, 1, 3, 4, 1]) void sendRows(batcher, Array<number>(rows).fill(1));
    await settle();
    expect(rowsOf(runner)).toEqual([[2, 1], [3], [4], [1]]);
  });
});

describe('memory of a caller', () => {
  it('may be used again at once', async () => {
    const { batcher, runner } = make();
    const values = Float32Array.of(1);
    const request = batcher.run(requestOf(values, [1, 1]), nobody) as Promise<RunOutputs>;
    values[0] = 50;
    await settle();
    runner.calls[0]?.succeed();
    expect(await ended([request])).toEqual([[2]]);
  });

  it('is taken as it is where it was lent', async () => {
    const { batcher, runner } = make();
    const values = Float32Array.of(1);
    void batcher.run(requestOf(values, [1, 1]), { ...nobody, borrow: true });
    await settle();
    expect((runner.calls[0]?.members[0]?.[0] as RunTensor)[2]).toBe(values);
  });

  it('that is held is let go once, whatever becomes of the request', async () => {
    const held = new Map<RunTensor, number>();
    const memory: FeedMemory = {
      hold: (tensor) => {
        const copy = copyTensor(tensor);
        held.set(copy, 0);
        return copy;
      },
      release: (tensor) => void held.set(tensor, (held.get(tensor) ?? NaN) + 1),
      close: () => undefined,
    };
    const { batcher, runner } = make(true, 1, memory);
    const requests = [1, 2, 3].map((value, i) => send(batcher, value, { ticket: i + 1 }));
    await settle();
    requests.push(send(batcher, 4, { ticket: 4 }));
    batcher.cancel(2);
    batcher.cancel(4);
    runner.calls[0]?.fail(broken());
    await settle();
    for (let call = runner.calls[0]; call !== undefined; call = runner.calls[0]) {
      call.succeed();
      await settle();
    }
    expect(await ended(requests)).toEqual([[2], 'ERR_TENON_ABORTED', [6], 'ERR_TENON_ABORTED']);
    expect([...held.values()]).toEqual([1, 1, 1, 1]);
  });
});

describe('the feed of a request that was stopped', () => {
  function makeReleasing(): Made & { released: RunTensor[] } {
    const released: RunTensor[] = [];
    const memory: FeedMemory = {
      hold: copyTensor,
      release: (tensor) => void released.push(tensor),
      close: () => undefined,
    };
    return { ...make(true, 1, memory), released };
  }

  it('is held until its batch has ended', async () => {
    const { batcher, runner, released } = makeReleasing();
    const requests = [1, 2].map((value, i) => send(batcher, value, { ticket: i + 1 }));
    await settle();
    batcher.cancel(1);
    expect(await ended(requests.slice(0, 1))).toEqual(['ERR_TENON_ABORTED']);
    expect(released).toEqual([]);
    const members = runner.calls[0]?.members.flat();
    runner.calls[0]?.succeed();
    expect(await ended(requests.slice(1))).toEqual([[4]]);
    expect(new Set(released)).toEqual(new Set(members));
  });

  it('is let go at once where no batch has it', async () => {
    const { batcher, runner, released } = makeReleasing();
    const first = send(batcher, 1);
    await settle();
    const waiting = send(batcher, 2, { ticket: 2 });
    batcher.cancel(2);
    expect(await ended([waiting])).toEqual(['ERR_TENON_ABORTED']);
    expect(released).toHaveLength(1);
    runner.calls[0]?.succeed();
    await ended([first]);
    expect(released).toHaveLength(2);
  });
});

describe('a request larger than a batch', () => {
  it('runs alone, as it is', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2 });
    const request = sendRows(batcher, [1, 2, 3]);
    expect(rowsOf(runner)).toEqual([[3]]);
    runner.calls[0]?.succeed();
    expect(await ended([request])).toEqual([[2, 4, 6]]);
    expect(batcher.stats().passed.large).toBe(1);
  });

  it('is split and put together again with splitLarge', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2, splitLarge: true }, 4);
    const requests = [sendRows(batcher, [1, 2, 3, 4, 5]), send(batcher, 6)];
    await settle();
    expect(rowsOf(runner)).toEqual([[2], [2], [1, 1]]);
    for (const call of [...runner.calls].reverse()) call.succeed();
    expect(await ended(requests)).toEqual([[2, 4, 6, 8, 10], [12]]);
  });

  it('fails as a whole where a part fails, and leaves its neighbours alone', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2, splitLarge: true });
    const requests = [sendRows(batcher, [1, 2, 3]), send(batcher, 4)];
    await settle();
    runner.calls[0]?.fail(broken());
    await settle();
    // The rest of it is wanted by nobody, but its neighbour is.
    expect(rowsOf(runner)).toEqual([[2], [1, 1]]);
    expect(batcher.stats().stopped).toBe(1);
    runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual(['ERR_TENON_RUN', [8]]);
  });

  it('can be stopped', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2, splitLarge: true });
    const request = sendRows(batcher, [1, 2, 3], { ticket: 3 });
    await settle();
    batcher.cancel(3);
    expect(await ended([request])).toEqual(['ERR_TENON_ABORTED']);
    await settle();
    expect(runner.calls).toEqual([]);
    expect(batcher.stats()).toMatchObject({ queuedRequests: 0, inFlight: 0 });
  });
});

describe('a failure in mid-batch', () => {
  it('is tried again alone, and fails only whose it is', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2, 3].map((value) => send(batcher, value));
    await settle();
    runner.calls[0]?.fail(broken());
    await settle();
    for (let call = runner.calls[0]; call !== undefined; call = runner.calls[0]) {
      const value = ((call.members[0] as RunTensor[])[0]?.[2] as Float32Array)[0];
      if (value === 2) call.fail(broken('mine'));
      else call.succeed();
      await settle();
    }
    expect(await ended(requests)).toEqual([[2], 'ERR_TENON_RUN', [6]]);
    expect(batcher.stats()).toMatchObject({ failedBatches: 1, retried: 3, failed: 1 });
    expect(batcher.stats().lastError).toEqual({ code: 'ERR_TENON_RUN', message: 'broken' });
  });

  it('makes the next batches smaller, so that a call is at most two', async () => {
    const { batcher, runner } = make({ maxBatchSize: 8 });
    const requests: Promise<RunOutputs>[] = [];
    for (let i = 0; i < 64; i++) requests.push(send(batcher, i));
    await settle();
    // Every batch fails, every request alone is fine.
    for (let call = runner.calls[0]; call !== undefined; call = runner.calls[0]) {
      if (call.batch === undefined) call.succeed();
      else call.fail(broken());
      await settle();
    }
    expect((await ended(requests)).every((each) => typeof each !== 'string')).toBe(true);
    const sizes = rowsOf(runner).flatMap((members) => (members.length > 1 ? [members.length] : []));
    expect(sizes.slice(0, 3)).toEqual([8, 4, 2]);
    expect(runner.history.length).toBeLessThanOrEqual(2 * 64);
  });

  it('that says nothing of the members is everyone\u2019s', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    runner.calls[0]?.fail(new TenonError('ERR_TENON_QUEUE_FULL', 'full'));
    expect(await ended(requests)).toEqual(['ERR_TENON_QUEUE_FULL', 'ERR_TENON_QUEUE_FULL']);
    expect(runner.history).toHaveLength(1);
  });

  it('that a call throws is handled likewise', async () => {
    const { batcher, runner } = make();
    runner.refuse = (members) => (members.length > 1 ? broken() : undefined);
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    expect(await ended(requests)).toEqual([[2], [4]]);
  });
});

describe('outputs without a batch dimension', () => {
  it('end batching for such requests, and each is run alone', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    runner.calls[0]?.fail(new TenonError('ERR_TENON_BATCH', 'output 0 has shape [3]'));
    await settle();
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    requests.push(send(batcher, 3), send(batcher, 4));
    while (runner.calls.length > 0) runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[2], [4], [6], [8]]);
    expect(rowsOf(runner)).toEqual([[1, 1], [1], [1], [1], [1]]);
    expect(batcher.stats().passed.outputs).toBe(2);
  });
});

describe('a full queue', () => {
  it('refuses what it has no room for', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2, maxQueuedBatches: 2 });
    const requests = [send(batcher, 0)];
    await settle();
    for (let value = 1; value <= 5; value++) requests.push(send(batcher, value));
    await settle();
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    expect(await ended(requests)).toEqual([[0], [2], [4], [6], [8], 'ERR_TENON_QUEUE_FULL']);
    expect(batcher.stats().refusedFull).toBe(1);
  });

  it('refuses what would come too late', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { batcher, runner } = make({ maxBatchSize: 1 });
      // Learns that a run takes 10 ms.
      for (let i = 0; i < 4; i++) {
        const request = send(batcher, i);
        await settle();
        vi.advanceTimersByTime(10);
        runner.calls[0]?.succeed();
        await request;
      }
      for (let i = 0; i < 4; i++) void send(batcher, i);
      await settle();
      const [late, enough] = [20, 60].map((ms) =>
        send(batcher, 9, { deadline: performance.now() + ms }),
      ) as [Promise<RunOutputs>, Promise<RunOutputs>];
      expect(await ended([late])).toEqual(['ERR_TENON_DEADLINE']);
      while (runner.calls.length > 0) {
        runner.calls[0]?.succeed();
        await settle();
      }
      expect(await ended([enough])).toEqual([[18]]);
      expect(batcher.stats().refusedLate).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it('drops whose time was up', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { batcher, runner } = make();
      void send(batcher, 1);
      await settle();
      const late = send(batcher, 2, { deadline: performance.now() + 5 });
      const request = send(batcher, 3);
      await settle();
      vi.advanceTimersByTime(6);
      runner.calls[0]?.succeed();
      await settle();
      runner.calls[0]?.succeed();
      expect(await ended([late, request])).toEqual(['ERR_TENON_TIMEOUT', [6]]);
      expect(batcher.stats().expired).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('stopping', () => {
  it('takes a request out of the queue', async () => {
    const { batcher, runner } = make();
    const requests = [send(batcher, 1)];
    await settle();
    requests.push(send(batcher, 2, { ticket: 2 }), send(batcher, 3, { ticket: 3 }));
    batcher.cancel(2);
    runner.calls[0]?.succeed();
    await settle();
    runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[2], 'ERR_TENON_ABORTED', [6]]);
  });

  it('of every request in the queue leaves nothing behind', async () => {
    const { batcher, runner } = make({ maxDelayMicros: 1_000_000 });
    const requests = [1, 2, 3].map((ticket) => send(batcher, ticket, { ticket }));
    await settle();
    for (const ticket of [1, 2, 3]) batcher.cancel(ticket);
    expect(await ended(requests)).toEqual(Array(3).fill('ERR_TENON_ABORTED'));
    expect(runner.history).toEqual([]);
    expect(batcher.stats()).toMatchObject({ queuedRequests: 0, queuedRows: 0, stopped: 3 });
    await batcher.close();
    expect(runner.ended).toBe('closed');
  });

  it('of one member leaves the batch to the others; of the last ends it', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2].map((ticket) => send(batcher, ticket, { ticket: 100 + ticket }));
    await settle();
    const call = runner.calls[0];
    batcher.cancel(101);
    expect(runner.cancelled).toEqual([]);
    batcher.cancel(102);
    expect(runner.cancelled).toEqual([call?.options.ticket]);
    expect(await ended(requests)).toEqual(['ERR_TENON_ABORTED', 'ERR_TENON_ABORTED']);
    await settle();
    expect(runner.calls).toEqual([]);
    expect(batcher.stats()).toMatchObject({ inFlight: 0, retried: 0, stopped: 2 });
  });

  it('of a member that lent its memory ends it with its batch, which may read it', async () => {
    const { batcher, runner } = make();
    const order: string[] = [];
    const requests = [true, false].map((borrow, i) =>
      send(batcher, i, { ticket: 100 + i, borrow }).catch(() => order.push(`lent ${borrow}`)),
    );
    const other = send(batcher, 7).then(() => order.push('the batch'));
    await settle();
    batcher.cancel(100);
    batcher.cancel(100);
    batcher.cancel(101);
    await settle();
    expect(order).toEqual(['lent false']);
    runner.calls[0]?.succeed();
    await Promise.all([...requests, other]);
    expect(order).toEqual(['lent false', 'lent true', 'the batch']);
    expect(batcher.stats().stopped).toBe(2);
    await batcher.close();
  });

  it('of what is not batched goes on to the runner', async () => {
    const { batcher, runner } = make();
    const request = Promise.resolve(
      batcher.run(
        { ...requestOf(Float32Array.of(1), [1, 1]), targets: [1] },
        { ...nobody, ticket: 7 },
      ),
    );
    batcher.cancel(7);
    expect(runner.cancelled).toEqual([7]);
    expect(await ended([request])).toEqual(['ERR_TENON_ABORTED']);
  });

  it('twice, or too late, is nothing', async () => {
    const { batcher, runner } = make();
    const request = send(batcher, 1, { ticket: 1 });
    batcher.cancel(1);
    batcher.cancel(1);
    await settle();
    expect(runner.history).toEqual([]);
    expect(await ended([request])).toEqual(['ERR_TENON_ABORTED']);
    expect(batcher.stats().stopped).toBe(1);
  });
});

describe('the end', () => {
  it('comes when everything that was accepted is done', async () => {
    const { batcher, runner } = make({ maxBatchSize: 1, maxDelayMicros: 60_000_000 });
    const requests = [1, 2].map((value) => send(batcher, value));
    const closed = batcher.close();
    expect(() => batcher.run(requestOf(Float32Array.of(1), [1, 1]), nobody)).toThrow(
      expect.objectContaining({ code: 'ERR_TENON_MODEL_CLOSED' }) as Error,
    );
    await settle();
    expect(runner.ended).toBeUndefined();
    // The first fails, and is not left in the lurch.
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    await closed;
    expect(runner.ended).toBe('closed');
    expect(await ended(requests)).toEqual([[2], [4]]);
    await batcher.close();
  });

  it('in mid-batch lets members be tried again', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    const closed = batcher.close();
    runner.calls[0]?.fail(broken());
    await settle();
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    await closed;
    expect(await ended(requests)).toEqual([[2], [4]]);
  });

  it('by force rejects what waits and what runs', async () => {
    const { batcher, runner } = make();
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    requests.push(send(batcher, 3));
    await batcher.destroy();
    expect(await ended(requests)).toEqual(Array(3).fill('ERR_TENON_ABORTED'));
    expect(runner.ended).toBe('destroyed');
    expect(runner.history).toHaveLength(1);
  });

  it('by force rejects with the reason at once, but where memory that was lent is read', async () => {
    const { batcher, runner } = make(true, 2);
    const reason = new Error('enough');
    // The fake runner ends its calls only when it is told to.
    runner.destroy = () => Promise.resolve();
    runner.cancel = () => undefined;
    const settled: string[] = [];
    const note = async (name: string, run: RunOutputs | Promise<RunOutputs>): Promise<void> => {
      await Promise.resolve(run).catch((error: unknown) => {
        settled.push(`${name}: ${(error as Error).message}`);
      });
    };
    const request = requestOf(Float32Array.of(1), [1, 1]);
    const target = { ...request, targets: [1 as const] };
    void note('own', batcher.run(request, nobody));
    void note('lent', batcher.run(request, { ...nobody, borrow: true }));
    await settle();
    void note('passed', batcher.run(target, nobody));
    void note('passed, lent', batcher.run(target, { ...nobody, borrow: true }));
    void note('waiting', batcher.run(request, nobody));
    await settle();
    void batcher.destroy(reason);
    await settle();
    expect(settled.sort()).toEqual(['own: enough', 'passed: enough', 'waiting: enough']);
    for (const call of [...runner.calls]) call.succeed();
    await settle();
    expect(settled.slice(3).sort()).toEqual(['lent: enough', 'passed, lent: enough']);
  });

  it('by force cuts short one that drains', async () => {
    const { batcher, runner } = make();
    const requests = [send(batcher, 1), send(batcher, 2)];
    await settle();
    const closed = batcher.close();
    await batcher.destroy();
    await closed;
    expect(await ended(requests)).toEqual(Array(2).fill('ERR_TENON_ABORTED'));
    expect(runner.ended).toBeDefined();
  });
});

describe('a delay', () => {
  it('is waited in microseconds, and not once the batch is full', async () => {
    vi.useFakeTimers({
      toFake: ['performance', 'setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'],
    });
    try {
      const { batcher, runner } = make({ maxBatchSize: 3, maxDelayMicros: 5000 });
      void send(batcher, 1);
      await settle();
      vi.advanceTimersByTime(4);
      void send(batcher, 2);
      await settle();
      expect(runner.calls).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(rowsOf(runner)).toEqual([[1, 1]]);
      runner.calls[0]?.succeed();
      await settle();
      for (const value of [3, 4, 5]) void send(batcher, value);
      await settle();
      expect(rowsOf(runner)).toEqual([
        [1, 1],
        [1, 1, 1],
      ]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('of less than a timer can wait ends all the same', async () => {
    const { batcher, runner } = make({ maxDelayMicros: 50 });
    const request = send(batcher, 1);
    await settle();
    while (runner.calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
    runner.calls[0]?.succeed();
    expect(await ended([request])).toEqual([[2]]);
    expect(batcher.stats().waitMicros.max).toBeGreaterThanOrEqual(50);
  });
});

describe('the options', () => {
  it('allowedBatchSizes fills up', async () => {
    const { batcher, runner } = make({ allowedBatchSizes: [4, 8] });
    const requests = [1, 2].map((value) => send(batcher, value));
    await settle();
    expect(runner.calls[0]?.batch?.layout.rows).toBe(4);
    runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[2], [4]]);
    void send(batcher, 3);
    await settle();
    expect(runner.calls[0]?.batch?.layout.rows).toBe(4);
    expect(batcher.stats().paddedRows).toBe(5);
    expect(batcher.stats().distributions).toMatchObject({
      requestRows: { count: 3, sum: 3, places: [[1, 3]] },
      batchRows: { count: 2, sum: 8, places: [[4, 2]] },
      paddedRows: {
        count: 2,
        sum: 5,
        places: [
          [2, 1],
          [3, 1],
        ],
      },
      // Those of the second batch still wait for its end.
      waitMicros: { count: 2 },
    });
  });

  it('padVariableLength lets lengths travel together, in lengthBuckets', async () => {
    const { batcher, runner } = make({ padVariableLength: true, lengthBuckets: [4] }, 2);
    for (const length of [2, 4, 5]) {
      void batcher.run(requestOf(new Float32Array(length), [1, length]), nobody);
    }
    await settle();
    expect(runner.calls.map(({ batch }) => batch?.layout.shapes)).toEqual([[[2, 4]], undefined]);
    expect(runner.calls[0]?.batch?.layout.trims).toEqual([[0, 1, 0, 1]]);
  });

  it('priorities go first, and callers take turns', async () => {
    const { batcher, runner } = make({ maxBatchSize: 2 });
    void send(batcher, 0);
    await settle();
    const valuesIn = (): number[] =>
      runner.calls[0]?.members.map(
        ([feed]) => ((feed as RunTensor)[2] as Float32Array)[0] ?? NaN,
      ) ?? [];
    for (const value of [1, 2, 3]) void send(batcher, value, { caller: 'a' });
    void send(batcher, 4, { caller: 'b' });
    void send(batcher, 5, { priority: 1 });
    const order: number[][] = [];
    while (runner.calls.length > 0) {
      order.push(valuesIn());
      runner.calls[0]?.succeed();
      await settle();
    }
    expect(order[0]).toEqual([0]);
    expect(order[1]).toContain(5);
    expect([...(order[1] ?? []), ...(order[2] ?? [])]).toContain(4);
    expect(order.at(-1)).not.toContain(4);
  });

  it('priorityLevels tells no more of them apart', async () => {
    const { batcher, runner } = make({ maxBatchSize: 1, priorityLevels: 1 });
    void send(batcher, 0);
    await settle();
    void send(batcher, 1);
    void send(batcher, 2, { priority: 100 });
    await settle();
    runner.calls[0]?.succeed();
    await settle();
    expect((runner.calls[0]?.members[0]?.[0] as RunTensor)[2]).toEqual(Float32Array.of(1));
  });
});

describe('many shapes', () => {
  it('wait in so many queues and no more; idle ones make way', async () => {
    const { batcher, runner } = make(true, 1);
    const of = (length: number): Promise<RunOutputs> =>
      Promise.resolve(batcher.run(requestOf(new Float32Array(length), [1, length]), nobody));
    void of(1);
    await settle();
    for (let length = 1; length <= 200; length++) void of(length);
    expect(batcher.stats().queues).toBe(128);
    expect(batcher.stats().passed.queues).toBe(72);
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    for (let length = 300; length <= 500; length++) {
      const request = of(length);
      await settle();
      runner.calls[0]?.succeed();
      await request;
    }
    expect(batcher.stats()).toMatchObject({ queues: 128, passed: { queues: 72 } });
  });
});

describe('NaN', () => {
  it('is data like any other', async () => {
    const { batcher, runner } = make();
    const requests = [NaN, 2].map((value) => send(batcher, value));
    await settle();
    runner.calls[0]?.succeed();
    expect(await ended(requests)).toEqual([[NaN], [4]]);
  });
});

describe('a full batch', () => {
  /** A batcher that knows batches to be short, with one of them under way. */
  async function warm(given: object = {}): Promise<Made & { under: Promise<RunOutputs> }> {
    const made = make({ maxBatchSize: 2, ...given });
    for (let i = 0; i < 4; i++) {
      const run = send(made.batcher, 0);
      await settle();
      made.runner.calls[0]?.succeed();
      await run;
    }
    made.runner.history.length = 0;
    const under = send(made.batcher, 1);
    await settle();
    return { ...made, under };
  }

  it('goes to the lanes before one of them is free, one at a time', async () => {
    const { batcher, runner, under } = await warm();
    const requests = [2, 3, 4, 5, 6].map((value) => send(batcher, value));
    await settle();
    expect(rowsOf(runner)).toEqual([[1], [1, 1]]);
    runner.calls[0]?.succeed();
    await settle();
    expect(rowsOf(runner)).toEqual([[1], [1, 1], [1, 1]]);
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    expect(await ended([under, ...requests])).toEqual([2, 4, 6, 8, 10, 12].map((y) => [y]));
  });

  it.each([
    ['that is not full', 1],
    ['without a request', 0],
  ])('is not one %s', async (_what, count) => {
    const { batcher, runner } = await warm();
    for (let i = 0; i < count; i++) void send(batcher, i);
    await settle();
    expect(runner.history).toHaveLength(1);
  });

  it('waits for a lane where batches are long', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { batcher, runner } = make({ maxBatchSize: 2 });
      for (let i = 0; i < 4; i++) {
        const run = send(batcher, 0);
        await settle();
        vi.advanceTimersByTime(50);
        runner.calls[0]?.succeed();
        await run;
      }
      for (let i = 0; i < 4; i++) {
        void send(batcher, i);
        await settle();
      }
      expect(runner.calls).toHaveLength(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it('waits for a lane where runs of others do', async () => {
    const { batcher, runner } = await warm();
    runner.waiting = 1;
    for (const value of [2, 3]) void send(batcher, value);
    await settle();
    expect(runner.calls).toHaveLength(1);
  });

  it('comes back to wait where the lanes let nothing wait, and none goes there again', async () => {
    const { batcher, runner, under } = await warm();
    runner.refuse = () =>
      runner.calls.length > 0 ? new TenonError('ERR_TENON_QUEUE_FULL', 'full') : undefined;
    const requests = [2, 3, 4].map((value) => send(batcher, value));
    await settle();
    expect(rowsOf(runner)).toEqual([[1]]);
    runner.refuse = () => undefined;
    void send(batcher, 5);
    await settle();
    expect(rowsOf(runner)).toEqual([[1]]);
    while (runner.calls.length > 0) {
      runner.calls[0]?.succeed();
      await settle();
    }
    expect(await ended([under, ...requests])).toEqual([2, 4, 6, 8].map((y) => [y]));
    expect(batcher.stats()).toMatchObject({ failedBatches: 0, failed: 0 });
  });

  it('that was sent ahead stops with its last member, and a lane is free for the next', async () => {
    const { batcher, runner, under } = await warm();
    const requests = [2, 3].map((value, i) => send(batcher, value, { ticket: 100 + i }));
    await settle();
    batcher.cancel(100);
    batcher.cancel(101);
    expect(await ended(requests)).toEqual(Array(2).fill('ERR_TENON_ABORTED'));
    await settle();
    expect(runner.calls).toHaveLength(1);
    const next = [4, 5].map((value) => send(batcher, value));
    await settle();
    expect(runner.calls).toHaveLength(2);
    for (const call of [...runner.calls]) call.succeed();
    expect(await ended([under, ...next])).toEqual([[2], [8], [10]]);
  });
});

describe('a batch that ran on the calling thread', () => {
  it('is settled at once, and what comes then is sent in the next turn of the event loop', async () => {
    const { batcher, runner } = make();
    runner.runsInline = () => true;
    const first = [1, 2].map((value) => send(batcher, value));
    expect(await ended(first)).toEqual([[2], [4]]);
    expect(batcher.stats()).toMatchObject({ batches: 1, inFlight: 0, queuedRequests: 0 });
    const next = [3, 4].map((value) => send(batcher, value));
    await settle();
    expect(batcher.stats()).toMatchObject({ batches: 1, queuedRequests: 2 });
    // Comes in the same turn, before it is the next batch's.
    next.push(send(batcher, 5));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await ended(next)).toEqual([[6], [8], [10]]);
    expect(rowsOf(runner).map(({ length }) => length)).toEqual([2, 3]);
  });

  it('does not keep one request after another from going at once', async () => {
    const { batcher, runner } = make();
    runner.runsInline = () => true;
    for (const value of [1, 2, 3]) {
      const run = send(batcher, value);
      await settle();
      expect(batcher.stats()).toMatchObject({ lone: value, queuedRequests: 0 });
      expect(await ended([run])).toEqual([[2 * value]]);
    }
  });

  it('may have waited for its turn when the batcher closes', async () => {
    const { batcher, runner } = make();
    runner.runsInline = () => true;
    await Promise.all([1, 2].map((value) => send(batcher, value)));
    const next = [3, 4].map((value) => send(batcher, value));
    await batcher.close();
    expect(await ended(next)).toEqual([[6], [8]]);
  });

  it('is none where it is one of several that are to go on at a time', async () => {
    const { batcher, runner } = make(true, 2);
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      // Until halves are tried.
      while (runner.calls.length < 2) {
        for (const call of [...runner.calls]) call.succeed();
        for (const value of [1, 2, 3, 4]) send(batcher, value).catch(() => undefined);
        await settle();
      }
      expect(runner.calls.map(({ options }) => options.onLane)).toEqual([true, true]);
      runner.runsInline = () => true;
      for (const call of [...runner.calls]) call.succeed();
      await settle();
      const wave = [1, 2, 3, 4].map((value) => send(batcher, value));
      await settle();
      expect(runner.calls.map(({ members }) => members.length)).toEqual([2, 2]);
      for (const call of [...runner.calls]) call.succeed();
      expect(await ended(wave)).toEqual([[2], [4], [6], [8]]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('rows that wait for several idle lanes', () => {
  /** So many waves of four requests, of which each call takes as long as `micros` says. */
  async function waves(
    count: number,
    micros: (rows: number, wave: number) => number,
  ): Promise<number[][]> {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { batcher, runner } = make(true, 2);
      for (let i = 0; i < count; i++) {
        const took = ({ members }: FakeCall): number => micros(members.length, i);
        const wave = [1, 2, 3, 4].map((value) => send(batcher, value));
        await settle();
        const longest = Math.max(...runner.calls.map(took));
        vi.advanceTimersByTime(longest / 1000);
        for (const call of [...runner.calls]) call.succeed();
        expect(await ended(wave)).toEqual([[2], [4], [6], [8]]);
      }
      return rowsOf(runner);
    } finally {
      vi.useRealTimers();
    }
  }

  it('are shared by them where that is sooner done', async () => {
    const batches = await waves(40, (rows) => 1000 * rows);
    expect(batches.slice(0, 8).every(({ length }) => length === 4)).toBe(true);
    expect(batches.slice(8).every(({ length }) => length === 2)).toBe(true);
  });

  it('go together where it is not', async () => {
    const batches = await waves(40, () => 4000);
    expect(batches.slice(-20).every(({ length }) => length === 4)).toBe(true);
  });

  it('are shared no more once it is not, and again once it is', async () => {
    const sooner = [4000, 1000, 4000];
    const batches = await waves(15_000, (rows, wave) =>
      rows === 4 ? (sooner[Math.floor(wave / 5000)] as number) : 2000,
    );
    // By the wave that each was in.
    let sent = 0;
    const sizes = batches.map(({ length: rows }) => [Math.floor((sent += rows) / 4), rows]);
    const shared = [4000, 9000, 14_000].map((from) =>
      sizes.filter(([wave = 0]) => wave > from && wave <= from + 900).map(([, rows]) => rows),
    );
    const most = shared.map((rows) => rows.filter((each) => each === 2).length / rows.length);
    expect(most[0]).toBeGreaterThan(0.95);
    expect(most[1]).toBeLessThan(0.05);
    expect(most[2]).toBeGreaterThan(0.95);
  });
});
