/**
 * Answers of the REST API that hold no tensors, laid out as TensorFlow Serving lays them out: with
 * protobuf's JSON printer, or with RapidJSON's.
 */

import { encodeNumber } from '../../codec/json.js';
import type { ModelListing, Readiness, SignatureTensor, VersionStatus } from '../models.js';
import type { Class, MetadataResult } from './service.js';

export function statusJson(versions: readonly VersionStatus[]): Buffer {
  return toJson({ model_version_status: versions.map(versionStatus) });
}

function versionStatus({ version, state, error }: VersionStatus): object {
  return {
    version: String(version),
    state,
    status: { error_code: error.status, error_message: error.message },
  };
}

export function listJson(models: readonly ModelListing[]): Buffer {
  return toJson({
    models: models.map(({ name, versions, labels }) => ({
      name,
      model_version_status: versions.map(versionStatus),
      version_labels: Object.fromEntries(
        Object.entries(labels).map(([label, version]) => [label, String(version)]),
      ),
    })),
  });
}

export function metadataJson({ name, version, signatureDefs }: MetadataResult): Buffer {
  const definitions = Object.fromEntries(
    Object.entries(signatureDefs).map(([key, { inputs, outputs, methodName }]) => [
      key,
      {
        inputs: tensorInfos(inputs),
        outputs: tensorInfos(outputs),
        method_name: methodName,
        defaults: {},
      },
    ]),
  );
  const spec = { name, signature_name: '', version: String(version) };
  // Two messages, printed each by itself and put together.
  return Buffer.from(
    `{\n"model_spec":${print(spec)},\n"metadata": {"signature_def": ${print({ signature_def: definitions })}}\n}\n`,
  );
}

function tensorInfos(tensors: Readonly<Record<string, SignatureTensor>>): object {
  return Object.fromEntries(
    Object.entries(tensors).map(([alias, { name, dtype, shape, cooSparse }]) => [
      alias,
      {
        dtype,
        tensor_shape: {
          dim: (shape ?? []).map((size) => ({ size: String(size), name: '' })),
          unknown_rank: shape === undefined,
        },
        ...(cooSparse === undefined
          ? { name }
          : {
              coo_sparse: {
                values_tensor_name: cooSparse.valuesTensorName,
                indices_tensor_name: cooSparse.indicesTensorName,
                dense_shape_tensor_name: cooSparse.denseShapeTensorName,
              },
            }),
      },
    ]),
  );
}

export function readinessJson({ ready, waiting, failed }: Readiness): Buffer {
  const reasons = [
    ...waiting.map((name) => `model ${name} is loading`),
    ...(!ready && waiting.length === 0 ? ['the server is stopping'] : []),
  ];
  return toJson({
    ready,
    ...(ready ? {} : { error: reasons.join('; ') }),
    waiting,
    failed: failed.map(({ name, message }) => ({ name, message })),
  });
}

export function classifyJson(classifications: readonly (readonly Class[])[]): Buffer {
  const rows = classifications.map((classes) => {
    const items = classes.map(
      ({ label, score }) => `[${JSON.stringify(label)}, ${encodeNumber(score, 'float32')}]`,
    );
    return `[${items.join(', ')}]`;
  });
  return Buffer.from(`{\n    "results": [${rows.join(', ')}\n    ]\n}`);
}

export function regressJson(values: readonly number[]): Buffer {
  const items = values.map((value) => encodeNumber(value, 'float32'));
  return Buffer.from(`{\n    "results": [${items.join(', ')}]\n}`);
}

function toJson(message: object): Buffer {
  return Buffer.from(print(message));
}

/** As protobuf prints a message with whitespace. */
function print(message: object): string {
  return `${JSON.stringify(message, undefined, 1)}\n`;
}
