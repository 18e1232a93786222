import { describe, expect, it } from 'vitest';

import { joinOutputs } from '../../lib/batching/split.js';
import { dtypes } from '../../lib/tensor/dtypes.js';

const float32 = dtypes.float32.number;

describe('outputs of pieces', () => {
  it('are joined from elements and from memory alike', () => {
    const whole = Float32Array.of(9, 1, 2, 9);
    const pieces = [
      [[float32, [2, 1], whole.subarray(1, 3)]],
      [[float32, [1, 1], Float32Array.of(3).buffer]],
    ] as const;
    const [joined] = joinOutputs(
      pieces.map(([[dtype, shape, data]]) => [[dtype, [...shape], data]]),
    );
    const [dtype, shape, data] = joined as [number, number[], ArrayBuffer];
    expect([dtype, shape]).toEqual([float32, [3, 1]]);
    expect([...new Float32Array(data)]).toEqual([1, 2, 3]);
  });
});
