/** Options of a session: checked as the stock binding does, in the form `load()` takes. */

import { readFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import type * as ort from 'onnxruntime-common';

import { inspect, type LoadOptions, type LogLevel, type OnnxRuntimeLoadOptions } from '../index.js';
import { failure, rangeError, typeError } from './errors.js';
import { flatten } from './extra.js';
import { backendName, providerName, providerOf } from './providers.js';
import { logLevelOf, logVerbosityOf } from './run-options.js';

export type SessionOptions = ort.InferenceSession.SessionOptions;

/** Everything is `unknown`: what callers give is checked here for the first time. */
type Given = { readonly [name in keyof SessionOptions]?: unknown };

const subject = 'sessionOptions';

function optional<T>(value: unknown, is: (value: unknown) => value is T, message: string) {
  if (value === undefined) return undefined;
  if (!is(value)) throw typeError(`Invalid argument: ${subject}.${message}`);
  return value;
}

const isString = (value: unknown): value is string => typeof value === 'string';
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';

function oneOf<T extends string>(
  value: unknown,
  option: string,
  choices: readonly T[],
): T | undefined {
  const given = optional(value, isString, `${option} must be a string.`);
  if (given !== undefined && !choices.includes(given as T)) {
    throw typeError(`'${option}' is not supported: ${given}`);
  }
  return given as T | undefined;
}

/** A number of threads; 0 leaves it to the engine. */
function threadsOf(value: unknown, option: string): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') {
    throw typeError(`Invalid argument: ${subject}.${option} must be a number.`);
  }
  if (!Number.isInteger(value) || value < 0) throw rangeError(`'${option}' is invalid: ${value}`);
  return value === 0 ? undefined : value;
}

const locations = ['cpu', 'cpu-pinned', 'texture', 'gpu-buffer', 'ml-tensor'];

function isLocation(value: unknown): value is ort.Tensor.DataLocation {
  return typeof value === 'string' && locations.includes(value);
}

/**
 * Which outputs are asked to stay on a device.
 *
 * @throws TypeError as the stock binding does.
 */
export function outputsOnDevice(preferred: unknown, outputNames: readonly string[]): Set<string> {
  if (preferred === undefined) return new Set();
  if (typeof preferred !== 'object' || preferred === null) {
    if (!isLocation(preferred)) {
      throw typeError(
        'Invalid argument: preferredOutputLocation must be an array or a valid string.',
      );
    }
    return new Set(preferred === 'gpu-buffer' ? outputNames : []);
  }
  const names = new Set<string>();
  for (const [name, location] of Object.entries(preferred) as [string, unknown][]) {
    if (!outputNames.includes(name)) {
      throw typeError(`Invalid argument: "${name}" is not a valid output name.`);
    }
    if (!isLocation(location)) {
      throw typeError(
        `Invalid argument: preferredOutputLocation["${name}"] must be a valid string.`,
      );
    }
    if (location === 'gpu-buffer') names.add(name);
  }
  return names;
}

/** The name that ONNX Runtime gives a profile: the prefix and the time. */
function profileName(prefix: string): string {
  const now = new Date();
  const two = (part: number): string => String(part).padStart(2, '0');
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = `${two(now.getHours())}-${two(now.getMinutes())}-${two(now.getSeconds())}`;
  return `${prefix}_${date}_${time}_${String(now.getMilliseconds()).padStart(3, '0')}.json`;
}

function profilingOf(given: Given): { file: string } | undefined {
  const { enableProfiling, profileFilePrefix } = given;
  if (optional(enableProfiling, isBoolean, 'enableProfiling must be a boolean value.') !== true) {
    return undefined;
  }
  const needed = 'when sessionOptions.enableProfiling is set to true.';
  if (profileFilePrefix === undefined) {
    throw typeError(`Invalid argument: ${subject}.profileFilePrefix is required ${needed}`);
  }
  const prefix = optional(
    profileFilePrefix,
    isString,
    `profileFilePrefix must be a string. ${needed}`,
  );
  return { file: profileName(prefix as string) };
}

