// Makes prebuilds/<platform>-<arch>/tenon[.glibc|.musl].node, the files
// node-gyp-build picks from in the published package.
//
//   npm run prebuild                 this platform; on linux-x64 also linux-arm64, cross-compiled
//   npm run prebuild -- --only x64   one architecture
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { fail, moduleScript, onPath, root, run } from './run-command.mjs';

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const linux = process.platform === 'linux';
const musl = linux && existsSync('/etc/alpine-release');
const canCross = linux && !musl && process.arch === 'x64';

const cross = {
  prefix: 'aarch64-linux-gnu-',
  // What the cross compiler's own package does not say by its name.
  package: 'g++-aarch64-linux-gnu',
};

const possible = canCross ? ['x64', 'arm64'] : [process.arch];
const wanted = values.only === undefined ? possible : [values.only];
for (const arch of wanted) {
  if (!possible.includes(arch)) {
    fail(`expected --only to be one of ${possible.join(', ')} on this machine, received "${arch}"`);
  }
}

const made = wanted.filter((arch) => prebuild(arch));
if (made.length < wanted.length) process.exit(1);

function prebuild(arch) {
  const crossing = arch !== process.arch;
  if (crossing && !onPath(`${cross.prefix}g++`)) {
    console.error(
      `linux-${arch} is left out: expected ${cross.prefix}g++ on the PATH. Install it ` +
        `(Debian: apt-get install ${cross.package}), or ask for this machine's architecture ` +
        `alone with --only ${process.arch}`,
    );
    return false;
  }

  const flags = [];
  if (linux && !musl) flags.push('--CDTENON_OLD_GLIBC=ON');
  if (crossing) {
    flags.push(
      '--CDCMAKE_SYSTEM_NAME=Linux',
      '--CDCMAKE_SYSTEM_PROCESSOR=aarch64',
      `--CDCMAKE_C_COMPILER=${cross.prefix}gcc`,
      `--CDCMAKE_CXX_COMPILER=${cross.prefix}g++`,
    );
  }

  // A folder of its own, so that the addon in build/Release stays as it is.
  const folder = path.join(root, 'build', 'prebuild', `${process.platform}-${arch}`);
  mkdirSync(folder, { recursive: true });
  const shim = process.platform === 'win32' ? 'prebuild-node-gyp.cmd' : 'prebuild-node-gyp.mjs';
  run(
    process.execPath,
    [
      moduleScript('prebuildify/bin.js'),
      '--napi',
      ...(linux ? ['--tag-libc'] : []),
      '--strip',
      `--strip-bin=${crossing ? cross.prefix : ''}strip`,
      '--name=tenon',
      `--arch=${arch}`,
      `--cwd=${folder}`,
      `--out=${root}`,
      `--node-gyp=${path.join(root, 'scripts', shim)}`,
      `--target=${process.versions.node}`,
    ],
    { env: { ...process.env, TENON_PREBUILD_FLAGS: JSON.stringify(flags) } },
  );
  run(process.execPath, [
    path.join(root, 'scripts/check-prebuild.mjs'),
    `${process.platform}-${arch}`,
  ]);
  return true;
}
