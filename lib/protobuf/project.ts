/**
 * Decoding a message from a file without reading the whole file.
 *
 * A model's file is mostly what Tenon does not ask for: graph definitions, weights, checkpoints
 * of objects. The field tables say what is asked for, so everything else is passed over by
 * moving the read position, and what remains is decoded as usual.
 */

import type { FileHandle } from 'node:fs/promises';

import { TenonError, type TenonErrorCode } from '../errors.js';
import { type Field, type MessageType, type ScalarType, messageType } from './message.js';
import { type DecodeOptions, WireType, WireWriter, maxDepthDefault } from './wire.js';

/** One read. Large enough that a file of small messages costs few of them. */
const chunkLength = 64 * 1024;

/** Messages no longer than this are copied whole, unknown fields and all, and decoded later. */
const wholeMessageLength = 1024;

/** Most that is kept of one file: far above any model's names, far below what a heap holds. */
const keptLengthDefault = 256 * 1024 * 1024;

export interface DecodeFileOptions extends DecodeOptions {
  /** Most bytes kept of the file, ERR_TENON_TOO_LARGE beyond. Default 256 MiB. */
  maxKeptLength?: number;
}

/**
 * Decodes the `type` that is the whole content of `file`. Throws a TenonError with
 * `options.code` where the content is no such message; file system errors are passed on.
 */
export async function decodeFile<T extends object>(
  type: MessageType<T>,
  file: FileHandle,
  options: DecodeFileOptions = {},
): Promise<T> {
  const { size } = await file.stat();
  const projection = new Projection(file, size, options);
  const kept = new WireWriter();
  await projection.project(type, size, kept, 0);
  return type.decode(kept.finish(), options);
}

class Projection {
  readonly #file: FileHandle;
  readonly #size: number;
  readonly #code: TenonErrorCode;
  readonly #subject: string;
  readonly #maxKept: number;
  readonly #entryTypes = new Map<Field, MessageType<object>>();
  #kept = 0;
  /** What the file holds from `#start` on. */
  #chunk = new Uint8Array(0);
  #buffer = new Uint8Array(chunkLength);
  #start = 0;
  #position = 0;

  constructor(file: FileHandle, size: number, options: DecodeFileOptions) {
    this.#file = file;
    this.#size = size;
    this.#code = options.code ?? 'ERR_TENON_INVALID_ARGUMENT';
    this.#subject = options.subject ?? 'protobuf';
    this.#maxKept = options.maxKeptLength ?? keptLengthDefault;
  }

  async project(
    type: MessageType<object>,
    end: number,
    out: WireWriter,
    depth: number,
  ): Promise<void> {
    if (depth > maxDepthDefault) throw this.#fail(type, 'messages nested too deep');
    while (this.#position < end) {
      // A tag and a length are 20 bytes at most; having them in the chunk lets the rest of the
      // loop go without waiting.
      if (!this.#has(Math.min(20, end - this.#position))) await this.#fill();
      const fieldStart = this.#position;
      const tag = this.#varint(type, end);
      const number = tag >>> 3;
      if (number === 0 || tag > 0xffffffff) throw this.#fail(type, 'bytes that are no field');
      const wireType = tag & 7;
      const field = type.byNumber.get(number);
      if (wireType === WireType.bytes) {
        const length = this.#varint(type, end);
        if (length > end - this.#position) throw this.#fail(type, 'fewer bytes than it announces');
        if (field === undefined) {
          this.#position += length;
        } else if (length > wholeMessageLength && typeof field.type !== 'string') {
          const inner = field.key === undefined ? field.type : this.#entryType(field, field.key);
          out.tag(number, WireType.bytes);
          const start = out.fork();
          await this.project(inner, this.#position + length, out, depth + 1);
          out.join(start);
        } else {
          out.tag(number, WireType.bytes).uint32(this.#keep(length));
          await this.#copy(length, out);
        }
      } else if (wireType === WireType.varint) {
        this.#varint(type, end);
        if (field !== undefined) await this.#copyFrom(fieldStart, out);
      } else if (wireType === WireType.fixed64 || wireType === WireType.fixed32) {
        const length = wireType === WireType.fixed64 ? 8 : 4;
        if (length > end - this.#position) throw this.#fail(type, 'fewer bytes than it announces');
        this.#position += length;
        if (field !== undefined) await this.#copyFrom(fieldStart, out);
      } else {
        // Groups are unknown to every format read this way.
        throw this.#fail(type, 'a group, which no model has');
      }
    }
  }

  /** A map's entries are messages with the key as field 1 and the value as field 2. */
  #entryType(field: Field, key: ScalarType): MessageType<object> {
    let type = this.#entryTypes.get(field);
    if (type === undefined) {
      type = messageType<object>(`${field.name} entry`, () => [
        { name: 'key', number: 1, type: key },
        { name: 'value', number: 2, type: field.type },
      ]);
      this.#entryTypes.set(field, type);
    }
    return type;
  }

  #fail(type: MessageType<object>, reason: string): TenonError {
    return new TenonError(
      this.#code,
      `expected a protobuf ${type.typeName} for "${this.#subject}", received ${reason}`,
    );
  }

  #keep(length: number): number {
    this.#kept += length;
    if (this.#kept > this.#maxKept) {
      throw new TenonError(
        'ERR_TENON_TOO_LARGE',
        `expected at most ${this.#maxKept} bytes of descriptions for "${this.#subject}", received more`,
      );
    }
    return length;
  }

  #has(count: number): boolean {
    const offset = this.#position - this.#start;
    return offset >= 0 && offset + count <= this.#chunk.byteLength;
  }

  /** Reads the chunk that begins at the position. */
  async #fill(): Promise<void> {
    this.#start = this.#position;
    let filled = 0;
    const wanted = Math.min(chunkLength, this.#size - this.#start);
    while (filled < wanted) {
      const { bytesRead } = await this.#file.read(
        this.#buffer,
        filled,
        wanted - filled,
        this.#start + filled,
      );
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    this.#chunk = this.#buffer.subarray(0, filled);
    if (filled < wanted) {
      throw new TenonError(
        this.#code,
        `expected ${this.#size} bytes in "${this.#subject}", received ${this.#start + filled}: ` +
          'the file became shorter while it was read',
      );
    }
  }

  /** A varint from the chunk, as a number; what exceeds 2^53 only has to be large. */
  #varint(type: MessageType<object>, end: number): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count++) {
      if (this.#position >= end) throw this.#fail(type, 'fewer bytes than it announces');
      const byte = this.#chunk[this.#position - this.#start] as number;
      this.#position++;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    throw this.#fail(type, 'a number of more than ten bytes');
  }

  /** The field that began at `start` (a few bytes) and ends at the position, as it is. */
  async #copyFrom(start: number, out: WireWriter): Promise<void> {
    const length = this.#keep(this.#position - start);
    this.#position = start;
    await this.#copy(length, out);
  }

  async #copy(length: number, out: WireWriter): Promise<void> {
    let left = length;
    while (left > 0) {
      if (!this.#has(1)) await this.#fill();
      const offset = this.#position - this.#start;
      const piece = this.#chunk.subarray(offset, offset + left);
      out.raw(piece);
      this.#position += piece.byteLength;
      left -= piece.byteLength;
    }
  }
}
