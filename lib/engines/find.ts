import { readdir, readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

import { TenonError, invalidArgument } from '../errors.js';
import { packageRoot } from '../native/load.js';
import type { EngineName } from '../native/types.js';
import { cacheFolder, engineFolder, listInstalled } from './cache.js';
import { currentContext, type EngineContext } from './context.js';
import { libraryNames, pickLibrary, pickLibraryIn } from './libraries.js';
import { engineNames, engineTitles } from './versions.js';

export interface FindEngineOptions {
  /**
   * The library itself: a path (relative to the working directory), a folder that holds it, or a
   * bare file name, which the system's loader looks up.
   */
  library?: string | undefined;
  /** Tenon's cache folder. Default: $TENON_CACHE, or the platform's own place for caches. */
  cacheFolder?: string | undefined;
}

export interface FoundEngine {
  name: EngineName;
  /** An absolute path, or a bare file name for the system's loader. */
  library: string;
  foundBy: 'option' | 'environment' | 'package' | 'cache' | 'python' | 'system';
  /** Which package, cache folder or Python environment, in words. */
  detail: string;
}

export interface Search {
  found?: FoundEngine;
  /** Every place looked at, in order, with what was seen there. */
  tried: string[];
}

/** The environment variable that points at an engine's library. */
export const environmentVariables: Record<EngineName, string> = {
  onnxruntime: 'TENON_ONNXRUNTIME_LIBRARY',
  tensorflow: 'TENON_TENSORFLOW_LIBRARY',
};

// child.js is imported where it is needed: node:child_process would cost every `import 'tenon'`.

/** How long a Python interpreter may take to say where its packages are. */
const pythonTimeoutMs = 5_000;
const ldconfigTimeoutMs = 5_000;

/**
 * Finds an engine's library without opening it. Looked at in this order: the `library` option; the
 * environment variable (TENON_ONNXRUNTIME_LIBRARY, TENON_TENSORFLOW_LIBRARY); for ONNX Runtime the
 * packages onnxruntime-node-engine and onnxruntime-node; what `engines.install` put into the cache;
 * the Python environment in use; the system's libraries.
 *
 * Nothing is remembered between calls. Throws ERR_TENON_ENGINE_NOT_FOUND with every place tried,
 * also where an option or a variable names a path that is not there.
 */
export async function findEngine(
  name: EngineName,
  options: FindEngineOptions = {},
): Promise<FoundEngine> {
  const { found, tried } = await searchEngine(name, options);
  if (found === undefined) throw engineNotFound(name, tried);
  return found;
}

export async function searchEngine(
  name: EngineName,
  options: FindEngineOptions = {},
  context: EngineContext = currentContext(),
): Promise<Search> {
  checkEngineName(name);
  if (options.library !== undefined && typeof options.library !== 'string') {
    throw invalidArgument('library', 'a path or a file name', options.library);
  }
  const tried: string[] = [];
  const steps = [byOption, byEnvironment, byPackage, byCache, byPython, bySystem];
  for (const step of steps) {
    const found = await step(name, options, context, tried);
    if (found !== undefined) return { found, tried };
  }
  return { tried };
}

export function checkEngineName(name: unknown): asserts name is EngineName {
  if (!engineNames.includes(name as EngineName)) {
    throw invalidArgument('name', 'one of "onnxruntime", "tensorflow"', name);
  }
}

export function engineNotFound(name: EngineName, tried: readonly string[]): TenonError {
  const variable = environmentVariables[name];
  const remedies = [
    `npx tenon engines install ${name}`,
    `${variable}=/path/to/${name === 'tensorflow' ? 'libtensorflow.so.2' : 'libonnxruntime.so.1'} (or the option "library")`,
  ];
  if (name === 'onnxruntime') remedies.push('npm install onnxruntime-node');
  return new TenonError(
    'ERR_TENON_ENGINE_NOT_FOUND',
    [
      `expected a library of ${engineTitles[name]} (${name}), found none. Tried, in this order:`,
      ...tried.map((line, i) => `  ${i + 1}. ${line}`),
      'Any of these helps:',
      ...remedies.map((line) => `  ${line}`),
    ].join('\n'),
  );
}

type Step = (
  name: EngineName,
  options: FindEngineOptions,
  context: EngineContext,
  tried: string[],
) => Promise<FoundEngine | undefined>;

const byOption: Step = async (name, options, context, tried) => {
  if (options.library === undefined) {
    tried.push('option "library": not given');
    return undefined;
  }
  const library = await givenLibrary(name, options.library, 'the option "library"', context);
  return { name, library, foundBy: 'option', detail: 'option "library"' };
};

const byEnvironment: Step = async (name, _options, context, tried) => {
  const variable = environmentVariables[name];
  const value = context.env[variable];
  if (value === undefined || value === '') {
    tried.push(`environment variable ${variable}: not set`);
    return undefined;
  }
  const library = await givenLibrary(name, value, `the environment variable ${variable}`, context);
  return { name, library, foundBy: 'environment', detail: variable };
};

/** What the user named is taken or refused, never passed over: a typing error must not go unseen. */
async function givenLibrary(
  name: EngineName,
  value: string,
  subject: string,
  context: EngineContext,
): Promise<string> {
  // Like dlopen: a name without a separator is looked up by the loader.
  if (!/[/\\]/.test(value) && value !== '' && value !== '.' && value !== '..') return value;
  const full = path.resolve(context.cwd, value);
  const kind = await kindOf(full);
  if (kind === 'file') return full;
  const inside = kind === 'folder' ? await pickLibraryIn(name, context.platform, full) : undefined;
  if (inside !== undefined) return inside;
  const seen =
    kind === 'folder'
      ? `, a folder without ${libraryNames(name, context.platform).example}`
      : ', which is not there';
  throw new TenonError(
    'ERR_TENON_ENGINE_NOT_FOUND',
    `expected ${subject} to name a library of ${engineTitles[name]}, received "${full}"${seen}`,
  );
}

const enginePackages = ['onnxruntime-node-engine', 'onnxruntime-node'] as const;

const byPackage: Step = async (name, _options, context, tried) => {
  if (name !== 'onnxruntime') return undefined;
  const bases = [context.cwd];
  try {
    bases.unshift(packageRoot());
  } catch {
    // A bundle without Tenon's package.json: the user's folder is what is left.
  }
  for (const packageName of enginePackages) {
    const seen: string[] = [];
    for (const folder of await packageFolders(packageName, bases)) {
      const library = await libraryOfPackage(folder, context);
      if (library !== undefined) {
        const version = await packageVersion(folder);
        const detail = version === undefined ? packageName : `${packageName} ${version}`;
        return { name, library, foundBy: 'package', detail };
      }
      seen.push(`${folder} has no library for ${context.platform}-${context.arch}`);
    }
    tried.push(
      `package ${packageName}: ${seen.length > 0 ? seen.join('; ') : `not installed for ${bases.join(' or ')}`}`,
    );
  }
  return undefined;
};

/**
 * Folders of an installed package, without asking its `exports`: every node_modules that Node
 * would look into, then Node's own resolution, which knows Plug'n'Play.
 */
async function packageFolders(packageName: string, bases: readonly string[]): Promise<string[]> {
  const folders = new Set<string>();
  for (const base of bases) {
    const require = createRequire(path.join(base, 'package.json'));
    for (const modules of require.resolve.paths(packageName) ?? []) {
      const folder = path.join(modules, packageName);
      if ((await kindOf(path.join(folder, 'package.json'))) === 'file') folders.add(folder);
    }
    if (process.versions.pnp !== undefined) {
      try {
        folders.add(path.dirname(require.resolve(`${packageName}/package.json`)));
      } catch {
        // Not a dependency of this base.
      }
    }
  }
  return [...folders];
}

/** `bin/napi-v<n>/<platform>/<arch>/`, the highest n first. */
async function libraryOfPackage(
  folder: string,
  context: EngineContext,
): Promise<string | undefined> {
  const bin = path.join(folder, 'bin');
  const versions = (await namesIn(bin))
    .filter((entry) => /^napi-v\d+$/.test(entry))
    .sort((a, b) => Number(b.slice(6)) - Number(a.slice(6)));
  for (const version of versions) {
    const library = await pickLibraryIn(
      'onnxruntime',
      context.platform,
      path.join(bin, version, context.platform, context.arch),
    );
    if (library !== undefined) return library;
  }
  return undefined;
}

async function packageVersion(folder: string): Promise<string | undefined> {
  try {
    const text = await readFile(path.join(folder, 'package.json'), 'utf8');
    const { version } = JSON.parse(text) as { version?: unknown };
    return typeof version === 'string' ? version : undefined;
  } catch {
    return undefined;
  }
}

const byCache: Step = async (name, options, context, tried) => {
  const cache = options.cacheFolder ?? cacheFolder(context);
  const folder = engineFolder(cache, name);
  const { installed, remarks } = await listInstalled(cache, name, context);
  const [best] = installed;
  if (best !== undefined) {
    return {
      name,
      library: best.library,
      foundBy: 'cache',
      detail: `${best.manifest.version}, installed by Tenon`,
    };
  }
  tried.push(`cache ${folder}: ${remarks.length > 0 ? remarks.join('; ') : 'nothing installed'}`);
  return undefined;
};

const byPython: Step = async (name, _options, context, tried) => {
  const { folders, origin } = await pythonPackageFolders(context);
  for (const folder of folders) {
    const inside =
      name === 'tensorflow'
        ? path.join(folder, 'tensorflow')
        : path.join(folder, 'onnxruntime', 'capi');
    const library = await pickLibraryIn(name, context.platform, inside);
    if (library !== undefined) {
      return { name, library, foundBy: 'python', detail: `${origin}, ${folder}` };
    }
  }
  const wanted = name === 'tensorflow' ? 'tensorflow/' : 'onnxruntime/capi/';
  tried.push(
    folders.length === 0
      ? `Python environment: ${origin}`
      : `Python environment (${origin}): no library in ${wanted} of ${folders.join(', ')}`,
  );
  return undefined;
};

interface PythonFolders {
  folders: string[];
  /** Which environment, or why there is none. */
  origin: string;
}

/** site-packages of the environment in use. No package is imported, no interpreter run for a venv. */
async function pythonPackageFolders(context: EngineContext): Promise<PythonFolders> {
  for (const variable of ['VIRTUAL_ENV', 'CONDA_PREFIX'] as const) {
    const prefix = context.env[variable];
    if (prefix === undefined || prefix === '') continue;
    const folders = await sitePackages(prefix, context.platform);
    if (folders.length > 0) return { folders, origin: variable };
  }
  const interpreter = await interpreterOnPath(context);
  if (interpreter === undefined) {
    return { folders: [], origin: 'neither VIRTUAL_ENV nor CONDA_PREFIX, and no python3 on PATH' };
  }
  // Isolated (-I), so that a file in the working directory cannot pose as a standard module.
  const script =
    'import json, site, sysconfig\n' +
    'paths = sysconfig.get_paths()\n' +
    'print(json.dumps([paths["platlib"], paths["purelib"], site.getusersitepackages()]))';
  try {
    const { runChild } = await import('./child.js');
    const result = await runChild(interpreter, ['-I', '-c', script], {
      timeoutMs: pythonTimeoutMs,
      env: context.env,
      cwd: context.cwd,
    });
    const line = result.stdout.trim().split('\n').at(-1) ?? '';
    if (result.code !== 0) {
      return { folders: [], origin: `${interpreter} failed to say where its packages are` };
    }
    const listed = JSON.parse(line) as unknown[];
    const folders = listed.filter((folder): folder is string => typeof folder === 'string');
    return { folders: [...new Set(folders)], origin: interpreter };
  } catch {
    return { folders: [], origin: `${interpreter} failed to say where its packages are` };
  }
}

async function sitePackages(prefix: string, platform: NodeJS.Platform): Promise<string[]> {
  if (platform === 'win32') return [path.join(prefix, 'Lib', 'site-packages')];
  const folders: string[] = [];
  for (const library of ['lib', 'lib64']) {
    for (const entry of await namesIn(path.join(prefix, library))) {
      if (/^python3\.\d+/.test(entry)) {
        folders.push(path.join(prefix, library, entry, 'site-packages'));
      }
    }
  }
  return folders;
}

/** Looked up here, so that nothing is spawned where there is no Python. */
async function interpreterOnPath(context: EngineContext): Promise<string | undefined> {
  const file = context.platform === 'win32' ? 'python.exe' : 'python3';
  for (const folder of (context.env.PATH ?? context.env.Path ?? '').split(path.delimiter)) {
    if (folder === '') continue;
    const full = path.join(folder, file);
    const status = await stat(full).catch(() => undefined);
    // The Store's stand-in on Windows is an empty file that opens the Store.
    if (status?.isFile() !== true || (context.platform === 'win32' && status.size === 0)) continue;
    // Apple's stand-in opens a dialog where the developer tools are not installed.
    if (context.platform === 'darwin' && full === '/usr/bin/python3') {
      const tools = ['/Library/Developer/CommandLineTools', '/Applications/Xcode.app'];
      const kinds = await Promise.all(tools.map(kindOf));
      if (!kinds.includes('folder')) continue;
    }
    return full;
  }
  return undefined;
}

const bySystem: Step = async (name, _options, context, tried) => {
  const { platform } = context;
  const { first, last } = systemFolders(context);
  for (const folder of first) {
    const library = await pickLibraryIn(name, platform, folder);
    if (library !== undefined) return { name, library, foundBy: 'system', detail: folder };
  }
  const places = [...first];
  if (platform === 'linux') {
    const known = await loaderCache(context);
    const file = pickLibrary(name, platform, known.keys());
    const library = file === undefined ? undefined : known.get(file);
    if (library !== undefined) {
      return { name, library, foundBy: 'system', detail: 'the loader cache (ldconfig -p)' };
    }
    places.push('the loader cache (ldconfig -p)');
  }
  for (const folder of last) {
    const library = await pickLibraryIn(name, platform, folder);
    if (library !== undefined) return { name, library, foundBy: 'system', detail: folder };
  }
  places.push(...last);
  tried.push(`system: no ${libraryNames(name, platform).example} in ${places.join(', ')}`);
  return undefined;
};

/** File name → path of what the loader knows for this architecture. */
async function loaderCache(context: EngineContext): Promise<Map<string, string>> {
  const known = new Map<string, string>();
  const architecture = { x64: 'x86-64', arm64: 'AArch64' }[context.arch];
  for (const command of ['/sbin/ldconfig', '/usr/sbin/ldconfig']) {
    if ((await kindOf(command)) !== 'file') continue;
    try {
      const { runChild } = await import('./child.js');
      const { stdout } = await runChild(command, ['-p'], { timeoutMs: ldconfigTimeoutMs });
      for (const line of stdout.split('\n')) {
        const match = /^\s*(\S+) \(([^)]*)\) => (\S+)$/.exec(line);
        if (match === null) continue;
        const [, file = '', flags = '', full = ''] = match;
        if (architecture !== undefined && !flags.includes(architecture)) continue;
        if (!known.has(file)) known.set(file, full);
      }
      return known;
    } catch {
      // musl's ldconfig knows no -p; the folders below are what is left.
    }
  }
  return known;
}

/** Folders the loader asks before its cache, and those it asks after. */
function systemFolders({ platform, env }: EngineContext): { first: string[]; last: string[] } {
  const absolute = (value: string | undefined): string[] => [
    ...new Set((value ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder))),
  ];
  switch (platform) {
    case 'win32':
      return { first: absolute(env.PATH ?? env.Path), last: [] };
    case 'darwin':
      return {
        first: absolute(env.DYLD_LIBRARY_PATH),
        last: ['/opt/homebrew/lib', '/usr/local/lib'],
      };
    default:
      return {
        first: absolute(env.LD_LIBRARY_PATH),
        last: ['/usr/local/lib', '/usr/lib', '/usr/lib64', '/lib'],
      };
  }
}

async function kindOf(file: string): Promise<'file' | 'folder' | undefined> {
  try {
    const status = await stat(file);
    return status.isDirectory() ? 'folder' : 'file';
  } catch {
    return undefined;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}
