/** ONNX models that tests put together themselves. */

import path from 'node:path';
import { pathToFileURL } from 'node:url';

type Dims = readonly (number | string)[];
type Attributes = Record<string, number | number[]>;

interface Writer {
  node(
    this: void,
    opType: string,
    inputs: string[],
    outputs: string[],
    attributes?: Attributes,
  ): Buffer;
  initializer(this: void, name: string, data: Float32Array | BigInt64Array, dims: number[]): Buffer;
  valueInfo(this: void, name: string, dtype: 'float32' | 'int64', shape: Dims): Buffer;
  model(
    this: void,
    graph: {
      name: string;
      nodes: Buffer[];
      initializers?: Buffer[];
      inputs: Buffer[];
      outputs: Buffer[];
    },
  ): Buffer;
}

const file = path.resolve(import.meta.dirname, '../../bench/models/onnx.mjs');
const { node, initializer, valueInfo, model } = (await import(pathToFileURL(file).href)) as Writer;

/** One operation, x → y. */
export function oneNode(
  opType: string,
  attributes: Attributes,
  x: Dims,
  y: Dims,
  more: [name: string, data: BigInt64Array][] = [],
): Buffer {
  return model({
    name: opType,
    nodes: [node(opType, ['x', ...more.map(([name]) => name)], ['y'], attributes)],
    initializers: more.map(([name, data]) => initializer(name, data, [data.length])),
    inputs: [valueInfo('x', 'float32', x)],
    outputs: [valueInfo('y', 'float32', y)],
  });
}

/** Subtracts the mean of all rows from each: one row alone gives zeros. */
export function centred(): Buffer {
  return model({
    name: 'centred',
    nodes: [
      node('ReduceMean', ['x'], ['mean'], { axes: [0], keepdims: 1 }),
      node('Sub', ['x', 'mean'], ['y']),
    ],
    inputs: [valueInfo('x', 'float32', ['batch', 4])],
    outputs: [valueInfo('y', 'float32', ['batch', 4])],
  });
}

/**
 * As encoders of text are: embeddings of `ids`, a mean of those that `attention_mask` marks
 * ("pooled"), and each embedding with that added ("hidden").
 */
export function pooledEncoder(): Buffer {
  const table = Float32Array.from({ length: 20 }, (_, i) => ((i * 7) % 11) - 4);
  return model({
    name: 'pooled',
    nodes: [
      node('Gather', ['table', 'ids'], ['embedded'], { axis: 0 }),
      node('Cast', ['attention_mask'], ['marked'], { to: 1 }),
      node('Unsqueeze', ['marked', 'two'], ['mask']),
      node('Mul', ['embedded', 'mask'], ['masked']),
      node('ReduceSum', ['masked', 'one'], ['sum'], { keepdims: 0 }),
      node('ReduceSum', ['mask', 'one'], ['count'], { keepdims: 0 }),
      node('Div', ['sum', 'count'], ['pooled']),
      node('Unsqueeze', ['pooled', 'one'], ['context']),
      node('Add', ['embedded', 'context'], ['hidden']),
    ],
    initializers: [
      initializer('table', table, [10, 2]),
      initializer('one', BigInt64Array.of(1n), [1]),
      initializer('two', BigInt64Array.of(2n), [1]),
    ],
    inputs: [
      valueInfo('ids', 'int64', ['batch', 'length']),
      valueInfo('attention_mask', 'int64', ['batch', 'length']),
    ],
    outputs: [
      valueInfo('pooled', 'float32', ['batch', 2]),
      valueInfo('hidden', 'float32', ['batch', 'length', 2]),
    ],
  });
}

/** y = x w, with x [1, n] and a weight of 4 n² bytes. */
export function largeMatMul(n: number): Buffer {
  const weight = new Float32Array(n * n).map((_, i) => (i % 97) / 97);
  return model({
    name: 'large',
    nodes: [node('MatMul', ['x', 'w'], ['y'])],
    initializers: [initializer('w', weight, [n, n])],
    inputs: [valueInfo('x', 'float32', [1, n])],
    outputs: [valueInfo('y', 'float32', [1, n])],
  });
}

/** Gives `input` back as `output`, by whatever names. */
export function identity(input: string, output: string): Buffer {
  return model({
    name: 'identity',
    nodes: [node('Identity', [input], [output])],
    inputs: [valueInfo(input, 'float32', ['n'])],
    outputs: [valueInfo(output, 'float32', ['n'])],
  });
}
