/** What GetModelMetadata says of a model: the signatures as the file has them. */

import path from 'node:path';

import type { Model, Signature, ValueSpec } from '../../index.js';
import { decodeModelFile } from '../../protobuf/model-file.js';
import {
  DataType,
  type MetaGraphDef,
  SavedModel,
  type SignatureDef as SignatureDefProto,
  type TensorInfo,
} from '../../protobuf/tensorflow.js';
import type { SignatureDef, SignatureTensor } from '../models.js';
import { wireTypeName } from '../tfserving/dtype-names.js';

type SignatureDefs = Readonly<Record<string, SignatureDef>>;

const nameOfType = new Map<number, string>(
  Object.entries(DataType).map(([name, number]) => [number, name]),
);

/**
 * Of a SavedModel all signatures in its file, those of the format itself (`__saved_model_init_op`)
 * included, as TensorFlow Serving gives them; of an ONNX model its one.
 *
 * @param tags As they were given to `load()`.
 */
export async function readSignatureDefs(
  model: Model,
  source: string,
  tags: readonly string[] | undefined,
): Promise<SignatureDefs> {
  if (model.engine !== 'tensorflow') return mapped(model.signatures, signatureOfModel);
  const file = path.join(source, 'saved_model.pb');
  const savedModel = await decodeModelFile(SavedModel, file, 'a SavedModel');
  const metaGraph = metaGraphOf(savedModel, tags ?? ['serve']);
  const signatures = [...(metaGraph?.signatureDef ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(signatures.map(([name, proto]) => [name, signatureOfFile(proto)]));
}

/** The one that `load()` took. */
function metaGraphOf(
  { metaGraphs }: SavedModel,
  tags: readonly string[],
): MetaGraphDef | undefined {
  const wanted = new Set(tags);
  const found = metaGraphs.find(({ metaInfoDef }) => {
    const own = new Set(metaInfoDef?.tags ?? []);
    return own.size === wanted.size && [...own].every((tag) => wanted.has(tag));
  });
  return found ?? metaGraphs[0];
}

function signatureOfFile({ inputs, outputs, methodName }: SignatureDefProto): SignatureDef {
  const tensors = (infos: ReadonlyMap<string, TensorInfo>): Record<string, SignatureTensor> =>
    Object.fromEntries(
      [...infos].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, info]) => [name, tensorOf(info)]),
    );
  return { inputs: tensors(inputs), outputs: tensors(outputs), methodName };
}

function tensorOf({ encoding, dtype, tensorShape }: TensorInfo): SignatureTensor {
  return {
    name: encoding?.case === 'name' ? encoding.value : '',
    dtype: nameOfType.get(dtype) ?? 'DT_INVALID',
    shape:
      tensorShape === undefined || tensorShape.unknownRank
        ? undefined
        : tensorShape.dim.map(({ size }) => Number(size)),
    ...(encoding?.case === 'cooSparse' ? { cooSparse: { ...encoding.value } } : {}),
  };
}

function signatureOfModel({ inputs, outputs, methodName }: Signature): SignatureDef {
  return {
    inputs: mapped(inputs, tensorOfSpec),
    outputs: mapped(outputs, tensorOfSpec),
    methodName: methodName ?? 'tensorflow/serving/predict',
  };
}

/** Sequences, maps and the like have no counterpart there: they are listed without a type. */
function tensorOfSpec(spec: ValueSpec): SignatureTensor {
  if (spec.kind !== 'tensor') return { name: spec.name, dtype: 'DT_INVALID', shape: undefined };
  return {
    name: spec.name,
    dtype: wireTypeName(spec.dtype),
    shape: spec.shape?.map((size) => (typeof size === 'number' ? size : -1)),
  };
}

function mapped<From, To>(
  record: Readonly<Record<string, From>>,
  map: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}
