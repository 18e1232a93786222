// `npm run test:replicas`: three servers behind HAProxy, with REST and gRPC clients in steady load,
// while servers are restarted, killed, slowed down and stopped. Prints a table, and fails where more
// requests fail than may. Runs dist/ as it is: `npm run build:ts` first.
//
//   npm run test:replicas -- [--per-second 300] [--rounds 5] [--only rolling]
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as after } from 'node:timers/promises';

import { fail, root } from '../run-command.mjs';
import { answerMs, Balancer, checkMs, noticeMs, silenceMs } from './balancer.mjs';
import { grpcClient, Load, restClient } from './load.mjs';
import { freePorts } from './ports.mjs';
import { Replica } from './replica.mjs';

const { values } = parseArgs({
  options: {
    'per-second': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const perSecond = Number(values['per-second']);
const rounds = Number(values.rounds);
const connections = 8;
const settleMs = 1_000;
const flags = [
  '--model_name=simple_model',
  `--model_base_path=${path.join(root, 'test/fixtures/models/simple_model.onnx')}`,
  // Longer than the balancer takes to notice.
  `--shutdown_delay_ms=${3 * noticeMs}`,
  '--shutdown_timeout_ms=10000',
];

const { command, version } = Balancer.find();
const folder = mkdtempSync(path.join(tmpdir(), 'tenon-replicas-'));
const [restPort, grpcPort, ...ports] = await freePorts(8);
const replicas = ['a', 'b', 'c'].map(
  (name, i) => new Replica(name, { restPort: ports[2 * i], grpcPort: ports[2 * i + 1], flags }),
);
const [first] = replicas;
process.on('exit', () => {
  for (const replica of replicas) replica.signal('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
await Promise.all(replicas.map((replica) => replica.start()));
const balancer = await Balancer.start(command, folder, { restPort, grpcPort, replicas });
const allUp = () => balancer.until((up) => up.length === replicas.length, 'all replicas to be up');
await allUp();

/** Requests that can be with one replica when it goes: its share, for as long as it is trusted. */
const share = (ms) => Math.ceil(((perSecond / replicas.length) * ms) / 1000) + connections;

const scenarios = [
  { name: 'nothing happens', mayFail: 0, act: () => after(5_000) },
  {
    name: 'rolling restart, SIGTERM',
    mayFail: 0,
    async act() {
      for (const replica of Array.from({ length: rounds }, () => replicas).flat()) {
        const code = await replica.end('SIGTERM');
        if (code !== 0) fail(`expected exit code 0 of replica ${replica.name}, received ${code}`);
        await replica.start();
        await allUp();
        await after(settleMs);
      }
    },
  },
  {
    name: 'kill -9 of one',
    // Only what it had taken: whoever comes later finds nobody listening, and is sent elsewhere.
    mayFail: share(0),
    async act() {
      await first.end('SIGKILL');
      await after(settleMs);
      await first.start();
      await allUp();
    },
  },
  {
    name: 'one runs a fifth of the time',
    mayFail: 0,
    async act() {
      for (let i = 0; i < 20; i++) {
        first.signal('SIGSTOP');
        await after(200);
        first.signal('SIGCONT');
        await after(50);
      }
    },
  },
  {
    name: 'one stops for 5 s',
    // What it was given until a health check had no answer.
    mayFail: share(silenceMs),
    async act() {
      first.signal('SIGSTOP');
      await after(5_000);
      first.signal('SIGCONT');
      await allUp();
    },
  },
];

const results = [];
for (const { name, mayFail, act } of scenarios) {
  if (!name.includes(values.only ?? '')) continue;
  const clients = {
    REST: restClient(restPort, 8 * connections),
    gRPC: grpcClient(grpcPort, connections),
  };
  const expected = await clients.REST.call();
  const loads = Object.entries(clients).map(([api, client]) => ({
    api,
    load: new Load(client, { perSecond, expected }),
  }));
  await after(settleMs);
  await act();
  await after(settleMs);
  await Promise.all(loads.map(({ load }) => load.stop()));
  for (const { api, load } of loads) results.push({ name, api, load, mayFail });
  for (const client of Object.values(clients)) client.close();
  console.error(`${name}: done`);
}
await balancer.stop();
const codes = await Promise.all(replicas.map((replica) => replica.end('SIGTERM')));
if (codes.some((code) => code !== 0)) fail(`expected exit codes 0, received ${codes.join(', ')}`);

const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toString());
console.log(`
${version}
${replicas.length} replicas, ${perSecond} requests/s of REST and as many of gRPC, ${availableParallelism()} CPUs for all of it.
Health checks every ${checkMs} ms; a request that a replica does not answer in ${answerMs} ms fails.

| scenario | API | requests | failures | allowed | p50 ms | p99 ms | longest ms |
| -------- | --- | -------: | -------: | ------: | -----: | -----: | ---------: |`);
for (const { name, api, load, mayFail } of results) {
  const [p50, p99, longest] = [0.5, 0.99, 1].map((q) => ms(load.quantile(q)));
  console.log(
    `| ${name} | ${api} | ${load.requests} | ${load.failures.length} | ${mayFail} | ${p50} | ${p99} | ${longest} |`,
  );
}
const tooMany = results.filter(({ load, mayFail }) => load.failures.length > mayFail);
for (const { name, api, load } of results) {
  for (const text of new Set(load.failures.map((failure) => failure.text))) {
    const times = load.failures.filter((failure) => failure.text === text).map(({ at }) => at);
    console.log(
      `\n${name}, ${api}: ${times.length} × ${text}\n  at ms ${times.slice(0, 40).join(' ')}`,
    );
  }
}
if (tooMany.length > 0) {
  fail(
    `\nmore failures than allowed: ${tooMany.map(({ name, api }) => `${name} (${api})`).join(', ')}`,
  );
}
console.log('\nas many failures as allowed, or fewer');
