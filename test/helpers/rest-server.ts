/** A REST server over the fixtures' models, and requests to it byte by byte. */

import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { FastifyInstance } from 'fastify';

import { createHttpApp, type HttpAppOptions } from '../../lib/server/http.js';
import type { ModelDirectory } from '../../lib/server/models.js';
import {
  tensorflowServing,
  type TensorFlowServingRestOptions,
} from '../../lib/server/tfserving/rest.js';
import { type ServiceOptions, TensorFlowServing } from '../../lib/server/tfserving/service.js';
import { askRaw, type RawAsk } from './raw-http.js';

/** The body of an answer that says what went wrong. */
export function errorText(message: string): string {
  return `{\n    "error": ${JSON.stringify(message)}\n}`;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface TestServer {
  readonly app: FastifyInstance;
  readonly port: number;
  /** The URL goes out as it is. */
  ask(method: string, url: string, ask?: RawAsk): Promise<Answer>;
  post(url: string, body: unknown): Promise<Answer>;
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly rest?: Partial<TensorFlowServingRestOptions>;
  readonly service?: ServiceOptions;
  readonly http?: HttpAppOptions;
  readonly prefix?: string;
}

export async function serveRest(
  models: ModelDirectory,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const app = createHttpApp(options.http);
  await app.register(tensorflowServing, {
    models,
    service: new TensorFlowServing(models, options.service),
    ...options.rest,
    ...(options.prefix === undefined ? {} : { prefix: options.prefix }),
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const ask: TestServer['ask'] = (method, url, { headers = {}, body } = {}) =>
    askPort(port, method, url, { headers, ...(body === undefined ? {} : { body }) });
  return {
    app,
    port,
    ask,
    post: (url, body) => ask('POST', url, { body: JSON.stringify(body) }),
    close: () => app.close(),
  };
}

/** As `askRaw`, with the answer as text. */
export async function askPort(
  port: number,
  method: string,
  url: string,
  ask: RawAsk = {},
): Promise<Answer> {
  const { body, ...answer } = await askRaw(port, method, url, ask);
  return { ...answer, body: body.toString() };
}
