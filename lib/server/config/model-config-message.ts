import { StatusError } from '../../codec/status.js';
import {
  type ModelConfig as ModelConfigMessage,
  type ModelServerConfig as ModelServerConfigMessage,
  ModelType,
} from '../../protobuf/tensorflow-serving-config.js';
import {
  latestVersion,
  type ModelConfig,
  type ModelServerConfig,
  type VersionPolicy,
} from './model-config.js';

/**
 * tensorflow.serving.ModelServerConfig, as files and HandleReloadConfigRequest have it.
 *
 * @throws StatusError INVALID_ARGUMENT where it is no list of models.
 */
export function modelServerConfigOf(message: ModelServerConfigMessage): ModelServerConfig {
  const { config } = message;
  if (config?.case !== 'modelConfigList') {
    throw new StatusError(
      'INVALID_ARGUMENT',
      'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported',
    );
  }
  return { models: config.value.config.map(modelConfigOf) };
}

function modelConfigOf(message: ModelConfigMessage): ModelConfig {
  const { name, basePath, modelPlatform, modelType, modelVersionPolicy, versionLabels } = message;
  // The type is what the platform was called before.
  const platform = modelPlatform || (modelType === ModelType.TENSORFLOW ? 'tensorflow' : undefined);
  return {
    name,
    basePath,
    platform,
    versionPolicy: versionPolicyOf(modelVersionPolicy),
    labels: Object.fromEntries(versionLabels),
  };
}

function versionPolicyOf(policy: ModelConfigMessage['modelVersionPolicy']): VersionPolicy {
  const choice = policy?.policyChoice;
  switch (choice?.case) {
    case 'latest':
      return { kind: 'latest', numVersions: choice.value.numVersions };
    case 'all':
      return { kind: 'all' };
    case 'specific':
      return { kind: 'specific', versions: choice.value.versions };
    case undefined:
      return latestVersion;
  }
}
