// Idle connections, many of them: opens 10 000 to each port of `tenon serve`, from other processes, and looks
// at what they cost. Ends with 1 where a request fails or takes much longer beside them, where more are let
// in than --max_connections says, or where something is not given back once they are closed. On Linux.
//
//   node scripts/stress-connections.mjs [connections]
//
// A process needs as many descriptors (ulimit -Hn) as it has connections, and some.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { predictPath, predictRequest } from '../bench/harness/predict-request.mjs';
import { fail, root } from './run-command.mjs';

/** Processes that hold connections, and connections that each opens at a time. */
const holderCount = 2;
const openingAtATime = 50;
/** Descriptors that the server has besides: files, pipes, engines. */
const spareDescriptors = 200;
/** Connections over the limit that are tried, and requests that are timed. */
const tooMany = 50;
const requests = 1000;
/** A request beside idle connections may take this many times as long as without: the quickest tenth. */
const slower = 3;
const waitMs = 60_000;
const megabyte = 2 ** 20;
/** What a heap may differ by from one look to another. */
const heapSlack = 5 * megabyte;
/** Has the main thread's heap collected at a signal, and says how much of it is in use. */
const collector =
  'data:text/javascript,' +
  'import { writeSync } from "node:fs";' +
  'process.on("SIGUSR2", () => {' +
  'gc(); gc(); const { heapUsed, external } = process.memoryUsage();' +
  'writeSync(2, JSON.stringify({ heap: heapUsed + external }) + "\\n"); });';

async function main() {
  const count = Number(process.argv[2] ?? 10_000);
  if (!Number.isInteger(count) || count < 1) fail(`expected a number, received ${process.argv[2]}`);
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const descriptors = Number(/Max open files +\S+ +(\d+)/.exec(limits)?.[1]);
  if (descriptors < count + spareDescriptors) {
    fail(`expected ${count + spareDescriptors} descriptors (ulimit -Hn), received ${descriptors}`);
  }
  for (const frontendThreads of [0, 2]) {
    const server = await start(count, frontendThreads);
    try {
      for (const transport of ['rest', 'grpc']) {
        const what = `${transport}, ${frontendThreads} front-end threads`;
        console.log(`${what}: ${await measure(server, transport, count)}`);
      }
    } finally {
      server.child.kill('SIGTERM');
    }
    const [code] = await once(server.child, 'exit');
    if (code !== 0) fail(`expected the server to end with 0, received ${code}`);
  }
}

async function start(count, frontendThreads) {
  const ports = { rest: await freePort(), grpc: await freePort() };
  const child = spawn(
    process.execPath,
    [
      '--expose-gc',
      `--import=${collector}`,
      path.join(root, 'dist/cli.js'),
      'serve',
      '--host=127.0.0.1',
      `--port=${ports.grpc}`,
      `--rest_api_port=${ports.rest}`,
      `--max_connections=${count}`,
      `--frontend_threads=${frontendThreads}`,
      '--model_name=half',
      `--model_base_path=${path.join(root, 'test/fixtures/models/half_plus_two')}`,
      '--log_format=json',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  process.once('exit', () => child.kill('SIGKILL'));
  const server = { child, ports, isOneThread: frontendThreads === 0, heap: 0, onHeap() {} };
  await new Promise((resolve) => {
    createInterface(child.stderr).on('line', (line) => {
      // What the engine says has no form.
      if (!line.startsWith('{')) return;
      const { msg, heap } = JSON.parse(line);
      if (msg?.startsWith('Ready')) resolve();
      if (heap === undefined) return;
      server.heap = heap;
      server.onHeap();
    });
  });
  return server;
}

async function measure(server, transport, count) {
  const port = server.ports[transport];
  const client = transport === 'rest' ? restClient(port) : grpcClient(port);
  // What is loaded late and what is allocated once does not count as the connections'.
  await holding(port, transport, Math.min(count - 1, 500), async () => {
    for (let i = 0; i < 5; i++) await timed(client);
  });
  const before = await settled(server);
  const alone = await timed(client);
  let during;
  let beside;
  let letIn;
  await holding(port, transport, count - 1, async () => {
    during = await settled(server);
    beside = await timed(client);
    letIn = await letInOf(port);
  });
  const after = await settled(server, before.descriptors);
  await holding(port, transport, count - 1, () => timed(client));
  const again = await settled(server, before.descriptors);
  client.close();

  const perConnection = (during.rss - before.rss) / (count - 1);
  if (during.descriptors - before.descriptors < count - 1) {
    fail(`expected ${count - 1} connections, received ${during.descriptors - before.descriptors}`);
  }
  if (letIn > 0) fail(`expected none of ${tooMany} over the limit to be let in, received ${letIn}`);
  // Of a machine that has other things to do the quickest requests say most.
  if (beside.p10 > slower * alone.p10) {
    fail(`expected at most ${slower * alone.p10} µs a request, received ${beside.p10} µs`);
  }
  const times = ({ p50, p99 }) => `${p50.toFixed(0)} µs (p99 ${p99.toFixed(0)})`;
  const answered =
    `a predict in ${times(beside)} beside ${count - 1} idle connections, ${times(alone)} without; ` +
    `${tooMany} more were closed at once`;
  // Heaps of front-end threads are not collected at the signal.
  if (!server.isOneThread) return answered;
  const kept = again.heap - after.heap;
  if (kept > heapSlack) {
    fail(`expected memory to be given back, received ${inMegabytes(kept)} more the second time`);
  }
  return (
    `${answered}; ${(perConnection / 1024).toFixed(1)} KiB for each connection; once they were ` +
    `closed, the first and the second time, ${inMegabytes(after.rss - before.rss)} and ` +
    `${inMegabytes(again.rss - before.rss)} stayed with the allocator, ` +
    `${inMegabytes(after.heap - before.heap)} and ${inMegabytes(again.heap - before.heap)} in the heap`
  );
}

const inMegabytes = (bytes) => `${(bytes / megabyte).toFixed(1)} MiB`;

function stateOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    rss: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Once no more descriptors are there than `expected`, and garbage has been collected. */
async function settled(server, expected = Infinity) {
  const { child } = server;
  const end = performance.now() + waitMs;
  for (let last = stateOf(child.pid); performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await new Promise((resolve) => {
      server.onHeap = resolve;
      child.kill('SIGUSR2');
    });
    const now = stateOf(child.pid);
    const isQuiet = now.descriptors === last.descriptors && Math.abs(now.rss - last.rss) < megabyte;
    if (isQuiet && now.descriptors <= expected) return { ...now, heap: server.heap };
    last = now;
  }
  return fail(`expected ${expected} descriptors, received ${stateOf(child.pid).descriptors}`);
}

/** Microseconds of a request, one after the other over one connection. */
async function timed(client) {
  const times = [];
  for (let i = 0; i < requests; i++) {
    const start = performance.now();
    await client.predict();
    times.push((performance.now() - start) * 1e3);
  }
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.floor(requests * part)];
  return { p10: at(0.1), p50: at(0.5), p99: at(0.99) };
}

function restClient(port) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const body = '{"instances": [1]}';
  return {
    close: () => agent.destroy(),
    predict: () =>
      new Promise((resolve, reject) => {
        const asked = request(
          { port, host: '127.0.0.1', method: 'POST', path: '/v1/models/half:predict', agent },
          (response) => {
            if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
            response.resume().on('end', resolve).on('error', reject);
          },
        );
        asked.on('error', reject);
        asked.end(body);
      }),
  };
}

