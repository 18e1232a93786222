// `npm run check`: everything that can be said about the code without running
// it. All steps run; the failed ones are named at the end.
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';

import { moduleScript, output, root, run, succeeds } from './run-command.mjs';

const node = process.execPath;
const steps = [
  [
    'prettier',
    () =>
      succeeds(node, [
        moduleScript('prettier/bin/prettier.cjs'),
        '--check',
        '--log-level=warn',
        '.',
      ]),
  ],
  ['eslint', () => succeeds(node, [moduleScript('eslint/bin/eslint.js'), '.', '--max-warnings=0'])],
  // Covers the type tests too: test/types holds nothing but types.
  ['tsc', () => succeeds(node, [moduleScript('typescript/bin/tsc'), '--noEmit'])],
  ['clang-format', () => succeeds(node, ['scripts/format-native.mjs'])],
  ['native layers', () => succeeds(node, ['scripts/check-native-layers.mjs'])],
  [
    'dependency rules',
    () =>
      succeeds(node, [
        moduleScript('dependency-cruiser/bin/dependency-cruise.mjs'),
        '--config=.dependency-cruiser.cjs',
        'lib',
      ]),
  ],
  ['lockfile', () => checkLockfile()],
  ['package', () => checkPackage()],
];

const failed = steps.filter(([name, step]) => {
  console.log(`\n# ${name}`);
  return !step();
});
if (failed.length > 0) {
  console.error(`\ncheck failed: ${failed.map(([name]) => name).join(', ')}`);
  process.exit(1);
}
console.log(`\ncheck passed: ${steps.map(([name]) => name).join(', ')}`);

/** Where packages are downloaded from is each user's own setting. */
function checkLockfile() {
  const { packages } = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8'));
  const named = Object.keys(packages).filter((name) => packages[name].resolved !== undefined);
  if (named.length > 0) console.error(`package-lock.json names addresses for: ${named.join(', ')}`);
  return named.length === 0;
}

/** Builds, packs, and lets publint and attw look at what would be published. */
function checkPackage() {
  run(node, ['scripts/build-ts.mjs', '--if-stale']);
  const folder = path.join(root, 'build/pack');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  output('npm', ['pack', '--ignore-scripts', '--silent', `--pack-destination=${folder}`]);
  const tarball = path.join(folder, readdirSync(folder)[0]);
  const published = succeeds(node, [
    moduleScript('publint/src/cli.js'),
    'run',
    tarball,
    '--strict',
  ]);
  const typed = succeeds(node, [moduleScript('@arethetypeswrong/cli/dist/index.js'), tarball]);
  return published && typed;
}
