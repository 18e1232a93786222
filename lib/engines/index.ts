import type { EngineName } from '../native/types.js';
import { engineNotFound, searchEngine, type FoundEngine } from './find.js';
import type { ExecutionDevice, ListDevicesOptions } from './devices.js';
import type { InstallEngineOptions, InstalledEngine } from './install.js';
import type { EngineStatus, ListEnginesOptions } from './list.js';
import { createProgressBar } from './progress.js';
import { engineTitles } from './versions.js';

export type { ExecutionDevice, ListDevicesOptions } from './devices.js';
export { environmentVariables, findEngine } from './find.js';
export type { FindEngineOptions, FoundEngine } from './find.js';
export type { InstallEngineOptions, InstalledEngine } from './install.js';
export type { EngineStatus, ListEnginesOptions } from './list.js';
export { createProgressBar, formatBytes } from './progress.js';
export type { InstallProgress, OnProgress, ProgressBar } from './progress.js';
export { defaultVersions, engineNames, engineTitles, oldestVersions } from './versions.js';

export interface EnsureEngineOptions extends InstallEngineOptions {
  /** Where an install draws its progress, such as process.stderr. Default: nowhere. */
  progress?: NodeJS.WritableStream | undefined;
}

// The installer, with its archive readers, and the prober are read when they are first used:
// `import 'tenon'` must stay cheap.

/**
 * Says for each engine: found or not, where, its version, providers and devices. The engines are
 * opened in processes of their own, not in this one.
 *
 * Never throws for an engine's sake: what is wrong is in its `error`, with a code of docs/errors.md
 * (ERR_TENON_ENGINE_NOT_FOUND, ERR_TENON_ENGINE_LOAD, ERR_TENON_ENGINE_VERSION …).
 */
async function list(options?: ListEnginesOptions): Promise<EngineStatus[]> {
  return (await import('./list.js')).listEngines(options);
}

/**
 * Gets an engine's library into Tenon's cache folder, where `load` finds it: by the user's own pip
 * or npm, from an official archive, or `from` a file, folder or URL. See docs/engines.md.
 *
 * Appears complete or not at all, also when killed; may run twice at once; left alone where it is
 * complete already. Throws ERR_TENON_ENGINE_INSTALL (each way tried, why it failed and what helps),
 * ERR_TENON_CHECKSUM, ERR_TENON_ENGINE_VERSION, and the signal's reason.
 */
async function install(name: EngineName, options?: InstallEngineOptions): Promise<InstalledEngine> {
  return (await import('./install.js')).installEngine(name, options);
}

/**
 * Finds an engine, and installs it where none is found. `progress` names a stream to draw on.
 * Throws what `install` throws, and ERR_TENON_ENGINE_NOT_FOUND where an environment variable names
 * a library that is not there.
 */
async function ensure(name: EngineName, options: EnsureEngineOptions = {}): Promise<FoundEngine> {
  const search = await searchEngine(name, options);
  if (search.found !== undefined) return search.found;
  const bar =
    options.progress === undefined
      ? undefined
      : createProgressBar(options.progress, engineTitles[name]);
  try {
    await install(name, {
      ...options,
      onProgress(progress) {
        bar?.onProgress(progress);
        options.onProgress?.(progress);
      },
    });
  } finally {
    bar?.end();
  }
  const { found, tried } = await searchEngine(name, options);
  if (found === undefined) throw engineNotFound(name, tried);
  return found;
}

/**
 * The devices that ONNX Runtime's execution providers can use, in the engine's order. Opens the
 * engine in this process, provider libraries of `configure` included, and so fixes its settings.
 *
 * Throws ERR_TENON_UNSUPPORTED before ONNX Runtime 1.22, ERR_TENON_PROVIDER for a provider library
 * that cannot be opened, and ERR_TENON_ENGINE_….
 */
async function devices(options?: ListDevicesOptions): Promise<ExecutionDevice[]> {
  return (await import('./devices.js')).listDevices(options);
}

/** Finding out about the engines of this machine, and getting them. */
export const engines = { list, install, ensure, devices };
