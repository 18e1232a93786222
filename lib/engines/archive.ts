import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough, Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { ReadEntry } from 'tar';
import type { Entry, ZipFile } from 'yauzl';

import { TenonError } from '../errors.js';
import type { EngineName } from '../native/types.js';
import { reasonOf } from './cache.js';
import {
  libraryNames,
  libraryTargets,
  loaderName,
  pickLibrary,
  versionInName,
} from './libraries.js';
import { formatBytes } from './progress.js';
import { engineTitles } from './versions.js';

/** More is no engine but an attack or a mistake: the largest GPU builds take about 3 GB. */
export const maxExtractedBytes = 16e9;
/** A TensorFlow wheel has about 12 000 entries. */
export const maxEntries = 200_000;
/** Text read into memory: a wheel's RECORD (1 MB in TensorFlow's), package.json, a header. */
const maxTextBytes = 32e6;
const maxLicenceBytes = 16e6;

export interface ArchiveEntry {
  /** With forward slashes, without a leading "./". */
  path: string;
  bytes: number;
  /** Links are seen (their names may say a version) and never made. */
  kind: 'file' | 'link' | 'folder';
}

/** An archive, or a folder looked at as one. Read twice: once to list, once to extract. */
export interface EngineArchive {
  /** In words, for messages. */
  description: string;
  entries: readonly ArchiveEntry[];
  /** The small files asked for, by path. */
  readTexts(paths: readonly string[], signal: AbortSignal): Promise<Map<string, string>>;
  /** Calls `write` once for each path asked for, in the archive's own order. */
  extract(
    paths: ReadonlySet<string>,
    write: (path: string, content: Readable) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
}

export interface ExtractPlan {
  /** Path in the archive → file name in the install. */
  files: Map<string, string>;
  /** File name of the library to open. */
  library: string;
  bytes: number;
  version: string | undefined;
  /** What a wheel's RECORD says of its files: sha256, base64url without padding. */
  record: Map<string, string> | undefined;
}

export interface Target {
  engine: EngineName;
  platform: NodeJS.Platform;
  arch: string;
}

/** Opens a file or folder as an archive, by its content, not its name. */
export async function openArchive(
  location: string,
  target: Target,
  signal: AbortSignal,
): Promise<EngineArchive> {
  const status = await stat(location);
  if (status.isDirectory()) return openFolder(location, target);
  const magic = Buffer.alloc(4);
  const handle = await open(location, 'r');
  try {
    await handle.read(magic, 0, 4, 0);
  } finally {
    await handle.close();
  }
  try {
    if (magic.readUInt32BE(0) === 0x504b0304) return await openZip(location, signal);
    if (magic.readUInt16BE(0) === 0x1f8b) return await openTar(location, signal);
    if ((await libraryTargets(location)).length > 0) return await openSingle(location, target);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TenonError) throw error;
    throw damaged(location, error);
  }
  throw new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected a wheel or zip, a .tar.gz, a shared library or a folder, received "${location}" ` +
      `(${formatBytes(status.size)}, which begins with ${magic.toString('hex')})`,
  );
}

function damaged(location: string, error: unknown): TenonError {
  // yauzl refuses names that lead outside by itself, with these words.
  if (/^(invalid relative path|absolute path|invalid characters)/.test(reasonOf(error))) {
    return hostile({ description: `"${location}"` }, reasonOf(error));
  }
  return new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected a complete archive, received "${location}", which cannot be read to its end: ` +
      `${reasonOf(error)}. It may have been cut off: get it again`,
    { cause: error },
  );
}

