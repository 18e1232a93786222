import type { DType } from '../tensor/dtypes.js';
import { DataType } from './tensorflow.js';

const dtypeOf = new Map<number, DType>([
  [DataType.DT_FLOAT, 'float32'],
  [DataType.DT_DOUBLE, 'float64'],
  [DataType.DT_INT32, 'int32'],
  [DataType.DT_UINT8, 'uint8'],
  [DataType.DT_INT16, 'int16'],
  [DataType.DT_INT8, 'int8'],
  [DataType.DT_STRING, 'string'],
  [DataType.DT_COMPLEX64, 'complex64'],
  [DataType.DT_INT64, 'int64'],
  [DataType.DT_BOOL, 'bool'],
  [DataType.DT_QINT8, 'qint8'],
  [DataType.DT_QUINT8, 'quint8'],
  [DataType.DT_QINT32, 'qint32'],
  [DataType.DT_BFLOAT16, 'bfloat16'],
  [DataType.DT_QINT16, 'qint16'],
  [DataType.DT_QUINT16, 'quint16'],
  [DataType.DT_UINT16, 'uint16'],
  [DataType.DT_COMPLEX128, 'complex128'],
  [DataType.DT_HALF, 'float16'],
  [DataType.DT_UINT32, 'uint32'],
  [DataType.DT_UINT64, 'uint64'],
  [DataType.DT_FLOAT8_E5M2, 'float8e5m2'],
  [DataType.DT_FLOAT8_E4M3FN, 'float8e4m3fn'],
  [DataType.DT_FLOAT8_E4M3FNUZ, 'float8e4m3fnuz'],
  [DataType.DT_FLOAT8_E4M3B11FNUZ, 'float8e4m3b11fnuz'],
  [DataType.DT_FLOAT8_E5M2FNUZ, 'float8e5m2fnuz'],
  [DataType.DT_INT4, 'int4'],
  [DataType.DT_UINT4, 'uint4'],
  [DataType.DT_INT2, 'int2'],
  [DataType.DT_UINT2, 'uint2'],
  [DataType.DT_FLOAT4_E2M1FN, 'float4e2m1'],
]);

/** TensorFlow's types that have no values outside of it. */
const opaqueTypes = new Set<number>([DataType.DT_RESOURCE, DataType.DT_VARIANT]);

/** A reference to a variable of some type has that type's number and 100. */
const referenceOffset = 100;

/**
 * The dtype behind a tensorflow.DataType, references included; 'opaque' for resources and
 * variants, undefined for a number TensorFlow 2.21 does not have.
 */
export function dtypeFromTensorFlow(number: number): DType | 'opaque' | undefined {
  const base = number > referenceOffset ? number - referenceOffset : number;
  return opaqueTypes.has(base) ? 'opaque' : dtypeOf.get(base);
}

const numberOf = new Map([...dtypeOf].map(([number, dtype]) => [dtype, number]));

/** The tensorflow.DataType of a dtype; undefined for one that TensorFlow 2.21 does not have. */
export function dtypeToTensorFlow(dtype: DType): number | undefined {
  return numberOf.get(dtype);
}
