import type { DType } from '../../index.js';

/** tensorflow.DataType's name without "DT_", by Tenon's; others are spelled as they are. */
const wireNames: Partial<Record<DType, string>> = {
  float32: 'FLOAT',
  float64: 'DOUBLE',
  float16: 'HALF',
  float8e4m3fn: 'FLOAT8_E4M3FN',
  float8e4m3fnuz: 'FLOAT8_E4M3FNUZ',
  float8e4m3b11fnuz: 'FLOAT8_E4M3B11FNUZ',
  float8e5m2: 'FLOAT8_E5M2',
  float8e5m2fnuz: 'FLOAT8_E5M2FNUZ',
  float4e2m1: 'FLOAT4_E2M1FN',
};

/** "DT_FLOAT". */
export function wireTypeName(dtype: DType): string {
  return `DT_${wireNames[dtype] ?? dtype.toUpperCase()}`;
}

/** "float": what TensorFlow calls it in messages. */
export function engineTypeName(dtype: DType): string {
  return (wireNames[dtype] ?? dtype).toLowerCase();
}
