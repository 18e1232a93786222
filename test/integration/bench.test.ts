/**
 * The benchmarks run: each question that needs no large model is asked for one round of the
 * shortest blocks. What they measure is not looked at, only that they measure everything.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { afterAll, expect, it } from 'vitest';

import { root } from '../helpers/paths.js';

const small = [
  'tiny-sync',
  'tiny-async',
  'tiny-concurrent',
  'tensorflow-tiny',
  'import-cost',
  'batching-mlp',
  'batching-lone',
  'batcher-cost',
  'batch-memory',
  'output-copy',
];

interface Result {
  name: string;
  rounds: number;
  skipped: { contender: string; reason: string }[];
  measures: { id: string; rows: { contender: string; samples: number[] }[] }[];
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-bench-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function bench(...args: string[]): Promise<string> {
  // The floors of `npm test`'s own build.
  const floors = ['--floors', path.join(root, 'build/native'), '--results', folder];
  const command = [path.join(root, 'bench/run.mjs'), ...args, ...floors];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: root });
  return stdout;
}

it('asks the questions that need no large model', { timeout: 300_000 }, async () => {
  const json = path.join(folder, 'results.json');
  const run = ['--pairs', '1', '--scale', '0.01', ...small];
  const first = await bench(...run, '--json', json);
  const { questions } = JSON.parse(readFileSync(json, 'utf8')) as { questions: Result[] };
  expect(questions.map(({ name }) => name)).toEqual(small);
  for (const { measures, skipped } of questions) {
    expect(skipped.filter(({ reason }) => !reason.endsWith('has no batching'))).toEqual([]);
    expect(measures).not.toEqual([]);
    for (const { rows } of measures) {
      expect(rows).not.toEqual([]);
      for (const { samples } of rows) expect(samples).toEqual([expect.any(Number)]);
    }
  }
  // Too short a run for the page is kept apart from those that are for it.
  const quick = readFileSync(path.join(folder, 'quick.json'), 'utf8');
  expect((JSON.parse(quick) as { questions: Result[] }).questions).toHaveLength(small.length);
  expect(first).toMatch(/^figure +target +measured +95 % interval +met\?$/m);
  expect(first).toMatch(/^tiny model: `binding.runSync\(\)`.* (met|missed)$/m);

  const again = await bench('--pairs', '1', '--scale', '0.01', 'import-cost', '--compare', json);
  expect(again).toMatch(/saved +change$/m);
});

it('names its questions, and refuses others', async () => {
  expect((await bench('--list')).trim().split('\n').length).toBeGreaterThanOrEqual(small.length);
  await expect(bench('tiny')).rejects.toThrow('expected questions among tiny-sync,');
});
