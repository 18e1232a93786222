/** Answers of the Open Inference Protocol's REST API that hold no tensors. */

import type {
  Duration,
  IndexEntry,
  ModelConfiguration,
  TensorMetadata,
  VersionStatistics,
} from './service.js';

export function indexJson(entries: readonly IndexEntry[]): string {
  // What is undefined is left out.
  return JSON.stringify(entries);
}

/** As inference.ModelConfig, whose element types are called TYPE_FP32 and TYPE_STRING. */
export function configJson({
  name,
  platform,
  backend,
  maxBatchSize,
  inputs,
  outputs,
}: ModelConfiguration): string {
  return JSON.stringify({
    name,
    platform,
    backend,
    max_batch_size: maxBatchSize,
    input: inputs.map(configTensor),
    output: outputs.map(configTensor),
    ...(maxBatchSize > 0 ? { dynamic_batching: {} } : {}),
  });
}

function configTensor({ name, datatype, shape }: TensorMetadata): object {
  const type = datatype === 'BYTES' ? 'STRING' : datatype;
  return { name, data_type: `TYPE_${type}`, dims: shape };
}

export function statisticsJson(statistics: readonly VersionStatistics[]): string {
  return JSON.stringify({
    model_stats: statistics.map((each) => ({
      name: each.name,
      version: each.version,
      last_inference: each.lastInference,
      inference_count: each.inferenceCount,
      execution_count: each.executionCount,
      inference_stats: {
        success: duration(each.success),
        fail: duration(each.fail),
        queue: duration(each.queue),
        compute_input: duration(each.computeInput),
        compute_infer: duration(each.computeInfer),
        compute_output: duration(each.computeOutput),
      },
      // How long batches of each size took is not kept.
      batch_stats: [],
    })),
  });
}

function duration({ count, ns }: Duration): object {
  return { count, ns };
}
