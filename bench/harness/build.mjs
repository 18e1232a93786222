// Builds the floors (bench/floor) into build/bench-floor, in release mode.
import path from 'node:path';

import { dropForeignBuild, onPath, root, run } from '../../scripts/run-command.mjs';

const folder = path.join(root, 'build', 'bench-floor');

/** The program of the engines' C calls, and the addon of Node-API's own cost. */
export const floorProgram = path.join(folder, 'bench', 'tenon_bench_floor');
export const nodeApiAddon = path.join(folder, 'bench', 'tenon_bench_node_api.node');

export function buildFloors() {
  dropForeignBuild(folder);
  // What the build says goes where it does not mix with the results.
  const options = { stdio: ['ignore', 2, 2] };
  const configure = [
    ...['-S', root, '-B', folder],
    ...(onPath('ninja') ? ['-G', 'Ninja'] : []),
    ...['-DCMAKE_BUILD_TYPE=Release', '-DTENON_ADDON=OFF', '-DTENON_BENCH=ON'],
    '--log-level=WARNING',
  ];
  run('cmake', configure, options);
  run('cmake', ['--build', folder, '--parallel', '2'], options);
}
