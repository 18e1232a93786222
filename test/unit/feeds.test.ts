import vm from 'node:vm';

import { describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { feedToNative, isBareFeed } from '../../lib/model/feeds.js';
import type { Dimension, TensorSpec, ValueSpec } from '../../lib/model/spec.js';
import type { NativeTensorIn } from '../../lib/native/types.js';
import type { DType, TypedArray } from '../../lib/tensor/dtypes.js';
import { expectError } from '../helpers/errors.js';

function spec(dtype: DType, shape: readonly Dimension[] | null): TensorSpec {
  return { kind: 'tensor', name: 'x', dtype, shape };
}

/** Shape and elements a feed reaches the addon with. */
function fed(value: unknown, declared: ValueSpec, validateShapes = true): [number[], unknown[]] {
  const [, shape, data] = feedToNative(value, declared, 'x', validateShapes) as NativeTensorIn;
  return [[...shape], [...(data as TypedArray)]];
}

describe('the shape of a feed that brings none', () => {
  it.each<[string, unknown, readonly Dimension[] | null, number[]]>([
    ['a typed array for one unknown dimension', new Float32Array(6), ['batch', 3], [2, 3]],
    ['a typed array for known dimensions', new Float32Array(6), [2, 3], [2, 3]],
    ['a typed array for a vector', new Float32Array(6), [null], [6]],
    ['a typed array for an unknown rank', new Float32Array(6), null, [6]],
    ['a typed array of one for a scalar', new Float32Array(1), [], []],
    ['an empty typed array', new Float32Array(), ['batch', 3], [0, 3]],
    ['an empty typed array where a size is 0', new Float32Array(), [null, 0], [0, 0]],
    ['a flat array', [1, 2, 3, 4], ['batch', 2], [2, 2]],
    ['a flat array of one for a scalar', [1], [], []],
    ['an empty array', [], ['batch', 2], [0, 2]],
    ['a scalar', 5, [], []],
    ['a scalar for a vector', 5, [null], [1]],
    ['a scalar for a matrix of one', 5, [1, 1], [1, 1]],
    ['a scalar for an unknown rank', 5, null, []],
    ['nested arrays', [[1, 2]], [null, null], [1, 2]],
    ['nested arrays for an unknown rank', [[[1]]], null, [1, 1, 1]],
  ])('%s is found', (_, value, declared, shape) => {
    expect(fed(value, spec('float32', declared))[0]).toEqual(shape);
  });

  it.each<[string, unknown, readonly Dimension[]]>([
    ['too few elements', new Float32Array(5), ['batch', 3]],
    ['too many elements', new Float32Array(7), [2, 3]],
    ['elements where there are none', new Float32Array(1), [null, 0]],
    ['a flat array of another length', [1, 2, 3], ['batch', 2]],
    ['two elements for a scalar', [1, 2], []],
    ['a scalar for several', 5, [2, null]],
  ])('%s is ERR_TENON_DATA_LENGTH', async (_, value, declared) => {
    await expectError('ERR_TENON_DATA_LENGTH', () => fed(value, spec('float32', declared)), '"x"');
  });

  it('is not guessed for two unknown dimensions', async () => {
    const action = () => fed(new Float32Array(6), spec('float32', [null, 'width']));
    await expectError('ERR_TENON_SHAPE', action, '"x"', '[?,width]');
  });

  it('counts elements, not bytes or parts', () => {
    expect(fed(new Uint8Array(3), spec('int4', [null, 2]))[0]).toEqual([3, 2]);
    expect(fed(new Float32Array(8), spec('complex64', [null, 2]))[0]).toEqual([2, 2]);
  });

  it('is checked for half a complex number', async () => {
    const action = () => fed(new Float32Array(3), spec('complex64', null));
    await expectError('ERR_TENON_SHAPE', action, '"x"');
  });
});

describe('a tensor', () => {
  it('keeps the shape it has where shapes are not compared', () => {
    const tensor = new Tensor('float32', [1, 2], [1, 2]);
    expect(fed(tensor, spec('float32', [5]), false)[0]).toEqual([1, 2]);
  });

  it.each<[readonly Dimension[] | null, boolean]>([
    [[null, 'width'], true],
    [[1, 2], true],
    [null, true],
    [[2, 1], false],
    [[null], false],
    [[], false],
  ])('of shape [1,2] for %j: %s', async (declared, fits) => {
    const action = () => fed(new Tensor('float32', [1, 2], [1, 2]), spec('float32', declared));
    if (fits) expect(action()[0]).toEqual([1, 2]);
    else await expectError('ERR_TENON_SHAPE', action, '[1,2]', '"x"');
  });
});

describe('elements', () => {
  it('of strings may be text, bytes or a bare Uint8Array', () => {
    expect(fed('word', spec('string', []))).toEqual([[], ['word']]);
    expect(fed(Uint8Array.of(255), spec('string', []))).toEqual([[], [Uint8Array.of(255)]]);
    expect(fed(Uint8Array.of(255), spec('string', [null]))[0]).toEqual([1]);
    expect(fed([Uint8Array.of(255), 'b'], spec('string', [null, 2]))[0]).toEqual([1, 2]);
  });

  it('of 64 bits may be numbers', () => {
    expect(fed([1, 2n], spec('int64', [null]))[1]).toEqual([1n, 2n]);
  });

  it('may be in an array of another realm', () => {
    const foreign: unknown = vm.runInNewContext('[[1, 2]]');
    expect(fed(foreign, spec('float32', [null, 2]))).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });
});

describe('isBareFeed', () => {
  it.each([[1], ['a'], [null], [undefined], [[1]], [new Float32Array(1)], [new Map()]])(
    '%o stands for an input',
    (value) => {
      expect(isBareFeed(value)).toBe(true);
    },
  );

  it('a tensor stands for an input, an object names them', () => {
    expect(isBareFeed(new Tensor('float32', [1]))).toBe(true);
    expect(isBareFeed({ x: 1 })).toBe(false);
    expect(isBareFeed(Object.create(null))).toBe(false);
  });
});