/** Which files of an archive make an install. Refuses archives that no honest tool would write. */
export async function planExtraction(
  archive: EngineArchive,
  target: Target,
  signal: AbortSignal,
): Promise<ExtractPlan> {
  checkEntries(archive);
  const { engine, platform, arch } = target;
  const files = archive.entries.filter((entry) => entry.kind === 'file');
  const eligible = files.filter((entry) => isForPlatform(entry.path, platform, arch));
  const folders = new Map<string, string[]>();
  for (const entry of eligible) {
    const folder = path.posix.dirname(entry.path);
    const siblings = folders.get(folder);
    if (siblings === undefined) folders.set(folder, [path.posix.basename(entry.path)]);
    else siblings.push(path.posix.basename(entry.path));
  }
  let home: { folder: string; library: string; rank: number } | undefined;
  for (const [folder, names] of folders) {
    const library = pickLibrary(engine, platform, names);
    if (library === undefined) continue;
    const rank = rankOf(engine, platform, library);
    if (
      home === undefined ||
      rank < home.rank ||
      (rank === home.rank && folder.length < home.folder.length)
    ) {
      home = { folder, library, rank };
    }
  }
  if (home === undefined) throw noLibrary(archive, files, target);

  const chosen = new Map<string, string>();
  const taken = new Set<string>();
  const take = (entryPath: string, name: string): void => {
    if (taken.has(name)) return;
    taken.add(name);
    chosen.set(entryPath, name);
  };
  const library = loaderName(home.library);
  take(path.posix.join(home.folder, home.library), library);
  const companions = libraryNames(engine, platform).companions;
  for (const name of [...(folders.get(home.folder) ?? [])].sort((a, b) => a.length - b.length)) {
    if (companions.some((pattern) => pattern.test(name))) {
      take(path.posix.join(home.folder, name), loaderName(name));
    }
  }
  for (const entry of files) {
    if (isLicence(entry.path) && entry.bytes <= maxLicenceBytes) {
      take(entry.path, `licenses/${path.posix.basename(entry.path)}`);
    }
  }

  const sizes = new Map(files.map((entry) => [entry.path, entry.bytes]));
  let bytes = 0;
  for (const entryPath of chosen.keys()) bytes += sizes.get(entryPath) ?? 0;
  if (bytes > maxExtractedBytes) {
    throw hostile(
      archive,
      `its library files take ${formatBytes(bytes)}, more than ${formatBytes(maxExtractedBytes)}`,
    );
  }
  const { version, record } = await readDetails(archive, target, home, signal);
  return { files: chosen, library, bytes, version, record };
}

function rankOf(engine: EngineName, platform: NodeJS.Platform, library: string): number {
  return libraryNames(engine, platform).main.findIndex((pattern) => pattern.test(library));
}

/** onnxruntime-node's archive has the same file names once per platform. */
function isForPlatform(entryPath: string, platform: string, arch: string): boolean {
  const match = /(?:^|\/)bin\/napi-v\d+\/([^/]+)\/([^/]+)\//.exec(entryPath);
  return match === null || (match[1] === platform && match[2] === arch);
}

function isLicence(entryPath: string): boolean {
  const parts = entryPath.split('/');
  const name = parts.at(-1) ?? '';
  if (!/^(licen[sc]es?|notice|third[-_]?party[\w-]*|copying)(\.(txt|md))?$/i.test(name))
    return false;
  return parts.length <= 2 || parts.some((part) => part.endsWith('.dist-info'));
}

function checkEntries(archive: EngineArchive): void {
  let bytes = 0;
  for (const entry of archive.entries) {
    bytes += entry.bytes;
    const parts = entry.path.split(/[/\\]/);
    if (
      path.posix.isAbsolute(entry.path) ||
      path.win32.isAbsolute(entry.path) ||
      parts.includes('..') ||
      entry.path.includes('\0')
    ) {
      throw hostile(archive, `its entry ${JSON.stringify(entry.path)} leads outside the archive`);
    }
  }
  if (bytes > 4 * maxExtractedBytes) {
    throw hostile(archive, `its entries take ${formatBytes(bytes)} unpacked`);
  }
}

function tooManyEntries(description: string): TenonError {
  return hostile({ description }, `it has more than ${maxEntries} entries`);
}

function hostile(archive: { description: string }, reason: string): TenonError {
  return new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected an engine's archive, received ${archive.description}: ${reason}`,
  );
}

