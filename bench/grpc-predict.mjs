import { once } from 'node:events';
import { createServer as createHttp2Server } from 'node:http2';

import { serveGrpcEcho } from './harness/grpc.mjs';
import { grpcCaller, startTenon, warmCpuTime } from './harness/http.mjs';
import { predictPath, predictRequest } from './harness/predict-request.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 32;

const message = predictRequest('linear', Float32Array.of(1, 2, 3, 4), [1, 4]);

const served = (port) => warmCpuTime(grpcCaller(port, { path: predictPath, message, inFlight }));

async function http2Echo() {
  const server = createHttp2Server();
  server.on('stream', (stream) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => {
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc' },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.concat(pieces));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return served(server.address().port);
}

async function grpcEcho() {
  return served(await serveGrpcEcho(predictPath));
}

async function tenonPredict() {
  const { grpcPort } = await startTenon({ models: { linear: modelPath('linear') }, rest: false });
  return served(grpcPort);
}

const contender = (name, open) => ({ name, open: async () => ({ block: await open() }) });

const echo = 'grpc-js: an echo';
const predict = 'tenon: Predict';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'gRPC: a Predict of a tiny model',
  asks:
    'How much CPU time does the server take for a request, all of its threads together? The linear ' +
    `layer, four floats in a typed field, ${inFlight} calls in flight over one connection from ` +
    'another process. Beside it, servers that only send the same message back: one of ' +
    '@grpc/grpc-js, and one of node:http2 with nothing on top.',
  blockMs: 300,
  calls: { caption: 'CPU time of the server for one request', unit: 'µs' },
  contenders: [
    contender('node:http2: an echo', http2Echo),
    contender(echo, grpcEcho),
    contender(predict, tenonPredict),
  ],
  comparisons: [
    {
      figure: 'gRPC predict, tiny model: CPU per request ÷ a bare grpc-js echo’s',
      of: predict,
      to: echo,
      target: { atMost: 1.3 },
    },
  ],
};
