import { nativeAddon } from '../native/load.js';

/** Feeds of fewer bytes are copied on their way to the engine, whoever owns them. */
const ownedMinBytes = 16 * 1024;
/** What engines take as it is. */
const alignment = 64;
/** What is kept of memory that was given back. */
const maxKeptBytes = 16 << 20;

export interface MessageMemory {
  readonly bytes: Buffer;
  /** Whether it is Tenon's own. */
  readonly isOwned: boolean;
}

/**
 * Memory for a message that has tensors in it, so that they are fed as they lie there: where it is
 * large, of Tenon's own, and such that `tensorsAt`, the place in the message where they begin, is
 * aligned. Undefined: nowhere.
 *
 * @throws ERR_TENON_OUT_OF_MEMORY
 */
export function messageMemory(byteLength: number, tensorsAt: number | undefined): MessageMemory {
  if (tensorsAt === undefined || byteLength <= ownedMinBytes) {
    return { bytes: Buffer.allocUnsafeSlow(byteLength), isOwned: false };
  }
  const start = startFor(tensorsAt);
  const bytes = Buffer.from(nativeAddon().alloc(start + byteLength, true), start, byteLength);
  return { bytes, isOwned: true };
}

const startFor = (tensorsAt: number): number => (alignment - (tensorsAt % alignment)) % alignment;

/**
 * Memory for messages that is given back: it serves the next ones, as the system takes longer to give
 * fresh pages than a socket does to fill them.
 */
export class RecycledMemory {
  readonly #kept: ArrayBuffer[] = [];
  #keptBytes = 0;

  /** As `messageMemory`; what is there of a message before. */
  take(byteLength: number, tensorsAt: number): MessageMemory {
    const start = startFor(tensorsAt);
    const needed = start + byteLength;
    // What came back last is in the caches yet. A message must not hold much more than it counts for.
    const at = this.#kept.findLastIndex(
      (one) => one.byteLength >= needed && one.byteLength <= 2 * needed,
    );
    if (at < 0) return messageMemory(byteLength, tensorsAt);
    const [buffer] = this.#kept.splice(at, 1) as [ArrayBuffer];
    this.#keptBytes -= buffer.byteLength;
    return { bytes: Buffer.from(buffer, start, byteLength), isOwned: true };
  }

  /** Takes back memory of Tenon's own, which nobody reads any more. */
  giveBack({ buffer }: Buffer): void {
    if (this.#keptBytes + buffer.byteLength > maxKeptBytes) {
      nativeAddon().release(buffer as ArrayBuffer);
      return;
    }
    this.#kept.push(buffer as ArrayBuffer);
    this.#keptBytes += buffer.byteLength;
  }
}