function noLibrary(
  archive: EngineArchive,
  files: readonly ArchiveEntry[],
  { engine, platform, arch }: Target,
): TenonError {
  const libraries = files
    .map((entry) => entry.path)
    .filter((file) => /\.(so(\.\d+)*|dylib|dll|pyd)$/.test(file));
  const seen = libraries.length === 0 ? 'no library at all' : libraries.slice(0, 5).join(', ');
  return new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected ${libraryNames(engine, platform).example} (${engineTitles[engine]} for ` +
      `${platform}-${arch}) in ${archive.description}, found ${seen}` +
      (libraries.length > 5 ? ` and ${libraries.length - 5} more` : ''),
  );
}

const packageNames: Record<EngineName, RegExp> = {
  tensorflow:
    /^(?:tensorflow|tf_nightly)(?:_cpu|_gpu|_intel|_macos|_rocm|_aarch64|_cpu_aws)?-(\d[^-/]*)\.dist-info$/,
  onnxruntime: /^(?:onnxruntime|ort_nightly)\w*-(\d[^-/]*)\.dist-info$/,
};

async function readDetails(
  archive: EngineArchive,
  { engine }: Target,
  home: { folder: string; library: string },
  signal: AbortSignal,
): Promise<{ version: string | undefined; record: Map<string, string> | undefined }> {
  let version: string | undefined;
  let recordPath: string | undefined;
  const texts: string[] = [];
  for (const entry of archive.entries) {
    const parts = entry.path.split('/');
    const inWheel = packageNames[engine].exec(parts[0] ?? '')?.[1];
    if (inWheel !== undefined) {
      version ??= inWheel;
      if (parts.length === 2 && parts[1] === 'RECORD') recordPath = entry.path;
    }
    if (entry.kind !== 'file' || entry.bytes > maxTextBytes) continue;
    if (
      entry.path === recordPath ||
      entry.path === 'package/package.json' ||
      /(^|\/)VERSION_NUMBER$/.test(entry.path) ||
      /(^|\/)tensorflow\/core\/public\/(release_)?version\.h$/.test(entry.path)
    ) {
      texts.push(entry.path);
    }
  }
  const contents = await archive.readTexts(texts, signal);
  let record: Map<string, string> | undefined;
  for (const [file, text] of contents) {
    if (file === recordPath) record = parseRecord(text);
    else version ??= versionInText(text);
  }
  const siblings = archive.entries
    .filter((entry) => path.posix.dirname(entry.path) === home.folder)
    .map((entry) => path.posix.basename(entry.path));
  const stem = home.library.replace(/\.(so|dylib|\d).*$/, '');
  version ??= [home.library, ...siblings.filter((file) => file.startsWith(`${stem}.`))]
    .map(versionInName)
    .find((found) => found !== undefined);
  return { version, record };
}

/** package.json, ONNX Runtime's VERSION_NUMBER, TensorFlow's header. */
function versionInText(text: string): string | undefined {
  const inPackage = /"version"\s*:\s*"([^"]+)"/.exec(text)?.[1];
  if (inPackage !== undefined) return inPackage;
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
    (part) => new RegExp(`#define TF_${part}_VERSION\\s+(\\d+)`).exec(text)?.[1],
  );
  if (!parts.includes(undefined)) return parts.join('.');
  return /^\s*(\d+\.\d+\.\d+)\s*$/.exec(text)?.[1];
}

/** The wheel format's RECORD: CSV lines of path, "sha256=<base64url>", size. */
function parseRecord(text: string): Map<string, string> {
  const record = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^(?:"((?:[^"]|"")*)"|([^,]*)),sha256=([\w-]+)=*,\d*$/.exec(line);
    if (match === null) continue;
    const file = match[1]?.replaceAll('""', '"') ?? match[2] ?? '';
    record.set(file, match[3] ?? '');
  }
  return record;
}

export interface WrittenFile {
  path: string;
  bytes: number;
  sha256: string;
}

