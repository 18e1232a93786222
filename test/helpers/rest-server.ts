/** A REST server over the fixtures' models, and requests to it byte by byte. */

import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { FastifyInstance } from 'fastify';

import { createHttpApp, type HttpAppOptions } from '../../lib/server/http.js';
import type { ModelDirectory } from '../../lib/server/models.js';
import {
  tensorflowServing,
  type TensorFlowServingRestOptions,
} from '../../lib/server/tfserving/rest.js';
import { type ServiceOptions, TensorFlowServing } from '../../lib/server/tfserving/service.js';

/** The body of an answer that says what went wrong. */
export function errorText(message: string): string {
  return `{\n    "error": ${JSON.stringify(message)}\n}`;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Ask {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface TestServer {
  readonly app: FastifyInstance;
  readonly port: number;
  /** The URL goes out as it is. */
  ask(method: string, url: string, ask?: Ask): Promise<Answer>;
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

export function askPort(
  port: number,
  method: string,
  url: string,
  { headers = {}, body }: Ask = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path: url,
        agent: false,
        headers:
          body === undefined || 'transfer-encoding' in headers
            ? headers
            : { 'content-length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
