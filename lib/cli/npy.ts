/**
 * NumPy's .npy files, versions 1 to 3 (numpy.org/doc/stable/reference/generated/numpy.lib.format):
 * a magic string, a version, and a header that is the text of a Python dict with the element
 * type, the order and the shape; then the elements. Object arrays are pickles and are refused, as
 * are structured and date types.
 */

import { type DType, Tensor, type TensorElements, TenonError, type TypedArray } from '../index.js';

export interface NpyArray {
  /** NumPy's type string, "<f4". */
  readonly descr: string;
  readonly shape: readonly number[];
  /**
   * Elements in row-major order. "raw" are the bytes of a type NumPy has no name for and writes
   * as void: bfloat16 and the 8-bit floats of Python's ml_dtypes.
   */
  readonly elements:
    | { readonly dtype: Exclude<DType, 'string'>; readonly data: TypedArray }
    | { readonly dtype: 'string'; readonly data: (string | Uint8Array)[] }
    | { readonly dtype: 'raw'; readonly itemLength: number; readonly data: Uint8Array };
}

type NumberType = Exclude<DType, 'string'>;
type Carrier = new (buffer: ArrayBuffer) => TypedArray;

interface NumberRow {
  readonly dtype: NumberType;
  readonly carrier: Carrier;
  /** Bytes that are swapped as one; of complex numbers one part. */
  readonly wordLength: number;
}

const numberTypes: Readonly<Record<string, NumberRow>> = {
  b1: { dtype: 'bool', carrier: Uint8Array, wordLength: 1 },
  i1: { dtype: 'int8', carrier: Int8Array, wordLength: 1 },
  u1: { dtype: 'uint8', carrier: Uint8Array, wordLength: 1 },
  i2: { dtype: 'int16', carrier: Int16Array, wordLength: 2 },
  u2: { dtype: 'uint16', carrier: Uint16Array, wordLength: 2 },
  i4: { dtype: 'int32', carrier: Int32Array, wordLength: 4 },
  u4: { dtype: 'uint32', carrier: Uint32Array, wordLength: 4 },
  i8: { dtype: 'int64', carrier: BigInt64Array, wordLength: 8 },
  u8: { dtype: 'uint64', carrier: BigUint64Array, wordLength: 8 },
  f2: { dtype: 'float16', carrier: Uint16Array, wordLength: 2 },
  f4: { dtype: 'float32', carrier: Float32Array, wordLength: 4 },
  f8: { dtype: 'float64', carrier: Float64Array, wordLength: 8 },
  c8: { dtype: 'complex64', carrier: Float32Array, wordLength: 4 },
  c16: { dtype: 'complex128', carrier: Float64Array, wordLength: 8 },
};

const magic = Buffer.from('\x93NUMPY', 'latin1');

/** Throws ERR_TENON_INVALID_ARGUMENT naming `subject` for anything that is no such file. */
export function parseNpy(bytes: Uint8Array, subject: string): NpyArray {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length < 10 || !file.subarray(0, 6).equals(magic)) {
    throw invalid(subject, 'a file that begins as no .npy does');
  }
  const version = file[6] as number;
  if (version < 1 || version > 3) throw invalid(subject, `version ${version} of the format`);
  const prefixLength = version === 1 ? 10 : 12;
  if (file.length < prefixLength) throw invalid(subject, 'a file that ends in its header');
  const headerLength = version === 1 ? file.readUInt16LE(8) : file.readUInt32LE(8);
  if (headerLength > file.length - prefixLength) {
    throw invalid(subject, 'a file that ends in its header');
  }
  const bodyStart = prefixLength + headerLength;
  const header = file.toString(version === 3 ? 'utf8' : 'latin1', prefixLength, bodyStart);
  const { descr, fortranOrder, shape } = parseHeader(header, subject);
  const { kind, itemLength, swapped } = parseDescr(descr, subject);

  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const byteLength = size * itemLength;
  if (!Number.isSafeInteger(byteLength) || byteLength > file.length - bodyStart) {
    throw invalid(subject, `${file.length - bodyStart} bytes for ${size} elements of ${descr}`);
  }
  // A copy: aligned for every carrier, and the caller's to change.
  let body = new Uint8Array(byteLength);
  body.set(file.subarray(bodyStart, bodyStart + byteLength));
  if (fortranOrder) body = toRowMajor(body, itemLength, shape);

  const number = numberTypes[`${kind}${itemLength}`];
  if (number !== undefined) {
    if (swapped) swapWords(body, number.wordLength);
    const data = new number.carrier(body.buffer);
    return { descr, shape, elements: { dtype: number.dtype, data } };
  }
  if (kind === 'U' || kind === 'S') {
    if (kind === 'U' && swapped) swapWords(body, 4);
    const data = Array.from({ length: size }, (_, index) => {
      const item = body.subarray(index * itemLength, (index + 1) * itemLength);
      return kind === 'U' ? utf32Text(item, subject) : item.subarray(0, contentLength(item));
    });
    return { descr, shape, elements: { dtype: 'string', data } };
  }
  return { descr, shape, elements: { dtype: 'raw', itemLength, data: body } };
}

