// Runs the C++ unit tests under sanitizers; the first report ends the run.
//
//   node scripts/test-sanitized.mjs address,undefined | thread
import { existsSync } from 'node:fs';
import path from 'node:path';

import { buildNativeTests } from './native-tests.mjs';
import { fail, root, run } from './run-command.mjs';

const sanitizers = process.argv[2] ?? '';
if (!/^(address|undefined|thread|leak)(,(address|undefined|thread|leak))*$/.test(sanitizers)) {
  fail(`expected sanitizers such as "address,undefined" or "thread", received "${sanitizers}"`);
}

const program = buildNativeTests(`native-${sanitizers.replaceAll(',', '-')}`, [
  `-DTENON_SANITIZE=${sanitizers}`,
]);

// The engine that `npm ci` brings, unless one is named; without a named one the
// tests of TensorFlow say that they were skipped.
const bundled = path.join(
  root,
  'node_modules/onnxruntime-node-engine/bin/napi-v6',
  process.platform,
  process.arch,
  process.platform === 'darwin' ? 'libonnxruntime.1.dylib' : 'libonnxruntime.so.1',
);
run(program, [], {
  env: {
    ...(existsSync(bundled) ? { TENON_ONNXRUNTIME_LIBRARY: bundled } : {}),
    ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1',
    LSAN_OPTIONS: `suppressions=${path.join(root, 'native/test/leaks.supp')}:print_suppressions=0`,
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    TSAN_OPTIONS: `halt_on_error=1:suppressions=${path.join(root, 'native/test/races.supp')}`,
    ...process.env,
  },
});
