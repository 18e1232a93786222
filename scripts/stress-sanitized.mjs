// Runs scripts/stress.mjs over an addon built with sanitizers; a report fails the run. `address` looks
// for undefined behaviour as well.
//
//   node scripts/stress-sanitized.mjs address [seconds]
//   node scripts/stress-sanitized.mjs thread [seconds]
//   node scripts/stress-sanitized.mjs leak [seconds]

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { fail, run } from './run-command.mjs';

const kinds = {
  address: { sanitize: 'address,undefined', library: 'libasan.so' },
  thread: { sanitize: 'thread', library: 'libtsan.so' },
  leak: { sanitize: 'address,undefined', library: 'libasan.so' },
};
const [kind = '', seconds = '20'] = process.argv.slice(2);
const chosen = kinds[kind];
if (chosen === undefined) fail(`expected ${Object.keys(kinds).join(', ')}, received "${kind}"`);

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = path.join(root, 'build', `addon-${chosen.sanitize.replaceAll(',', '-')}`);
run(process.execPath, [
  path.join(root, 'scripts/build-addon.mjs'),
  '--out',
  path.join(folder, 'build/Release'),
  '--',
  `--CDTENON_SANITIZE=${chosen.sanitize}`,
]);

const found = spawnSync('g++', [`-print-file-name=${chosen.library}`], { encoding: 'utf8' });
run(process.execPath, [path.join(root, 'scripts/stress.mjs'), seconds], {
  env: {
    // Node and the engines leak what they keep until the end; only what Tenon allocated counts.
    LSAN_OPTIONS: `suppressions=${path.join(root, 'scripts/leaks.supp')}:print_suppressions=0`,
    ASAN_OPTIONS: `detect_leaks=${kind === 'leak' ? 1 : 0}:detect_stack_use_after_return=1`,
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    TSAN_OPTIONS: 'halt_on_error=1:ignore_noninstrumented_modules=1:report_signal_unsafe=0',
    ...process.env,
    LD_PRELOAD: found.stdout.trim(),
    TENON_PREBUILD: folder,
  },
});
console.log(`no report from the ${kind === 'leak' ? kind : chosen.sanitize} sanitizer`);
