/** Answers compressed as their clients ask. */

import { promisify } from 'node:util';
import { constants, deflate, gzip } from 'node:zlib';

const compressors = { gzip: promisify(gzip), deflate: promisify(deflate) };

export type Compression = keyof typeof compressors;

/** Answers of fewer bytes fit into a packet or two as they are. */
const compressedMinBytes = 1024;

/**
 * Which one an Accept-Encoding asks for, the better liked first; undefined for none, and for an
 * answer that is not worth it.
 */
export function compressionFor(
  acceptEncoding: string | undefined,
  byteLength: number,
): Compression | undefined {
  if (acceptEncoding === undefined || byteLength < compressedMinBytes) return undefined;
  let best: Compression | undefined;
  let bestWeight = 0;
  for (const each of acceptEncoding.split(',')) {
    const [name = '', ...parameters] = each.split(';').map((part) => part.trim().toLowerCase());
    if (name !== 'gzip' && name !== 'deflate') continue;
    const given = parameters.find((parameter) => parameter.startsWith('q='));
    const weight = given === undefined ? 1 : Number(given.slice(2));
    if (weight > bestWeight) {
      best = name;
      bestWeight = weight;
    }
  }
  return best;
}

/** On a thread of Node's, the fast way: numbers hardly get smaller by the slow one. */
export function compress(body: Uint8Array, compression: Compression): Promise<Buffer> {
  return compressors[compression](body, { level: constants.Z_BEST_SPEED });
}
