import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import {
  bfloat16ToNumber,
  float16ToNumber,
  numberToBfloat16,
  numberToFloat16,
  pack,
  smallFloatToNumber,
  unpack,
} from '../../lib/tensor/convert.js';
import type { DType } from '../../lib/tensor/dtypes.js';
import { fixture } from '../helpers/paths.js';

type Plain = number | 'NaN' | 'Infinity' | '-Infinity' | '-0';

interface FloatBits {
  small: Record<string, Plain[]>;
  halves: Record<'float16' | 'bfloat16', { encode: [Plain, number][]; decode: [number, Plain][] }>;
}

// Made by test/fixtures/make/float_bits.py from numpy and ml_dtypes.
const reference = JSON.parse(readFileSync(fixture('float_bits.json'), 'utf8')) as FloatBits;

const halves = [
  ['float16', numberToFloat16, float16ToNumber, 0x7c00],
  ['bfloat16', numberToBfloat16, bfloat16ToNumber, 0x7f80],
] as const;

describe.each(halves)('%s', (name, encode, decode, infinity) => {
  it('rounds numbers to the bits that Python gives', () => {
    const wrong = reference.halves[name].encode.filter(([value, bits]) => {
      const number = Number(value);
      // Which NaN it is, is nobody's promise.
      return Number.isNaN(number) ? !Number.isNaN(decode(encode(number))) : encode(number) !== bits;
    });
    expect(wrong).toEqual([]);
  });

  it('reads bits as the numbers that Python gives', () => {
    const wrong = reference.halves[name].decode.filter(
      ([bits, value]) => !Object.is(decode(bits), Number(value)),
    );
    expect(wrong).toEqual([]);
  });

  it('gives every bit pattern back that is no NaN', () => {
    const changed: number[] = [];
    for (let bits = 0; bits <= 0xffff; bits++) {
      if ((bits & 0x7fff) <= infinity && encode(decode(bits)) !== bits) changed.push(bits);
    }
    expect(changed).toEqual([]);
  });

  it('rounds a double once, not by way of float32', () => {
    // Above the middle of 1 and the next value by less than float32 can tell.
    const step = name === 'float16' ? 2 ** -10 : 2 ** -7;
    const justAbove = 1 + step / 2 + 2 ** -40;
    expect(decode(encode(justAbove))).toBe(1 + step);
    expect(decode(encode(Math.fround(justAbove)))).toBe(1);
  });
});

describe('smaller floats', () => {
  it.each(Object.entries(reference.small))('read every %s as Python does', (dtype, values) => {
    const wrong = values
      .map((value, bits) => [bits, Number(value), smallFloatToNumber(dtype as DType, bits)])
      .filter(([, expected, actual]) => !Object.is(actual, expected));
    expect(wrong).toEqual([]);
  });

  it('are none of the other dtypes', () => {
    expect(smallFloatToNumber('uint8', 1)).toBeUndefined();
  });
});

describe('packed integers', () => {
  it.each([
    [4, false, [0, 15, 1, 14, 7]],
    [4, true, [-8, 7, -1, 0, 1]],
    [2, false, [3, 0, 1, 2, 3]],
    [2, true, [-2, 1, -1, 0, 1]],
  ])('of %i bits (signed: %s) come back as they were set', (bits, signed, values) => {
    const data = new Uint8Array(Math.ceil((values.length * bits) / 8));
    values.forEach((value, index) => pack(data, index, bits, value));
    expect(values.map((_, index) => unpack(data, index, bits, signed))).toEqual(values);
  });

  it('have their first element in the low bits', () => {
    const data = new Uint8Array(2);
    [1, 2, 3].forEach((value, index) => pack(data, index, 4, value));
    expect([...data]).toEqual([0x21, 0x03]);
  });
});
