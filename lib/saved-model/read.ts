import { stat } from 'node:fs/promises';
import path from 'node:path';

import { TenonError } from '../errors.js';
import type { Dimension, ValueSpec } from '../model/spec.js';
import { decodeModelFile, isMissing, notFound, unreadable } from '../protobuf/model-file.js';
import {
  SavedModel as SavedModelProto,
  type MetaGraphDef,
  type SignatureDef,
  type TensorInfo,
  type TensorShapeProto,
} from '../protobuf/tensorflow.js';
import { dtypeFromTensorFlow } from '../protobuf/tensorflow-dtypes.js';

/** An input or output of a signature and the graph tensor behind it ("serving_default_x:0"). */
export interface SavedModelBinding {
  readonly spec: ValueSpec;
  readonly tensor: string;
}

export interface SavedModelSignature {
  readonly name: string;
  /** "tensorflow/serving/predict" … */
  readonly methodName: string;
  /** Sorted by name: the file keeps them in a map, which has no order. */
  readonly inputs: readonly SavedModelBinding[];
  readonly outputs: readonly SavedModelBinding[];
}

/** A file under assets/ and the graph tensor that is fed its path. */
export interface SavedModelAsset {
  readonly filename: string;
  readonly tensor: string;
}

export interface MetaGraph {
  readonly tags: readonly string[];
  readonly tensorflowVersion: string;
  readonly tensorflowGitVersion: string;
  readonly assets: readonly SavedModelAsset[];
  /** The operation TensorFlow runs once after loading, where there is one. */
  readonly initOp?: string;
  /** Sorted by name, without those the SavedModel format keeps for itself. */
  readonly signatures: readonly SavedModelSignature[];
}

export interface SavedModel {
  /** The folder. */
  readonly path: string;
  readonly schemaVersion: number;
  readonly metaGraphs: readonly MetaGraph[];
}

/** Signatures of the format itself: `__saved_model_init_op`, `__saved_model_train_op`. */
const hiddenSignaturePrefix = '__saved_model_';
const initOpName = '__saved_model_init_op';

/**
 * Reads tags, signatures, versions and assets of a SavedModel, without TensorFlow. The graph
 * and the objects in saved_model.pb are passed over, so a file of a gigabyte costs some
 * milliseconds.
 *
 * Errors: ERR_TENON_MODEL_NOT_FOUND where there is no such folder or no saved_model.pb in it,
 * ERR_TENON_MODEL_FORMAT for the text form saved_model.pbtxt, ERR_TENON_MODEL_INVALID for a file
 * that is no SavedModel, ERR_TENON_TOO_LARGE for one whose descriptions exceed 256 MiB.
 */
export async function readSavedModel(folder: string): Promise<SavedModel> {
  const file = path.join(folder, 'saved_model.pb');
  let proto: SavedModelProto;
  try {
    proto = await decodeModelFile(SavedModelProto, file, 'a SavedModel');
  } catch (error) {
    if (error instanceof TenonError && isMissing(error.cause)) {
      throw await explainMissing(folder, error.cause);
    }
    throw error;
  }
  if (proto.metaGraphs.length === 0) throw invalid(file, 'at least one meta graph', 'none');
  return {
    path: folder,
    schemaVersion: Number(proto.savedModelSchemaVersion),
    metaGraphs: proto.metaGraphs.map((metaGraph) => readMetaGraph(file, metaGraph)),
  };
}

/**
 * The meta graph with exactly these tags, in any order. Without tags the one tagged "serve",
 * or the only one there is. Throws ERR_TENON_UNKNOWN_TAG with the tags there are.
 */
export function selectMetaGraph(savedModel: SavedModel, tags?: readonly string[]): MetaGraph {
  const { metaGraphs } = savedModel;
  const wanted = new Set(tags ?? ['serve']);
  const found = metaGraphs.find(
    (metaGraph) =>
      new Set(metaGraph.tags).size === wanted.size &&
      metaGraph.tags.every((tag) => wanted.has(tag)),
  );
  if (found !== undefined) return found;
  const only = metaGraphs[0];
  if (tags === undefined && metaGraphs.length === 1 && only !== undefined) return only;
  const available = metaGraphs.map((metaGraph) => tagSet(metaGraph.tags)).join(', ');
  throw new TenonError(
    'ERR_TENON_UNKNOWN_TAG',
    `expected tags the model has (${available}) for "${savedModel.path}", received ${tagSet([...wanted])}`,
  );
}

