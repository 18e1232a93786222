/** Answers of the REST API, to be compared. */

import type { LoggedBytes } from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import {
  type ComparedAnswer,
  comparedClasses,
  type ComparedOutput,
  comparedValues,
} from '../traffic/compare.js';

/** The name of an output that stands alone: REST leaves it out. */
const onlyOutput = '';

/** @throws StatusError INTERNAL for what is no such answer. */
export function comparedRestAnswer(kind: LoggedBytes['kind'], text: string): ComparedAnswer {
  const answer = parse(text) as { outputs?: unknown; results?: unknown };
  if (kind === 'predict') {
    const { outputs } = answer;
    if (outputs === undefined) throw notAnAnswer('no "outputs"');
    // Several have names; a string alone may be an object as well.
    if (isObject(outputs) && !isBytes(outputs)) {
      return new Map(
        Object.entries(outputs).map(([name, value]: [string, unknown]) => [name, outputOf(value)]),
      );
    }
    return new Map([[onlyOutput, outputOf(outputs)]]);
  }
  const { results } = answer;
  if (!Array.isArray(results)) throw notAnAnswer('no "results"');
  if (kind === 'regress') return comparedValues(results.map(numberOf));
  return comparedClasses(
    (results as [unknown, unknown][][]).map((classes) =>
      classes.map(([label, score]) => ({ label: String(label), score: numberOf(score) })),
    ),
  );
}

/** Bare NaN and infinities, outside of strings, are not JSON. */
const bare = /"(?:[^"\\]|\\.)*"|-?\bNaN\b|-?\bInfinity\b/g;

function parse(text: string): object {
  try {
    const value: unknown = JSON.parse(
      text.replace(bare, (found) => (found.startsWith('"') ? found : `{"bare": "${found}"}`)),
    );
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  throw notAnAnswer('something else');
}

function outputOf(value: unknown): ComparedOutput {
  const shape: number[] = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0] as unknown) {
    shape.push(inner.length);
  }
  const flat: unknown[] = Array.isArray(value) ? value.flat(Infinity) : [value];
  const isText = flat.some((element) => typeof element === 'string' || isBytes(element));
  if (isText) return { kind: 'exact', shape, values: flat.map(textOf) };
  return { kind: 'float', shape, values: flat.map(numberOf) };
}

function numberOf(value: unknown): number {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (isObject(value) && 'bare' in value) return Number(value.bare);
  return Number(value);
}

/** As tensors of strings are compared: a character for each byte. */
function textOf(value: unknown): string {
  const bytes = isBytes(value) ? Buffer.from(value.b64, 'base64') : Buffer.from(String(value));
  return bytes.toString('latin1');
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isBytes(value: unknown): value is { readonly b64: string } {
  return isObject(value) && 'b64' in value && typeof value.b64 === 'string';
}

function notAnAnswer(found: string): StatusError {
  return new StatusError('INTERNAL', `expected an answer of the REST API, received ${found}`);
}

/** Both answers with the same names and kinds of numbers, where REST lost those. */
export function aligned(
  expected: ComparedAnswer,
  actual: ComparedAnswer,
): readonly [ComparedAnswer, ComparedAnswer] {
  const [name = onlyOutput] = [...expected.keys(), ...actual.keys()].filter(
    (each) => each !== onlyOutput,
  );
  const named = (answer: ComparedAnswer): ComparedAnswer => {
    const alone = answer.get(onlyOutput);
    return alone === undefined ? answer : new Map([[name, alone]]);
  };
  const [one, other] = [named(expected), named(actual)];
  const numbers = (answer: ComparedAnswer, beside: ComparedAnswer): ComparedAnswer =>
    new Map(
      [...answer].map(([each, output]) => {
        const { values } = output;
        const others = beside.get(each)?.values;
        if (typeof values[0] === 'bigint' && typeof others?.[0] === 'number') {
          return [each, { ...output, values: Array.from(values, Number) }];
        }
        // What is written in decimal digits was a float.
        if (typeof values[0] === 'number' && others instanceof Float32Array) {
          return [each, { ...output, values: Float32Array.from(values as ArrayLike<number>) }];
        }
        return [each, output];
      }),
    );
  return [numbers(one, other), numbers(other, one)];
}
