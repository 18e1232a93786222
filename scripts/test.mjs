// `npm test`: builds what the tests run (the addon, dist/, the C++ tests; only
// what has changed), runs vitest, and prints "N passed, N failed" as its last
// line. Arguments go to vitest: npm test -- test/unit
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';

import { buildNativeTests } from './native-tests.mjs';
import { moduleScript, root, run, succeeds } from './run-command.mjs';

run(process.execPath, [path.join(root, 'scripts/build-addon.mjs')]);
run(process.execPath, [path.join(root, 'scripts/build-ts.mjs'), '--if-stale']);
// The benchmarks' C programs (not for Windows yet) are built too, so that they keep up with native/.
buildNativeTests('native', process.platform === 'win32' ? [] : ['-DTENON_BENCH=ON']);

const report = path.join(root, 'build/test-results.json');
mkdirSync(path.dirname(report), { recursive: true });
rmSync(report, { force: true });
const finished = succeeds(process.execPath, [
  moduleScript('vitest/vitest.mjs'),
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
]);

const { passed, failed, skipped } = count(report);
// Vitest can fail without a failed test: an error outside of any, a setup that threw.
const reported = failed === 0 && !finished ? 1 : failed;
if (reported > failed) console.error('vitest failed outside of the tests; its words are above');
if (passed + reported === 0) console.error('no test ran');
// A filter by name skips all others, which need not be said.
const isFiltered = process.argv.some((argument) => /^(-t|--testNamePattern)\b/.test(argument));
for (const name of isFiltered ? [] : skipped) console.log(`skipped: ${name}`);
const counted = skipped.length > 0 ? `, ${skipped.length} skipped` : '';
console.log(`${passed} passed, ${reported} failed${counted}`);
process.exit(reported > 0 || passed === 0 ? 1 : 0);

function count(file) {
  if (!existsSync(file)) return { passed: 0, failed: 0, skipped: [] };
  const { testResults } = JSON.parse(readFileSync(file, 'utf8'));
  const skippedStates = ['skipped', 'pending', 'todo'];
  const states = testResults.flatMap((result) => {
    const own = result.assertionResults.map((assertion) => assertion.status);
    // A file that could not be read has failed, although it names no test.
    return result.status === 'failed' && !own.includes('failed') ? [...own, 'failed'] : own;
  });
  const of = (wanted) => states.filter((state) => state === wanted).length;
  const skipped = testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => skippedStates.includes(status))
    .map(({ fullName }) => fullName);
  return { passed: of('passed'), failed: of('failed'), skipped };
}
