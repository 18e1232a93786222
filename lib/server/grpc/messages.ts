/**
 * Messages as they lie in an HTTP/2 stream of gRPC: a byte that tells whether they are compressed,
 * their length in four bytes, most significant first, and their bytes
 * (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

import { gunzip, inflate, type InputType } from 'node:zlib';
import { promisify } from 'node:util';

import { StatusError } from '../../codec/status.js';
import { messageMemory } from '../tensor-memory.js';

export const prefixLength = 5;

export interface FramedMessage {
  readonly isCompressed: boolean;
  readonly bytes: Buffer;
}

/** Puts the pieces of a stream together to messages. Holds what came, and nothing on its word. */
export class MessageReader {
  /**
   * Tells from a message's first bytes where tensors begin in it, which are to be fed as they lie
   * there: see `messageMemory`. Default: nowhere.
   */
  tensorsAt: ((first: Buffer) => number | undefined) | undefined;
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #held = 0;
  #length = -1;
  #isCompressed = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a message has begun and is not whole. */
  get isWithin(): boolean {
    return this.#held > 0 || this.#length >= 0;
  }

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#held += piece.byteLength;
  }

  /**
   * The next whole message, if it is there.
   *
   * @throws StatusError RESOURCE_EXHAUSTED for one that is too long, INTERNAL for what is none.
   */
  next(): FramedMessage | undefined {
    if (this.#length < 0) {
      if (this.#held < prefixLength) return undefined;
      const prefix = this.#take(prefixLength);
      const flag = prefix[0] as number;
      if (flag > 1) throw new StatusError('INTERNAL', `Invalid frame type: ${flag}`);
      const length = prefix.readUInt32BE(1);
      if (length > this.#maxBytes) {
        throw new StatusError(
          'RESOURCE_EXHAUSTED',
          `Received message larger than max (${length} vs. ${this.#maxBytes})`,
        );
      }
      this.#isCompressed = flag === 1;
      this.#length = length;
    }
    if (this.#held < this.#length) return undefined;
    const bytes = this.#take(this.#length);
    this.#length = -1;
    return { isCompressed: this.#isCompressed, bytes };
  }

  #take(count: number): Buffer {
    const first = this.#pieces[0] ?? noBytes;
    this.#held -= count;
    if (first.byteLength > count) {
      this.#pieces[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    if (first.byteLength === count) {
      this.#pieces.shift();
      return first;
    }
    return this.#joined(count, this.tensorsAt?.(first));
  }

  #joined(count: number, tensorsAt: number | undefined): Buffer {
    const { bytes } = messageMemory(count, tensorsAt);
    let length = 0;
    let used = 0;
    let rest: Buffer | undefined;
    while (length < count) {
      const piece = this.#pieces[used++] as Buffer;
      piece.copy(bytes, length, 0, count - length);
      if (piece.byteLength > count - length) rest = piece.subarray(count - length);
      length += piece.byteLength;
    }
    this.#pieces.splice(0, used, ...(rest === undefined ? [] : [rest]));
    return bytes;
  }
}

const noBytes = Buffer.alloc(0);

const decompressors: Readonly<
  Record<string, (bytes: InputType, options: { maxOutputLength: number }) => Promise<Buffer>>
> = { gzip: promisify(gunzip), deflate: promisify(inflate) };

/** The encodings a client may choose, for the header that tells them. */
export const acceptedEncodings = 'identity,deflate,gzip';

/**
 * @param encoding The stream's grpc-encoding.
 * @throws StatusError UNIMPLEMENTED for an unknown encoding, RESOURCE_EXHAUSTED for a message that is
 *   too long once it is decompressed, INTERNAL.
 */
export async function decompress(
  bytes: Buffer,
  encoding: string | undefined,
  maxBytes: number,
): Promise<Buffer> {
  if (encoding === undefined || encoding === 'identity') {
    throw new StatusError('INTERNAL', 'Received a compressed message without grpc-encoding');
  }
  const decompressor = Object.hasOwn(decompressors, encoding) ? decompressors[encoding] : undefined;
  if (decompressor === undefined) {
    throw new StatusError('UNIMPLEMENTED', `Received message compressed with "${encoding}"`);
  }
  try {
    return await decompressor(bytes, { maxOutputLength: Math.max(1, maxBytes) });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new StatusError(
        'RESOURCE_EXHAUSTED',
        `Received message that decompresses to more than ${maxBytes} bytes`,
      );
    }
    throw new StatusError('INTERNAL', 'Failed to decompress message', { cause });
  }
}

/** Answers up to here are put behind their prefix in one piece; larger ones are not copied. */
const copiedMaxBytes = 64 * 1024;

/** A message for the wire, in the pieces to write. */
export function framed(message: Uint8Array): Buffer[] {
  const { byteLength } = message;
  const isCopied = byteLength <= copiedMaxBytes;
  const prefix = Buffer.allocUnsafe(prefixLength + (isCopied ? byteLength : 0));
  prefix[0] = 0;
  prefix.writeUInt32BE(byteLength, 1);
  if (isCopied) {
    prefix.set(message, prefixLength);
    return [prefix];
  }
  return [prefix, Buffer.from(message.buffer, message.byteOffset, byteLength)];
}

/**
 * Encoded characters of a status message. Clients take 8 KiB of trailers in all, and what is longer
 * would cost them the status itself.
 */
const maxStatusMessageLength = 4096;

/** A status message for the header grpc-message: UTF-8, what is not printable ASCII in %XX. */
export function encodeStatusMessage(message: string): string {
  let encoded = '';
  for (const character of message) {
    const code = character.charCodeAt(0);
    let next = character;
    if (code < 0x20 || code > 0x7e || code === 0x25) {
      next = '';
      for (const byte of Buffer.from(character)) {
        next += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
      }
    }
    if (encoded.length + next.length > maxStatusMessageLength) return `${encoded}...`;
    encoded += next;
  }
  return encoded;
}

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * Milliseconds of a grpc-timeout header.
 *
 * @throws StatusError INTERNAL
 */
export function parseTimeout(header: string): number {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  if (digits === undefined || unit === undefined) {
    throw new StatusError('INTERNAL', `Invalid grpc-timeout value "${header.slice(0, 64)}"`);
  }
  return Number(digits) * (unitMs[unit] as number);
}
