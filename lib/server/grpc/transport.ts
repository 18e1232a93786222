/**
 * gRPC over node:http2: calls with messages as bytes, statuses, deadlines, cancellation, limits.
 *
 * Why not @grpc/grpc-js: of a small call's time its server takes as much again as HTTP/2 itself,
 * and it holds what clients send without a bound over all calls.
 */

import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { Socket } from 'node:net';

import { StatusCode, StatusError, type StatusName } from '../../codec/status.js';
import { CallSignal } from './call-signal.js';
import {
  acceptedEncodings,
  decompress,
  encodeStatusMessage,
  framed,
  type FramedMessage,
  MessageReader,
  parseTimeout,
} from './messages.js';

/** What a handler knows of a call. */
export interface GrpcCall {
  /** "/tensorflow.serving.PredictionService/Predict" */
  readonly path: string;
  /** The client's metadata, with HTTP/2's own headers. */
  readonly headers: IncomingHttpHeaders;
  /** The client's address, where it has one. */
  readonly peer: string | undefined;
  /** Aborted with a StatusError when the client has gone or its deadline has passed. */
  readonly signal: AbortSignal;
  /** Milliseconds to the client's deadline, 0 or less where it has passed; undefined: none. */
  timeLeftMs(): number | undefined;
}

/** One message in, one out. What it throws becomes the call's status. */
export type UnaryHandler = (request: Buffer, call: GrpcCall) => Uint8Array | Promise<Uint8Array>;

/** A call of several messages. Nothing is read from it while `send` says that nothing is taken. */
export interface StreamCall extends GrpcCall {
  /** False where the client takes no more for now; `onDrain` tells when it does. */
  send(message: Uint8Array): boolean;
  /**
   * Has no more read until `resume()`; what has been read counts as pending meanwhile. Messages that
   * came with the one being delivered still come.
   */
  pause(): void;
  resume(): void;
  end(error?: StatusError): void;
}

export interface StreamListener {
  onMessage(message: Buffer): void;
  /** The client sends no more. */
  onHalfClose(): void;
  /** The client takes messages again. */
  onDrain(): void;
  /** The call has ended, by whomever. */
  onClose(): void;
  /** The server closes: the call is to come to its end. */
  onShutdown(): void;
}

/** What throws ends the call. */
export type StreamHandler = (call: StreamCall) => StreamListener;

export type GrpcMethod = ({ readonly unary: UnaryHandler } | { readonly stream: StreamHandler }) & {
  /**
   * Where, by their first bytes, tensors begin in the method's messages: they are then put where the
   * tensors are aligned, large ones into memory of Tenon's own.
   */
  readonly tensorsAt?: ((first: Buffer) => number | undefined) | undefined;
};

/** What came of a call, for a log or a trace. */
export interface CallOutcome {
  readonly status: StatusName;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** From its headers to its status. */
  readonly micros: number;
}

/** A view of one call from outside. */
export interface CallObserver {
  /** Calls the handler, for instance as the current span of a trace. */
  run?<T>(act: () => T): T;
  end?(outcome: CallOutcome): void;
}

export interface GrpcTransportOptions {
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  /** TLS, with node's options for it. Default: none. */
  readonly tls?: SecureServerOptions | undefined;
  /** Bytes of a message, compressed or not. Default: 2^31 - 1. */
  readonly maxMessageBytes?: number | undefined;
  /** Bytes of all messages that have come, in part or whole, and are not answered. Default: 2^31. */
  readonly maxPendingBytes?: number | undefined;
  /** Unary calls at a time, of all connections. Default: 2000. */
  readonly maxConcurrentRequests?: number | undefined;
  /** Calls at a time on one connection. Default: 1000. */
  readonly maxConcurrentStreams?: number | undefined;
  /** Milliseconds a client may stop in the middle of a message, sent or received. Default: 60000. */
  readonly stallTimeoutMs?: number | undefined;
  /** Milliseconds that a connection without calls stays open. Default: for good. */
  readonly idleTimeoutMs?: number | undefined;
  /**
   * Milliseconds after which a connection that says nothing is asked whether it is still there.
   * Default: 60000.
   */
  readonly keepaliveMs?: number | undefined;
  /** Called before anything of a call is read. A StatusError it throws refuses the call. */
  readonly onCall?: ((call: GrpcCall) => CallObserver | undefined) | undefined;
  /** A call was turned away because of a limit. */
  readonly onRefused?: ((limit: 'concurrent_requests' | 'pending_bytes') => void) | undefined;
}

