// A client of gRPC over bare HTTP/2 in a process of its own, so that what it takes is not counted
// as the server's. Told { port, path, message, calls, inFlight, connections }, it makes the calls over
// one connection, or so many, and answers when all have been answered with status 0. What it is not
// told again stays.
import { connect } from 'node:http2';

const headersOf = (path) => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
});

let sessions = [];
let address;

function connected(port, count) {
  if (address !== port) {
    for (const session of sessions) session.close();
    sessions = [];
    address = port;
  }
  while (sessions.length < count) sessions.push(connect(`http://127.0.0.1:${port}`));
  return sessions;
}

async function makeCalls({ port, path, message, calls, inFlight, connections = 1 }) {
  const open = connected(port, connections);
  const frame = Buffer.alloc(5 + message.byteLength);
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, 5);
  const headers = headersOf(path);
  const call = (session) =>
    new Promise((resolve, reject) => {
      const stream = session.request(headers);
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
  const caller = async (_, i) => {
    while (left-- > 0) await call(open[i % connections]);
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
}

let asked = {};
process.on('message', (told) => {
  asked = { ...asked, ...told };
  makeCalls(asked)
    .then(() => process.send({}))
    .catch((error) => process.send({ error: String(error?.stack ?? error) }));
});
process.on('disconnect', () => process.exit(0));
