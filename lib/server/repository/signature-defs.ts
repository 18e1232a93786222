/** What GetModelMetadata says of a model: the signatures as the file has them. */

import path from 'node:path';

import type { DType, Model, Signature, ValueSpec } from '../../index.js';
import { decodeModelFile } from '../../protobuf/model-file.js';
import {
  DataType,
  type MetaGraphDef,
  SavedModel,
  type SignatureDef as SignatureDefProto,
  type TensorInfo,
} from '../../protobuf/tensorflow.js';
import type { SignatureDef, SignatureTensor } from '../models.js';

type SignatureDefs = Readonly<Record<string, SignatureDef>>;

const nameOfType = new Map<number, string>(
  Object.entries(DataType).map(([name, number]) => [number, name]),
);

const typeOf: Readonly<Record<DType, keyof typeof DataType>> = {
  float16: 'DT_HALF',
  bfloat16: 'DT_BFLOAT16',
  float32: 'DT_FLOAT',
  float64: 'DT_DOUBLE',
  int2: 'DT_INT2',
  uint2: 'DT_UINT2',
  int4: 'DT_INT4',
  uint4: 'DT_UINT4',
  int8: 'DT_INT8',
  uint8: 'DT_UINT8',
  int16: 'DT_INT16',
  uint16: 'DT_UINT16',
  int32: 'DT_INT32',
  uint32: 'DT_UINT32',
  int64: 'DT_INT64',
  uint64: 'DT_UINT64',
  bool: 'DT_BOOL',
  string: 'DT_STRING',
  complex64: 'DT_COMPLEX64',
  complex128: 'DT_COMPLEX128',
  qint8: 'DT_QINT8',
  quint8: 'DT_QUINT8',
  qint16: 'DT_QINT16',
  quint16: 'DT_QUINT16',
  qint32: 'DT_QINT32',
  float8e4m3fn: 'DT_FLOAT8_E4M3FN',
  float8e4m3fnuz: 'DT_FLOAT8_E4M3FNUZ',
  float8e4m3b11fnuz: 'DT_FLOAT8_E4M3B11FNUZ',
  float8e5m2: 'DT_FLOAT8_E5M2',
  float8e5m2fnuz: 'DT_FLOAT8_E5M2FNUZ',
  float4e2m1: 'DT_FLOAT4_E2M1FN',
  float8e8m0: 'DT_INVALID',
};

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
    dtype: typeOf[spec.dtype],
    shape: spec.shape?.map((size) => (typeof size === 'number' ? size : -1)),
  };
}

function mapped<From, To>(
  record: Readonly<Record<string, From>>,
  map: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}