/**
 * The array as a tensor of `wanted`, the dtype an input declares: numbers are converted where
 * the target can hold them, raw bytes taken for floats of their width. Without `wanted` the
 * array's own type.
 */
export function tensorFromNpy(array: NpyArray, wanted: DType | undefined, subject: string): Tensor {
  const { elements, shape } = array;
  if (elements.dtype === 'raw') {
    const { itemLength, data } = elements;
    if (itemLength === 2 && wanted === 'bfloat16') {
      return tensorOf(wanted, new Uint16Array(data.buffer, data.byteOffset), shape);
    }
    if (itemLength === 1 && wanted === 'float4e2m1') {
      return tensorOf(wanted, packNibbles(data), shape);
    }
    if (itemLength === 1 && wanted?.startsWith('float8')) return tensorOf(wanted, data, shape);
    throw invalid(subject, `elements of the type "${array.descr}"`, wanted);
  }
  if (wanted === undefined || wanted === elements.dtype) {
    return tensorOf(elements.dtype, elements.data, shape);
  }
  const isComplex = elements.dtype.startsWith('complex');
  if (
    [elements.dtype, wanted].some((dtype) => dtype === 'string' || dtype === 'bool') ||
    isComplex !== wanted.startsWith('complex')
  ) {
    throw invalid(subject, `elements of the type "${array.descr}"`, wanted);
  }
  if (isComplex) {
    const parts = elements.data as Float32Array | Float64Array;
    const data = wanted === 'complex64' ? Float32Array.from(parts) : Float64Array.from(parts);
    return tensorOf(wanted, data, shape);
  }
  // float16 has to be read from its bits; a float input takes 64-bit integers as numbers.
  const values =
    elements.dtype === 'float16'
      ? tensorOf('float16', elements.data, shape).toFloat32()
      : (elements.data as ArrayLike<number | bigint>);
  const list = Array.from<number | bigint, number | bigint>(values, (value) =>
    wanted.includes('int') ? value : Number(value),
  );
  try {
    return tensorOf(wanted, list, shape);
  } catch (error) {
    if (!(error instanceof TenonError)) throw error;
    throw invalid(subject, `values in "${array.descr}" that do not fit`, wanted, error);
  }
}

/** The constructor checks data against dtype; only the types do not follow a variable dtype. */
function tensorOf(dtype: DType, data: unknown, shape: readonly number[]): Tensor {
  return new Tensor<DType>(dtype, data as TensorElements<DType>, shape);
}

/**
 * A tensor as a .npy file of version 1. bfloat16 and small floats are written as void of their
 * width ("<V2", "|V1"; view them with Python's ml_dtypes), integers below 8 bits as int8 and
 * uint8, strings as fixed-width text ("<U…").
 */
export function formatNpy(tensor: Tensor): Uint8Array {
  const { descr, body } = npyBody(tensor);
  const { shape } = tensor;
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // NumPy aligns the elements to 64 bytes with spaces, and ends the header with a newline.
  const padding = 63 - ((10 + dict.length) % 64);
  const header = Buffer.from(`${dict}${' '.repeat(padding)}\n`, 'latin1');
  const prefix = Buffer.alloc(10);
  magic.copy(prefix);
  prefix[6] = 1;
  prefix.writeUInt16LE(header.length, 8);
  return Buffer.concat([prefix, header, body]);
}

function npyBody(tensor: Tensor): { descr: string; body: Uint8Array } {
  const { dtype } = tensor;
  if (dtype === 'string') return textBody(tensor as Tensor<'string'>);
  const bytes = tensor.bytes as Uint8Array;
  for (const [type, row] of Object.entries(numberTypes)) {
    if (row.dtype === dtype)
      return { descr: `${row.wordLength === 1 ? '|' : '<'}${type}`, body: bytes };
  }
  switch (dtype) {
    case 'bfloat16':
      return { descr: '<V2', body: bytes };
    case 'qint8':
      return { descr: '|i1', body: bytes };
    case 'quint8':
      return { descr: '|u1', body: bytes };
    case 'qint16':
      return { descr: '<i2', body: bytes };
    case 'quint16':
      return { descr: '<u2', body: bytes };
    case 'qint32':
      return { descr: '<i4', body: bytes };
    case 'int2':
    case 'int4':
      return { descr: '|i1', body: new Uint8Array(Int8Array.from(tensor.toFloat32()).buffer) };
    case 'uint2':
    case 'uint4':
      return { descr: '|u1', body: Uint8Array.from(tensor.toFloat32()) };
    case 'float4e2m1': {
      const body = Uint8Array.from({ length: tensor.size }, (_, index) => {
        const pair = bytes[index >> 1] as number;
        return index % 2 === 0 ? pair & 0xf : pair >> 4;
      });
      return { descr: '|V1', body };
    }
    default:
      return { descr: '|V1', body: bytes };
  }
}

