/** REST requests that bring a body and run a model: how many there may be, and how each ends. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import { StatusError } from '../codec/status.js';
import { type Body, BodyReader, type ReadBodyOptions } from './http-body.js';
import { HttpError } from './http-status.js';
import type { ServingMetrics } from './metrics.js';
import { CloseSignal } from './tfserving/close-signal.js';
import { cancelled, timedOut } from './tfserving/errors.js';
import type { CallContext } from './tfserving/service.js';

export interface RestCallLimits {
  /** Bytes of one request's body, decompressed; more is 413. Default: 104857600. */
  readonly maxBodyBytes?: number | undefined;
  /**
   * Bytes of all requests' bodies at a time; more are 503, a body alone is always taken. Default:
   * 1073741824.
   */
  readonly maxPendingBodyBytes?: number | undefined;
  /** Requests with a body at a time, until their answers are sent; more are 503. Default: 1024. */
  readonly maxConcurrentRequests?: number | undefined;
  /** Milliseconds for a client to take an answer that waits for it. Default: 60000. */
  readonly sendTimeoutMs?: number | undefined;
}

/** The limits of a REST port, which all APIs that share it share. */
export class RestCalls {
  readonly #metrics: ServingMetrics | undefined;
  readonly #maxConcurrent: number;
  readonly #sendTimeoutMs: number;
  readonly #bodies: BodyReader;
  #active = 0;

  constructor(limits: RestCallLimits, metrics: ServingMetrics | undefined) {
    this.#metrics = metrics;
    this.#maxConcurrent = limits.maxConcurrentRequests ?? 1024;
    this.#sendTimeoutMs = limits.sendTimeoutMs ?? 60_000;
    this.#bodies = new BodyReader({
      maxBodyBytes: limits.maxBodyBytes ?? 100 << 20,
      maxPendingBodyBytes: limits.maxPendingBodyBytes ?? 1 << 30,
    });
  }

  /**
   * Takes a request and reads its body. It counts until its answer was sent, or its client has gone.
   *
   * @throws StatusError UNAVAILABLE for one too many, CANCELLED where the client has gone already.
   */
  take(
    request: FastifyRequest,
    reply: FastifyReply,
    call: RestCall,
    { onBody, onError, ...options }: ReadBodyOptions,
  ): void {
    if (this.#active >= this.#maxConcurrent) {
      this.#metrics?.refused('REST', 'concurrent_requests');
      void reply.header('retry-after', '1');
      throw new StatusError(
        'UNAVAILABLE',
        `The server has ${this.#maxConcurrent} requests at a time, and takes no more now`,
      );
    }
    // While a caller's hook was at it. Nothing would tell any more that the request is over.
    if (request.raw.destroyed) throw cancelled();
    this.#active++;
    this.#metrics?.started('REST');
    const response = reply.raw;
    // Emitted whether the answer was sent or its client has gone.
    closeWithConnection(response, request.raw.socket);
    response.once('close', () => {
      this.#active--;
      this.#metrics?.ended('REST');
      call.body?.release();
      if (!response.writableFinished) call.signal.abort();
    });
    this.#bodies.read(request.raw, {
      ...options,
      onBody: (body) => {
        if (call.signal.aborted) {
          body.free();
          body.release();
          onError(cancelled());
          return;
        }
        call.body = body;
        call.started = performance.now();
        onBody(body);
      },
      onError: (error) => {
        if (error instanceof HttpError) this.#metrics?.refused('REST', 'body_size');
        onError(error);
      },
    });
  }

  /**
   * To be called once the answer is handed over: a client that does not read it must not keep it,
   * and its place, for good.
   */
  limitSending({ raw }: FastifyReply): void {
    // What the socket took at once is as good as sent; it has no socket while others come before.
    if (raw.destroyed || raw.socket?.writableLength === 0) return;
    const timer = setTimeout(() => raw.destroy(), this.#sendTimeoutMs);
    raw.on('close', () => clearTimeout(timer));
  }
}

/** A request that brings a body. */
export class RestCall {
  /** Aborted when the client has gone. */
  readonly signal = new CloseSignal();
  /** When its body had come. */
  started = performance.now();
  body: Body | undefined;

  /**
   * What a run of its model is told, which may take `timeoutMs` from here on; 0: no limit.
   *
   * @throws StatusError DEADLINE_EXCEEDED where nothing of that is left.
   */
  context(timeoutMs: number): CallContext {
    const { signal } = this;
    if (timeoutMs === 0) return { signal };
    const left = timeoutMs - (performance.now() - this.started);
    if (left <= 0) throw timedOut();
    return { signal, timeoutMs: left };
  }
}

/** Node does not tell an answer that waits behind others of its connection when that closes. */
function closeWithConnection(response: ServerResponse, socket: Socket): void {
  if (response.socket !== null) return;
  const close = (): void => {
    if (response.socket !== null) return;
    response.destroy();
    response.emit('close');
  };
  // As many as a client sends at once.
  socket.setMaxListeners(0);
  socket.once('close', close);
  response.once('close', () => socket.removeListener('close', close));
}

const jsonType = 'application/json';
const otherType = 'application/octet-stream';

/** Has all routes of an instance leave bodies to their handlers, whatever type they say they are of. */
export function leaveBodies(fastify: FastifyInstance): void {
  fastify.removeAllContentTypeParsers();
  // What a service checks before the handler comes before the body then.
  fastify.addContentTypeParser([jsonType, otherType], (_request, _payload, parsed) => parsed(null));
  fastify.addHook('onRequest', (request, _reply, next) => {
    acceptAnyContentType(request.raw);
    next();
  });
}

/**
 * Fastify answers 415 for a content type that is none; here it says nothing, so it may. What is not
 * one of two is made one of them, because Fastify remembers the parser of a type, but not that of all.
 */
function acceptAnyContentType({ headers }: IncomingMessage): void {
  if (headers['content-type'] !== jsonType) headers['content-type'] = otherType;
}

export function sendJson(reply: FastifyReply, httpStatus: number, body: string | Buffer): void {
  void reply.code(httpStatus).header('content-type', 'application/json');
  // A string that goes through no serializer gets a charset.
  if (typeof body === 'string') void reply.serializer(asItIs);
  void reply.send(body);
}

const asItIs = (body: string): string => body;

/** Answers requests of pages of any origin. */
export function allowAnyOrigin(reply: FastifyReply, headers: string): void {
  void reply.headers({
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'POST, GET',
    'access-control-allow-headers': headers,
  });
}

/**
 * Answers what a browser asks before it sends a request.
 *
 * @throws StatusError FAILED_PRECONDITION where no browser asks.
 */
export function answerPreflight(request: FastifyRequest, reply: FastifyReply): void {
  const { origin } = request.headers;
  if (origin === undefined || !/https?:\/\//.test(origin)) {
    throw new StatusError('FAILED_PRECONDITION', 'Origin header is missing in CORS preflight');
  }
  void reply.code(200).send();
}
