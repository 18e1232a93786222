/** The warm-up of versions with requests that were logged, as TensorFlow Serving keeps them. */

import { decodePredictionLog, type RequestModelSpec } from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import { readRecords } from '../../codec/tf-record.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import type { WarmUp } from '../repository/options.js';
import { TensorFlowServing } from './service.js';

/** Runs records of tensorflow.serving.PredictionLog, as the requests in them would be run. */
export function createWarmUp(): WarmUp {
  return { records: (file) => readRecords(file), run: runRecord };
}

/** @throws StatusError: the request's own; UNIMPLEMENTED for a log of another kind. */
async function runRecord(served: ServedModel, record: Uint8Array): Promise<void> {
  const service = new TensorFlowServing(directoryOf(served));
  const logged = decodePredictionLog(record);
  switch (logged.kind) {
    case 'predict': {
      const { modelSpec, inputs, outputFilter } = logged.request;
      try {
        const { outputs } = await service.predict(served, {
          signatureName: signatureOf(modelSpec),
          feeds: inputs,
          outputFilter,
          api: 'GRPC',
        });
        for (const { tensor } of outputs) tensor.dispose();
      } finally {
        for (const name of Object.keys(inputs)) inputs[name]?.dispose();
      }
      return;
    }
    case 'classify':
    case 'regress': {
      const { modelSpec, examples } = logged.request;
      await service[logged.kind](served, { signatureName: signatureOf(modelSpec), examples });
      return;
    }
    case 'multiInference': {
      const { tasks, examples } = logged.request;
      await service.multiInference(
        tasks.map(({ modelSpec, methodName }) => ({
          modelSpec: { name: served.name, signatureName: signatureOf(modelSpec) },
          methodName,
        })),
        examples,
      );
      return;
    }
    default:
      throw new StatusError(
        'UNIMPLEMENTED',
        `Unsupported log_type for warmup: ${logged.kind === 'none' ? 'LOG_TYPE_NOT_SET' : logged.kind}`,
      );
  }
}

function signatureOf(spec: RequestModelSpec | undefined): string {
  return spec?.signatureName ?? '';
}

/** The version that warms up, whatever a request calls it: it is not served yet. */
function directoryOf(served: ServedModel): ModelDirectory {
  const held: ServedModel = {
    name: served.name,
    version: served.version,
    model: served.model,
    maxRows: served.maxRows,
    signatureDefs: () => served.signatureDefs(),
    release: () => undefined,
  };
  return {
    acquire: () => held,
    status: () => [],
    list: () => [],
    readiness: () => ({ ready: false, waiting: [served.name], failed: [] }),
  };
}
