// Builds the floors (bench/floor) in release mode, or takes those of another build; and by themselves
// the parts that the package does not export.
import path from 'node:path';

import { dropForeignBuild, onPath, root, run } from '../../scripts/run-command.mjs';

/** Which build folder the floors are in; contenders' processes inherit it. */
const variable = 'TENON_BENCH_BUILD';
const releaseFolder = path.join(root, 'build', 'bench-floor');

const built = (name) => path.join(process.env[variable] ?? releaseFolder, 'bench', name);

/** The program of the engines' C calls. */
export const floorProgram = () => built('tenon_bench_floor');
/** The addon of Node-API's own cost. */
export const nodeApiAddon = () => built('tenon_bench_node_api.node');

/** Takes the floors of a CMake build of the repository, made with TENON_BENCH=ON. */
export function useFloors(folder) {
  process.env[variable] = path.resolve(folder);
}

export function buildFloors() {
  dropForeignBuild(releaseFolder);
  // What the build says goes where it does not mix with the results.
  const options = { stdio: ['ignore', 2, 2] };
  const configure = [
    ...['-S', root, '-B', releaseFolder],
    ...(onPath('ninja') ? ['-G', 'Ninja'] : []),
    ...['-DCMAKE_BUILD_TYPE=Release', '-DTENON_ADDON=OFF', '-DTENON_BENCH=ON'],
    '--log-level=WARNING',
  ];
  run('cmake', configure, options);
  run('cmake', ['--build', releaseFolder, '--parallel', '2'], options);
}

const partsFolder = (name) => path.join(root, 'build', `bench-${name}`);
const partsModule = (name) => path.join(partsFolder(name), `${name}-parts.mjs`);

/** The module of batching-parts.ts, once it is built. */
export const batchingParts = partsModule('batching');
/** The module of json-codec-parts.ts, once it is built. */
export const jsonCodecParts = partsModule('json-codec');

export const buildBatchingParts = () => buildParts('batching');
export const buildJsonCodecParts = () => buildParts('json-codec');

async function buildParts(name) {
  const { build } = await import('tsup');
  await build({
    entry: [path.join(import.meta.dirname, `${name}-parts.ts`)],
    outDir: partsFolder(name),
    format: 'esm',
    outExtension: () => ({ js: '.mjs' }),
    target: 'node20',
    config: false,
    silent: true,
  });
}
