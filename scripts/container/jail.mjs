// Commands in another root: namespaces of Linux and chroot, as a container engine uses them.
import { spawn, spawnSync } from 'node:child_process';

import { fail } from '../run-command.mjs';

/** A word for the shell. */
export function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function assignments(env) {
  return Object.entries(env).map(([name, value]) => quoted(`${name}=${value}`));
}

/** Runs a step of a build as root; ends the script where it fails. `binds` are seen read-only. */
export function runStep(root, { command, env, workdir, binds }) {
  const mounts = [
    `mount -t proc proc ${quoted(`${root}/proc`)}`,
    `mount --rbind /dev ${quoted(`${root}/dev`)}`,
    ...binds.map((bind) => {
      const target = quoted(root + bind);
      return `{ if [ -d ${quoted(bind)} ]; then mkdir -p ${target}; else mkdir -p "$(dirname ${target})"; touch ${target}; fi; mount --bind -o ro ${quoted(bind)} ${target}; }`;
    }),
  ].join(' && ');
  const inside = `cd ${quoted(workdir)} && ${command}`;
  const { status } = spawnSync(
    'unshare',
    [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      'sh',
      '-c',
      `${mounts} && exec chroot ${quoted(root)} env -i ${assignments(env).join(' ')} /bin/sh -c ${quoted(inside)}`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (status !== 0) fail(`failed with ${status}: ${command}`);
}

/**
 * Starts a command as process 1 of namespaces of its own, with a network that has loopback only, on a
 * root that cannot be written to.
 */
export function startContainer(root, { command, env, workdir, user, models }) {
  const script = [
    'ip link set lo up',
    `mount --bind ${quoted(root)} ${quoted(root)}`,
    `mount --bind -o ro ${quoted(models)} ${quoted(`${root}/models`)}`,
    `mount -t proc proc ${quoted(`${root}/proc`)}`,
    `mount --rbind /dev ${quoted(`${root}/dev`)}`,
    `mount -o remount,ro,bind ${quoted(root)}`,
    `cd ${quoted(root)}`,
    `exec chroot --userspec=${user} . env -i ${assignments(env).join(' ')} /bin/sh -c ${quoted(
      `cd ${quoted(workdir)} && exec ${command.map(quoted).join(' ')}`,
    )}`,
  ].join(' && ');
  return spawn(
    'unshare',
    ['--mount', '--pid', '--net', '--fork', '--kill-child', 'sh', '-c', script],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  );
}

/** Runs a command beside process `pid`, in its namespaces and root. */
export function runBeside(pid, { command, env, user }) {
  const [uid, gid = uid] = user.split(':');
  return spawnSync(
    'nsenter',
    [
      `--target=${pid}`,
      '--mount',
      '--pid',
      '--net',
      '--root',
      `--setuid=${uid}`,
      `--setgid=${gid}`,
      'env',
      '-i',
      ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
      ...command,
    ],
    { encoding: 'utf8', timeout: 30_000 },
  );
}
