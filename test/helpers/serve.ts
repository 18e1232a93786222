/** Servers for tests: in a process of their own, and clients that reach them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { request as httpRequest, type Agent, type IncomingHttpHeaders } from 'node:http';
import { createServer } from 'node:net';
import path from 'node:path';

import { onTestFinished } from 'vitest';

import { root } from './paths.js';

const cli = path.join(root, 'dist/cli.js');
const limitMs = 50_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** `tenon serve` with these flags. */
export class ServeProcess {
  stderr = '';
  stdout = '';
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #onText: (() => void)[] = [];

  constructor(flags: readonly string[], env: NodeJS.ProcessEnv, stderr: 'pipe' | number) {
    if (!existsSync(cli)) {
      throw new Error(`expected the built package at ${cli}: run "npm run build:ts" first`);
    }
    this.child = spawn(process.execPath, [cli, 'serve', ...flags], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', stderr],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      for (const check of this.#onText) check();
    });
    this.ended = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  /** The records of the log so far. */
  get log(): Record<string, unknown>[] {
    return this.stderr
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Resolves when the log has such a record. */
  async logged(matches: (record: Record<string, unknown>) => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (this.log.some(matches)) resolve();
      };
      this.#onText.push(check);
      check();
      void this.ended.then(() => reject(new Error(`the server has ended: ${this.stderr}`)));
    });
  }

  /** Resolves when every model has been loaded, or has failed. */
  ready(): Promise<void> {
    return this.logged(({ msg }) => typeof msg === 'string' && msg.startsWith('Ready'));
  }
}

/** Ended with the test, if it has not ended by itself. */
export function startServe(
  flags: readonly string[],
  { env = {}, stderr = 'pipe' }: { env?: NodeJS.ProcessEnv; stderr?: 'pipe' | number } = {},
): ServeProcess {
  const server = new ServeProcess(flags, env, stderr);
  onTestFinished(async () => {
    server.child.kill('SIGKILL');
    await server.ended;
  });
  return server;
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface AskOptions {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
  readonly method?: string;
}

/** One request to a port or a unix socket. */
export function ask(
  where: { port: number } | { socketPath: string },
  url: string,
  { body, headers = {}, agent, method }: AskOptions = {},
): Promise<Answer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        ...where,
        path: url,
        method: method ?? (text === undefined ? 'GET' : 'POST'),
        headers,
        // A connection of its own, unless the test has others in mind.
        agent: agent ?? false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode as number,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    request.on('error', reject);
    request.end(text);
  });
}
