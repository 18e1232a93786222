// The case data inside the `onnx` wheel. It is the same in every wheel of a
// version, so one fixed wheel is taken whatever the machine and its Python.
import { execFile } from 'node:child_process';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

import { openPromise } from 'yauzl';

import { root } from '../run-command.mjs';

export const onnxVersion = '1.23.1';

/** The folders of the wheel that hold models together with feeds and expected outputs. */
export const groups = ['simple', 'pytorch-operator', 'pytorch-converted'];

const prefix = 'onnx/backend/test/data/';
const downloadTimeoutMs = 180_000;

/** The folder with the cases, downloaded by the user's own pip the first time. */
export async function backendData() {
  const cache = path.join(root, 'build/onnx-backend');
  const folder = path.join(cache, onnxVersion);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  // Moved into place as a whole, so that a broken download leaves nothing half-made.
  const temporary = mkdtempSync(path.join(cache, '.download-'));
  try {
    const data = path.join(temporary, 'data');
    await unzip(await downloadWheel(temporary), data);
    try {
      renameSync(data, folder);
    } catch (error) {
      // Another run may have been quicker.
      if (!existsSync(folder)) throw error;
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return folder;
}

async function downloadWheel(destination) {
  const python = process.platform === 'win32' ? 'python' : 'python3';
  const args = [
    ...['-m', 'pip', 'download', '--quiet', '--retries=0', '--no-deps', '--only-binary=:all:'],
    ...['--disable-pip-version-check', '--no-input', `--dest=${destination}`],
    ...['--python-version=3.11', '--implementation=cp', '--platform=manylinux_2_28_x86_64'],
    `onnx==${onnxVersion}`,
  ];
  try {
    await promisify(execFile)(python, args, {
      timeout: downloadTimeoutMs,
      // It guards what pip installs; this only downloads.
      env: { ...process.env, PIP_REQUIRE_VIRTUALENV: '0' },
    });
  } catch (error) {
    throw new Error(
      `expected the wheel of onnx ${onnxVersion} from pip; "${python} ${args.join(' ')}" failed: ` +
        `${error.stderr?.trim() || error.message}\n` +
        'Remedy: set up pip, or name a folder with the cases: --data <folder>',
      { cause: error },
    );
  }
  const wheel = readdirSync(destination).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error(`pip left no wheel of onnx ${onnxVersion}`);
  return path.join(destination, wheel);
}

/** yauzl refuses entries that lead outside the archive. */
async function unzip(wheel, destination) {
  const zip = await openPromise(wheel);
  for await (const entry of zip.eachEntry()) {
    const { fileName } = entry;
    if (fileName.endsWith('/') || !groups.some((group) => fileName.startsWith(prefix + group))) {
      continue;
    }
    const file = path.join(destination, fileName.slice(prefix.length));
    mkdirSync(path.dirname(file), { recursive: true });
    await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(file));
  }
}
