import { mkdir, rm, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { TenonError, invalidArgument } from '../errors.js';
import type { EngineName } from '../native/types.js';
import { extractPlan, openArchive, planExtraction, type Target } from './archive.js';
import {
  cacheFolder,
  codeOf,
  createPartial,
  discard,
  engineFolder,
  hashFile,
  listInstalled,
  lock,
  makeFolder,
  publish,
  readInstalled,
  reasonOf,
  removeStalePartials,
  versionFolder,
  type CachedEngine,
  type Held,
  type Manifest,
} from './cache.js';
import { currentContext, type EngineContext } from './context.js';
import { download, withoutCredentials } from './download.js';
import { checkEngineName } from './find.js';
import { libraryTargets } from './libraries.js';
import { npmDownload } from './npm.js';
import { pipDownload } from './pip.js';
import { formatBytes, type OnProgress } from './progress.js';
import {
  compareVersions,
  defaultVersions,
  engineTitles,
  knownFiles,
  newestTensorFlowArchives,
  oldestVersions,
} from './versions.js';
import { WayFailed, type Obtained, type WayOptions } from './way.js';

export interface InstallEngineOptions {
  /**
   * A wheel, zip or .tar.gz, a library file, a folder that holds one (an unpacked C archive,
   * site-packages/tensorflow), or an http(s) URL of such a file. Default: the user's own pip
   * (TensorFlow) or npm (ONNX Runtime), then the other ways described in docs/engines.md.
   */
  from?: string | undefined;
  /** Default: the version this Tenon was tested with; with `from`, the one found there. */
  version?: string | undefined;
  /** sha256 (hex) the archive must have. Not for folders. */
  sha256?: string | undefined;
  /** Installs also over a complete install of the same version. Default: false. */
  force?: boolean | undefined;
  /** Compares the contents, not only the sizes, of an install that is already there. Default: false. */
  verify?: boolean | undefined;
  /** Stops and cleans up; the call rejects with its reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for one child process or one download. Default: 20 minutes. */
  timeoutMs?: number | undefined;
  onProgress?: OnProgress | undefined;
  /** Tenon's cache folder. Default: $TENON_CACHE, or the platform's own place for caches. */
  cacheFolder?: string | undefined;
}

export interface InstalledEngine {
  name: EngineName;
  version: string;
  /** Absolute path of the library. */
  library: string;
  /** Absolute path of its folder in the cache. */
  folder: string;
  /** Where it came from, with the archive's sha256. */
  source: Manifest['source'];
  /** True where nothing had to be done. */
  alreadyInstalled: boolean;
}

const defaultTimeoutMs = 20 * 60_000;
/** Space that has to stay free. */
const spareBytes = 64e6;

/**
 * Gets an engine's library into Tenon's cache folder, where `load` finds it.
 *
 * The folder of a version appears complete or not at all, also when the process is killed; two
 * installs at once wait for each other. A complete install is left alone (see `force`, `verify`).
 *
 * Throws ERR_TENON_ENGINE_INSTALL (each way that was tried, why it failed, what helps),
 * ERR_TENON_CHECKSUM, ERR_TENON_ENGINE_VERSION (older than Tenon can use), and the signal's reason.
 */
export async function installEngine(
  name: EngineName,
  options: InstallEngineOptions = {},
  context: EngineContext = currentContext(),
): Promise<InstalledEngine> {
  const request = resolve(name, options, context);
  const stop = new AbortController();
  const { signal } = options;
  const forward = (): void => stop.abort(signal?.reason);
  signal?.addEventListener('abort', forward, { once: true });
  try {
    if (signal?.aborted) forward();
    stop.signal.throwIfAborted();
    return await run({ ...request, signal: stop.signal }, stop);
  } catch (error) {
    stop.signal.throwIfAborted();
    throw inWords(error, request);
  } finally {
    signal?.removeEventListener('abort', forward);
  }
}

interface Request {
  name: EngineName;
  from: { kind: 'path' | 'url'; location: string } | undefined;
  version: string | undefined;
  sha256: string | undefined;
  force: boolean;
  verify: boolean;
  timeoutMs: number;
  onProgress: OnProgress;
  cache: string;
  context: EngineContext;
  target: Target;
}

function resolve(name: EngineName, options: InstallEngineOptions, context: EngineContext): Request {
  checkEngineName(name);
  const { from, version, sha256, timeoutMs = defaultTimeoutMs } = options;
  if (from !== undefined && (typeof from !== 'string' || from === '')) {
    throw invalidArgument('from', 'a file, a folder or an http(s) URL', from);
  }
  if (version !== undefined) {
    if (typeof version !== 'string' || !/^\d+\.\d+[\w.+-]*$/.test(version)) {
      throw invalidArgument('version', 'a version such as "2.21.0"', version);
    }
    checkVersion(name, version);
  }
  if (sha256 !== undefined && (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/i.test(sha256))) {
    throw invalidArgument('sha256', '64 hexadecimal digits', sha256);
  }
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
    throw invalidArgument('timeoutMs', 'a positive number of milliseconds', timeoutMs);
  }
  return {
    name,
    from: from === undefined ? undefined : sourceOf(from, context),
    version,
    sha256: sha256?.toLowerCase(),
    force: options.force ?? false,
    verify: options.verify ?? false,
    // Longer than Node's timers can count means no limit worth the name.
    timeoutMs: Math.min(timeoutMs, 2 ** 31 - 1),
    onProgress: options.onProgress ?? (() => undefined),
    cache: path.resolve(context.cwd, options.cacheFolder ?? cacheFolder(context)),
    context,
    target: { engine: name, platform: context.platform, arch: context.arch },
  };
}

