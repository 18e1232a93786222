/** What went wrong inside → the status and text that a client of TensorFlow Serving expects. */

import { type StatusName, StatusCode, StatusError } from '../../codec/status.js';
import { TenonError, type TenonErrorCode } from '../../index.js';

export function invalid(message: string): StatusError {
  return new StatusError('INVALID_ARGUMENT', message);
}

export function timedOut(): StatusError {
  return new StatusError('DEADLINE_EXCEEDED', 'Timed out waiting for notification');
}

export function cancelled(): StatusError {
  return new StatusError('CANCELLED', 'Run call was cancelled');
}

/** TensorFlow's error codes are gRPC's numbers. */
const byNumber = new Map<number, StatusName>(
  Object.entries(StatusCode).map(([name, number]) => [number, name as StatusName]),
);

/** OrtErrorCode, as far as it says more than that the run failed. */
const byOrtCode = new Map<number, StatusName>([
  [2, 'INVALID_ARGUMENT'],
  [9, 'UNIMPLEMENTED'],
]);

const byCode: Partial<Record<TenonErrorCode, StatusName>> = {
  ERR_TENON_INVALID_ARGUMENT: 'INVALID_ARGUMENT',
  ERR_TENON_UNKNOWN_FEED: 'INVALID_ARGUMENT',
  ERR_TENON_MISSING_FEED: 'INVALID_ARGUMENT',
  ERR_TENON_UNKNOWN_OUTPUT: 'INVALID_ARGUMENT',
  ERR_TENON_UNKNOWN_SIGNATURE: 'INVALID_ARGUMENT',
  ERR_TENON_DTYPE: 'INVALID_ARGUMENT',
  ERR_TENON_SHAPE: 'INVALID_ARGUMENT',
  ERR_TENON_DATA_LENGTH: 'INVALID_ARGUMENT',
  ERR_TENON_TOO_LARGE: 'INVALID_ARGUMENT',
  ERR_TENON_INVALID_UTF8: 'INVALID_ARGUMENT',
  ERR_TENON_UNSUPPORTED: 'UNIMPLEMENTED',
  ERR_TENON_OUT_OF_MEMORY: 'RESOURCE_EXHAUSTED',
  ERR_TENON_BATCH: 'FAILED_PRECONDITION',
  ERR_TENON_MODEL_CLOSED: 'UNAVAILABLE',
  ERR_TENON_POOL_CLOSED: 'UNAVAILABLE',
};

/** What is known of the run that failed. */
export interface FailedRun {
  readonly engine: string;
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether the feeds have the shapes that the model declares. ONNX Runtime tells a request that
   * does not fit from a fault of its own by its text alone, so this has to.
   */
  fitsDeclaration(): boolean;
}

/**
 * @returns The error itself where it is a StatusError; for everything that is not known INTERNAL,
 *   with its message.
 */
export function statusOf(error: unknown, run?: FailedRun): StatusError {
  if (error instanceof StatusError) return error;
  if (run?.signal?.aborted === true) {
    const reason: unknown = run.signal.reason;
    return reason instanceof StatusError ? reason : cancelled();
  }
  if (!(error instanceof TenonError)) {
    const message = error instanceof Error ? error.message : String(error);
    return new StatusError('INTERNAL', message, { cause: error });
  }
  const { code, message } = error;
  switch (code) {
    case 'ERR_TENON_TIMEOUT':
      return timedOut();
    case 'ERR_TENON_ABORTED':
      return cancelled();
    case 'ERR_TENON_DEADLINE':
      return new StatusError(
        'RESOURCE_EXHAUSTED',
        'Run() timeout exceeded while waiting in batching queue',
        { cause: error },
      );
    case 'ERR_TENON_QUEUE_FULL':
      return new StatusError(
        'UNAVAILABLE',
        `The batch scheduling queue to which this task was submitted is full; ${message}`,
        { cause: error },
      );
    case 'ERR_TENON_RUN':
      return new StatusError(statusOfRun(error, run), message, { cause: error });
    default:
      return new StatusError(byCode[code] ?? 'INTERNAL', message, { cause: error });
  }
}

function statusOfRun({ engineCode }: TenonError, run: FailedRun | undefined): StatusName {
  if (engineCode === undefined || run === undefined) return 'INTERNAL';
  if (run.engine === 'tensorflow') return byNumber.get(engineCode) ?? 'UNKNOWN';
  return byOrtCode.get(engineCode) ?? (run.fitsDeclaration() ? 'INTERNAL' : 'INVALID_ARGUMENT');
}
