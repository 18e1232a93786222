/** The page to look at, and what it asks for: files that hold nothing, and two kinds of JSON. */

import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';

import { StatusError } from '../../codec/status.js';
import type { ValueSpec } from '../../index.js';
import { errorBody, httpStatusOfError } from '../http-status.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import type { PageAccess } from '../options.js';
import ask from './ask.js?raw';
import charts from './charts.js?raw';
import dom from './dom.js?raw';
import fields from './fields.js?raw';
import icon from './icon.svg?raw';
import html from './index.html?raw';
import main from './main.js?raw';
import predict from './predict.js?raw';
import results from './results.js?raw';
import style from './style.css?raw';
import tensors from './tensors.js?raw';

export interface PageOptions {
  readonly models: ModelDirectory;
  /** See `PageNumbers`. */
  readonly numbers: () => Promise<string>;
  readonly access: Exclude<PageAccess, 'off'>;
}

const scripts = { ask, charts, dom, fields, main, predict, results, tensors };

const files: readonly (readonly [path: string, contentType: string, text: string])[] = [
  ['/', 'text/html; charset=utf-8', html],
  ['/page/style.css', 'text/css; charset=utf-8', style],
  ['/page/icon.svg', 'image/svg+xml', icon],
  ...Object.entries(scripts).map(
    ([name, text]) => [`/page/${name}.js`, 'text/javascript; charset=utf-8', text] as const,
  ),
];

/**
 * Nothing but the page's own files and this server. Trusted types keep text from becoming markup in
 * the page's own code, too: no sink takes a string.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const headers = {
  'content-security-policy': contentSecurityPolicy,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

/** Routes with this configuration need no token. */
const publicRoute = { isPublic: true };

/** Whether a request is for one of them. */
export function isPublicRoute({ routeOptions }: FastifyRequest): boolean {
  return (routeOptions.config as { isPublic?: boolean }).isPublic === true;
}

/**
 * `GET /` with its files below `/page/`. The files are the same for everybody, so they need no token;
 * what the page asks for does.
 */
export const pageRoutes: FastifyPluginCallback<PageOptions> = (
  fastify,
  { models, numbers, access },
  done,
) => {
  fastify.addHook('onRequest', (request, reply, next) => {
    void reply.headers(headers);
    if (access === 'everyone' || isLoopbackName(request.headers.host)) {
      next();
      return;
    }
    // Whose name only resolves to loopback is a site that would read along (DNS rebinding).
    sendError(
      reply,
      403,
      'The page is for browsers on this machine; --rest_api_page=on serves all',
    );
  });
  fastify.setErrorHandler((error, _request, reply) => {
    const status = error instanceof StatusError ? httpStatusOfError(error) : 500;
    sendError(reply, status, (error as Error).message);
  });
  for (const [path, contentType, text] of files) {
    fastify.get(path, { config: publicRoute }, (_request, reply) => {
      void reply.header('content-type', contentType).send(text);
    });
  }
  fastify.get('/page/numbers.json', async (_request, reply) => sendJson(reply, await numbers()));
  fastify.get('/page/signatures.json', (request, reply) => {
    const { model, version } = request.query as Record<string, unknown>;
    if (typeof model !== 'string' || typeof version !== 'string' || !/^\d{1,18}$/.test(version)) {
      throw new StatusError('INVALID_ARGUMENT', 'expected "model" and "version" in the query');
    }
    const served = models.acquire({ name: model, version: BigInt(version) }, 'describe');
    try {
      void sendJson(reply, JSON.stringify(signaturesOf(served)));
    } finally {
      served.release();
    }
  });
  done();
};

function signaturesOf({ model }: ServedModel): object {
  return {
    engine: model.engine,
    signatures: Object.values(model.signatures).map(({ name, methodName, inputs, outputs }) => ({
      name,
      methodName,
      inputs: Object.values(inputs).map(specOf),
      outputs: Object.values(outputs).map(specOf),
    })),
  };
}

function specOf(spec: ValueSpec): object {
  const { name, kind } = spec;
  if (spec.kind !== 'tensor') return { name, kind };
  return { name, kind, dtype: spec.dtype, shape: spec.shape, optional: spec.optional === true };
}

const loopbackName = /^(localhost|[\w-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;

function isLoopbackName(host: string | undefined): boolean {
  return host !== undefined && loopbackName.test(host);
}

function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.header('content-type', 'application/json').send(Buffer.from(text));
}

function sendError(reply: FastifyReply, httpStatus: number, message: string): void {
  void reply.code(httpStatus).header('content-type', 'application/json').send(errorBody(message));
}
