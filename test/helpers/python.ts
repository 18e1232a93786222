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

const modules = ['requests', 'numpy', 'grpc', 'grpc_tools'];
const run = promisify(execFile);

/**
 * Runs Python to its end, where all of `modules` can be imported: the packages are those that are
 * there, or what the first test that needs them has pip put into build/. Where that fails, so does
 * the test.
 *
 * @param args The interpreter's: a script, or "-c" and a program, and their own arguments.
 * @returns What it printed.
 */
export async function runPython(args: readonly string[]): Promise<string> {
  const env = await environment();
  const { stdout } = await run(command, args, { env, maxBuffer: 1 << 28, timeout: 120_000 });
  return stdout;
}

async function environment(): Promise<NodeJS.ProcessEnv> {
  const isThere = await run(command, ['-c', `import ${modules.join(', ')}`]).then(
    () => true,
    () => false,
  );
  if (isThere) return process.env;
  await ensurePackages();
  return { ...process.env, PYTHONPATH: folder };
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
      await run(
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
