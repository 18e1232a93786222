import { TenonError } from '../../errors.js';
import { StatusError } from '../status.js';

/**
 * What `decode` gives. Bytes that are no such message become a StatusError INTERNAL, the status
 * that servers of gRPC answer them with.
 */
export function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof TenonError && error.code === 'ERR_TENON_INVALID_ARGUMENT') {
      throw new StatusError('INTERNAL', error.message, { cause: error });
    }
    throw error;
  }
}

/** How errors about the bytes call them. */
export const decodeOptions = { subject: 'request' } as const;