function textBody(tensor: Tensor<'string'>): { descr: string; body: Uint8Array } {
  const texts = tensor.data.map((text) => Array.from(text, (char) => char.codePointAt(0) ?? 0));
  // Fixed-width text is padded with NULs: those a string ends with would be lost.
  if (texts.some((text) => text.at(-1) === 0)) {
    throw new TenonError(
      'ERR_TENON_UNSUPPORTED',
      'expected strings that do not end with NUL for a .npy file, received one that does: write a .json file',
    );
  }
  const width = Math.max(1, ...texts.map((text) => text.length));
  const words = new Uint32Array(texts.length * width);
  texts.forEach((text, index) => words.set(text, index * width));
  return { descr: `<U${width}`, body: new Uint8Array(words.buffer) };
}

function parseHeader(
  header: string,
  subject: string,
): { descr: string; fortranOrder: boolean; shape: number[] } {
  if (/'descr'\s*:\s*[[(]/.test(header)) throw invalid(subject, 'a structured array');
  const descr = /'descr'\s*:\s*(['"])([^'"]{1,40})\1/.exec(header)?.[2];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const tuple = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(header)?.[1];
  if (descr === undefined || order === undefined || tuple === undefined) {
    throw invalid(subject, 'a header without "descr", "fortran_order" or "shape"');
  }
  const shape = tuple
    .split(',')
    .map((part) => part.trim().replace(/L$/, ''))
    .filter((part) => part !== '')
    .map(Number);
  if (!shape.every(Number.isSafeInteger)) throw invalid(subject, `the shape (${tuple})`);
  return { descr, fortranOrder: order === 'True', shape };
}

function parseDescr(
  descr: string,
  subject: string,
): { kind: string; itemLength: number; swapped: boolean } {
  const match = /^([<>|=]?)([a-zA-Z])(\d{0,9})$/.exec(descr);
  const [, order, kind, width] = match ?? [];
  if (kind === 'O') {
    throw invalid(subject, 'an object array, which is a Python pickle: save numbers or strings');
  }
  if (kind === undefined || width === undefined) throw invalid(subject, `the type "${descr}"`);
  // Widths count characters for text, bytes for everything else.
  const itemLength = Number(width) * (kind === 'U' ? 4 : 1);
  const isNumber = Object.hasOwn(numberTypes, `${kind}${width}`);
  const isText = kind === 'U' || kind === 'S';
  const isRaw = kind === 'V' && (itemLength === 1 || itemLength === 2);
  if (!isNumber && !isText && !isRaw) throw invalid(subject, `the type "${descr}"`);
  return { kind, itemLength, swapped: order === '>' };
}

/** Fortran order has the first index fastest; ours has the last. */
function toRowMajor(
  body: Uint8Array,
  itemLength: number,
  shape: readonly number[],
): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(body.byteLength);
  const strides: number[] = [];
  let stride = itemLength;
  for (const dimension of shape) {
    strides.push(stride);
    stride *= dimension;
  }
  const index = shape.map(() => 0);
  let source = 0;
  for (let target = 0; target < result.byteLength; target += itemLength) {
    for (let byte = 0; byte < itemLength; byte++) result[target + byte] = body[source + byte] ?? 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += strides[axis] ?? 0;
      index[axis] = (index[axis] ?? 0) + 1;
      if (index[axis] !== shape[axis]) break;
      source -= (strides[axis] ?? 0) * (shape[axis] ?? 0);
      index[axis] = 0;
    }
  }
  return result;
}

function swapWords(bytes: Uint8Array, wordLength: number): void {
  if (wordLength === 1) return;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (wordLength === 2) buffer.swap16();
  else if (wordLength === 4) buffer.swap32();
  else buffer.swap64();
}

function utf32Text(item: Uint8Array, subject: string): string {
  const words = new DataView(item.buffer, item.byteOffset, item.byteLength);
  let text = '';
  let pending = '';
  for (let offset = 0; offset < item.byteLength; offset += 4) {
    const word = words.getUint32(offset, true);
    if (word > 0x10ffff) throw invalid(subject, 'text that is no Unicode');
    pending += String.fromCodePoint(word);
    if (word === 0) continue;
    text += pending;
    pending = '';
  }
  return text;
}

function contentLength(item: Uint8Array): number {
  let length = item.byteLength;
  while (length > 0 && item[length - 1] === 0) length--;
  return length;
}

function packNibbles(values: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  values.forEach((value, index) => {
    packed[index >> 1] = (packed[index >> 1] ?? 0) | ((value & 0xf) << (index % 2 === 0 ? 0 : 4));
  });
  return packed;
}

function invalid(subject: string, received: string, wanted?: DType, cause?: unknown): TenonError {
  const expected = wanted === undefined ? 'a .npy file of numbers or strings' : wanted;
  return new TenonError(
    'ERR_TENON_INVALID_ARGUMENT',
    `expected ${expected} for "${subject}", received ${received}`,
    { cause },
  );
}
