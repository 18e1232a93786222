// Written by `tenon types`.

import type { Tensor, TensorFeed } from '../../../lib/index.js';

/** Feeds and outputs of maps, for load<Maps>(). */
export type Maps = {
  serving_default: {
    feeds: {
      /** float32 [batch, 3] */
      probabilities: TensorFeed<'float32'>;
    };
    outputs: {
      /** sequence of map from int64 to float32 */
      maps: Map<bigint, number>[];
      /** float32 [batch, 3] */
      same: Tensor<'float32'>;
    };
  };
};
