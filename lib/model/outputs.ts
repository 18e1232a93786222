/** Values of the addon → what callers get. */

import type { NativeTensorOut, NativeValueOut } from '../native/types.js';
import { dtypeFromNumber } from '../tensor/dtypes.js';
import { adoptEngineTensor, adoptTensor, type Tensor } from '../tensor/tensor.js';
import type { Value } from './types.js';

export function valueFromNative(value: NativeValueOut): Value {
  if (value === null) return null;
  if (isTensor(value)) return tensorFromNative(value);
  if ('handle' in value) return adoptEngineTensor(value);
  if ('sequence' in value) return value.sequence.map(valueFromNative);
  const keys = tensorFromNative(value.keys).toArray() as (string | bigint)[];
  const values = valueFromNative(value.values) as Tensor;
  const elements = values.toArray() as (string | bigint | number)[];
  return new Map(keys.map((key, i) => [key, elements[i] as string | bigint | number]));
}

function isTensor(value: NativeValueOut): value is NativeTensorOut {
  return Array.isArray(value);
}

function tensorFromNative([dtype, shape, data, offsets]: NativeTensorOut): Tensor {
  return adoptTensor(dtypeFromNumber(dtype), shape, data, offsets);
}
