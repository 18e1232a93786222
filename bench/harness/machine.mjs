// What a run was made on, and whether anyone else was at work there.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { engines } from 'tenon';

import { root } from '../../scripts/run-command.mjs';

/** Busy cores above which others were at work while the figures were made. */
export const quietBusyCores = 0.2;

/** Cores that are busy while this process sleeps. */
export async function busyCores(ms) {
  const times = () => {
    const all = os.cpus().flatMap(({ times }) => Object.entries(times));
    const sum = (entries) => entries.reduce((total, [, ms]) => total + ms, 0);
    return { busy: sum(all.filter(([kind]) => kind !== 'idle')), all: sum(all) };
  };
  const before = times();
  await sleep(ms);
  const after = times();
  return (os.cpus().length * (after.busy - before.busy)) / (after.all - before.all || 1);
}

export async function describeMachine() {
  const found = await engines.list();
  const library = (name) => found.find((engine) => engine.name === name && !engine.error);
  return {
    machine: {
      cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
      cores: os.availableParallelism(),
      memoryGb: Math.round(os.totalmem() / 2 ** 30),
      system: `${os.type()} ${os.release()} ${os.arch()}`,
    },
    versions: {
      node: process.versions.node,
      tenon: tenonVersion(),
      onnxruntime: library('onnxruntime')?.version ?? 'not found',
      tensorflow: library('tensorflow')?.version ?? 'not found',
    },
    tensorflowLibrary: library('tensorflow')?.library,
  };
}

/** The package's version, with the commit it is built from where that is known. */
function tenonVersion() {
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const { status, stdout } = git('rev-parse', '--short', 'HEAD');
  if (status !== 0) return version;
  // What a benchmark or a page says has no part in what is measured.
  const changed = git('status', '--porcelain', '--untracked-files=no', 'lib', 'native').stdout;
  return `${version} (${stdout.trim()}${changed === '' ? '' : ', changed'})`;
}
