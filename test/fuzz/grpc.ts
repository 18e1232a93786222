/** Messages in a stream of gRPC, in pieces: whatever the pieces are, the messages are the same. */

import { deepStrictEqual } from 'node:assert';

import { StatusError } from '../../lib/codec/status.js';
import { MessageReader } from '../../lib/server/grpc/messages.js';

function read(pieces: Buffer[]): unknown {
  const reader = new MessageReader(1000);
  const found: unknown[] = [];
  try {
    for (const piece of pieces) {
      reader.push(piece);
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        found.push([next.isCompressed, next.bytes.toString('hex')]);
      }
    }
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return [found, error.message];
  }
  return [found, reader.isWithin];
}

/** The first byte is the length of the pieces. */
export function fuzz(data: Buffer): void {
  const length = (data[0] ?? 0) + 1;
  const bytes = data.subarray(1);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += length) pieces.push(bytes.subarray(at, at + length));
  deepStrictEqual(read(pieces), read([bytes]));
}
