/**
 * Runs that come at the same time as one call of the engine. The Batcher holds the queues and the
 * clock; which requests share a batch, how large it gets and who goes first are the pure functions
 * beside it. Rows are gathered and scattered by the runner below, off the event loop.
 */

import { type ErrorSummary, inShort, modelClosed, TenonError } from '../errors.js';
import {
  type BatchOutputs,
  type BatchRequest,
  isUnderWay,
  type Runner,
  type RunnerLoad,
  type RunnerOptions,
  type RunOutputs,
  type RunRequest,
  type RunTensor,
  type Tickets,
} from '../runner.js';
import { Adaptive, type AdaptiveStats } from './adaptive.js';
import { hasRoom, isTooLate, type QueueState } from './admission.js';
import { DelayTimer } from './delay-timer.js';
import { copiedFeeds, type FeedMemory } from './feeds.js';
import { fits, layoutOf, limitAfterFailure, limitAfterSuccess, roundUp } from './form.js';
import { type Distribution, Histogram, type Summary } from './histogram.js';
import { levelOf, type ResolvedBatching } from './options.js';
import { hashKey, type PassReason, passReasons, rowsOf, sameKey, writeKey } from './request-key.js';
import { RunTimes } from './run-times.js';
import { Sharing } from './sharing.js';
import type { SignaturePlan } from './signature.js';
import { joinOutputs, splitFeeds } from './split.js';
import { type Turn, type Waiting, WaitingLine } from './waiting-line.js';

/** A snapshot of plain numbers. */
export interface BatcherStats {
  /** Requests that were taken for batching; of a split one each part. */
  readonly requests: number;
  /** Calls of the engine for them: batches, and requests that went alone. */
  readonly batches: number;
  /** Of these, requests that went alone. */
  readonly lone: number;
  /** Rows of a batch, padding not counted. */
  readonly batchRows: Summary;
  /** Rows of padding, for `allowedBatchSizes`. */
  readonly paddedRows: number;
  /** Microseconds from the call to the start of the batch. */
  readonly waitMicros: Summary;
  /** What summaries leave out. */
  readonly distributions: {
    /** Rows of a request. */
    readonly requestRows: Distribution;
    /** Rows of a batch, padding included, and rows of padding in it. */
    readonly batchRows: Distribution;
    readonly paddedRows: Distribution;
    readonly waitMicros: Distribution;
  };
  /** Requests that wait, and their rows. */
  readonly queuedRequests: number;
  readonly queuedRows: number;
  /** Queues: one for each shape of late. */
  readonly queues: number;
  /** Batches under way, the one that waits for a lane included, if there is one. */
  readonly inFlight: number;
  /** Requests that were not batched, by why. */
  readonly passed: Readonly<Record<PassReason, number>>;
  /** Requests refused because the queue was full, or because they would have come too late. */
  readonly refusedFull: number;
  readonly refusedLate: number;
  /** Requests whose time was up in the queue, although nobody cancelled them. */
  readonly expired: number;
  /** Requests that their callers stopped, in the queue and in a batch. */
  readonly stopped: number;
  /** Batches that the engine failed, and their members, which were tried again alone. */
  readonly failedBatches: number;
  readonly retried: number;
  /** Requests that failed in the end. */
  readonly failed: number;
  /** What the last failed batch failed with. */
  readonly lastError: ErrorSummary | undefined;
  /** For each queue what adaptive batching has learned and chosen; empty without. */
  readonly adaptive: readonly AdaptiveStats[];
}

export interface BatcherParts {
  readonly options: ResolvedBatching;
  /** By the index of the signature. */
  readonly plans: readonly SignaturePlan[];
  /** Numbers for batches; of one counter with those that callers give their runs. */
  readonly tickets: Tickets;
  readonly memory?: FeedMemory;
}

/** Shapes that are kept apart at a time; idle queues make way. */
const maxQueues = 128;
/**
 * Where batches take no longer than this, a full one goes to the lanes before any of them is free:
 * one that ends finds the next at once, instead of after the event loop's turn. Of longer ones the
 * turn is too small a share to let requests that come later wait behind one more.
 */
const aheadMicros = 10_000;
/** Batches before that is known. */
const aheadBatches = 4;

const enum State {
  waiting,
  /** In a batch. */
  running,
  /** Stopped in a batch that may read its caller's memory until it has ended. */
  leaving,
  /** Its batch failed; waits to be run alone. */
  again,
  settled,
}

/** How a batch came to be sent. */
const enum Way {
  usual,
  /** As one of several that went at once in place of a larger one. */
  part,
  /** Before a lane was free for it. */
  ahead,
}

