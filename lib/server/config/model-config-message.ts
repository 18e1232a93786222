import {
  type ModelConfig as ModelConfigMessage,
  type ModelConfigList,
  ModelType,
} from '../../protobuf/tensorflow-serving-config.js';
import {
  latestVersion,
  type ModelConfig,
  type ModelServerConfig,
  type VersionPolicy,
} from './model-config.js';

/** tensorflow.serving.ModelConfigList, as files and HandleReloadConfigRequest have it. */
export function modelServerConfigOf({ config }: ModelConfigList): ModelServerConfig {
  return { models: config.map(modelConfigOf) };
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
