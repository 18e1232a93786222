import type { ModelSource } from '../model/source.js';
import type { InspectOptions, ModelDescription } from './inspect.js';

export type {
  GraphDefDescription,
  InspectOptions,
  ModelDescription,
  OnnxDescription,
  SavedModelDescription,
} from './inspect.js';

/**
 * Describes a model without an engine: signatures, versions, metadata. Takes what `load()`
 * takes: a path or file: URL of an .onnx file, a SavedModel folder, a folder of versions or a
 * frozen graph; or an ONNX model's bytes. Weights are not read.
 *
 * Errors: ERR_TENON_MODEL_NOT_FOUND, ERR_TENON_MODEL_FORMAT, ERR_TENON_MODEL_INVALID,
 * ERR_TENON_TOO_LARGE, ERR_TENON_UNKNOWN_TAG; ERR_TENON_UNSUPPORTED for .ort files, which only
 * ONNX Runtime reads.
 */
export async function inspect(
  source: ModelSource,
  options?: InspectOptions,
): Promise<ModelDescription> {
  // The readers are read when first used: `import 'tenon'` must stay cheap.
  return (await import('./inspect.js')).inspectModel(source, options);
}
