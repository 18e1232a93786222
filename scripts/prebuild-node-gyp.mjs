#!/usr/bin/env node
// Stands in for node-gyp under prebuildify, which can start nothing else:
// `node-gyp rebuild …` becomes a build with cmake-js in the folder prebuildify
// runs it in (see scripts/prebuild.mjs). TENON_PREBUILD_FLAGS holds CMake's
// arguments, a JSON array.
import path from 'node:path';

import { root, run } from './run-command.mjs';

run(process.execPath, [
  path.join(root, 'scripts/build-addon.mjs'),
  `--out=${path.join(process.cwd(), 'build/Release')}`,
  '--',
  ...JSON.parse(process.env.TENON_PREBUILD_FLAGS ?? '[]'),
]);
