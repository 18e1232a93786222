/** Programs in a Node process of their own, for what is fixed once for a process. */

import { execFile } from 'node:child_process';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { root } from './paths.js';

const threadsModule = pathToFileURL(path.join(root, 'test/helpers/threads.mjs')).href;

export interface Ended {
  code: number | string | null;
  /** What the program gave to `report`, in order. */
  reported: unknown[];
  stderr: string;
}

/**
 * Runs the body of an ES module over the built package: `tenon` is what it exports, `model(name)` a
 * path below test/fixtures/models, `report(value)` hands JSON back, `codeOf(action)` gives the code
 * of the error that a call ends in, `threads()` the process's native threads by name and number, `threadIds()` their numbers.
 */
export function runScript(
  body: string,
  options: { env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<Ended> {
  const program = `
    import * as tenon from ${JSON.stringify(pathToFileURL(path.join(root, 'dist/index.js')).href)};
    const tenonUrl = ${JSON.stringify(pathToFileURL(path.join(root, 'dist/index.js')).href)};
    import fs from 'node:fs';
    import os from 'node:os';
    import path from 'node:path';
    import { livingThreads } from ${JSON.stringify(threadsModule)};
    const { load, configure, engines, Tensor } = tenon;
    const fixture = (...parts) => path.join(${JSON.stringify(root)}, 'test/fixtures', ...parts);
    const model = (...parts) => fixture('models', ...parts);
    const report = (value) => fs.writeSync(1, '\\u0001' + JSON.stringify(value) + '\\n');
    const codeOf = async (action) => {
      try { await action(); } catch (error) { return error.code ?? String(error); }
      return 'no error';
    };
    const threads = () => {
      const counts = {};
      for (const { name } of livingThreads()) counts[name] = (counts[name] ?? 0) + 1;
      return counts;
    };
    const threadIds = () => livingThreads().map(({ id }) => id);
    ${body}
  `;
  const { env, timeoutMs = 50_000 } = options;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '-e', program],
      { env: { ...process.env, ...env }, timeout: timeoutMs, maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        const reported = stdout
          .split('\n')
          .filter((line) => line.startsWith('\u0001'))
          .map((line) => JSON.parse(line.slice(1)) as unknown);
        resolve({
          code: error === null ? 0 : (error.code ?? error.signal ?? null),
          reported,
          stderr,
        });
      },
    );
  });
}
