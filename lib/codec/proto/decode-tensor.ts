/**
 * tensorflow.TensorProto → Tensor, by what Tensor::FromProto of TensorFlow makes of one.
 *
 * A TensorProto is walked twice: for dtype and shape, then for the one field that holds elements of
 * that dtype, which are decoded straight into the tensor's memory. Elements that need no decoding
 * are a view of the message where they are few and aligned, and one copy where they are many: into
 * memory of Tenon's own, which engines take as it is.
 */

import { TenonError } from '../../errors.js';
import { dtypeFromTensorFlow } from '../../protobuf/tensorflow-dtypes.js';
import { WireReader, WireType } from '../../protobuf/wire.js';
import { pack } from '../../tensor/convert.js';
import { dtypes } from '../../tensor/dtypes.js';
import { shapeText } from '../../tensor/shape.js';
import { Tensor } from '../../tensor/tensor.js';
import { StatusError } from '../status.js';
import {
  allocate,
  decodeValues,
  onlyValues,
  tagOf,
  type TensorHead,
  tensorOver,
} from './elements.js';
import { layoutOf, type ValueLayout } from './layout.js';
import { decodeOptions, maxElements } from './malformed.js';

/** TensorFlow's own limit (TensorShape::MaxDimensions). */
const maxRank = 254;

/** References of strings in an array, and what comes with each on its way to an engine. */
const bytesPerString = 24;

/** What the tensors of one request may take beyond what its bytes are worth. */
export interface FillBudget {
  /**
   * A TensorProto may name a shape and leave elements out, so that a few bytes stand for any amount
   * of memory.
   */
  bytes: number;
  /** Each becomes an object in JavaScript. */
  strings: number;
}

export const maxFillBytesDefault = 64 * 1024 * 1024;

/**
 * @param alias How errors call the tensor.
 * @throws StatusError INVALID_ARGUMENT `tensor parsing error: <alias>`, RESOURCE_EXHAUSTED for too
 *   many strings; a TenonError for bytes that are no TensorProto at all.
 */
export function decodeTensorProto(bytes: Uint8Array, alias: string, budget: FillBudget): Tensor {
  const { dataType, shape, content } = readHead(bytes);
  const dtype = dtypeFromTensorFlow(dataType);
  // Numbers above 100 are references, which TensorFlow refuses as values.
  if (dtype === undefined || dtype === 'opaque' || dataType > 100) throw parsingError(alias);
  const layout = layoutOf(dtype);
  const size = shape === undefined ? NaN : sizeOf(shape);
  if (layout === undefined || shape === undefined || !Number.isSafeInteger(size)) {
    throw parsingError(alias);
  }
  const target: Target = { dtype, shape, size, alias, budget, layout };
  if (content !== undefined && content.byteLength > 0 && size > 0) {
    return layout.kind === 'string'
      ? stringsFromContent(target, content)
      : tensorFromContent(target, content);
  }
  return layout.kind === 'string'
    ? stringsFromValues(target, bytes)
    : tensorFromValues(target, bytes);
}

interface Target extends TensorHead {
  readonly alias: string;
  readonly budget: FillBudget;
  readonly layout: ValueLayout;
}

function parsingError(alias: string, reason = ''): StatusError {
  return new StatusError('INVALID_ARGUMENT', `tensor parsing error: ${alias}${reason}`);
}

function newReader(bytes: Uint8Array): WireReader {
  const reader = new WireReader(bytes, decodeOptions);
  reader.typeName = 'tensorflow.TensorProto';
  return reader;
}

const dtypeTag = tagOf(1, WireType.varint);
const shapeTag = tagOf(2, WireType.bytes);
const contentTag = tagOf(4, WireType.bytes);
const dimTag = tagOf(2, WireType.bytes);
const unknownRankTag = tagOf(3, WireType.varint);
const dimSizeTag = tagOf(1, WireType.varint);

interface Head {
  dataType: number;
  /** Undefined for a shape that is none. */
  shape: number[] | undefined;
  content: Uint8Array | undefined;
}

function readHead(bytes: Uint8Array): Head {
  const reader = newReader(bytes);
  let dataType = 0;
  let content: Uint8Array | undefined;
  const dims: number[] = [];
  let isShape = true;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === dtypeTag) dataType = reader.int32();
    else if (tag === contentTag) content = reader.byteString();
    else if (tag === shapeTag) isShape = readShape(reader, dims) && isShape;
    else reader.skip(tag);
  }
  return { dataType, shape: isShape ? dims : undefined, content };
}

/** Adds a TensorShapeProto's dimensions; false where it is no shape of a tensor. */
function readShape(reader: WireReader, dims: number[]): boolean {
  const outerEnd = reader.end;
  reader.end = reader.length() + reader.position;
  let isShape = true;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === dimTag) {
      const size = readDim(reader);
      if (size >= 0 && dims.length < maxRank) dims.push(size);
      else isShape = false;
    } else if (tag === unknownRankTag) {
      if (reader.bool()) isShape = false;
    } else reader.skip(tag);
  }
  reader.end = outerEnd;
  return isShape;
}

