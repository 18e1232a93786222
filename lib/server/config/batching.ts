/** TensorFlow Serving's batching parameters as options of `load()`. */

import type { BatchingOptions } from '../../index.js';
import type { BatchingParameters } from '../../protobuf/tensorflow-serving-config.js';

export interface BatchingSettings {
  readonly batching: BatchingOptions;
  /** Batches that run at the same time; undefined: as many as a model has lanes by default. */
  readonly lanes: number | undefined;
}

/** What TensorFlow Serving takes where its file says nothing. */
const defaultMaxBatchSize = 1000;
const defaultMaxEnqueuedBatches = 10;

/** @param parameters The file's; undefined: none was given. */
export function batchingSettings(parameters: BatchingParameters | undefined): BatchingSettings {
  const numbers = {
    maxBatchSize: numberOf(parameters?.maxBatchSize),
    maxExecutionBatchSize: numberOf(parameters?.maxExecutionBatchSize),
    delay: numberOf(parameters?.batchTimeoutMicros),
    queued: numberOf(parameters?.maxEnqueuedBatches),
    threads: numberOf(parameters?.numBatchThreads),
  };
  const allowed = parameters?.allowedBatchSizes.map(Number) ?? [];
  const splits = parameters?.enableLargeBatchSplitting?.value === true;
  const maxBatchSize =
    (splits ? numbers.maxExecutionBatchSize : undefined) ??
    numbers.maxBatchSize ??
    allowed.at(-1) ??
    defaultMaxBatchSize;
  return {
    batching: {
      maxBatchSize,
      maxDelayMicros: numbers.delay ?? 0,
      maxQueuedBatches: numbers.queued ?? defaultMaxEnqueuedBatches,
      ...(allowed.length > 0 && { allowedBatchSizes: allowed }),
      splitLarge: splits,
      ...(parameters?.padVariableLengthInputs === true && {
        padVariableLength: true,
        padValue: 'first',
      }),
      // A model that cannot be batched is served all the same.
      verifyBatching: 'warn',
    },
    lanes: numbers.threads,
  };
}

function numberOf(wrapper: { value: bigint } | undefined): number | undefined {
  return wrapper === undefined ? undefined : Number(wrapper.value);
}