/** Extracts what was planned into a folder, and compares it with the wheel's RECORD. */
export async function extractPlan(
  archive: EngineArchive,
  plan: ExtractPlan,
  folder: string,
  options: { signal: AbortSignal; onBytes: (bytes: number) => void },
): Promise<WrittenFile[]> {
  const declared = new Map(archive.entries.map((entry) => [entry.path, entry.bytes]));
  const written = new Map<string, WrittenFile>();
  await mkdir(path.join(folder, 'licenses'), { recursive: true });
  await archive.extract(
    new Set(plan.files.keys()),
    async (entryPath, content) => {
      const name = plan.files.get(entryPath) ?? path.posix.basename(entryPath);
      const limit = declared.get(entryPath) ?? 0;
      const { hash, bytes } = await writeHashed(content, path.join(folder, name), limit, options);
      if (bytes !== limit) {
        throw hostile(archive, `${entryPath} has ${bytes} bytes instead of ${limit}`);
      }
      const digest = hash.digest();
      const expected = plan.record?.get(entryPath);
      if (plan.record !== undefined && expected !== digest.toString('base64url')) {
        throw new TenonError(
          'ERR_TENON_CHECKSUM',
          `expected ${entryPath} of ${archive.description} to have the sha256 that the wheel's ` +
            `RECORD says (${expected ?? 'none'}), received ${digest.toString('base64url')}`,
        );
      }
      written.set(entryPath, { path: name, bytes, sha256: digest.toString('hex') });
    },
    options.signal,
  );
  return [...plan.files].map(([entryPath, name]) => {
    const file = written.get(entryPath);
    if (file === undefined) throw hostile(archive, `${entryPath} (${name}) is listed, not there`);
    return file;
  });
}

async function writeHashed(
  content: Readable,
  file: string,
  limit: number,
  options: { signal: AbortSignal; onBytes: (bytes: number) => void },
): Promise<{ hash: Hash; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > limit) {
        done(new Error(`more than the ${limit} bytes it declares`));
        return;
      }
      hash.update(chunk);
      options.onBytes(chunk.length);
      done(null, chunk);
    },
  });
  // flush: on disk before the manifest says that it is.
  const sink = createWriteStream(file, { flush: true, mode: 0o644 });
  await pipeline(content, count, sink, { signal: options.signal });
  return { hash, bytes };
}

async function openZip(location: string, signal: AbortSignal): Promise<EngineArchive> {
  const { default: yauzl } = await import('yauzl');
  const description = `"${location}"`;

  async function visit(
    act: (file: string, entry: Entry, zip: ZipFile) => Promise<void>,
    visitSignal: AbortSignal,
  ): Promise<void> {
    const zip = await new Promise<ZipFile>((resolve, reject) => {
      yauzl.open(location, { lazyEntries: true, autoClose: false }, (error, opened) =>
        error ? reject(error) : resolve(opened),
      );
    });
    try {
      if (zip.entryCount > maxEntries) throw tooManyEntries(description);
      await new Promise<void>((resolve, reject) => {
        zip.on('error', reject);
        zip.on('end', resolve);
        zip.on('entry', (entry: Entry) => {
          if (visitSignal.aborted) {
            reject(visitSignal.reason as Error);
            return;
          }
          act(entry.fileName, entry, zip).then(() => zip.readEntry(), reject);
        });
        zip.readEntry();
      });
    } finally {
      zip.close();
    }
  }

  function contentOf(entry: Entry, zip: ZipFile): Promise<Readable> {
    return new Promise((resolve, reject) => {
      zip.openReadStream(entry, (error, stream) => (error ? reject(error) : resolve(stream)));
    });
  }

  const entries: ArchiveEntry[] = [];
  await visit((file, entry) => {
    // Unix mode in the upper half; only writers on Unix set it.
    const type = (entry.externalFileAttributes >>> 16) & 0o170000;
    const kind = file.endsWith('/') ? 'folder' : type === 0o120000 ? 'link' : 'file';
    entries.push({ path: file, bytes: entry.uncompressedSize, kind });
    return Promise.resolve();
  }, signal);

  return {
    description,
    entries,
    async readTexts(paths, readSignal) {
      const texts = new Map<string, string>();
      if (paths.length === 0) return texts;
      await visit(async (file, entry, zip) => {
        if (paths.includes(file)) texts.set(file, await readText(await contentOf(entry, zip)));
      }, readSignal);
      return texts;
    },
    async extract(paths, write, extractSignal) {
      await visit(async (file, entry, zip) => {
        if (paths.has(file)) await write(file, await contentOf(entry, zip));
      }, extractSignal);
    },
  };
}

