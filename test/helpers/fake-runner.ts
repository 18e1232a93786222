import { TenonError } from '../../lib/errors.js';
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
} from '../../lib/runner.js';

const float32 = 1;

/** A request of float32 rows, all inputs alike. */
export function requestOf(
  values: Float32Array,
  shape: readonly number[],
  signature = 0,
): RunRequest {
  return {
    signature,
    inputs: [0],
    feeds: [[float32, shape, values]],
    outputs: [0],
    targets: undefined,
  };
}

export const nobody: RunnerOptions = {
  ticket: 0,
  priority: 0,
  borrow: false,
  deadline: 0,
  caller: undefined,
};

/** A call of the engine that ends when the test says so. */
export interface FakeCall {
  readonly members: readonly (readonly RunTensor[])[];
  readonly batch: BatchRequest | undefined;
  readonly options: RunnerOptions;
  /** Ends it with what the model gives: twice each element. */
  succeed(): void;
  fail(error: unknown): void;
}

/** The model doubles each element. */
export function doubled([dtype, shape, data]: RunTensor): RunOutputs[number] {
  const values = Float32Array.from(data as Float32Array, (value) => 2 * value);
  return [dtype, [...shape], values.buffer];
}

export function valuesOf(outputs: RunOutputs): number[] {
  const [, , buffer] = outputs[0] as unknown as [number, number[], ArrayBuffer];
  return [...new Float32Array(buffer)];
}

/** A Runner whose calls wait for the test; `cancel` rejects as a lane would. */
export class FakeRunner implements Runner {
  readonly calls: FakeCall[] = [];
  /** Every call, ended ones included. */
  readonly history: FakeCall[] = [];
  readonly cancelled: number[] = [];
  ended: 'closed' | 'destroyed' | undefined;
  /** Throws from the call itself where it gives an error. */
  refuse: (members: FakeCall['members']) => unknown = () => undefined;
  /** Whether a call happens on the calling thread, where it may. */
  runsInline: (members: FakeCall['members']) => boolean = () => false;
  /** Runs of others that wait for a lane. */
  waiting = 0;
  mostAtOnce = 0;

  constructor(readonly lanes = 1) {}

  run(request: RunRequest, options: RunnerOptions): RunOutputs | Promise<RunOutputs> {
    const members = [request.feeds as readonly RunTensor[]];
    const started = this.#begin(members, undefined, options);
    return isUnderWay(started)
      ? started.then(([outputs]) => outputs as RunOutputs)
      : (started[0] as RunOutputs);
  }

  runBatch(batch: BatchRequest, options: RunnerOptions): BatchOutputs | Promise<BatchOutputs> {
    return this.#begin(batch.members, batch, options);
  }

  #begin(
    members: FakeCall['members'],
    batch: BatchRequest | undefined,
    options: RunnerOptions,
  ): BatchOutputs | Promise<BatchOutputs> {
    const refusal = this.refuse(members);
    if (refusal !== undefined) throw refusal as Error;
    if (options.onLane !== true && this.runsInline(members)) {
      const ended = (): void => undefined;
      this.history.push({ members, batch, options, succeed: ended, fail: ended });
      return members.map((feeds) => feeds.map(doubled));
    }
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.calls.splice(this.calls.indexOf(call), 1);
      };
      const call: FakeCall = {
        members,
        batch,
        options,
        succeed: () => {
          end();
          resolve(members.map((feeds) => feeds.map(doubled)));
        },
        fail: (error) => {
          end();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- as the test gave it
          reject(error);
        },
      };
      this.calls.push(call);
      this.history.push(call);
      this.mostAtOnce = Math.max(this.mostAtOnce, this.calls.length);
    });
  }

  cancel(ticket: number): void {
    this.cancelled.push(ticket);
    const call = this.calls.find(({ options }) => options.ticket === ticket && ticket !== 0);
    call?.fail(new TenonError('ERR_TENON_ABORTED', 'stopped'));
  }

  load(): RunnerLoad {
    return { lanes: this.lanes, busy: this.calls.length, waiting: this.waiting };
  }

  close(): Promise<void> {
    this.ended ??= 'closed';
    return Promise.resolve();
  }

  destroy(): Promise<void> {
    this.ended = 'destroyed';
    for (const call of [...this.calls]) call.fail(new TenonError('ERR_TENON_ABORTED', 'destroyed'));
    return Promise.resolve();
  }
}

/** Lets every microtask that waits run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}
