// Where the time of one contender goes: perf looks on while it makes calls.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { fail, output, root } from '../../scripts/run-command.mjs';
import { calibrate, withContenders } from './measure.mjs';
import { fileOf, question } from './questions.mjs';

const seconds = 5;
const folder = path.join(root, 'build', 'bench-profiles');

/**
 * @param {string} name Of the question.
 * @param {string} contenderName
 * @returns {Promise<string>} Shares of the CPU time by library and by function, those that V8 has
 *   compiled included.
 */
export async function profile(name, contenderName) {
  const { contenders, askFor = (count) => count } = await question(name);
  const contender = contenders.find((one) => one.name === contenderName);
  if (contender === undefined) {
    const known = contenders.map((one) => one.name).join('\n  ');
    fail(`expected a contender of ${name}:\n  ${known}\nreceived ${contenderName}`);
  }
  mkdirSync(folder, { recursive: true });
  const data = path.join(folder, `${name}.perf`);
  // V8 writes what it compiles where perf looks for it.
  const execArgv = [...(contender.execArgv ?? []), '--perf-basic-prof'];
  await withContenders(fileOf(name), [{ ...contender, execArgv }], async ([open]) => {
    const block = (count) => open.block(askFor(count, contender));
    const count = await calibrate({ block }, 200);
    // CPU time instead of cycles, which a virtual machine may not count.
    const events = ['-e', 'cpu-clock', '-F', '4000', '-g'];
    const perf = spawn('perf', ['record', '-q', ...events, '-o', data, '-p', `${open.pid}`], {
      stdio: ['ignore', 2, 2],
    });
    await once(perf, 'spawn');
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) await block(count);
    const exited = once(perf, 'exit');
    perf.kill('SIGINT');
    await exited;
    return {};
  });
  const report = (...sort) =>
    output('perf', ['report', '--stdio', '--no-children', '-g', 'none', '-i', data, ...sort])
      .split('\n')
      .filter((line) => /^ +\d/.test(line))
      .map((line) => line.replace(/ +-( +-)? *$/, ''))
      .join('\n');
  // What has no symbols counts as a library only.
  return [
    `# ${contenderName}: CPU time by library`,
    report('--sort', 'dso', '--percent-limit', '0.5'),
    '# By function',
    report('--sort', 'dso,symbol', '--percent-limit', '0.7'),
  ].join('\n\n');
}