class Entry implements Waiting {
  previous: this | undefined = undefined;
  next: this | undefined = undefined;
  turn: Turn<this> | undefined = undefined;
  state = State.waiting;
  batch: Batch | undefined = undefined;
  /** What it is rejected with when its batch has ended, where it is `leaving`. */
  leftFor: unknown = undefined;
  /** Milliseconds of performance.now(). */
  queuedMs = 0;
  resolve!: (outputs: RunOutputs) => void;
  reject!: (error: unknown) => void;

  constructor(
    readonly queue: Queue,
    readonly rows: number,
    readonly priority: number,
    readonly caller: string | undefined,
    readonly ticket: number,
    readonly deadline: number,
    readonly feeds: readonly RunTensor[],
    /** Whether `feeds` are the caller's own memory. */
    readonly isLent: boolean,
  ) {}
}

/** Requests that may share a batch, and what is known of such batches. */
class Queue {
  readonly line = new WaitingLine<Entry>();
  readonly times = new RunTimes();
  readonly sharing = new Sharing();
  adaptive: Adaptive | undefined = undefined;
  /** Rows a batch may have after failures, see limitAfterFailure. */
  failureLimit = Infinity;
  /** When the first that waits has waited long enough; only with a delay. */
  dueMs = 0;
  nextOfHash: Queue | undefined = undefined;
  isListed = false;
  /** Outputs of batches were not one row for each row: no more batches. */
  isUnbatchable = false;
  /** When it was last used, by count. */
  used = 0;

  constructor(
    readonly key: readonly number[],
    readonly hash: number,
    readonly plan: SignaturePlan,
    readonly signature: number,
    readonly inputs: readonly number[],
    readonly outputs: readonly number[],
  ) {}
}

/** One call of the engine. */
class Batch {
  /** Members whose callers still wait. */
  live: number;
  hasEnded = false;

  constructor(
    readonly members: readonly Entry[],
    readonly rows: number,
    readonly ticket: number,
    /** When it was sent; of one that was sent ahead, when a lane became free for it. */
    public startedMs: number,
    readonly way: Way,
  ) {
    this.live = members.length;
  }
}

/** A request in parts. */
interface Whole {
  readonly parts: Entry[];
}

export class Batcher implements Runner {
  readonly #runner: Runner;
  readonly #options: ResolvedBatching;
  readonly #plans: readonly SignaturePlan[];
  readonly #tickets: Tickets;
  readonly #memory: FeedMemory;
  readonly #queues = new Map<number, Queue>();
  #queueCount = 0;
  /** Queues in which somebody waits. */
  readonly #active: Queue[] = [];
  #lastQueue: Queue | undefined;
  /** Members of failed batches, first come first; those that were stopped are passed over. */
  #again: Entry[] = [];
  readonly #byTicket = new Map<number, Entry | Whole>();
  readonly #key: number[] = [];
  readonly #timer: DelayTimer | undefined;
  #isScheduled = false;
  /** A batch held the event loop: what comes next is sent in its next turn. */
  #awaitsTurn = false;
  #inFlight = 0;
  #lanes = 1;
  /** Runs that wait for a lane, when it was last looked. */
  #laneQueue = 0;
  /** The batch that went to the lanes before one of them was free. */
  #ahead: Batch | undefined;
  /** Until the lanes refuse such a batch. */
  #mayGoAhead = true;
  readonly #running = new Set<Batch>();
  /** What requests that were not batched are rejected by. */
  readonly #passing = new Set<(reason: unknown) => void>();
  #queuedRows = 0;
  /** Requests that are not settled. */
  #unsettled = 0;
  #uses = 0;
  #ending: 'no' | 'closing' | 'destroyed' = 'no';
  #closed: Promise<void> | undefined;
  #drained: (() => void) | undefined;
  /** The entry whose promise is being made. */
  #settling!: Entry;

  #requests = 0;
  #batches = 0;
  #lone = 0;
  #refusedFull = 0;
  #refusedLate = 0;
  #expired = 0;
  #stopped = 0;
  #failedBatches = 0;
  #retried = 0;
  #failed = 0;
  #lastError: BatcherStats['lastError'];
  readonly #requestRows = new Histogram();
  readonly #batchRows = new Histogram();
  /** Padding included, and padding alone. */
  readonly #wholeRows = new Histogram();
  readonly #paddedRows = new Histogram();
  readonly #waitMicros = new Histogram();
  readonly #passed = Object.fromEntries(passReasons.map((reason) => [reason, 0])) as Record<
    PassReason,
    number
  >;

