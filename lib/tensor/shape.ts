import { describe, TenonError } from '../errors.js';

/** Elements of a shape; 1 for rank 0. */
export function elementCount(shape: readonly number[]): number {
  let size = 1;
  for (const dimension of shape) size *= dimension;
  return size;
}

/** "[1,224,224,3]", with ? for what is unknown. */
export function shapeText(shape: readonly (number | string | null)[] | null): string {
  if (shape === null) return '[…]';
  return `[${shape.map((dimension) => dimension ?? '?').join(',')}]`;
}

/**
 * A shape as a caller gave it, checked and copied: non-negative integers whose product is a safe
 * integer.
 */
export function checkShape(shape: unknown, subject: string): number[] {
  if (!Array.isArray(shape)) {
    throw new TenonError(
      'ERR_TENON_SHAPE',
      `expected an array of non-negative integers as the shape of ${subject}, received ${describe(shape)}`,
    );
  }
  let size = 1;
  for (const dimension of shape as unknown[]) {
    if (typeof dimension !== 'number' || !Number.isInteger(dimension) || dimension < 0) {
      throw new TenonError(
        'ERR_TENON_SHAPE',
        `expected non-negative integers in the shape of ${subject}, received ${describe(dimension)}`,
      );
    }
    if (dimension !== 0) size *= dimension;
    if (!Number.isSafeInteger(size)) {
      throw new TenonError(
        'ERR_TENON_TOO_LARGE',
        `expected at most 2^53 - 1 elements in the shape of ${subject}, received ${shapeText(shape as number[])}`,
      );
    }
  }
  return (shape as number[]).slice();
}
