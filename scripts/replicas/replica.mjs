// One `tenon serve` in a process of its own, always at the same two ports.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

import { fail, root } from '../run-command.mjs';

const startMs = 60_000;

export class Replica {
  /** Of the process that runs now. */
  #child;
  #log = '';

  constructor(name, { restPort, grpcPort, flags }) {
    this.name = name;
    this.restPort = restPort;
    this.grpcPort = grpcPort;
    this.flags = flags;
  }

  /** Resolves when it is ready. */
  async start() {
    const child = spawn(
      process.execPath,
      [
        path.join(root, 'dist/cli.js'),
        'serve',
        '--host=127.0.0.1',
        `--rest_api_port=${this.restPort}`,
        `--port=${this.grpcPort}`,
        ...this.flags,
      ],
      { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.#child = child;
    this.#log = '';
    const isReady = new Promise((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text) => {
        this.#log = (this.#log + text).slice(-20_000);
        if (this.#log.includes('"msg":"Ready')) resolve('ready');
      });
    });
    const limit = AbortSignal.timeout(startMs);
    const came = await Promise.race([
      isReady,
      once(child, 'exit').then(() => 'ended'),
      once(limit, 'abort').then(() => 'not ready in time'),
    ]);
    if (came !== 'ready') fail(`expected replica ${this.name} to start: ${came}\n${this.#log}`);
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Resolves with the exit code, or the signal, when the process has ended after `name`. */
  async end(name) {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, 'exit');
    child.kill(name);
    const [code, signal] = await ended;
    return code ?? signal;
  }
}
