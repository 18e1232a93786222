import { nativeAddon } from '../native/load.js';

/** Feeds of fewer bytes are copied on their way to the engine, whoever owns them. */
const ownedMinBytes = 16 * 1024;
/** What engines take as it is. */
const alignment = 64;

/**
 * Memory for a message that has tensors in it, so that they are fed as they lie there: where it is
 * large, of Tenon's own, and such that `tensorsAt`, the place in the message where they begin, is
 * aligned. Undefined: nowhere.
 *
 * @throws ERR_TENON_OUT_OF_MEMORY
 */
export function messageMemory(
  byteLength: number,
  tensorsAt: number | undefined,
): { readonly bytes: Buffer; readonly isOwned: boolean } {
  if (tensorsAt === undefined || byteLength <= ownedMinBytes) {
    return { bytes: Buffer.allocUnsafeSlow(byteLength), isOwned: false };
  }
  const start = (alignment - (tensorsAt % alignment)) % alignment;
  const bytes = Buffer.from(nativeAddon().alloc(start + byteLength), start, byteLength);
  return { bytes, isOwned: true };
}
