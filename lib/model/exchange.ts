/**
 * Requests of small tensors by way of memory that the addon reads as it is. A number that crosses
 * through Node-API costs tens of nanoseconds and an array hundreds, and a small typed array has to be
 * moved out of the JavaScript heap first. Writing words and elements here costs a few.
 */

import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  NativeExchange,
  NativeOutputs,
  NativeSession,
  NativeTarget,
  NativeTensorIn,
  NativeTensorOut,
  NativeValueIn,
  NativeValueOut,
} from '../native/types.js';
import type { RunnerOptions, RunRequest } from '../runner.js';
import { dtypes, type TypedArray } from '../tensor/dtypes.js';
import { shapeText } from '../tensor/shape.js';
import type { Request } from './request.js';

/** The words before those of outputs and inputs, in this order, see ExchangeBlock::Header. */
const headerWords = 5;
const inputWords = 4;
const maxSize = 2 ** 31 - 1;
/** Bytes of an output that goes into a given tensor by way of the block; larger ones go straight. */
const mostCopied = 4096;

type View = new (buffer: ArrayBuffer, byteOffset: number, length: number) => TypedArray;

class Exchange {
  readonly #native: NativeExchange;
  readonly #words: Int32Array;
  readonly #resultWord: number;
  /** The whole block as elements of each dtype, by its number; none for strings. */
  readonly #elements: readonly (TypedArray | undefined)[];
  #requests = 0;

