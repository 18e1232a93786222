/** Where tensorflow.TensorProto keeps the elements of each dtype (tensor.proto). */

import type { DType } from '../../tensor/dtypes.js';

export type ValueKind =
  /** Four or eight bytes an element, as they lie in memory. */
  | 'fixed32'
  | 'fixed64'
  /** A varint an element, of which the lower 32 bits count. */
  | 'varint32'
  | 'varint64'
  | 'bool'
  /** As varint32, while in memory several elements share a byte. */
  | 'packed'
  /** One bytes field for all elements, a byte each. */
  | 'bytes'
  | 'string';

export interface ValueLayout {
  readonly kind: ValueKind;
  /** Number of the typed field. */
  readonly field: number;
}

const float = { kind: 'fixed32', field: 5 } as const;
const int = { kind: 'varint32', field: 7 } as const;
const half = { kind: 'varint32', field: 13 } as const;
const packed = { kind: 'packed', field: 7 } as const;
const float8 = { kind: 'bytes', field: 18 } as const;

const layouts: Partial<Record<DType, ValueLayout>> = {
  float32: float,
  float64: { kind: 'fixed64', field: 6 },
  float16: half,
  bfloat16: half,
  int8: int,
  uint8: int,
  int16: int,
  uint16: int,
  int32: int,
  qint8: int,
  quint8: int,
  qint16: int,
  quint16: int,
  qint32: int,
  uint32: { kind: 'varint32', field: 16 },
  int64: { kind: 'varint64', field: 10 },
  uint64: { kind: 'varint64', field: 17 },
  bool: { kind: 'bool', field: 11 },
  string: { kind: 'string', field: 8 },
  // Real and imaginary parts in turn.
  complex64: { kind: 'fixed32', field: 9 },
  complex128: { kind: 'fixed64', field: 12 },
  int4: packed,
  uint4: packed,
  int2: packed,
  uint2: packed,
  float8e5m2: float8,
  float8e4m3fn: float8,
  float8e4m3fnuz: float8,
  float8e5m2fnuz: float8,
  float8e4m3b11fnuz: float8,
};

/** Undefined for a dtype that has no place in a TensorProto. */
export function layoutOf(dtype: DType): ValueLayout | undefined {
  return layouts[dtype];
}
