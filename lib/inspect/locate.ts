import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { types } from 'node:util';

import type { ModelSource, ResolvedSource } from '../model/source.js';
import { resolveSource } from '../model/source.js';

export type ModelFormat = 'saved-model' | 'onnx' | 'ort' | 'graph-def';

/** A model's bytes, or where it is and what it is called. */
export type LocatedModel =
  | { readonly format: 'onnx'; readonly bytes: Uint8Array }
  | (Place & { readonly format: ModelFormat; readonly bytes?: undefined });

interface Place {
  /** The SavedModel's folder, or the model's file. */
  readonly path: string;
  /** What the model is called after: its file or folder, not the version's. */
  readonly name: string;
  /** The version folder it was found in. */
  readonly version: string | null;
  /** All version folders beside it, lowest first; empty where there are none. */
  readonly versions: readonly string[];
}

/**
 * Finds the model as `load()` does, and says in which of which versions. Errors:
 * ERR_TENON_MODEL_NOT_FOUND, ERR_TENON_MODEL_FORMAT, ERR_TENON_INVALID_ARGUMENT.
 */
export async function locateModel(source: ModelSource): Promise<LocatedModel> {
  // Read where they are: load() would copy them into memory of its own.
  if (ArrayBuffer.isView(source)) {
    const { buffer, byteOffset, byteLength } = source;
    return { format: 'onnx', bytes: new Uint8Array(buffer, byteOffset, byteLength) };
  }
  if (types.isAnyArrayBuffer(source)) return { format: 'onnx', bytes: new Uint8Array(source) };
  const resolved = await resolveSource(source, undefined);
  const modelPath = pathOf(resolved);
  const format = formatOf(resolved, modelPath);
  const folder = format === 'saved-model' ? modelPath : path.dirname(modelPath);
  const parent = path.dirname(folder);
  const given = await givenFolder(source);
  const single = { format, path: modelPath, version: null, versions: [] };
  if (given === undefined) {
    const named = format === 'saved-model' ? path.basename(modelPath) : path.parse(modelPath).name;
    return { ...single, name: named };
  }
  if (given !== (await realpath(parent)) || !isVersion(path.basename(folder))) {
    return { ...single, name: path.basename(folder) };
  }
  return {
    format,
    path: modelPath,
    name: path.basename(parent),
    version: path.basename(folder),
    versions: await versionsIn(parent),
  };
}

function pathOf(resolved: ResolvedSource): string {
  if ('savedModel' in resolved) return resolved.savedModel;
  if ('frozenGraph' in resolved) return resolved.frozenGraph;
  return resolved.model as string;
}

function formatOf(resolved: ResolvedSource, modelPath: string): ModelFormat {
  if ('savedModel' in resolved) return 'saved-model';
  if ('frozenGraph' in resolved) return 'graph-def';
  return path.extname(modelPath).toLowerCase() === '.ort' ? 'ort' : 'onnx';
}

/** The folder a source names, links resolved; undefined where it names a file. */
async function givenFolder(source: string | URL): Promise<string | undefined> {
  return (await stat(source)).isDirectory() ? realpath(source) : undefined;
}

function isVersion(name: string): boolean {
  return /^\d+$/.test(name);
}

async function versionsIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isVersion);
  return names.sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0));
}
