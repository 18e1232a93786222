// A client of gRPC over bare HTTP/2 in a process of its own, so that what it takes is not counted
// as the server's. Told { port, path, message, calls, inFlight }, it makes the calls over one
// connection and answers when all have been answered with status 0.
import { connect } from 'node:http2';

const headersOf = (path) => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
});

let session;
let address;

function connected(port) {
  if (address !== port) {
    session?.close();
    session = connect(`http://127.0.0.1:${port}`);
    address = port;
  }
  return session;
}

async function makeCalls({ port, path, message, calls, inFlight }) {
  const connection = connected(port);
  const frame = Buffer.alloc(5 + message.byteLength);
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, 5);
  const headers = headersOf(path);
  const call = () =>
    new Promise((resolve, reject) => {
      const stream = connection.request(headers);
      let status;
      stream.on('response', (response) => (status = response['grpc-status']));
      stream.on('trailers', (trailers) => (status = trailers['grpc-status']));
      stream.on('error', reject);
      stream.on('close', () => {
        if (Number(status) === 0) resolve();
        else reject(new Error(`a call ended with status ${status}`));
      });
      stream.resume();
      stream.end(frame);
    });
  let left = calls;
  const caller = async () => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
}

process.on('message', (asked) => {
  makeCalls(asked)
    .then(() => process.send({}))
    .catch((error) => process.send({ error: String(error?.stack ?? error) }));
});
process.on('disconnect', () => process.exit(0));
