/** Options of `load()` from a file, as `tenon tune` writes it. */

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { describe, invalidArgument, TenonError } from '../errors.js';
import { checkOptions, overlaid } from '../options.js';
import { type LoadOptions, resolveLoadOptions } from './load-options.js';

/** The file's version of itself. */
const configFormat = 1;

/**
 * The options a file may hold: settings of speed, which change no result and name no other file.
 * A group is a list of its own options; null stands for any value, which `load()` checks.
 */
const configOptions: Readonly<Record<string, readonly string[] | null>> = {
  threads: ['intraOp', 'interOp', 'spin'],
  pool: ['lanes', 'maxQueue', 'sessions'],
  batching: null,
  executionProviders: null,
  inline: null,
  onnxruntime: ['graphOptimizationLevel'],
};

/**
 * `options` over those of the file they name: groups (`threads`, `pool`, `batching`, `onnxruntime`)
 * option by option, others as a whole.
 *
 * @throws ERR_TENON_CONFIG where the file cannot be read or holds anything but what it may hold.
 */
export async function withConfig(options: LoadOptions): Promise<LoadOptions> {
  const { config, ...explicit } = options;
  if (config === undefined) return options;
  if (typeof config !== 'string' && !(config instanceof URL)) {
    throw invalidArgument('config', 'a path or a file: URL', config);
  }
  return overlaid(await readConfig(config), explicit);
}

async function readConfig(config: string | URL): Promise<LoadOptions> {
  const file = typeof config === 'string' ? config : filePath(config);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw wrong(file, 'a file with options of load()', (error as Error).message, error);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw wrong(file, 'JSON', (error as Error).message, error);
  }
  return checkConfig(content, file);
}

/** @throws ERR_TENON_CONFIG naming the file and the first thing that is wrong in it. */
export function checkConfig(content: unknown, file: string): LoadOptions {
  try {
    const { tenonConfig, options } = checkOptions(content, 'the file', [
      'tenonConfig',
      'options',
      'provenance',
    ]);
    if (tenonConfig !== configFormat) {
      throw invalidArgument('tenonConfig', String(configFormat), tenonConfig);
    }
    if (options === undefined) throw invalidArgument('options', 'an object', options);
    const given = checkOptions(options, 'options', Object.keys(configOptions));
    for (const [name, known] of Object.entries(configOptions)) {
      if (known !== null) checkOptions(given[name], name, known);
    }
    resolveLoadOptions(given);
    return given;
  } catch (error) {
    if (!(error instanceof TenonError)) throw error;
    throw new TenonError('ERR_TENON_CONFIG', `in the options file "${file}": ${error.message}`, {
      cause: error,
    });
  }
}

function filePath(url: URL): string {
  if (url.protocol !== 'file:') throw invalidArgument('config', 'a path or a file: URL', url.href);
  return fileURLToPath(url);
}

function wrong(file: string, expected: string, received: string, cause: unknown): TenonError {
  return new TenonError(
    'ERR_TENON_CONFIG',
    `expected ${expected} for "config" at ${describe(file)}, received ${received}`,
    { cause },
  );
}
