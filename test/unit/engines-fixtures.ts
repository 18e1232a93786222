import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import { Header, type HeaderData } from 'tar';
import { onTestFinished } from 'vitest';

import type { EngineContext } from '../../lib/engines/context.js';

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tenon-engines-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A machine with nothing on it: no variables, no Python, no cache, an own home. */
export function bareContext(folder: string, env: NodeJS.ProcessEnv = {}): EngineContext {
  return {
    env: { PATH: path.join(folder, 'bin'), ...env },
    cwd: folder,
    platform: 'linux',
    arch: 'x64',
    home: path.join(folder, 'home'),
  };
}

/** Files of a tree, by path; folders are made. */
export async function writeTree(
  folder: string,
  files: Readonly<Record<string, string | Buffer>>,
): Promise<void> {
  for (const [file, content] of Object.entries(files)) {
    const full = path.join(folder, file);
    await mkdir(path.dirname(full), { recursive: true });
    await writeFile(full, content);
  }
}

export async function writeProgram(file: string, script: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, script);
  await chmod(file, 0o755);
}

/** Everything below a folder, sorted. */
export async function listTree(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}

const machines = { x64: 0x3e, arm64: 0xb7 };

/** The header of an ELF shared library for a machine, then `bytes` of content. */
export function fakeLibrary(arch: keyof typeof machines = 'x64', bytes = 4096): Buffer {
  const library = Buffer.alloc(bytes, 0x5a);
  library.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  library.writeUInt16LE(3, 16);
  library.writeUInt16LE(machines[arch], 18);
  return library;
}

export interface FakeEntry {
  path: string;
  content?: string | Buffer;
  /** Unix mode with type bits, for the zip. */
  mode?: number;
  /** For tar. */
  type?: HeaderData['type'];
  linkpath?: string;
}

/** The smallest zip that holds the entries, stored without compression. */
export function makeZip(entries: readonly FakeEntry[]): Buffer {
  const locals: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.path);
    const content = Buffer.from(entry.content ?? '');
    const sum = crc32(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(20, 4);
    local.writeUInt32LE(sum, 14);
    local.writeUInt32LE(content.length, 18);
    local.writeUInt32LE(content.length, 22);
    local.writeUInt16LE(name.length, 26);
    const header = Buffer.alloc(46);
    header.writeUInt32LE(0x02014b50, 0);
    header.writeUInt16LE(0x0314, 4);
    header.writeUInt16LE(20, 6);
    header.writeUInt32LE(sum, 16);
    header.writeUInt32LE(content.length, 20);
    header.writeUInt32LE(content.length, 24);
    header.writeUInt16LE(name.length, 28);
    header.writeUInt32LE(((entry.mode ?? 0o100644) << 16) >>> 0, 38);
    header.writeUInt32LE(offset, 42);
    locals.push(local, name, content);
    central.push(header, name);
    offset += local.length + name.length + content.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}

function crc32(content: Buffer): number {
  let sum = 0xffffffff;
  for (const byte of content) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/** A .tar.gz with entries as given, hostile ones too. */
export function makeTarGz(entries: readonly FakeEntry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const entry of entries) {
    const content = Buffer.from(entry.content ?? '');
    const header = new Header({
      path: entry.path,
      mode: 0o644,
      size: content.length,
      type: entry.type ?? 'File',
      mtime: new Date(0),
      ...(entry.linkpath === undefined ? {} : { linkpath: entry.linkpath }),
    });
    const block = Buffer.alloc(512);
    header.encode(block);
    const padded = Buffer.alloc(Math.ceil(content.length / 512) * 512);
    content.copy(padded);
    blocks.push(block, padded);
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

export const sha256 = (content: string | Buffer): string =>
  createHash('sha256').update(content).digest('hex');

export interface FakeWheelOptions {
  version?: string;
  libraryBytes?: number;
  arch?: 'x64' | 'arm64';
  /** Changes RECORD's text. */
  record?: (text: string) => string;
  extra?: readonly FakeEntry[];
}

/** What pip would give for TensorFlow, in small. */
export function fakeTensorFlowWheel(options: FakeWheelOptions = {}): Buffer {
  const { version = '2.21.0', libraryBytes, arch = 'x64' } = options;
  const info = `tensorflow_cpu-${version}.dist-info`;
  const files: FakeEntry[] = [
    { path: 'tensorflow/__init__.py', content: '' },
    { path: 'tensorflow/libtensorflow_cc.so.2', content: fakeLibrary(arch, libraryBytes) },
    { path: 'tensorflow/libtensorflow_framework.so.2', content: fakeLibrary(arch, 1024) },
    { path: `${info}/licenses/LICENSE`, content: 'Apache-2.0' },
    { path: `${info}/METADATA`, content: `Version: ${version}\n` },
  ];
  const lines = files.map(({ path: file, content = '' }) => {
    const digest = createHash('sha256').update(content).digest('base64url');
    return `${file},sha256=${digest},${content.length}`;
  });
  const text = [...lines, `${info}/RECORD,,`, ''].join('\n');
  const record = { path: `${info}/RECORD`, content: options.record?.(text) ?? text };
  return makeZip([...files, record, ...(options.extra ?? [])]);
}

/** What npm would give for onnxruntime-node, in small. */
export function fakeOnnxRuntimeTgz(version = '1.30.0'): Buffer {
  return makeTarGz([
    {
      path: 'package/package.json',
      content: JSON.stringify({ name: 'onnxruntime-node', version }),
    },
    { path: 'package/bin/napi-v6/darwin/arm64/libonnxruntime.1.dylib', content: 'other' },
    { path: 'package/bin/napi-v6/linux/arm64/libonnxruntime.so.1', content: fakeLibrary('arm64') },
    { path: 'package/bin/napi-v6/linux/x64/libonnxruntime.so.1', content: fakeLibrary('x64') },
    { path: 'package/bin/napi-v6/linux/x64/onnxruntime_binding.node', content: 'binding' },
    { path: 'package/LICENSE', content: 'MIT' },
  ]);
}
