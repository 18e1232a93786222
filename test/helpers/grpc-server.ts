/** A gRPC server over models of test/fixtures. */

import {
  latestVersion,
  type ModelConfig,
  type ModelServerConfig,
} from '../../lib/server/config/model-config.js';
import { silentLogger } from '../../lib/server/logging.js';
import { Repository } from '../../lib/server/repository/repository.js';
import {
  createGrpcServer,
  type GrpcServer,
  type GrpcServerOptions,
} from '../../lib/server/tfserving/grpc.js';
import { TensorFlowServing } from '../../lib/server/tfserving/service.js';
import { modelPath } from './paths.js';

/** A model of test/fixtures/models, by its path there. */
export function fixtureModel(
  name: string,
  place: string,
  more: Partial<ModelConfig> = {},
): ModelConfig {
  return { name, basePath: modelPath(place), versionPolicy: latestVersion, labels: {}, ...more };
}

export interface ServedFixtures {
  readonly repository: Repository;
  readonly server: GrpcServer;
  readonly address: string;
  close(): Promise<void>;
}

/** Resolves when every model has loaded or failed. */
export async function serveFixtures(
  models: readonly ModelConfig[],
  options: Partial<GrpcServerOptions> & { path?: string } = {},
): Promise<ServedFixtures> {
  const { path, ...rest } = options;
  const repository = new Repository({
    config: { models },
    pollIntervalSeconds: 0,
    maxLoadRetries: 0,
    log: silentLogger(),
  });
  const service = new TensorFlowServing<ModelServerConfig>(repository, {
    reload: (config) => repository.reload(config),
  });
  const server = createGrpcServer({ models: repository, service, ...rest });
  const settled = new Promise<void>((resolve) => {
    repository.onChange(() => {
      server.onModelsChanged();
      if (repository.readiness().ready) resolve();
    });
  });
  await repository.start();
  if (!repository.readiness().ready) await settled;
  const port = await server.listen(path === undefined ? { host: '127.0.0.1', port: 0 } : { path });
  return {
    repository,
    server,
    address: path === undefined ? `127.0.0.1:${port}` : `unix:${path}`,
    close: async () => {
      await server.drain(1000);
      await repository.close();
    },
  };
}
