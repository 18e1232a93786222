import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp2Server } from 'node:http2';
import path from 'node:path';

import { Server, ServerCredentials } from '@grpc/grpc-js';
import { createServer } from 'tenon/server';

import { modelPath } from './models/index.mjs';

const inFlight = 32;
const predictPath = '/tensorflow.serving.PredictionService/Predict';

/** A length-delimited field of protobuf, short enough for a length of one byte. */
const field = (number, content) =>
  Buffer.concat([Buffer.from([(number << 3) | 2, content.length]), content]);

/** A PredictRequest for the linear model: x, four floats. */
function predictRequest() {
  const float = Buffer.from([0x08, 1]);
  const shape = Buffer.concat([field(2, Buffer.from([0x08, 1])), field(2, Buffer.from([0x08, 4]))]);
  const values = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer);
  const tensor = Buffer.concat([float, field(2, shape), field(5, values)]);
  const spec = field(1, Buffer.from('linear'));
  const input = Buffer.concat([field(1, Buffer.from('x')), field(2, tensor)]);
  return Buffer.concat([field(1, spec), field(2, input)]);
}

/**
 * A block of calls from another process; the nanoseconds of CPU time that all threads of this one
 * took.
 */
function served(port) {
  const client = fork(path.join(import.meta.dirname, 'harness', 'grpc-client.mjs'), {
    serialization: 'advanced',
  });
  process.once('exit', () => client.kill());
  const message = predictRequest();
  return async (calls) => {
    const before = process.cpuUsage();
    client.send({ port, path: predictPath, message, calls, inFlight });
    const [{ error }] = await once(client, 'message');
    if (error !== undefined) throw new Error(error);
    const { user, system } = process.cpuUsage(before);
    return (user + system) * 1e3;
  };
}

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
  const same = (bytes) => bytes;
  const codec = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const server = new Server();
  server.addService(
    { Echo: { path: predictPath, requestStream: false, responseStream: false, ...codec } },
    { Echo: ({ request }, answer) => answer(null, request) },
  );
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return served(port);
}

async function tenonPredict() {
  const server = createServer({
    models: { linear: modelPath('linear') },
    load: { threads: { intraOp: 1 } },
    rest: false,
    grpc: { port: 0 },
    pollIntervalSeconds: 0,
  });
  await server.listen();
  while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
  return served(server.grpcPort);
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
