/** The cases of test/fixtures/references.json (its README describes the format). */

import { readFileSync } from 'node:fs';

import { PNG } from 'pngjs';

import { type FeedValue, load, type LoadOptions, type Model, Tensor } from '../../lib/index.js';
import type { Value, ValuesModel } from '../../lib/index.js';
import { type DType, isDType } from '../../lib/tensor/dtypes.js';
import { pack } from '../../lib/tensor/convert.js';
import { carrierLength, dtypes, type TypedArray } from '../../lib/tensor/dtypes.js';
import { readNpy } from './npy.js';
import { fixture } from './paths.js';

export interface ReferenceTensor {
  dtype: string;
  shape: number[];
  data?: (number | string)[];
  npy?: string;
  png?: string[];
  divideBy?: number;
  reshape?: number[];
}

export type ReferenceValue =
  | ReferenceTensor
  | { sequence: ReferenceValue[] }
  | { map: [string, number | string][]; key: 'int64' | 'string'; value: DType }
  | null;

export interface ReferenceCase {
  model: string;
  engine: 'tensorflow' | 'onnx';
  signature?: string;
  tags?: string[];
  fresh?: true;
  feeds: Record<string, ReferenceValue>;
  outputs: Record<string, ReferenceValue>;
}

export const referenceCases = (
  JSON.parse(readFileSync(fixture('references.json'), 'utf8')) as { cases: ReferenceCase[] }
).cases;

/** The name a dtype has in the fixtures → Tenon's. */
export function dtypeOf(name: string): DType {
  const dtype = name === 'float8_e8m0fnu' ? 'float8e8m0' : name.replace('_', '');
  if (!isDType(dtype)) throw new Error(`the fixtures' dtype ${name} is unknown`);
  return dtype;
}

function integersIn(dtype: DType): boolean {
  return dtype.startsWith('int') || dtype.startsWith('uint') || dtype.startsWith('q');
}

/** A tensor whose `data` lists elements (complex: parts; small floats: bits) as the fixtures do. */
export function tensorFromElements(
  dtype: DType,
  data: readonly (number | string)[],
  shape: readonly number[],
): Tensor {
  if (dtype === 'string') {
    const bytes = data.map((text) => new Uint8Array(Buffer.from(String(text), 'base64')));
    return new Tensor('string', bytes, shape);
  }
  const { bits, carrier, parts } = dtypes[dtype];
  const size = parts > 1 ? data.length / parts : data.length;
  const elements = new (carrier as new (length: number) => TypedArray)(carrierLength(dtype, size));
  data.forEach((item, index) => {
    if (bits === 64 && integersIn(dtype)) (elements as BigInt64Array)[index] = BigInt(item);
    else if (bits < 8) pack(elements as Uint8Array, index, bits, Number(item));
    else (elements as Float32Array)[index] = Number(item);
  });
  return new Tensor(dtype, elements as never, shape);
}

function tensorOf(reference: ReferenceTensor): Tensor {
  const { npy, png, divideBy, reshape } = reference;
  if (reference.data !== undefined) {
    return tensorFromElements(dtypeOf(reference.dtype), reference.data, reference.shape);
  }
  let pixels: ArrayLike<number>;
  if (npy !== undefined) {
    pixels = readNpy(fixture(npy)).data;
  } else {
    pixels = (png ?? []).flatMap((file) => {
      const { data } = PNG.sync.read(readFileSync(fixture(file)));
      return [...data].filter((_, index) => index % 4 !== 3);
    });
  }
  const values = Float32Array.from(pixels, (value) => value / (divideBy ?? 1));
  return new Tensor('float32', values, reshape ?? reference.shape);
}

export function valueOf(reference: ReferenceValue): Value {
  if (reference === null) return null;
  if ('sequence' in reference) return reference.sequence.map(valueOf);
  if ('map' in reference) {
    return new Map(
      reference.map.map(([key, value]) => [
        reference.key === 'int64' ? BigInt(key) : key,
        Number(value),
      ]),
    );
  }
  return tensorOf(reference);
}

