/**
 * Tensors as the Open Inference Protocol has them in binary: the elements in row-major order,
 * little-endian and without padding, BOOL a byte each, BYTES each a u32 length and the bytes.
 */

import { dtypes, type DType } from '../../tensor/dtypes.js';
import { shapeText } from '../../tensor/shape.js';
import { adoptTensor, Tensor, type TensorElements } from '../../tensor/tensor.js';
import { StatusError } from '../status.js';
import { dtypeOfDatatype, datatypes } from './datatypes.js';

/** How the tensors of requests came by their elements; bytes. */
export interface RawCounts {
  /** Views of the message. */
  passed: number;
  /** Elements that were not aligned in the message, or not in a form that engines take. */
  copied: number;
}

/**
 * Strings that the tensors of one request may have: each becomes an object in JavaScript, however
 * short it is.
 */
export const maxStringsDefault = 1 << 20;

export interface RawBudget {
  /** Strings that may still come. */
  strings: number;
}

export interface RawOptions {
  /**
   * Whether the bytes lie in memory of Tenon's own that has no other use than the tensors of one
   * request: a tensor that is a view of it then gives it back with its `dispose()`. Default: false.
   */
  readonly isOwned?: boolean;
}

/** Dimensions of a tensor at most, as TensorFlow has it. */
const maxRank = 254;

export interface RawTensor {
  /** How errors call it: `input "x"`. */
  readonly subject: string;
  /** As the request has it. */
  readonly datatype: unknown;
  /** As the request has it: an array of numbers or bigints. */
  readonly shape: unknown;
}

/**
 * A tensor's dtype, shape and number of elements, checked.
 *
 * @throws StatusError INVALID_ARGUMENT for an unknown datatype, and for a shape that is none.
 */
export function tensorHead({ subject, datatype, shape }: RawTensor): {
  readonly dtype: DType;
  readonly shape: number[];
  readonly size: number;
} {
  const dtype = dtypeOfDatatype(datatype);
  if (dtype === undefined) {
    throw invalid(
      `expected one of ${datatypes.join(', ')} as the datatype of ${subject}, received ${show(datatype)}`,
    );
  }
  if (!Array.isArray(shape) || shape.length > maxRank) {
    throw invalid(
      `expected an array of at most ${maxRank} sizes as the shape of ${subject}, received ${Array.isArray(shape) ? `${shape.length} of them` : show(shape)}`,
    );
  }
  let size = 1;
  let isEmpty = false;
  const sizes = (shape as unknown[]).map((each) => {
    const dimension = typeof each === 'bigint' ? Number(each) : each;
    if (!Number.isSafeInteger(dimension) || (dimension as number) < 0) {
      throw invalid(
        `expected integers of 0 or more in the shape of ${subject}, received ${show(each)}`,
      );
    }
    if (dimension === 0) isEmpty = true;
    else size *= dimension as number;
    return dimension as number;
  });
  if (!Number.isSafeInteger(size)) {
    throw invalid(
      `expected at most 2^53 - 1 elements in the shape of ${subject}, received ${shapeText(sizes)}`,
    );
  }
  return { dtype, shape: sizes, size: isEmpty ? 0 : size };
}

/**
 * The tensor whose elements `bytes` are: a view of them where they are aligned, else one copy.
 *
 * @param bytes Must be left alone as long as the tensor is in use.
 * @throws StatusError INVALID_ARGUMENT where datatype, shape and bytes disagree, RESOURCE_EXHAUSTED
 *   for more strings than the budget has.
 */
export function tensorFromRaw(
  raw: RawTensor,
  bytes: Uint8Array,
  budget: RawBudget,
  counts: RawCounts,
  { isOwned = false }: RawOptions = {},
): Tensor {
  const { subject } = raw;
  const { dtype, shape, size } = tensorHead(raw);
  if (dtype === 'string') {
    const elements = splitStrings(bytes, size, subject, budget);
    counts.passed += bytes.byteLength;
    return new Tensor('string', elements, shape);
  }
  const width = dtypes[dtype].bits / 8;
  if (bytes.byteLength !== size * width) {
    throw invalid(
      `expected ${size * width} bytes for ${subject}, which is ${String(raw.datatype)} of shape ${shapeText(shape)}, received ${bytes.byteLength}`,
    );
  }
  const carrier = dtypes[dtype].carrier as unknown as Uint8ArrayConstructor;
  // Kernels count on a bool being 0 or 1.
  const isPlain = dtype !== 'bool' || bytes.every((byte) => byte <= 1);
  if (isPlain && bytes.byteOffset % carrier.BYTES_PER_ELEMENT === 0) {
    counts.passed += bytes.byteLength;
    const data = new carrier(bytes.buffer, bytes.byteOffset, size);
    if (isOwned) return adoptTensor(dtype, shape, data);
    return new Tensor(dtype, data as TensorElements<DType>, shape);
  }
  counts.copied += bytes.byteLength;
  // Memory of Tenon's own, which engines take as it is.
  const tensor = Tensor.alloc(dtype, shape);
  const target = tensor.bytes;
  if (isPlain) target.set(bytes);
  else for (let i = 0; i < size; i++) target[i] = bytes[i] === 0 ? 0 : 1;
  return tensor;
}

function splitStrings(
  bytes: Uint8Array,
  size: number,
  subject: string,
  budget: RawBudget,
): Uint8Array[] {
  countStrings(size, budget);
  const elements: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.byteLength && elements.length < size) {
    const end = at + 4 <= bytes.byteLength ? at + 4 + view.getUint32(at, true) : Infinity;
    if (end > bytes.byteLength) {
      throw invalid(
        `expected a length and as many bytes for element ${elements.length} of ${subject}, received ${bytes.byteLength - at} bytes`,
      );
    }
    elements.push(bytes.subarray(at + 4, end));
    at = end;
  }
  if (elements.length < size || at < bytes.byteLength) {
    throw invalid(
      `expected ${size} elements of BYTES for ${subject}, received ${elements.length < size ? elements.length : `${bytes.byteLength - at} bytes more`}`,
    );
  }
  return elements;
}

/** @throws StatusError RESOURCE_EXHAUSTED */
export function countStrings(count: number, budget: RawBudget): void {
  if (count > budget.strings) {
    throw new StatusError(
      'RESOURCE_EXHAUSTED',
      `expected at most ${maxStringsDefault} elements of BYTES in a request, received more`,
    );
  }
  budget.strings -= count;
}

/**
 * A tensor's elements as they go over the wire: a view of its memory, but for strings, which are
 * put together.
 *
 * @param tensor In host memory, of a dtype that the protocol has.
 */
export function rawOfTensor(tensor: Tensor): Uint8Array {
  const bytes = tensor.bytes;
  if (!Array.isArray(bytes)) return bytes;
  const total = bytes.reduce((sum, { byteLength }) => sum + 4 + byteLength, 0);
  const raw = Buffer.allocUnsafe(total);
  let at = 0;
  for (const element of bytes) {
    at = raw.writeUInt32LE(element.byteLength, at);
    raw.set(element, at);
    at += element.byteLength;
  }
  return raw;
}

/** A value of a request as an error shows it. */
export function show(value: unknown): string {
  if (value === undefined) return 'none';
  if (typeof value === 'bigint') return String(value);
  const text = JSON.stringify(value);
  return text.length > maxShown ? `${text.slice(0, maxShown)}…` : text;
}

const maxShown = 64;

function invalid(message: string): StatusError {
  return new StatusError('INVALID_ARGUMENT', message);
}
