export type { BatchingOptions, MaskInput, TrimOutput } from './batching/options.js';
export { configure, type ConfigureOptions, type LogRecord } from './configure.js';
export {
  createProgressBar,
  engines,
  type EngineStatus,
  type ExecutionDevice,
  type FoundEngine,
  type InstalledEngine,
  type InstallEngineOptions,
  type InstallProgress,
} from './engines/index.js';
export type {
  ExecutionProvider,
  LogLevel,
  OnnxRuntimeLoadOptions,
  OnnxRuntimeRunOptions,
  ThreadAffinity,
} from './engines/options-onnxruntime.js';
export type {
  RewriteMode,
  TensorFlowLoadOptions,
  TensorFlowRewriterOptions,
  TensorFlowRunOptions,
} from './engines/options-tensorflow.js';
export { TenonError, type TenonErrorCode } from './errors.js';
export {
  inspect,
  type GraphDefDescription,
  type InspectOptions,
  type ModelDescription,
  type OnnxDescription,
  type SavedModelDescription,
} from './inspect/index.js';
export { load } from './model/load.js';
export type { BatchingStats, BatchVerdict } from './model/batching.js';
export type { LoadOptions, PoolOptions } from './model/load-options.js';
export { Binding, type BindingRunOptions } from './model/binding.js';
export {
  type AsyncRunOptions,
  type BindOptions,
  Model,
  type ModelMetadata,
  type ModelStats,
  type ProviderFallback,
  type RunOptions,
  type SharedModel,
  type TimeSummary,
} from './model/model.js';
export {
  createPool,
  type CreatePoolOptions,
  type LaneStats,
  Pool,
  type PoolStats,
} from './model/pool.js';
export type { OutputPlace } from './model/request.js';
export type { ModelSource } from './model/source.js';
export type {
  Dimension,
  MapSpec,
  OptionalSpec,
  SequenceSpec,
  Signature,
  TensorSpec,
  UnsupportedSpec,
  ValueSpec,
} from './model/spec.js';
export type {
  FeedElement,
  FeedValue,
  ModelTypes,
  NestedArray,
  TensorFeed,
  UntypedModel,
  Value,
  ValuesModel,
} from './model/types.js';
export type { EngineName } from './native/types.js';
export type { SessionReplacement, SessionState, SessionStats } from './pool/session-pool.js';
export type { DType, DTypeData, DTypeElement, TypedArray } from './tensor/dtypes.js';
export { Tensor, type TensorArray, type TensorElements } from './tensor/tensor.js';
