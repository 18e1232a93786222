import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { TenonError } from '../errors.js';
import type { NativeAddon } from './types.js';

let addon: NativeAddon | undefined;

/**
 * The addon, loaded at the first call. Throws ERR_TENON_ADDON_NOT_FOUND with everything that was
 * tried where none fits this platform.
 */
export function nativeAddon(): NativeAddon {
  addon ??= loadAddon();
  return addon;
}

/**
 * Folder of the package: the nearest one upwards whose package.json is named "tenon"; where a
 * bundler has moved this code, the package that is installed for the bundle or the working folder.
 */
export function packageRoot(): string {
  const here = ownFile();
  for (let folder = path.dirname(here); ; folder = path.dirname(folder)) {
    if (isPackage(folder)) return folder;
    if (path.dirname(folder) === folder) break;
  }
  for (const from of [here, path.join(process.cwd(), 'package.json')]) {
    try {
      return path.dirname(createRequire(from).resolve('tenon/package.json'));
    } catch {
      // Not installed there.
    }
  }
  throw new TenonError(
    'ERR_TENON_ADDON_NOT_FOUND',
    `expected tenon's own package.json in a folder above ${here}, or the package tenon installed ` +
      'there: a bundle that holds the code still needs the package, for its native addon',
  );
}

/** The file this code is in. Some bundlers leave nothing of `import.meta`. */
function ownFile(): string {
  const url = import.meta.url as string | undefined;
  return url === undefined ? path.join(process.cwd(), 'bundle.js') : fileURLToPath(url);
}

function isPackage(folder: string): boolean {
  const file = path.join(folder, 'package.json');
  if (!existsSync(file)) return false;
  return (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'tenon';
}

function loadAddon(): NativeAddon {
  const root = packageRoot();
  const require = createRequire(path.join(root, 'package.json'));
  let loaded: NativeAddon;
  try {
    const nodeGypBuild = require('node-gyp-build') as (folder: string) => NativeAddon;
    loaded = nodeGypBuild(root);
  } catch (cause) {
    throw notFound(root, cause);
  }
  const { version } = require('./package.json') as { version: string };
  if (loaded.version !== version) {
    throw new TenonError(
      'ERR_TENON_ADDON_NOT_FOUND',
      `expected an addon of version ${version}, received version ${loaded.version} in ${root}: ` +
        'rebuild it with "npm run compile", or reinstall the package',
    );
  }
  loaded.setErrorConstructor(TenonError);
  return loaded;
}

function notFound(root: string, cause: unknown): TenonError {
  const target = `${process.platform}-${process.arch}`;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TenonError(
    'ERR_TENON_ADDON_NOT_FOUND',
    [
      `expected a native addon for ${target} (Node-API ${process.versions.napi ?? 'unknown'}), found none that loads. Tried:`,
      `  ${path.join(root, 'build', 'Release')} (built from source)`,
      `  ${path.join(root, 'prebuilds', target)} (shipped in the package)`,
      `The loader said: ${reason}`,
      'What helps: reinstall without --omit of files and on the machine that runs it (an addon for',
      'one platform does not load on another; copying node_modules into a container of another kind',
      'is the usual cause), or build from a checkout with "npm ci" (needs cmake and a C++20 compiler).',
    ].join('\n'),
    { cause },
  );
}
