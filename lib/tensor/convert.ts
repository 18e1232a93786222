/** Elements that have no typed array of their own, to and from JavaScript numbers. */

import type { DType } from './dtypes.js';

const scratch = new DataView(new ArrayBuffer(8));

/** IEEE 754 binary16 bits → number. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Number → IEEE 754 binary16 bits, rounded to nearest, ties to even. */
export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundTiesToEven(magnitude * 2 ** 24);
  const exponent = binaryExponent(magnitude);
  // A fraction that rounds up to 1024 carries into the exponent by itself.
  const fraction = roundTiesToEven((magnitude / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + fraction);
}

/** bfloat16 bits (the upper half of a binary32) → number. */
export function bfloat16ToNumber(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** Number → bfloat16 bits, rounded to nearest, ties to even. */
export function numberToBfloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude < 2 ** -126) return sign | roundTiesToEven(magnitude * 2 ** 133);
  if (magnitude === Infinity) return sign | 0x7f80;
  const exponent = binaryExponent(magnitude);
  const bits = ((exponent + 127) << 7) + roundTiesToEven((magnitude / 2 ** exponent - 1) * 128);
  return sign | Math.min(bits, 0x7f80);
}

function binaryExponent(magnitude: number): number {
  scratch.setFloat64(0, magnitude);
  return ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023;
}

function roundTiesToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}

interface SmallFloat {
  exponentBits: number;
  fractionBits: number;
  bias: number;
  /** 'ieee' has infinities; 'fn' only NaN with all bits set; 'fnuz' only NaN at minus zero. */
  kind: 'ieee' | 'fn' | 'fnuz' | 'finite';
}

// Formats of the Open Compute Project's 8-bit and MX specifications and of the "FNUZ" proposal,
// as ONNX names them.
const smallFloats: Partial<Record<DType, SmallFloat>> = {
  float8e4m3fn: { exponentBits: 4, fractionBits: 3, bias: 7, kind: 'fn' },
  float8e4m3fnuz: { exponentBits: 4, fractionBits: 3, bias: 8, kind: 'fnuz' },
  float8e4m3b11fnuz: { exponentBits: 4, fractionBits: 3, bias: 11, kind: 'fnuz' },
  float8e5m2: { exponentBits: 5, fractionBits: 2, bias: 15, kind: 'ieee' },
  float8e5m2fnuz: { exponentBits: 5, fractionBits: 2, bias: 16, kind: 'fnuz' },
  float4e2m1: { exponentBits: 2, fractionBits: 1, bias: 1, kind: 'finite' },
};

/** The bits of a float of at most 8 bits → number; undefined where `dtype` is none. */
export function smallFloatToNumber(dtype: DType, bits: number): number | undefined {
  // E8M0 is a bare exponent: a power of two, or NaN.
  if (dtype === 'float8e8m0') return bits === 0xff ? NaN : 2 ** (bits - 127);
  const format = smallFloats[dtype];
  if (format === undefined) return undefined;
  const { exponentBits, fractionBits, bias, kind } = format;
  const signBit = 1 << (exponentBits + fractionBits);
  const magnitude = bits & (signBit - 1);
  const negative = (bits & signBit) !== 0;
  if (kind === 'fnuz' && negative && magnitude === 0) return NaN;
  if (kind === 'fn' && magnitude === signBit - 1) return NaN;
  const exponent = magnitude >> fractionBits;
  const fraction = (magnitude & ((1 << fractionBits) - 1)) / (1 << fractionBits);
  const sign = negative ? -1 : 1;
  if (kind === 'ieee' && exponent === (1 << exponentBits) - 1) {
    return fraction === 0 ? sign * Infinity : NaN;
  }
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** Element `index` of packed data (`bits` 2 or 4), first element in the low bits. */
export function unpack(data: Uint8Array, index: number, bits: number, signed: boolean): number {
  const perByte = 8 / bits;
  const raw =
    ((data[Math.floor(index / perByte)] ?? 0) >> ((index % perByte) * bits)) & ((1 << bits) - 1);
  return signed && raw >= 1 << (bits - 1) ? raw - (1 << bits) : raw;
}

/** Sets element `index` of packed data that is zero there. */
export function pack(data: Uint8Array, index: number, bits: number, value: number): void {
  const perByte = 8 / bits;
  const at = Math.floor(index / perByte);
  data[at] = (data[at] ?? 0) | ((value & ((1 << bits) - 1)) << ((index % perByte) * bits));
}
