/** Whether a request may wait: pure functions. */

export interface QueueState {
  /** Rows that wait already. */
  readonly queuedRows: number;
  /** Rows that may wait. */
  readonly maxQueuedRows: number;
  /** Rows that go into one batch. */
  readonly batchRows: number;
  readonly lanes: number;
  /** Batches under way. */
  readonly inFlight: number;
  /** What a full batch is expected to take, in microseconds; 0: nothing is known yet. */
  readonly batchMicros: number;
}

/** A request that nothing is in front of is always taken, however many rows it has. */
export function hasRoom({ queuedRows, maxQueuedRows }: QueueState, rows: number): boolean {
  return queuedRows === 0 || queuedRows + rows <= maxQueuedRows;
}

/**
 * Microseconds until a request that comes now is expected to begin: those in front of it leave in
 * full batches, as many at a time as there are lanes; of a batch under way half is left.
 */
export function predictedWaitMicros(state: QueueState): number {
  const { queuedRows, batchRows, lanes, inFlight, batchMicros } = state;
  if (inFlight < lanes && queuedRows === 0) return 0;
  const batches = Math.floor(queuedRows / Math.max(1, batchRows));
  return (batches / lanes + (inFlight < lanes ? 0 : 0.5 / lanes)) * batchMicros;
}

/**
 * Whether a request would come too late for a caller that waits `leftMicros` more: its wait alone,
 * without its run, takes longer.
 */
export function isTooLate(state: QueueState, leftMicros: number): boolean {
  return state.batchMicros > 0 && predictedWaitMicros(state) > leftMicros;
}
