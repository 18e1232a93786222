/**
 * TFRecord files (tensorflow.org/tutorials/load_data/tfrecord): records one after another, each
 *
 *     uint64 length, uint32 masked CRC-32C of those eight bytes,
 *     the bytes, uint32 masked CRC-32C of them
 *
 * in little endian.
 */

import { StatusError } from './status.js';

export interface ReadRecordsOptions {
  /** Bytes of one record; a longer one is an error. Default 256 MiB. */
  maxRecordBytes?: number;
}

const headLength = 12;
const footLength = 4;
const maxRecordBytesDefault = 256 * 1024 * 1024;

/**
 * The records in `source`, one at a time; `source` is read no further than the caller goes on.
 *
 * @param source The file's bytes, in pieces of any size, as a ReadStream gives them.
 * @throws StatusError DATA_LOSS `corrupted record at <offset>` or `truncated record at <offset>`,
 *   RESOURCE_EXHAUSTED for a record that is too long.
 */
export async function* readRecords(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { maxRecordBytes = maxRecordBytesDefault }: ReadRecordsOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  const input = new ByteQueue(source);
  try {
    for (let offset = 0; ;) {
      const head = await input.take(headLength);
      if (head.byteLength === 0) return;
      if (head.byteLength < headLength) throw truncated(offset);
      const view = new DataView(head.buffer, head.byteOffset, headLength);
      if (view.getUint32(8, true) !== maskedCrc32c(head.subarray(0, 8))) throw corrupted(offset);
      const length = view.getBigUint64(0, true);
      if (length > maxRecordBytes) {
        throw new StatusError(
          'RESOURCE_EXHAUSTED',
          `record at ${offset} has ${length} bytes, and at most ${maxRecordBytes} are accepted`,
        );
      }
      const byteLength = Number(length);
      const body = await input.take(byteLength + footLength);
      if (body.byteLength < byteLength + footLength) throw truncated(offset);
      const record = body.subarray(0, byteLength);
      const foot = new DataView(body.buffer, body.byteOffset + byteLength, footLength);
      if (foot.getUint32(0, true) !== maskedCrc32c(record)) throw corrupted(offset);
      yield record;
      offset += headLength + byteLength + footLength;
    }
  } finally {
    await input.close();
  }
}

/** Bytes that a record takes beyond its own. */
export const recordOverheadBytes = headLength + footLength;

/** `record` as a TFRecord file has it. */
export function encodeRecord(record: Uint8Array): Buffer {
  return Buffer.concat([recordHead(record.byteLength), record, recordFoot(crc32c(record))]);
}

/** What stands before a record of so many bytes. */
export function recordHead(byteLength: number): Buffer {
  const head = Buffer.alloc(headLength);
  head.writeBigUInt64LE(BigInt(byteLength));
  head.writeUInt32LE(maskedCrc32c(head.subarray(0, 8)), 8);
  return head;
}

/** What stands behind a record with this CRC-32C. */
export function recordFoot(crc: number): Buffer {
  const foot = Buffer.alloc(footLength);
  foot.writeUInt32LE(masked(crc));
  return foot;
}

function truncated(offset: number): StatusError {
  return new StatusError('DATA_LOSS', `truncated record at ${offset}`);
}

function corrupted(offset: number): StatusError {
  return new StatusError('DATA_LOSS', `corrupted record at ${offset}`);
}

/** Pieces in, any number of bytes out. Holds no more than what was asked for and one piece. */
class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #pieces: Uint8Array[] = [];
  #held = 0;

  constructor(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#source =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** The next `count` bytes, fewer only at the end. */
  async take(count: number): Promise<Uint8Array> {
    while (this.#held < count) {
      const next = await this.#source.next();
      if (next.done === true) break;
      this.#pieces.push(next.value);
      this.#held += next.value.byteLength;
    }
    const first = this.#pieces[0];
    if (first !== undefined && first.byteLength > count) {
      this.#pieces[0] = first.subarray(count);
      this.#held -= count;
      return first.subarray(0, count);
    }
    const all = Buffer.concat(this.#pieces);
    const taken = all.subarray(0, count);
    this.#pieces = all.byteLength > count ? [all.subarray(count)] : [];
    this.#held = all.byteLength - taken.byteLength;
    return taken;
  }

  /** Lets the source go, a file with it, if it has not ended. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

/** A CRC-32C as TFRecord keeps it: rotated and moved, so that data may hold CRCs of its own. */
export function maskedCrc32c(bytes: Uint8Array): number {
  return masked(crc32c(bytes));
}

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), eight bytes a step.
 *
 * @param before That of the bytes before these. Default: there are none.
 */
export function crc32c(bytes: Uint8Array, before = 0): number {
  const tables = (crcTables ??= makeTables());
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
  let crc = ~before;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    const low =
      crc ^
      (at(bytes, i) |
        (at(bytes, i + 1) << 8) |
        (at(bytes, i + 2) << 16) |
        (at(bytes, i + 3) << 24));
    crc =
      at(t7, low & 0xff) ^
      at(t6, (low >>> 8) & 0xff) ^
      at(t5, (low >>> 16) & 0xff) ^
      at(t4, low >>> 24) ^
      at(t3, at(bytes, i + 4)) ^
      at(t2, at(bytes, i + 5)) ^
      at(t1, at(bytes, i + 6)) ^
      at(t0, at(bytes, i + 7));
  }
  for (; i < bytes.length; i++) crc = at(t0, (crc ^ at(bytes, i)) & 0xff) ^ (crc >>> 8);
  return ~crc >>> 0;
}

function at(array: Uint8Array | Int32Array, index: number): number {
  return array[index] as number;
}

type Tables = [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

let crcTables: Tables | undefined;

/** `tables[n][byte]`: what a byte adds to the CRC, n bytes before the end. */
function makeTables(): Tables {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256)) as Tables;
  const [first] = tables;
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    first[byte] = crc;
  }
  for (let n = 1; n < 8; n++) {
    const before = tables[n - 1] as Int32Array;
    const table = tables[n] as Int32Array;
    for (let byte = 0; byte < 256; byte++) {
      const crc = before[byte] as number;
      table[byte] = (crc >>> 8) ^ (first[crc & 0xff] as number);
    }
  }
  return tables;
}
