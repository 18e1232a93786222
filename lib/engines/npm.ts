import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

import { TenonError } from '../errors.js';
import { codeOf, reasonOf } from './cache.js';
import { howItEnded, lastLines, runChild, type ChildResult } from './child.js';
import { WayFailed, type Obtained, type WayOptions } from './way.js';

/**
 * Gets onnxruntime-node's package with the user's own npm (registry, proxy and credentials are
 * whatever it is set up with) and compares it with the registry's sha512. No script of it runs.
 */
export async function npmDownload(
  version: string,
  folder: string,
  options: WayOptions,
): Promise<Obtained> {
  const { context, timeoutMs, signal } = options;
  const spec = `onnxruntime-node@${version}`;
  const shown = `npm pack ${spec}`;
  const command = await npmCommand(process.execPath, context.env);

  async function run(args: readonly string[]): Promise<ChildResult> {
    const [program, ...before] = command;
    try {
      return await runChild(program, [...before, ...args], {
        timeoutMs,
        signal,
        cwd: context.cwd,
        // Set by an outer npm (npm run, npm test), which is not this command's business.
        env: { ...context.env, npm_config_dry_run: 'false' },
      });
    } catch (error) {
      signal.throwIfAborted();
      throw new WayFailed(
        shown,
        codeOf(error) === 'ENOENT' ? 'there is no npm to run' : reasonOf(error),
        [],
        'install npm, which comes with Node',
      );
    }
  }
  function check(result: ChildResult): void {
    if (result.code === 0) return;
    throw new WayFailed(
      shown,
      howItEnded(result, timeoutMs),
      lastLines(result.stderr === '' ? result.stdout : result.stderr),
      'check the network, the proxy and npm\'s own settings ("npm config list"), or run it by ' +
        'hand and pass its file: --from <tgz>',
    );
  }

  options.onProgress({ phase: 'download', receivedBytes: 0 });
  const view = await run(['view', spec, 'dist.integrity', '--json']);
  check(view);
  const integrity = sha512Of(view.stdout);
  if (integrity === undefined) {
    throw new WayFailed(
      shown,
      'the registry has no such version, or gives no sha512 for it',
      lastLines(view.stdout),
      'choose another version',
    );
  }
  check(await run(['pack', spec, '--json', '--ignore-scripts', `--pack-destination=${folder}`]));
  const [file] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
  if (file === undefined) throw new WayFailed(shown, 'it ended well and left no package');
  const full = path.join(folder, file);
  const received = await sha512(full, options);
  if (received !== integrity) {
    throw new TenonError(
      'ERR_TENON_CHECKSUM',
      `expected sha512-${integrity} for ${spec}, as the registry says, received sha512-${received}`,
    );
  }
  return { file: full, way: shown, location: file };
}

function sha512Of(json: string): string | undefined {
  return /"sha512-([A-Za-z0-9+/=]+)/.exec(json)?.[1];
}

async function sha512(file: string, options: WayOptions): Promise<string> {
  const { size } = await stat(file);
  const hash = createHash('sha512');
  let receivedBytes = 0;
  const stream = createReadStream(file, { highWaterMark: 1 << 20, signal: options.signal });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    receivedBytes += chunk.length;
    options.onProgress({ phase: 'verify', receivedBytes, totalBytes: size });
  }
  return hash.digest('base64');
}

/**
 * npm as a program that can be started without a shell: on Windows it is a .cmd file, which Node
 * refuses to start so; its JavaScript lies in a known place beside node.
 */
async function npmCommand(
  execPath: string,
  env: NodeJS.ProcessEnv,
): Promise<[string, ...string[]]> {
  const beside = path.dirname(execPath);
  const candidates = [
    env.npm_execpath,
    path.join(beside, 'node_modules', 'npm', 'bin', 'npm-cli.js'),
    path.join(beside, '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
  ];
  if (process.platform !== 'win32') return ['npm'];
  for (const candidate of candidates) {
    // npm_execpath may be yarn's or pnpm's.
    if (candidate === undefined || path.basename(candidate) !== 'npm-cli.js') continue;
    const status = await stat(candidate).catch(() => undefined);
    if (status?.isFile() === true) return [execPath, candidate];
  }
  return ['npm'];
}
