// Written by `tenon types`.

import type { Tensor, TensorFeed } from '../../../lib/index.js';

/** Feeds and outputs of tf_signatures, for load<TfSignatures>(). */
export type TfSignatures = {
  /** Method tensorflow/serving/predict. */
  double: {
    feeds: {
      /** float32 [?, 3] */
      x: TensorFeed<'float32'>;
    };
    outputs: {
      /** float32 [?, 3] */
      y: Tensor<'float32'>;
    };
  };
  /** Method tensorflow/serving/predict. */
  serving_default: {
    feeds: {
      /** float32 [?] */
      x: TensorFeed<'float32'>;
    };
    outputs: {
      /** float32 [?] */
      y: Tensor<'float32'>;
    };
  };
  /** Method tensorflow/serving/predict. */
  stats: {
    feeds: {
      /** int64 [] */
      digits: TensorFeed<'int64'>;
      /** float32 [?] */
      values: TensorFeed<'float32'>;
      /** float32 [?] */
      weights: TensorFeed<'float32'>;
    };
    outputs: {
      /** bool [?] */
      above: Tensor<'bool'>;
      /** int64 [] */
      largest: Tensor<'int64'>;
      /** float32 [] */
      mean: Tensor<'float32'>;
      /** float32 [] */
      rounded: Tensor<'float32'>;
    };
  };
};
