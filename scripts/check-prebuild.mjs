// Looks at the prebuilt addons and prints what each needs. A Linux one may ask
// for no glibc younger than 2.28 (what ONNX Runtime's own library needs) and
// for no library but the C library's own; anything else fails.
//
//   node scripts/check-prebuild.mjs [<platform>-<arch> …]   default: all that are there
//   node scripts/check-prebuild.mjs --release               all that a release must have
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { fail, output, root } from './run-command.mjs';

const highestGlibc = '2.28';
const allowedLibraries =
  /^(libc|libm|libdl|libpthread|librt|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+$/;
const released = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64', 'win32-x64'];

const { values, positionals } = parseArgs({
  options: { release: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const folder = path.join(root, 'prebuilds');
const present = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);
const targets = values.release ? released : positionals.length > 0 ? positionals : present;
if (targets.length === 0) fail('expected prebuilt addons in prebuilds/; run "npm run prebuild"');

const problems = targets.flatMap((target) => checkTarget(target));
if (problems.length > 0) fail(problems.join('\n'));

function checkTarget(target) {
  const files = existsSync(path.join(folder, target))
    ? readdirSync(path.join(folder, target)).filter((name) => name.endsWith('.node'))
    : [];
  if (files.length === 0) return [`expected an addon in prebuilds/${target}, found none`];
  return files.flatMap((name) => checkFile(target, path.join(folder, target, name)));
}

function checkFile(target, file) {
  const name = path.relative(root, file);
  const kilobytes = Math.round(statSync(file).size / 1024);
  if (!target.startsWith('linux-') || file.includes('.musl.')) {
    console.log(`${name}: ${kilobytes} KiB`);
    return [];
  }

  const symbols = output('objdump', ['-T', file]).split('\n');
  const glibc = symbols
    .map((line) => /GLIBC_([\d.]+)\)?\s+(\S+)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, version, symbol]) => ({ version, symbol }))
    .sort((a, b) => compareVersions(a.version, b.version));
  const libraries = [...output('objdump', ['-p', file]).matchAll(/NEEDED\s+(\S+)/g)].map(
    (m) => m[1],
  );
  console.log(
    `${name}: glibc ${glibc.at(-1)?.version ?? 'none'}, needs ${libraries.join(' ')}, ${kilobytes} KiB`,
  );

  const tooYoung = glibc.filter(({ version }) => compareVersions(version, highestGlibc) > 0);
  return [
    ...tooYoung.map(
      ({ symbol, version }) =>
        `${name}: expected no glibc younger than ${highestGlibc}, but ${symbol} is of ${version}; ` +
        'native/platform/glibc_compat.c can stand in for it',
    ),
    ...libraries
      .filter((library) => !allowedLibraries.test(library))
      .map((library) => `${name}: expected only the C library's own libraries, needs ${library}`),
  ];
}

function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  const at = left.findIndex((part, index) => part !== (right[index] ?? 0));
  return at < 0 ? left.length - right.length : left[at] - (right[at] ?? 0);
}
