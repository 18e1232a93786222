/** A Python with what clients of servers use, from the user's own pip. */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { root } from './paths.js';

const packages = ['requests==2.34.2', 'numpy==2.4.6', 'grpcio==1.84.0', 'grpcio-tools==1.84.0'];
const folder = path.join(root, 'build/python');
const lock = `${folder}.lock`;
const installMs = 240_000;
const pollMs = 200;

const command = process.platform === 'win32' ? 'python' : 'python3';

/**
 * Runs a Python program to its end. The packages are installed into build/ by the first test that
 * needs them; where that fails, so does the test.
 *
 * @returns What it printed.
 */
export async function runPython(
  program: string,
  { args = [], env = {} }: { args?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  await ensurePackages();
  const { stdout } = await promisify(execFile)(command, ['-c', program, ...args], {
    env: { ...process.env, ...env, PYTHONPATH: folder },
    maxBuffer: 1 << 28,
    timeout: 60_000,
  });
  return stdout;
}

async function ensurePackages(): Promise<void> {
  const mark = path.join(folder, `installed-${packages.join('-')}`);
  const deadline = Date.now() + installMs;
  while (!existsSync(mark)) {
    if (!takeLock()) {
      // Another test file installs them.
      if (Date.now() > deadline) throw new Error(`expected ${lock} to go away within its time`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
      continue;
    }
    try {
      rmSync(folder, { recursive: true, force: true });
      await promisify(execFile)(
        command,
        [
          '-m',
          'pip',
          'install',
          '--quiet',
          '--retries=0',
          '--only-binary=:all:',
          '--target',
          folder,
        ].concat(packages),
        { timeout: installMs },
      );
      writeFileSync(mark, '');
    } finally {
      rmdirSync(lock);
    }
  }
}

/** A lock that a test process left behind counts no more after a while. */
function takeLock(): boolean {
  mkdirSync(path.dirname(lock), { recursive: true });
  try {
    mkdirSync(lock);
    return true;
  } catch {
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > installMs) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}
