// Runs a soak: npm run soak -- <name> [its option], such as
//
//   npm run soak -- load-close --loads 10000
//   npm run soak -- runs --runs 10000000
//   npm run soak -- mixed --minutes 30
//
// Without an option it is as long as shown here. Ends with 1 where resident memory grew by more
// than 2 % after the first 1 % (of the mixed load, where more has to be met first, 10 %).
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';

import { fail } from '../../scripts/run-command.mjs';
import { contenderEnvironment } from '../harness/engines.mjs';

const folder = import.meta.dirname;
const names = readdirSync(folder)
  .filter((file) => !['run.mjs', 'soak.mjs'].includes(file))
  .map((file) => path.basename(file, '.mjs'));

const [name, ...options] = process.argv.slice(2);
if (!names.includes(name)) {
  fail(`expected a soak among ${names.join(', ')}, received ${name ?? 'none'}`);
}

// V8 lets its young generation grow to tens of megabytes as it likes, and each of its worker threads
// gathers up to 2 MB of free memory in an arena of glibc's over some thousand collections. Neither has
// to do with what is watched here: the one gets its least size, the others stay out. (1400 loads after
// the first 200 added 2.7 MB with V8's workers, in their arenas, and 0.4 MB without.) That and gc() can
// only be set from outside.
const flags = ['--expose-gc', '--max-semi-space-size=1', '--v8-pool-size=0'];
const { status } = spawnSync(
  process.execPath,
  [...flags, path.join(folder, `${name}.mjs`), ...options],
  // What the benchmarks give to every process of a run.
  { stdio: 'inherit', env: { ...process.env, ...contenderEnvironment() } },
);
process.exitCode = status ?? 1;
