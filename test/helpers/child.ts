/** Scripts in Node processes of their own, which use the built package as its users do. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { modelPath, root } from './paths.js';

const built = path.join(root, 'dist/index.js');
const threadsModule = pathToFileURL(path.join(root, 'test/helpers/threads.mjs')).href;
const limitMs = 50_000;

export interface ChildResult {
  /** The exit code; null where a signal ended the process. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/**
 * What scripts find: `load`, `Tensor` and the other exports as `tenon`, `model(name)` for a path
 * of the fixtures, and `startWorker(source)` for a worker thread that finds the same, with its
 * port as `parentPort`. A worker that calls `stay()` does not end by itself, however long whoever is
 * to end it takes to hear from it. Both find `livingThreads()` of helpers/threads.
 */
function prelude(): string {
  return `
    const tenon = await import(${JSON.stringify(pathToFileURL(built).href)});
    const { load, Tensor } = tenon;
    const path = await import('node:path');
    const { Worker, parentPort } = await import('node:worker_threads');
    const { once } = await import('node:events');
    const { livingThreads } = await import(${JSON.stringify(threadsModule)});
    const model = (name) => path.join(${JSON.stringify(modelPath())}, name);
    const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
    const stay = () => parentPort.on('message', () => {});
  `;
}

export interface ScriptOptions {
  flags?: string[];
  workerSource?: string;
}

/** What a test with runRepeatedly may take, on a machine that has other things to do. */
export const repeatedlyMs = 300_000;
const repeats = 20;
const atATime = 2;

/**
 * Runs a script twenty times, two at a time: what ends in the middle of something meets another
 * moment of it each time. Gives every different result once, so that a script which always ends
 * alike gives one. What the engines themselves log is left out.
 */
export async function runRepeatedly(
  source: string,
  options: ScriptOptions = {},
): Promise<ChildResult[]> {
  const results = new Map<string, ChildResult>();
  let left = repeats;
  const runSome = async (): Promise<void> => {
    while (left-- > 0) {
      const { stderr, ...rest } = await runScript(source, options);
      const result = {
        ...rest,
        stderr: stderr.replace(
          /^(WARNING: All log|[IW]\d{4} |.*terminate flag being set).*\n/gm,
          '',
        ),
      };
      results.set(JSON.stringify(result), result);
    }
  };
  await Promise.all(Array.from({ length: atATime }, runSome));
  return [...results.values()];
}

/** Runs an ES module with top-level await; ends it, with a signal, where it takes too long. */
export function runScript(source: string, options: ScriptOptions = {}): Promise<ChildResult> {
  if (!existsSync(built)) {
    throw new Error(`expected the built package at ${built}: run "npm run build:ts" first`);
  }
  const asUrl = (body: string) =>
    `data:text/javascript,${encodeURIComponent(`${prelude()}\n${body}`)}`;
  const worker = asUrl(options.workerSource ?? '');
  const main = `${prelude()}
    const startWorker = () => new Worker(new URL(${JSON.stringify(worker)}));
    ${source}`;
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [...(options.flags ?? []), '--input-type=module', '--eval', main],
      { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs, killSignal: 'SIGKILL' },
    );
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
}