export interface ResolvedSessionOptions {
  readonly source: string | Uint8Array;
  readonly load: LoadOptions;
  /** Names of providers in the caller's order. */
  readonly providers: readonly string[];
  readonly preferredOutputLocation: unknown;
}

/**
 * @param logLevel What `env.logLevel` says.
 * @throws TypeError, RangeError naming the option.
 */
export async function resolveSessionOptions(
  source: string | Uint8Array,
  options: SessionOptions,
  logLevel: LogLevel | undefined,
): Promise<ResolvedSessionOptions> {
  const given: Given = options;
  const intraOp = threadsOf(given.intraOpNumThreads, 'intraOpNumThreads');
  const interOp = threadsOf(given.interOpNumThreads, 'interOpNumThreads');
  const mode = oneOf(given.executionMode, 'executionMode', ['sequential', 'parallel']);
  const asked = given.executionProviders ?? [];
  if (!Array.isArray(asked)) {
    throw typeError(`Invalid argument: ${subject}.executionProviders must be an array.`);
  }
  // The backend's own name chooses this backend, and no provider.
  const providers = asked.filter((provider) => providerName(provider) !== backendName);
  const graphOptimizationLevel = oneOf(given.graphOptimizationLevel, 'graphOptimizationLevel', [
    'disabled',
    'basic',
    'extended',
    'layout',
    'all',
  ]);
  const cpuArena = optional(
    given.enableCpuMemArena,
    isBoolean,
    'enableCpuMemArena must be a boolean value.',
  );
  const memoryPattern = optional(
    given.enableMemPattern,
    isBoolean,
    'enableMemPattern must be a boolean value.',
  );
  const optimizedModelPath = optional(
    given.optimizedModelFilePath,
    isString,
    'optimizedModelFilePath must be a string.',
  );
  const logId = optional(given.logId, isString, 'logId must be a string.');
  const level = logLevelOf(given.logSeverityLevel, subject) ?? logLevel;
  const logVerbosity = logVerbosityOf(given.logVerbosityLevel, subject);
  const profiling = profilingOf(given);
  const names = providers.map(providerName);
  const configEntries = flatten(given.extra, subject);
  // What is said of outputs is checked before the model is known, as far as that goes.
  if (typeof given.preferredOutputLocation !== 'object') {
    outputsOnDevice(given.preferredOutputLocation, []);
  }
  const external = await externalData(given.externalData, source);
  const freeDimensionOverrides = await dimensionsOf(given.freeDimensionOverrides, source);
  const onnxruntime: OnnxRuntimeLoadOptions = {
    ...(graphOptimizationLevel === undefined ? {} : { graphOptimizationLevel }),
    ...(cpuArena === undefined ? {} : { cpuArena }),
    ...(memoryPattern === undefined ? {} : { memoryPattern }),
    ...(optimizedModelPath === undefined ? {} : { optimizedModelPath }),
    ...(logId === undefined ? {} : { logId }),
    ...(level === undefined ? {} : { logLevel: level }),
    ...(logVerbosity === undefined ? {} : { logVerbosity }),
    ...(profiling === undefined ? {} : { profiling }),
    ...(freeDimensionOverrides === undefined ? {} : { freeDimensionOverrides }),
    ...(external === undefined ? {} : { externalData: external.files }),
    configEntries: { ...external?.configEntries, ...configEntries },
  };
  return {
    source: external?.model ?? source,
    load: {
      engine: 'onnxruntime',
      // The engine's own words on a wrong shape are those that users know.
      validateShapes: false,
      threads: {
        ...(intraOp === undefined ? {} : { intraOp }),
        ...(mode === 'parallel' ? { interOp: interOp ?? os.availableParallelism() } : {}),
      },
      executionProviders: providers.map((provider: unknown, index) => providerOf(provider, index)),
      onnxruntime,
    },
    providers: names,
    preferredOutputLocation: given.preferredOutputLocation,
  };
}

