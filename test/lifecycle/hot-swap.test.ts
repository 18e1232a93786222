import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { latestVersion } from '../../lib/server/config/model-config.js';
import { Repository } from '../../lib/server/repository/repository.js';
import { largeMatMul } from '../helpers/onnx-models.js';
import { modelPath } from '../helpers/paths.js';
import { statesOf, TestLog, until } from '../helpers/repository.js';
import { temporaryFolder } from '../helpers/temporary.js';
import { livingThreads } from '../helpers/threads.mjs';

const root = temporaryFolder();
const swaps = 50;
const settledAfter = 10;
/** The side of the ONNX model's matrix, which is 9 MB of float32. */
const side = 1500;

const large = path.join(root, 'large.onnx');
writeFileSync(large, largeMatMul(side));

/** Each file of tests has a process of its own, whose memory this is. */
const rss = (): number => process.memoryUsage.rss();
/** A model that is not closed keeps its lanes. Known on Linux alone. */
const threads = (): number => (process.platform === 'linux' ? livingThreads().length : 0);

it.each([
  [
    'tensorflow',
    (folder: string) => cpSync(modelPath('half_plus_two/00000123'), folder, { recursive: true }),
  ],
  [
    'onnxruntime',
    (folder: string) => {
      mkdirSync(folder);
      cpSync(large, path.join(folder, 'model.onnx'));
    },
  ],
] as const)(
  '50 swaps under load cost no request and keep no memory (%s)',
  async (engine, write) => {
    const put = (version: number): void => {
      const made = path.join(root, `made-${engine}`);
      write(made);
      mkdirSync(path.join(root, engine), { recursive: true });
      renameSync(made, path.join(root, engine, String(version)));
    };
    put(1);
    const repository = new Repository({
      config: {
        models: [
          {
            name: 'm',
            basePath: path.join(root, engine),
            versionPolicy: latestVersion,
            labels: {},
          },
        ],
      },
      log: new TestLog(),
      pollIntervalSeconds: 0.1,
    });
    await repository.start();
    await until(repository, () => repository.readiness().ready);
    const feeds =
      engine === 'tensorflow'
        ? { x: new Tensor('float32', new Float32Array(4), [4]) }
        : { x: new Tensor('float32', new Float32Array(side), [1, side]) };

    let isDone = false;
    const seen = new Set<bigint>();
    const client = async (): Promise<void> => {
      while (!isDone) {
        const held = repository.acquire({ name: 'm' });
        try {
          const outputs = await held.model.run(feeds);
          for (const output of Object.values(outputs)) output.dispose();
          seen.add(held.version);
        } finally {
          held.release();
        }
        // Runs that are short happen in place: the loop gets its turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const clients = [client(), client(), client()];
    const memory: number[] = [];
    const tasks: number[] = [];
    for (let version = 2; version <= swaps + 1; version++) {
      put(version);
      const isSwapped = (): boolean => {
        const states = statesOf(repository, 'm');
        return states[String(version)] === 'AVAILABLE' && states[String(version - 1)] === 'END';
      };
      await Promise.race([until(repository, isSwapped), ...clients]);
      rmSync(path.join(root, engine, String(version - 1)), { recursive: true });
      memory.push(rss());
      tasks.push(threads());
    }
    isDone = true;
    await Promise.all(clients);
    expect(seen.size).toBeGreaterThan(swaps / 2);
    const least = (values: number[], from: number): number =>
      Math.min(...values.slice(from, from + 10));
    const first = settledAfter;
    const last = swaps - 10;
    expect(least(tasks, last) - least(tasks, first)).toBeLessThanOrEqual(2);
    // Those thirty versions would be 270 MB; a garbage collector takes its time with some.
    if (engine === 'onnxruntime') {
      const versionBytes = 4 * side * side;
      const growth = least(memory, last) - least(memory, first);
      expect(growth).toBeLessThan(((last - first) * versionBytes) / 3);
    }
    await repository.close();
  },
  300_000,
);
