import type { DType, DTypeElement, DTypeSource } from '../tensor/dtypes.js';
import type { Tensor } from '../tensor/tensor.js';

/** One element as it may be fed: what `toArray()` gives, and a little more. */
export type FeedElement<D extends DType> = D extends 'string'
  ? string | Uint8Array
  : D extends 'int64' | 'uint64'
    ? bigint | number
    : DTypeElement[D];

export type NestedArray<T> = readonly (T | NestedArray<T>)[];

/**
 * What feeds a tensor input: a Tensor; a typed array, whose shape the spec settles; a scalar; or
 * a (nested) array of elements, whose shape is its own.
 */
export type TensorFeed<D extends DType = DType> =
  Tensor<D> | DTypeSource[D] | FeedElement<D> | NestedArray<FeedElement<D>>;

/** What feeds any input: a tensor, or the array, Map or null of an ONNX sequence, map or optional. */
export type FeedValue =
  | TensorFeed
  | readonly FeedValue[]
  | ReadonlyMap<string | bigint | number, string | bigint | number>
  | null;

/** What any output can be: ONNX sequences are arrays, maps are Maps, absent optionals null. */
export type Value = Tensor | Value[] | Map<string | bigint, string | bigint | number> | null;

export interface SignatureTypes {
  feeds: object;
  outputs: object;
}

/**
 * The feeds and outputs of each signature, by name. `tenon types` writes one for a model:
 *
 *     interface Digits { serving_default: { feeds: { images: TensorFeed<'float32'> };
 *                                           outputs: { probabilities: Tensor<'float32'> } } }
 *     const model = await load<Digits>('digits.onnx');
 */
export type ModelTypes<T = Record<string, SignatureTypes>> = { [S in keyof T]: SignatureTypes };

/** A model of which nothing is known before it is loaded: every output is taken to be a tensor. */
export interface UntypedModel {
  [signature: string]: { feeds: Record<string, FeedValue>; outputs: Record<string, Tensor> };
}

/** Like UntypedModel, for models that give sequences, maps or optionals. */
export interface ValuesModel {
  [signature: string]: { feeds: Record<string, FeedValue>; outputs: Record<string, Value> };
}