async function openTar(location: string, signal: AbortSignal): Promise<EngineArchive> {
  const { Parser } = await import('tar');
  const description = `"${location}"`;
  const clean = (file: string): string => file.replace(/^(\.\/)+/, '').replace(/\/$/, '');

  /** Entries one after the other; `act` must consume or resume each of them. */
  async function visit(
    act: (entry: ReadEntry, stopSignal: AbortSignal) => Promise<void>,
    visitSignal: AbortSignal,
  ): Promise<void> {
    let failure: Error | undefined;
    const acts: Promise<void>[] = [];
    const stop = new AbortController();
    const parser = new Parser({
      strict: true,
      onReadEntry(entry) {
        acts.push(
          act(entry, stop.signal).catch((error: unknown) => {
            failure ??= error instanceof Error ? error : new Error(String(error));
            stop.abort(failure);
          }),
        );
      },
    });
    const forward = (): void => stop.abort(visitSignal.reason);
    visitSignal.addEventListener('abort', forward, { once: true });
    const source = createReadStream(location, { highWaterMark: 1 << 20 });
    try {
      await new Promise<void>((resolve, reject) => {
        stop.signal.addEventListener('abort', () => reject(stop.signal.reason as Error), {
          once: true,
        });
        if (visitSignal.aborted) forward();
        source.on('error', (error) => stop.abort(error));
        parser.on('error', (error) => stop.abort(error));
        parser.on('end', resolve);
        source.on('data', (chunk) => {
          if (!parser.write(chunk as Buffer)) source.pause();
        });
        parser.on('drain', () => source.resume());
        source.on('end', () => parser.end());
      });
      await Promise.all(acts);
      if (failure !== undefined) throw failure;
    } finally {
      visitSignal.removeEventListener('abort', forward);
      source.destroy();
      // Writers are told by stop.signal; their files must be closed before anybody removes them.
      await Promise.allSettled(acts);
    }
  }

  const entries: ArchiveEntry[] = [];
  await visit((entry) => {
    const links = entry.type === 'SymbolicLink' || entry.type === 'Link';
    const kind = links
      ? 'link'
      : entry.type === 'File' || entry.type === 'OldFile' || entry.type === 'ContiguousFile'
        ? 'file'
        : 'folder';
    entries.push({ path: clean(entry.path), bytes: kind === 'file' ? entry.size : 0, kind });
    if (entries.length > maxEntries) return Promise.reject(tooManyEntries(description));
    entry.resume();
    return Promise.resolve();
  }, signal);

  return {
    description,
    entries,
    async readTexts(paths, readSignal) {
      const texts = new Map<string, string>();
      if (paths.length === 0) return texts;
      await visit(async (entry, stopSignal) => {
        const file = clean(entry.path);
        if (!paths.includes(file)) {
          entry.resume();
          return;
        }
        texts.set(file, await readText(toReadable(entry, stopSignal)));
      }, readSignal);
      return texts;
    },
    async extract(paths, write, extractSignal) {
      await visit(async (entry, stopSignal) => {
        const file = clean(entry.path);
        if (!paths.has(file)) {
          entry.resume();
          return;
        }
        await write(file, toReadable(entry, stopSignal));
      }, extractSignal);
    },
  };
}

/** The tar package's streams are Minipass; Node's pipeline wants its own kind for aborting. */
function toReadable(entry: ReadEntry, stopSignal: AbortSignal): Readable {
  const content = new PassThrough();
  // Where the archive breaks off, its entry never ends.
  stopSignal.addEventListener('abort', () => content.destroy(stopSignal.reason as Error), {
    once: true,
  });
  entry.on('data', (chunk: Buffer) => {
    if (!content.write(chunk)) {
      entry.pause();
      content.once('drain', () => entry.resume());
    }
  });
  entry.on('end', () => content.end());
  return content;
}

/** A folder: only places where an engine's library lies in known layouts are looked at. */
async function openFolder(location: string, target: Target): Promise<EngineArchive> {
  const { engine, platform, arch } = target;
  const inside = [
    '.',
    'lib',
    'lib64',
    'capi',
    'tensorflow',
    'onnxruntime/capi',
    ...(await napiFolders(location, platform, arch)),
    ...(await environmentFolders(location)),
  ];
  for (const folder of inside) {
    const home = path.join(location, folder);
    const names = await filesIn(home);
    const library = pickLibrary(engine, platform, names);
    if (library !== undefined) return openHome(home, names, library, target, `"${location}"`);
  }
  throw new TenonError(
    'ERR_TENON_ENGINE_INSTALL',
    `expected ${libraryNames(engine, platform).example} (${engineTitles[engine]} for ` +
      `${platform}-${arch}) in the folder "${location}", found none there nor in its ` +
      inside.slice(1).join(', '),
  );
}

