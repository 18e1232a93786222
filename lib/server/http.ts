/** The HTTP server that the front ends' routes are mounted in. */

import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions, TlsOptions } from 'node:tls';

import { fastify, type FastifyInstance } from 'fastify';

import { errorBody } from './http-status.js';

export interface HttpLimits {
  /** Milliseconds for a request's header to come, or for a new connection's first. Default: 20000. */
  readonly headersTimeoutMs?: number | undefined;
  /** Milliseconds for a whole request to come. Default: 300000. */
  readonly requestTimeoutMs?: number | undefined;
  /**
   * Milliseconds a connection stays without a request. Default: 75000, more than load balancers
   * wait before they close theirs.
   */
  readonly keepAliveTimeoutMs?: number | undefined;
  /** Bytes of a request's header. Default: 16384. */
  readonly maxHeaderBytes?: number | undefined;
  /** Connections at a time; more are closed at once. Default: 16384. */
  readonly maxConnections?: number | undefined;
  /** Milliseconds between looks for connections whose time is up. Default: 5000. */
  readonly checkIntervalMs?: number | undefined;
}

export interface HttpAppOptions extends HttpLimits {
  /** Serves HTTPS, with these keys and certificates. */
  readonly tls?: (TlsOptions & SecureContextOptions) | undefined;
}

/**
 * A Fastify application whose every answer of its own is `{"error": …}`, and which lets no client
 * hold a connection for longer than the limits say.
 */
export function createHttpApp(options: HttpAppOptions = {}): FastifyInstance {
  const {
    headersTimeoutMs = 20_000,
    requestTimeoutMs = 300_000,
    keepAliveTimeoutMs = 75_000,
    maxHeaderBytes = 16_384,
    maxConnections = 16_384,
    checkIntervalMs = 5000,
    tls,
  } = options;
  const serverOptions = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: Math.min(headersTimeoutMs, requestTimeoutMs),
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    connectionsCheckingInterval: checkIntervalMs,
    noDelay: true,
  };
  const app = fastify({
    logger: false,
    serverFactory: (handler) => {
      const server =
        tls === undefined
          ? createHttpServer(serverOptions, handler)
          : createHttpsServer({ ...serverOptions, ...tls }, handler);
      server.maxConnections = maxConnections;
      return server;
    },
    // Requests on open connections are answered while the server closes, and the last of each
    // connection says so.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    clientErrorHandler: answerClientError,
    // A URL that cannot be decoded.
    frameworkErrors: (_error, { raw }, reply) => {
      const body = errorBody(`Malformed request: ${raw.method} ${raw.url}`);
      reply.raw.writeHead(400, {
        'content-type': 'application/json',
        'content-length': body.length,
      });
      reply.raw.end(body);
    },
  });
  app.setNotFoundHandler((request, reply) => {
    void reply
      .code(404)
      .header('content-type', 'application/json')
      .send(errorBody(`Not found: ${request.method} ${request.raw.url}`));
  });
  return app;
}

const clientErrors: Readonly<Record<string, readonly [number, string, string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'The request did not come in time'],
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large', 'The header is too large'],
};

/** What is no HTTP, or did not come in time: answered where that is still possible, then closed. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason, message] = clientErrors[error.code ?? ''] ?? [
    400,
    'Bad Request',
    'The request is not valid HTTP',
  ];
  const body = errorBody(message);
  const { _httpMessage: response } = socket as Socket & {
    _httpMessage?: { headersSent: boolean };
  };
  // An answer that is under way would be read as going on with this one.
  if (response?.headersSent === true) {
    socket.destroy();
    return;
  }
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body.toString()}`,
    () => socket.destroy(),
  );
}
