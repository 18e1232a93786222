/** Bodies of requests as bytes, whatever they say they are, within limits. */

import type { IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';

import { StatusError } from '../codec/status.js';
import { HttpError } from './http-status.js';

export interface BodyLimits {
  /** Bytes of one body, decompressed. */
  readonly maxBodyBytes: number;
  /** Bytes of all bodies that have come, in whole or in part, and are not yet released. */
  readonly maxPendingBodyBytes: number;
}

export interface Body {
  readonly bytes: Buffer;
  /** Gives its place in `maxPendingBodyBytes` back. Once. */
  release(): void;
}

/** Up to here a body gets memory of its declared length at once, which it fills as it comes. */
const believedBytes = 8 << 20;
const firstCapacity = 64 << 10;

/** What is read of a refused body, and dropped, so that its sender comes to read the answer. */
const maxDrainedBytes = 64 << 20;

export class BodyReader {
  readonly #limits: BodyLimits;
  #pendingBytes = 0;

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
   *
   * @param onBody Called with it, or else
   * @param onError with an HttpError 413 for a body over the limit, whose rest is read and dropped;
   *   StatusError UNAVAILABLE where all bodies together are, CANCELLED where the client has gone,
   *   INVALID_ARGUMENT for what is no gzip.
   */
  read(
    message: IncomingMessage,
    onBody: (body: Body) => void,
    onError: (error: StatusError) => void,
  ): void {
    const { headers } = message;
    const encoding = headers['content-encoding'];
    const gunzip = encoding !== undefined && /gzip/i.test(encoding) ? createGunzip() : undefined;
    const declared = Number(headers['content-length']);
    const { maxBodyBytes, maxPendingBodyBytes } = this.#limits;
    const collector = new Collector(gunzip === undefined ? declared : NaN, maxBodyBytes);
    const source = gunzip ?? message;
    let isSettled = false;
    const release = (): void => {
      this.#pendingBytes -= collector.length;
    };
    const fail = (error: StatusError): void => {
      if (isSettled) return;
      isSettled = true;
      release();
      if (gunzip !== undefined) {
        message.unpipe(gunzip);
        gunzip.destroy();
      }
      drain(message);
      onError(error);
    };
    source.on('data', (chunk: Buffer) => {
      if (isSettled) return;
      const length = collector.length + chunk.length;
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
      this.#pendingBytes += chunk.length;
      collector.add(chunk);
    });
    source.on('end', () => {
      if (isSettled) return;
      isSettled = true;
      onBody({ bytes: collector.take(), release });
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
    if (gunzip !== undefined) {
      gunzip.on('error', (cause: Error) =>
        fail(
          new StatusError(
            'INVALID_ARGUMENT',
            `The request body is not valid gzip: ${cause.message}`,
            { cause },
          ),
        ),
      );
      message.pipe(gunzip);
    }
  }

  #tooLarge(): HttpError {
    return new HttpError(
      413,
      'RESOURCE_EXHAUSTED',
      `The request body is larger than ${this.#limits.maxBodyBytes} bytes`,
    );
  }
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

/** Chunks as one buffer: one copy where the length is known, none where one chunk has it all. */
class Collector {
  length = 0;
  readonly #declared: number;
  readonly #maxBytes: number;
  #buffer: Buffer | undefined;

  /** @param declared The length the body says it has, or NaN. */
  constructor(declared: number, maxBytes: number) {
    this.#declared = declared;
    this.#maxBytes = maxBytes;
  }

  add(chunk: Buffer): void {
    const end = this.length + chunk.length;
    if (this.length === 0 && end === this.#declared) {
      this.#buffer = chunk;
    } else {
      if (this.#buffer === undefined || this.#buffer.length < end) this.#grow(end);
      chunk.copy(this.#buffer as Buffer, this.length);
    }
    this.length = end;
  }

  take(): Buffer {
    return this.#buffer?.subarray(0, this.length) ?? Buffer.alloc(0);
  }

  /** Many small chunks must not cost more than their bytes, so none is kept by itself. */
  #grow(end: number): void {
    const isBelieved =
      this.#declared <= believedBytes || (end > believedBytes && this.#declared >= end);
    const capacity = isBelieved
      ? this.#declared
      : Math.min(Math.max(firstCapacity, end, 2 * (this.#buffer?.length ?? 0)), this.#maxBytes);
    const grown = Buffer.allocUnsafeSlow(Math.max(end, capacity));
    this.#buffer?.copy(grown, 0, 0, this.length);
    this.#buffer = grown;
  }
}
