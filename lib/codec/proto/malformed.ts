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

/**
 * Strings, examples and other elements that one request may have, as the JSON codec's kMaxStrings:
 * each is an object of a hundred bytes and more, of which two on the wire say that it is there.
 */
export const maxElements = 2 ** 20;

/** How errors about the bytes call them, and how many elements they may have. */
export const decodeOptions = { subject: 'request', maxElements } as const;
