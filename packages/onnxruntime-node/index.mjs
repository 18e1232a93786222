import * as common from 'onnxruntime-common';
import { bindOnnxRuntime } from 'tenon/onnxruntime/bind';

export * from 'onnxruntime-common';

// The instance that is found from here is the dependent's, which that of tenon need not be.
export const { InferenceSession, listSupportedBackends } = bindOnnxRuntime(common);

export default { ...common, InferenceSession, listSupportedBackends };
