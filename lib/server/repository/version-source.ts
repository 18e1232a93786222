/** What versions a base path holds, looked at as cheaply as possible. */

import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

import type { SourceVersion } from './aspired-versions.js';

export type Scan =
  /** As the last time. */
  | { readonly kind: 'unchanged' }
  /** The base path is not there or cannot be read: what is served stays. */
  | { readonly kind: 'missing'; readonly error: Error }
  | {
      readonly kind: 'found';
      readonly versions: readonly SourceVersion[];
      /** Folders that are left out because another has the same version. */
      readonly duplicates: readonly string[];
    };

/** The version of a base path that is a model itself. */
export const onlyVersion = 1n;

const maxVersion = 2n ** 63n - 1n;

/**
 * Times of files are in steps of up to two seconds (FAT, NFS): a folder changed within such a step
 * before it was read may be changed again without its time telling.
 */
const timeStepMs = 2000;

/** int64 of 0 or more; leading zeros are allowed. */
export function parseVersion(name: string): bigint | undefined {
  if (!/^\d{1,64}$/.test(name)) return undefined;
  const version = BigInt(name);
  return version <= maxVersion ? version : undefined;
}

/** The model that a folder holds itself: the folder of a SavedModel or the path of a file. */
export function modelIn(folder: string, names: readonly string[]): string | undefined {
  if (names.includes('saved_model.pb') || names.includes('saved_model.pbtxt')) return folder;
  if (names.includes('model.onnx')) return path.join(folder, 'model.onnx');
  const models = names.filter(isModelFile);
  return models.length === 1 ? path.join(folder, models[0] as string) : undefined;
}

export function isModelFile(name: string): boolean {
  return /\.(onnx|ort)$/i.test(name);
}

/**
 * One base path, scanned again and again. The folder is read only where its time of change is
 * another than when it was read last, or so late that it might be changed again without it.
 */
export class VersionSource {
  readonly #basePath: string;
  /** The folder as it was when it was last read, where that time tells. */
  #seen: string | undefined;
  #last = '';
  #folder: string | undefined;

  constructor(basePath: string) {
    this.#basePath = basePath;
  }

  /** Which folder the base path was, or the file's was; undefined where it was not there. */
  get folder(): string | undefined {
    return this.#folder;
  }

  /** Never rejects. */
  async scan(): Promise<Scan> {
    try {
      return await this.#scan();
    } catch (error) {
      const key = `missing ${String(error)}`;
      this.#seen = undefined;
      this.#folder = undefined;
      if (this.#last === key) return { kind: 'unchanged' };
      this.#last = key;
      return { kind: 'missing', error: error as Error };
    }
  }

  async #scan(): Promise<Scan> {
    const found = await stat(this.#basePath, { bigint: true });
    if (!found.isDirectory()) {
      if (!isModelFile(this.#basePath)) {
        throw new Error('it is neither a folder nor an .onnx or .ort file');
      }
      this.#folder = path.dirname(this.#basePath);
      return this.#found([await modelItself(this.#basePath)], []);
    }
    this.#folder = `${found.dev} ${found.ino}`;
    const stamp = `${found.dev} ${found.ino} ${found.mtimeNs} ${found.ctimeNs}`;
    if (stamp === this.#seen) return { kind: 'unchanged' };
    const readAtMs = Date.now();
    const entries = await readdir(this.#basePath, { withFileTypes: true });
    const { versions, duplicates } = versionsAmong(
      this.#basePath,
      entries
        .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
        .map(({ name }) => name),
    );
    if (versions.length === 0) {
      const model = modelIn(
        this.#basePath,
        entries.map(({ name }) => name),
      );
      // Its file may be written anew without the folder's time telling.
      if (model !== undefined) return this.#found([await modelItself(model)], []);
    }
    const changedAtMs = Number(found.mtimeMs > found.ctimeMs ? found.mtimeMs : found.ctimeMs);
    this.#seen = readAtMs - changedAtMs > timeStepMs ? stamp : undefined;
    return this.#found(versions, duplicates);
  }

  #found(versions: readonly SourceVersion[], duplicates: readonly string[]): Scan {
    const key = `found ${versions.map((version) => version.key).join('\n')}`;
    if (this.#last === key) return { kind: 'unchanged' };
    this.#last = key;
    return { kind: 'found', versions, duplicates };
  }
}

async function modelItself(model: string): Promise<SourceVersion> {
  const found = await stat(model, { bigint: true });
  const file = found.isDirectory()
    ? await stat(path.join(model, 'saved_model.pb'), { bigint: true })
    : found;
  return {
    version: onlyVersion,
    path: model,
    key: `${model}\0${file.ino} ${file.size} ${file.mtimeNs}`,
  };
}

function versionsAmong(
  basePath: string,
  names: readonly string[],
): { versions: SourceVersion[]; duplicates: string[] } {
  const folders = new Map<bigint, string>();
  const duplicates: string[] = [];
  // The shorter name first: what else has its number has more zeros in front.
  for (const name of [...names].sort((a, b) => a.length - b.length)) {
    const version = parseVersion(name);
    if (version === undefined) continue;
    if (folders.has(version)) duplicates.push(path.join(basePath, name));
    else folders.set(version, name);
  }
  const versions = [...folders].map(([version, name]) => {
    const folder = path.join(basePath, name);
    return { version, path: folder, key: folder };
  });
  return { versions, duplicates };
}
