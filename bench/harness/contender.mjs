// The parent's side of contenders. Each is a process of its own, so that neither a heap, nor a
// compiled function, nor the engine's process-wide state is shared; all but one sleep at any time.
import { fork, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { floorProgram } from './build.mjs';

/**
 * What a block is asked for: a number of calls, or an object with what the question needs besides.
 *
 * @typedef {number | object} Ask
 *
 * @typedef {object} OpenContender
 * @property {(ask: any) => number | object | Promise<number | object>} block Makes the calls; the
 *   nanoseconds they took, or an object with what the question wants to know.
 *
 * @typedef {object} Contender
 * @property {string} name
 * @property {(() => OpenContender | Promise<OpenContender>)} [open] Called in the contender's own
 *   process. Throws `Unavailable` where what it measures does not exist.
 * @property {string[]} [execArgv] Node's own options for that process.
 * @property {Floor} [floor] Instead of `open`: the C++ program.
 *
 * @typedef {object} Floor
 * @property {() => (string | number)[]} load Its command to load a model.
 * @property {string} mode
 * @property {number} [callers] Threads that call, 1 by default; an `Ask` of its own may have
 *   another, and `openDimensions` for the sizes of the inputs: { count, callers, openDimensions }.
 */

/** No load and no block takes nearly as long. */
const deadlineMs = 300_000;

const failed = (name, reason) => new Error(`${name}: ${reason}`);

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
    withinDeadline(child, name, (resolve, reject) => {
      child.once('message', (message) => {
        if (message.error !== undefined) reject(failed(name, message.error));
        else resolve(message);
      });
    });
  const { unavailable } = await answer();
  if (unavailable !== undefined) return { name, unavailable };
  return {
    name,
    pid: child.pid,
    async block(ask) {
      const answered = answer();
      child.send({ ask });
      return (await answered).result;
    },
    close: () => close(child, () => child.disconnect()),
  };
}

async function openFloor({ name, floor }) {
  const child = spawn(floorProgram(), { stdio: ['pipe', 'pipe', 2] });
  const lines = createInterface(child.stdout);
  const command = (...words) =>
    withinDeadline(child, name, (resolve, reject) => {
      lines.once('line', (line) => {
        if (line.startsWith('error ')) reject(failed(name, line.slice('error '.length)));
        else resolve(line);
      });
      child.stdin.write(`${words.join('\t')}\n`);
    });
  await command(...floor.load());
  return {
    name,
    pid: child.pid,
    async block(ask) {
      const { count, callers = floor.callers ?? 1, openDimensions } = forFloor(ask);
      if (openDimensions !== undefined) await command('open dimensions', openDimensions.join(','));
      return Number(await command('run', floor.mode, count, callers));
    },
    close: () => close(child, () => child.stdin.end()),
  };
}

const forFloor = (ask) => (typeof ask === 'number' ? { count: ask } : ask);

/** What `start` settles; rejects where the child ends or says nothing for too long. */
function withinDeadline(child, name, start) {
  return new Promise((resolve, reject) => {
    const stop = (settle) => (value) => {
      clearTimeout(timer);
      child.off('exit', onExit);
      child.off('error', onError);
      settle(value);
    };
    const onExit = (code, signal) => stop(reject)(failed(name, `ended with ${code ?? signal}`));
    const onError = (error) => stop(reject)(failed(name, error.message));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      stop(reject)(failed(name, `gave no answer for ${deadlineMs / 1000} s`));
    }, deadlineMs);
    child.once('exit', onExit);
    child.once('error', onError);
    start(stop(resolve), stop(reject));
  });
}

async function close(child, end) {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  if (child.exitCode !== null || child.signalCode !== null) return;
  end();
  await exited;
}
