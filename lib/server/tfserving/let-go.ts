import type { Tensor } from '../../index.js';

/** Elements of which giving the memory back would take longer than it is worth. */
const smallSize = 256;

/** To be called with tensors of a request that has been answered. */
export function letGo(tensor: Tensor): void {
  if (tensor.size > smallSize) tensor.dispose();
}
