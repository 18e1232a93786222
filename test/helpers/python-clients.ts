/** A Python with the packages that a client needs. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';

import { root } from './paths.js';

/**
 * The path of a Python in which all of `modules` can be imported: the one there is, or one below
 * build/ into which pip installs `packages` once.
 */
export function pythonWith(modules: readonly string[], packages: readonly string[]): string {
  const has = (python: string): boolean =>
    spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0;
  if (has('python3')) return 'python3';
  const folder = path.join(root, 'build', 'python-clients');
  const python = path.join(folder, 'bin', 'python');
  if (existsSync(python) && has(python)) return python;
  rmSync(folder, { recursive: true, force: true });
  execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' });
  execFileSync(python, ['-m', 'pip', 'install', '--quiet', '--retries', '0', ...packages], {
    stdio: 'inherit',
  });
  if (!has(python)) throw new Error(`${packages.join(', ')} cannot be imported from ${python}`);
  return python;
}
