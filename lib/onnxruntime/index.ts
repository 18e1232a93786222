/**
 * The API of onnxruntime-node over Tenon: everything of onnxruntime-common, from the instance that
 * the application has, with sessions that run off the event loop. See docs/onnxruntime.md.
 */

import * as common from 'onnxruntime-common';

import { bindOnnxRuntime, type SessionClass, type SupportedBackend } from './bind.js';
import type { RunOptions as TenonRunOptions } from './run-options.js';
import type { Session } from './session.js';

export * from 'onnxruntime-common';
export type { CodedError } from './errors.js';
export type { SupportedBackend };

const api = bindOnnxRuntime(common);

/** A session of Tenon's. Those that onnxruntime-common's own `InferenceSession` creates are, too. */
export type InferenceSession = Session;

// eslint-disable-next-line @typescript-eslint/no-namespace -- the API that is kept has one
export declare namespace InferenceSession {
  export type OnnxValueMapType = common.InferenceSession.OnnxValueMapType;
  export type NullableOnnxValueMapType = common.InferenceSession.NullableOnnxValueMapType;
  export type FeedsType = common.InferenceSession.FeedsType;
  export type FetchesType = common.InferenceSession.FetchesType;
  export type ReturnType = common.InferenceSession.ReturnType;
  export type SessionOptions = common.InferenceSession.SessionOptions;
  export type RunOptions = TenonRunOptions;
  export type ExecutionProviderName = common.InferenceSession.ExecutionProviderName;
  export type ExecutionProviderConfig = common.InferenceSession.ExecutionProviderConfig;
  export type ExecutionProviderOption = common.InferenceSession.ExecutionProviderOption;
  export type CpuExecutionProviderOption = common.InferenceSession.CpuExecutionProviderOption;
  export type CudaExecutionProviderOption = common.InferenceSession.CudaExecutionProviderOption;
  export type DmlExecutionProviderOption = common.InferenceSession.DmlExecutionProviderOption;
  export type TensorRtExecutionProviderOption =
    common.InferenceSession.TensorRtExecutionProviderOption;
  export type WebAssemblyExecutionProviderOption =
    common.InferenceSession.WebAssemblyExecutionProviderOption;
  export type WebGLExecutionProviderOption = common.InferenceSession.WebGLExecutionProviderOption;
  export type XnnpackExecutionProviderOption =
    common.InferenceSession.XnnpackExecutionProviderOption;
  export type WebGpuExecutionProviderOption = common.InferenceSession.WebGpuExecutionProviderOption;
  export type WebNNContextOptions = common.InferenceSession.WebNNContextOptions;
  export type WebNNOptionsWithoutMLContext = common.InferenceSession.WebNNOptionsWithoutMLContext;
  export type WebNNOptionsWithMLContext = common.InferenceSession.WebNNOptionsWithMLContext;
  export type WebNNOptionsWebGpu = common.InferenceSession.WebNNOptionsWebGpu;
  export type WebNNExecutionProviderOption = common.InferenceSession.WebNNExecutionProviderOption;
  export type QnnExecutionProviderOption = common.InferenceSession.QnnExecutionProviderOption;
  export type CoreMLExecutionProviderOption = common.InferenceSession.CoreMLExecutionProviderOption;
  export type NnapiExecutionProviderOption = common.InferenceSession.NnapiExecutionProviderOption;
  export type ValueMetadataBase = common.InferenceSession.ValueMetadataBase;
  export type NonTensorValueMetadata = common.InferenceSession.NonTensorValueMetadata;
  export type TensorValueMetadata = common.InferenceSession.TensorValueMetadata;
  export type ValueMetadata = common.InferenceSession.ValueMetadata;
}

export const InferenceSession: SessionClass = api.InferenceSession;

/** Execution providers by name, and whether the library that comes with the package has them. */
export const listSupportedBackends: () => SupportedBackend[] = api.listSupportedBackends;

/** As `import ort from 'onnxruntime-node'` gives it. */
export default { ...common, InferenceSession, listSupportedBackends };
