import { expect } from 'vitest';

import { TenonError, type TenonErrorCode } from '../../lib/index.js';

/** The TenonError that `action` ends in; fails where it ends otherwise. */
export async function errorOf(action: () => unknown): Promise<TenonError> {
  try {
    await action();
  } catch (error) {
    expect(error, `expected a TenonError, received ${String(error)}`).toBeInstanceOf(TenonError);
    return error as TenonError;
  }
  throw new Error('expected an error, and there was none');
}

/** Asserts that `action` ends in a TenonError of this code whose message has each of `words`. */
export async function expectError(
  code: TenonErrorCode,
  action: () => unknown,
  ...words: (string | RegExp)[]
): Promise<void> {
  const error = await errorOf(action);
  expect(error.code, error.message).toBe(code);
  for (const word of words) {
    if (typeof word === 'string') expect(error.message).toContain(word);
    else expect(error.message).toMatch(word);
  }
}
