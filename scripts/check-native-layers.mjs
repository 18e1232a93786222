// Checks which C++ file includes which: addon → runtime → engines → core →
// platform, never upward; the two engines never see each other; codec, beside them,
// sees core and platform alone; only addon/ sees Node's headers. Test code may
// include every layer but addon/.
//
//   node scripts/check-native-layers.mjs [<folder of the layers>]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { root } from './run-command.mjs';

const belowAddon = [
  'runtime',
  'engines',
  'engines/onnxruntime',
  'engines/tensorflow',
  'codec',
  'core',
  'platform',
];
/** For each layer the layers it may include beside itself. */
const mayInclude = {
  platform: [],
  core: ['platform'],
  codec: ['core', 'platform'],
  engines: ['core', 'platform'],
  'engines/onnxruntime': ['engines', 'core', 'platform'],
  'engines/tensorflow': ['engines', 'core', 'platform'],
  runtime: ['engines', 'core', 'platform'],
  addon: belowAddon,
  test: belowAddon,
};
const nodeHeaders = /^(napi|napi-inl|node_api|js_native_api|node|uv|v8)(\.h|\/)/;

const native = path.resolve(process.argv[2] ?? path.join(root, 'native'));
const files = readdirSync(native, { recursive: true })
  .map((name) => name.split(path.sep).join('/'))
  .filter((name) => /\.(h|cc|c)$/.test(name));
const problems = files.flatMap((file) => checkFile(file));

for (const problem of problems) console.error(problem);
console.log(`native layers: ${files.length} files, ${problems.length} includes against the rules`);
if (problems.length > 0 || files.length === 0) process.exit(1);

function checkFile(file) {
  const layer = layerOf(file);
  if (layer === undefined) return [`${file}: expected a file of one of the layers`];
  return readFileSync(path.join(native, file), 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      const included = /^\s*#\s*include\s*["<]([^">]+)[">]/.exec(line)?.[1];
      const reason = included === undefined ? undefined : objection(file, layer, included);
      return reason === undefined ? [] : [`${file}:${index + 1}: ${reason}`];
    });
}

function objection(file, layer, included) {
  if (nodeHeaders.test(included)) {
    return layer === 'addon' ? undefined : `only addon/ may include <${included}>`;
  }
  const fromRoot = existsSync(path.join(native, included))
    ? path.posix.normalize(included)
    : path.posix.join(path.posix.dirname(file), included);
  if (!existsSync(path.join(native, fromRoot))) return undefined; // a header of the system
  const target = layerOf(fromRoot);
  if (target === layer || mayInclude[layer].includes(target)) return undefined;
  return `${layer} may not include ${target} ("${included}")`;
}

function layerOf(file) {
  const folders = path.posix.dirname(file).split('/');
  const nested = folders.slice(0, 2).join('/');
  return [nested, folders[0]].find((name) => Object.hasOwn(mayInclude, name));
}
