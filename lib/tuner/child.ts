/** Starts the processes that measure. */

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { serialize } from 'node:v8';

import { engineChildEnvironment, howItEnded, lastLines, runChild } from '../engines/child.js';
import { type Answer, answerMark, type Description, type Job, type Measured } from './job.js';

/** In dist/ beside this file's chunk; from the source, two folders up. */
function program(): string {
  const places = ['./tuner-child.js', '../../dist/tuner-child.js'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  return places.find((place) => existsSync(place)) ?? (places[0] as string);
}

export interface ChildFailure {
  readonly code: string | undefined;
  readonly message: string;
}

/**
 * Does a job in a process of its own. Resolves with its answer or why there is none; rejects with
 * the signal's reason, after the process has ended.
 *
 * @param folder For the file with the job.
 */
export async function runJob<J extends Job>(
  job: J,
  folder: string,
  options: { timeoutMs: number; signal: AbortSignal | undefined },
): Promise<
  Answer<J extends { kind: 'describe' } ? Description : Measured> | { error: ChildFailure }
> {
  const file = path.join(folder, 'job');
  await writeFile(file, serialize(job));
  const { timeoutMs, signal } = options;
  const result = await runChild(process.execPath, [program(), file], {
    timeoutMs,
    signal,
    env: engineChildEnvironment(process.env),
  });
  const line = result.stdout
    .split('\n')
    .reverse()
    .find((text) => text.startsWith(answerMark));
  if (line !== undefined) return JSON.parse(line.slice(answerMark.length)) as never;
  // Ctrl-C in a terminal reaches the child first.
  if (result.signal === 'SIGINT') {
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
  const noise = lastLines(result.stderr, 3).map((text) => ` | ${text}`);
  return {
    error: {
      code: undefined,
      message: `${howItEnded(result, timeoutMs)} of the process that measured${noise.join('')}`,
    },
  };
}
