/** Values from the command line and files to feeds, and outputs to text, JSON and files. */

import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { type DType, type FeedValue, Tensor, type Value, type ValueSpec } from '../index.js';
import { UsageError } from './context.js';
import { formatJson, parseJson } from './json.js';
import { formatNpy, parseNpy, tensorFromNpy } from './npy.js';
import { printable } from './terminal.js';

/** What a value on the command line stands for: `@file`, JSON, or a bare string. */
export async function feedFromText(text: string, spec: ValueSpec): Promise<FeedValue> {
  if (text.startsWith('@') && !text.startsWith('@@')) return feedFromFile(text.slice(1), spec);
  const value = text.startsWith('@@') ? text.slice(1) : text;
  const dtype = dtypeOf(spec);
  // A string input takes what is not meant as JSON as it stands.
  if (dtype === 'string' && !/^\s*["[{]/.test(value)) return feedFromJson(value, spec);
  let parsed: unknown;
  try {
    parsed = parseJson(value);
  } catch (error) {
    if (dtype === 'string') return feedFromJson(value, spec);
    throw new UsageError(
      `expected JSON or @file for --input "${spec.name}", received ${JSON.stringify(shortened(value))}: ${(error as Error).message}`,
    );
  }
  return feedFromJson(parsed, spec);
}

async function feedFromFile(file: string, spec: ValueSpec): Promise<FeedValue> {
  const bytes = await readFile(file);
  const dtype = dtypeOf(spec);
  switch (path.extname(file).toLowerCase()) {
    case '.npy':
      return tensorFromNpy(parseNpy(bytes, file), dtype, file);
    case '.json':
      return feedFromJson(parseJsonFile(bytes.toString('utf8'), file), spec);
    default:
      if (dtype === 'string') return feedFromJson(new Uint8Array(bytes), spec);
      throw new UsageError(
        `expected a .npy or .json file for --input "${spec.name}", received "${file}": only inputs ` +
          'of strings take the bytes of any file',
      );
  }
}

export function parseJsonFile(text: string, file: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new UsageError(`expected JSON in "${file}", received ${(error as Error).message}`);
  }
}

/** The dtype of a tensor, bare or optional. */
function dtypeOf(spec: ValueSpec): DType | undefined {
  if (spec.kind === 'optional') return dtypeOf(spec.element);
  return spec.kind === 'tensor' ? spec.dtype : undefined;
}

/**
 * JSON in the shape of the spec: objects to Maps, `{"b64": …}` to bytes, "NaN" to NaN for floats.
 * Everything else is left to `run`, which names what does not fit.
 */
export function feedFromJson(value: unknown, spec: ValueSpec): FeedValue {
  switch (spec.kind) {
    case 'tensor': {
      const elements = elementsFromJson(value, spec.dtype);
      const isScalar = !Array.isArray(elements);
      // One element is a tensor of any rank; its sizes are then all 1.
      if (isScalar && spec.shape !== null && spec.shape.length > 0) {
        return new Array(spec.shape.length)
          .fill(0)
          .reduce((nested: unknown) => [nested], elements) as FeedValue;
      }
      return elements as FeedValue;
    }
    case 'optional':
      return value === null ? null : feedFromJson(value, spec.element);
    case 'sequence':
      if (!Array.isArray(value)) throw wrongValue(spec, 'an array', value);
      return value.map((item) => feedFromJson(item, spec.element));
    case 'map': {
      const entries = Array.isArray(value)
        ? (value as [unknown, unknown][])
        : typeof value === 'object' && value !== null
          ? Object.entries(value)
          : undefined;
      if (entries === undefined) throw wrongValue(spec, 'an object', value);
      const isNumber = spec.key !== 'string';
      return new Map(
        entries.map(([key, item]) => [isNumber ? bigIntOf(key, spec) : String(key), item]),
      ) as FeedValue;
    }
    default:
      return value as FeedValue;
  }
}

function bigIntOf(key: unknown, spec: ValueSpec): bigint {
  try {
    return BigInt(key as string);
  } catch {
    throw wrongValue(spec, 'integers as keys', key);
  }
}

function elementsFromJson(value: unknown, dtype: DType): unknown {
  if (Array.isArray(value)) return value.map((item) => elementsFromJson(item, dtype));
  if (dtype === 'string') {
    const b64: unknown =
      typeof value === 'object' && value !== null && 'b64' in value ? value.b64 : undefined;
    return typeof b64 === 'string' ? new Uint8Array(Buffer.from(b64, 'base64')) : value;
  }
  const isFloat = dtype.includes('float') || dtype.startsWith('complex');
  if (!isFloat) return value;
  if (typeof value === 'string' && /^(NaN|-?Infinity)$/.test(value)) return Number(value);
  return typeof value === 'bigint' ? Number(value) : value;
}

function wrongValue(spec: ValueSpec, expected: string, received: unknown): UsageError {
  const shown = shortened(formatJson(received));
  return new UsageError(
    `expected ${expected} for --input "${spec.name}", a ${spec.kind}, received ${shown}`,
  );
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** An output as plain values for JSON: a tensor's elements nested as deep as its rank. */
export function plainValue(value: Value): unknown {
  if (value instanceof Tensor) return tensorElements(value);
  return Array.isArray(value) ? value.map(plainValue) : value;
}

/** The same with dtype and shape beside each tensor's elements. */
export function describedValue(value: Value): unknown {
  if (value instanceof Tensor) {
    return { dtype: value.dtype, shape: value.shape, data: tensorElements(value) };
  }
  return Array.isArray(value) ? value.map(describedValue) : value;
}

function tensorElements(tensor: Tensor): unknown {
  if (tensor.dtype !== 'string') return tensor.toArray();
  const elements = (tensor as Tensor<'string'>).bytes.map(textOrBytes);
  let index = 0;
  const build = (depth: number): unknown =>
    depth === tensor.shape.length
      ? elements[index++]
      : Array.from({ length: tensor.shape[depth] ?? 0 }, () => build(depth + 1));
  return build(0);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOrBytes(bytes: Uint8Array): string | Uint8Array {
  try {
    return utf8.decode(bytes);
  } catch {
    return bytes;
  }
}

export async function writeValue(value: Value, file: string): Promise<void> {
  switch (path.extname(file).toLowerCase()) {
    case '.json':
      await writeFile(file, `${formatJson(plainValue(value))}\n`);
      return;
    case '.npy':
      if (!(value instanceof Tensor)) {
        throw new UsageError(
          `expected a .json file for an output that is no tensor, received "${file}"`,
        );
      }
      await writeFile(file, formatNpy(value));
      return;
    default:
      throw new UsageError(`expected a .npy or .json file to write, received "${file}"`);
  }
}

/** Above this many elements only the first and last three of each axis are printed, as NumPy does. */
const printedElements = 1000;
const edgeElements = 3;

/** Lines for a person: dtype, shape and, abbreviated, the elements. */
export function valueLines(name: string, value: Value): string[] {
  const title = printable(name);
  if (value === null) return [`${title}  none`];
  if (value instanceof Map) {
    const lines = [...value].slice(0, printedElements).map(([key, item]) => {
      const shownKey = typeof key === 'string' ? JSON.stringify(printable(key)) : String(key);
      return `  ${shownKey}: ${String(item)}`;
    });
    return [`${title}  map of ${value.size}`, ...lines];
  }
  if (Array.isArray(value)) {
    const items = value
      .slice(0, 20)
      .flatMap((item, index) => valueLines(`${name}[${index}]`, item));
    const rest = value.length > 20 ? [`${title}  ${value.length - 20} more`] : [];
    return [`${title}  sequence of ${value.length}`, ...items, ...rest];
  }
  const { dtype, shape } = value;
  return [`${title}  ${dtype} [${shape.join(', ')}]`, tensorText(value)];
}

/** The elements in NumPy's brackets, columns aligned. */
export function tensorText(tensor: Tensor): string {
  const { shape, size } = tensor;
  const isShort = size > printedElements;
  const element = elementText(tensor);
  const kept = shape.map((dimension) =>
    isShort && dimension > 2 * edgeElements ? edgeElements : Number.POSITIVE_INFINITY,
  );

  // Texts first, in order, so that all get the same width.
  const texts: string[] = [];
  walk(shape, kept, (index) => texts.push(element(index)));
  const width = texts.reduce((widest, text) => Math.max(widest, text.length), 0);
  const isText = tensor.dtype === 'string';
  let next = 0;
  const take = (): string => {
    const text = texts[next++] ?? '';
    return isText ? text.padEnd(width) : text.padStart(width);
  };
  return bracketed(shape, kept, take, '').replaceAll(/ +$/gm, '');
}

function walk(
  shape: readonly number[],
  kept: readonly number[],
  visit: (index: number) => void,
): void {
  const step = (axis: number, base: number): void => {
    const dimension = shape[axis];
    if (dimension === undefined) {
      visit(base);
      return;
    }
    const edge = kept[axis] ?? Infinity;
    for (let i = 0; i < dimension; i++) {
      if (i === edge) i = Math.max(i, dimension - edge);
      step(axis + 1, base * dimension + i);
    }
  };
  step(0, 0);
}

function bracketed(
  shape: readonly number[],
  kept: readonly number[],
  take: () => string,
  margin: string,
): string {
  const [dimension, ...inner] = shape;
  const [edge, ...innerKept] = kept;
  if (dimension === undefined) return take();
  const count = Math.min(dimension, 2 * (edge ?? Infinity));
  const items = Array.from({ length: count }, () =>
    bracketed(inner, innerKept, take, `${margin} `),
  );
  if (count < dimension) items.splice(edge ?? 0, 0, '...');
  if (inner.length === 0) return `[${items.join(' ')}]`;
  const separator = '\n'.repeat(inner.length === 1 ? 1 : 2);
  return `[${items.join(`${separator}${margin} `)}]`;
}

/** How one element is printed; floats with up to 6 digits. */
function elementText(tensor: Tensor): (index: number) => string {
  const { dtype } = tensor;
  if (dtype === 'string') {
    const { bytes } = tensor as Tensor<'string'>;
    return (index) => {
      const value = textOrBytes(bytes[index] as Uint8Array);
      if (typeof value === 'string') return JSON.stringify(shortened(printable(value)));
      const hex = Buffer.from(value.buffer, value.byteOffset, Math.min(16, value.byteLength));
      return `<${hex.toString('hex')}${value.byteLength > 16 ? '…' : ''}>`;
    };
  }
  if (dtype === 'bool') {
    const data = tensor.data as Uint8Array;
    return (index) => (data[index] === 0 ? 'false' : 'true');
  }
  if (dtype === 'int64' || dtype === 'uint64') {
    const data = tensor.data as BigInt64Array | BigUint64Array;
    return (index) => String(data[index]);
  }
  if (dtype === 'complex64' || dtype === 'complex128') {
    const data = tensor.data as Float64Array;
    return (index) => {
      const imaginary = numberText(data[2 * index + 1] as number);
      return `${numberText(data[2 * index] as number)}${/^[-]/.test(imaginary) ? '' : '+'}${imaginary}i`;
    };
  }
  const data = dtype === 'float64' ? (tensor.data as Float64Array) : tensor.toFloat32();
  const isWhole = /^q?u?int/.test(dtype);
  const exact = isWhole && !/4$|2$/.test(dtype) ? (tensor.data as Int32Array) : data;
  return (index) => (isWhole ? String(exact[index]) : numberText(data[index] as number));
}

function numberText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(Number(value.toPrecision(6)));
}
