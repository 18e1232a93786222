// What the other scripts share: the repository's root, and a child process
// whose failure ends the script.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Ends the script with a message. */
export function fail(message) {
  console.error(message);
  process.exit(1);
}

/** Runs a command with the script's own output; returns whether it succeeded. */
export function succeeds(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`${command}: ${error.message}`);
  return status === 0;
}

/** Runs a command with the script's own output; ends the script if it fails. */
export function run(command, args, options = {}) {
  if (!succeeds(command, args, options)) fail(`failed: ${command} ${args.join(' ')}`);
}

/** What a command printed; ends the script if it fails. */
export function output(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  });
  if (status !== 0) fail(`failed: ${command} ${args.join(' ')}\n${error?.message ?? stderr}`);
  return stdout;
}

/** Path of a script in node_modules, to be run with this Node. */
export function moduleScript(relative) {
  const file = path.join(root, 'node_modules', relative);
  if (!existsSync(file)) fail(`expected ${relative} in node_modules; run "npm ci" first`);
  return file;
}

/** Whether a command is there. */
export function onPath(command) {
  return (process.env.PATH ?? '')
    .split(path.delimiter)
    .some((folder) => existsSync(path.join(folder, command)));
}

/** Removes a build folder that was made for a checkout at another path: CMake refuses it. */
export function dropForeignBuild(folder) {
  const cache = path.join(folder, 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (home === undefined || path.resolve(home) !== root) rmSync(folder, { recursive: true });
}
