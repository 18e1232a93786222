// What a server of gRPC costs by itself.
import { Server, ServerCredentials } from '@grpc/grpc-js';

/** The port of a server of @grpc/grpc-js that sends each message of a method back. */
export async function serveGrpcEcho(method) {
  const same = (bytes) => bytes;
  const codec = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const server = new Server();
  server.addService(
    { Echo: { path: method, requestStream: false, responseStream: false, ...codec } },
    { Echo: ({ request }, answer) => answer(null, request) },
  );
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
}
