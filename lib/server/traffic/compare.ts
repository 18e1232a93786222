/** How far two answers to the same request lie apart. */

import type { Tensor } from '../../index.js';
import type { Exchange } from '../exchange.js';

/** One output, whatever it came as. */
export interface ComparedOutput {
  /**
   * "float": numbers that may differ a little; rows agree where the same element is the greatest.
   * "exact": integers, booleans and strings; rows agree where all elements are equal.
   */
  readonly kind: 'float' | 'exact';
  readonly shape: readonly number[];
  /** Row by row; strings as latin1 of their bytes. */
  readonly values: ArrayLike<number> | ArrayLike<bigint> | readonly string[];
}

export type ComparedAnswer = ReadonlyMap<string, ComparedOutput>;

export interface Comparison {
  /** Why the answers cannot be compared: other outputs, or other shapes. Then all else is 0. */
  readonly mismatch: string | undefined;
  /** Over all numbers; Infinity where one is NaN and the other not. */
  readonly maxAbsError: number;
  /**
   * Rows of the last dimension of which an agreement can be told: of floats where there are two
   * dimensions and two elements in a row at least, else of none; of all others always.
   */
  readonly rows: number;
  readonly agreeingRows: number;
}

/** Elements that are compared in one turn of the event loop. */
const elementsAtOnce = 1 << 16;

/** The outputs of `expected` are looked for in `actual`, which may have others. */
export async function compareAnswers(
  expected: ComparedAnswer,
  actual: ComparedAnswer,
): Promise<Comparison> {
  let maxAbsError = 0;
  let rows = 0;
  let agreeingRows = 0;
  let compared = 0;
  for (const [name, one] of expected) {
    const other = actual.get(name);
    if (other === undefined) return mismatch(`there is no output "${name}"`);
    if (!areSame(one.shape, other.shape)) {
      return mismatch(
        `output "${name}" has the shape [${other.shape.join(',')}] instead of [${one.shape.join(',')}]`,
      );
    }
    const { values } = one;
    const isString = typeof values[0] === 'string';
    if (values.length > 0 && isString !== (typeof other.values[0] === 'string')) {
      return mismatch(`output "${name}" has elements of another kind`);
    }
    const width = one.shape.length < 2 ? 1 : (one.shape.at(-1) as number);
    const count = width === 0 ? 0 : values.length / width;
    const isRanked = one.kind === 'float' && width > 1;
    const hasRows = isRanked || one.kind === 'exact';
    for (let row = 0; row < count; row++) {
      if (compared >= elementsAtOnce) {
        await new Promise((resolve) => setImmediate(resolve));
        compared = 0;
      }
      compared += width;
      const from = row * width;
      let isEqual = true;
      for (let i = from; i < from + width; i++) {
        const a = values[i] as number;
        const b = other.values[i] as number;
        if (a === b || (a !== a && b !== b)) continue;
        isEqual = false;
        if (isString) continue;
        const difference = Math.abs(Number(a) - Number(b));
        if (!(difference <= maxAbsError)) {
          maxAbsError = difference === difference ? difference : Infinity;
        }
      }
      if (!hasRows) continue;
      rows++;
      const agrees = isRanked
        ? isEqual || argmax(values, from, width) === argmax(other.values, from, width)
        : isEqual;
      if (agrees) agreeingRows++;
    }
  }
  return { mismatch: undefined, maxAbsError, rows, agreeingRows };
}

function mismatch(reason: string): Comparison {
  return { mismatch: reason, maxAbsError: 0, rows: 0, agreeingRows: 0 };
}

function areSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

/** The first of the greatest; NaN is less than everything. */
function argmax(values: ComparedOutput['values'], from: number, width: number): number {
  let best = 0;
  let greatest = -Infinity;
  for (let i = 0; i < width; i++) {
    const value = Number(values[from + i]);
    if (value > greatest) {
      greatest = value;
      best = i;
    }
  }
  return best;
}

const floats: ReadonlySet<string> = new Set([
  'float16',
  'bfloat16',
  'float32',
  'float64',
  'complex64',
  'complex128',
]);

/** A tensor's elements, which are its own memory where they can be. */
export function comparedTensor(tensor: Tensor): ComparedOutput {
  const { dtype, shape } = tensor;
  const kind = floats.has(dtype) ? 'float' : 'exact';
  switch (dtype) {
    case 'string': {
      const strings = tensor.bytes as unknown as Uint8Array[];
      return { kind, shape, values: strings.map((bytes) => Buffer.from(bytes).toString('latin1')) };
    }
    case 'float16':
    case 'bfloat16':
      return { kind, shape, values: tensor.toFloat32() };
    case 'complex64':
    case 'complex128':
      return { kind, shape: [...shape, 2], values: tensor.data };
    case 'int2':
    case 'uint2':
    case 'int4':
    case 'uint4':
      return { kind, shape, values: flattened(tensor.toArray()) };
    default:
      return { kind, shape, values: tensor.data };
  }
}

function flattened(nested: unknown): number[] {
  return (Array.isArray(nested) ? nested.flat(Infinity) : [nested]) as number[];
}

/** What was answered, output by output. */
export function comparedExchange(exchange: Exchange): ComparedAnswer {
  switch (exchange.kind) {
    case 'predict':
      return new Map(exchange.outputs.map(({ name, tensor }) => [name, comparedTensor(tensor)]));
    case 'classify':
      return comparedClasses(exchange.classifications);
    case 'regress':
      return comparedValues(exchange.values);
    case 'multiInference':
      return comparedResults(
        exchange.results.map((result) =>
          result.kind === 'classify' ? result.classifications : result.values,
        ),
      );
  }
}

type Classifications = readonly (readonly {
  readonly label: string;
  readonly score: number;
}[])[];

/** Outputs "classes" and "scores", as the signature has them. */
export function comparedClasses(classifications: Classifications): ComparedAnswer {
  const shape = [classifications.length, classifications[0]?.length ?? 0];
  const classes = classifications.flat();
  return new Map<string, ComparedOutput>([
    ['classes', { kind: 'exact', shape, values: classes.map(({ label }) => label) }],
    ['scores', { kind: 'float', shape, values: classes.map(({ score }) => score) }],
  ]);
}

/** The output "outputs". */
export function comparedValues(values: readonly number[]): ComparedAnswer {
  return new Map([['outputs', { kind: 'float', shape: [values.length], values }]]);
}

/** Of each task its outputs, with its number before their names. */
export function comparedResults(
  results: readonly (Classifications | readonly number[])[],
): ComparedAnswer {
  const all = new Map<string, ComparedOutput>();
  for (const [i, result] of results.entries()) {
    const answer =
      typeof result[0] === 'number'
        ? comparedValues(result as readonly number[])
        : comparedClasses(result as Classifications);
    for (const [name, output] of answer) all.set(`${i}/${name}`, output);
  }
  return all;
}
