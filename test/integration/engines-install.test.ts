import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { describe, expect, test } from 'vitest';

import type { InstalledEngine } from '../../lib/engines/install.js';
import { fakeTensorFlowWheel, listTree, temporaryFolder } from '../unit/engines-fixtures.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Installs in a process of its own. At each new phase it says so on stdout; where that phase is
 * `stopAt`, it stands still until the file `go` is there.
 */
const program = `
import { existsSync } from 'node:fs';
import { engines } from ${JSON.stringify(pathToFileURL(path.join(root, 'dist/index.js')).href)};
const { from, cacheFolder, stopAt, go } = JSON.parse(process.argv[2]);
const cell = new Int32Array(new SharedArrayBuffer(4));
let phase;
const installed = await engines.install('tensorflow', {
  from,
  cacheFolder,
  onProgress(progress) {
    if (progress.phase === phase) return;
    phase = progress.phase;
    process.stdout.write(phase + '\\n');
    if (phase === stopAt) while (!existsSync(go)) Atomics.wait(cell, 0, 0, 10);
  },
});
process.stdout.write('done ' + JSON.stringify(installed) + '\\n');
`;

interface Installing {
  child: ChildProcess;
  /** Resolves with what follows `word` on its line. */
  said: (word: string) => Promise<string>;
}

interface Place {
  folder: string;
  cacheFolder: string;
  go: string;
  install: (options?: { stopAt?: string }) => Installing;
  cached: () => Promise<string[]>;
}

async function place(): Promise<Place> {
  const folder = await temporaryFolder();
  const script = path.join(folder, 'install.mjs');
  const from = path.join(folder, 'tensorflow.whl');
  const cacheFolder = path.join(folder, 'cache');
  const go = path.join(folder, 'go');
  await writeFile(script, program);
  await writeFile(from, fakeTensorFlowWheel({ libraryBytes: 5_000_000 }));
  return {
    folder,
    cacheFolder,
    go,
    install({ stopAt } = {}) {
      const options = JSON.stringify({ from, cacheFolder, stopAt, go });
      const child = spawn(process.execPath, [script, options], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      const said = (word: string): Promise<string> =>
        new Promise((resolve, reject) => {
          const look = (): void => {
            const line = text.split('\n').find((each) => each.split(' ')[0] === word);
            if (line !== undefined) resolve(line.slice(word.length + 1));
          };
          child.stdout?.on('data', look);
          child.on('close', (code) => {
            look();
            reject(new Error(`ended with ${code} and never said "${word}": ${text}`));
          });
          look();
        });
      child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      return { child, said };
    },
    cached: async () =>
      (await listTree(cacheFolder)).map((file) => path.relative('engines/tensorflow', file)),
  };
}

const complete = [
  '2.21.0-linux-x64/libtensorflow_cc.so.2',
  '2.21.0-linux-x64/libtensorflow_framework.so.2',
  '2.21.0-linux-x64/licenses/LICENSE',
  '2.21.0-linux-x64/manifest.json',
];

const result = (text: string): InstalledEngine => JSON.parse(text) as InstalledEngine;

describe.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
  'installs as processes',
  () => {
    test.each(['verify', 'extract'])(
      'one killed in %s leaves nothing to be found, and the next repairs',
      async (stopAt) => {
        const { cacheFolder, install, cached } = await place();
        const first = install({ stopAt });
        await first.said(stopAt);
        first.child.kill('SIGKILL');
        await once(first.child, 'close');
        const left = await cached();
        expect(left.length).toBeGreaterThan(0);
        expect(left.filter((file) => file.startsWith('2.21.0'))).toEqual([]);

        const second = result(await install().said('done'));
        expect(second.alreadyInstalled).toBe(false);
        expect(await cached()).toEqual(complete);
        const manifest = await readFile(
          path.join(cacheFolder, 'engines/tensorflow/2.21.0-linux-x64/manifest.json'),
          'utf8',
        );
        expect(JSON.parse(manifest)).toMatchObject({ version: '2.21.0' });
      },
    );

    test('the second of two at once waits, and finds what the first made', async () => {
      const { go, install, cached } = await place();
      const first = install({ stopAt: 'extract' });
      await first.said('extract');
      const second = install();
      await writeFile(go, '');
      const made = result(await first.said('done'));
      const found = result(await second.said('done'));
      expect(made.alreadyInstalled).toBe(false);
      expect(found.alreadyInstalled).toBe(true);
      expect(found.library).toBe(made.library);
      expect(await cached()).toEqual(complete);
    });

    test('four at once end well, and one of them has done it', async () => {
      const { install, cached } = await place();
      const results = await Promise.all(
        Array.from({ length: 4 }, async () => result(await install().said('done'))),
      );
      expect(results.filter(({ alreadyInstalled }) => !alreadyInstalled)).toHaveLength(1);
      expect(await cached()).toEqual(complete);
    });

    test('one killed while another waits hands over at once', async () => {
      const { install, cached } = await place();
      const first = install({ stopAt: 'extract' });
      await first.said('extract');
      const second = install();
      first.child.kill('SIGKILL');
      const made = result(await second.said('done'));
      expect(made.alreadyInstalled).toBe(false);
      expect(await cached()).toEqual(complete);
    });
  },
);
