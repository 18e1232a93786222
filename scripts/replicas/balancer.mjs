// HAProxy before the replicas: a REST and a gRPC frontend, health checks, and its statistics.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as after } from 'node:timers/promises';

import { fail } from '../run-command.mjs';

/** How often a replica is asked for its health, how long an answer may take, how many must fail. */
export const checkMs = 200;
const checkTimeoutMs = 1_000;
const checksToFail = 3;
/** The longest that a replica which answers, or refuses, or is silent, is still trusted. */
export const noticeMs = checksToFail * checkMs;
export const silenceMs = checksToFail * (checkMs + checkTimeoutMs);
/** What a replica may take to answer before its request fails. */
export const answerMs = 3_000;

export function configuration({ restPort, grpcPort, admin, replicas }) {
  const servers = (port, more) =>
    replicas
      .map(
        (replica) =>
          `  server ${replica.name} 127.0.0.1:${replica[port]}${more} check port ${replica.restPort}`,
      )
      .join('\n');
  // Requests go to the replica with the fewest, and those that found no one listening elsewhere.
  return `global
  stats socket ${admin} mode 600 level admin
  maxconn 2000

defaults
  mode http
  balance leastconn
  timeout connect 1s
  timeout client 30s
  timeout server ${answerMs}ms
  timeout check ${checkTimeoutMs}ms
  retries 3
  option redispatch 1
  option httpchk GET /healthz/ready
  http-check expect status 200
  default-server inter ${checkMs}ms fall ${checksToFail} rise 1

frontend rest
  bind 127.0.0.1:${restPort}
  default_backend rest

backend rest
${servers('restPort', '')}

frontend grpc
  bind 127.0.0.1:${grpcPort} proto h2
  default_backend grpc

backend grpc
${servers('grpcPort', ' proto h2 check-proto h1')}
`;
}

export class Balancer {
  #child;
  #admin;

  constructor(child, admin) {
    this.#child = child;
    this.#admin = admin;
  }

  /** The command, and its version's line. Ends the script where there is none. */
  static find() {
    for (const command of ['haproxy', '/usr/sbin/haproxy']) {
      const { status, stdout } = spawnSync(command, ['-v'], { encoding: 'utf8' });
      if (status === 0) return { command, version: stdout.split('\n')[0] };
    }
    return fail('expected HAProxy 2.4 or later on this machine: apt-get install haproxy');
  }

  static async start(command, folder, settings) {
    const admin = path.join(folder, 'haproxy.sock');
    const file = path.join(folder, 'haproxy.cfg');
    writeFileSync(file, configuration({ ...settings, admin }));
    // In the foreground: it is ours to end.
    const child = spawn(command, ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (log += text));
    child.once('exit', (code) => {
      if (code) fail(`HAProxy has ended with ${code}\n${log}`);
    });
    const balancer = new Balancer(child, admin);
    await balancer.until(() => true, 'HAProxy to start');
    return balancer;
  }

  /** Names of the replicas that take requests, of both backends. */
  async up() {
    const [header, ...rows] = (await this.#ask('show stat')).trim().split('\n');
    const names = header.replace(/^# /, '').split(',');
    const column = (row, name) => row.split(',')[names.indexOf(name)];
    const servers = rows.filter((row) => !/,(FRONTEND|BACKEND),/.test(row));
    const isUp = (row) => column(row, 'status').startsWith('UP');
    const all = new Set(servers.map((row) => column(row, 'svname')));
    return [...all].filter((name) =>
      servers.filter((row) => column(row, 'svname') === name).every(isUp),
    );
  }

  /** Resolves when the names of those that are up are as wanted. */
  async until(isWanted, what) {
    const started = performance.now();
    for (;;) {
      const up = await this.up().catch(() => undefined);
      if (up !== undefined && isWanted(up)) return;
      if (performance.now() - started > 20_000) fail(`waited in vain for ${what}; up: ${up}`);
      await after(20);
    }
  }

  async stop() {
    this.#child.removeAllListeners('exit');
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }

  async #ask(command) {
    const socket = connect(this.#admin);
    let answer = '';
    socket.setEncoding('utf8').on('data', (text) => (answer += text));
    // Rejects where nobody listens.
    const closed = once(socket, 'close');
    socket.end(`${command}\n`);
    await closed;
    return answer;
  }
}
