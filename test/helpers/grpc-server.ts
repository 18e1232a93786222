/** A gRPC server over models of test/fixtures. */

import type { ModelConfig, ModelServerConfig } from '../../lib/server/config/model-config.js';
import { OpenInference } from '../../lib/server/oip/service.js';
import type { Repository } from '../../lib/server/repository/repository.js';
import {
  createGrpcServer,
  type GrpcServer,
  type GrpcServerOptions,
} from '../../lib/server/tfserving/grpc.js';
import { TensorFlowServing } from '../../lib/server/tfserving/service.js';
import { openRepository } from './fixture-models.js';

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
  const repository = await openRepository(models);
  const service = new TensorFlowServing<ModelServerConfig>(repository, {
    reload: (config) => repository.reload(config),
  });
  const openInference = new OpenInference({ models: repository, service });
  const server = createGrpcServer({ models: repository, service, openInference, ...rest });
  repository.onChange(() => server.onModelsChanged());
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