function sourceOf(from: string, context: EngineContext): Request['from'] {
  if (/^https?:\/\//i.test(from)) {
    if (!URL.canParse(from)) throw invalidArgument('from', 'a valid http(s) URL', from);
    return { kind: 'url', location: from };
  }
  if (/^file:\/\//i.test(from)) return { kind: 'path', location: fileURLToPath(from) };
  return { kind: 'path', location: path.resolve(context.cwd, from) };
}

function checkVersion(name: EngineName, version: string): void {
  if (compareVersions(version, oldestVersions[name]) >= 0) return;
  throw new TenonError(
    'ERR_TENON_ENGINE_VERSION',
    `expected ${engineTitles[name]} ${oldestVersions[name]} or later, received ${version}`,
  );
}

async function run(
  request: Request & { signal: AbortSignal },
  stop: AbortController,
): Promise<InstalledEngine> {
  const { name, cache, context, signal } = request;
  const parent = engineFolder(cache, name);
  const before = await existing(request);
  if (before !== undefined) return before;
  await makeFolder(parent);
  const lockHeld = await lock(parent, { timeoutMs: request.timeoutMs, signal });
  try {
    await removeStalePartials(parent);
    // The one that held the lock before may have done the work.
    const meanwhile = await existing(request);
    if (meanwhile !== undefined) return meanwhile;
    const partial = await createPartial(parent, context);
    try {
      const onProgress: OnProgress = (progress) => {
        try {
          request.onProgress(progress);
        } catch (error) {
          // Thrown inside a timer or a stream it would end the process.
          stop.abort(error);
        }
      };
      return await fill(partial, { ...request, onProgress });
    } finally {
      await partial.release();
    }
  } finally {
    await lockHeld.release();
  }
}

/** A complete install that makes this one unnecessary. */
async function existing(
  request: Request & { signal: AbortSignal },
): Promise<InstalledEngine | undefined> {
  const { name, cache, context, from, force, verify } = request;
  if (force) return undefined;
  if (from === undefined) {
    const version = request.version ?? defaultVersions[name];
    const folder = versionFolder(cache, name, version, context);
    const found = await readInstalled(folder, name, context, verify);
    return typeof found === 'string' ? undefined : describe(found, true);
  }
  // A given file is the same install only if it is the same file.
  const status =
    from.kind === 'path' ? await stat(from.location).catch(() => undefined) : undefined;
  const known = status?.isFile() === true ? undefined : request.sha256;
  const { installed } = await listInstalled(cache, name, context);
  if (installed.length === 0) return undefined;
  const sha256 =
    status?.isFile() === true ? await hashFile(from.location, { signal: request.signal }) : known;
  if (sha256 === undefined || (request.sha256 ?? sha256) !== sha256) return undefined;
  for (const candidate of installed) {
    if (candidate.manifest.source.sha256 !== sha256) continue;
    if ((request.version ?? candidate.manifest.version) !== candidate.manifest.version) continue;
    const found = await readInstalled(candidate.folder, name, context, verify);
    if (typeof found !== 'string') return describe(found, true);
  }
  return undefined;
}

function describe(found: CachedEngine, alreadyInstalled: boolean): InstalledEngine {
  return {
    name: found.manifest.name,
    version: found.manifest.version,
    library: found.library,
    folder: found.folder,
    source: found.manifest.source,
    alreadyInstalled,
  };
}

type Filling = Request & { signal: AbortSignal };

/** Gets, checks and unpacks into `partial`, then makes it the install. */
async function fill(partial: Held, request: Filling): Promise<InstalledEngine> {
  const { name, context, target, signal, onProgress } = request;
  const downloads = path.join(partial.folder, 'download');
  await mkdir(downloads);
  const obtained = await obtain(request, downloads);
  const sha256 = await verify(obtained, request);
  const archive = await openArchive(obtained.file, target, signal);
  const plan = await planExtraction(archive, target, signal);
  const version =
    request.from === undefined
      ? (plan.version ?? obtained.version ?? request.version)
      : (request.version ?? plan.version);
  if (version === undefined) {
    throw new TenonError(
      'ERR_TENON_ENGINE_INSTALL',
      `expected ${archive.description} to say its version (in a file name, a .dist-info folder or ` +
        'a header), found none: give it as the option "version" (--version)',
    );
  }
  checkVersion(name, version);
  await checkSpace(request, plan.bytes, 'unpack');

  let receivedBytes = 0;
  const progress = (bytes: number): void => {
    receivedBytes += bytes;
    onProgress({ phase: 'extract', receivedBytes, totalBytes: plan.bytes });
  };
  progress(0);
  const files = await extractPlan(archive, plan, partial.folder, { signal, onBytes: progress });
  await checkTarget(path.join(partial.folder, plan.library), context);
  await rm(downloads, { recursive: true, force: true });

  const manifest: Manifest = {
    name,
    version,
    platform: context.platform,
    arch: context.arch,
    library: plan.library,
    source: {
      way: obtained.way,
      location: obtained.location,
      ...(sha256 === undefined ? {} : { sha256 }),
    },
    files,
    installedAt: new Date().toISOString(),
  };
  const folder = versionFolder(request.cache, name, version, context);
  signal.throwIfAborted();
  await replace(partial, manifest, folder);
  const done = await readInstalled(folder, name, context);
  if (typeof done === 'string') {
    throw new TenonError(
      'ERR_TENON_ENGINE_INSTALL',
      `expected a complete install in ${folder}, found that ${done}: something else changes it`,
    );
  }
  return describe(done, false);
}

async function replace(partial: Held, manifest: Manifest, folder: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    // An install that is there is broken, older, or to be replaced by force.
    await discard(folder);
    try {
      await publish(partial, manifest, folder);
      return;
    } catch (error) {
      // Another install, past a lock that had gone stale, was faster.
      const code = codeOf(error);
      if ((code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'EPERM') || attempt === 2) {
        throw error;
      }
    }
  }
}