/** Calls of several messages at a time, of all connections. */
const maxStreams = 1000;

/** How often, of the shortest time limit, calls and connections are looked at that stand still. */
const sweepsPerLimit = 6;

/** Milliseconds in which a connection must show that it speaks HTTP/2. */
const prefaceTimeoutMs = 10_000;

/** Longest time a Node timer can wait. */
const maxTimerMs = 2 ** 31 - 1;

/** What a client may have sent that is not read: of one call, and of all of its connection. */
const streamWindowBytes = 1 << 20;
const connectionWindowBytes = 16 << 20;

/** HTTP/2's own limit on what a connection queues is in the way of large answers. */
const maxSessionMegabytes = 4096;

const drainCheckMs = 20;

export class GrpcTransport {
  readonly options: Required<
    Pick<
      GrpcTransportOptions,
      | 'maxMessageBytes'
      | 'maxPendingBytes'
      | 'maxConcurrentRequests'
      | 'stallTimeoutMs'
      | 'keepaliveMs'
    >
  > &
    GrpcTransportOptions;
  readonly calls = new Set<OpenCall>();
  pendingBytes = 0;
  requests = 0;
  streams = 0;

  readonly #server: Http2Server | Http2SecureServer;
  readonly #sessions = new Map<ServerHttp2Session, Liveness>();
  readonly #sweepMs: number;
  readonly #sweep: NodeJS.Timeout;
  #isDraining = false;

  constructor(options: GrpcTransportOptions) {
    this.options = {
      ...options,
      maxMessageBytes: options.maxMessageBytes ?? 2 ** 31 - 1,
      maxPendingBytes: options.maxPendingBytes ?? 2 ** 31,
      maxConcurrentRequests: options.maxConcurrentRequests ?? 2000,
      stallTimeoutMs: options.stallTimeoutMs ?? 60_000,
      keepaliveMs: options.keepaliveMs ?? 60_000,
    };
    const { stallTimeoutMs, keepaliveMs } = this.options;
    this.#sweepMs = Math.max(10, Math.min(stallTimeoutMs, keepaliveMs) / sweepsPerLimit);
    const settings: ServerOptions = {
      maxSessionMemory: maxSessionMegabytes,
      settings: {
        initialWindowSize: streamWindowBytes,
        maxConcurrentStreams: options.maxConcurrentStreams ?? 1000,
        enablePush: false,
      },
    };
    this.#server =
      options.tls === undefined
        ? createServer(settings)
        : createSecureServer({ ...settings, ...options.tls, allowHTTP1: false });
    this.#server.on('session', (session) => this.#onSession(session));
    this.#server.on('stream', (stream, headers) => this.#onStream(stream, headers));
    // A connection that breaks off, a TLS handshake that fails: the client's affair.
    this.#server.on('sessionError', () => undefined);
    this.#sweep = setInterval(() => this.#lookAtStill(), this.#sweepMs).unref();
  }