export function feedsOf({ feeds }: ReferenceCase): Record<string, FeedValue> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, value]) => [name, valueOf(value) as FeedValue]),
  );
}

export const absoluteTolerance = 1e-5;
export const relativeTolerance = 1e-4;

function isNear(actual: number, expected: number): boolean {
  if (Object.is(actual, expected) || actual === expected) return true;
  return Math.abs(actual - expected) <= absoluteTolerance + relativeTolerance * Math.abs(expected);
}

/** Reads the elements of a tensor in a form two tensors can be compared in. */
export function elementsOf(tensor: Tensor): (number | bigint | string)[] {
  if (tensor.dtype === 'string') {
    return (tensor as Tensor<'string'>).bytes.map((bytes) => Buffer.from(bytes).toString('latin1'));
  }
  const data = tensor.data as TypedArray;
  return [...data];
}

/**
 * What differs between an output and its reference, in words; undefined where nothing does.
 * float32 and float64 within the tolerance, everything else exactly — but NaNs of small floats,
 * whose bits engines do not keep.
 */
export function difference(
  actual: Value,
  expected: ReferenceValue,
  name: string,
): string | undefined {
  return differenceOf(actual, valueOf(expected), name);
}

function differenceOf(actual: Value, expected: Value, name: string): string | undefined {
  if (expected === null) return actual === null ? undefined : `${name}: expected null`;
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return `${name}: expected an array`;
    if (actual.length !== expected.length) {
      return `${name}: expected ${expected.length} items, received ${actual.length}`;
    }
    return first(expected.map((item, i) => differenceOf(actual[i] ?? null, item, `${name}[${i}]`)));
  }
  if (expected instanceof Map) {
    if (!(actual instanceof Map)) return `${name}: expected a Map`;
    if (actual.size !== expected.size) return `${name}: expected ${expected.size} entries`;
    return first(
      [...expected].map(([key, value]) => {
        const received = actual.get(key);
        return isNear(Number(received), Number(value))
          ? undefined
          : `${name}.${key}: expected ${value}, received ${received}`;
      }),
    );
  }
  if (!(actual instanceof Tensor)) return `${name}: expected a Tensor`;
  if (actual.dtype !== expected.dtype) {
    return `${name}: expected dtype ${expected.dtype}, received ${actual.dtype}`;
  }
  if (actual.shape.join() !== expected.shape.join()) {
    return `${name}: expected shape [${expected.shape.join()}], received [${actual.shape.join()}]`;
  }
  const received = elementsOf(actual);
  const wanted = elementsOf(expected);
  if (received.length !== wanted.length) {
    return `${name}: expected ${wanted.length} elements, received ${received.length}`;
  }
  const isFloat = ['float32', 'float64'].includes(actual.dtype);
  const isSmallFloat = /^(float8|float4|float16|bfloat16)/.test(actual.dtype);
  const numbers = isSmallFloat ? [actual, expected].map((tensor) => tensor.toFloat32()) : [];
  return first(
    wanted.map((value, i) => {
      const other = received[i];
      const same = isFloat ? isNear(Number(other), Number(value)) : Object.is(other, value);
      const bothNaN = Number.isNaN(numbers[0]?.[i]) && Number.isNaN(numbers[1]?.[i]);
      return same || bothNaN ? undefined : `${name}[${i}]: expected ${value}, received ${other}`;
    }),
  );
}

function first(differences: (string | undefined)[]): string | undefined {
  return differences.find((difference) => difference !== undefined);
}

/** Loads the model of a case. A frozen graph is told its tensors. */
export function loadCase(reference: ReferenceCase): Promise<Model<ValuesModel>> {
  const options: LoadOptions = {};
  if (reference.model.endsWith('.pb')) {
    const own = (names: string[]) => Object.fromEntries(names.map((name) => [name, name]));
    options.tensorflow = {
      inputs: own(Object.keys(reference.feeds)),
      outputs: own(Object.keys(reference.outputs)),
    };
  } else if (reference.tags !== undefined) {
    options.tags = reference.tags;
  }
  return load<ValuesModel>(fixture(reference.model), options);
}
