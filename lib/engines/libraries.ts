import { open, readdir } from 'node:fs/promises';
import path from 'node:path';

import type { EngineName } from '../native/types.js';

/** File names of an engine's library on one platform. */
export interface LibraryNames {
  /** Names of the library to open, best first. */
  main: readonly RegExp[];
  /** Files beside it that it opens itself. */
  companions: readonly RegExp[];
  /** How the library is called in messages. */
  example: string;
}

const names: Record<EngineName, Record<'linux' | 'darwin' | 'win32', LibraryNames>> = {
  onnxruntime: {
    linux: {
      main: [/^libonnxruntime\.so\.1$/, /^libonnxruntime\.so\.1(\.\d+)+$/, /^libonnxruntime\.so$/],
      companions: [/^libonnxruntime_providers_\w+\.so$/],
      example: 'libonnxruntime.so.1',
    },
    darwin: {
      main: [
        /^libonnxruntime\.1\.dylib$/,
        /^libonnxruntime(\.\d+)+\.dylib$/,
        /^libonnxruntime\.dylib$/,
      ],
      companions: [/^libonnxruntime_providers_\w+\.dylib$/],
      example: 'libonnxruntime.1.dylib',
    },
    win32: {
      main: [/^onnxruntime\.dll$/i],
      companions: [
        /^onnxruntime_providers_\w+\.dll$/i,
        /^(DirectML|dxcompiler|dxil)\.dll$/i,
        /^(msvcp140(_1)?|vcruntime140(_1)?)\.dll$/i,
      ],
      example: 'onnxruntime.dll',
    },
  },
  tensorflow: {
    linux: {
      main: [
        /^libtensorflow_cc\.so\.2$/,
        /^libtensorflow_cc\.so\.2(\.\d+)+$/,
        /^libtensorflow\.so\.2$/,
        /^libtensorflow\.so\.2(\.\d+)+$/,
        /^libtensorflow(_cc)?\.so$/,
      ],
      companions: [/^libtensorflow_framework\.so(\.\d+)*$/],
      example: 'libtensorflow_cc.so.2 or libtensorflow.so.2',
    },
    darwin: {
      main: [
        /^libtensorflow_cc\.2\.dylib$/,
        /^libtensorflow_cc(\.\d+)+\.dylib$/,
        /^libtensorflow\.2\.dylib$/,
        /^libtensorflow(\.\d+)+\.dylib$/,
        /^libtensorflow(_cc)?\.dylib$/,
      ],
      companions: [/^libtensorflow_framework(\.\d+)*\.dylib$/],
      example: 'libtensorflow_cc.2.dylib or libtensorflow.2.dylib',
    },
    win32: {
      main: [/^tensorflow\.dll$/i],
      companions: [],
      example: 'tensorflow.dll',
    },
  },
};

export function libraryNames(engine: EngineName, platform: NodeJS.Platform): LibraryNames {
  const known = platform === 'darwin' || platform === 'win32' ? platform : 'linux';
  return names[engine][known];
}

/** The best library name of `engine` among `files`, or undefined. */
export function pickLibrary(
  engine: EngineName,
  platform: NodeJS.Platform,
  files: Iterable<string>,
): string | undefined {
  const sorted = [...files].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  for (const pattern of libraryNames(engine, platform).main) {
    const match = sorted.find((file) => pattern.test(file));
    if (match !== undefined) return match;
  }
  return undefined;
}

/** The best library in a folder as an absolute path; undefined too where the folder is not there. */
export async function pickLibraryIn(
  engine: EngineName,
  platform: NodeJS.Platform,
  folder: string,
): Promise<string | undefined> {
  let files: string[];
  try {
    files = await readdir(folder);
  } catch {
    return undefined;
  }
  const file = pickLibrary(engine, platform, files);
  return file === undefined ? undefined : path.join(folder, file);
}

/**
 * The name other libraries ask the loader for: libtensorflow_framework.so.2.18.0 →
 * libtensorflow_framework.so.2. Archives hold the long name and links, an install only the short.
 */
export function loaderName(file: string): string {
  return file
    .replace(/^(.+\.so\.\d+)(\.\d+)+$/, '$1')
    .replace(/^([^.]+\.\d+)(\.\d+)+(\.dylib)$/, '$1$3');
}

/** "libtensorflow.so.2.18.0" → "2.18.0"; undefined where the name has no full version. */
export function versionInName(file: string): string | undefined {
  return /\.so\.(\d+\.\d+\.\d+)$/.exec(file)?.[1] ?? /\.(\d+\.\d+\.\d+)\.dylib$/.exec(file)?.[1];
}

const elfMachines: Readonly<Record<number, string>> = {
  0x03: 'ia32',
  0x28: 'arm',
  0x3e: 'x64',
  0xb7: 'arm64',
  0xf3: 'riscv64',
};
const machMachines: Readonly<Record<number, string>> = { 0x01000007: 'x64', 0x0100000c: 'arm64' };
const peMachines: Readonly<Record<number, string>> = {
  0x014c: 'ia32',
  0x8664: 'x64',
  0xaa64: 'arm64',
};

/**
 * What a shared library was built for, read from its header: "linux-x64", or several for a
 * universal Mach-O file; empty where it is no shared library at all.
 */
export async function libraryTargets(file: string): Promise<string[]> {
  const head = Buffer.alloc(4096);
  const handle = await open(file, 'r');
  let length: number;
  try {
    length = (await handle.read(head, 0, head.length, 0)).bytesRead;
  } finally {
    await handle.close();
  }
  if (length < 20) return [];
  const magic = head.readUInt32BE(0);
  if (magic === 0x7f454c46) {
    const machine = head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18);
    return [`linux-${elfMachines[machine] ?? `machine ${machine}`}`];
  }
  if (magic === 0xcffaedfe) {
    const machine = head.readUInt32LE(4);
    return [`darwin-${machMachines[machine] ?? `machine ${machine}`}`];
  }
  if (magic === 0xcafebabe) {
    const count = Math.min(head.readUInt32BE(4), 16);
    return Array.from({ length: count }, (_, i) => {
      const machine = head.readUInt32BE(8 + i * 20);
      return `darwin-${machMachines[machine] ?? `machine ${machine}`}`;
    });
  }
  if (head.readUInt16BE(0) === 0x4d5a && length >= 64) {
    const offset = head.readUInt32LE(0x3c);
    if (offset + 6 > length || head.readUInt32BE(offset) !== 0x50450000) return [];
    const machine = head.readUInt16LE(offset + 4);
    return [`win32-${peMachines[machine] ?? `machine ${machine}`}`];
  }
  return [];
}
