import { describe, expect, it } from 'vitest';

import { nativeAddon } from '../../lib/native/load.js';
import {
  carrierLength,
  type DType,
  dtypeFromNumber,
  dtypes,
  isDType,
} from '../../lib/tensor/dtypes.js';

describe('the dtype table', () => {
  it('is the same in the addon: numbers, names and bits', () => {
    const rows = Object.entries(dtypes).map(([name, { number, bits }]) => [number, name, bits]);
    expect(nativeAddon().dtypes).toEqual(rows);
  });

  it('finds every dtype by its number', () => {
    for (const [name, { number }] of Object.entries(dtypes)) {
      expect(dtypeFromNumber(number)).toBe(name);
    }
  });

  it('refuses a number that is nobody’s', () => {
    expect(() => dtypeFromNumber(0)).toThrow(RangeError);
    expect(() => dtypeFromNumber(200)).toThrow(RangeError);
  });

  it('has no names from Object.prototype', () => {
    expect(isDType('float32')).toBe(true);
    expect(isDType('toString')).toBe(false);
    expect(isDType('__proto__')).toBe(false);
    expect(isDType(1)).toBe(false);
  });

  it.each<[DType, number, number]>([
    ['float32', 3, 3],
    ['complex64', 3, 6],
    ['int4', 0, 0],
    ['int4', 1, 1],
    ['int4', 3, 2],
    ['int2', 5, 2],
    ['string', 3, 3],
  ])('%s: %i elements take %i of the carrier', (dtype, size, length) => {
    expect(carrierLength(dtype, size)).toBe(length);
  });
});
