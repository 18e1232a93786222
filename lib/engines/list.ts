import { TenonError } from '../errors.js';
import type { EngineName } from '../native/types.js';
import { currentContext, type EngineContext } from './context.js';
import { engineNotFound, searchEngine, type FoundEngine } from './find.js';
import { probeEngine } from './probe.js';
import { engineNames } from './versions.js';

export interface ListEnginesOptions {
  /** Tenon's cache folder. Default: $TENON_CACHE, or the platform's own place for caches. */
  cacheFolder?: string | undefined;
  /** Milliseconds for opening one engine. Default: 60 000. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface EngineStatus {
  name: EngineName;
  /** A library was found; `error` says if it cannot be used. */
  found: boolean;
  version?: string;
  /** An absolute path, or a bare file name for the system's loader. */
  library?: string;
  foundBy?: FoundEngine['foundBy'];
  /** Which package, cache folder or Python environment, in words. */
  detail?: string;
  /** ONNX Runtime's execution providers. */
  providers?: string[];
  devices?: string[];
  error?: { code: string; message: string };
  /** Where it is not found: every place looked at, in order, with what was seen there. */
  tried?: string[];
}

/**
 * Finds both engines and asks each about itself, in a process of its own: nothing is mapped into
 * this one. Rejects only with the signal's reason; what is wrong with an engine is in its `error`.
 */
export async function listEngines(
  options: ListEnginesOptions = {},
  context: EngineContext = currentContext(),
): Promise<EngineStatus[]> {
  return Promise.all(engineNames.map((name) => statusOf(name, options, context)));
}

async function statusOf(
  name: EngineName,
  options: ListEnginesOptions,
  context: EngineContext,
): Promise<EngineStatus> {
  let found: FoundEngine;
  try {
    const search = await searchEngine(name, { cacheFolder: options.cacheFolder }, context);
    if (search.found === undefined) {
      const error = inShort(engineNotFound(name, search.tried));
      return { name, found: false, error, tried: search.tried };
    }
    found = search.found;
  } catch (error) {
    return { name, found: false, error: inShort(error) };
  }
  const { library, foundBy, detail } = found;
  const status = { name, found: true, library, foundBy, detail };
  try {
    const { version, providers, devices } = await probeEngine(name, library, options);
    return { ...status, version, providers, devices };
  } catch (error) {
    options.signal?.throwIfAborted();
    return { ...status, error: inShort(error) };
  }
}

function inShort(error: unknown): { code: string; message: string } {
  if (error instanceof TenonError) return { code: error.code, message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'ERR_TENON_ENGINE_LOAD', message };
}
