/** Which engine a model is for, and where its files are. */

import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';

import { describe, invalidArgument, TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type { EngineName } from '../native/types.js';
import { readFlags } from '../protobuf/model-file.js';

/** A path, a file: URL, or the bytes of an ONNX model. */
export type ModelSource = string | URL | Uint8Array | ArrayBuffer;

export type ResolvedSource =
  | { engine: 'onnxruntime'; model: string | Uint8Array }
  | { engine: 'tensorflow'; savedModel: string }
  | { engine: 'tensorflow'; frozenGraph: string };

/** Formats people try, and what helps. */
const otherFormats: Record<string, string> = {
  '.h5': 'export it as a SavedModel with model.export(folder)',
  '.keras': 'export it as a SavedModel with model.export(folder)',
  '.pt': 'export it with torch.onnx.export',
  '.pth': 'export it with torch.onnx.export',
  '.safetensors': 'it holds weights without a graph; export the model with torch.onnx.export',
  '.tflite': 'Tenon has no TensorFlow Lite engine; use the SavedModel it was made from',
  '.pbtxt': 'convert it to binary form: TensorFlow reads saved_model.pb faster and completely',
};

/**
 * @throws ERR_TENON_MODEL_NOT_FOUND where nothing is at the path, ERR_TENON_MODEL_FORMAT where it
 *   is no model of either engine.
 */
export async function resolveSource(
  source: ModelSource,
  engine: EngineName | undefined,
): Promise<ResolvedSource> {
  if (source instanceof URL || Object.prototype.toString.call(source) === '[object URL]') {
    const url = source as URL;
    if (url.protocol !== 'file:') {
      throw new TenonError(
        'ERR_TENON_MODEL_FORMAT',
        `expected a path or a file: URL as the model, received ${describe(url.protocol)}; download it first`,
      );
    }
    return resolvePath(pathOf(url), engine);
  }
  if (typeof source === 'string') {
    if (source === '' || source.includes('\0')) {
      throw invalidArgument('source', 'a path without NUL characters', source);
    }
    return resolvePath(source, engine);
  }
  const bytes = bytesOf(source);
  if (engine === 'tensorflow') {
    throw new TenonError(
      'ERR_TENON_MODEL_FORMAT',
      'expected a folder or a frozen graph file for TensorFlow, received bytes',
    );
  }
  return { engine: 'onnxruntime', model: bytes };
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      `expected a file: URL of this machine for "source", received ${describe(url.href)}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** The bytes in memory of Tenon's own: the caller may change or transfer its buffer at once. */
function bytesOf(source: unknown): Uint8Array {
  let bytes: Uint8Array;
  try {
    if (ArrayBuffer.isView(source)) {
      bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    } else if (types.isAnyArrayBuffer(source)) {
      bytes = new Uint8Array(source);
    } else {
      throw invalidArgument('source', 'a path, a file: URL or bytes', source);
    }
  } catch (cause) {
    if (cause instanceof TenonError) throw cause;
    throw new TenonError(
      'ERR_TENON_DETACHED',
      `expected bytes that are there for "source", received ${describe(source)} whose ArrayBuffer is detached or was shrunk`,
      { cause },
    );
  }
  const own = new Uint8Array(nativeAddon().alloc(bytes.byteLength));
  own.set(bytes);
  return own;
}

async function resolvePath(given: string, engine: EngineName | undefined): Promise<ResolvedSource> {
  const file = path.resolve(given);
  const found = await look(file, () => stat(file));
  const resolved = found.isDirectory() ? await resolveFolder(file) : resolveFile(file, engine);
  if (engine !== undefined && resolved.engine !== engine) {
    throw new TenonError(
      'ERR_TENON_MODEL_FORMAT',
      `expected a model for ${engine} at ${file}, received one for ${resolved.engine}`,
    );
  }
  if ('frozenGraph' in resolved) await checkFile(resolved.frozenGraph);
  if ('model' in resolved && typeof resolved.model === 'string') await checkFile(resolved.model);
  return resolved;
}

/** That an engine can read `file`: one that opens a pipe would wait for ever. */
async function checkFile(file: string): Promise<void> {
  const found = await look(file, async () => {
    const handle = await open(file, readFlags);
    return handle.stat().finally(() => handle.close());
  });
  if (!found.isFile()) {
    throw new TenonError(
      'ERR_TENON_MODEL_FORMAT',
      `expected a regular file at ${file}, received a folder, a pipe or a device`,
    );
  }
}

/** What the file system says of `file`, or that there is no model. */
async function look<T>(file: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_MODEL_NOT_FOUND',
      `expected a model at ${file}, received ${(cause as Error).message}`,
      { cause },
    );
  }
}

function resolveFile(file: string, engine: EngineName | undefined): ResolvedSource {
  const extension = path.extname(file).toLowerCase();
  if (path.basename(file) === 'saved_model.pb') {
    return { engine: 'tensorflow', savedModel: path.dirname(file) };
  }
  if (extension === '.onnx' || extension === '.ort' || engine === 'onnxruntime') {
    return { engine: 'onnxruntime', model: file };
  }
  if (extension === '.pb' || engine === 'tensorflow') {
    return { engine: 'tensorflow', frozenGraph: file };
  }
  const remedy = otherFormats[extension];
  throw new TenonError(
    'ERR_TENON_MODEL_FORMAT',
    `expected an .onnx or .ort file, a SavedModel folder or a frozen .pb, received ${file}` +
      (remedy === undefined
        ? '; name the engine with the "engine" option if it is one'
        : `: ${remedy}`),
  );
}

async function resolveFolder(folder: string): Promise<ResolvedSource> {
  const direct = await modelIn(folder);
  if (direct !== undefined) return direct;
  const names = await look(folder, () => readdir(folder));
  const versions = names.filter((name) => /^\d+$/.test(name));
  // As numbers of any length: 00000123 and 123 are one version, 10 is above 9.
  versions.sort((a, b) => (BigInt(a) < BigInt(b) ? 1 : -1));
  for (const version of versions) {
    const model = await modelIn(path.join(folder, version));
    if (model !== undefined) return model;
  }
  throw new TenonError(
    'ERR_TENON_MODEL_FORMAT',
    `expected saved_model.pb, one .onnx or .ort file, or numbered versions holding one in ${folder}, ` +
      `received ${versions.length > 0 ? `versions ${versions.join(', ')} without a model` : 'none of them'}`,
  );
}

/** The model a folder holds itself; undefined where it holds none. */
async function modelIn(folder: string): Promise<ResolvedSource | undefined> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch {
    return undefined;
  }
  if (names.includes('saved_model.pb') || names.includes('saved_model.pbtxt')) {
    return { engine: 'tensorflow', savedModel: folder };
  }
  if (names.includes('model.onnx')) {
    return { engine: 'onnxruntime', model: path.join(folder, 'model.onnx') };
  }
  const models = names.filter((name) => /\.(onnx|ort)$/i.test(name));
  if (models.length === 1) {
    return { engine: 'onnxruntime', model: path.join(folder, models[0] as string) };
  }
  return undefined;
}
