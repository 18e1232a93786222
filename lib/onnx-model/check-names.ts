/** Options that name parts of a model, compared with the model: the engine passes over what it does not find. */

import { describe, TenonError } from '../errors.js';
import type { NativeOnnxLoad } from '../native/types.js';
import { decodeModelFile } from '../protobuf/model-file.js';
import { type GraphProto, ModelProto, TensorProtoDataLocation } from '../protobuf/onnx.js';
import { dtypes } from '../tensor/dtypes.js';
import { shapeText } from '../tensor/shape.js';
import { dtypeFromOnnx } from './dtypes.js';

type NamedParts = Pick<
  NativeOnnxLoad,
  'initializers' | 'externalData' | 'freeDimensionOverrides' | 'configEntries'
>;

/**
 * Says nothing of a model in the ORT format, whose names only the engine reads, and leaves what is
 * no model to the engine's words.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT for a name that the model does not have; ERR_TENON_DTYPE and
 *   ERR_TENON_SHAPE for an initializer unlike the model's.
 */
export async function checkModelNames(
  source: string | Uint8Array,
  options: NamedParts,
): Promise<void> {
  const { initializers, externalData, freeDimensionOverrides } = options;
  const named = initializers.length + externalData.length + freeDimensionOverrides.length;
  if (named === 0 || isOrtFormat(source, options.configEntries)) return;
  const graph = await readGraph(source);
  if (graph === undefined) return;
  checkInitializers(graph, initializers);
  if (externalData.length > 0) {
    const files = new Set(
      graph.initializer
        .filter(({ dataLocation }) => dataLocation === TensorProtoDataLocation.EXTERNAL)
        .map((tensor) => tensor.externalData.find(({ key }) => key === 'location')?.value ?? ''),
    );
    for (const [name] of externalData) {
      if (!files.has(name)) throw unknown('externalData', 'files of weights', files, name);
    }
  }
  if (freeDimensionOverrides.length > 0) {
    const symbols = symbolsOf(graph);
    for (const [name] of freeDimensionOverrides) {
      if (!symbols.has(name)) {
        throw unknown('freeDimensionOverrides', 'symbolic dimensions of inputs', symbols, name);
      }
    }
  }
}

function isOrtFormat(
  source: string | Uint8Array,
  configEntries: NamedParts['configEntries'],
): boolean {
  const format = configEntries.find(([key]) => key === 'session.load_model_format')?.[1];
  if (format !== undefined) return format === 'ORT';
  if (typeof source === 'string') return /\.ort$/i.test(source);
  return String.fromCharCode(...source.subarray(4, 8)) === 'ORTM';
}

async function readGraph(source: string | Uint8Array): Promise<GraphProto | undefined> {
  try {
    const model =
      typeof source === 'string'
        ? await decodeModelFile(ModelProto, source, 'an ONNX model')
        : ModelProto.decode(source);
    return model.graph;
  } catch (error) {
    if (error instanceof TenonError) return undefined;
    throw error;
  }
}

function checkInitializers(graph: GraphProto, initializers: NamedParts['initializers']): void {
  const own = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  for (const [name, [number, shape]] of initializers) {
    const tensor = own.get(name);
    if (tensor === undefined) {
      throw unknown('initializers', 'initializers of the model', own.keys(), name);
    }
    const dtype = dtypeFromOnnx(tensor.dataType);
    if (dtype !== undefined && dtypes[dtype].number !== number) {
      throw new TenonError(
        'ERR_TENON_DTYPE',
        `expected dtype ${dtype} for initializer "${name}", received another`,
      );
    }
    const dims = tensor.dims.map(Number);
    if (dims.join() !== shape.join()) {
      throw new TenonError(
        'ERR_TENON_SHAPE',
        `expected shape ${shapeText(dims)} for initializer "${name}", received ${shapeText(shape)}`,
      );
    }
  }
}

function symbolsOf(graph: GraphProto): Set<string> {
  const symbols = new Set<string>();
  for (const { type } of graph.input) {
    if (type?.value?.case !== 'tensorType') continue;
    for (const { value } of type.value.value.shape?.dim ?? []) {
      if (value?.case === 'dimParam') symbols.add(value.value);
    }
  }
  return symbols;
}

function unknown(
  option: string,
  what: string,
  known: Iterable<string>,
  received: string,
): TenonError {
  const names = [...known];
  const shown = names.slice(0, 10).map(describe).join(', ') + (names.length > 10 ? ' …' : '');
  return new TenonError(
    'ERR_TENON_INVALID_ARGUMENT',
    `expected ${what} for "onnxruntime.${option}" (${names.length === 0 ? 'it has none' : shown}), received ${describe(received)}`,
  );
}