  constructor(runner: Runner, { options, plans, tickets, memory = copiedFeeds }: BatcherParts) {
    this.#runner = runner;
    this.#options = options;
    this.#plans = plans;
    this.#tickets = tickets;
    this.#memory = memory;
    this.#lanes = Math.max(1, runner.load().lanes);
    this.#timer =
      options.maxDelayMicros > 0 || options.targetMicros !== undefined
        ? new DelayTimer(this.#dispatch)
        : undefined;
  }

  run(request: RunRequest, options: RunnerOptions): RunOutputs | Promise<RunOutputs> {
    if (this.#ending !== 'no') throw modelClosed();
    const plan = this.#plans[request.signature] as SignaturePlan;
    const rows = rowsOf(request, plan);
    if (typeof rows === 'string') return this.#pass(request, options, rows);
    const queue = this.#queueOf(request, plan);
    if (queue === undefined) return this.#pass(request, options, 'queues');
    if (queue.isUnbatchable) return this.#pass(request, options, 'outputs');
    const { maxBatchSize, splitLarge } = this.#options;
    if (rows > maxBatchSize) {
      // Padding needs the batch's way even for one.
      const isFilled = needsMask(queue);
      const pieces = splitLarge
        ? splitFeeds(request.feeds as readonly RunTensor[], rows, maxBatchSize)
        : undefined;
      if (pieces !== undefined) {
        this.#admit(queue, rows, options.deadline);
        return this.#runPieces(queue, pieces, options);
      }
      if (!isFilled) return this.#pass(request, options, 'large');
    }
    this.#admit(queue, rows, options.deadline);
    return this.#enqueue(
      queue,
      rows,
      request.feeds as readonly RunTensor[],
      options,
      options.ticket,
    );
  }

  /** Batches that a caller has formed go as they are. */
  runBatch(batch: BatchRequest, options: RunnerOptions): ReturnType<Runner['runBatch']> {
    if (this.#ending !== 'no') throw modelClosed();
    return this.#runner.runBatch(batch, options);
  }

  /** One caller's end never stops a batch; that of all its members does. */
  cancel(ticket: number): void {
    const found = this.#byTicket.get(ticket);
    if (found === undefined) {
      this.#runner.cancel(ticket);
    } else if (found instanceof Entry) {
      this.#stop(found, stoppedError());
    } else {
      this.#byTicket.delete(ticket);
      for (const part of found.parts) this.#stop(part, stoppedError());
    }
  }

  load(): RunnerLoad {
    const { lanes, busy, waiting } = this.#runner.load();
    return { lanes, busy, waiting: waiting + this.#waitingRequests() };
  }

  stats(): BatcherStats {
    const queues = [...this.#eachQueue()];
    return {
      requests: this.#requests,
      batches: this.#batches,
      lone: this.#lone,
      batchRows: this.#batchRows.summary(),
      paddedRows: this.#paddedRows.sum,
      waitMicros: this.#waitMicros.summary(),
      distributions: {
        requestRows: this.#requestRows.distribution(),
        batchRows: this.#wholeRows.distribution(),
        paddedRows: this.#paddedRows.distribution(),
        waitMicros: this.#waitMicros.distribution(),
      },
      queuedRequests: this.#waitingRequests(),
      queuedRows: this.#queuedRows,
      queues: queues.length,
      inFlight: this.#inFlight,
      passed: { ...this.#passed },
      refusedFull: this.#refusedFull,
      refusedLate: this.#refusedLate,
      expired: this.#expired,
      stopped: this.#stopped,
      failedBatches: this.#failedBatches,
      retried: this.#retried,
      failed: this.#failed,
      lastError: this.#lastError,
      adaptive: queues.flatMap(({ adaptive }) => (adaptive === undefined ? [] : adaptive.stats())),
    };
  }

  /** What waits leaves without further delay; resolves when all is done and the runner is closed. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      this.#ending = 'closing';
      this.#dispatch();
      if (this.#unsettled > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
      await this.#runner.close();
      this.#memory.close();
    })();
    return this.#closed;
  }

  /**
   * What it took is rejected with `reason` at once, but for requests whose memory a batch still
   * reads: with that.
   */
  destroy(reason: unknown = destroyedError()): Promise<void> {
    this.#ending = 'destroyed';
    this.#timer?.clear();
    for (const queue of [...this.#active]) {
      for (let entry = queue.line.peek(); entry !== undefined; entry = queue.line.peek()) {
        this.#takeOut(entry);
        this.#reject(entry, reason);
      }
    }
    for (const entry of this.#again.splice(0)) {
      if (entry.state === State.again) this.#reject(entry, reason);
    }
    for (const { members } of [...this.#running]) {
      for (const member of members) this.#stop(member, reason);
    }
    for (const reject of [...this.#passing]) reject(reason);
    const destroyed = this.#runner.destroy().finally(() => this.#memory.close());
    this.#closed ??= destroyed;
    return this.#closed;
  }

  // Taking requests.

  #pass(
    request: RunRequest,
    options: RunnerOptions,
    reason: PassReason,
  ): RunOutputs | Promise<RunOutputs> {
    this.#passed[reason]++;
    const started = this.#runner.run(request, options);
    if (!isUnderWay(started)) return started;
    // It takes a lane that a batch would have.
    this.#inFlight++;
    return new Promise((resolve, reject) => {
      let destroyed: { reason: unknown } | undefined;
      const stop = (reason: unknown): void => {
        destroyed = { reason };
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it is
        if (!options.borrow) reject(reason);
      };
      const end = (): void => {
        this.#passing.delete(stop);
        this.#laneFreed();
      };
      this.#passing.add(stop);
      started.then(
        (outputs) => {
          end();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- as above
          if (destroyed !== undefined) reject(destroyed.reason);
          else resolve(outputs);
          this.#dispatch();
        },
        (error: unknown) => {
          end();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- as above
          reject(destroyed === undefined ? error : destroyed.reason);
          this.#dispatch();
        },
      );
    });
  }

  #queueOf(request: RunRequest, plan: SignaturePlan): Queue | undefined {
    const key = this.#key;
    writeKey(request, plan, this.#options.lengthBuckets, key);
    let queue = this.#lastQueue;
    if (queue === undefined || !sameKey(queue.key, key)) {
      const hash = hashKey(key);
      queue = this.#queues.get(hash);
      while (queue !== undefined && !sameKey(queue.key, key)) queue = queue.nextOfHash;
      if (queue === undefined) {
        if (this.#queueCount >= maxQueues && !this.#dropIdleQueue()) return undefined;
        const { signature, inputs, outputs } = request;
        queue = new Queue([...key], hash, plan, signature, [...inputs], [...outputs]);
        queue.nextOfHash = this.#queues.get(hash);
        this.#queues.set(hash, queue);
        this.#queueCount++;
        const { targetMicros, maxBatchSize, maxDelayMicros, allowedBatchSizes } = this.#options;
        if (targetMicros !== undefined) {
          queue.adaptive = new Adaptive(
            { targetMicros, maxBatchSize, maxDelayMicros, allowedBatchSizes },
            queue.times,
            performance.now() * 1000,
          );
        }
      }
      this.#lastQueue = queue;
    }
    queue.used = ++this.#uses;
    return queue;
  }

  *#eachQueue(): Generator<Queue> {
    for (const first of this.#queues.values()) {
      for (let queue: Queue | undefined = first; queue !== undefined; queue = queue.nextOfHash) {
        yield queue;
      }
    }
  }

  /** The one that was not used for longest. A batch of its may still run, and needs it no more. */
  #dropIdleQueue(): boolean {
    let idle: Queue | undefined;
    for (const queue of this.#eachQueue()) {
      const isIdle = queue.line.length === 0 && (idle === undefined || queue.used < idle.used);
      if (isIdle && !this.#again.some((entry) => entry.queue === queue)) idle = queue;
    }
    if (idle === undefined) return false;
    const first = this.#queues.get(idle.hash);
    if (first === idle) {
      if (idle.nextOfHash === undefined) this.#queues.delete(idle.hash);
      else this.#queues.set(idle.hash, idle.nextOfHash);
    } else {
      let before = first as Queue;
      while (before.nextOfHash !== idle) before = before.nextOfHash as Queue;
      before.nextOfHash = idle.nextOfHash;
    }
    if (this.#lastQueue === idle) this.#lastQueue = undefined;
    this.#queueCount--;
    return true;
  }

  /** @throws ERR_TENON_QUEUE_FULL, ERR_TENON_DEADLINE. */
  #admit(queue: Queue, rows: number, deadline: number): void {
    if (this.#queuedRows === 0) return;
    const { maxQueuedRows, refuseLate } = this.#options;
    const state: QueueState = {
      queuedRows: this.#queuedRows,
      maxQueuedRows,
      batchRows: this.#limitOf(queue),
      lanes: this.#lanes,
      inFlight: this.#inFlight,
      batchMicros: deadline > 0 && refuseLate ? queue.times.expected(this.#limitOf(queue)) : 0,
    };
    if (!hasRoom(state, rows)) {
      this.#refusedFull++;
      throw new TenonError(
        'ERR_TENON_QUEUE_FULL',
        `expected at most ${maxQueuedRows} rows to wait for a batch (batching.maxQueuedBatches × maxBatchSize), received ${rows} more with ${this.#queuedRows} waiting`,
      );
    }
    if (deadline > 0) {
      const leftMicros = (deadline - performance.now()) * 1000;
      if (isTooLate(state, leftMicros)) {
        this.#refusedLate++;
        throw new TenonError(
          'ERR_TENON_DEADLINE',
          `expected a batch to begin within the ${Math.max(0, leftMicros / 1000).toFixed(1)} ms the caller waits, and ${this.#queuedRows} rows are in front of it (batching.refuseLate)`,
        );
      }
    }
  }

  #enqueue(
    queue: Queue,
    rows: number,
    feeds: readonly RunTensor[],
    { priority, caller, borrow, deadline }: RunnerOptions,
    ticket: number,
  ): Promise<RunOutputs> {
    const held = borrow ? feeds : this.#hold(feeds);
    const level = levelOf(priority, this.#options.priorityLevels);
    const entry = new Entry(queue, rows, level, caller, ticket, deadline, held, borrow);
    this.#settling = entry;
    const promise = new Promise<RunOutputs>(this.#executor);
    const now = performance.now();
    entry.queuedMs = now;
    if (ticket !== 0) this.#byTicket.set(ticket, entry);
    this.#line(entry, now);
    this.#requests++;
    this.#requestRows.add(rows);
    this.#unsettled++;
    if (this.#isScheduled || this.#awaitsTurn) return promise;
    if (this.#inFlight < this.#lanes || this.#goesAhead(queue)) {
      // Runs of one tick travel together.
      this.#isScheduled = true;
      queueMicrotask(this.#dispatch);
    }
    return promise;
  }

  #line(entry: Entry, now: number): void {
    const { queue } = entry;
    if (!queue.isListed) {
      queue.isListed = true;
      this.#active.push(queue);
      queue.dueMs = now + this.#delayMsOf(queue);
    }
    queue.line.push(entry);
    this.#queuedRows += entry.rows;
  }

  #hold(feeds: readonly RunTensor[]): readonly RunTensor[] {
    const held: RunTensor[] = [];
    try {
      for (let i = 0; i < feeds.length; i++) held.push(this.#memory.hold(feeds[i] as RunTensor));
    } catch (error) {
      for (const feed of held) this.#memory.release(feed);
      throw error;
    }
    return held;
  }

  /** One for all promises, because a closure for each costs. */
  readonly #executor = (
    resolve: (outputs: RunOutputs) => void,
    reject: (error: unknown) => void,
  ): void => {
    this.#settling.resolve = resolve;
    this.#settling.reject = reject;
  };

  async #runPieces(
    queue: Queue,
    pieces: readonly RunTensor[][],
    options: RunnerOptions,
  ): Promise<RunOutputs> {
    const whole: Whole = { parts: [] };
    if (options.ticket !== 0) this.#byTicket.set(options.ticket, whole);
    const running: Promise<RunOutputs>[] = [];
    try {
      for (const feeds of pieces) {
        const rows = (feeds[0] as RunTensor)[1][0] as number;
        const part = this.#enqueue(queue, rows, feeds, options, 0);
        // The first failure is the request's; the others have no one to hear them.
        part.catch(() => undefined);
        running.push(part);
        whole.parts.push(this.#settling);
      }
      return joinOutputs(await Promise.all(running));
    } catch (error) {
      // Where one part fails nobody wants the others.
      for (const part of whole.parts) this.#stop(part, stoppedError());
      // At once, but where a batch still reads memory that was lent.
      await Promise.allSettled(running);
      throw error;
    } finally {
      this.#byTicket.delete(options.ticket);
    }
  }

  // Sending batches.

  #limitOf(queue: Queue): number {
    const size = queue.adaptive?.maxBatchSize ?? this.#options.maxBatchSize;
    return Math.min(size, queue.failureLimit);
  }

  #delayMsOf(queue: Queue): number {
    return (queue.adaptive?.delayMicros ?? this.#options.maxDelayMicros) / 1000;
  }

  #refreshLanes(): void {
    try {
      const { lanes, waiting } = this.#runner.load();
      this.#lanes = Math.max(1, lanes);
      this.#laneQueue = waiting;
    } catch {
      // A runner that is closed has no load; what is sent to it says so.
    }
  }

  readonly #dispatch = (): void => {
    this.#isScheduled = false;
    if (this.#awaitsTurn || (this.#active.length === 0 && this.#again.length === 0)) return;
    this.#refreshLanes();
    let parted: Queue | undefined;
    while (this.#inFlight < this.#lanes) {
      const again = this.#nextAgain();
      if (again !== undefined) {
        this.#sendAlone(again);
        continue;
      }
      const queue = this.#nextQueue();
      if (queue === undefined) return;
      const limit = this.#limitOf(queue);
      const rows = this.#rowsFor(queue, limit);
      if (rows < Math.min(queue.line.rows, limit)) parted = queue;
      this.#send(queue, rows, parted === queue ? Way.part : Way.usual);
      if (this.#awaitsTurn) return;
    }
    if (this.#active.length === 0 || this.#laneQueue > 0) return;
    const queue = this.#nextQueue(true);
    if (queue !== undefined && this.#goesAhead(queue)) {
      this.#ahead = this.#send(queue, this.#limitOf(queue), Way.ahead);
    }
  };

  readonly #turned = (): void => {
    this.#awaitsTurn = false;
    this.#dispatch();
  };

  /** Rows for the next batch of a queue: all that wait, or this lane's part of them. */
  #rowsFor(queue: Queue, limit: number): number {
    const idle = this.#lanes - this.#inFlight;
    if (idle < 2 || this.#active.length > 1) return limit;
    const { allowedBatchSizes } = this.#options;
    const rows = queue.sharing.rows(queue.line.rows, idle, limit, queue.times);
    return rows >= queue.line.rows ? limit : Math.min(limit, roundUp(rows, allowedBatchSizes));
  }

  /** Whether a batch of the queue is sent although all lanes are busy, see aheadMicros. */
  #goesAhead(queue: Queue): boolean {
    if (!this.#mayGoAhead || this.#ahead !== undefined || this.#inFlight !== this.#lanes) {
      return false;
    }
    const { line, times, failureLimit } = queue;
    // After a failure nothing is in a hurry.
    if (failureLimit < Infinity) return false;
    const limit = this.#limitOf(queue);
    if (line.rows < limit || times.batches < aheadBatches) return false;
    return times.expected(limit) <= aheadMicros;
  }

  #nextAgain(): Entry | undefined {
    while (this.#again.length > 0) {
      const entry = this.#again.shift() as Entry;
      if (entry.state === State.again) return entry;
    }
    return undefined;
  }

  /**
   * The queue whose first request goes first: by priority, then by age. Where none is due yet, one
   * is looked for again when it is, unless all lanes are busy (`isAhead`).
   */
  #nextQueue(isAhead = false): Queue | undefined {
    let best: Queue | undefined;
    let bestFirst: Entry | undefined;
    let dueMs = Infinity;
    const now = this.#timer === undefined ? 0 : performance.now();
    for (const queue of this.#active) {
      if (this.#timer !== undefined && !this.#isDue(queue, now)) {
        dueMs = Math.min(dueMs, queue.dueMs);
        continue;
      }
      const first = queue.line.peek() as Entry;
      const isBetter =
        bestFirst === undefined ||
        first.priority > bestFirst.priority ||
        (first.priority === bestFirst.priority && first.queuedMs < bestFirst.queuedMs);
      if (isBetter) {
        best = queue;
        bestFirst = first;
      }
    }
    if (best === undefined && dueMs < Infinity && !isAhead) this.#timer?.set(dueMs);
    return best;
  }

  #isDue(queue: Queue, now: number): boolean {
    return (
      queue.dueMs <= now || this.#ending === 'closing' || queue.line.rows >= this.#limitOf(queue)
    );
  }

  #takeOut(entry: Entry): void {
    const { queue } = entry;
    queue.line.remove(entry);
    this.#queuedRows -= entry.rows;
    if (queue.line.length > 0) return;
    queue.isListed = false;
    const at = this.#active.indexOf(queue);
    const last = this.#active.pop() as Queue;
    if (last !== queue) this.#active[at] = last;
  }

  /** @param limit Rows that the batch may have. */
  #send(queue: Queue, limit: number, way: Way): Batch | undefined {
    const now = performance.now();
    const members: Entry[] = [];
    let rows = 0;
    for (let entry = queue.line.peek(); entry !== undefined; entry = queue.line.peek()) {
      if (!fits(rows, entry.rows, limit)) break;
      this.#takeOut(entry);
      if (entry.deadline !== 0 && entry.deadline <= now) {
        this.#expired++;
        this.#reject(entry, expiredError());
        continue;
      }
      members.push(entry);
      rows += entry.rows;
      if (rows >= limit) break;
    }
    if (this.#timer !== undefined && queue.line.length > 0) {
      queue.dueMs = queue.line.least(({ queuedMs }) => queuedMs) + this.#delayMsOf(queue);
    }
    if (members.length === 0) return undefined;
    const whole = roundUp(rows, this.#options.allowedBatchSizes);
    const [first] = members;
    const batch =
      members.length === 1 && whole === rows && !needsMask(queue)
        ? this.#sendAlone(first as Entry, now, way)
        : this.#sendBatch(queue, members, rows, whole, now, way);
    return batch.hasEnded ? undefined : batch;
  }

  /** A batch of its own, whose failure is its own. */
  #sendAlone(entry: Entry, now = performance.now(), way: Way = Way.usual): Batch {
    const { queue, rows, feeds, priority, deadline, caller } = entry;
    if (needsMask(queue)) return this.#sendBatch(queue, [entry], rows, rows, now, way);
    this.#lone++;
    const ticket = entry.ticket === 0 ? this.#tickets.next() : entry.ticket;
    const batch = this.#begin([entry], rows, rows, ticket, now, way);
    const { signature, inputs, outputs } = queue;
    let started: RunOutputs | Promise<RunOutputs>;
    try {
      started = this.#runner.run(
        { signature, inputs, feeds, outputs, targets: undefined },
        // What was held is small or Tenon's own: without `borrow` it goes the shortest way.
        { ticket, priority, borrow: entry.isLent, deadline, caller },
      );
    } catch (error) {
      this.#end(batch);
      this.#fail(entry, error);
      return batch;
    }
    if (!isUnderWay(started)) {
      this.#end(batch, true);
      this.#succeed(entry, started);
      return batch;
    }
    started.then(
      (outputs) => {
        this.#end(batch);
        this.#succeed(entry, outputs);
        this.#dispatch();
      },
      (error: unknown) => {
        this.#end(batch);
        this.#fail(entry, error);
        this.#dispatch();
      },
    );
    return batch;
  }

  #sendBatch(
    queue: Queue,
    members: readonly Entry[],
    rows: number,
    whole: number,
    now: number,
    way: Way,
  ): Batch {
    const { signature, inputs, outputs, plan } = queue;
    const batch = this.#begin(members, rows, whole, this.#tickets.next(), now, way);
    let started: BatchOutputs | Promise<BatchOutputs>;
    try {
      const feeds = members.map((member) => member.feeds);
      started = this.#runner.runBatch(
        {
          signature,
          inputs,
          members: feeds,
          outputs,
          layout: layoutOf(plan, inputs, outputs, feeds, whole),
        },
        {
          ticket: batch.ticket,
          priority: (members[0] as Entry).priority,
          // Memory that was held is nobody else's to write to.
          borrow: true,
          deadline: 0,
          onLane: way === Way.part,
          caller: undefined,
        },
      );
    } catch (error) {
      this.#end(batch);
      this.#failBatch(queue, batch, error);
      return batch;
    }
    if (!isUnderWay(started)) {
      this.#end(batch, true);
      this.#succeedBatch(queue, members, started);
      // Timers and sockets come first, and with them more to share a batch.
      this.#awaitsTurn = true;
      setImmediate(this.#turned);
      return batch;
    }
    started.then(
      (results) => {
        this.#end(batch);
        this.#succeedBatch(queue, members, results);
        this.#dispatch();
      },
      (error: unknown) => {
        this.#end(batch);
        this.#failBatch(queue, batch, error);
        this.#dispatch();
      },
    );
    return batch;
  }

  #begin(
    members: readonly Entry[],
    rows: number,
    whole: number,
    ticket: number,
    now: number,
    way: Way,
  ): Batch {
    const batch = new Batch(members, rows, ticket, now, way);
    for (const member of members) {
      member.state = State.running;
      member.batch = batch;
    }
    this.#running.add(batch);
    this.#inFlight++;
    this.#batches++;
    this.#batchRows.add(rows);
    this.#wholeRows.add(whole);
    this.#paddedRows.add(whole - rows);
    return batch;
  }

  /** A lane is free, or has what was sent ahead. */
  #laneFreed(): void {
    this.#inFlight--;
    if (this.#ahead === undefined) return;
    this.#ahead.startedMs = performance.now();
    this.#ahead = undefined;
  }

  /** @param isInline Whether it ran on the calling thread. */
  #end(batch: Batch, isInline = false): void {
    const { members, rows, startedMs, live } = batch;
    if (this.#ahead === batch) this.#ahead = undefined;
    this.#laneFreed();
    this.#running.delete(batch);
    batch.hasEnded = true;
    if (live < members.length) {
      for (const member of members) {
        if (member.state === State.settled) this.#release(member);
        else if (member.state === State.leaving) this.#reject(member, member.leftFor);
      }
    }
    if (live === 0) return;
    const nowMs = performance.now();
    const { queue } = members[0] as Entry;
    const micros = (nowMs - startedMs) * 1000;
    for (const { queuedMs } of members) this.#waitMicros.add((startedMs - queuedMs) * 1000);
    queue.times.note(rows, micros);
    if (batch.way === Way.part) {
      // Parts that do not run beside each other take the time of all of them.
      queue.sharing.note(rows, isInline ? micros * (this.#lanes - this.#inFlight) : micros);
    }
    if (queue.adaptive === undefined) return;
    for (const { queuedMs } of members) queue.adaptive.noteLatency((nowMs - queuedMs) * 1000);
    queue.adaptive.noteBatch(rows, micros, queue.line.rows, this.#lanes, nowMs * 1000);
  }

  // Settling requests.

  #failBatch(queue: Queue, { members, way }: Batch, error: unknown): void {
    const waiting = members.filter(({ state }) => state === State.running);
    if (waiting.length === 0) return;
    const code = (error as TenonError | null)?.code;
    if (way === Way.ahead && code === 'ERR_TENON_QUEUE_FULL') {
      this.#takeBack(waiting);
      return;
    }
    this.#failedBatches++;
    this.#lastError = inShort(error);
    if (code === 'ERR_TENON_BATCH') queue.isUnbatchable = true;
    const isAlone = members.length === 1 && (code !== 'ERR_TENON_BATCH' || needsMask(queue));
    if (isAlone || this.#ending === 'destroyed' || overload.has(code)) {
      // Of several nobody knows whose the failure is, and there is no time left to find out.
      const isAnyones = !isAlone && !overload.has(code);
      for (const member of waiting) this.#fail(member, isAnyones ? destroyedError() : error);
      return;
    }
    queue.failureLimit = limitAfterFailure(waiting.reduce((sum, { rows }) => sum + rows, 0));
    for (const member of waiting) {
      member.state = State.again;
      member.batch = undefined;
      this.#retried++;
      this.#again.push(member);
    }
  }

  /** The lanes let nothing wait: whoever is sent there must be sure of one. */
  #takeBack(entries: readonly Entry[]): void {
    this.#mayGoAhead = false;
    const now = performance.now();
    for (const entry of entries) {
      entry.state = State.waiting;
      entry.batch = undefined;
      this.#line(entry, now);
    }
  }

  #succeedBatch(queue: Queue, members: readonly Entry[], results: BatchOutputs): void {
    if (queue.failureLimit < Infinity) {
      queue.failureLimit = limitAfterSuccess(
        queue.failureLimit,
        queue.adaptive?.maxBatchSize ?? this.#options.maxBatchSize,
      );
    }
    members.forEach((member, i) => this.#succeed(member, results[i] as RunOutputs));
  }

  #succeed(entry: Entry, outputs: RunOutputs): void {
    if (entry.state === State.settled) return;
    this.#settle(entry);
    entry.resolve(outputs);
  }

  #fail(entry: Entry, error: unknown): void {
    if (entry.state === State.settled) return;
    this.#failed++;
    this.#reject(entry, error);
  }

