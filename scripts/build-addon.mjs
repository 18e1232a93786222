// Builds the addon into build/Release/tenon.node with cmake-js; a second run
// compiles only what has changed. Needs cmake and a C++20 compiler, and no
// download: Node-API's headers come from the package node-api-headers.
//
//   node scripts/build-addon.mjs [--out <folder>] [cmake-js arguments]
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { dropForeignBuild, fail, moduleScript, onPath, root, run } from './run-command.mjs';

const { values, positionals } = parseArgs({
  options: { out: { type: 'string', default: 'build/Release' } },
  allowPositionals: true,
});
const folder = path.resolve(root, values.out);

if (process.platform !== 'win32' && !onPath('cmake')) {
  fail(
    'expected cmake on the PATH: install it (Debian: apt-get install cmake g++, ' +
      'macOS: brew install cmake), or use a published package, which brings the addon built',
  );
}

dropForeignBuild(folder);

const options = [
  '--log-level=warn',
  `--directory=${root}`,
  `--out=${folder}`,
  `--parallel=${os.availableParallelism()}`,
  ...positionals,
];
// Configured anew each time (cheap), so that other arguments and a broken-off first run do no harm.
for (const command of ['configure', 'build']) {
  run(process.execPath, [moduleScript('cmake-js/bin/cmake-js'), command, ...options]);
}
