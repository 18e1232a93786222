import { grpcCaller, httpCaller, startTenon, wallTime } from './harness/http.mjs';
import { cores } from './harness/engines.mjs';
import { predictUrl } from './harness/images.mjs';
import { predictPath, predictRequest } from './harness/predict-request.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 64;
/** A connection belongs to one thread. */
const grpcConnections = 8;
const threads = [0, 1, 2];
const body = '{"instances":[[1.0,2.0,3.0,4.0]]}';
const message = predictRequest('linear', Float32Array.of(1, 2, 3, 4), [1, 4]);

const callers = {
  REST: ({ restPort }) => httpCaller(restPort, { path: predictUrl('linear'), body, inFlight }),
  gRPC: ({ grpcPort }) =>
    grpcCaller(grpcPort, { path: predictPath, message, inFlight, connections: grpcConnections }),
};

const named = (transport, count) =>
  `${transport}, ${count === 0 ? 'the main thread' : `${count} front-end thread${count > 1 ? 's' : ''}`}`;

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Front-end threads',
  asks:
    'How many requests a second does the server answer with `--frontend_threads` of 0, 1 and 2? The ' +
    `linear layer, four floats, ${inFlight} requests in flight from another process: over as many ` +
    `connections of REST, over ${grpcConnections} of gRPC. Measured on ${cores} cores, of which the ` +
    'client takes its share: what threads bring there is less than where each has a core.',
  blockMs: 500,
  calls: { caption: 'requests a second', unit: '1/s' },
  contenders: Object.entries(callers).flatMap(([transport, callerOf]) =>
    threads.map((frontendThreads) => ({
      name: named(transport, frontendThreads),
      async open() {
        const models = { linear: modelPath('linear') };
        return { block: wallTime(callerOf(await startTenon({ models, frontendThreads }))) };
      },
    })),
  ),
  comparisons: Object.keys(callers).flatMap((transport) => [
    { of: named(transport, 1), to: named(transport, 0) },
    { of: named(transport, 2), to: named(transport, 0) },
    { of: named(transport, 2), to: named(transport, 1) },
  ]),
};
