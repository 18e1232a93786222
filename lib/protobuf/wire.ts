/**
 * The protobuf wire format: varints, fixed-width numbers and length-delimited fields
 * (protobuf.dev/programming-guides/encoding), read and written over one byte array.
 *
 * Nothing is allocated on the word of a length that has not been compared with the bytes there
 * are, and every loop ends with the input.
 */

import { TenonError, type TenonErrorCode, invalidArgument } from '../errors.js';

export const WireType = {
  varint: 0,
  fixed64: 1,
  bytes: 2,
  startGroup: 3,
  endGroup: 4,
  fixed32: 5,
} as const;

/** Messages, and groups that are skipped, nest no deeper than this; protobuf's own default. */
export const maxDepthDefault = 100;

/**
 * Messages, map entries and repeated values decoded from one input. A message costs two bytes on
 * the wire and a hundred in memory, so without a bound a hostile input of some megabytes would
 * exhaust the heap.
 */
export const maxElementsDefault = 8_000_000;

export interface DecodeOptions {
  /** The code of errors about the bytes. Default ERR_TENON_INVALID_ARGUMENT. */
  code?: TenonErrorCode;
  /** What the bytes are called in such errors: a path, a request. Default "protobuf". */
  subject?: string;
  /** Default 100. */
  maxDepth?: number;
  /** Default 8 million. */
  maxElements?: number;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenientUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const utf8Encoder = new TextEncoder();

/** Reads one byte array from front to back. `end` moves as nested messages are entered and left. */
export class WireReader {
  readonly bytes: Uint8Array;
  position = 0;
  end: number;
  depth = 0;
  readonly maxDepth: number;
  /** Type of the message being read, for error messages. */
  typeName = 'message';

  #view: DataView | undefined;
  readonly #code: TenonErrorCode;
  readonly #subject: string;
  #elementsLeft: number;
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array, options: DecodeOptions = {}) {
    this.bytes = bytes;
    this.end = bytes.byteLength;
    this.maxDepth = options.maxDepth ?? maxDepthDefault;
    this.#code = options.code ?? 'ERR_TENON_INVALID_ARGUMENT';
    this.#subject = options.subject ?? 'protobuf';
    this.#elementsLeft = options.maxElements ?? maxElementsDefault;
  }

  fail(reason: string): TenonError {
    return new TenonError(
      this.#code,
      `expected a protobuf ${this.typeName} for "${this.#subject}", received ${reason}`,
    );
  }

