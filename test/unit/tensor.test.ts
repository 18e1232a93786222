import vm from 'node:vm';

import { describe, expect, it } from 'vitest';

import { type DType, Tensor } from '../../lib/index.js';
import { carrierLength, dtypes, type TypedArray } from '../../lib/tensor/dtypes.js';
import { expectError } from '../helpers/errors.js';

const names = Object.keys(dtypes) as DType[];
const fixed = names.filter((dtype) => dtype !== 'string');

function make(dtype: string, data: unknown, shape?: unknown): Tensor {
  return new Tensor(dtype as DType, data as never, shape as number[]);
}

function carrierOf(dtype: DType, length: number): TypedArray {
  return new (dtypes[dtype].carrier as new (length: number) => TypedArray)(length);
}

describe('new Tensor', () => {
  it.each(fixed)('of %s is a view of the array it is given', (dtype) => {
    const data = carrierOf(dtype, carrierLength(dtype, 6));
    const tensor = make(dtype, data, [2, 3]);
    expect(tensor.data).toBe(data);
    expect(tensor.size).toBe(6);
    expect(tensor.byteLength).toBe(data.byteLength);
  });

  it.each(fixed)('of %s takes the right number of elements for shape [3]', async (dtype) => {
    const length = carrierLength(dtype, 3);
    expect(make(dtype, carrierOf(dtype, length), [3]).size).toBe(3);
    await expectError('ERR_TENON_DATA_LENGTH', () =>
      make(dtype, carrierOf(dtype, length + 1), [3]),
    );
    await expectError('ERR_TENON_DATA_LENGTH', () =>
      make(dtype, carrierOf(dtype, length - 1), [3]),
    );
  });

  it.each(names)('of %s holds a scalar', (dtype) => {
    const data = dtype === 'string' ? [''] : carrierOf(dtype, carrierLength(dtype, 1));
    const tensor = make(dtype, data, []);
    expect(tensor.shape).toEqual([]);
    expect(tensor.size).toBe(1);
  });

  it.each([[[0]], [[0, 3]], [[2, 0]], [[2, 0, 3]], [[0, 0]]])(
    'holds no elements in shape %j',
    (shape) => {
      const tensor = make('float32', new Float32Array(), shape);
      expect(tensor.size).toBe(0);
      expect(tensor.byteLength).toBe(0);
    },
  );

  it('without a shape has one dimension', () => {
    expect(make('float32', new Float32Array(5)).shape).toEqual([5]);
    expect(make('complex64', new Float32Array(6)).shape).toEqual([3]);
    expect(make('int4', new Uint8Array(2)).shape).toEqual([4]);
  });

  it('without a shape has as many elements as the array, packed or not', () => {
    expect(make('int4', [1, 2, 3]).shape).toEqual([3]);
    expect(make('uint2', [1, 2, 3, 0, 1]).toArray()).toEqual([1, 2, 3, 0, 1]);
    expect(make('complex64', [[1, 2]]).shape).toEqual([1]);
  });

  it('takes a typed array of another realm', () => {
    const foreign = vm.runInNewContext('new Float32Array([1, 2])') as Float32Array;
    expect(foreign).not.toBeInstanceOf(Float32Array);
    expect(make('float32', foreign).toArray()).toEqual([1, 2]);
  });

  it('takes Uint8ClampedArray for uint8 and Buffer for bytes', () => {
    expect(make('uint8', new Uint8ClampedArray([1, 300])).toArray()).toEqual([1, 255]);
    expect(make('uint8', Buffer.from([1, 2])).toArray()).toEqual([1, 2]);
  });

  it.each([
    ['float32', new Float64Array(1), 'Float32Array'],
    ['int64', new BigUint64Array(1), 'BigInt64Array'],
    ['float16', new Float32Array(1), 'Uint16Array'],
    ['bool', new Int8Array(1), 'Uint8Array'],
    ['string', new Uint8Array(1), 'array of strings'],
    ['float32', new ArrayBuffer(4), 'Float32Array'],
    ['float32', new DataView(new ArrayBuffer(4)), 'Float32Array'],
    ['float32', { length: 1, 0: 1 }, 'Float32Array'],
    ['float32', 'abcd', 'Float32Array'],
    ['float32', undefined, 'Float32Array'],
    ['float32', null, 'Float32Array'],
    ['float32', new Set([1]), 'Float32Array'],
  ])('of %s refuses the data %o', async (dtype, data, expected) => {
    await expectError('ERR_TENON_DTYPE', () => make(dtype, data), expected, 'received');
  });

  it.each([['float'], ['FLOAT32'], ['toString'], [''], [undefined], [1], [null]])(
    'refuses %o as a dtype',
    async (dtype) => {
      const action = () => make(dtype as string, [1]);
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, '"dtype"', 'float32');
    },
  );

  it.each([
    ['ERR_TENON_SHAPE', [-1]],
    ['ERR_TENON_SHAPE', [1.5]],
    ['ERR_TENON_SHAPE', [NaN]],
    ['ERR_TENON_SHAPE', [Infinity]],
    ['ERR_TENON_SHAPE', ['1']],
    ['ERR_TENON_SHAPE', [1n]],
    ['ERR_TENON_SHAPE', [null]],
    ['ERR_TENON_SHAPE', 1],
    ['ERR_TENON_SHAPE', {}],
    ['ERR_TENON_SHAPE', new Array(1)],
    ['ERR_TENON_TOO_LARGE', [2 ** 53]],
    ['ERR_TENON_TOO_LARGE', [2 ** 27, 2 ** 27]],
    ['ERR_TENON_TOO_LARGE', [2 ** 32, 2 ** 32]],
    ['ERR_TENON_TOO_LARGE', [2 ** 27, 0, 2 ** 27]],
    ['ERR_TENON_TOO_LARGE', [2 ** 63, 2 ** 63, 4]],
  ] as const)('ends in %s for the shape %o', async (code, shape) => {
    await expectError(code, () => make('float32', new Float32Array(1), shape), 'shape');
  });

  it('does not see later changes of the shape it was given', () => {
    const shape = [2];
    const tensor = make('float32', new Float32Array(2), shape);
    shape[0] = 1000;
    expect(tensor.shape).toEqual([2]);
  });

  it('of strings does not see later changes of the array it was given', () => {
    const words = ['a', 'b'];
    const tensor = make('string', words);
    words[0] = 'changed';
    expect(tensor.data).toEqual(['a', 'b']);
  });

  it('over a detached buffer ends in ERR_TENON_DETACHED', async () => {
    const data = new Float32Array(2);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    await expectError('ERR_TENON_DETACHED', () => make('float32', data, [2]), 'detached');
  });
});