  #reject(entry: Entry, error: unknown): void {
    this.#settle(entry);
    entry.reject(error);
  }

  #stop(entry: Entry, error: unknown): void {
    const { state, batch } = entry;
    if (state === State.settled || state === State.leaving) return;
    if (state === State.waiting) this.#takeOut(entry);
    this.#stopped++;
    if (state === State.running && entry.isLent) {
      entry.state = State.leaving;
      entry.leftFor = error;
    } else {
      this.#reject(entry, error);
    }
    if (state === State.running && batch !== undefined && --batch.live === 0) {
      this.#runner.cancel(batch.ticket);
    }
  }

  #settle(entry: Entry): void {
    entry.state = State.settled;
    if (entry.ticket !== 0) this.#byTicket.delete(entry.ticket);
    if (entry.batch === undefined || entry.batch.hasEnded) this.#release(entry);
    this.#unsettled--;
    if (this.#unsettled === 0) this.#drained?.();
  }

  /** What a batch reads is kept until it has ended, whoever has left it. */
  #release({ feeds, isLent }: Entry): void {
    if (isLent) return;
    for (let i = 0; i < feeds.length; i++) this.#memory.release(feeds[i] as RunTensor);
  }

  #waitingRequests(): number {
    return (
      this.#active.reduce((sum, { line }) => sum + line.length, 0) +
      this.#again.reduce((sum, { state }) => sum + (state === State.again ? 1 : 0), 0)
    );
  }
}

/** Failures that say nothing of the members: trying each again would only add to them. */
const overload = new Set<string | undefined>([
  'ERR_TENON_QUEUE_FULL',
  'ERR_TENON_MODEL_CLOSED',
  'ERR_TENON_ABORTED',
]);

/** Whether requests of this queue leave an input to the batcher. */
function needsMask({ plan, inputs }: Queue): boolean {
  return plan.mask !== undefined && !inputs.includes(plan.mask.input);
}

function stoppedError(): TenonError {
  return new TenonError('ERR_TENON_ABORTED', 'the run was stopped');
}

function destroyedError(): TenonError {
  return new TenonError('ERR_TENON_ABORTED', 'the model was destroyed before the run began');
}

function expiredError(): TenonError {
  return new TenonError(
    'ERR_TENON_TIMEOUT',
    'expected a batch to take the run before its time was up, and none did',
  );
}
