/** Feeds as callers give them → values the addon takes, checked against what the model declares. */

import { types } from 'node:util';

import { describe, TenonError } from '../errors.js';
import type { NativeHandle, NativeTensorIn, NativeValueIn } from '../native/types.js';
import { type DType, dtypes } from '../tensor/dtypes.js';
import { nestedShape, tensorShape } from '../tensor/elements.js';
import { elementCount, shapeText } from '../tensor/shape.js';
import {
  isDetached,
  isTypedArray,
  Tensor,
  type TensorElements,
  toNative,
} from '../tensor/tensor.js';
import type { Dimension, MapSpec, TensorSpec, ValueSpec } from './spec.js';

/** Whether `value` stands for one input by itself, rather than naming several. */
export function isBareFeed(value: unknown): boolean {
  return (
    typeof value !== 'object' ||
    value === null ||
    Array.isArray(value) ||
    ArrayBuffer.isView(value) ||
    value instanceof Tensor ||
    isMap(value)
  );
}

/**
 * @param name How messages call the input.
 * @throws ERR_TENON_DTYPE, ERR_TENON_SHAPE (only if `validateShapes`, or where a shape has to be
 *   found and cannot), ERR_TENON_DATA_LENGTH, ERR_TENON_DETACHED, ERR_TENON_DISPOSED.
 */
export function feedToNative(
  value: unknown,
  spec: ValueSpec,
  name: string,
  validateShapes: boolean,
): NativeValueIn {
  switch (spec.kind) {
    case 'tensor':
      return tensorToNative(value, spec, name, validateShapes);
    case 'sequence': {
      if (!Array.isArray(value)) throw wrongKind(name, 'an array for a sequence', value);
      return {
        sequence: value.map((item, index) =>
          feedToNative(item, spec.element, `${name}[${index}]`, validateShapes),
        ),
      };
    }
    case 'map':
      return mapToNative(value, spec, name);
    case 'optional':
      if (value === null) return null;
      return feedToNative(value, spec.element, name, validateShapes);
    default:
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        `expected a tensor, sequence, map or optional for "${name}": ${spec.kind} inputs cannot be fed`,
      );
  }
}

interface ToNative {
  [toNative](subject: string): NativeTensorIn | NativeHandle;
}

/** As feedToNative, for an input that is a tensor. */
export function tensorToNative(
  value: unknown,
  spec: TensorSpec,
  name: string,
  validateShapes: boolean,
): NativeTensorIn | NativeHandle {
  let tensor: Tensor;
  if (value instanceof Tensor) {
    if (value.dtype !== spec.dtype) {
      throw new TenonError(
        'ERR_TENON_DTYPE',
        `expected dtype ${spec.dtype} for "${name}", received ${value.dtype}`,
      );
    }
    tensor = value as Tensor;
  } else {
    tensor = tensorFrom(value, spec, name);
  }
  if (validateShapes && !shapeFits(tensor.shape, spec.shape)) {
    throw new TenonError(
      'ERR_TENON_SHAPE',
      `expected shape ${shapeText(spec.shape)} for "${name}", received ${shapeText(tensor.shape)}`,
    );
  }
  return (tensor as unknown as ToNative)[toNative](name);
}

