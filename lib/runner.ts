/**
 * The contract of whatever runs a model: a native session, a pool of sessions, a batcher. Each is a
 * Runner over another; only the model facade (lib/model) puts them together.
 */
import type {
  NativeBatchLayout,
  NativeBatchOutputs,
  NativeOutputs,
  NativeRunOptions,
  NativeTarget,
  NativeTensorIn,
  NativeValueIn,
} from './native/types.js';

export type { NativeBatchLayout as BatchLayout } from './native/types.js';
export type { NativeBatchOutputs as BatchOutputs } from './native/types.js';
export type { NativeOutputs as RunOutputs } from './native/types.js';
export type { NativeTensorIn as RunTensor } from './native/types.js';
export type { NativeTensorOut as RunTensorOut } from './native/types.js';

/** One call: names are indices, and what a caller gave has been checked against the model. */
export interface RunRequest {
  /** Index of the signature. */
  readonly signature: number;
  /** Which inputs are fed: indices into the signature's inputs. */
  readonly inputs: readonly number[];
  /** One for each of `inputs`. */
  readonly feeds: readonly NativeValueIn[];
  /** Which outputs to compute, by index, in this order. */
  readonly outputs: readonly number[];
  /** Where each goes; undefined: all to host memory of their own. */
  readonly targets: readonly NativeTarget[] | undefined;
  /** What the engine is told of this run alone: it can share no call with others. */
  readonly options?: NativeRunOptions | undefined;
}

/** Several calls that ask for the same, as one call of the engine. Outputs go to host memory. */
export interface BatchRequest {
  readonly signature: number;
  readonly inputs: readonly number[];
  /** For each member the tensors of `inputs`; dimension 0 is rows. */
  readonly members: readonly (readonly NativeTensorIn[])[];
  readonly outputs: readonly number[];
  readonly layout: NativeBatchLayout;
}

/** A runner reads these during the call only. */
export interface RunnerOptions {
  /** By which `cancel` finds the run while it is under way; 0 for one that nobody cancels. */
  readonly ticket: number;
  /** Higher goes first, equal ones in order. */
  readonly priority: number;
  /** The caller leaves its buffers alone until the run has ended, so they need no copy. */
  readonly borrow: boolean;
  /**
   * When the caller stops waiting, in milliseconds of `performance.now()`; 0: never. Whoever set it
   * cancels then; a runner may use it to refuse what would come too late.
   */
  readonly deadline: number;
  /** A batch goes to a lane, however short it is: another one is to go on beside it. */
  readonly onLane?: boolean;
  /** Whose run it is, where lanes are to be shared fairly between callers. */
  readonly caller: string | undefined;
}

/** How much a runner has to do, at one moment. */
export interface RunnerLoad {
  /** Runs it can have under way at once. */
  readonly lanes: number;
  /** Lanes that run, abandoned runs included. */
  readonly busy: number;
  /** Runs that wait for a lane. */
  readonly waiting: number;
}

export interface Runner {
  /**
   * The outputs at once where the run happened on the calling thread, a promise of them otherwise.
   * Throws or rejects with a TenonError.
   */
  run(request: RunRequest, options: RunnerOptions): NativeOutputs | Promise<NativeOutputs>;
  /**
   * Several requests as one, as `run` does one. Memory of the members follows its rules; `cancel`
   * finds the batch by its ticket. Who gets the outputs at once lets the event loop turn before the
   * next batch.
   */
  runBatch(
    batch: BatchRequest,
    options: RunnerOptions,
  ): NativeBatchOutputs | Promise<NativeBatchOutputs>;
  /** Asks a run to stop; one that waits leaves its queue, and rejects with ERR_TENON_ABORTED. */
  cancel(ticket: number): void;
  load(): RunnerLoad;
  /** Lets accepted runs end; resolves when everything is given back. */
  close(): Promise<void>;
  /** Stops accepted runs, then as `close`. */
  destroy(): Promise<void>;
}

/** Whether a run or a batch goes on, instead of having happened on the calling thread. */
export function isUnderWay<Outputs extends readonly unknown[]>(
  started: Outputs | Promise<Outputs>,
): started is Promise<Outputs> {
  return !Array.isArray(started);
}

/**
 * Tickets for runs: 32 bits and not 0; one is free again long before the count comes round. Whoever
 * makes runs of one runner takes them from one of these.
 */
export class Tickets {
  #last = 0;

  next(): number {
    this.#last = (this.#last % 0xffff_fffe) + 1;
    return this.#last;
  }
}
