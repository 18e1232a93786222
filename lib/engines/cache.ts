import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { TenonError } from '../errors.js';
import type { EngineName } from '../native/types.js';
import type { EngineContext } from './context.js';
import { compareVersions } from './versions.js';

/** What `manifest.json` in an installed engine's folder says. It is written last. */
export interface Manifest {
  name: EngineName;
  version: string;
  platform: string;
  arch: string;
  /** The library to open, a file name in the same folder. */
  library: string;
  /** Where it came from, in words, with the sha256 of the archive where there was one. */
  source: { way: string; location: string; sha256?: string };
  files: { path: string; bytes: number; sha256: string }[];
  /** ISO 8601. */
  installedAt: string;
}

export interface CachedEngine {
  folder: string;
  library: string;
  manifest: Manifest;
}

export const manifestFile = 'manifest.json';
const ownerFile = 'owner.json';
const partialMark = '.partial-';
const lockName = '.lock';

/** How often a running install shows that it lives, and the silence after which it counts as gone. */
const heartbeatMs = 5_000;
const staleMs = 60_000;
const lockPollMs = 200;

/**
 * Tenon's cache folder: $TENON_CACHE, or "tenon" in the platform's own place for such
 * ($XDG_CACHE_HOME or ~/.cache, ~/Library/Caches, %LOCALAPPDATA%).
 */
export function cacheFolder(context: EngineContext): string {
  const { env, platform, home, cwd } = context;
  if (env.TENON_CACHE) return path.resolve(cwd, env.TENON_CACHE);
  if (platform === 'darwin') return path.join(home, 'Library', 'Caches', 'tenon');
  if (platform === 'win32') {
    const local = env.LOCALAPPDATA ?? path.join(home, 'AppData', 'Local');
    return path.join(local, 'tenon', 'Cache');
  }
  // The XDG specification: a relative path is to be ignored.
  const xdg = env.XDG_CACHE_HOME;
  const base = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(home, '.cache');
  return path.join(base, 'tenon');
}

/** `<cache>/engines/<name>`: holds one folder per installed version. */
export function engineFolder(cache: string, name: EngineName): string {
  return path.join(cache, 'engines', name);
}

export function versionFolder(
  cache: string,
  name: EngineName,
  version: string,
  context: EngineContext,
): string {
  return path.join(engineFolder(cache, name), `${version}-${context.platform}-${context.arch}`);
}

/**
 * Makes a folder and those above it. Not mkdir's `recursive`, which never ends where a folder that
 * exists refuses new ones with ENOENT, as /proc does.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST' && (await stat(folder)).isDirectory()) return;
    const parent = path.dirname(folder);
    if (code !== 'ENOENT' || parent === folder) throw error;
    await makeFolder(parent);
    // Whoever makes the same folders at the same time may be ahead of this.
    await mkdir(folder).catch(async (again: unknown) => {
      if (codeOf(again) !== 'EEXIST' || !(await stat(folder)).isDirectory()) throw again;
    });
  }
}

/** A string says why the folder holds no complete install. */
export async function readInstalled(
  folder: string,
  name: EngineName,
  context: EngineContext,
  hashes = false,
): Promise<CachedEngine | string> {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(await readFile(path.join(folder, manifestFile), 'utf8')) as Manifest;
  } catch (error) {
    return `no readable ${manifestFile} (${reasonOf(error)})`;
  }
  if (
    manifest.name !== name ||
    manifest.platform !== context.platform ||
    manifest.arch !== context.arch ||
    typeof manifest.version !== 'string' ||
    !Array.isArray(manifest.files) ||
    !manifest.files.some((file) => file.path === manifest.library)
  ) {
    return `its ${manifestFile} is not of ${name} for ${context.platform}-${context.arch}`;
  }
  for (const file of manifest.files) {
    const full = path.join(folder, file.path);
    try {
      const { size } = await stat(full);
      if (size !== file.bytes) return `${file.path} has ${size} bytes instead of ${file.bytes}`;
      if (hashes && (await hashFile(full)) !== file.sha256) return `${file.path} was changed`;
    } catch (error) {
      return `${file.path}: ${reasonOf(error)}`;
    }
  }
  return { folder, library: path.join(folder, manifest.library), manifest };
}