/** Overrides for dimensions that the model has: others say nothing of it, to ONNX Runtime as here. */
async function dimensionsOf(
  overrides: unknown,
  source: string | Uint8Array,
): Promise<Record<string, number> | undefined> {
  if (overrides === undefined) return undefined;
  if (typeof overrides !== 'object' || overrides === null) {
    throw typeError(`Invalid argument: ${subject}.freeDimensionOverrides must be an object.`);
  }
  const sizes = Object.entries(overrides) as [string, unknown][];
  for (const [name, size] of sizes) {
    const option = `Invalid argument: ${subject}.freeDimensionOverrides["${name}"]`;
    if (typeof size !== 'number') throw typeError(`${option} must be a number.`);
    if (!Number.isSafeInteger(size) || size < 0) throw rangeError(`${option} is invalid: ${size}`);
  }
  const known = await symbolicDimensions(source);
  return Object.fromEntries(sizes.filter(([name]) => known?.has(name) ?? true)) as Record<
    string,
    number
  >;
}

/** The names of a model's symbolic dimensions; undefined where only the engine can tell. */
async function symbolicDimensions(source: string | Uint8Array): Promise<Set<string> | undefined> {
  try {
    const { signatures } = await inspect(source);
    const inputs = Object.values(signatures).flatMap(({ inputs }) => Object.values(inputs));
    const dimensions = inputs.flatMap((spec) => (spec.kind === 'tensor' ? (spec.shape ?? []) : []));
    return new Set(dimensions.filter((dimension) => typeof dimension === 'string'));
  } catch {
    // A model that cannot be read fails its load, which says why.
    return undefined;
  }
}

interface ExternalData {
  readonly model: Uint8Array;
  readonly files: Record<string, Uint8Array>;
  readonly configEntries: Record<string, string>;
}

/**
 * The files of `externalData` as bytes, and with them the model, because the engine takes both in
 * memory or neither. Files it does not name are looked for beside the model.
 */
async function externalData(
  given: unknown,
  source: string | Uint8Array,
): Promise<ExternalData | undefined> {
  if (given === undefined) return undefined;
  if (!Array.isArray(given)) {
    throw typeError(`Invalid argument: ${subject}.externalData must be an array.`);
  }
  if (given.length === 0) return undefined;
  const folder = typeof source === 'string' ? path.dirname(path.resolve(source)) : process.cwd();
  const files: Record<string, Uint8Array> = {};
  for (const item of given as unknown[]) {
    if (typeof item === 'string') {
      files[path.basename(pathOf(item))] = await readExternal(item, folder);
      continue;
    }
    const what = `Invalid argument: ${subject}.externalData value must`;
    if (typeof item !== 'object' || item === null) {
      throw typeError(`${what} be a string or an object in Node.js binding.`);
    }
    const { path: name, data } = item as { path?: unknown; data?: unknown };
    if (typeof name !== 'string') {
      throw typeError(`${what} have a 'path' property of type string in Node.js binding.`);
    }
    const bytes = await bytesOf(data, folder);
    if (bytes === undefined) {
      throw typeError(
        `${what} have an 'data' property of type buffer or typed array in Node.js binding.`,
      );
    }
    files[name] = bytes;
  }
  if (typeof source !== 'string') return { model: source, files, configEntries: {} };
  return {
    model: await readExternal(source, process.cwd()),
    files,
    configEntries: { 'session.model_external_initializers_file_folder_path': folder },
  };
}

/** @param file A path, from `folder`, or a file: URL. */
async function readExternal(file: string, folder: string): Promise<Uint8Array> {
  const full = path.resolve(folder, pathOf(file));
  try {
    return await readFile(full);
  } catch (cause) {
    const { message } = cause as Error;
    throw failure(
      `Load model failed: expected a file at ${full}, received ${message}`,
      'ERR_TENON_MODEL_NOT_FOUND',
      cause,
    );
  }
}

function pathOf(fileOrUrl: string): string {
  return fileOrUrl.startsWith('file:') ? fileURLToPath(fileOrUrl) : fileOrUrl;
}

async function bytesOf(data: unknown, folder: string): Promise<Uint8Array | undefined> {
  if (typeof data === 'string') return readExternal(data, folder);
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return new Uint8Array(data);
  if (data instanceof Blob) return new Uint8Array(await data.arrayBuffer());
  return undefined;
}
