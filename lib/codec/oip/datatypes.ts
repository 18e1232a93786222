/** Element types under the Open Inference Protocol's names. */

import type { DType } from '../../tensor/dtypes.js';

const dtypeOf = {
  BOOL: 'bool',
  UINT8: 'uint8',
  UINT16: 'uint16',
  UINT32: 'uint32',
  UINT64: 'uint64',
  INT8: 'int8',
  INT16: 'int16',
  INT32: 'int32',
  INT64: 'int64',
  FP16: 'float16',
  FP32: 'float32',
  FP64: 'float64',
  BYTES: 'string',
  BF16: 'bfloat16',
} as const satisfies Record<string, DType>;

/** "FP32". */
export type Datatype = keyof typeof dtypeOf;

export const datatypes: readonly Datatype[] = Object.keys(dtypeOf) as Datatype[];

const datatypeOf = new Map<DType, Datatype>(datatypes.map((name) => [dtypeOf[name], name]));

/** Undefined for a name that is none, whatever its type. */
export function dtypeOfDatatype(name: unknown): DType | undefined {
  return typeof name === 'string' && Object.hasOwn(dtypeOf, name)
    ? dtypeOf[name as Datatype]
    : undefined;
}

/** Undefined for element types that the protocol does not have: complex, quantized, 8-bit floats … */
export function datatypeOfDType(dtype: DType): Datatype | undefined {
  return datatypeOf.get(dtype);
}
