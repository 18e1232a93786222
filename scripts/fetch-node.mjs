// Gets a Node binary from the npm packages node-<platform>-<arch> and keeps it
// under build/nodes; prints its path.
//
//   node scripts/fetch-node.mjs linux-x64 22
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';

import { extract } from 'tar';

import { fail, output, root } from './run-command.mjs';

const [target, version] = process.argv.slice(2);
if (!/^\w+-\w+$/.test(target ?? '') || !/^\d+(\.\d+)*$/.test(version ?? '')) {
  fail('expected a target and a version such as "linux-x64 22"');
}

const nodes = path.join(root, 'build/nodes');
const folder = path.join(nodes, `${target}-${version}`);
const binary = path.join(folder, 'bin/node');

if (!existsSync(binary)) {
  mkdirSync(nodes, { recursive: true });
  // Moved into place as a whole, so that a broken download leaves nothing half-made.
  const temporary = mkdtempSync(path.join(nodes, '.download-'));
  try {
    output('npm', [
      'pack',
      '--silent',
      `node-${target}@${version}`,
      `--pack-destination=${temporary}`,
    ]);
    const tarball = readdirSync(temporary).find((name) => name.endsWith('.tgz'));
    await extract({ file: path.join(temporary, tarball), cwd: temporary });
    rmSync(folder, { recursive: true, force: true });
    renameSync(path.join(temporary, 'package'), folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
console.log(binary);
