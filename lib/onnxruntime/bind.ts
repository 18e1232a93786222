import { Backend, type Common, register } from './backend.js';
import { type SupportedBackend, supportedBackends } from './providers.js';
import { makeSessionClass, type SessionClass } from './session.js';

export type { Common, SessionClass, SupportedBackend };

/** What onnxruntime-node has beside onnxruntime-common. */
export interface OnnxRuntimeNode {
  readonly InferenceSession: SessionClass;
  readonly listSupportedBackends: () => SupportedBackend[];
}

const bound = new WeakMap<object, OnnxRuntimeNode>();

/**
 * The drop-in over one instance of onnxruntime-common, whose tensors its sessions return, whose
 * `env` they heed, and whose sessions are Tenon's from now on. Binding it again is nothing.
 */
export function bindOnnxRuntime(common: Common): OnnxRuntimeNode {
  // By a class of the instance: a module's namespace may be copied on its way here.
  let api = bound.get(common.Tensor);
  if (api === undefined) {
    const backend = new Backend(common);
    register(common, backend);
    api = {
      InferenceSession: makeSessionClass(common, backend),
      listSupportedBackends: supportedBackends,
    };
    bound.set(common.Tensor, api);
  }
  return api;
}