describe('elements from arrays', () => {
  it.each([
    ['int8', -128, 127],
    ['uint8', 0, 255],
    ['int16', -(2 ** 15), 2 ** 15 - 1],
    ['uint16', 0, 2 ** 16 - 1],
    ['int32', -(2 ** 31), 2 ** 31 - 1],
    ['uint32', 0, 2 ** 32 - 1],
    ['int4', -8, 7],
    ['uint4', 0, 15],
    ['int2', -2, 1],
    ['uint2', 0, 3],
    ['qint8', -128, 127],
    ['quint8', 0, 255],
    ['qint32', -(2 ** 31), 2 ** 31 - 1],
  ])('of %s go from %i to %i', async (dtype, min, max) => {
    expect(make(dtype, [min, max]).toArray()).toEqual([min, max]);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [min - 1]), `${min} to ${max}`);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [max + 1]), `${min} to ${max}`);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [0.5]), 'received 0.5');
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [NaN]), 'received NaN');
    await expectError('ERR_TENON_DTYPE', () => make(dtype, ['1']), 'received "1"');
  });

  it.each([
    ['int64', -(2n ** 63n), 2n ** 63n - 1n],
    ['uint64', 0n, 2n ** 64n - 1n],
  ])('of %s go from %i to %i and may be safe integers', async (dtype, min, max) => {
    expect(make(dtype, [min, max, 7]).toArray()).toEqual([min, max, 7n]);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [min - 1n]), `${min}`);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [max + 1n]), `${max}`);
    await expectError('ERR_TENON_DTYPE', () => make(dtype, [2 ** 53]), 'integer');
  });

  it.each([
    ['bool', [2]],
    ['bool', ['true']],
    ['bool', [null]],
    ['float32', ['1']],
    ['float32', [1n]],
    ['float32', [true]],
    ['float32', [undefined]],
    ['float16', [null]],
    ['string', [1]],
    ['string', [null]],
    ['float8e5m2', [1]],
    ['complex64', [['1', 2]]],
  ])('of %s cannot be %o', async (dtype, data) => {
    await expectError('ERR_TENON_DTYPE', () => make(dtype, data), 'received');
  });

  it('of a sparse array are refused', async () => {
    await expectError('ERR_TENON_DTYPE', () => make('float32', new Array(2)), 'received undefined');
  });
});

