/**
 * Memory for feeds that wait for a batch: their callers may reuse their arrays at once. It is Tenon's
 * own, so that a lane reads it as it is, and used again and again: a small typed array of its own
 * costs ten times the copy.
 */

import { copyTensor, type FeedMemory } from '../batching/feeds.js';
import { nativeAddon } from '../native/load.js';
import type { RunTensor } from '../runner.js';
import { dtypes, type TypedArray } from '../tensor/dtypes.js';
import { pin, unpin } from '../tensor/pins.js';

/** From this size on a feed that is Tenon's already is held, and any other gets a buffer of its own. */
const largeFromBytes = 16 * 1024;
/** Smaller ones lie in pages one after the other, as they came: often just as a batch needs them. */
const pageBytes = 256 * 1024;
/** Feeds beyond are copied into ordinary memory: one that waits long keeps the page it is in. */
const mostPages = 32;
const mostSparePages = 4;
/** Buffers of large feeds that are kept for the next ones. */
const mostSpareBuffers = 64;
const mostSpareBytes = 128 * 1024 * 1024;

type View = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => TypedArray;

/** By the dtype's number; none for strings. */
const carriers: (View | undefined)[] = [];
for (const { number, carrier } of Object.values(dtypes)) {
  if (carrier !== Array) carriers[number] = carrier as View;
}

interface Page {
  readonly buffer: ArrayBuffer;
  /** Bytes taken since it was last empty. */
  used: number;
  /** Feeds that lie in it. */
  feeds: number;
}

export class WaitingFeeds implements FeedMemory {
  readonly #addon = nativeAddon();
  readonly #pages = new Map<ArrayBufferLike, Page>();
  /** The one that is being filled. */
  #page: Page | undefined;
  readonly #sparePages: Page[] = [];
  /** Buffers that large feeds lie in, and those that wait for one, the longest unused first. */
  readonly #buffers = new Set<ArrayBufferLike>();
  readonly #spareBuffers: ArrayBuffer[] = [];
  #spareBytes = 0;
  #isClosed = false;

  hold(tensor: RunTensor): RunTensor {
    const [dtype, shape, data] = tensor;
    const carrier = carriers[dtype];
    if (carrier === undefined || !ArrayBuffer.isView(data)) return copyTensor(tensor);
    const { byteLength } = data;
    if (byteLength < largeFromBytes) {
      const size = (data as TypedArray).BYTES_PER_ELEMENT;
      const page = this.#pageFor(byteLength, size);
      if (page === undefined) return copyTensor(tensor);
      const copy = new carrier(page.buffer, page.used, byteLength / size);
      // Throws, with nothing taken yet, where the array is not what it says.
      (copy as Float32Array).set(data as Float32Array);
      page.used += byteLength;
      page.feeds++;
      return [dtype, shape, copy];
    }
    if (this.#addon.owns(data.buffer)) {
      pin(data.buffer);
      return tensor;
    }
    const buffer = this.#bufferFor(byteLength);
    const copy = new carrier(buffer, 0, (data as TypedArray).length);
    (copy as Float32Array).set(data as Float32Array);
    this.#buffers.add(buffer);
    return [dtype, shape, copy];
  }

  release([, , data]: RunTensor): void {
    if (!ArrayBuffer.isView(data)) return;
    const { buffer } = data;
    const page = this.#page?.buffer === buffer ? this.#page : this.#pages.get(buffer);
    if (page !== undefined) {
      if (--page.feeds === 0) this.#emptied(page);
    } else if (this.#buffers.delete(buffer)) {
      this.#keep(buffer as ArrayBuffer);
    } else {
      unpin(buffer);
    }
  }

  /** Lets go of memory that no feed is in; of the rest when its last feed is released. */
  close(): void {
    this.#isClosed = true;
    for (const page of this.#sparePages.splice(0)) this.#drop(page);
    if (this.#page?.feeds === 0) this.#drop(this.#page);
    this.#page = undefined;
    for (const buffer of this.#spareBuffers.splice(0)) this.#addon.release(buffer);
    this.#spareBytes = 0;
  }

  /** A page with room for so many bytes at a multiple of `alignment`; none where all are full. */
  #pageFor(byteLength: number, alignment: number): Page | undefined {
    let page = this.#page;
    if (page !== undefined) {
      if (page.feeds === 0) page.used = 0;
      const start = Math.ceil(page.used / alignment) * alignment;
      if (start + byteLength <= pageBytes) {
        page.used = start;
        return page;
      }
    }
    page = this.#sparePages.pop();
    if (page === undefined) {
      if (this.#pages.size >= mostPages) return undefined;
      page = { buffer: this.#addon.alloc(pageBytes), used: 0, feeds: 0 };
      this.#pages.set(page.buffer, page);
    }
    page.used = 0;
    this.#page = page;
    return page;
  }

  #emptied(page: Page): void {
    if (this.#isClosed) this.#drop(page);
    else if (page === this.#page) return;
    else if (this.#sparePages.length < mostSparePages) this.#sparePages.push(page);
    else this.#drop(page);
  }

  #drop(page: Page): void {
    this.#pages.delete(page.buffer);
    this.#addon.release(page.buffer);
  }

  /** A spare buffer that is not twice as large as it need be, or a new one. */
  #bufferFor(byteLength: number): ArrayBuffer {
    const spare = this.#spareBuffers;
    for (let i = spare.length - 1; i >= 0; i--) {
      const buffer = spare[i] as ArrayBuffer;
      if (buffer.byteLength < byteLength || buffer.byteLength > 2 * byteLength) continue;
      spare.splice(i, 1);
      this.#spareBytes -= buffer.byteLength;
      return buffer;
    }
    // In steps of an eighth, so that lengths which vary a little share buffers.
    const step = 2 ** Math.floor(Math.log2(byteLength) - 3);
    return this.#addon.alloc(Math.ceil(byteLength / step) * step);
  }

  #keep(buffer: ArrayBuffer): void {
    if (this.#isClosed) {
      this.#addon.release(buffer);
      return;
    }
    this.#spareBuffers.push(buffer);
    this.#spareBytes += buffer.byteLength;
    while (this.#spareBuffers.length > mostSpareBuffers || this.#spareBytes > mostSpareBytes) {
      const oldest = this.#spareBuffers.shift() as ArrayBuffer;
      this.#spareBytes -= oldest.byteLength;
      this.#addon.release(oldest);
    }
  }
}
