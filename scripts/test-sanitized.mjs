// Runs the C++ unit tests, with both engines, under sanitizers; a report fails
// the run.
//
//   node scripts/test-sanitized.mjs address,undefined
//   node scripts/test-sanitized.mjs thread
import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { engines } from '../dist/index.js';
import { buildNativeTests } from './native-tests.mjs';
import { fail, run } from './run-command.mjs';

const sanitizers = process.argv[2] ?? '';
if (!/^(address|undefined|thread)(,(address|undefined))?$/.test(sanitizers)) {
  fail(`expected sanitizers such as "address,undefined" or "thread", received "${sanitizers}"`);
}

const program = buildNativeTests(`native-${sanitizers.replaceAll(',', '-')}`, [
  `-DTENON_SANITIZE=${sanitizers}`,
]);

const libraries = {};
for (const name of ['onnxruntime', 'tensorflow']) {
  const { library } = await engines.ensure(name, { progress: process.stderr });
  libraries[`TENON_${name.toUpperCase()}_LIBRARY`] = library;
}

const options = {
  cwd: path.dirname(program),
  env: {
    ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    // The engines are not built for this sanitizer: how their threads hand memory to each other
    // is invisible to it, and all that it would report of them is false.
    TSAN_OPTIONS: 'halt_on_error=1:ignore_noninstrumented_modules=1',
    ...process.env,
    ...libraries,
  },
};
// Each in a process of its own, as in npm test: what an engine fixes once per process is a subject.
const names = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');
for (const name of names) run(program, [name], options);
console.log(`${names.length} tests, no report from the ${sanitizers} sanitizer`);
