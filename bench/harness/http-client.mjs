// A client of HTTP in a process of its own, so that what it takes is not counted as the server's.
// Told { port, request, calls, inFlight }, where `request` is every byte of one, it makes the calls
// over as many connections, and answers when all have been answered with 200. What it is not told
// again stays.
import { connect } from 'node:net';

let connections = [];
let address;

function connected(port, count) {
  if (address !== port) {
    for (const { socket } of connections) socket.destroy();
    connections = [];
    address = port;
  }
  while (connections.length < count) connections.push(open(port));
  return connections;
}

function open(port) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const connection = { socket, onAnswer: undefined };
  let head = Buffer.alloc(0);
  let left = -1;
  const fail = (error) => connection.onAnswer?.(error ?? new Error('the connection was closed'));
  socket.on('error', fail);
  socket.on('close', () => fail());
  socket.on('data', (chunk) => {
    if (left < 0) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const text = head.toString('latin1', 0, end);
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1]);
      if (!text.startsWith('HTTP/1.1 200 ')) {
        fail(new Error(head.toString()));
        return;
      }
      left = length - (head.length - end - 4);
      head = Buffer.alloc(0);
    } else {
      left -= chunk.length;
    }
    if (left > 0) return;
    left = -1;
    connection.onAnswer?.();
  });
  return connection;
}

async function makeCalls({ port, request, calls, inFlight }) {
  let left = calls;
  const caller = async (connection) => {
    while (left-- > 0) {
      await new Promise((resolve, reject) => {
        connection.onAnswer = (error) => (error === undefined ? resolve() : reject(error));
        connection.socket.write(request);
      });
    }
  };
  await Promise.all(connected(port, inFlight).slice(0, inFlight).map(caller));
}

let asked = {};
process.on('message', (told) => {
  asked = { ...asked, ...told };
  makeCalls(asked)
    .then(() => process.send({}))
    .catch((error) => process.send({ error: String(error?.stack ?? error) }));
});
process.on('disconnect', () => process.exit(0));
