/**
 * The benchmarks run: each question that needs no large model is asked for one round of the
 * shortest blocks. What they measure is not looked at, only that they measure everything.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, expect, it } from 'vitest';

import { load, Tensor } from '../../lib/index.js';
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
  'json-codec',
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
    expect(skipped).toEqual([]);
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

it('compares with a hand-written batcher that gives each request its own rows', async () => {
  interface Served {
    model: string;
    output: string;
    dtype: string;
    ElementArray: Float32ArrayConstructor;
  }
  const harness = <T>(file: string) =>
    import(pathToFileURL(path.join(root, 'bench', file)).href) as Promise<T>;
  const { mlp } = await harness<{ mlp: Served }>('harness/batching.mjs');
  const { modelPath } = await harness<{ modelPath: (name: string) => string }>('models/index.mjs');
  const { onnxruntimeNodeSession } = await harness<{
    onnxruntimeNodeSession: (model: string) => Promise<object>;
  }>('harness/engines.mjs');
  const { handBatcher } = await harness<{
    handBatcher: (
      session: object,
      what: Served & { maxBatchSize: number },
    ) => (elements: Float32Array) => Promise<Float32Array>;
  }>('harness/hand-batcher.mjs');

  await using model = await load(modelPath(mlp.model));
  const run = handBatcher(await onnxruntimeNodeSession(modelPath(mlp.model)), {
    ...mlp,
    maxBatchSize: 4,
  });
  const items = Array.from({ length: 10 }, (_, item) =>
    Float32Array.from({ length: 784 }, (_, i) => ((item + 1) * i) % 17),
  );
  const batched = await Promise.all(items.map(run));
  for (const [i, item] of items.entries()) {
    const alone = await model.run({ x: new Tensor('float32', item, [1, 784]) });
    const expected = alone[mlp.output]?.data as Float32Array;
    expect(batched[i]).toHaveLength(expected.length);
    for (const [j, value] of expected.entries()) expect(batched[i]?.[j]).toBeCloseTo(value, 3);
  }
});
