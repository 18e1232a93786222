import type { TypedArray } from '../../tensor/dtypes.js';
import { StatusError } from '../status.js';

/** Bytes that a number takes as a varint; a non-negative safe integer. */
export function varintLength(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let length = 5;
  for (let rest = Math.floor(value / 0x800000000); rest > 0; rest = Math.floor(rest / 0x80)) {
    length++;
  }
  return length;
}

/**
 * Elements up to here are copied by way of `scratch`. Reading them where they lie would move a small
 * typed array out of the JavaScript heap, which takes longer.
 */
const scratchBytes = 64;
const scratch = new ArrayBuffer(scratchBytes);
const scratchBy = new Map<unknown, TypedArray>(
  [
    Float32Array,
    Float64Array,
    Int8Array,
    Uint8Array,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
  ].map((carrier) => [carrier, new carrier(scratch)]),
);
const scratchView = new Uint8Array(scratch);

/** Writes into memory whose length was measured before. */
export class ByteWriter {
  readonly bytes: Buffer;
  position = 0;

  constructor(byteLength: number) {
    this.bytes = Buffer.allocUnsafe(byteLength);
  }

  tag(field: number, wireType: number): void {
    this.varint((field << 3) | wireType);
  }

  varint(value: number): void {
    let rest = value;
    while (rest > 0x7fffffff) {
      this.bytes[this.position++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    while (rest > 0x7f) {
      this.bytes[this.position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.position++] = rest;
  }

  fixed32(value: number): void {
    this.position = this.bytes.writeUInt32LE(value, this.position);
  }

  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.position);
    this.position += bytes.byteLength;
  }

  /** The elements of a typed array as they lie in memory. */
  elements(data: TypedArray): void {
    const { byteLength } = data;
    const view = byteLength <= scratchBytes ? scratchBy.get(data.constructor) : undefined;
    if (view === undefined) {
      this.raw(new Uint8Array(data.buffer, data.byteOffset, byteLength));
      return;
    }
    // The map has the array of the same kind.
    (view as Float32Array).set(data as Float32Array);
    for (let i = 0; i < byteLength; i++) this.bytes[this.position++] = scratchView[i] as number;
  }

  text(text: string): void {
    this.position += this.bytes.write(text, this.position);
  }

  bools(data: Uint8Array): void {
    const { bytes } = this;
    let { position } = this;
    for (let i = 0; i < data.length; i++) bytes[position++] = data[i] === 0 ? 0 : 1;
    this.position = position;
  }

  varints32(numbers: ArrayLike<number>): void {
    const { bytes } = this;
    let { position } = this;
    for (let i = 0; i < numbers.length; i++) {
      const value = numbers[i] as number;
      let rest = value >>> 0;
      while (rest > 0x7f) {
        bytes[position++] = (rest & 0x7f) | 0x80;
        rest >>>= 7;
      }
      if (value >= 0) {
        bytes[position++] = rest;
        continue;
      }
      // The fifth byte has 4 bits left, and the sign goes on to 64.
      bytes[position++] = rest | 0xf0;
      for (let more = 0; more < 4; more++) bytes[position++] = 0xff;
      bytes[position++] = 1;
    }
    this.position = position;
  }

  /** 64-bit integers as pairs of low and high halves. */
  varints64(halves: Uint32Array): void {
    const { bytes } = this;
    let { position } = this;
    for (let i = 0; i < halves.length; i += 2) {
      let low = halves[i] as number;
      let high = halves[i + 1] as number;
      while (high !== 0) {
        bytes[position++] = (low & 0x7f) | 0x80;
        low = ((low >>> 7) | (high << 25)) >>> 0;
        high >>>= 7;
      }
      while (low > 0x7f) {
        bytes[position++] = (low & 0x7f) | 0x80;
        low >>>= 7;
      }
      bytes[position++] = low;
    }
    this.position = position;
  }
}

/** protobuf's own limit of a message. */
const maxMessageBytes = 2 ** 31 - 1;

/** @throws StatusError RESOURCE_EXHAUSTED for a response of 2 GiB or more. */
export function responseWriter(byteLength: number): ByteWriter {
  return messageWriter('response', byteLength);
}

/** @throws StatusError RESOURCE_EXHAUSTED for a message of 2 GiB or more. */
export function messageWriter(kind: 'request' | 'response', byteLength: number): ByteWriter {
  if (byteLength > maxMessageBytes) {
    throw new StatusError(
      'RESOURCE_EXHAUSTED',
      `the ${kind} takes ${byteLength} bytes, and a message has at most ${maxMessageBytes}`,
    );
  }
  return new ByteWriter(byteLength);
}
