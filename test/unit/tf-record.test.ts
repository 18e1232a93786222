import { describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import {
  crc32c,
  maskedCrc32c,
  readRecords,
  type ReadRecordsOptions,
} from '../../lib/codec/tf-record.js';

function crcBytes(bytes: Uint8Array): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(maskedCrc32c(bytes));
  return crc;
}

function record(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.byteLength));
  return Buffer.concat([length, crcBytes(length), bytes, crcBytes(bytes)]);
}

async function all(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options?: ReadRecordsOptions,
): Promise<Buffer[]> {
  const records: Buffer[] = [];
  for await (const bytes of readRecords(source, options)) records.push(Buffer.from(bytes));
  return records;
}

async function failure(source: Iterable<Uint8Array>, options?: ReadRecordsOptions) {
  const error: unknown = await all(source, options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StatusError);
  const { status, message } = error as StatusError;
  return `${status} ${message}`;
}

function pieces(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / length) }, (_, i) =>
    bytes.subarray(i * length, (i + 1) * length),
  );
}

describe('CRC-32C', () => {
  it('of the vectors of RFC 3720', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))).toBe(0x113fdb5c);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });
});

describe('TFRecord', () => {
  const bodies = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(5000, 7), Buffer.from('last')];
  const file = Buffer.concat(bodies.map(record));

  it('is read in pieces of any size', async () => {
    for (const length of [1, 3, 12, 16, 1000, file.length]) {
      expect(await all(pieces(file, length))).toEqual(bodies);
    }
    expect(await all([])).toEqual([]);
  });

  it('of other makers is read', async () => {
    // b"abc" by TFRecord's definition, with a CRC made bit by bit in Python.
    const written = Buffer.from('0300000000000000b099490e6162636e57f121', 'hex');
    expect(await all([written])).toEqual([Buffer.from('abc')]);
  });

  it('is read no further than asked for', async () => {
    let read = 0;
    let isClosed = false;
    function* source(): Generator<Uint8Array> {
      try {
        for (const body of bodies) {
          read++;
          yield record(body);
        }
      } finally {
        isClosed = true;
      }
    }
    for await (const bytes of readRecords(source())) {
      expect(Buffer.from(bytes)).toEqual(bodies[0]);
      break;
    }
    expect(read).toBe(1);
    expect(isClosed).toBe(true);
  });

  it('that ends early is truncated, wherever it ends', async () => {
    const one = record(Buffer.from('one'));
    for (let end = 1; end < one.length; end++) {
      const bytes = Buffer.concat([one, one.subarray(0, end)]);
      expect(await failure([bytes])).toBe(`DATA_LOSS truncated record at ${one.length}`);
    }
  });

  it('with a bit changed is corrupted, wherever it is', async () => {
    const one = record(Buffer.from('one'));
    for (let at = 0; at < one.length; at++) {
      const bytes = Buffer.from(one);
      bytes[at] = (bytes[at] as number) ^ 4;
      expect(await failure([bytes])).toBe('DATA_LOSS corrupted record at 0');
    }
  });

  it('with a record that is too long is refused before it is read', async () => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(2n ** 60n);
    const head = Buffer.concat([length, crcBytes(length)]);
    expect(await failure([head])).toContain(
      'RESOURCE_EXHAUSTED record at 0 has 1152921504606846976',
    );
    expect(await failure([record(Buffer.alloc(11))], { maxRecordBytes: 10 })).toContain(
      'at most 10 are accepted',
    );
  });
});
