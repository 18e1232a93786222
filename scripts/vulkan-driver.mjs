// A Vulkan driver in software for the WebGPU provider: SwiftShader, as Debian
// brings it with the package chromium-common. Nothing is installed: three files
// are taken out of the package into build/vulkan, and apt's own lists and caches
// are left alone.
//
//   node scripts/vulkan-driver.mjs        fetches it unless there is a driver already
//
// CI runs it; `npm test` only looks for what is there.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { onPath, root } from './run-command.mjs';

const packageName = 'chromium-common';
/** Where Debian installs the files. */
const installed = '/usr/lib/chromium';
const fetched = path.join(root, 'build/vulkan');
const icd = 'vk_swiftshader_icd.json';
const files = [icd, 'libvk_swiftshader.so', 'libvulkan.so.1'];
/** For each of apt's commands; together they take seconds. */
const timeoutMs = 60_000;

/** Why the WebGPU provider cannot run here with any driver; undefined where it may. */
export function whyNoProvider() {
  return process.platform === 'linux' && process.arch === 'x64'
    ? undefined
    : 'the engine for this platform has no WebGPU provider';
}

/**
 * The environment in which a process finds a Vulkan driver: the one that VK_ICD_FILENAMES names, or
 * SwiftShader where it is installed or was fetched. Undefined where there is none.
 */
export function driverEnvironment() {
  const runtime = { XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? '/tmp' };
  const named = process.env.VK_ICD_FILENAMES;
  if (named !== undefined) {
    return named.split(path.delimiter).some((file) => existsSync(file))
      ? { ...runtime, VK_ICD_FILENAMES: named }
      : undefined;
  }
  const folder = [installed, fetched].find((place) => existsSync(path.join(place, icd)));
  if (folder === undefined) return undefined;
  return {
    ...runtime,
    VK_ICD_FILENAMES: path.join(folder, icd),
    // The loader of drivers that comes with it; a system need not have one.
    LD_LIBRARY_PATH: [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
  };
}

/** Fetches the driver. Returns why it could not; undefined where it is there now. */
export function fetchDriver() {
  if (!onPath('apt-get') || !onPath('dpkg')) return 'expected apt-get and dpkg, found none';
  const work = path.join(root, 'build/vulkan-download');
  const unpacked = path.join(work, 'unpacked');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(path.join(work, 'state/lists/partial'), { recursive: true });
  mkdirSync(path.join(work, 'cache/archives/partial'), { recursive: true });
  // The sources and keys are the system's, what apt writes is this folder's.
  const apt = (...args) =>
    call('apt-get', [
      '-q',
      `-oDir::State::lists=${work}/state/lists`,
      `-oDir::Cache=${work}/cache`,
      '-oAcquire::Retries=1',
      '-oAcquire::Languages=none',
      '-oAPT::Sandbox::User=',
      ...args,
    ]);
  const call = (command, args) => {
    const { status, stderr, error } = spawnSync(command, args, {
      cwd: work,
      encoding: 'utf8',
      timeout: timeoutMs,
    });
    if (status === 0) return undefined;
    return `failed: ${command} ${args.at(-1)}: ${(error?.message ?? stderr).trim().split('\n').at(-1)}`;
  };
  const failure =
    apt('update') ??
    apt('download', packageName) ??
    call('dpkg', ['-x', readdirSync(work).find((name) => name.endsWith('.deb')) ?? '', unpacked]);
  if (failure !== undefined) return failure;
  const folder = path.join(unpacked, installed);
  const missing = files.find((file) => !existsSync(path.join(folder, file)));
  if (missing !== undefined) return `expected ${missing} in ${packageName}, found none`;
  rmSync(fetched, { recursive: true, force: true });
  mkdirSync(fetched, { recursive: true });
  for (const file of files) renameSync(path.join(folder, file), path.join(fetched, file));
  rmSync(work, { recursive: true, force: true });
  return undefined;
}

function main() {
  const found = () => console.log(`Vulkan driver: ${driverEnvironment()?.VK_ICD_FILENAMES}`);
  const impossible = whyNoProvider();
  if (impossible !== undefined) return void console.log(`no Vulkan driver: ${impossible}`);
  if (driverEnvironment() !== undefined) return found();
  const failure = fetchDriver();
  if (failure === undefined) return found();
  console.error(`no Vulkan driver: ${failure}`);
  process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