async function openSingle(location: string, target: Target): Promise<EngineArchive> {
  const home = path.dirname(location);
  const library = path.basename(location);
  if (pickLibrary(target.engine, target.platform, [library]) === undefined) {
    throw new TenonError(
      'ERR_TENON_ENGINE_INSTALL',
      `expected a library named ${libraryNames(target.engine, target.platform).example}, received "${location}"`,
    );
  }
  const companions = libraryNames(target.engine, target.platform).companions;
  const names = (await filesIn(home)).filter(
    (name) => name === library || companions.some((pattern) => pattern.test(name)),
  );
  return openHome(home, names, library, target, `"${location}"`);
}

async function napiFolders(location: string, platform: string, arch: string): Promise<string[]> {
  const versions = (await filesIn(path.join(location, 'bin'))).filter((name) =>
    /^napi-v\d+$/.test(name),
  );
  return versions.map((version) => `bin/${version}/${platform}/${arch}`);
}

/** The engine's folders in a Python environment. */
async function environmentFolders(location: string): Promise<string[]> {
  const versions = (await filesIn(path.join(location, 'lib'))).filter((name) =>
    /^python3\.\d+/.test(name),
  );
  return versions.flatMap((version) =>
    ['tensorflow', 'onnxruntime/capi'].map((inside) => `lib/${version}/site-packages/${inside}`),
  );
}

async function filesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}

/** The files around a library, links followed: what the user points at is the user's. */
async function openHome(
  home: string,
  names: readonly string[],
  library: string,
  { engine, platform }: Target,
  description: string,
): Promise<EngineArchive> {
  const { companions } = libraryNames(engine, platform);
  const entries: ArchiveEntry[] = [];
  const locations = new Map<string, string>();
  const add = async (name: string, location: string): Promise<void> => {
    const status = await stat(location).catch(() => undefined);
    if (status?.isFile() !== true || locations.has(name)) return;
    entries.push({ path: name, bytes: status.size, kind: 'file' });
    locations.set(name, location);
  };
  await add(library, path.join(home, library));
  for (const name of names) {
    if (companions.some((pattern) => pattern.test(name)) || isLicence(name)) {
      await add(name, path.join(home, name));
    }
  }
  // Two levels up: a C archive's root, a package's folder, site-packages with its dist-info.
  for (const up of ['..', '../..']) {
    for (const name of await filesIn(path.join(home, up))) {
      const location = path.join(home, up, name);
      if (isLicence(name)) await add(name, location);
      if (name === 'VERSION_NUMBER') await add(name, location);
      if (packageNames[engine].test(name)) {
        entries.push({ path: `${name}/METADATA`, bytes: 0, kind: 'folder' });
      }
    }
  }
  const header = path.join('include', 'tensorflow', 'core', 'public');
  for (const up of ['.', '..']) {
    for (const name of ['release_version.h', 'version.h']) {
      await add(`include/tensorflow/core/public/${name}`, path.join(home, up, header, name));
    }
  }
  // onnxruntime-node: bin/napi-v6/<platform>/<arch>/ below the package's own folder.
  if (/[\\/]bin[\\/]napi-v\d+[\\/][^\\/]+[\\/][^\\/]+$/.test(path.resolve(home))) {
    await add('package/package.json', path.join(home, '../../../..', 'package.json'));
  }
  // The name a link leads to may say the version.
  const real = path.basename(await realpath(path.join(home, library)));
  if (real !== library) entries.push({ path: real, bytes: 0, kind: 'link' });

  return {
    description,
    entries,
    async readTexts(paths) {
      const texts = new Map<string, string>();
      for (const name of paths) {
        const location = locations.get(name);
        if (location !== undefined) texts.set(name, await readFile(location, 'utf8'));
      }
      return texts;
    },
    async extract(paths, write) {
      for (const name of paths) {
        const location = locations.get(name);
        if (location === undefined) continue;
        await write(name, createReadStream(location, { highWaterMark: 1 << 20 }));
      }
    },
  };
}

async function readText(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxTextBytes) throw new Error(`a text of more than ${formatBytes(maxTextBytes)}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
