import type { DType } from '../tensor/dtypes.js';

/** A size, a symbolic name ("batch"), or null where the model says nothing. */
export type Dimension = number | string | null;

/** A tensor input or output. `shape: null` is an unknown rank. */
export interface TensorSpec {
  readonly kind: 'tensor';
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dimension[] | null;
  /** An input that need not be fed because the model brings a default. */
  readonly optional?: true;
}

/** An ONNX sequence: an array of `element`. */
export interface SequenceSpec {
  readonly kind: 'sequence';
  readonly name: string;
  readonly element: ValueSpec;
  readonly optional?: true;
}

/** An ONNX map: a Map from `key` to `value`. */
export interface MapSpec {
  readonly kind: 'map';
  readonly name: string;
  readonly key: DType;
  readonly value: ValueSpec;
  readonly optional?: true;
}

/** An ONNX optional: `element` or null. */
export interface OptionalSpec {
  readonly kind: 'optional';
  readonly name: string;
  readonly element: ValueSpec;
  readonly optional?: true;
}

/** Something the model declares that Tenon has no value for: listed, but neither fed nor fetched. */
export interface UnsupportedSpec {
  readonly kind: 'sparse' | 'opaque';
  readonly name: string;
  readonly optional?: true;
}

export type ValueSpec = TensorSpec | SequenceSpec | MapSpec | OptionalSpec | UnsupportedSpec;

/** What can be called: a SavedModel signature, or the one graph of an ONNX model. */
export interface Signature {
  readonly name: string;
  readonly inputs: Readonly<Record<string, ValueSpec>>;
  readonly outputs: Readonly<Record<string, ValueSpec>>;
  /** SavedModel only: "tensorflow/serving/predict" … */
  readonly methodName?: string;
}
