// Requests of HTTP from another process, and servers to ask.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

import { fastify } from 'fastify';
import { createServer } from 'tenon/server';

/**
 * What makes calls from another process.
 *
 * @param {number} port
 * @param {{ path: string, body: string | Buffer, headers?: Record<string, string>, inFlight: number }} request
 */
export function httpCaller(port, { path: url, body, headers, inFlight }) {
  const request = httpRequest(url, body, headers);
  return repeated(caller('http-client.mjs'), { port, request, inFlight });
}

/**
 * The same of gRPC.
 *
 * @param {number} port
 * @param {{ path: string, message: Buffer, inFlight: number, connections?: number }} request
 */
export function grpcCaller(port, request) {
  return repeated(caller('grpc-client.mjs'), { port, ...request });
}

/** Tells a client but once what it is to send: to send it on costs this process as much as a request. */
function repeated(call, request) {
  let told = request;
  return (calls) => {
    const message = { ...told, calls };
    told = {};
    return call(message);
  };
}

/**
 * Nanoseconds of CPU time of all threads of this process for calls to a server that is warm.
 *
 * @param {(calls: number) => Promise<unknown>} call
 * @param {number} [warmUpCalls] Enough for the compiler to have seen all of what the server does.
 */
export async function warmCpuTime(call, warmUpCalls = 100_000) {
  await call(warmUpCalls);
  return cpuTime(call);
}

/** Every byte of a request. */
export function httpRequest(url, body, headers = { 'Content-Type': 'application/json' }) {
  const lines = Object.entries({ ...headers, 'Content-Length': Buffer.byteLength(body) }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  const head = `POST ${url} HTTP/1.1\r\nHost: localhost\r\n${lines.join('')}\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

/** A process that runs a file beside this one: what it answers to what it is told. */
export function caller(file) {
  const client = fork(path.join(import.meta.dirname, file), { serialization: 'advanced' });
  process.once('exit', () => client.kill());
  return async (told) => {
    client.send(told);
    const [{ error, ...answer }] = await once(client, 'message');
    if (error !== undefined) throw new Error(error);
    return answer;
  };
}

/** Nanoseconds that passed during `calls` calls. */
export const wallTime = (call) => async (calls) => {
  const before = process.hrtime.bigint();
  await call(calls);
  return Number(process.hrtime.bigint() - before);
};

/** Nanoseconds of CPU time that all threads of this process took for them. */
export const cpuTime = (call) => async (calls) => {
  const before = process.cpuUsage();
  await call(calls);
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1e3;
};

/** The port of Tenon's server over one model, with one engine thread a run. */
export async function serveTenon(name, source) {
  const { restPort } = await startTenon({ models: { [name]: source }, grpc: false });
  return restPort;
}

/**
 * Tenon's server once its models are there: REST and gRPC, one engine thread a run, unless told
 * otherwise.
 *
 * @param {import('tenon/server').ServerOptions} options
 */
export async function startTenon({ load, ...options }) {
  const server = createServer({
    load: { threads: { intraOp: 1 }, ...load },
    rest: { port: 0 },
    grpc: { port: 0 },
    pollIntervalSeconds: 0,
    ...options,
  });
  await server.listen();
  while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
  return server;
}

/**
 * The port of a Fastify application with one route.
 *
 * @param {string} url
 * @param {(body: Buffer) => unknown} answer What it sends.
 */
export async function serveFastify(url, answer) {
  const app = fastify({ bodyLimit: 100 << 20 });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  // A colon begins a parameter in a route of Fastify's, unless it is there twice.
  app.post(url.replaceAll(':', '::'), async ({ body }, reply) => {
    const sent = await answer(body);
    return reply.header('content-type', 'application/json').send(sent);
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app.server.address().port;
}
