import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';

import type { EngineName } from '../native/types.js';
import { codeOf, reasonOf } from './cache.js';
import { howItEnded, lastLines, runChild } from './child.js';
import type { EngineContext } from './context.js';
import type { OnProgress } from './progress.js';
import { compareVersions, knownFiles } from './versions.js';
import { WayFailed, type Obtained, type WayOptions } from './way.js';

/** How pip may be called, first that is there. */
const commands: readonly (readonly [string, ...string[]])[] = [
  ['python3', '-m', 'pip'],
  ['python', '-m', 'pip'],
  ['pip3'],
];
const pollMs = 250;

/** The package whose wheel holds the library, and pip's names of the platform, best first. */
export function wheelFor(
  engine: EngineName,
  context: EngineContext,
): { packageName: string; platforms: string[] } | undefined {
  const { platform, arch } = context;
  const machine = { x64: 'x86_64', arm64: 'aarch64' }[arch];
  if (platform === 'linux' && machine !== undefined) {
    const platforms = [
      `manylinux_2_28_${machine}`,
      `manylinux_2_27_${machine}`,
      `manylinux_2_17_${machine}`,
      `manylinux2014_${machine}`,
    ];
    if (engine === 'onnxruntime') return { packageName: 'onnxruntime', platforms };
    return { packageName: arch === 'x64' ? 'tensorflow-cpu' : 'tensorflow', platforms };
  }
  if (platform === 'darwin' && machine !== undefined) {
    // pip takes a macOS tag as "this version or any before".
    const mac = arch === 'arm64' ? 'macosx_14_0_arm64' : 'macosx_14_0_x86_64';
    return { packageName: engine, platforms: [mac] };
  }
  // TensorFlow's wheels for Windows hold no library with the C API.
  if (platform === 'win32' && engine === 'onnxruntime' && machine !== undefined) {
    return { packageName: engine, platforms: [arch === 'x64' ? 'win_amd64' : 'win_arm64'] };
  }
  return undefined;
}

/**
 * Downloads the engine's wheel with the user's own pip: its index, proxy and credentials are
 * whatever the user has set up. Nothing is installed, no code of the package runs.
 */
export async function pipDownload(
  engine: EngineName,
  version: string,
  folder: string,
  options: WayOptions,
): Promise<Obtained> {
  const { context, signal, timeoutMs } = options;
  const wheel = wheelFor(engine, context);
  if (wheel === undefined) {
    throw new WayFailed(
      'pip',
      `there is no wheel with the library for ${context.platform}-${context.arch}`,
    );
  }
  const requirement = `${wheel.packageName}==${version}`;
  const temporary = path.join(folder, 'tmp');
  const destination = path.join(folder, 'wheel');
  await mkdir(temporary);
  await mkdir(destination);
  // The C library does not depend on Python; the version only has to be one with wheels.
  const python = engine === 'tensorflow' && compareVersions(version, '2.12') < 0 ? '3.10' : '3.11';
  const args = [
    'download',
    '--retries=0',
    '--no-deps',
    '--only-binary=:all:',
    '--disable-pip-version-check',
    '--no-input',
    '--progress-bar=off',
    `--dest=${destination}`,
    `--python-version=${python}`,
    '--implementation=cp',
    ...wheel.platforms.map((platform) => `--platform=${platform}`),
    requirement,
  ];
  const env = {
    ...context.env,
    // Beside the install: the same disk, removed with it, and its growth is the progress.
    TMPDIR: temporary,
    TEMP: temporary,
    TMP: temporary,
    // Guards what pip installs; this only downloads.
    PIP_REQUIRE_VIRTUALENV: '0',
  };
  const missing: string[] = [];
  for (const command of commands) {
    const [program, ...before] = command;
    const shown = `${command.join(' ')} download ${requirement}`;
    const stopPolling = reportGrowth(folder, options.onProgress);
    let result;
    try {
      result = await runChild(program, [...before, ...args], {
        timeoutMs,
        signal,
        env,
        cwd: context.cwd,
      });
    } catch (error) {
      signal.throwIfAborted();
      missing.push(
        `${command.join(' ')} (${codeOf(error) === 'ENOENT' ? 'not found' : reasonOf(error)})`,
      );
      continue;
    } finally {
      stopPolling();
    }
    if (result.code !== 0 && /No module named '?pip/.test(result.stderr)) {
      missing.push(`${command.join(' ')} (that Python has no pip)`);
      continue;
    }
    if (result.code !== 0) {
      throw new WayFailed(
        shown,
        howItEnded(result, timeoutMs),
        lastLines(result.stderr === '' ? result.stdout : result.stderr),
        remedyFor(result.stderr, requirement),
      );
    }
    const [file] = (await readdir(destination)).filter((name) => name.endsWith('.whl'));
    if (file === undefined) {
      throw new WayFailed(shown, 'it ended well and left no wheel', lastLines(result.stdout));
    }
    return {
      file: path.join(destination, file),
      way: shown,
      location: file,
      sha256: knownFiles[file]?.sha256,
    };
  }
  throw new WayFailed(
    'pip',
    `no pip to run: tried ${missing.join(', ')}`,
    [],
    'install Python 3 with pip (python3-pip on Debian and Ubuntu)',
  );
}

function remedyFor(stderr: string, requirement: string): string {
  if (/No space left/i.test(stderr)) return 'free some disk space, or set TENON_CACHE elsewhere';
  if (/Connection|connect|Temporary failure|timed out|ProxyError|SSLError/i.test(stderr)) {
    return (
      "pip cannot reach its index: check the network, the proxy (HTTPS_PROXY) and pip's own " +
      'settings ("pip config list")'
    );
  }
  if (/No matching distribution|Could not find a version/i.test(stderr)) {
    return (
      `the index that pip is set up with has no ${requirement} for this platform: look at "pip ` +
      'config list", or choose another version'
    );
  }
  return `run the same command by hand, then pass its file: --from <wheel>`;
}

/**
 * pip tells no progress to programs, so the largest file it is writing is watched. It keeps one
 * wheel in its temporary folder and then copies it: the largest, not the sum.
 */
function reportGrowth(folder: string, onProgress: OnProgress): () => void {
  onProgress({ phase: 'download', receivedBytes: 0 });
  let busy = false;
  let stopped = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    largestFile(folder)
      .then(({ name, bytes }) => {
        if (stopped || bytes === 0) return;
        const totalBytes = knownFiles[name]?.bytes;
        onProgress({
          phase: 'download',
          receivedBytes: bytes,
          ...(totalBytes === undefined ? {} : { totalBytes }),
        });
      })
      .catch(() => undefined)
      .finally(() => {
        busy = false;
      });
  }, pollMs);
  timer.unref();
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}

async function largestFile(folder: string): Promise<{ name: string; bytes: number }> {
  let largest = { name: '', bytes: 0 };
  for (const name of await readdir(folder, { recursive: true })) {
    // pip removes files while they are being looked at.
    const status = await stat(path.join(folder, name)).catch(() => undefined);
    if (status?.isFile() === true && status.size > largest.bytes) {
      largest = { name: path.basename(name), bytes: status.size };
    }
  }
  return largest;
}