describe('Tensor.from', () => {
  it.each([
    [1, 'float32', []],
    [[1, 2], 'float32', [2]],
    [[[1], [2]], 'float32', [2, 1]],
    [[1n], 'int64', [1]],
    [[true, false], 'bool', [2]],
    ['word', 'string', []],
    [[new Uint8Array([255])], 'string', [1]],
    [[], 'float32', [0]],
    [[[], []], 'float32', [2, 0]],
  ])('infers dtype and shape of %o', (values, dtype, shape) => {
    const tensor = Tensor.from(values);
    expect(tensor.dtype).toBe(dtype);
    expect(tensor.shape).toEqual(shape);
  });

  it.each([[0], [1], [2], [3], [4], [5], [6], [7], [8]])('keeps rank %i', (rank) => {
    let values: unknown = 5;
    for (let depth = 0; depth < rank; depth++) values = [values];
    const tensor = Tensor.from(values);
    expect(tensor.shape).toEqual(new Array(rank).fill(1));
    expect(tensor.toArray()).toEqual(values);
  });

  it('takes complex elements as pairs', () => {
    const tensor = Tensor.from([[[1, 2]], [[3, 4]]], 'complex64');
    expect(tensor.shape).toEqual([2, 1]);
    expect(tensor.toArray()).toEqual([[[1, 2]], [[3, 4]]]);
    expect(Tensor.from([1, 2], 'complex128').shape).toEqual([]);
  });

  it('has no pairs to look for where complex arrays are empty', () => {
    expect(Tensor.from([], 'complex64').shape).toEqual([0]);
    expect(Tensor.from([[], []], 'complex64').shape).toEqual([2, 0]);
  });

  it.each([
    [[[1, 2], [3]]],
    [[[1], 2]],
    [[1, [2]]],
    [
      [
        [1, 2],
        [3, 4, 5],
      ],
    ],
    [[[[1]], [1]]],
  ])('refuses the ragged array %j', async (values) => {
    await expectError('ERR_TENON_SHAPE', () => Tensor.from(values), 'received');
  });

  it('refuses complex elements that are no pairs', async () => {
    await expectError('ERR_TENON_SHAPE', () => Tensor.from([1, 2, 3], 'complex64'), 'pairs');
    await expectError('ERR_TENON_SHAPE', () => Tensor.from(1, 'complex64'), 'pairs');
  });

  it('refuses an array that holds itself', async () => {
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    await expectError('ERR_TENON_SHAPE', () => Tensor.from(cyclic), 'nested');
  });

  it.each([['float32'], ['string'], ['int4']] as const)(
    'refuses arrays of %s whose first elements promise more than memory',
    async (dtype) => {
      const element = dtype === 'string' ? 'a' : 1;
      const empty: unknown[] = [];
      const values = [new Array(200_000).fill(element), ...new Array<unknown>(200_000).fill(empty)];
      await expectError('ERR_TENON_TOO_LARGE', () => Tensor.from(values, dtype), '200001,200000');
    },
  );

  it.each([[{}], [null], [Symbol('x')], [() => 1], [[{}]], [new Date()]])(
    'refuses elements like %o',
    async (values) => {
      await expectError('ERR_TENON_DTYPE', () => Tensor.from(values), 'received');
    },
  );
});