async function obtain(request: Filling, folder: string): Promise<Obtained> {
  const { name, from, context } = request;
  const way: WayOptions = {
    context,
    signal: request.signal,
    timeoutMs: request.timeoutMs,
    onProgress: request.onProgress,
  };
  if (from?.kind === 'path') {
    if ((await stat(from.location).catch(() => undefined)) === undefined) {
      throw new TenonError(
        'ERR_TENON_ENGINE_INSTALL',
        `expected a file, a folder or an http(s) URL to install from, received "${from.location}", which is not there`,
      );
    }
    return { file: from.location, way: 'given', location: from.location };
  }
  if (from?.kind === 'url') {
    const subject = `${engineTitles[name]} from ${withoutCredentials(from.location)}`;
    return firstThatWorks(request, subject, [() => download(from.location, folder, way)]);
  }

  const version = request.version ?? defaultVersions[name];
  const target = `${context.platform}-${context.arch}`;
  const subject = `${engineTitles[name]} ${version} for ${target}`;
  if (await isMusl(context)) {
    throw new TenonError(
      'ERR_TENON_ENGINE_INSTALL',
      `expected a system with glibc to install ${subject}, received one with musl (Alpine), for ` +
        'which nobody publishes a build: use an image with glibc (node:20-slim), or build the ' +
        'library and give it with --from',
    );
  }
  if (name === 'onnxruntime') {
    await checkSpace(request, 400e6, 'download and unpack');
    return firstThatWorks(request, subject, [
      () => inside(folder, 'npm', (place) => npmDownload(version, place, way)),
      () => inside(folder, 'pip', (place) => pipDownload(name, version, place, way)),
    ]);
  }
  await checkSpace(request, 1_500e6, 'download and unpack');
  const archives = tensorflowArchives(request.version, context);
  return firstThatWorks(request, subject, [
    () => inside(folder, 'pip', (place) => pipDownload(name, version, place, way)),
    ...archives.map(({ url, version: published }) => async () => ({
      ...(await download(url, folder, way)),
      version: published,
    })),
    ...(archives.length > 0
      ? []
      : [() => Promise.reject(new WayFailed('TensorFlow C archive', `none for ${target}`))]),
  ]);
}

