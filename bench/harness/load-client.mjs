// A client of HTTP in a process of its own that never pauses. Told { port, request, inFlight } it begins,
// over as many connections; told {} it answers with what has happened since it was last told something:
// { requests, failed, p50, p99 }, times in microseconds. A connection that breaks is a failure, too.
import { connect } from 'node:net';

let times = [];
let failed = 0;

/** One request after the other over one connection. */
function keepAsking(port, request) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let started;
  let answer = '';
  let hasEnded = false;
  const ask = () => {
    started = performance.now();
    answer = '';
    socket.write(request);
  };
  const again = () => {
    if (hasEnded) return;
    hasEnded = true;
    failed++;
    socket.destroy();
    setImmediate(() => keepAsking(port, request));
  };
  socket.on('connect', ask);
  socket.on('error', again);
  socket.on('close', again);
  socket.on('data', (chunk) => {
    answer += chunk.toString('latin1');
    const end = answer.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(answer)?.[1]);
    if (end < 0 || answer.length < end + 4 + length) return;
    if (!answer.startsWith('HTTP/1.1 200 ')) failed++;
    times.push((performance.now() - started) * 1e3);
    ask();
  });
}

process.on('message', ({ port, request, inFlight = 0 }) => {
  for (let i = 0; i < inFlight; i++) keepAsking(port, request);
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];
  process.send({ requests: times.length, failed, p50: at(0.5), p99: at(0.99) });
  times = [];
  failed = 0;
});
process.on('disconnect', () => process.exit(0));
