/** The classification extension: the highest numbers of an output, and where they are. */

import { maxStringsDefault } from '../../codec/oip/raw.js';
import { Tensor, type TypedArray } from '../../index.js';
import { invalid } from '../tfserving/errors.js';

const encoder = new TextEncoder();

/**
 * The `count` highest numbers of each row as BYTES [rows, count], or [count] where the output has at
 * most one dimension; fewer where a row has fewer. Each is "value:index", floats with six decimals;
 * equal ones in the order of their indices, a NaN behind all others.
 *
 * @throws StatusError INVALID_ARGUMENT for an output that has no numbers, and for too many classes.
 */
export function classesOf(tensor: Tensor, count: number, subject: string): Tensor<'string'> {
  const { dtype, shape, size } = tensor;
  if (dtype === 'string' || dtype === 'bool') {
    throw invalid(`expected numbers to classify ${subject} by, received elements of ${dtype}`);
  }
  const isMatrix = shape.length > 1;
  const rows = isMatrix ? (shape[0] as number) : 1;
  const width = rows === 0 ? 0 : size / rows;
  const taken = Math.min(count, width);
  if (rows * taken > maxStringsDefault) {
    throw invalid(
      `expected at most ${maxStringsDefault} classes of ${subject}, received a request for ${rows * taken}`,
    );
  }
  const isHalf = dtype === 'float16' || dtype === 'bfloat16';
  const values = isHalf ? tensor.toFloat32() : (tensor.data as TypedArray);
  const elements: Uint8Array[] = [];
  for (let row = 0; row < rows; row++) {
    const numbers = values.subarray(row * width, (row + 1) * width);
    for (const index of highest(numbers, taken)) {
      const value = numbers[index] as number | bigint;
      const text = isHalf || dtype.startsWith('float') ? Number(value).toFixed(6) : String(value);
      elements.push(encoder.encode(`${text}:${index}`));
    }
  }
  return new Tensor('string', elements, isMatrix ? [rows, taken] : [taken]);
}

/** The indices of the `count` highest, in that order. */
function highest(numbers: TypedArray, count: number): number[] {
  if (count > maxInserted) return sorted(numbers).slice(0, count);
  const found: number[] = [];
  for (let index = 0; index < numbers.length; index++) {
    const isFull = found.length === count;
    if (isFull && !isHigher(numbers, index, found[count - 1] as number)) continue;
    if (isFull) found.pop();
    let place = found.length;
    while (place > 0 && isHigher(numbers, index, found[place - 1] as number)) place--;
    found.splice(place, 0, index);
  }
  return found;
}

/** Up to so many are found in one pass. */
const maxInserted = 64;

function sorted(numbers: TypedArray): number[] {
  return [...numbers.keys()].sort((a, b) => {
    if (isHigher(numbers, a, b)) return -1;
    return isHigher(numbers, b, a) ? 1 : a - b;
  });
}

function isHigher(numbers: TypedArray, a: number, b: number): boolean {
  const first = numbers[a] as number;
  const second = numbers[b] as number;
  if (Number.isNaN(second)) return !Number.isNaN(first);
  return first > second;
}
