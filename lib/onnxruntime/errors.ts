/**
 * Errors as users of onnxruntime-node know them: plain Error, TypeError and RangeError with the
 * messages that their tests match on. Each has one of Tenon's codes besides.
 */

import { TenonError, type TenonErrorCode } from '../index.js';

/** An error of the drop-in: match on `code`, or on its class and message as before. */
export type CodedError = Error & { code: TenonErrorCode };

function coded(error: Error, code: TenonErrorCode): CodedError {
  return Object.assign(error, { code });
}

/** Something of the wrong type. */
export function typeError(message: string, code: TenonErrorCode = 'ERR_TENON_INVALID_ARGUMENT') {
  return coded(new TypeError(message), code);
}

/** A number that lies where none may. */
export function rangeError(message: string, code: TenonErrorCode = 'ERR_TENON_INVALID_ARGUMENT') {
  return coded(new RangeError(message), code);
}

/** Anything else. */
export function failure(message: string, code: TenonErrorCode, cause?: unknown): CodedError {
  return coded(new Error(message, cause === undefined ? undefined : { cause }), code);
}

export function disposed(): CodedError {
  return failure('Session already disposed.', 'ERR_TENON_MODEL_CLOSED');
}

export function terminated(cause?: unknown): CodedError {
  return failure('Exiting due to terminate flag being set to true.', 'ERR_TENON_ABORTED', cause);
}

/** What a run threw. Anything that is no TenonError is the caller's own: an AbortSignal's reason. */
export function runError(error: unknown): unknown {
  if (!(error instanceof TenonError)) return error;
  if (error.code === 'ERR_TENON_MODEL_CLOSED') return disposed();
  return failure(error.message, error.code, error);
}

/** What a load threw. */
export function loadError(error: unknown, source: string | Uint8Array): unknown {
  if (!(error instanceof TenonError)) return error;
  const { message, code } = error;
  // Messages of a failed load have always had this word in them.
  const telling = /failed|model data/i.test(message);
  const subject = typeof source === 'string' ? ` from ${source}` : '';
  return failure(telling ? message : `Load model${subject} failed:${message}`, code, error);
}