  constructor(native: NativeExchange) {
    const { buffer, start, byteLength, resultAt } = native;
    this.#native = native;
    this.#words = new Int32Array(buffer, start, byteLength / 4);
    this.#resultWord = resultAt / 4;
    const elements: (TypedArray | undefined)[] = [];
    for (const { number, carrier } of Object.values(dtypes)) {
      if (carrier === Array) continue;
      const { BYTES_PER_ELEMENT } = carrier as Float32ArrayConstructor;
      elements[number] = new (carrier as View)(buffer, start, byteLength / BYTES_PER_ELEMENT);
    }
    this.#elements = elements;
    native.setReader(() => this.#read());
  }

  /** As NativeSession.run, if the request went into the block. */
  run(
    session: NativeSession,
    request: RunRequest,
    { ticket, priority }: RunnerOptions,
  ): NativeOutputs | Promise<NativeOutputs> | undefined {
    if (request.targets !== undefined || !this.#write(session.number, request)) return undefined;
    return this.#native.run(ticket, priority) ?? this.#read();
  }

  /** As NativeSession.runSync, if the request went into the block. */
  runSync(session: NativeSession, request: Request): NativeOutputs | undefined {
    const { targets, outputNames } = request;
    if (targets !== undefined && !targets.every(isSmallPlace)) return undefined;
    if (!this.#write(session.number, request)) return undefined;
    const outputs = this.#native.runSync() ?? this.#read();
    if (targets === undefined) return outputs;
    return outputs.map((output, i) => {
      const target = targets[i] as NativeTarget;
      return typeof target === 'number'
        ? output
        : copyInto(target, output, outputNames[i] as string);
    });
  }

  /**
   * False where the request is not one of small tensors alone: what is in the block then is
   * nobody's. Feeds without elements are not written either: the addon tells whether there is still
   * memory behind one.
   */
  #write(session: number, { signature, inputs, feeds, outputs, options }: RunRequest): boolean {
    if (options !== undefined) return false;
    const words = this.#words;
    const { requestWords, feedsAt, feedBytes, alignment } = this.#native;
    const request = ++this.#requests;
    let at = headerWords;
    if (at + outputs.length > requestWords) return false;
    for (let i = 0; i < outputs.length; i++) words[at++] = outputs[i] as number;
    let offset = 0;
    for (let i = 0; i < feeds.length; i++) {
      const feed = feeds[i] as NativeValueIn;
      if (!isTensor(feed)) return false;
      const shape = feed[1];
      const elements = this.#elements[feed[0]];
      if (elements === undefined) return false;
      const data = feed[2] as TypedArray;
      const byteLength = data.length * elements.BYTES_PER_ELEMENT;
      if (byteLength === 0 || offset + byteLength > feedBytes) return false;
      if (at + inputWords + shape.length > requestWords) return false;
      words[at++] = inputs[i] as number;
      words[at++] = feed[0];
      words[at++] = byteLength;
      words[at++] = shape.length;
      for (let d = 0; d < shape.length; d++) {
        const size = shape[d] as number;
        if (size > maxSize) return false;
        words[at++] = size;
      }
      (elements as Float32Array).set(
        data as Float32Array,
        (feedsAt + offset) / elements.BYTES_PER_ELEMENT,
      );
      offset = Math.ceil((offset + byteLength) / alignment) * alignment;
    }
    words[0] = at;
    words[1] = session;
    words[2] = signature;
    words[3] = feeds.length;
    words[4] = outputs.length;
    // A caller's object may run code where it is read, such as another request; this one then has
    // lost its place in the block.
    return this.#requests === request;
  }

  #read(): NativeOutputs {
    const words = this.#words;
    const outputs: NativeValueOut[] = [];
    let at = this.#resultWord;
    const count = words[at++] as number;
    for (let i = 0; i < count; i++) {
      const dtype = words[at++] as number;
      const offset = words[at++] as number;
      const byteLength = words[at++] as number;
      const rank = words[at++] as number;
      const shape: number[] = [];
      for (let d = 0; d < rank; d++) shape.push(words[at++] as number);
      const elements = this.#elements[dtype] as TypedArray;
      const first = offset / elements.BYTES_PER_ELEMENT;
      const data = elements.slice(first, first + byteLength / elements.BYTES_PER_ELEMENT);
      outputs.push([dtype, shape, data]);
    }
    return outputs;
  }
}

/** Of a target: whether what goes there may come by way of the block, and is copied from there. */
function isSmallPlace(target: NativeTarget): boolean {
  if (typeof target === 'number') return target === 0;
  const data = target[2];
  return ArrayBuffer.isView(data) && data.byteLength > 0 && data.byteLength <= mostCopied;
}

/** @returns The hole that says the output is in its tensor. @throws ERR_TENON_SHAPE. */
function copyInto(
  [, shape, data]: NativeTensorIn,
  output: NativeOutputs[number],
  name: string,
): undefined {
  const [, given, elements] = output as NativeTensorOut;
  if (given.length !== shape.length || given.some((size, i) => size !== shape[i])) {
    throw new TenonError(
      'ERR_TENON_SHAPE',
      `expected a tensor of shape ${shapeText(given)} for output "${name}" to go into, received shape ${shapeText(shape)}`,
    );
  }
  const to = data as TypedArray;
  const from =
    elements instanceof ArrayBuffer
      ? new (to.constructor as View)(elements, 0, to.length)
      : elements;
  (to as Float32Array).set(from as Float32Array);
}

function isTensor(value: NativeValueIn): value is NativeTensorIn {
  return Array.isArray(value);
}

let exchange: Exchange | undefined;

/** The session's run, by the shortest way for the request. */
export function run(
  session: NativeSession,
  request: RunRequest,
  options: RunnerOptions,
): NativeOutputs | Promise<NativeOutputs> {
  if (!options.borrow) {
    exchange ??= new Exchange(nativeAddon().exchange());
    const started = exchange.run(session, request, options);
    if (started !== undefined) return started;
  }
  const { signature, inputs, feeds, outputs, targets, options: own } = request;
  const { ticket, priority, borrow } = options;
  return session.run(signature, inputs, feeds, outputs, targets, ticket, priority, borrow, own);
}

/** The session's runSync likewise. */
export function runSync(session: NativeSession, request: Request): NativeOutputs {
  exchange ??= new Exchange(nativeAddon().exchange());
  const { signature, inputs, feeds, outputs, targets, options: own } = request;
  return (
    exchange.runSync(session, request) ??
    session.runSync(signature, inputs, feeds, outputs, targets, own)
  );
}