function readDim(reader: WireReader): number {
  const outerEnd = reader.end;
  reader.end = reader.length() + reader.position;
  let size = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === dimSizeTag) size = reader.int53();
    else reader.skip(tag);
  }
  reader.end = outerEnd;
  return size;
}

/** Not a safe integer where it is too large, even if another dimension is 0. */
function sizeOf(shape: readonly number[]): number {
  let size = 1;
  let isEmpty = false;
  for (const dimension of shape) {
    if (dimension === 0) isEmpty = true;
    else size *= dimension;
  }
  return isEmpty && Number.isSafeInteger(size) ? 0 : size;
}

/** Lets the request pay for memory that its bytes do not account for. */
function charge({ shape, alias, budget }: Target, needed: number, present: number): void {
  const filled = Math.max(0, needed - present);
  if (filled > budget.bytes) {
    throw parsingError(
      alias,
      `: shape ${shapeText(shape)} takes ${needed} bytes, and the request holds too few of them`,
    );
  }
  budget.bytes -= filled;
}

function countStrings({ size, budget }: Target): void {
  if (size > budget.strings) {
    throw new StatusError('RESOURCE_EXHAUSTED', `The request has more than ${maxElements} strings`);
  }
  budget.strings -= size;
}

function tensorFromContent(target: Target, content: Uint8Array): Tensor {
  const { dtype, size, layout } = target;
  const { bits } = dtypes[dtype];
  // TensorFlow has a byte for each element of less.
  const width = Math.max(1, bits / 8);
  if (content.byteLength !== size * width) throw parsingError(target.alias);
  if (layout.kind === 'packed') {
    const { tensor, data } = allocate(target);
    for (let i = 0; i < size; i++) pack(data as Uint8Array, i, bits, content[i] as number);
    return tensor;
  }
  // Kernels count on a bool being 0 or 1.
  if (layout.kind === 'bool' && content.some((byte) => byte > 1)) {
    const { tensor, data } = allocate(target);
    for (let i = 0; i < size; i++) data[i] = content[i] === 0 ? 0 : 1;
    return tensor;
  }
  return tensorOver(target, content);
}

function tensorFromValues(target: Target, bytes: Uint8Array): Tensor {
  const { dtype, size, layout } = target;
  if (size === 0) return allocate(target).tensor;
  const { bits, parts } = dtypes[dtype];
  const width = Math.max(1, bits / 8);
  // A varint has at least one byte; the others are as long as their elements.
  const worth = layout.kind === 'fixed32' || layout.kind === 'fixed64' ? 1 : width;
  charge(target, size * width, bytes.byteLength * worth);
  if (layout.kind === 'fixed32' || layout.kind === 'fixed64') {
    const whole = onlyValues(newReader(bytes), layout, size * width);
    if (whole !== undefined) return tensorOver(target, whole);
  }
  const { tensor, data } = allocate(target);
  const limit = size * parts;
  const elements = layout.kind === 'packed' ? new Int32Array(limit) : data;
  const found = Math.min(limit, decodeValues(newReader(bytes), layout, elements, limit));
  // Half a complex number is none.
  const count = found - (found % parts);
  if (found > count) elements.fill(0 as never, count, found);
  if (count > 0 && count < limit) {
    if (parts === 1) elements.fill(elements[count - 1] as never, count);
    else for (let i = count; i < limit; i++) elements[i] = elements[i - parts] as number;
  }
  if (elements !== data) {
    for (let i = 0; i < limit; i++) pack(data as Uint8Array, i, bits, elements[i] as number);
  }
  return tensor;
}

function stringsFromContent(target: Target, content: Uint8Array): Tensor {
  const { shape, size, alias } = target;
  if (size > content.byteLength) throw parsingError(alias);
  countStrings(target);
  const reader = newReader(content);
  const lengths = new Float64Array(size);
  let total = 0;
  try {
    for (let i = 0; i < size; i++) {
      const length = reader.uint32();
      lengths[i] = length;
      total += length;
    }
  } catch (error) {
    if (error instanceof TenonError) throw parsingError(alias);
    throw error;
  }
  if (total !== reader.end - reader.position) throw parsingError(alias);
  let offset = reader.position;
  const elements = Array.from(lengths, (length) => content.subarray(offset, (offset += length)));
  return new Tensor('string', elements, shape);
}

function stringsFromValues(target: Target, bytes: Uint8Array): Tensor {
  const { shape, size, layout } = target;
  charge(target, size * bytesPerString, bytes.byteLength * bytesPerString);
  countStrings(target);
  const reader = newReader(bytes);
  const tag = tagOf(layout.field, WireType.bytes);
  const elements: Uint8Array[] = [];
  while (reader.position < reader.end) {
    const next = reader.tag();
    if (next === tag && elements.length < size) elements.push(reader.byteString());
    else reader.skip(next);
  }
  const last = elements.at(-1) ?? noBytes;
  // The same bytes are copied for each element on the way to the engine.
  charge(target, (size - elements.length) * last.byteLength, 0);
  while (elements.length < size) elements.push(last);
  return new Tensor('string', elements, shape);
}

const noBytes = new Uint8Array(0);
