/** Reads the .npy files of the fixtures: C order, little endian, the few types they use. */

import { readFileSync } from 'node:fs';

export interface NpyArray {
  shape: number[];
  data: Float32Array | Uint8Array;
}

export function readNpy(file: string): NpyArray {
  const bytes = readFileSync(file);
  if (bytes.toString('latin1', 1, 6) !== 'NUMPY') throw new Error(`${file} is no .npy file`);
  const isVersion1 = bytes[6] === 1;
  const headerLength = isVersion1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  const start = (isVersion1 ? 10 : 12) + headerLength;
  const header = bytes.toString('latin1', isVersion1 ? 10 : 12, start);
  const descr = /'descr': '([^']+)'/.exec(header)?.[1];
  if (!header.includes("'fortran_order': False")) throw new Error(`${file} is not in C order`);
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? '')
    .split(',')
    .filter((size) => size.trim() !== '')
    .map(Number);
  // A copy, because the elements need not be aligned in the file.
  const data = new Uint8Array(bytes.subarray(start));
  if (descr === '|u1') return { shape, data };
  if (descr === '<f4') return { shape, data: new Float32Array(data.buffer) };
  throw new Error(`${file} holds elements of type ${descr}`);
}
