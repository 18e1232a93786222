import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { WaitingFeeds } from '../../lib/model/waiting-feeds.js';
import { nativeAddon } from '../../lib/native/load.js';
import type { RunTensor } from '../../lib/runner.js';
import { dtypes } from '../../lib/tensor/dtypes.js';

const float32 = dtypes.float32.number;
const largeLength = 50_000;

const own = (): { buffers: number; byteLength: number } => nativeAddon().memory();
const floats = (length: number, value: number): RunTensor => [
  float32,
  [1, length],
  new Float32Array(length).fill(value),
];
const dataOf = ([, , data]: RunTensor): Float32Array => data as Float32Array;

describe('feeds that wait', () => {
  let feeds: WaitingFeeds;
  let before: ReturnType<typeof own>;

  beforeEach(() => {
    before = own();
    feeds = new WaitingFeeds();
  });

  afterEach(() => {
    feeds.close();
    expect(own()).toEqual(before);
  });

  it.each([
    ['small', 784],
    ['large', largeLength],
  ])('keep what a %s one was', (_size, length) => {
    const given = floats(length, 3);
    const held = feeds.hold(given);
    dataOf(given).fill(7);
    expect([held[0], held[1]]).toEqual([float32, [1, length]]);
    expect(new Set(dataOf(held))).toEqual(new Set([3]));
    expect(dataOf(held)).toHaveLength(length);
    expect(nativeAddon().owns(dataOf(held).buffer)).toBe(true);
    feeds.release(held);
  });

  it.each([
    ['small', 784],
    ['large', largeLength],
  ])('use the memory of %s ones again', (_size, length) => {
    const wave = (): void => {
      const held = [1, 2, 3, 4].map((value) => feeds.hold(floats(length + value, value)));
      expect(held.map((feed) => dataOf(feed).at(-1))).toEqual([1, 2, 3, 4]);
      for (const feed of held) feeds.release(feed);
    };
    wave();
    const { buffers } = own();
    for (let i = 0; i < 100; i++) wave();
    expect(own().buffers).toBe(buffers);
  });

  it('lie one after the other as they came', () => {
    const held = [1, 2, 3].map((value) => feeds.hold(floats(16, value)));
    const [first, second, third] = held.map(dataOf);
    expect(second?.buffer).toBe(first?.buffer);
    expect([second?.byteOffset, third?.byteOffset]).toEqual([64, 128]);
    for (const feed of held) feeds.release(feed);
  });

  it('of several types begin where their elements may', () => {
    const bytes: RunTensor = [dtypes.uint8.number, [3], Uint8Array.of(1, 2, 3)];
    const integers: RunTensor = [dtypes.int64.number, [2], BigInt64Array.of(4n, 5n)];
    const held = [bytes, integers].map((feed) => feeds.hold(feed));
    expect(held).toEqual([bytes, integers]);
    for (const feed of held) feeds.release(feed);
  });

  it('go into ordinary memory where too many wait', () => {
    const held = Array.from({ length: 5_000 }, (_, i) => feeds.hold(floats(1_000, i)));
    expect(own().byteLength - before.byteLength).toBeLessThanOrEqual(8 * 2 ** 20);
    expect(held.map((feed) => dataOf(feed)[999])).toEqual(held.map((_, i) => i));
    for (const feed of held) feeds.release(feed);
    expect(own().byteLength - before.byteLength).toBeLessThanOrEqual(2 * 2 ** 20);
  });

  it('that are strings are copied', () => {
    const bytes = Uint8Array.of(97);
    const held = feeds.hold([dtypes.string.number, [2], ['ä', bytes]]);
    bytes[0] = 98;
    expect(held[2]).toEqual(['ä', Uint8Array.of(97)]);
    feeds.release(held);
  });

  it('that are Tenon’s own and large stay where they are, however early they are disposed of', () => {
    const tensor = Tensor.alloc('float32', [1, largeLength]);
    const { data } = tensor;
    data.fill(2);
    const held = feeds.hold([float32, [1, largeLength], data]);
    expect(dataOf(held).buffer).toBe(data.buffer);
    tensor.dispose();
    expect(new Set(dataOf(held))).toEqual(new Set([2]));
    feeds.release(held);
    expect(data).toHaveLength(0);
  });

  it('outlive its end until they are released', () => {
    const held = [784, largeLength].map((length) => feeds.hold(floats(length, 5)));
    feeds.close();
    for (const feed of held) expect(new Set(dataOf(feed))).toEqual(new Set([5]));
    for (const feed of held) feeds.release(feed);
    expect(own()).toEqual(before);
  });
});
