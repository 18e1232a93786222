// Builds dist/ with tsup: beside it first, then moved into place as a whole, so
// that no file of an earlier build is left and a failed build changes nothing.
//
//   node scripts/build-ts.mjs [--if-stale]   only where a source is newer
import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';

import { moduleScript, root, run } from './run-command.mjs';

const dist = path.join(root, 'dist');
const inputs = ['lib', 'tsup.config.ts', 'tsconfig.json', 'package.json', 'scripts/build-ts.mjs'];

if (!process.argv.includes('--if-stale') || isStale()) {
  const fresh = path.join(root, 'build/dist');
  rmSync(fresh, { recursive: true, force: true });
  run(process.execPath, [
    moduleScript('tsup/dist/cli-default.js'),
    '--silent',
    `--out-dir=${fresh}`,
  ]);
  rmSync(dist, { recursive: true, force: true });
  renameSync(fresh, dist);
}

function isStale() {
  const built = times('dist');
  return built.length === 0 || Math.max(...inputs.flatMap(times)) > Math.min(...built);
}

/** When each file of a folder, or one file, was last changed. */
function times(name) {
  const file = path.join(root, name);
  if (!existsSync(file)) return [];
  if (!statSync(file).isDirectory()) return [statSync(file).mtimeMs];
  return readdirSync(file, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(path.join(entry.parentPath, entry.name)).mtimeMs);
}
