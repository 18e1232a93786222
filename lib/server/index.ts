export { StatusError, type StatusName } from '../codec/status.js';
export { createServer, type Server } from './create-server.js';
export {
  type ModelConfig,
  type ModelServerConfig,
  type VersionPolicy,
} from './config/model-config.js';
export type { Logger, LogOptions, ServerLogLevel } from './logging.js';
export type { ModelListing, Readiness, VersionStateName, VersionStatus } from './models.js';
export { openInference, type OpenInferenceRestOptions } from './oip/rest.js';
export { OpenInference, type OpenInferenceOptions } from './oip/service.js';
export type { GrpcOptions, ListenOptions, RestOptions, ServerOptions } from './options.js';
export type { RecordOptions } from './record/settings.js';
export type { RepositoryLog, RepositoryOptions, VersionToLoad } from './repository/options.js';
export { Repository } from './repository/repository.js';
export { tensorflowServing, type TensorFlowServingRestOptions } from './tfserving/rest.js';
export { type ServiceOptions, TensorFlowServing } from './tfserving/service.js';
export type { TlsOptions } from './tls.js';
export type {
  ModelTraffic,
  RolloutOptions,
  ShadowOptions,
  TrafficOptions,
} from './traffic/config.js';
