/** Values of onnxruntime-common ↔ Tenon's. */

import type * as ort from 'onnxruntime-common';

import { type DType, type FeedValue, Tensor, type TensorSpec, type ValueSpec } from '../index.js';
import { failure, rangeError, typeError } from './errors.js';

/** The tensor class of the application's onnxruntime-common. */
export type TensorClass = typeof ort.Tensor;

/** How messages of ONNX Runtime call an element type. */
function engineName(dtype: string): string {
  const names: Record<string, string> = { float32: 'float', float64: 'double' };
  return names[dtype] ?? dtype;
}

/** The element types that onnxruntime-common has a tensor for. */
const carried: ReadonlySet<string> = new Set<ort.Tensor.Type>([
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'uint4',
  'int4',
]);

/** Those of them that it lets stay on a device. */
const onDevices: ReadonlySet<string> = new Set([
  'float32',
  'float16',
  'int32',
  'int64',
  'uint32',
  'uint8',
  'bool',
  'uint4',
  'int4',
]);

export function isCarried(dtype: DType): dtype is DType & ort.Tensor.Type {
  return carried.has(dtype);
}

export function mayStayOnDevice(dtype: DType): boolean {
  return onDevices.has(dtype);
}

/** A tensor as callers give it: one of onnxruntime-common's, or anything with its properties. */
interface TensorLike {
  readonly dims?: unknown;
  readonly type?: unknown;
  readonly location?: unknown;
  readonly data?: unknown;
  readonly gpuBuffer?: unknown;
}

/** Its data in host memory, or the tensor of Tenon's behind a "GPU buffer". */
interface ReadTensor {
  readonly type: DType;
  readonly dims: readonly number[];
  readonly data: unknown;
}

const hostLocations = ['cpu', 'cpu-pinned'];

/** @throws TypeError, RangeError naming the property. */
function read(value: unknown): ReadTensor {
  if (typeof value !== 'object' || value === null) throw typeError('Tensor must be an object.');
  const { dims, type, location } = value as TensorLike;
  if (!Array.isArray(dims)) throw typeError('Tensor.dims must be an array.');
  for (let i = 0; i < dims.length; i++) {
    const dimension: unknown = dims[i];
    if (typeof dimension !== 'number') throw typeError(`Tensor.dims[${i}] must be a number.`);
    if (!Number.isSafeInteger(dimension) || dimension < 0) {
      throw rangeError(`Tensor.dims[${i}] is invalid: ${dimension}`, 'ERR_TENON_SHAPE');
    }
  }
  if (typeof type !== 'string') throw typeError('Tensor.type must be a string.');
  if (typeof location !== 'string') throw typeError('Tensor.location must be a string.');
  let data: unknown;
  if (hostLocations.includes(location)) {
    data = (value as TensorLike).data;
  } else if (location === 'gpu-buffer') {
    data = (value as TensorLike).gpuBuffer;
    if (!(data instanceof Tensor)) {
      throw typeError('Tensor.gpuBuffer must be an output of a session.', 'ERR_TENON_UNSUPPORTED');
    }
  } else {
    const code = location === 'none' ? 'ERR_TENON_DISPOSED' : 'ERR_TENON_UNSUPPORTED';
    throw rangeError('Tensor.location is not supported.', code);
  }
  return { type: type as DType, dims: dims as number[], data };
}

/**
 * A tensor of Tenon's over the memory of `value`, as the feed or the place of `name`.
 *
 * @throws TypeError, RangeError and Error as the stock binding does, with codes.
 */
export function tensorOf(value: unknown, spec: TensorSpec, side: 'input' | 'output'): Tensor {
  const { type, dims, data } = read(value);
  if (type !== spec.dtype) {
    throw failure(
      `Unexpected ${side} data type. Actual: (tensor(${engineName(type)})) , expected: (tensor(${engineName(spec.dtype)}))`,
      'ERR_TENON_DTYPE',
    );
  }
  if (data instanceof Tensor) return data as Tensor;
  if (type === 'string') {
    if (!Array.isArray(data)) throw typeError('Tensor.data must be an array for string tensors.');
    const strange = data.findIndex((item) => typeof item !== 'string');
    if (strange >= 0) throw typeError(`Tensor.data[${strange}] must be a string.`);
    checkLength(data.length, dims, 1);
    return new Tensor('string', data as string[], dims);
  }
  return overTypedArray(type, data, dims);
}

function overTypedArray(type: DType, data: unknown, dims: readonly number[]): Tensor {
  if (!ArrayBuffer.isView(data) || data instanceof DataView) {
    throw typeError('Tensor.data must be a typed array for numeric tensor.', 'ERR_TENON_DTYPE');
  }
  try {
    return new Tensor(type, data as never, dims);
  } catch (cause) {
    const { code } = cause as { code?: string };
    if (code === 'ERR_TENON_DTYPE') {
      throw typeError(
        `Tensor.data must be a typed array (of another kind) for ${type} tensors, but got typed array (${data.constructor.name}).`,
        'ERR_TENON_DTYPE',
      );
    }
    if (code === 'ERR_TENON_DATA_LENGTH' || code === 'ERR_TENON_DETACHED') {
      const { byteLength } = data;
      const each = (data as Uint8Array).BYTES_PER_ELEMENT * (type.endsWith('int4') ? 0.5 : 1);
      const expected = Math.ceil(dims.reduce((product, size) => product * size, each));
      throw failure(`not enough space: expected ${expected}, got ${byteLength}`, code, cause);
    }
    throw cause;
  }
}