  countElement(): void {
    if (--this.#elementsLeft < 0) throw this.fail('more elements than are accepted');
  }

  /** A field's tag: number << 3 | wire type. */
  tag(): number {
    this.#varint();
    const tag = this.#low >>> 0;
    if (this.#high !== 0 || tag < 8 || (tag & 7) > 5) throw this.fail('bytes that are no field');
    return tag;
  }

  /** A length, checked against what is left. */
  length(): number {
    this.#varint();
    const length = this.#low >>> 0;
    if (this.#high !== 0 || length > this.end - this.position) {
      throw this.fail('fewer bytes than it announces');
    }
    return length;
  }

  int32(): number {
    this.#varint();
    return this.#low | 0;
  }

  uint32(): number {
    this.#varint();
    return this.#low >>> 0;
  }

  sint32(): number {
    this.#varint();
    return (this.#low >>> 1) ^ -(this.#low & 1);
  }

  bool(): boolean {
    this.#varint();
    return (this.#low | this.#high) !== 0;
  }

  int64(): bigint {
    this.#varint();
    if (this.#high === 0) return BigInt(this.#low >>> 0);
    return (BigInt(this.#high | 0) << 32n) | BigInt(this.#low >>> 0);
  }

  /** An int64 as a number: NaN where a number cannot be sure to hold it. */
  int53(): number {
    this.#varint();
    const high = this.#high | 0;
    if (high < -0x200000 || high >= 0x200000) return NaN;
    return high * 0x100000000 + (this.#low >>> 0);
  }

  uint64(): bigint {
    this.#varint();
    if (this.#high === 0) return BigInt(this.#low >>> 0);
    return (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0);
  }

  sint64(): bigint {
    const zigzag = this.uint64();
    return (zigzag >> 1n) ^ -(zigzag & 1n);
  }

  fixed32(): number {
    return this.#fixed().getUint32(this.#advance(4), true);
  }

  sfixed32(): number {
    return this.#fixed().getInt32(this.#advance(4), true);
  }

  float(): number {
    return this.#fixed().getFloat32(this.#advance(4), true);
  }

  fixed64(): bigint {
    return this.#fixed().getBigUint64(this.#advance(8), true);
  }

  sfixed64(): bigint {
    return this.#fixed().getBigInt64(this.#advance(8), true);
  }

  double(): number {
    return this.#fixed().getFloat64(this.#advance(8), true);
  }

  /** A view of the input, not a copy. */
  byteString(): Uint8Array {
    const length = this.length();
    const start = this.#advance(length);
    return this.bytes.subarray(start, start + length);
  }

  /** proto3 strings are UTF-8 and anything else is an error; proto2 never checked. */
  text(strict: boolean): string {
    const bytes = this.byteString();
    const ascii = shortAscii(bytes);
    if (ascii !== undefined) return ascii;
    if (!strict) return lenientUtf8.decode(bytes);
    try {
      return strictUtf8.decode(bytes);
    } catch {
      throw this.fail('a string that is not UTF-8');
    }
  }

  /** Passes over the value behind `tag`. Groups are walked without recursion, to `maxDepth`. */
  skip(tag: number): void {
    let open: number[] | undefined;
    let current = tag;
    for (;;) {
      switch (current & 7) {
        case WireType.varint:
          this.#varint();
          break;
        case WireType.fixed64:
          this.#advance(8);
          break;
        case WireType.bytes:
          this.#advance(this.length());
          break;
        case WireType.fixed32:
          this.#advance(4);
          break;
        case WireType.startGroup:
          open ??= [];
          if (open.length + this.depth >= this.maxDepth) throw this.fail('groups nested too deep');
          open.push(current >>> 3);
          break;
        default:
          if (open?.pop() !== current >>> 3) throw this.fail('the end of a group that never began');
      }
      if (open === undefined || open.length === 0) return;
      current = this.tag();
    }
  }

  /** For numbers of fixed width, which most messages have none of. */
  #fixed(): DataView {
    const { buffer, byteOffset, byteLength } = this.bytes;
    return (this.#view ??= new DataView(buffer, byteOffset, byteLength));
  }

  #advance(count: number): number {
    const start = this.position;
    if (count > this.end - start) throw this.fail('fewer bytes than it announces');
    this.position = start + count;
    return start;
  }

  /** Ten bytes at most; what exceeds 64 bits is dropped, as every protobuf parser does. */
  #varint(): void {
    const { bytes, end } = this;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.position >= end) throw this.fail('fewer bytes than it announces');
      const byte = bytes[this.position++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.#low = low;
        this.#high = high;
        return;
      }
    }
    throw this.fail('a number of more than ten bytes');
  }
}

/** Names are short and ASCII, and a TextDecoder takes ten times as long for such. */
const shortLength = 48;

function shortAscii(bytes: Uint8Array): string | undefined {
  if (bytes.length > shortLength) return undefined;
  let text = '';
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte > 0x7f) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Writes into a buffer that grows. Lengths are filled in when a nested message is joined. */
export class WireWriter {
  #bytes = new Uint8Array(128);
  #view = new DataView(this.#bytes.buffer);
  #position = 0;

  /** The bytes written so far, as a copy of exactly their length. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#position);
  }

  get byteLength(): number {
    return this.#position;
  }

  tag(number: number, wireType: number): this {
    return this.uint32(((number << 3) | wireType) >>> 0);
  }

  uint32(value: number): this {
    checkInteger('uint32', value, 0, 0xffffffff);
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#position++] = rest;
    return this;
  }

  int32(value: number): this {
    checkInteger('int32', value, -0x80000000, 0x7fffffff);
    // Negative numbers are extended to 64 bits.
    return value >= 0 ? this.uint32(value) : this.#varint64(BigInt.asUintN(64, BigInt(value)));
  }

  sint32(value: number): this {
    checkInteger('sint32', value, -0x80000000, 0x7fffffff);
    return this.uint32(((value << 1) ^ (value >> 31)) >>> 0);
  }

  bool(value: boolean): this {
    this.#reserve(1);
    this.#bytes[this.#position++] = value ? 1 : 0;
    return this;
  }

  int64(value: bigint): this {
    if (BigInt.asIntN(64, value) !== value) throw outOfRange('int64', value);
    return this.#varint64(BigInt.asUintN(64, value));
  }

  uint64(value: bigint): this {
    if (BigInt.asUintN(64, value) !== value) throw outOfRange('uint64', value);
    return this.#varint64(value);
  }

  sint64(value: bigint): this {
    if (BigInt.asIntN(64, value) !== value) throw outOfRange('sint64', value);
    return this.#varint64(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  }

  fixed32(value: number): this {
    checkInteger('fixed32', value, 0, 0xffffffff);
    this.#reserve(4);
    this.#view.setUint32(this.#position, value, true);
    this.#position += 4;
    return this;
  }

  sfixed32(value: number): this {
    checkInteger('sfixed32', value, -0x80000000, 0x7fffffff);
    this.#reserve(4);
    this.#view.setInt32(this.#position, value, true);
    this.#position += 4;
    return this;
  }

  float(value: number): this {
    this.#reserve(4);
    this.#view.setFloat32(this.#position, value, true);
    this.#position += 4;
    return this;
  }

  fixed64(value: bigint): this {
    if (BigInt.asUintN(64, value) !== value) throw outOfRange('fixed64', value);
    this.#reserve(8);
    this.#view.setBigUint64(this.#position, value, true);
    this.#position += 8;
    return this;
  }

  sfixed64(value: bigint): this {
    if (BigInt.asIntN(64, value) !== value) throw outOfRange('sfixed64', value);
    this.#reserve(8);
    this.#view.setBigInt64(this.#position, value, true);
    this.#position += 8;
    return this;
  }

  double(value: number): this {
    this.#reserve(8);
    this.#view.setFloat64(this.#position, value, true);
    this.#position += 8;
    return this;
  }

  byteString(value: Uint8Array): this {
    this.uint32(value.byteLength);
    return this.raw(value);
  }

  text(value: string): this {
    if (!this.#shortAscii(value)) this.byteString(utf8Encoder.encode(value));
    return this;
  }

  /** False, with nothing written, where the text is longer or has other characters. */
  #shortAscii(value: string): boolean {
    const { length } = value;
    if (length > shortLength) return false;
    this.#reserve(1 + length);
    let position = this.#position;
    this.#bytes[position++] = length;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return false;
      this.#bytes[position++] = code;
    }
    this.#position = position;
    return true;
  }

  raw(value: Uint8Array): this {
    this.#reserve(value.byteLength);
    this.#bytes.set(value, this.#position);
    this.#position += value.byteLength;
    return this;
  }

  /** Leaves room for a length; give what it returns to `join` after the content is written. */
  fork(): number {
    this.#reserve(1);
    return ++this.#position;
  }

  join(start: number): this {
    const length = this.#position - start;
    const prefix = length < 0x80 ? 1 : Math.ceil((32 - Math.clz32(length)) / 7);
    if (prefix > 1) {
      this.#reserve(prefix - 1);
      this.#bytes.copyWithin(start + prefix - 1, start, this.#position);
    }
    this.#position = start - 1;
    this.uint32(length);
    this.#position += length;
    return this;
  }

  #varint64(value: bigint): this {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7fn) {
      this.#bytes[this.#position++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#position++] = Number(rest);
    return this;
  }

  #reserve(count: number): void {
    const needed = this.#position + count;
    if (needed <= this.#bytes.byteLength) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

function checkInteger(type: string, value: number, lowest: number, highest: number): void {
  if (!Number.isInteger(value) || value < lowest || value > highest) throw outOfRange(type, value);
}

function outOfRange(type: string, value: unknown): TenonError {
  return invalidArgument('protobuf field', `a number that fits ${type}`, value);
}
