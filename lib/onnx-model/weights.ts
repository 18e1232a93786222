/** An ONNX model's weights in memory of Tenon's own, which several sessions can use where it lies. */

import { open } from 'node:fs/promises';

import { nativeAddon } from '../native/load.js';
import type { NativeTensorIn } from '../native/types.js';
import { readFlags } from '../protobuf/model-file.js';
import { dtypes } from '../tensor/dtypes.js';
import { dtypeFromOnnx } from './dtypes.js';

/** Smaller ones cost less than sharing them does. */
const leastBytes = 4096;
const chunkLength = 64 * 1024;

/** Field numbers of onnx.proto3. */
const modelField = { graph: 7 } as const;
const graphField = { initializer: 5, input: 11 } as const;
const tensorField = { dims: 1, dataType: 2, name: 8, rawData: 9, dataLocation: 14 } as const;
const valueField = { name: 1 } as const;

type ReadInto = (target: Uint8Array, position: number) => Promise<void>;

class NotAsExpected extends Error {}

/**
 * The initializers of the model's own graph whose bytes are in the file itself, 4 KiB and more.
 * Those in other files are mapped by the engine, which shares them by itself. Nothing where the
 * file is no ONNX model: its load says what is wrong with it.
 */
export async function readWeights(
  source: string | Uint8Array,
): Promise<[name: string, tensor: NativeTensorIn][]> {
  try {
    if (typeof source !== 'string') {
      const readInto: ReadInto = (target, position) => {
        target.set(source.subarray(position, position + target.byteLength));
        return Promise.resolve();
      };
      return await weightsIn(new Cursor(readInto, source.byteLength));
    }
    const file = await open(source, readFlags);
    try {
      const readInto: ReadInto = async (target, position) => {
        for (let done = 0; done < target.byteLength;) {
          const { bytesRead } = await file.read(target, done, undefined, position + done);
          if (bytesRead === 0) throw new NotAsExpected();
          done += bytesRead;
        }
      };
      return await weightsIn(new Cursor(readInto, (await file.stat()).size));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof NotAsExpected || (error instanceof Error && 'syscall' in error)) return [];
    throw error;
  }
}

async function weightsIn(cursor: Cursor): Promise<[string, NativeTensorIn][]> {
  const weights: [string, NativeTensorIn][] = [];
  const inputs = new Set<string>();
  await cursor.fields(cursor.size, async (modelNumber, graphEnd) => {
    if (modelNumber !== modelField.graph) return;
    await cursor.fields(graphEnd, async (number, end) => {
      if (number === graphField.initializer) {
        const weight = await readTensor(cursor, end);
        if (weight !== undefined) weights.push(weight);
      } else if (number === graphField.input) {
        await cursor.fields(end, async (field, nameEnd) => {
          if (field === valueField.name) inputs.add(await cursor.text(nameEnd));
        });
      }
    });
  });
  // What is an input too may be fed, so it is no constant.
  return weights.filter(([name]) => !inputs.has(name));
}

async function readTensor(
  cursor: Cursor,
  tensorEnd: number,
): Promise<[string, NativeTensorIn] | undefined> {
  const shape: number[] = [];
  let name = '';
  let dataType = 0;
  let isElsewhere = false;
  let raw: { start: number; end: number } | undefined;
  await cursor.fields(tensorEnd, async (number, end, value) => {
    if (number === tensorField.dims) {
      if (value !== undefined) shape.push(value);
      else while (cursor.position < end) shape.push(await cursor.varint());
    } else if (number === tensorField.dataType) dataType = value ?? 0;
    else if (number === tensorField.dataLocation) isElsewhere = value !== 0;
    else if (number === tensorField.name) name = await cursor.text(end);
    else if (number === tensorField.rawData) raw = { start: cursor.position, end };
  });
  const dtype = dtypeFromOnnx(dataType);
  if (raw === undefined || isElsewhere || dtype === undefined || name === '') return undefined;
  const { bits, number } = dtypes[dtype];
  const elements = shape.reduce((product, size) => product * size, 1);
  const byteLength = raw.end - raw.start;
  // Types below 8 bits are packed; they are seldom large.
  if (byteLength < leastBytes || bits % 8 !== 0 || byteLength * 8 !== elements * bits) {
    return undefined;
  }
  const bytes = new Uint8Array(nativeAddon().alloc(byteLength));
  await cursor.readInto(bytes, raw.start);
  return [name, [number, shape, bytes]];
}

/** Walks over the fields of protobuf messages and reads no more than it has to. */
class Cursor {
  position = 0;
  #chunk = new Uint8Array(0);
  #start = 0;

  constructor(
    readonly readInto: ReadInto,
    readonly size: number,
  ) {}

  /**
   * Visits each field up to `end`: with the end of its bytes, the position being their start; or
   * with the value of a varint. Afterwards the position is behind the field, whatever was read.
   */
  async fields(
    end: number,
    visit: (number: number, end: number, value: number | undefined) => Promise<void>,
  ): Promise<void> {
    while (this.position < end) {
      const tag = await this.varint();
      const number = Math.floor(tag / 8);
      switch (tag % 8) {
        case 0: {
          const value = await this.varint();
          await visit(number, this.position, value);
          break;
        }
        case 1:
          this.position += 8;
          break;
        case 2: {
          const length = await this.varint();
          const fieldEnd = this.position + length;
          if (fieldEnd > end) throw new NotAsExpected();
          await visit(number, fieldEnd, undefined);
          this.position = fieldEnd;
          break;
        }
        case 5:
          this.position += 4;
          break;
        default:
          throw new NotAsExpected();
      }
    }
    if (this.position !== end) throw new NotAsExpected();
  }

  async varint(): Promise<number> {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count++) {
      const offset = this.position - this.#start;
      if (offset < 0 || offset >= this.#chunk.byteLength) await this.#fill();
      const byte = this.#chunk[this.position - this.#start] as number;
      this.position++;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    throw new NotAsExpected();
  }

  async text(end: number): Promise<string> {
    const bytes = new Uint8Array(Math.min(end - this.position, chunkLength));
    await this.readInto(bytes, this.position);
    return new TextDecoder().decode(bytes);
  }

  async #fill(): Promise<void> {
    const length = Math.min(chunkLength, this.size - this.position);
    if (length <= 0) throw new NotAsExpected();
    this.#chunk = new Uint8Array(length);
    this.#start = this.position;
    await this.readInto(this.#chunk, this.position);
  }
}