function checkLength(length: number, dims: readonly number[], each: number): void {
  const size = dims.reduce((product, dimension) => product * dimension, 1);
  if (length < size) {
    throw failure(
      `not enough space: expected ${size * each}, got ${length * each}`,
      'ERR_TENON_DATA_LENGTH',
    );
  }
}

/**
 * A feed in Tenon's form. Where the model takes no tensor, an array is a sequence, a Map a map and
 * null an optional without a value.
 */
export function feedOf(value: unknown, spec: ValueSpec): FeedValue {
  switch (spec.kind) {
    case 'tensor':
      return tensorOf(value, spec, 'input');
    case 'sequence':
      if (!Array.isArray(value)) throw typeError(`'${spec.name}' must be an array for a sequence.`);
      return value.map((item) => feedOf(item, spec.element));
    case 'map':
      if (!(value instanceof Map)) throw typeError(`'${spec.name}' must be a Map for a map.`);
      return value as Map<string, number>;
    case 'optional':
      return value === null ? null : feedOf(value, spec.element);
    default:
      throw unsupported(spec, 'input');
  }
}

/**
 * The tensor that an output is, or an optional output may hold.
 *
 * @throws Error where onnxruntime-common has no value for it.
 */
export function carriedSpec(spec: ValueSpec): TensorSpec {
  const held = spec.kind === 'optional' ? spec.element : spec;
  if (held.kind !== 'tensor' || !isCarried(held.dtype)) throw unsupported(spec, 'output');
  return held;
}

export function unsupported(spec: ValueSpec, side: string): Error {
  const what =
    spec.kind === 'tensor'
      ? `Tensor.type is not supported: ${spec.dtype}`
      : 'Non tensor type is temporarily not supported.';
  return failure(
    `${what} (${side} '${spec.name}': onnxruntime-common has no value for it; load() of tenon does)`,
    'ERR_TENON_UNSUPPORTED',
  );
}

const lossy = new TextDecoder('utf-8', { ignoreBOM: true });

/** An output as a tensor of the application's onnxruntime-common, over the same memory. */
export function outputOf(TensorOf: TensorClass, tensor: Tensor): ort.Tensor {
  const type = tensor.dtype as ort.Tensor.Type;
  const dims = tensor.shape as number[];
  if (tensor.location === 'engine') {
    return TensorOf.fromGpuBuffer(tensor as unknown as ort.Tensor.GpuBufferType, {
      dataType: type as ort.Tensor.GpuBufferDataTypes,
      dims,
      download: async () => (await tensor.toHost()).data as never,
      dispose: () => tensor.dispose(),
    });
  }
  if (type === 'string') {
    const strings = (tensor as Tensor<'string'>).bytes.map((bytes) => lossy.decode(bytes));
    return new TensorOf('string', strings, dims);
  }
  return new TensorOf(type, tensor.data, dims);
}

/**
 * Puts an output into the tensor that was given for it.
 *
 * @throws Error where that has another shape.
 */
export function fill(given: ort.Tensor, output: Tensor, name: string): void {
  checkPlace(given.dims, output.shape, name);
  const place = given.data as { set?: (elements: unknown) => void; [index: number]: string };
  if (output.dtype !== 'string') {
    const { buffer, byteOffset, byteLength } = given.data as Uint8Array;
    new Uint8Array(buffer, byteOffset, byteLength).set((output as Tensor<'uint8'>).bytes);
    return;
  }
  (output as Tensor<'string'>).bytes.forEach((bytes, i) => (place[i] = lossy.decode(bytes)));
}

/** Compares the shape of a given tensor with what it has to be; anything but a number fits. */
export function checkPlace(
  dims: readonly number[],
  expected: readonly unknown[],
  name: string,
): void {
  const help = 'Please fix either the inputs/outputs or the model.';
  if (dims.length !== expected.length) {
    throw failure(
      `Invalid rank for output: ${name} Got: ${dims.length} Expected: ${expected.length} ${help}`,
      'ERR_TENON_SHAPE',
    );
  }
  const wrong = dims.flatMap((got, i) =>
    typeof expected[i] === 'number' && expected[i] !== got
      ? [` index: ${i} Got: ${got} Expected: ${expected[i]}\n`]
      : [],
  );
  if (wrong.length > 0) {
    throw failure(
      `Got invalid dimensions for output: ${name} for the following indices\n${wrong.join('')} ${help}`,
      'ERR_TENON_SHAPE',
    );
  }
}