/** A tensor from what is none yet: a typed array, a scalar, nested arrays. */
function tensorFrom(value: unknown, spec: TensorSpec, name: string): Tensor {
  const { dtype, shape: declared } = spec;
  // One string as its bytes is an element, not the elements.
  const isElement = dtype === 'string' && value instanceof Uint8Array;
  if (isTypedArray(value) && !isElement) {
    if (isDetached(value)) {
      throw new TenonError(
        'ERR_TENON_DETACHED',
        `expected memory that is there for "${name}", received a view of a detached ArrayBuffer`,
      );
    }
    const { bits, parts } = dtypes[dtype];
    const perCarrier = bits > 0 && bits < 8 ? 8 / bits : 1 / parts;
    return makeTensor(dtype, value, settledShape(declared, value.length * perCarrier, name), name);
  }
  const isScalar = ['number', 'bigint', 'boolean', 'string'].includes(typeof value);
  if (!isScalar && !isElement && !Array.isArray(value)) {
    throw wrongKind(name, 'a Tensor, a typed array or an array of elements', value);
  }
  const nested = nestedShape(value);
  const shape = tensorShape(dtype, nested);
  // A flat array or a scalar takes the declared shape; anything deeper has one of its own.
  const own = declared === null || declared.length === shape.length || shape.length > 1;
  if (own) return withName(name, () => Tensor.from(value, dtype));
  const elements = Array.isArray(value) ? (value as unknown[]) : [value];
  return makeTensor(dtype, elements, settledShape(declared, elementCount(shape), name), name);
}

function makeTensor(dtype: DType, data: unknown, shape: readonly number[], name: string): Tensor {
  return withName(name, () => new Tensor(dtype, data as TensorElements<DType>, shape));
}

/** Lets an error of making a tensor say for which input it was. */
function withName<T>(name: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof TenonError)) throw error;
    throw new TenonError(error.code, `${error.message} (for "${name}")`, { cause: error.cause });
  }
}

/** The declared shape with its one unknown dimension, if any, found from the number of elements. */
function settledShape(
  declared: readonly Dimension[] | null,
  size: number,
  name: string,
): readonly number[] {
  const unknown = declared?.filter((dimension) => typeof dimension !== 'number').length ?? 2;
  if (declared === null || unknown > 1) {
    if (declared === null || declared.length === 1) return [size];
    throw new TenonError(
      'ERR_TENON_SHAPE',
      `expected a Tensor with a shape for "${name}", because ${shapeText(declared)} has several unknown dimensions; received ${size} bare elements`,
    );
  }
  const known = elementCount(declared.filter((dimension) => typeof dimension === 'number'));
  const rest = known === 0 ? 0 : size / known;
  const shape = declared.map((dimension) => (typeof dimension === 'number' ? dimension : rest));
  if (!Number.isInteger(rest) || elementCount(shape) !== size) {
    throw new TenonError(
      'ERR_TENON_DATA_LENGTH',
      `expected ${unknown === 1 ? `a multiple of ${known}` : known} elements for "${name}" of shape ${shapeText(declared)}, received ${size}`,
    );
  }
  return shape;
}

function shapeFits(shape: readonly number[], declared: readonly Dimension[] | null): boolean {
  if (declared === null) return true;
  if (declared.length !== shape.length) return false;
  return declared.every((dimension, i) => typeof dimension !== 'number' || dimension === shape[i]);
}

function mapToNative(value: unknown, spec: MapSpec, name: string): NativeValueIn {
  if (!isMap(value)) throw wrongKind(name, 'a Map', value);
  const { value: element } = spec;
  if (element.kind !== 'tensor') {
    throw new TenonError(
      'ERR_TENON_UNSUPPORTED',
      `expected a map of single elements for "${name}": maps of ${element.kind}s cannot be fed`,
    );
  }
  const column = (elements: Iterable<unknown>, dtype: DType, part: string): NativeTensorIn => {
    const list = [...elements];
    const from = withName(`${name}.${part}`, () => Tensor.from(list, dtype));
    return tensorToNative(
      from,
      { kind: 'tensor', name, dtype, shape: [list.length] },
      `${name}.${part}`,
      false,
    ) as NativeTensorIn;
  };
  return {
    keys: column(value.keys(), spec.key, 'keys'),
    values: column(value.values(), element.dtype, 'values'),
  };
}

/** Also true for Maps of another realm. */
function isMap(value: unknown): value is ReadonlyMap<unknown, unknown> {
  return types.isMap(value);
}

function wrongKind(name: string, expected: string, received: unknown): TenonError {
  return new TenonError(
    'ERR_TENON_DTYPE',
    `expected ${expected} for "${name}", received ${describe(received)}`,
  );
}
