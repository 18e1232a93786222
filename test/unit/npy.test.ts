import { describe, expect, it } from 'vitest';

import { type NpyArray, formatNpy, parseNpy, tensorFromNpy } from '../../lib/cli/npy.js';
import { type DType, Tensor, TenonError } from '../../lib/index.js';
import npyCases from '../fixtures/npy_cases.json' with { type: 'json' };

/** A file as NumPy lays it out. */
function npy(header: string, body: Uint8Array | number[], version = 1): Uint8Array {
  const text = Buffer.from(header, 'utf8');
  const length = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) length.writeUInt16LE(text.length);
  else length.writeUInt32LE(text.length);
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  return Buffer.concat([start, length, text, Uint8Array.from(body)]);
}

function header(descr: string, shape: string, fortran = 'False'): string {
  return `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;
}

function parse(bytes: Uint8Array): NpyArray {
  return parseNpy(bytes, 'x.npy');
}

function error(action: () => unknown): TenonError {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(TenonError);
    return thrown as TenonError;
  }
  throw new Error('expected an error');
}

/** What NumPy wrote, and what it says is in it. */
interface NpyCase {
  name: string;
  base64: string;
  shape: number[];
  dtype: DType;
  values: unknown;
}

const cases = npyCases as NpyCase[];

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return Object.is(value, -0) ? 0 : value;
}

describe('a .npy file', () => {
  it.each(cases)('of NumPy: $name', ({ base64, shape, dtype, values }) => {
    const tensor = tensorFromNpy(parse(Buffer.from(base64, 'base64')), undefined, 'x.npy');
    expect(tensor.dtype).toBe(dtype);
    expect(tensor.shape).toEqual(shape);
    expect(plain(tensor.toArray())).toEqual(values);
  });

  it('may have a version 2 or 3 header', () => {
    for (const version of [2, 3]) {
      const bytes = npy(header('|i1', '(2,)'), [1, 255], version);
      expect(parse(bytes).elements.data).toEqual(new Int8Array([1, -1]));
    }
  });

  it('may be a slice of a larger buffer at any offset', () => {
    const bytes = npy(header('<f4', '(1,)'), [0, 0, 128, 63]);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(parse(shifted.subarray(3)).elements.data).toEqual(new Float32Array([1]));
  });

  it.each([
    ['of objects', npy(header('|O', '(1,)'), [1])],
    [
      'that is structured',
      npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", [1]),
    ],
    ['of dates', npy(header('<M8[ns]', '(1,)'), new Uint8Array(8))],
    ['of long doubles', npy(header('<f16', '(1,)'), new Uint8Array(16))],
    ['that ends early', npy(header('<f4', '(2,)'), new Uint8Array(7))],
    ['with a shape that overflows', npy(header('<f4', '(9999999999, 9999999999)'), [])],
    ['with a negative shape', npy(header('<f4', '(-1,)'), [])],
    ['without a shape', npy("{'descr': '<f4', 'fortran_order': False, }", [])],
    ['of version 9', npy(header('<f4', '(0,)'), [], 9)],
    ['that is none', Buffer.from('hello, this is text')],
    ['that is empty', new Uint8Array(0)],
    ['whose header is cut', npy(header('<f4', '(1,)'), []).subarray(0, 30)],
    ['with text that is no Unicode', npy(header('<U1', '(1,)'), [255, 255, 255, 255])],
  ])('%s is refused by name', (_, bytes) => {
    const thrown = error(() => parse(bytes));
    expect(thrown.code).toBe('ERR_TENON_INVALID_ARGUMENT');
    expect(thrown.message).toContain('"x.npy"');
  });

  it('cut off anywhere is refused', () => {
    const bytes = npy(header('<f4', '(2, 2)'), new Uint8Array(16));
    for (let length = 0; length < bytes.length; length++) {
      error(() => parse(bytes.subarray(0, length)));
    }
  });
});

describe('for an input of another dtype', () => {
  const doubles = npy(header('<f8', '(2,)'), new Uint8Array(new Float64Array([1, -2.5]).buffer));
  const longs = npy(header('<i8', '(2,)'), new Uint8Array(new BigInt64Array([7n, -1n]).buffer));

  it('numbers are converted where they fit', () => {
    const array = parse(doubles);
    expect(tensorFromNpy(array, 'float32', 'x').toArray()).toEqual([1, -2.5]);
    expect(tensorFromNpy(array, 'float16', 'x').toArray()).toEqual([1, -2.5]);
    expect(tensorFromNpy(parse(longs), 'int32', 'x').toArray()).toEqual([7, -1]);
    expect(tensorFromNpy(parse(longs), 'float32', 'x').toArray()).toEqual([7, -1]);
  });

  it('numbers that do not fit are refused', () => {
    expect(error(() => tensorFromNpy(parse(doubles), 'int32', 'x.npy')).message).toContain(
      'expected int32 for "x.npy", received values in "<f8" that do not fit',
    );
    error(() => tensorFromNpy(parse(longs), 'uint8', 'x.npy'));
    error(() => tensorFromNpy(parse(doubles), 'string', 'x.npy'));
    error(() => tensorFromNpy(parse(doubles), 'bool', 'x.npy'));
    error(() => tensorFromNpy(parse(doubles), 'complex64', 'x.npy'));
  });

  it('void elements are taken for floats of their width only', () => {
    const pairs = parse(npy(header('<V2', '(2,)'), [0x80, 0x3f, 0, 0xc0]));
    expect(tensorFromNpy(pairs, 'bfloat16', 'x').toArray()).toEqual([1, -2]);
    error(() => tensorFromNpy(pairs, undefined, 'x'));
    error(() => tensorFromNpy(pairs, 'uint16', 'x'));
    const bytes = parse(npy(header('|V1', '(3,)'), [0x01, 0x02, 0x07]));
    expect(tensorFromNpy(bytes, 'float8e5m2', 'x').bytes).toEqual(new Uint8Array([1, 2, 7]));
    expect(tensorFromNpy(bytes, 'float4e2m1', 'x').bytes).toEqual(new Uint8Array([0x21, 0x07]));
  });
});

describe('formatNpy', () => {
  it.each<[DType, unknown[]]>([
    ['float32', [1.5, -2, NaN]],
    ['float64', [1e300, 0, -1]],
    ['float16', [0.5, 1, -2]],
    ['int8', [-128, 0, 127]],
    ['uint16', [0, 1, 65535]],
    ['int64', [-(2n ** 63n), 0n, 2n ** 63n - 1n]],
    ['uint64', [0n, 1n, 2n ** 64n - 1n]],
    ['bool', [true, false, true]],
    ['string', ['', 'grün', '🙂']],
    [
      'complex64',
      [
        [1, 2],
        [3, 4],
        [0, -1],
      ],
    ],
  ])('writes %s as it is read', (dtype, values) => {
    for (const shape of [[3], [1, 3], [3, 1, 1]]) {
      const flat = Tensor.from(values, dtype);
      const tensor = new Tensor<DType>(dtype, flat.data, shape);
      const bytes = formatNpy(tensor);
      expect(bytes.indexOf(0x0a) % 64).toBe(63);
      const read = tensorFromNpy(parse(bytes), undefined, 'x');
      expect(read.dtype).toBe(dtype);
      expect(read.shape).toEqual(shape);
      expect(read.toArray()).toEqual(tensor.toArray());
    }
  });

  it('writes scalars and empty tensors', () => {
    const scalar = parse(formatNpy(new Tensor('float32', [7], [])));
    expect([scalar.shape, scalar.elements.data]).toEqual([[], new Float32Array([7])]);
    expect(parse(formatNpy(new Tensor('int32', [], [0, 4]))).shape).toEqual([0, 4]);
  });

  it('writes types NumPy lacks as void or wider integers', () => {
    const bits = new Uint16Array([0x3f80, 0xc000]);
    const bfloat16 = new Tensor('bfloat16', bits, [2]);
    const read = parse(formatNpy(bfloat16));
    expect(read.descr).toBe('<V2');
    expect(tensorFromNpy(read, 'bfloat16', 'x').data).toEqual(bits);
    const int4 = parse(formatNpy(new Tensor('int4', new Uint8Array([0x2f, 0x08]), [3])));
    expect(int4.elements).toMatchObject({ dtype: 'int8', data: new Int8Array([-1, 2, -8]) });
    expect(tensorFromNpy(int4, 'int4', 'x').bytes).toEqual(new Uint8Array([0x2f, 0x08]));
  });

  it('refuses strings that a fixed width would change', () => {
    expect(error(() => formatNpy(new Tensor('string', ['a\0']))).code).toBe(
      'ERR_TENON_UNSUPPORTED',
    );
    const binary = new Tensor('string', [new Uint8Array([255])]);
    expect(error(() => formatNpy(binary)).code).toBe('ERR_TENON_INVALID_UTF8');
  });
});
