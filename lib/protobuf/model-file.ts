import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

import { TenonError } from '../errors.js';
import type { MessageType } from './message.js';
import { decodeFile } from './project.js';

/** Opens for reading, but does not wait until somebody writes to a pipe of that name. */
export const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Decodes a model's file. ERR_TENON_MODEL_NOT_FOUND where it is missing or cannot be read (the
 * file system's error is the cause), ERR_TENON_MODEL_INVALID where it is not `expected`,
 * ERR_TENON_TOO_LARGE where more than 256 MiB of it would have to be kept.
 */
export async function decodeModelFile<T extends object>(
  type: MessageType<T>,
  file: string,
  expected: string,
): Promise<T> {
  try {
    const handle = await open(file, readFlags);
    try {
      if (!(await handle.stat()).isFile()) {
        throw new TenonError(
          'ERR_TENON_MODEL_NOT_FOUND',
          `expected a file with ${expected} for "${file}", received something that is no file`,
        );
      }
      return await decodeFile(type, handle, { code: 'ERR_TENON_MODEL_INVALID', subject: file });
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof TenonError) throw error;
    throw isMissing(error)
      ? notFound(`expected a file with ${expected} for "${file}", found nothing there`, error)
      : unreadable(file, error);
  }
}

/** Whether a file system error says that there is no such file or folder. */
export function isMissing(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

export function notFound(message: string, cause?: unknown): TenonError {
  return new TenonError('ERR_TENON_MODEL_NOT_FOUND', message, { cause });
}

export function unreadable(file: string, cause: unknown): TenonError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return notFound(`expected to be able to read "${file}", received ${reason}`, cause);
}
