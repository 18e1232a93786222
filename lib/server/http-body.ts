/** Bodies of requests as bytes, whatever they say they are, within limits. */

import type { IncomingMessage } from 'node:http';
import { createGunzip, createInflate } from 'node:zlib';

import { StatusError } from '../codec/status.js';
import { nativeAddon } from '../native/load.js';
import { HttpError } from './http-status.js';
import { RecycledMemory } from './tensor-memory.js';

export interface BodyLimits {
  /** Bytes of one body, decompressed. */
  readonly maxBodyBytes: number;
  /** Bytes of all bodies that have come, in whole or in part, and are not yet released. */
  readonly maxPendingBodyBytes: number;
}

export interface ReadBodyOptions {
  /** Called with the body, or else … */
  readonly onBody: (body: Body) => void;
  /**
   * … with an HttpError 413 for a body over the limit, whose rest is read and dropped; StatusError
   * UNAVAILABLE where all bodies together are, RESOURCE_EXHAUSTED where there is no memory, CANCELLED
   * where the client has gone, INVALID_ARGUMENT for what is not compressed as it says.
   */
  readonly onError: (error: StatusError) => void;
  /** Also takes `Content-Encoding: deflate`. Default: false. */
  readonly deflate?: boolean;
  /**
   * Where tensors begin in the body, which are to be fed as they lie there: the body is put where
   * this place is aligned to 64 bytes. Default: 0.
   */
  readonly tensorsAt?: number | undefined;
}

export interface Body {
  readonly bytes: Buffer;
  /** Whether they are the whole use of memory that is Tenon's own, as a large body's are. */
  readonly isOwned: boolean;
  /**
   * Gives such memory back, of which nobody has made a tensor: the garbage collector, to which it weighs
   * much, is not to be waited for. The bytes are gone.
   */
  free(): void;
  /** Gives its place in `maxPendingBodyBytes` back. Once. */
  release(): void;
}

/** Up to here a body gets memory of its declared length at once, which it fills as it comes. */
const believedBytes = 8 << 20;
const firstCapacity = 64 << 10;

/**
 * What is read in one turn of the event loop of chunks that are large: a socket may have two megabytes at
 * once, and timers and small requests would wait for the copies of all that the sockets have.
 */
const maxTurnBytes = 256 << 10;
const largeChunkBytes = 16 << 10;

/** What is read of a refused body, and dropped, so that its sender comes to read the answer. */
const maxDrainedBytes = 64 << 20;

export class BodyReader {
  readonly #limits: BodyLimits;
  readonly #memory = new RecycledMemory();
  #pendingBytes = 0;
  #turnBytes = 0;
  #paused: IncomingMessage[] = [];

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Bytes that count against `maxPendingBodyBytes` now. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /**
   * Reads a body to its end; a gzipped one (`Content-Encoding: gzip`) is decompressed, other
   * encodings are left as they are.
   */
  read(
    message: IncomingMessage,
    { onBody, onError, deflate = false, tensorsAt = 0 }: ReadBodyOptions,
  ): void {
    const { headers } = message;
    const encoding = encodingOf(headers['content-encoding'], deflate);
    const inflate =
      encoding === undefined ? undefined : encoding === 'gzip' ? createGunzip() : createInflate();
    const declared = Number(headers['content-length']);
    const { maxBodyBytes, maxPendingBodyBytes } = this.#limits;
    const collector = new Collector({
      declared: inflate === undefined ? declared : NaN,
      maxBytes: maxBodyBytes,
      tensorsAt,
      memory: this.#memory,
    });
    const source = inflate ?? message;
    let isSettled = false;
    const release = (): void => {
      this.#pendingBytes -= collector.length;
    };
    const fail = (error: StatusError): void => {
      if (isSettled) return;
      isSettled = true;
      release();
      collector.free();
      if (inflate !== undefined) {
        message.unpipe(inflate);
        inflate.destroy();
      }
      drain(message);
      onError(error);
    };
    source.on('data', (chunk: Buffer) => {
      if (isSettled) return;
      const size = chunk.length;
      const length = collector.length + size;
      if (length > maxBodyBytes) {
        fail(this.#tooLarge());
        return;
      }
      // One body is always taken, whatever the limit.
      const others = this.#pendingBytes - collector.length;
      if (others > 0 && others + length > maxPendingBodyBytes) {
        fail(
          new StatusError(
            'UNAVAILABLE',
            `The server holds ${this.#pendingBytes} bytes of requests, and takes no more now`,
          ),
        );
        return;
      }
      let wasCopied: boolean;
      try {
        wasCopied = collector.add(chunk);
      } catch (cause) {
        fail(new StatusError('RESOURCE_EXHAUSTED', 'No memory for the request', { cause }));
        return;
      }
      this.#pendingBytes += size;
      if (source !== message || size < largeChunkBytes) return;
      if (wasCopied) discard(chunk, message);
      this.#limitTurn(message, size);
    });
    source.on('end', () => {
      if (isSettled) return;
      isSettled = true;
      const { isOwned } = collector;
      const free = (): void => collector.free();
      onBody({ bytes: collector.take(), isOwned, free, release });
    });
    // A socket that ends in the middle of a body is an error of the message, too.
    message.on('error', (cause: Error) => fail(gone(cause)));
    message.on('close', () => {
      if (!message.complete) fail(gone());
    });
    if (declared > maxBodyBytes) {
      fail(this.#tooLarge());
      return;
    }
    if (inflate !== undefined) {
      inflate.on('error', (cause: Error) =>
        fail(
          new StatusError(
            'INVALID_ARGUMENT',
            `The request body is not valid ${encoding}: ${cause.message}`,
            { cause },
          ),
        ),
      );
      message.pipe(inflate);
    }
  }

  /** Lets a message wait for the next turn where this one has read enough. */
  #limitTurn(message: IncomingMessage, size: number): void {
    if (this.#turnBytes === 0) {
      setImmediate(() => {
        const paused = this.#paused;
        this.#turnBytes = 0;
        this.#paused = [];
        for (const one of paused) one.resume();
      });
    }
    this.#turnBytes += size;
    if (this.#turnBytes < maxTurnBytes) return;
    message.pause();
    this.#paused.push(message);
  }

  #tooLarge(): HttpError {
    return new HttpError(
      413,
      'RESOURCE_EXHAUSTED',
      `The request body is larger than ${this.#limits.maxBodyBytes} bytes`,
    );
  }
}

/** What a body is read as, which needs its bytes no longer once it is there. */
export function thenFree<T>(body: Body, reading: T | Promise<T>): T | Promise<T> {
  if (reading instanceof Promise) return reading.finally(() => body.free());
  body.free();
  return reading;
}

function encodingOf(header: string | undefined, deflate: boolean): 'gzip' | 'deflate' | undefined {
  if (header === undefined) return undefined;
  if (/gzip/i.test(header)) return 'gzip';
  return deflate && /deflate/i.test(header) ? 'deflate' : undefined;
}

function gone(cause?: Error): StatusError {
  return new StatusError('CANCELLED', 'The client has gone', cause && { cause });
}

/**
 * A sender that has not sent all of its body may not look for an answer before, and would lose it
 * with the connection.
 */
function drain(message: IncomingMessage): void {
  let left = maxDrainedBytes;
  message.removeAllListeners('data');
  message.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) message.destroy();
  });
  message.resume();
}

