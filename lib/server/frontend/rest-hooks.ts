/** What every REST request goes through before and after its route: access, traces, the log. */

import type { FastifyInstance, FastifyReply } from 'fastify';

import { errorBody } from '../http-status.js';
import { isPublicRoute } from '../page/routes.js';
import type { FrontendHooks } from './hooks.js';

const healthPaths = /^\/(healthz|v2\/health)\/(live|ready)\/?(\?|$)/;
/** Nobody's requests: what asks for them again and again. */
const untracedPaths = /^\/((healthz|v2\/health)\/(live|ready)\/?|page\/.*)?(\?|$)/;

export function addRestHooks(
  app: FastifyInstance,
  { checkToken, tracing, log, logSampling, isDraining }: FrontendHooks,
): void {
  if (checkToken !== undefined) {
    app.addHook('onRequest', (request, reply, next) => {
      const isPublic = isPublicRoute(request) || healthPaths.test(request.raw.url ?? '');
      if (isPublic || checkToken(request.headers.authorization)) {
        next();
        return;
      }
      refuse(reply, 'The request needs the header "Authorization: Bearer <token>"');
    });
  }
  app.addHook('onSend', (_request, reply, _payload, next) => {
    if (isDraining()) void reply.header('connection', 'close');
    next();
  });
  if (tracing !== undefined) {
    app.addHook('onRequest', (request, reply, next) => {
      const { url = '' } = request.raw;
      if (!tracing.wants(request.headers) || untracedPaths.test(url)) {
        next();
        return;
      }
      const [path = ''] = url.split('?');
      // A name of a span is no place for names that clients may make up.
      const verb = /:(predict|classify|regress)$/i.exec(path)?.[0] ?? '';
      const span = tracing.start(
        `${request.method} ${request.routeOptions.url ?? ''}${verb}`,
        request.headers,
        { 'http.request.method': request.method, 'url.path': path },
      );
      reply.raw.once('close', () => {
        const { statusCode } = reply;
        span.end({ 'http.response.status_code': statusCode }, statusCode >= 500);
      });
      // What the request does, a caller's instrumentation included, is below its span.
      span.run(next);
    });
  }
  if (logSampling > 0) {
    app.addHook('onResponse', (request, reply, next) => {
      const { statusCode } = reply;
      if (statusCode >= 500 || Math.random() < logSampling) {
        const { method, url } = request.raw;
        log.info(
          {
            api: 'REST',
            method,
            url,
            status: statusCode,
            ms: Math.round(reply.elapsedTime * 1000) / 1000,
            requestBytes: Number(request.headers['content-length'] ?? 0),
            responseBytes: Number(reply.getHeader('content-length') ?? 0),
            client: request.raw.socket.remoteAddress,
          },
          'request',
        );
      }
      next();
    });
  }
}

function refuse(reply: FastifyReply, message: string): void {
  void reply
    .code(401)
    .header('www-authenticate', 'Bearer')
    .header('content-type', 'application/json')
    .send(errorBody(message));
}
