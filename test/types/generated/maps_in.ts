// Written by `tenon types`.

import type { Tensor } from '../../../lib/index.js';

/** Feeds and outputs of maps_in, for load<MapsIn>(). */
export type MapsIn = {
  serving_default: {
    feeds: {
      /** map from string to float32 */
      words: ReadonlyMap<string, number>;
      /** map from int64 to float32 */
      numbers: ReadonlyMap<bigint, number>;
    };
    outputs: {
      /** float32 of any shape */
      vector: Tensor<'float32'>;
      /** float32 of any shape */
      dense: Tensor<'float32'>;
    };
  };
};
