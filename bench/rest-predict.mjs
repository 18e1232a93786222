import { once } from 'node:events';
import { createServer } from 'node:http';

import { httpCaller, serveFastify, serveTenon, warmCpuTime } from './harness/http.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 32;
const path = '/v1/models/linear:predict';
const body = '{"instances":[[1.0,2.0,3.0,4.0]]}';

const called = async (port) => ({
  block: await warmCpuTime(httpCaller(port, { path, body, inFlight })),
});

/** The least that an HTTP server of Node's does with a body. */
async function httpEcho() {
  const server = createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const sent = Buffer.concat(pieces);
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': sent.length,
      });
      response.end(sent);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

const echo = 'Fastify: an echo';
const predict = 'tenon: predict';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'REST: a predict of a tiny model',
  asks:
    'How much CPU time does the server take for a request, all of its threads together? The linear ' +
    `layer, four floats, ${inFlight} connections from another process. Beside it, servers that ` +
    'only send the same bytes back: a route of Fastify, and node:http with nothing on top. Where ' +
    'one core serves, requests a second are the inverse.',
  blockMs: 300,
  calls: { caption: 'CPU time of the server for one request', unit: 'µs' },
  contenders: [
    { name: 'node:http: an echo', open: async () => called(await httpEcho()) },
    { name: echo, open: async () => called(await serveFastify(path, (sent) => sent)) },
    { name: predict, open: async () => called(await serveTenon('linear', modelPath('linear'))) },
  ],
  comparisons: [
    {
      figure: 'REST predict, tiny model: a bare Fastify echo’s CPU per request ÷ Tenon’s',
      of: echo,
      to: predict,
      target: { atLeast: 0.8 },
    },
  ],
};
