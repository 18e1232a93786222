import { floatElements } from './harness/engines.mjs';
import { serveGrpcEcho } from './harness/grpc.mjs';
import { cpuTime, grpcCaller, startTenon } from './harness/http.mjs';
import { field } from './harness/predict-request.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 4;
const inferPath = '/inference.GRPCInferenceService/ModelInfer';

/** A ModelInferRequest for the model that takes the means of an image, its elements raw. */
function inferRequest() {
  const sizes = [1, 3, 224, 224];
  const values = floatElements(sizes.reduce((product, size) => product * size));
  // Each size is below 2^14: a varint of one byte or two.
  const shape = sizes.flatMap((size) => (size < 0x80 ? [size] : [(size & 0x7f) | 0x80, size >> 7]));
  const input = [
    field(1, Buffer.from('image')),
    field(2, Buffer.from('FP32')),
    field(3, Buffer.from(shape)),
  ];
  return Buffer.concat([
    field(1, Buffer.from('means')),
    field(5, Buffer.concat(input)),
    field(7, Buffer.from(values.buffer, values.byteOffset, values.byteLength)),
  ]);
}

const message = inferRequest();
const called = (port) => cpuTime(grpcCaller(port, { path: inferPath, message, inFlight }));

async function tenon() {
  const { grpcPort } = await startTenon({
    models: { means: modelPath('image-means') },
    rest: false,
  });
  return grpcPort;
}

const contender = (name, serve) => ({ name, open: async () => ({ block: called(await serve()) }) });

const echo = 'grpc-js: an echo';
const infer = 'tenon: ModelInfer';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'gRPC: a ModelInfer of an image, raw',
  asks:
    'How much CPU time does the server take for a request of the Open Inference Protocol, all of its ' +
    `threads together? The means of an image of 224×224×3 floats, raw, ${inFlight} calls in flight ` +
    'over one connection from another process. Beside it a server of @grpc/grpc-js that only sends ' +
    'the same bytes back.',
  blockMs: 300,
  calls: { caption: 'CPU time of the server for one request', unit: 'µs' },
  contenders: [contender(echo, () => serveGrpcEcho(inferPath)), contender(infer, tenon)],
  comparisons: [
    {
      figure: 'gRPC ModelInfer, 224×224×3 raw: a grpc-js echo’s CPU per request ÷ Tenon’s',
      of: echo,
      to: infer,
      target: { atLeast: 0.8 },
    },
  ],
};
