/**
 * TensorFlow Serving's configuration files: messages in protobuf's text format, or the same as YAML
 * or JSON where the file's name ends so.
 */

import { readFile } from 'node:fs/promises';

import { parse as parseYaml } from 'yaml';

import { TenonError } from '../../errors.js';
import type { MessageType } from '../../protobuf/message.js';
import { ConfigProto } from '../../protobuf/tensorflow-config.js';
import {
  BatchingParameters,
  ModelServerConfig as ModelServerConfigMessage,
  MonitoringConfig,
  PlatformConfigMap,
  SavedModelBundleSourceAdapterConfig,
  type SessionBundleConfig,
  SSLConfig,
} from '../../protobuf/tensorflow-serving-config.js';
import { parseText } from '../../protobuf/text.js';
import { modelServerConfigOf } from './model-config-message.js';
import { checkModelConfig, type ModelServerConfig } from './model-config.js';
import { messageFromPlain } from './plain-message.js';

/**
 * @throws ERR_TENON_CONFIG, with TensorFlow Serving's "Error parsing text-format …" where the text
 *   is none.
 */
async function readMessage<T extends object>(type: MessageType<T>, file: string): Promise<T> {
  let source: string;
  try {
    source = await readFile(file, 'utf8');
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected a file with a ${type.typeName}, received ${file}: ${(cause as Error).message}`,
      { cause },
    );
  }
  try {
    if (!/\.(ya?ml|json)$/i.test(file)) {
      return parseText(type, source, {
        code: 'ERR_TENON_CONFIG',
        subject: file,
        anyTypes: [SavedModelBundleSourceAdapterConfig],
      });
    }
    // Versions are 64-bit integers.
    return messageFromPlain(type, parseYaml(source, { intAsBigInt: true }) ?? {}, file);
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `Error parsing text-format ${type.typeName}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/**
 * Which models to serve.
 *
 * @throws ERR_TENON_CONFIG; StatusError INVALID_ARGUMENT for a configuration that cannot be.
 */
export async function readModelServerConfig(file: string): Promise<ModelServerConfig> {
  const { config: choice } = await readMessage(ModelServerConfigMessage, file);
  if (choice?.case === 'customModelConfig') {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      'expected model_config_list in a ModelServerConfig, received custom_model_config',
    );
  }
  const config = modelServerConfigOf(choice?.value ?? { config: [] });
  checkModelConfig(config);
  return config;
}

export function readBatchingParameters(file: string): Promise<BatchingParameters> {
  return readMessage(BatchingParameters, file);
}

/** The path of the metrics; undefined where they are not enabled. */
export async function readMonitoringConfig(file: string): Promise<string | undefined> {
  const { prometheusConfig } = await readMessage(MonitoringConfig, file);
  if (prometheusConfig?.enable !== true) return undefined;
  return prometheusConfig.path === '' ? defaultMetricsPath : prometheusConfig.path;
}

export const defaultMetricsPath = '/monitoring/prometheus/metrics';

export function readSslConfig(file: string): Promise<SSLConfig> {
  return readMessage(SSLConfig, file);
}

/** A ConfigProto, encoded as the engine takes it. */
export async function readSessionConfig(file: string): Promise<Uint8Array> {
  return ConfigProto.encode(await readMessage(ConfigProto, file));
}

/**
 * The settings of the platform "tensorflow"; undefined where there are none.
 *
 * @throws ERR_TENON_CONFIG.
 */
export async function readPlatformConfig(file: string): Promise<SessionBundleConfig | undefined> {
  const { platformConfigs } = await readMessage(PlatformConfigMap, file);
  const any = platformConfigs.get('tensorflow')?.sourceAdapterConfig;
  if (any === undefined) return undefined;
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
  if (name !== SavedModelBundleSourceAdapterConfig.typeName) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected a ${SavedModelBundleSourceAdapterConfig.typeName} for the platform tensorflow in ${file}, received "${name}"`,
    );
  }
  return SavedModelBundleSourceAdapterConfig.decode(any.value, { code: 'ERR_TENON_CONFIG' })
    .legacyConfig;
}