  /** Opens a port or a unix socket of its own. @returns The port. */
  async listen(where: {
    host?: string;
    port?: number;
    path?: string;
  }): Promise<number | undefined> {
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(where, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
    const address = server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** Serves a connection that was accepted elsewhere; nothing has been read from it. */
  accept(socket: Socket): void {
    this.#server.emit('connection', socket);
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /**
   * Takes no new connections and no new calls, answers what is under way, and closes. Calls that
   * clients begin before they learn of it are refused in a way that tells them to try elsewhere.
   * After `timeoutMs` the rest is cut off.
   *
   * @returns How many connections were cut off.
   */
  async drain(timeoutMs: number): Promise<number> {
    this.#isDraining = true;
    const started = performance.now();
    if (this.#server.listening) this.#server.close();
    for (const session of this.#sessions.keys()) session.close();
    for (const call of this.calls) call.onShutdown();
    while (this.#sessions.size > 0 && performance.now() - started < timeoutMs) {
      await new Promise((resolve) => setTimeout(resolve, drainCheckMs));
    }
    const cutOff = this.#sessions.size;
    for (const session of this.#sessions.keys()) session.destroy();
    this.#sessions.clear();
    clearInterval(this.#sweep);
    return cutOff;
  }

  #onSession(session: ServerHttp2Session): void {
    this.#sessions.set(session, { bytesRead: 0, stillSince: performance.now(), isAsked: false });
    session.on('close', () => this.#sessions.delete(session));
    session.on('error', () => undefined);
    const preface = setTimeout(() => session.destroy(), prefaceTimeoutMs).unref();
    session.once('remoteSettings', () => clearTimeout(preface));
    session.once('close', () => clearTimeout(preface));
    const { idleTimeoutMs } = this.options;
    if (idleTimeoutMs !== undefined && Number.isFinite(idleTimeoutMs)) {
      session.setTimeout(idleTimeoutMs, () => {
        // Any call keeps its connection, however long it takes.
        for (const call of this.calls) if (call.stream.session === session) return;
        session.close();
      });
    }
    try {
      session.setLocalWindowSize(connectionWindowBytes);
      if (this.#isDraining) session.close();
    } catch {
      // It has broken off already.
    }
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // What breaks a stream also closes it, and that is where it is noticed.
    stream.on('error', () => undefined);
    const type = headers['content-type'];
    if (headers[':method'] !== 'POST' || !/^application\/grpc($|[+;])/.test(type ?? '')) {
      stream.respond({ ':status': 415 }, { endStream: true });
      endReading(stream);
      return;
    }
    const path = headers[':path'] as string;
    const call = new OpenCall(this, stream, headers, path);
    const method = this.options.methods.get(path);
    if (method === undefined) {
      call.finish(new StatusError('UNIMPLEMENTED', `The server does not implement ${path}`));
      return;
    }
    call.begin(method);
  }

  /** Limits that hardly anybody reaches: whoever is quick never costs a timer. */
  #lookAtStill(): void {
    const now = performance.now();
    for (const call of this.calls) call.armIfSlow(now - this.#sweepMs);
    for (const [session, liveness] of this.#sessions) this.#lookAtSession(session, liveness, now);
  }

  /**
   * After a client breaks the protocol, Node may read no more from its connection and leave it open
   * for good, also when the client has gone. So a connection has to give a sign of life.
   */
  #lookAtSession(session: ServerHttp2Session, liveness: Liveness, now: number): void {
    const { bytesRead } = session.socket ?? { bytesRead: 0 };
    if (bytesRead !== liveness.bytesRead) {
      liveness.bytesRead = bytesRead;
      liveness.stillSince = now;
      liveness.isAsked = false;
    } else if (liveness.isAsked) {
      session.destroy();
    } else if (now - liveness.stillSince >= this.options.keepaliveMs) {
      liveness.isAsked = true;
      try {
        session.ping(() => undefined);
      } catch {
        session.destroy();
      }
    }
  }
}

interface Liveness {
  bytesRead: number;
  stillSince: number;
  isAsked: boolean;
}

/** Has a client stop sending what nobody will read. */
function endReading(stream: ServerHttp2Stream): void {
  if (stream.readableEnded || stream.destroyed) return;
  stream.close(constants.NGHTTP2_NO_ERROR);
}

const responseHeaders = { ':status': 200, 'content-type': 'application/grpc' };
const waitForTrailers = { waitForTrailers: true };
const okTrailers = { 'grpc-status': '0' };

type Phase = 'receiving' | 'running' | 'sending';

/** A call from its headers to the end of its stream. */
class OpenCall implements StreamCall {
  readonly stream: ServerHttp2Stream;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly #transport: GrpcTransport;
  readonly #started = performance.now();
  readonly #reader: MessageReader;
  #signal: CallSignal | undefined;
  #abortReason: StatusError | undefined;
  #deadline: number | undefined;
  #deadlineTimer: NodeJS.Timeout | undefined;
  #phase: Phase = 'receiving';
  #phaseStarted = this.#started;
  #isArmed = false;
  #isFinished = false;
  #hasResponded = false;
  #trailers: Record<string, string> = okTrailers;
  #heldBytes = 0;
  #requestBytes = 0;
  #responseBytes = 0;
  #observer: CallObserver | undefined;
  #listener: StreamListener | undefined;
  /** By the stream's listener. */
  #isPaused = false;
  /** Messages of a stream of which the first is being decompressed: their order is kept. */
  #decompressing: Promise<void> | undefined;

  constructor(
    transport: GrpcTransport,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    path: string,
  ) {
    this.#transport = transport;
    this.stream = stream;
    this.headers = headers;
    this.path = path;
    this.#reader = new MessageReader(transport.options.maxMessageBytes);
  }

  get peer(): string | undefined {
    return this.stream.session?.socket?.remoteAddress;
  }

  get signal(): AbortSignal {
    return (this.#signal ??= new CallSignal(this.#abortReason));
  }

  timeLeftMs(): number | undefined {
    return this.#deadline === undefined ? undefined : this.#deadline - performance.now();
  }

  begin(method: GrpcMethod): void {
    const { stream } = this;
    const { options } = this.#transport;
    const isUnary = 'unary' in method;
    this.#reader.tensorsAt = method.tensorsAt;
    try {
      const timeout = this.headers['grpc-timeout'] as string | undefined;
      if (timeout !== undefined) this.#setDeadline(parseTimeout(timeout));
      this.#observer = options.onCall?.(this);
      if (isUnary && this.#transport.requests >= options.maxConcurrentRequests) {
        options.onRefused?.('concurrent_requests');
        throw new StatusError(
          'UNAVAILABLE',
          `The server has ${options.maxConcurrentRequests} requests at a time, and takes no more now`,
        );
      }
      if (!isUnary && this.#transport.streams >= maxStreams) {
        throw new StatusError(
          'RESOURCE_EXHAUSTED',
          `The server has ${maxStreams} streams at a time, and takes no more now`,
        );
      }
    } catch (error) {
      this.finish(asStatus(error));
      return;
    }
    this.#transport.calls.add(this);
    if (isUnary) this.#transport.requests++;
    else this.#transport.streams++;
    stream.once('close', () => {
      this.#transport.calls.delete(this);
      if (isUnary) this.#transport.requests--;
      else this.#transport.streams--;
      this.#onClose();
    });
    if (isUnary) this.#readUnary(method.unary);
    else this.#openStream(method.stream);
  }

  #setDeadline(timeoutMs: number): void {
    this.#deadline = this.#started + timeoutMs;
    if (timeoutMs > maxTimerMs) return;
    this.#deadlineTimer = setTimeout(() => {
      const error = new StatusError('DEADLINE_EXCEEDED', 'Deadline exceeded');
      this.#abort(error);
      this.finish(error);
    }, timeoutMs);
  }

  #readUnary(handle: UnaryHandler): void {
    const { stream } = this;
    let request: Buffer | Promise<Buffer> | undefined;
    this.#readMessages(({ isCompressed, bytes }) => {
      if (request !== undefined) {
        throw new StatusError('UNIMPLEMENTED', 'Received more than one request message');
      }
      request = isCompressed ? this.#decompress(bytes) : bytes;
      if (request instanceof Promise) {
        request.catch((error: unknown) => this.finish(asStatus(error)));
      }
    });
    stream.once('end', () => {
      if (this.#isFinished) return;
      if (request === undefined || this.#reader.isWithin) {
        const error = this.#reader.isWithin
          ? new StatusError('INTERNAL', 'The message ends before its length')
          : new StatusError('UNIMPLEMENTED', 'Received no request message');
        this.finish(error);
        return;
      }
      this.#enter('running');
      if (Buffer.isBuffer(request)) this.#run(handle, request);
      else {
        request.then(
          (bytes) => this.#run(handle, bytes),
          () => undefined,
        );
      }
    });
  }

  /** Calls `take` for each message that comes; what it throws ends the call. */
  #readMessages(take: (message: FramedMessage) => void): void {
    this.stream.on('data', (piece: Buffer) => {
      if (this.#isFinished) return;
      try {
        this.#hold(piece.byteLength);
        this.#reader.push(piece);
        for (let next = this.#reader.next(); next !== undefined; next = this.#reader.next()) {
          take(next);
        }
      } catch (error) {
        this.finish(asStatus(error));
      }
    });
  }

  #run(handle: UnaryHandler, request: Buffer): void {
    if (this.#isFinished) return;
    const act = (): Uint8Array | Promise<Uint8Array> => handle(request, this);
    let answer: Uint8Array | Promise<Uint8Array>;
    try {
      answer = this.#observer?.run === undefined ? act() : this.#observer.run(act);
    } catch (error) {
      this.finish(asStatus(error));
      return;
    }
    if (!(answer instanceof Promise)) this.#answer(answer);
    else {
      answer.then(
        (bytes) => this.#answer(bytes),
        (error: unknown) => this.finish(asStatus(error)),
      );
    }
  }

  #answer(message: Uint8Array): void {
    if (this.#isFinished) return;
    this.#release();
    this.#respond();
    const pieces = framed(message);
    const last = pieces.pop() as Buffer;
    this.#responseBytes += message.byteLength;
    for (const piece of pieces) this.stream.write(piece);
    this.#settle('OK');
    this.stream.end(last);
  }

  #openStream(open: StreamHandler): void {
    const { stream } = this;
    try {
      this.#listener = open(this);
    } catch (error) {
      this.finish(asStatus(error));
      return;
    }
    const listener = this.#listener;
    this.#readMessages(({ isCompressed, bytes }) => {
      this.#deliver(listener, isCompressed, bytes);
      this.#releaseRead();
    });
    stream.once('end', () => {
      if (this.#isFinished) return;
      if (this.#decompressing === undefined) listener.onHalfClose();
      else void this.#decompressing.then(() => this.#isFinished || listener.onHalfClose());
    });
    stream.on('drain', () => {
      if (this.#isFinished) return;
      this.#readOn();
      listener.onDrain();
    });
  }

  #deliver(listener: StreamListener, isCompressed: boolean, bytes: Buffer): void {
    const receive = (message: Buffer): void => {
      if (this.#isFinished) return;
      this.#requestBytes += message.byteLength;
      try {
        listener.onMessage(message);
      } catch (error) {
        this.finish(asStatus(error));
      }
    };
    if (!isCompressed && this.#decompressing === undefined) {
      receive(bytes);
      return;
    }
    // No more is read meanwhile, so no more than one piece's messages wait here.
    this.stream.pause();
    const before = this.#decompressing ?? Promise.resolve();
    const own = before
      .then(() => (isCompressed ? this.#decompress(bytes) : bytes))
      .then(receive, (error: unknown) => this.finish(asStatus(error)))
      .then(() => {
        if (this.#decompressing !== own) return;
        this.#decompressing = undefined;
        this.#readOn();
      });
    this.#decompressing = own;
  }

  send(message: Uint8Array): boolean {
    if (this.#isFinished) return false;
    this.#respond();
    this.#responseBytes += message.byteLength;
    let isTaken = true;
    for (const piece of framed(message)) isTaken = this.stream.write(piece);
    if (!isTaken) this.stream.pause();
    return isTaken;
  }

  pause(): void {
    this.#isPaused = true;
    this.stream.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#isFinished) return;
    this.#releaseRead();
    this.#readOn();
  }

  end(error?: StatusError): void {
    this.finish(error);
  }

  onShutdown(): void {
    if (!this.#isFinished) this.#listener?.onShutdown();
  }

  /** The call's status; the first one counts. */
  finish(error?: StatusError): void {
    if (this.#isFinished) return;
    this.#release();
    const status = error?.status ?? 'OK';
    this.#settle(status);
    const { stream } = this;
    if (stream.destroyed || stream.closed) return;
    const trailers: Record<string, string> = { 'grpc-status': String(StatusCode[status]) };
    if (error !== undefined && error.message !== '') {
      trailers['grpc-message'] = encodeStatusMessage(error.message);
    }
    if (status === 'UNIMPLEMENTED') trailers['grpc-accept-encoding'] = acceptedEncodings;
    if (this.#hasResponded) {
      this.#trailers = trailers;
      stream.end();
    } else {
      this.#hasResponded = true;
      stream.respond({ ...responseHeaders, ...trailers }, { endStream: true });
      endReading(stream);
    }
  }

  /** Gives a client that has been slow since `before` a limit. */
  armIfSlow(before: number): void {
    if (this.#isArmed || this.#phaseStarted > before || !this.#waitsForClient()) return;
    this.#isArmed = true;
    // Node begins anew with each byte that comes or goes.
    this.stream.setTimeout(this.#transport.options.stallTimeoutMs, () => {
      if (!this.#isArmed) return;
      if (!this.#waitsForClient()) this.#disarm();
      else if (this.#isFinished) this.stream.close(constants.NGHTTP2_CANCEL);
      else {
        this.finish(new StatusError('DEADLINE_EXCEEDED', 'The client has stopped in mid-message'));
      }
    });
  }

  #waitsForClient(): boolean {
    if (this.#listener === undefined || this.#isFinished) return this.#phase !== 'running';
    return this.#reader.isWithin || this.stream.writableNeedDrain;
  }

  #disarm(): void {
    if (!this.#isArmed) return;
    this.#isArmed = false;
    this.stream.setTimeout(0);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#phaseStarted = performance.now();
    this.#disarm();
  }

  #respond(): void {
    if (this.#hasResponded || this.stream.destroyed || this.stream.closed) return;
    this.#hasResponded = true;
    this.stream.respond(responseHeaders, waitForTrailers);
    this.stream.once('wantTrailers', () => {
      this.stream.sendTrailers(this.#trailers);
      // A stream that is closed before they are on their way loses them.
      if (!this.stream.readableEnded) setImmediate(() => endReading(this.stream));
    });
  }

  /** Reads on where nothing is in the way. */
  #readOn(): void {
    const isHeldUp = this.#isPaused || this.#decompressing !== undefined;
    if (!isHeldUp && !this.stream.writableNeedDrain) this.stream.resume();
  }

  /** Of a stream: what has come has been delivered. */
  #releaseRead(): void {
    if (!this.#reader.isWithin && !this.#isPaused) this.#release();
  }

  /** Counts bytes that came, until they are answered. */
  #hold(byteLength: number): void {
    const { options } = this.#transport;
    if (this.#transport.pendingBytes + byteLength > options.maxPendingBytes) {
      options.onRefused?.('pending_bytes');
      throw new StatusError(
        'UNAVAILABLE',
        `The server holds ${options.maxPendingBytes} bytes of requests, and takes no more now`,
      );
    }
    this.#heldBytes += byteLength;
    this.#transport.pendingBytes += byteLength;
    if (this.#listener === undefined) this.#requestBytes += byteLength;
  }

  #release(): void {
    this.#transport.pendingBytes -= this.#heldBytes;
    this.#heldBytes = 0;
  }

  async #decompress(bytes: Buffer): Promise<Buffer> {
    const { maxMessageBytes, maxPendingBytes } = this.#transport.options;
    const room = Math.max(0, maxPendingBytes - this.#transport.pendingBytes);
    const encoding = this.headers['grpc-encoding'] as string | undefined;
    const message = await decompress(bytes, encoding, Math.min(maxMessageBytes, room));
    if (!this.#isFinished) this.#hold(message.byteLength);
    return message;
  }

  /** The call has its status; what remains is to send it. */
  #settle(status: StatusName): void {
    this.#isFinished = true;
    if (this.#deadlineTimer !== undefined) clearTimeout(this.#deadlineTimer);
    this.#enter('sending');
    this.#observer?.end?.({
      status,
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      micros: (performance.now() - this.#started) * 1000,
    });
  }

  #onClose(): void {
    if (!this.#isFinished) {
      this.#abort(new StatusError('CANCELLED', 'The client has cancelled the call'));
      this.#release();
      this.#settle('CANCELLED');
    }
    this.#listener?.onClose();
  }

  #abort(reason: StatusError): void {
    this.#abortReason = reason;
    this.#signal?.abort(reason);
  }
}

function asStatus(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new StatusError('INTERNAL', message, { cause: error });
}
