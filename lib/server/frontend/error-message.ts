import { StatusError } from '../../codec/status.js';
import type { ErrorMessage } from './messages.js';

export function messageOf(error: unknown): ErrorMessage {
  return {
    status: error instanceof StatusError ? error.status : undefined,
    message: asError(error).message,
  };
}

export function errorOf({ status, message }: ErrorMessage): Error {
  return status === undefined ? new Error(message) : new StatusError(status, message);
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
