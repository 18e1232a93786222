import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import {
  decompress,
  encodeStatusMessage,
  framed,
  MessageReader,
  parseTimeout,
} from '../../lib/server/grpc/messages.js';

function frame(bytes: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.byteLength, 1);
  return Buffer.concat([prefix, bytes]);
}

describe('messages in a stream', () => {
  const bodies = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(3000, 7)];
  const stream = Buffer.concat(bodies.map((body) => frame(body)));

  it('are read from pieces of any size', () => {
    for (const size of [1, 2, 5, 8, 1000, stream.length]) {
      const reader = new MessageReader(10_000);
      const found: Buffer[] = [];
      for (let at = 0; at < stream.length; at += size) {
        reader.push(stream.subarray(at, at + size));
        for (let next = reader.next(); next !== undefined; next = reader.next()) {
          found.push(next.bytes);
        }
      }
      expect(found).toEqual(bodies);
      expect(reader.isWithin).toBe(false);
    }
  });

  it('with tensors are put where these are aligned, in memory of Tenon’s own', () => {
    const body = Buffer.from(Uint8Array.from({ length: 50_000 }, (_, i) => i));
    for (const size of [1000, 16_384]) {
      for (const tensorsAt of [1, 17, 64, 129]) {
        const reader = new MessageReader(100_000);
        reader.tensorsAt = (first) => {
          expect(first).toEqual(body.subarray(0, first.length));
          return tensorsAt;
        };
        const bytes = Buffer.concat([frame(body), frame(Buffer.from('next'))]);
        for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
        const message = reader.next()?.bytes as Buffer;
        expect(message).toEqual(body);
        expect((message.byteOffset + tensorsAt) % 64).toBe(0);
        expect(Tensor.isOwned(message)).toBe(true);
        expect(reader.next()?.bytes.toString()).toBe('next');
        expect(reader.isWithin).toBe(false);
      }
    }
  });

  it('that are not whole are not given out', () => {
    const reader = new MessageReader(10_000);
    reader.push(stream.subarray(0, 7));
    expect(reader.next()).toBeUndefined();
    expect(reader.isWithin).toBe(true);
  });

  it('that are too long, or none, are refused at their prefix', () => {
    const long = new MessageReader(10);
    long.push(frame(Buffer.alloc(11)).subarray(0, 5));
    expect(() => long.next()).toThrow('Received message larger than max (11 vs. 10)');
    const odd = new MessageReader(10);
    odd.push(frame(Buffer.alloc(1), 7));
    expect(() => odd.next()).toThrow('Invalid frame type: 7');
  });

  it('are written in one piece where they are small, without a copy where they are large', () => {
    expect(framed(Buffer.from('one'))).toEqual([frame(Buffer.from('one'))]);
    const large = new Uint8Array(100_000);
    const [prefix, body] = framed(large);
    expect(prefix).toEqual(frame(large).subarray(0, 5));
    expect(body?.buffer).toBe(large.buffer);
  });
});

describe('compressed messages', () => {
  it('are decompressed up to a length', async () => {
    const bytes = gzipSync(Buffer.alloc(1000));
    expect(await decompress(bytes, 'gzip', 1000)).toHaveLength(1000);
    await expect(decompress(bytes, 'gzip', 999)).rejects.toMatchObject({
      status: 'RESOURCE_EXHAUSTED',
    });
  });

  it.each([
    ['snappy', 'UNIMPLEMENTED'],
    ['toString', 'UNIMPLEMENTED'],
    ['identity', 'INTERNAL'],
    [undefined, 'INTERNAL'],
    ['deflate', 'INTERNAL'],
  ])('in %s are %s', async (encoding, status) => {
    await expect(decompress(gzipSync('a'), encoding, 1000)).rejects.toMatchObject({ status });
  });
});

describe('status messages', () => {
  it('are ASCII, and what is not is escaped', () => {
    expect(encodeStatusMessage('a "b" 100%\n ü🙂')).toBe('a "b" 100%25%0A %C3%BC%F0%9F%99%82');
    expect(encodeStatusMessage('\ud800')).toBe('%EF%BF%BD');
  });

  it('end where clients would not take more, between two characters', () => {
    const encoded = encodeStatusMessage('ü'.repeat(10_000));
    expect(encoded.length).toBeLessThan(4200);
    expect(decodeURIComponent(encoded)).toMatch(/^ü+\.\.\.$/);
  });
});

describe('timeouts', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['99999999S', 99_999_999_000],
    ['5m', 5],
    ['1500u', 1.5],
    ['0n', 0],
  ])('%s', (text, ms) => {
    expect(parseTimeout(text)).toBe(ms);
  });

  it.each(['', '1', 'S', '-1S', '1.5S', '123456789S', '1S, 2S', '1 S'])('%j is none', (text) => {
    expect(() => parseTimeout(text)).toThrow('Invalid grpc-timeout');
  });
});
