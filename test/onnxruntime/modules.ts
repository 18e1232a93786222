/** The stock binding and the drop-in, each in processes of its own. */

import { execFile } from 'node:child_process';
import path from 'node:path';

import { root } from '../helpers/paths.js';

/** As `import` takes them from within this checkout. */
export const modules = {
  'onnxruntime-node': 'onnxruntime-node-engine',
  'tenon/onnxruntime': 'tenon/onnxruntime',
} as const;

export type ModuleName = keyof typeof modules;

export interface Ended {
  /** An exit code, or the signal that ended the process. */
  ended: number | string;
  lines: string[];
  stderr: string;
}

/** Runs a script of this folder with the module's specifier and the arguments. */
export function runWith(name: ModuleName, script: string, ...args: string[]): Promise<Ended> {
  const file = path.join(root, 'test/onnxruntime', script);
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [file, modules[name], ...args],
      { cwd: root, timeout: 240_000, killSignal: 'SIGKILL', maxBuffer: 2 ** 28 },
      (error, stdout, stderr) => {
        const ended = error === null ? 0 : (error.code ?? error.signal ?? error.message);
        resolve({ ended, lines: stdout.split('\n').filter((line) => line !== ''), stderr });
      },
    );
  });
}
