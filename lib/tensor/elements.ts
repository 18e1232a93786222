/** Arrays of JavaScript values to the carrier of a dtype, each element checked. */

import { describe, TenonError } from '../errors.js';
import { numberToBfloat16, numberToFloat16, pack } from './convert.js';
import { carrierLength, type DType, dtypes, type TypedArray } from './dtypes.js';
import { elementCount } from './shape.js';

/** No tensor of either engine has a rank near this; only a cyclic array gets there. */
const maxRank = 64;

/** Ranges of the integer types. */
const integerRanges: Partial<Record<DType, readonly [min: bigint, max: bigint]>> = {
  int2: [-2n, 1n],
  uint2: [0n, 3n],
  int4: [-8n, 7n],
  uint4: [0n, 15n],
  int8: [-(2n ** 7n), 2n ** 7n - 1n],
  uint8: [0n, 2n ** 8n - 1n],
  int16: [-(2n ** 15n), 2n ** 15n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  qint8: [-(2n ** 7n), 2n ** 7n - 1n],
  quint8: [0n, 2n ** 8n - 1n],
  qint16: [-(2n ** 15n), 2n ** 15n - 1n],
  quint16: [0n, 2n ** 16n - 1n],
  qint32: [-(2n ** 31n), 2n ** 31n - 1n],
};

function isNested(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/**
 * The shape of nested arrays, read off their first elements; `dataFromElements` finds ragged ones.
 * Uint8Arrays are strings as bytes, hence elements.
 */
export function nestedShape(values: unknown): number[] {
  const shape: number[] = [];
  for (let level = values; isNested(level); level = level[0]) {
    shape.push(level.length);
    if (shape.length > maxRank) {
      throw new TenonError(
        'ERR_TENON_SHAPE',
        `expected arrays nested at most ${maxRank} deep, received deeper ones`,
      );
    }
  }
  return shape;
}

/** The dtype that JavaScript values have of themselves: see Tensor.from. */
export function inferDType(values: unknown): DType {
  let first = values;
  for (let depth = 0; isNested(first) && depth <= maxRank; depth++) first = first[0];
  switch (typeof first) {
    case 'bigint':
      return 'int64';
    case 'boolean':
      return 'bool';
    case 'string':
      return 'string';
    case 'number':
    case 'undefined':
      return 'float32';
    default:
      if (first instanceof Uint8Array) return 'string';
      throw new TenonError(
        'ERR_TENON_DTYPE',
        `expected numbers, bigints, booleans or strings as elements, received ${describe(first)}`,
      );
  }
}

/** A complex element is a pair: the innermost dimension of the arrays is not one of the tensor. */
export function tensorShape(dtype: DType, nested: readonly number[]): number[] {
  if (dtypes[dtype].parts === 1) return nested.slice();
  // Without elements there is no pair to leave out.
  if (nested.includes(0)) return nested.slice();
  if (nested.at(-1) !== 2) {
    throw new TenonError(
      'ERR_TENON_SHAPE',
      `expected [real, imaginary] pairs as elements of ${dtype}, received arrays of shape [${nested.join(',')}]`,
    );
  }
  return nested.slice(0, -1);
}

/**
 * The elements of nested arrays of `nested` shape in the carrier of `dtype`.
 *
 * @throws ERR_TENON_SHAPE for ragged arrays, ERR_TENON_DTYPE for an element that does not fit.
 */
export function dataFromElements(
  dtype: DType,
  values: unknown,
  nested: readonly number[],
): TypedArray | (string | Uint8Array)[] {
  const store = elementStore(dtype, nested);
  let index = 0;
  const visit = (level: unknown, depth: number): void => {
    if (depth === nested.length) {
      if (isNested(level)) throw ragged(nested, depth, level);
      store.set(index++, level);
      return;
    }
    if (!isNested(level) || level.length !== nested[depth]) throw ragged(nested, depth, level);
    for (const item of level) visit(item, depth + 1);
  };
  visit(values, 0);
  return store.data;
}

function ragged(shape: readonly number[], depth: number, received: unknown): TenonError {
  const expected = depth === shape.length ? 'an element' : `an array of ${shape[depth] ?? 0}`;
  return new TenonError(
    'ERR_TENON_SHAPE',
    `expected ${expected} at depth ${depth} of arrays of shape [${shape.join(',')}], received ${describe(received)}`,
  );
}

interface ElementStore {
  data: TypedArray | (string | Uint8Array)[];
  /** Checks and keeps element `index`. */
  set(index: number, value: unknown): void;
}

/** @throws ERR_TENON_TOO_LARGE: a shape read off the first elements may be far from the real one. */
function elementStore(dtype: DType, nested: readonly number[]): ElementStore {
  const { bits, carrier, parts } = dtypes[dtype];
  const count = elementCount(nested);
  // Complex elements arrive as their parts, so `count` is that of the parts already.
  const length = parts > 1 ? count : carrierLength(dtype, count);
  let data: TypedArray | (string | Uint8Array)[];
  try {
    data = new (carrier as new (length: number) => typeof data)(length);
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_TOO_LARGE',
      `expected arrays whose elements fit into memory, received arrays of shape [${nested.join(',')}]`,
      { cause },
    );
  }
  if (Array.isArray(data)) {
    const strings = data;
    return {
      data: strings,
      set(index, value) {
        if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
          throw wrongElement(dtype, 'a string or a Uint8Array', value);
        }
        strings[index] = value;
      },
    };
  }
  return { data, set: setterOf(dtype, bits, data) };
}

function setterOf(
  dtype: DType,
  bits: number,
  data: TypedArray,
): (index: number, value: unknown) => void {
  if (dtype === 'bool') {
    return (index, value) => {
      if (value !== true && value !== false && value !== 0 && value !== 1) {
        throw wrongElement(dtype, 'a boolean', value);
      }
      data[index] = Number(value);
    };
  }
  const range = integerRanges[dtype];
  if (range !== undefined) {
    const [min, max] = range;
    const isBig = bits === 64;
    return (index, value) => {
      const isInteger =
        typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
      if (!isInteger || value < min || value > max) {
        throw wrongElement(dtype, `an integer from ${min} to ${max}`, value);
      }
      if (bits < 8) pack(data as Uint8Array, index, bits, Number(value));
      else if (isBig) (data as BigInt64Array)[index] = BigInt(value);
      else (data as Int32Array)[index] = Number(value);
    };
  }
  const convert = floatEncoders[dtype];
  if (convert === undefined) {
    return (_, value) => {
      throw new TenonError(
        'ERR_TENON_DTYPE',
        `expected the bits of ${dtype} in a Uint8Array, received ${describe(value)} as an element`,
      );
    };
  }
  return (index, value) => {
    if (typeof value !== 'number') throw wrongElement(dtype, 'a number', value);
    (data as Float32Array)[index] = convert(value);
  };
}

const same = (value: number): number => value;

const floatEncoders: Partial<Record<DType, (value: number) => number>> = {
  float32: same,
  float64: same,
  complex64: same,
  complex128: same,
  float16: numberToFloat16,
  bfloat16: numberToBfloat16,
};

function wrongElement(dtype: DType, expected: string, received: unknown): TenonError {
  return new TenonError(
    'ERR_TENON_DTYPE',
    `expected ${expected} as an element of ${dtype}, received ${describe(received)}`,
  );
}
