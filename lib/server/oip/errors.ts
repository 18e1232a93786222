/** Errors as the Open Inference Protocol has them. */

import type { StatusError } from '../../codec/status.js';
import { type StatusName } from '../../codec/status.js';
import { HttpError } from '../http-status.js';

/** What the protocol gives another HTTP status than 400. */
const httpStatuses: Partial<Record<StatusName, number>> = {
  UNAUTHENTICATED: 401,
  NOT_FOUND: 404,
  CANCELLED: 499,
  INTERNAL: 500,
  UNKNOWN: 500,
  DATA_LOSS: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 503,
  RESOURCE_EXHAUSTED: 503,
};

export function oipHttpStatus(error: StatusError): number {
  return error instanceof HttpError ? error.httpStatus : (httpStatuses[error.status] ?? 400);
}

/** `{"error": "<message>"}` */
export function oipErrorBody(message: string): Buffer {
  return Buffer.from(JSON.stringify({ error: message }));
}
