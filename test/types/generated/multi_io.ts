// Written by `tenon types`.

import type { Tensor, TensorFeed } from '../../../lib/index.js';

/** Feeds and outputs of multi_io, for load<MultiIo>(). */
export type MultiIo = {
  serving_default: {
    feeds: {
      /** float32 [n] */
      a: TensorFeed<'float32'>;
      /** float32 [n] */
      b: TensorFeed<'float32'>;
      /** float32 [] */
      scale?: TensorFeed<'float32'>;
    };
    outputs: {
      /** float32 [n] */
      sum: Tensor<'float32'>;
      /** float32 [n] */
      product: Tensor<'float32'>;
      /** float32 [n] */
      scaled: Tensor<'float32'>;
      /** bool [n] */
      greater: Tensor<'bool'>;
      /** int64 [1] */
      shape: Tensor<'int64'>;
    };
  };
};
