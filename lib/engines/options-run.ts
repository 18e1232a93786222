/** What an engine is told of one run. */

import type { EngineName, NativeRunOptions } from '../native/types.js';
import { resolveOnnxRuntimeRunOptions } from './options-onnxruntime.js';
import { resolveTensorFlowRunOptions } from './options-tensorflow.js';

/**
 * The groups `onnxruntime` and `tensorflow` of a run's options: both are checked, that of `engine`
 * is what it is told. Undefined where nothing is asked of it.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option.
 */
export function resolveRunOptions(
  engine: EngineName,
  given: Readonly<Record<string, unknown>>,
): NativeRunOptions | undefined {
  const { onnxruntime, tensorflow } = given;
  if (onnxruntime === undefined && tensorflow === undefined) return undefined;
  const onnx = resolveOnnxRuntimeRunOptions(onnxruntime);
  const tf = resolveTensorFlowRunOptions(tensorflow);
  return engine === 'onnxruntime' ? onnx : tf;
}
