/**
 * Memory of Tenon's own that a request still waits with: it is given back when nobody does, however
 * early its tensor is disposed.
 */

import { nativeAddon } from '../native/load.js';

interface Pin {
  count: number;
  isReleased: boolean;
}

const pins = new Map<ArrayBufferLike, Pin>();

export function pin(buffer: ArrayBufferLike): void {
  const found = pins.get(buffer);
  if (found === undefined) pins.set(buffer, { count: 1, isReleased: false });
  else found.count++;
}

/** False where nobody has pinned it. */
export function unpin(buffer: ArrayBufferLike): boolean {
  const found = pins.get(buffer);
  if (found === undefined) return false;
  if (--found.count > 0) return true;
  pins.delete(buffer);
  if (found.isReleased) nativeAddon().release(buffer as ArrayBuffer);
  return true;
}

/** As the addon's `release`, now or with the last pin. */
export function releaseMemory(buffer: ArrayBuffer): void {
  const found = pins.size === 0 ? undefined : pins.get(buffer);
  if (found === undefined) nativeAddon().release(buffer);
  else found.isReleased = true;
}
