import { strictEqual } from 'node:assert';

import type { Tensor } from '../../lib/tensor/tensor.js';

/** Fails where the tensors differ, in dtype, shape or any bit. */
export function isSame(a: Tensor, b: Tensor): void {
  strictEqual(b.dtype, a.dtype);
  strictEqual(b.shape.join(), a.shape.join());
  if (a.dtype === 'string') {
    const [first, second] = [a.bytes, b.bytes] as unknown as [Uint8Array[], Uint8Array[]];
    strictEqual(second.length, first.length);
    first.forEach((bytes, i) => strictEqual(Buffer.compare(bytes, second[i] as Uint8Array), 0));
  } else {
    strictEqual(Buffer.compare(a.bytes as Uint8Array, b.bytes as Uint8Array), 0);
  }
}
