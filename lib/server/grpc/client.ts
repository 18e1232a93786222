/** A client of unary calls over one HTTP/2 connection, for what Tenon asks other servers. */

import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2';

import { StatusCode, StatusError, type StatusName } from '../../codec/status.js';

export interface GrpcClientOptions {
  /** PEM text of who may have signed the server's certificate. Default: the system's. */
  readonly ca?: string | undefined;
  /** Sent with each call. */
  readonly token?: string | undefined;
}

export interface ClientCallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of an answer at most. */
const maxAnswerBytes = 2 ** 30;
const headLength = 5;

export class GrpcUnaryClient {
  readonly #authority: string;
  readonly #options: GrpcClientOptions;
  #session: ClientHttp2Session | undefined;

  /** @param authority "http://host:port", or "https://…" for TLS. */
  constructor(authority: string, options: GrpcClientOptions = {}) {
    this.#authority = authority;
    this.#options = options;
  }

  /**
   * @param path "/package.Service/Method"
   * @throws StatusError: the call's own; UNAVAILABLE where there is no connection,
   *   DEADLINE_EXCEEDED; the signal's reason.
   */
  call(
    path: string,
    message: Uint8Array,
    { timeoutMs, signal }: ClientCallOptions,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const { token } = this.#options;
      const stream = this.#connection().request({
        ':method': 'POST',
        ':path': path,
        te: 'trailers',
        'content-type': 'application/grpc',
        'grpc-timeout': `${Math.min(99_999_999, Math.ceil(timeoutMs))}m`,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      });
      const chunks: Buffer[] = [];
      let length = 0;
      let status: IncomingHttpHeaders = {};
      let failure: Error | undefined;
      const fail = (error: Error): void => {
        failure ??= error;
        stream.close(constants.NGHTTP2_CANCEL);
      };
      const timer = setTimeout(
        () => fail(new StatusError('DEADLINE_EXCEEDED', `no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      const onAbort = (): void => fail(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort, { once: true });
      stream.on('response', (headers: IncomingHttpHeaders) => (status = headers));
      stream.on(
        'trailers',
        (trailers: IncomingHttpHeaders) => (status = { ...status, ...trailers }),
      );
      stream.on('data', (chunk: Buffer) => {
        length += chunk.byteLength;
        if (length > maxAnswerBytes) {
          fail(
            new StatusError('RESOURCE_EXHAUSTED', `an answer of more than ${maxAnswerBytes} bytes`),
          );
        } else chunks.push(chunk);
      });
      stream.on('error', (error: Error) => {
        failure ??= new StatusError('UNAVAILABLE', error.message);
      });
      stream.on('close', () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        const error = failure ?? failureOf(status);
        const answer = error ?? messageOf(Buffer.concat(chunks));
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      });
      stream.end(Buffer.concat([headOf(message.byteLength), message]));
    });
  }

  close(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #connection(): ClientHttp2Session {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) {
      return this.#session;
    }
    const { ca } = this.#options;
    const session = connect(this.#authority, ca === undefined ? {} : { ca });
    // Each stream tells of it.
    session.on('error', () => undefined);
    session.on('goaway', () => session.close());
    this.#session = session;
    return session;
  }
}

function headOf(byteLength: number): Buffer {
  const head = Buffer.alloc(headLength);
  head.writeUInt32BE(byteLength, 1);
  return head;
}

const statusNames = new Map(
  Object.entries(StatusCode).map(([name, code]) => [String(code), name as StatusName]),
);

function failureOf(status: IncomingHttpHeaders): StatusError | undefined {
  const code = status['grpc-status'];
  if (code === '0') return undefined;
  if (code === undefined) {
    const http = Number(status[':status']);
    const text = http > 0 && http !== 200 ? `HTTP ${http}` : 'the call ended without a status';
    return new StatusError(http === 401 ? 'UNAUTHENTICATED' : 'UNAVAILABLE', text);
  }
  const text = status['grpc-message'];
  return new StatusError(
    statusNames.get(String(code)) ?? 'UNKNOWN',
    decodedText(typeof text === 'string' ? text : ''),
  );
}

/** Percent-encoded, as far as it is. */
function decodedText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function messageOf(body: Buffer): Buffer | StatusError {
  const length = body.byteLength < headLength ? -1 : body.readUInt32BE(1);
  if (length !== body.byteLength - headLength || body[0] !== 0) {
    return new StatusError('INTERNAL', 'an answer that is not one whole message');
  }
  return body.subarray(headLength);
}