async function inside(
  folder: string,
  name: string,
  act: (place: string) => Promise<Obtained>,
): Promise<Obtained> {
  const place = path.join(folder, name);
  await mkdir(place);
  return act(place);
}

async function firstThatWorks(
  request: Filling,
  subject: string,
  ways: readonly (() => Promise<Obtained>)[],
): Promise<Obtained> {
  const failed: WayFailed[] = [];
  for (const way of ways) {
    try {
      return await way();
    } catch (error) {
      // A wrong checksum ends it: another way would hide that something is amiss.
      if (!(error instanceof WayFailed)) throw error;
      failed.push(error);
    }
  }
  const lines = failed.flatMap((way, i) => {
    const [first = '', ...rest] = way.explain();
    return [`  ${i + 1}. ${first}`, ...rest.map((line) => `     ${line}`)];
  });
  throw new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    [
      `expected to get ${subject}, no way to it worked:`,
      ...lines,
      'Without network: get the archive on another machine, then',
      `  npx tenon engines install ${request.name} --from <file>`,
    ].join('\n'),
    { cause: failed.at(-1) },
  );
}

/** Official C archives, the wanted version first. */
export function tensorflowArchives(
  wanted: string | undefined,
  context: EngineContext,
): { url: string; version: string }[] {
  const newest = newestTensorFlowArchives[`${context.platform}-${context.arch}`];
  if (newest === undefined) return [];
  const versions = wanted === undefined ? [defaultVersions.tensorflow, newest] : [wanted];
  const system = context.platform === 'win32' ? 'windows' : context.platform;
  const machine = context.arch === 'x64' ? 'x86_64' : context.arch;
  const extension = context.platform === 'win32' ? 'zip' : 'tar.gz';
  const base = 'https://storage.googleapis.com/tensorflow';
  return versions.map((version) => {
    const stem = `libtensorflow-cpu-${system}-${machine}`;
    // The place changed with 2.16.
    const url =
      compareVersions(version, '2.16') >= 0
        ? `${base}/versions/${version}/${stem}.${extension}`
        : `${base}/libtensorflow/${stem}-${version}.${extension}`;
    return { url, version };
  });
}