/**
 * Frees a chunk that nobody else has: what the garbage collector has to find, and is told is large, makes it
 * stop the event loop again and again.
 */
function discard(chunk: Buffer, message: IncomingMessage): void {
  if (message.listenerCount('data') === 1 && chunk.length === chunk.buffer.byteLength) {
    nativeAddon().release(chunk.buffer as ArrayBuffer);
  }
}

interface CollectorOptions {
  /** The length the body says it has, or NaN. */
  readonly declared: number;
  readonly maxBytes: number;
  readonly tensorsAt: number;
  readonly memory: RecycledMemory;
}

/** Chunks as one buffer: one copy where the length is known, none where one chunk has it all. */
class Collector {
  length = 0;
  /** Whether the bytes lie in memory of Tenon's own. */
  isOwned = false;
  readonly #declared: number;
  readonly #maxBytes: number;
  readonly #tensorsAt: number;
  readonly #memory: RecycledMemory;
  /** Its first byte is the body's. */
  #buffer: Buffer | undefined;

  constructor({ declared, maxBytes, tensorsAt, memory }: CollectorOptions) {
    this.#declared = declared;
    this.#maxBytes = maxBytes;
    this.#tensorsAt = tensorsAt;
    this.#memory = memory;
  }

  /** @returns Whether it is needed no longer. */
  add(chunk: Buffer): boolean {
    const end = this.length + chunk.length;
    const isAll = this.length === 0 && end === this.#declared;
    if (isAll) {
      this.#buffer = chunk;
    } else {
      if (this.#buffer === undefined || this.#buffer.length < end) this.#grow(end);
      chunk.copy(this.#buffer as Buffer, this.length);
    }
    this.length = end;
    return !isAll;
  }

  take(): Buffer {
    return this.#buffer?.subarray(0, this.length) ?? Buffer.alloc(0);
  }

  /** Frees memory of Tenon's own. */
  free(): void {
    if (!this.isOwned) return;
    this.#memory.giveBack(this.#buffer as Buffer);
    this.#buffer = undefined;
    this.isOwned = false;
  }

  /** Many small chunks must not cost more than their bytes, so none is kept by itself. */
  #grow(end: number): void {
    const isBelieved =
      this.#declared <= believedBytes || (end > believedBytes && this.#declared >= end);
    const capacity = isBelieved
      ? this.#declared
      : Math.min(Math.max(firstCapacity, end, 2 * (this.#buffer?.length ?? 0)), this.#maxBytes);
    const grown = this.#memory.take(Math.max(end, capacity), this.#tensorsAt);
    this.#buffer?.copy(grown.bytes, 0, 0, this.length);
    this.free();
    this.#buffer = grown.bytes;
    this.isOwned = grown.isOwned;
  }
}
