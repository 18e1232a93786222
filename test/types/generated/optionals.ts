// Written by `tenon types`.

import type { Tensor, TensorFeed } from '../../../lib/index.js';

/** Feeds and outputs of optionals, for load<Optionals>(). */
export type Optionals = {
  serving_default: {
    feeds: {
      /** optional float32 [n] */
      maybe: TensorFeed<'float32'> | null;
    };
    outputs: {
      /** bool [] */
      has: Tensor<'bool'>;
    };
  };
};