function tagSet(tags: readonly string[]): string {
  return `[${tags.map((tag) => JSON.stringify(tag)).join(', ')}]`;
}

async function explainMissing(folder: string, cause: unknown): Promise<TenonError> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(folder)).isDirectory();
  } catch (error) {
    if (!isMissing(error)) return unreadable(folder, error);
    return notFound(`expected a SavedModel folder for "${folder}", found nothing there`, error);
  }
  if (!isFolder) {
    return notFound(`expected a SavedModel folder for "${folder}", received a file`, cause);
  }
  const isText = await stat(path.join(folder, 'saved_model.pbtxt')).then(
    () => true,
    () => false,
  );
  if (!isText) return notFound(`expected a saved_model.pb in "${folder}", found none`, cause);
  return new TenonError(
    'ERR_TENON_MODEL_FORMAT',
    `expected the binary saved_model.pb in "${folder}", received the text form saved_model.pbtxt: ` +
      'load it once with Python TensorFlow (tf.saved_model.load) and save it again ' +
      '(tf.saved_model.save), which writes the binary form',
  );
}

function invalid(file: string, expected: string, received: string): TenonError {
  return new TenonError(
    'ERR_TENON_MODEL_INVALID',
    `expected ${expected} in "${file}", received ${received}`,
  );
}

function readMetaGraph(file: string, proto: MetaGraphDef): MetaGraph {
  const info = proto.metaInfoDef;
  const signatures: SavedModelSignature[] = [];
  for (const [name, signature] of sortedByName(proto.signatureDef)) {
    if (!name.startsWith(hiddenSignaturePrefix)) {
      signatures.push(readSignature(file, name, signature));
    }
  }
  const initOp = proto.signatureDef.get(initOpName)?.outputs.get(initOpName)?.encoding;
  return {
    tags: info?.tags ?? [],
    tensorflowVersion: info?.tensorflowVersion ?? '',
    tensorflowGitVersion: info?.tensorflowGitVersion ?? '',
    assets: proto.assetFileDef.map(({ filename, tensorInfo }) => ({
      filename,
      tensor: tensorInfo === undefined ? '' : tensorName(tensorInfo),
    })),
    ...(initOp?.case === 'name' ? { initOp: initOp.value } : {}),
    signatures,
  };
}

function readSignature(file: string, name: string, proto: SignatureDef): SavedModelSignature {
  function bindings(side: string, infos: Map<string, TensorInfo>): SavedModelBinding[] {
    return sortedByName(infos).map(([key, info]) => ({
      spec: readSpec(file, `${side} "${key}" of signature "${name}"`, key, info),
      tensor: tensorName(info),
    }));
  }
  return {
    name,
    methodName: proto.methodName,
    inputs: bindings('input', proto.inputs),
    outputs: bindings('output', proto.outputs),
  };
}

function sortedByName<T>(entries: ReadonlyMap<string, T>): [string, T][] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The graph tensor; of a sparse tensor its values, of a composite one its first part. */
function tensorName(info: TensorInfo): string {
  switch (info.encoding?.case) {
    case 'name':
      return info.encoding.value;
    case 'cooSparse':
      return info.encoding.value.valuesTensorName;
    case 'compositeTensor': {
      const first = info.encoding.value.components[0];
      return first === undefined ? '' : tensorName(first);
    }
    default:
      return '';
  }
}

function readSpec(file: string, subject: string, name: string, info: TensorInfo): ValueSpec {
  if (info.encoding?.case === 'cooSparse') return { kind: 'sparse', name };
  if (info.encoding?.case === 'compositeTensor') return { kind: 'opaque', name };
  const dtype = dtypeFromTensorFlow(info.dtype);
  if (dtype === 'opaque') return { kind: 'opaque', name };
  if (dtype === undefined) {
    throw invalid(file, `a known data type for ${subject}`, `number ${info.dtype}`);
  }
  return { kind: 'tensor', name, dtype, shape: readShape(file, subject, info.tensorShape) };
}

/** A shape that is not there at all says as little as an unknown rank. */
export function readShape(
  file: string,
  subject: string,
  proto: TensorShapeProto | undefined,
): Dimension[] | null {
  if (proto === undefined || proto.unknownRank) return null;
  return proto.dim.map(({ size }) => {
    if (size === -1n) return null;
    if (size < 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw invalid(file, `dimensions of -1 or more for ${subject}`, String(size));
    }
    return Number(size);
  });
}