function grpcClient(port) {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const message = predictRequest('half', Float32Array.of(1), [1]);
  const frame = Buffer.concat([Buffer.alloc(5), message]);
  frame.writeUInt32BE(message.length, 1);
  const headers = {
    ':method': 'POST',
    ':path': predictPath,
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  return {
    close: () => session.close(),
    predict: () =>
      new Promise((resolve, reject) => {
        const stream = session.request(headers);
        let status;
        stream.on('response', (response) => (status = response['grpc-status']));
        stream.on('trailers', (trailers) => (status = trailers['grpc-status']));
        stream.on('error', reject);
        stream.on('close', () => {
          if (Number(status) === 0) resolve();
          else reject(new Error(`status ${status}`));
        });
        stream.resume();
        stream.end(frame);
      }),
  };
}

/** How many of those over the limit are not closed. */
async function letInOf(port) {
  const tries = Array.from({ length: tooMany }, async () => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    const timer = setTimeout(() => socket.destroy(new Error('it was let in')), waitMs);
    const failure = await new Promise((resolve) => {
      socket.on('error', resolve);
      socket.on('close', () => resolve(undefined));
    });
    clearTimeout(timer);
    return failure?.message === 'it was let in' ? 1 : 0;
  });
  return (await Promise.all(tries)).reduce((sum, one) => sum + one, 0);
}

/** Does something while other processes have `count` idle connections. */
async function holding(port, transport, count, action) {
  const holders = Array.from({ length: holderCount }, () => fork(fileURLToPath(import.meta.url)));
  try {
    await Promise.all(
      holders.map(async (holder, i) => {
        const share = Math.floor(count / holderCount) + (i < count % holderCount ? 1 : 0);
        holder.send({ port, transport, count: share });
        const [{ error }] = await once(holder, 'message');
        if (error !== undefined) fail(error);
      }),
    );
    await action();
    for (const holder of holders) {
      holder.send('how many');
      const [{ closed }] = await once(holder, 'message');
      if (closed > 0) fail(`expected idle connections to stay, ${closed} were closed`);
    }
  } finally {
    for (const holder of holders) holder.kill();
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A process of connections. Each has been served once: a request of REST, the greetings of HTTP/2. */
function hold() {
  const greetings = {
    rest: Buffer.from('GET /v1/models/half HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    // The preface, with empty settings.
    grpc: Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1'),
  };
  const settingsAcknowledged = Buffer.from('\0\0\0\x04\x01\0\0\0\0', 'latin1');
  let closed = 0;
  const open = (port, transport) =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.write(greetings[transport]);
      socket.once('data', () => {
        if (transport === 'grpc') socket.write(settingsAcknowledged);
        socket.resume();
        resolve();
      });
      socket.on('error', reject);
      socket.on('close', () => {
        closed++;
        reject(new Error('a connection was closed'));
      });
    });
  const openAll = async ({ port, transport, count }) => {
    let left = count;
    const some = async () => {
      while (left-- > 0) await open(port, transport);
    };
    await Promise.all(Array.from({ length: openingAtATime }, some));
  };
  process.on('message', (message) => {
    if (message === 'how many') {
      process.send({ closed });
      return;
    }
    openAll(message).then(
      () => process.send({}),
      (error) => process.send({ error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
}

if (process.send === undefined) await main();
else hold();
