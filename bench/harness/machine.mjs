// What a run was made on.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { engines } from 'tenon';

import { root } from '../../scripts/run-command.mjs';

/** Above this, others were at work while the figures were made. */
export const quietLoad = 0.5;

export async function describeMachine() {
  const found = await engines.list();
  const library = (name) => found.find((engine) => engine.name === name && !engine.error);
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  return {
    machine: {
      cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
      cores: os.availableParallelism(),
      memoryGb: Math.round(os.totalmem() / 2 ** 30),
      system: `${os.type()} ${os.release()} ${os.arch()}`,
      load: os.loadavg()[0],
    },
    versions: {
      node: process.versions.node,
      tenon: version,
      onnxruntime: library('onnxruntime')?.version ?? 'not found',
      tensorflow: library('tensorflow')?.version ?? 'not found',
    },
    tensorflowLibrary: library('tensorflow')?.library,
  };
}
