import type { Tensor } from '../../index.js';

/** Elements of which giving the memory back would take longer than it is worth. */
const smallSize = 256;

/** Tensors that somebody needs longer than their request, and how many do. */
const kept = new Map<Tensor, number>();

/** To be called with tensors of a request that has been answered. */
export function letGo(tensor: Tensor): void {
  if (tensor.size > smallSize && (kept.size === 0 || !kept.has(tensor))) tensor.dispose();
}

/**
 * Has `letGo` leave these tensors alone.
 *
 * @returns To be called once, when they are needed no more: they are let go of, whether or not their
 *   request has done so.
 */
export function keep(tensors: readonly Tensor[]): () => void {
  for (const tensor of tensors) kept.set(tensor, (kept.get(tensor) ?? 0) + 1);
  return () => {
    for (const tensor of tensors) {
      const others = (kept.get(tensor) as number) - 1;
      if (others > 0) {
        kept.set(tensor, others);
        continue;
      }
      kept.delete(tensor);
      letGo(tensor);
    }
  };
}