describe('Tensor.alloc', () => {
  it.each(fixed)('gives zeroed elements of %s', (dtype) => {
    const tensor = Tensor.alloc(dtype, [5]);
    expect(tensor.shape).toEqual([5]);
    expect((tensor.data as TypedArray).length).toBe(carrierLength(dtype, 5));
    expect(tensor.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('gives an empty tensor', () => {
    const tensor = Tensor.alloc('float32', [0, 3]);
    expect(tensor.size).toBe(0);
    expect(tensor.data).toHaveLength(0);
    tensor.dispose();
  });

  it('has no strings', async () => {
    await expectError('ERR_TENON_UNSUPPORTED', () => Tensor.alloc('string', [1]), 'string');
  });

  it.each([
    ['ERR_TENON_OUT_OF_MEMORY', 'uint8', 2 ** 53 - 1],
    ['ERR_TENON_TOO_LARGE', 'float32', 2 ** 53 - 1],
    ['ERR_TENON_TOO_LARGE', 'complex128', 2 ** 50],
  ] as const)('ends in %s for %s [%d]', async (code, dtype, size) => {
    await expectError(code, () => Tensor.alloc(dtype, [size]));
  });

  it('goes on after memory that could not be had', async () => {
    await expectError('ERR_TENON_OUT_OF_MEMORY', () => Tensor.alloc('uint8', [2 ** 50]));
    expect(Tensor.alloc('uint8', [4]).data).toHaveLength(4);
  });
});

describe('reading', () => {
  it('gives booleans, bigints, numbers of halves and of small floats', () => {
    expect(make('bool', new Uint8Array([0, 1])).toArray()).toEqual([false, true]);
    expect(make('int64', new BigInt64Array([-1n])).toArray()).toEqual([-1n]);
    expect(make('float16', new Uint16Array([0x3c00])).toArray()).toEqual([1]);
    expect(make('bfloat16', new Uint16Array([0x3f80])).toArray()).toEqual([1]);
    expect(make('float8e5m2', new Uint8Array([0x3c])).toArray()).toEqual([1]);
    expect(make('float4e2m1', new Uint8Array([0x72]), [2]).toArray()).toEqual([1, 6]);
  });

  it('toFloat32 converts every real dtype and never shares memory', () => {
    for (const dtype of fixed.filter((name) => dtypes[name].parts === 1)) {
      const tensor = make(dtype, carrierOf(dtype, carrierLength(dtype, 3)), [3]);
      const values = tensor.toFloat32();
      expect(values, dtype).toHaveLength(3);
      expect(values.buffer).not.toBe((tensor.data as TypedArray).buffer);
    }
  });

  it.each(['string', 'complex64', 'complex128'] as const)('toFloat32 refuses %s', async (dtype) => {
    const tensor = make(dtype, dtype === 'string' ? ['1'] : carrierOf(dtype, 2), [1]);
    await expectError('ERR_TENON_UNSUPPORTED', () => tensor.toFloat32(), dtype);
  });

  it('data of strings that are no UTF-8 ends in ERR_TENON_INVALID_UTF8, bytes do not', async () => {
    const tensor = make('string', ['fine', new Uint8Array([0x61, 0xff])]);
    await expectError('ERR_TENON_INVALID_UTF8', () => tensor.data, 'element 1', 'bytes');
    await expectError('ERR_TENON_INVALID_UTF8', () => tensor.toArray(), 'element 1');
    expect((tensor as Tensor<'string'>).bytes[1]).toEqual(new Uint8Array([0x61, 0xff]));
  });

  it('strings keep a byte order mark and NULs', () => {
    const text = '\ufeffa\0b';
    expect(make('string', [Buffer.from(text)]).data).toEqual([text]);
  });

  it('byteLength of strings is that of their UTF-8', () => {
    expect(make('string', ['ä', 'b', '']).byteLength).toBe(3);
  });
});

describe('dispose', () => {
  const uses: [string, (tensor: Tensor) => unknown][] = [
    ['data', (tensor) => tensor.data],
    ['bytes', (tensor) => tensor.bytes],
    ['byteLength', (tensor) => tensor.byteLength],
    ['toArray', (tensor) => tensor.toArray()],
    ['toFloat32', (tensor) => tensor.toFloat32()],
  ];

  it.each(uses)('makes %s end in ERR_TENON_DISPOSED', async (_, use) => {
    const tensor = Tensor.alloc('float32', [2]);
    tensor.dispose();
    await expectError('ERR_TENON_DISPOSED', () => use(tensor), 'float32');
  });

  it('twice is nothing', () => {
    const tensor = Tensor.alloc('float32', [2]);
    tensor.dispose();
    tensor.dispose();
  });

  it('empties arrays over memory of Tenon’s own', () => {
    const tensor = Tensor.alloc('float32', [2]);
    const { data } = tensor;
    tensor.dispose();
    expect(data).toHaveLength(0);
  });

  it('leaves a caller’s own array alone', () => {
    const data = new Float32Array([1, 2]);
    make('float32', data).dispose();
    expect([...data]).toEqual([1, 2]);
  });

  it('happens at the end of a using block', async () => {
    let kept: Tensor;
    {
      using tensor = Tensor.alloc('float32', [2]);
      kept = tensor;
    }
    await expectError('ERR_TENON_DISPOSED', () => kept.data);
  });
});

describe('isOwned', () => {
  it('tells memory of Tenon’s own from a caller’s', () => {
    const tensor = Tensor.alloc('float32', [4]);
    const part = tensor.data.subarray(1);
    expect(Tensor.isOwned(tensor.data)).toBe(true);
    expect(Tensor.isOwned(part)).toBe(true);
    expect(Tensor.isOwned(new Float32Array(4))).toBe(false);
    expect(Tensor.isOwned(new Uint8Array(new SharedArrayBuffer(4)))).toBe(false);
  });

  it('is false once the memory has gone', () => {
    const tensor = Tensor.alloc('float32', [4]);
    const { data } = tensor;
    tensor.dispose();
    expect(Tensor.isOwned(data)).toBe(false);
  });
});
