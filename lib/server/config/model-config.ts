/** Which models a server has and which of their versions: tensorflow.serving.ModelServerConfig. */

import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { StatusError } from '../../codec/status.js';
import type { EngineName } from '../../index.js';

export type VersionPolicy =
  /** The highest `numVersions` there are; 0 counts as 1. */
  | { readonly kind: 'latest'; readonly numVersions: number }
  | { readonly kind: 'all' }
  | { readonly kind: 'specific'; readonly versions: readonly bigint[] };

export interface ModelConfig {
  readonly name: string;
  /**
   * A folder with numeric version folders; or a folder that holds one model itself, or one `.onnx`
   * or `.ort` file, which are version 1. A path of this machine (relative to the working folder) or
   * a file: URL.
   */
  readonly basePath: string;
  /** "tensorflow" or "onnx"; undefined or "": by what a version's folder holds. */
  readonly platform?: string | undefined;
  readonly versionPolicy: VersionPolicy;
  /** Labels and the versions they stand for. */
  readonly labels: Readonly<Record<string, bigint>>;
}

export interface ModelServerConfig {
  readonly models: readonly ModelConfig[];
}

/** What TensorFlow Serving serves where no policy is given. */
export const latestVersion: VersionPolicy = Object.freeze({ kind: 'latest', numVersions: 1 });

const platforms: Readonly<Record<string, EngineName>> = {
  tensorflow: 'tensorflow',
  onnx: 'onnxruntime',
  onnxruntime: 'onnxruntime',
};

const maxVersion = 2n ** 63n - 1n;

export interface CheckOptions {
  /** TensorFlow Serving demands `model_platform` in a config file. Default: false. */
  readonly requirePlatform?: boolean;
  /** The configuration that is served: a model of it cannot change its platform. */
  readonly served?: ModelServerConfig | undefined;
}

/**
 * @throws StatusError INVALID_ARGUMENT naming the model: a name that is missing or there twice, no
 *   base path or one of another machine, an unknown, missing or changed platform, a version that
 *   is no int64 of 0 or more.
 */
export function checkModelConfig(config: ModelServerConfig, options: CheckOptions = {}): void {
  const platformsServed = new Map(
    options.served?.models.map(({ name, platform }) => [name, platform]),
  );
  const names = new Set<string>();
  for (const model of config.models) {
    const { name, platform, versionPolicy } = model;
    if (name === '') throw refused('expected a name for each model, received a model without');
    if (names.has(name))
      throw refused(`Illegal to list model ${name} multiple times in config list`);
    names.add(name);
    localPath(model);
    const engine = engineOf(model);
    if (engine === undefined && options.requirePlatform === true) {
      throw refused(
        `Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform for model ${name}`,
      );
    }
    const before = platformsServed.get(name);
    if (engine !== undefined && before && engine !== platforms[before]) {
      throw refused(
        `Illegal to change a model's platform. For model ${name} platform was ${before} and new platform requested is ${platform}`,
      );
    }
    if (versionPolicy.kind === 'specific') {
      for (const version of versionPolicy.versions) checkVersion(version, name);
    }
    for (const version of Object.values(model.labels)) checkVersion(version, name);
  }
}

/** @throws StatusError INVALID_ARGUMENT for a platform that is neither engine's. */
export function engineOf({
  name,
  platform,
}: Pick<ModelConfig, 'name' | 'platform'>): EngineName | undefined {
  if (platform === undefined || platform === '') return undefined;
  if (Object.hasOwn(platforms, platform)) return platforms[platform];
  throw refused(
    `expected "tensorflow" or "onnx" as the platform of model ${name}, received ${JSON.stringify(platform)}`,
  );
}

/**
 * The base path as an absolute path of this machine.
 *
 * @throws StatusError INVALID_ARGUMENT for one that is none, with the remedy.
 */
export function localPath({ name, basePath }: Pick<ModelConfig, 'name' | 'basePath'>): string {
  if (basePath === '' || basePath.includes('\0')) {
    throw refused(
      `expected a base path for model ${name}, received ${basePath === '' ? 'none' : 'one with a NUL character'}`,
    );
  }
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(basePath)?.[1]?.toLowerCase();
  if (scheme === undefined) return path.resolve(basePath);
  if (scheme === 'file') {
    try {
      return fileURLToPath(basePath);
    } catch (cause) {
      throw refused(
        `expected a file: URL of this machine as the base path of model ${name}, received ${basePath}: ${(cause as Error).message}`,
      );
    }
  }
  throw refused(
    `expected a path of this machine as the base path of model ${name}, received ${basePath}: ${remedyFor(scheme)}`,
  );
}

function remedyFor(scheme: string): string {
  const copy =
    scheme === 's3'
      ? '"aws s3 sync"'
      : scheme === 'gs'
        ? '"gcloud storage rsync -r"'
        : 'its own tool';
  return (
    `Tenon reads local files. Copy the models with ${copy} to a folder or a volume (in Kubernetes an ` +
    'init container or the storage initializer of KServe does) or mount the bucket, and give that path'
  );
}

function checkVersion(version: bigint, name: string): void {
  if (typeof version === 'bigint' && version >= 0n && version <= maxVersion) return;
  throw refused(`expected versions from 0 to ${maxVersion} for model ${name}, received ${version}`);
}

function refused(message: string): StatusError {
  return new StatusError('INVALID_ARGUMENT', message);
}
