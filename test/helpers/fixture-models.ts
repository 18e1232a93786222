/** Models of test/fixtures, and a repository of them. */

import type { LoadOptions } from '../../lib/index.js';
import { latestVersion, type ModelConfig } from '../../lib/server/config/model-config.js';
import type { ModelDirectory } from '../../lib/server/models.js';
import { Repository } from '../../lib/server/repository/repository.js';
import { modelPath } from './paths.js';

const silentLog = { debug() {}, info() {}, warn() {}, error() {} };

/** A model of test/fixtures/models, by a base path below it. */
export function fixtureModel(
  name: string,
  basePath = name,
  more: Partial<ModelConfig> = {},
): ModelConfig {
  return {
    name,
    basePath: modelPath(basePath),
    versionPolicy: latestVersion,
    labels: {},
    ...more,
  };
}

interface TestRepositoryOptions {
  readonly loadOptions?: Readonly<Record<string, LoadOptions>>;
}

/** Whether all models' versions have loaded or failed. */
export function areSettled(models: Pick<ModelDirectory, 'list' | 'readiness'>): boolean {
  return (
    models.readiness().waiting.length === 0 &&
    models
      .list()
      .every(({ versions }) =>
        versions.every(({ state }) => state === 'AVAILABLE' || state === 'END'),
      )
  );
}

/** A repository whose models' versions have all loaded or failed. */
export async function openRepository(
  models: readonly ModelConfig[],
  { loadOptions = {} }: TestRepositoryOptions = {},
): Promise<Repository> {
  const repository = new Repository({
    config: { models },
    pollIntervalSeconds: 0,
    maxLoadRetries: 0,
    loadOptions: (name) => loadOptions[name] ?? {},
    log: silentLog,
  });
  const settled = new Promise<void>((resolve) => {
    repository.onChange(() => {
      if (areSettled(repository)) resolve();
    });
  });
  await repository.start();
  if (!areSettled(repository)) await settled;
  return repository;
}