/** Complete installs for this platform, highest version first, and what was seen besides. */
export async function listInstalled(
  cache: string,
  name: EngineName,
  context: EngineContext,
): Promise<{ installed: CachedEngine[]; remarks: string[] }> {
  const parent = engineFolder(cache, name);
  let entries: string[];
  try {
    entries = await readdir(parent);
  } catch {
    return { installed: [], remarks: [] };
  }
  const suffix = `-${context.platform}-${context.arch}`;
  const installed: CachedEngine[] = [];
  const remarks: string[] = [];
  for (const entry of entries) {
    if (entry.includes(partialMark) || entry.startsWith('.')) continue;
    if (!entry.endsWith(suffix)) {
      remarks.push(`${entry} is for another platform`);
      continue;
    }
    const found = await readInstalled(path.join(parent, entry), name, context);
    if (typeof found === 'string') remarks.push(`${entry}: ${found}`);
    else installed.push(found);
  }
  installed.sort((a, b) => compareVersions(b.manifest.version, a.manifest.version));
  return { installed, remarks };
}

export async function hashFile(
  file: string,
  options: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(file, {
    highWaterMark: 1 << 20,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    options.onBytes?.(chunk.length);
  }
  return hash.digest('hex');
}

/** Something one process holds and shows it still wants: the lock, a folder being filled. */
export interface Held {
  folder: string;
  release(): Promise<void>;
}

/** A new folder beside the installs, for what is not complete yet. */
export async function createPartial(parent: string, context: EngineContext): Promise<Held> {
  const random = randomBytes(4).toString('hex');
  const folder = path.join(
    parent,
    `${context.platform}-${context.arch}${partialMark}${process.pid}-${random}`,
  );
  await mkdir(folder);
  return hold(folder);
}

/** The folder becomes an install: owner's mark off, contents on disk, one rename. */
export async function publish(partial: Held, manifest: Manifest, target: string): Promise<void> {
  await rm(path.join(partial.folder, ownerFile), { force: true });
  const file = path.join(partial.folder, manifestFile);
  await writeFile(file, `${JSON.stringify(manifest, null, 2)}\n`);
  await syncPath(file);
  await syncFolder(partial.folder);
  await rename(partial.folder, target);
  await syncFolder(path.dirname(target));
}

/** Moves an install aside, so that it is never seen half removed, and removes it. */
export async function discard(folder: string): Promise<void> {
  const aside = `${folder}${partialMark}${process.pid}-${randomBytes(4).toString('hex')}`;
  try {
    await rename(folder, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

/** Removes what cut-off installs left behind. */
export async function removeStalePartials(parent: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    if (!entry.includes(partialMark)) continue;
    const folder = path.join(parent, entry);
    if (await isStale(folder)) await rm(folder, { recursive: true, force: true });
  }
}

/**
 * One install of an engine at a time in a cache folder: the second waits and then finds what the
 * first one made. The lock only saves work. Where it fails (a process that slept for a minute is
 * taken for gone), two installs still have a folder each, and the last rename decides.
 */
export async function lock(
  parent: string,
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<Held> {
  const folder = path.join(parent, lockName);
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal.throwIfAborted();
    try {
      await mkdir(folder);
      return await hold(folder);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    if (await isStale(folder)) {
      await discard(folder).catch(() => undefined);
      continue;
    }
    if (performance.now() > deadline) {
      throw new TenonError(
        'ERR_TENON_ENGINE_INSTALL',
        `expected to get the lock ${folder} within ${options.timeoutMs / 1000} s, another install ` +
          'still holds it; if none runs, remove that folder',
      );
    }
    await sleep(lockPollMs, undefined, { signal: options.signal }).catch(() => undefined);
  }
}

async function hold(folder: string): Promise<Held> {
  const owner = JSON.stringify({ pid: process.pid, host: hostname() });
  await writeFile(path.join(folder, ownerFile), owner);
  const timer = setInterval(() => {
    const now = new Date();
    utimes(folder, now, now).catch(() => undefined);
  }, heartbeatMs);
  timer.unref();
  return {
    folder,
    async release() {
      clearInterval(timer);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Its process is gone, or it has not moved for a minute (another machine on the same disk). */
async function isStale(folder: string): Promise<boolean> {
  try {
    const owner = JSON.parse(await readFile(path.join(folder, ownerFile), 'utf8')) as {
      pid?: unknown;
      host?: unknown;
    };
    if (owner.host === hostname() && typeof owner.pid === 'number' && !isAlive(owner.pid)) {
      return true;
    }
  } catch {
    // Not written yet, or cut off before it was: age decides.
  }
  try {
    return Date.now() - (await stat(folder)).mtimeMs > staleMs;
  } catch {
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}

export async function syncPath(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; its file system journals the rename.
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch {
    // Some network file systems refuse; the install is complete all the same.
  } finally {
    await handle.close();
  }
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** An error in a few words. */
export function reasonOf(error: unknown): string {
  if (codeOf(error) === 'ENOENT') return 'not there';
  return error instanceof Error ? error.message : String(error);
}
