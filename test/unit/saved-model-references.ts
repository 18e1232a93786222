import type { Dimension, ValueSpec } from '../../lib/model/spec.js';
import { type DType, isDType } from '../../lib/tensor/dtypes.js';

/** A value as test/fixtures/signatures.json describes it. */
export type ReferenceSpec =
  | { dtype: string; shape: Dimension[] | null; hasDefault?: boolean; encoding?: string }
  | { sequence: ReferenceSpec }
  | { map: { key: string; value: ReferenceSpec } }
  | { optional: ReferenceSpec };

/** TensorFlow's and ONNX's names for the small floats have underscores. */
function dtypeOf(name: string): DType {
  const dtype = name === 'float8_e8m0fnu' ? 'float8e8m0' : name.replace('_', '');
  if (!isDType(dtype)) throw new Error(`no dtype ${name}`);
  return dtype;
}

export function specOf(name: string, reference: ReferenceSpec): ValueSpec {
  if ('sequence' in reference) {
    return { kind: 'sequence', name, element: specOf(name, reference.sequence) };
  }
  if ('optional' in reference) {
    return { kind: 'optional', name, element: specOf(name, reference.optional) };
  }
  if ('map' in reference) {
    const { key, value } = reference.map;
    return { kind: 'map', name, key: dtypeOf(key), value: specOf(name, value) };
  }
  if (reference.encoding === 'coo_sparse') return { kind: 'sparse', name };
  const { dtype, shape, hasDefault } = reference;
  const spec: ValueSpec = { kind: 'tensor', name, dtype: dtypeOf(dtype), shape };
  return hasDefault === true ? { ...spec, optional: true } : spec;
}

export function specsOf(references: Record<string, ReferenceSpec>): Record<string, ValueSpec> {
  return Object.fromEntries(
    Object.entries(references).map(([name, reference]) => [name, specOf(name, reference)]),
  );
}
