/**
 * Element types under the names of the field, and what carries them in JavaScript.
 *
 * The carrier depends on the dtype alone, never on content or Node version: 64-bit integers are
 * BigInt arrays, float16 and bfloat16 are their bits in a Uint16Array, 8-bit floats their bits in
 * a Uint8Array, complex numbers interleaved real and imaginary parts. Types below 8 bits are
 * packed in a Uint8Array, first element in the low bits.
 */

interface DTypeRow {
  /** Number shared with the addon (native/core/dtype.h). */
  readonly number: number;
  /** Bits of one element; 0 for strings. */
  readonly bits: number;
  readonly carrier: Carrier;
  /** Carrier elements to one tensor element, where that is not 1 (complex: 2). */
  readonly parts: number;
}

type Carrier =
  | Float32ArrayConstructor
  | Float64ArrayConstructor
  | Int8ArrayConstructor
  | Uint8ArrayConstructor
  | Int16ArrayConstructor
  | Uint16ArrayConstructor
  | Int32ArrayConstructor
  | Uint32ArrayConstructor
  | BigInt64ArrayConstructor
  | BigUint64ArrayConstructor
  | ArrayConstructor;

function row<C extends Carrier>(number: number, bits: number, carrier: C, parts = 1) {
  return { number, bits, carrier, parts } as const;
}

export const dtypes = {
  float32: row(1, 32, Float32Array),
  float64: row(2, 64, Float64Array),
  float16: row(3, 16, Uint16Array),
  bfloat16: row(4, 16, Uint16Array),
  int8: row(5, 8, Int8Array),
  uint8: row(6, 8, Uint8Array),
  int16: row(7, 16, Int16Array),
  uint16: row(8, 16, Uint16Array),
  int32: row(9, 32, Int32Array),
  uint32: row(10, 32, Uint32Array),
  int64: row(11, 64, BigInt64Array),
  uint64: row(12, 64, BigUint64Array),
  bool: row(13, 8, Uint8Array),
  string: row(14, 0, Array),
  complex64: row(15, 64, Float32Array, 2),
  complex128: row(16, 128, Float64Array, 2),
  int4: row(17, 4, Uint8Array),
  uint4: row(18, 4, Uint8Array),
  int2: row(19, 2, Uint8Array),
  uint2: row(20, 2, Uint8Array),
  float8e4m3fn: row(21, 8, Uint8Array),
  float8e4m3fnuz: row(22, 8, Uint8Array),
  float8e5m2: row(23, 8, Uint8Array),
  float8e5m2fnuz: row(24, 8, Uint8Array),
  float8e8m0: row(25, 8, Uint8Array),
  float4e2m1: row(26, 4, Uint8Array),
  float8e4m3b11fnuz: row(27, 8, Uint8Array),
  qint8: row(28, 8, Int8Array),
  quint8: row(29, 8, Uint8Array),
  qint16: row(30, 16, Int16Array),
  quint16: row(31, 16, Uint16Array),
  qint32: row(32, 32, Int32Array),
} satisfies Record<string, DTypeRow>;

/** The name of an element type. */
export type DType = keyof typeof dtypes;

/** What `tensor.data` is for each dtype. */
export type DTypeData = {
  [D in DType]: D extends 'string' ? string[] : InstanceType<(typeof dtypes)[D]['carrier']>;
};

type Tag<A> = A extends { readonly [Symbol.toStringTag]: infer T } ? T : never;

/** The same over whatever kind of memory a caller has: what a tensor may be made of. */
export type DTypeSource = {
  [D in DType]: D extends 'string'
    ? string[]
    : Extract<TypedArray, { readonly [Symbol.toStringTag]: Tag<DTypeData[D]> }>;
};

/** One element as `toArray()` gives it and arrays may feed it. */
export type DTypeElement = {
  [D in DType]: D extends 'string'
    ? string
    : D extends 'bool'
      ? boolean
      : D extends 'int64' | 'uint64'
        ? bigint
        : D extends 'complex64' | 'complex128'
          ? [number, number]
          : number;
};

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(dtypes, value);
}

const byNumber: readonly (DType | undefined)[] = (() => {
  const names: (DType | undefined)[] = [];
  for (const [name, { number }] of Object.entries(dtypes)) names[number] = name as DType;
  return names;
})();

/** The dtype behind a number of the addon. */
export function dtypeFromNumber(number: number): DType {
  const name = byNumber[number];
  if (name === undefined) throw new RangeError(`no dtype has number ${number}`);
  return name;
}

/** Carrier elements that `size` tensor elements take (packed types round up to whole bytes). */
export function carrierLength(dtype: DType, size: number): number {
  const { bits, parts } = dtypes[dtype];
  return bits > 0 && bits < 8 ? Math.ceil((size * bits) / 8) : size * parts;
}
