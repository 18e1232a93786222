import type { NativeBatchOutputs, NativeOutputs, NativeSession } from '../native/types.js';
import type { BatchRequest, Runner, RunnerLoad, RunnerOptions, RunRequest } from '../runner.js';
import { runBatch } from './batch-call.js';
import { run } from './exchange.js';

/** One session of an engine, with its lanes. */
export class NativeRunner implements Runner {
  readonly session: NativeSession;
  #closed: Promise<void> | undefined;

  constructor(session: NativeSession) {
    this.session = session;
  }

  run(request: RunRequest, options: RunnerOptions): NativeOutputs | Promise<NativeOutputs> {
    return run(this.session, request, options);
  }

  runBatch(
    batch: BatchRequest,
    options: RunnerOptions,
  ): NativeBatchOutputs | Promise<NativeBatchOutputs> {
    return runBatch(this.session, batch, options);
  }

  cancel(ticket: number): void {
    this.session.cancel(ticket);
  }

  load(): RunnerLoad {
    const [lanes, busy, waiting] = this.session.load();
    return { lanes, busy, waiting };
  }

  close(): Promise<void> {
    this.#closed ??= this.session.close();
    return this.#closed;
  }

  destroy(): Promise<void> {
    const closed = this.close();
    this.session.cancelAll();
    return closed;
  }
}
