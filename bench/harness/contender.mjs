// The parent's side of contenders. Each is a process of its own, so that neither a heap, nor a
// compiled function, nor the engine's process-wide state is shared; all but one sleep at any time.
import { fork, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { floorProgram } from './build.mjs';

/**
 * One block of a contender.
 *
 * @typedef {object} Block
 * @property {number} nanoseconds
 *
 * @typedef {object} OpenContender
 * @property {(count: number) => number | object | Promise<number | object>} block Makes `count`
 *   calls; the nanoseconds they took, or an object with what the question wants to know.
 *
 * @typedef {object} Contender
 * @property {string} name
 * @property {(() => OpenContender | Promise<OpenContender>)} [open] Called in the contender's own
 *   process. Throws `Unavailable` where what it measures does not exist.
 * @property {string[]} [execArgv] Node's own options for that process.
 * @property {{ load: () => string[], mode: string, callers?: number }} [floor] Instead of `open`:
 *   the C++ program's load command, and how it runs.
 */

const failed = (name, reason) =>
  Object.assign(new Error(`${name}: ${reason}`), { contender: name });

/**
 * @param {string} question Path of the file whose contender it is.
 * @param {Contender} contender
 */
export function openContender(question, contender) {
  return contender.floor ? openFloor(contender) : openProcess(question, contender);
}

async function openProcess(question, { name, execArgv = [] }) {
  const child = fork(path.join(import.meta.dirname, 'contender-process.mjs'), [question, name], {
    execArgv: [...execArgv],
    serialization: 'advanced',
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  const answer = () =>
    new Promise((resolve, reject) => {
      const onExit = (code, signal) => reject(failed(name, `ended with ${code ?? signal}`));
      child.once('exit', onExit);
      child.once('message', (message) => {
        child.off('exit', onExit);
        if (message.error !== undefined) reject(failed(name, message.error));
        else resolve(message);
      });
    });
  const { unavailable } = await answer();
  if (unavailable !== undefined) return { name, unavailable };
  return {
    name,
    async block(count) {
      const answered = answer();
      child.send({ count });
      return (await answered).result;
    },
    close: () => close(child, () => child.disconnect()),
  };
}

async function openFloor({ name, floor: { load, mode, callers = 1 } }) {
  const child = spawn(floorProgram, { stdio: ['pipe', 'pipe', 2] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const ask = async (...words) => {
    child.stdin.write(`${words.join('\t')}\n`);
    const { value, done } = await lines.next();
    if (done) throw failed(name, 'the floor program ended');
    if (value.startsWith('error ')) throw failed(name, value.slice('error '.length));
    return value;
  };
  await ask(...load());
  return {
    name,
    block: async (count) => Number(await ask('run', mode, count, callers)),
    close: () => close(child, () => child.stdin.end()),
  };
}

async function close(child, end) {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  if (child.exitCode !== null || child.signalCode !== null) return;
  end();
  await exited;
}
