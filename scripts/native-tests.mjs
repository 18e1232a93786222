// Builds the C++ unit tests: everything of native/ but addon/, without Node's
// headers. Prints nothing but what CMake and the compiler have to say.
import os from 'node:os';
import path from 'node:path';

import { dropForeignBuild, onPath, root, run } from './run-command.mjs';

/** Builds into build/<name> and returns the path of the test program. */
export function buildNativeTests(name, flags = []) {
  const folder = path.join(root, 'build', name);
  dropForeignBuild(folder);
  run('cmake', [
    '-S',
    root,
    '-B',
    folder,
    ...(onPath('ninja') ? ['-G', 'Ninja'] : []),
    '-DCMAKE_BUILD_TYPE=Debug',
    '-DTENON_ADDON=OFF',
    '-DTENON_NATIVE_TESTS=ON',
    '--log-level=WARNING',
    ...flags,
  ]);
  run('cmake', ['--build', folder, '--parallel', String(os.availableParallelism())]);
  return path.join(folder, 'native', 'test', 'tenon_tests');
}