/** The archive's sha256, compared with what is expected of it. */
async function verify(obtained: Obtained, request: Filling): Promise<string | undefined> {
  const { signal, onProgress } = request;
  const status = await stat(obtained.file);
  if (!status.isFile()) {
    if (request.sha256 === undefined) return undefined;
    throw invalidArgument('sha256', 'nothing: a folder has no checksum', request.sha256);
  }
  let receivedBytes = 0;
  const sha256 = await hashFile(obtained.file, {
    signal,
    onBytes(bytes) {
      receivedBytes += bytes;
      onProgress({ phase: 'verify', receivedBytes, totalBytes: status.size });
    },
  });
  const byName = request.from === undefined ? knownFiles[path.basename(obtained.file)] : undefined;
  const expected = request.sha256 ?? obtained.sha256 ?? byName?.sha256;
  if (expected !== undefined && expected !== sha256) {
    throw new TenonError(
      'ERR_TENON_CHECKSUM',
      `expected sha256 ${expected} for ${obtained.location}, received ${sha256} ` +
        `(${formatBytes(status.size)}). If another build of this file is meant, give its sha256 ` +
        'as the option "sha256" (--sha256)',
    );
  }
  return sha256;
}

async function checkTarget(library: string, context: EngineContext): Promise<void> {
  const targets = await libraryTargets(library);
  const wanted = `${context.platform}-${context.arch}`;
  if (targets.includes(wanted)) return;
  throw new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected a library for ${wanted}, received ${path.basename(library)}, which is ` +
      (targets.length === 0 ? 'no shared library' : `for ${targets.join(', ')}`),
  );
}

async function checkSpace(request: Request, neededBytes: number, purpose: string): Promise<void> {
  const folder = engineFolder(request.cache, request.name);
  let freeBytes: number;
  try {
    const { bavail, bsize } = await statfs(folder);
    freeBytes = bavail * bsize;
  } catch {
    // Not every file system tells; writing will.
    return;
  }
  if (freeBytes >= neededBytes + spareBytes) return;
  throw new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected ${formatBytes(neededBytes + spareBytes)} free to ${purpose} into ${folder}, found ` +
      `${formatBytes(freeBytes)}: free some, or set TENON_CACHE to a folder on another disk`,
  );
}

async function isMusl(context: EngineContext): Promise<boolean> {
  if (context.platform !== 'linux') return false;
  const loader = { x64: 'x86_64', arm64: 'aarch64' }[context.arch] ?? context.arch;
  const status = await stat(`/lib/ld-musl-${loader}.so.1`).catch(() => undefined);
  if (status === undefined) return false;
  // A glibc system may have musl installed beside it; the process then has glibc's version.
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined;
}

/** What the system said, as an error of ours that names the folder and a remedy. */
function inWords(error: unknown, request: Request): unknown {
  if (error instanceof TenonError) return error;
  const code = codeOf(error);
  const where = engineFolder(request.cache, request.name);
  const remedies: Record<string, string> = {
    ENOSPC: 'the disk is full: free some space, or set TENON_CACHE to a folder on another disk',
    EDQUOT: 'the quota is used up: free some space, or set TENON_CACHE to another folder',
    EACCES: 'it may not be written: set TENON_CACHE to a folder that may',
    EPERM: 'it may not be changed; on Windows, a process that has the library open holds it',
    EROFS: 'it lies on a read-only disk: set TENON_CACHE to a folder that may be written',
    ENOTDIR: 'part of that path is a file: set TENON_CACHE to a folder',
    EEXIST: 'part of that path is a file: set TENON_CACHE to a folder',
    EBUSY: 'a process that has the library open holds it: end that first',
  };
  const remedy = code === undefined ? undefined : remedies[code];
  return new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected to install ${engineTitles[request.name]} into ${where}, received ` +
      `${reasonOf(error)}${remedy === undefined ? '' : `; ${remedy}`}`,
    { cause: error },
  );
}
