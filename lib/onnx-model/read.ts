import { TenonError } from '../errors.js';
import type { Dimension, ValueSpec } from '../model/spec.js';
import {
  type GraphProto,
  ModelProto,
  type NodeProto,
  type TensorProto,
  TensorProtoDataLocation,
  type TensorShapeProto,
  type TypeProto,
  type ValueInfoProto,
} from '../protobuf/onnx.js';
import { decodeModelFile } from '../protobuf/model-file.js';
import type { DType } from '../tensor/dtypes.js';
import { dtypeFromOnnx } from './dtypes.js';

export interface OnnxOpset {
  /** "" is ONNX's own. */
  readonly domain: string;
  readonly version: number;
}

export interface OnnxOperator {
  readonly domain: string;
  readonly type: string;
  readonly count: number;
}

/** A file beside the model that holds some of its weights. */
export interface OnnxExternalFile {
  /** Relative to the model's folder. */
  readonly location: string;
  readonly tensors: number;
  /** Bytes of it the model says it uses; null where it does not say. */
  readonly byteLength: number | null;
}

/** What an ONNX file says about itself. */
export interface OnnxModel {
  readonly irVersion: number;
  readonly opsets: readonly OnnxOpset[];
  readonly producerName: string;
  readonly producerVersion: string;
  readonly domain: string;
  readonly modelVersion: number;
  readonly docString: string;
  readonly graphName: string;
  readonly graphDocString: string;
  /** The custom map, in the file's order. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In the file's order. Inputs that have an initializer are optional. */
  readonly inputs: readonly ValueSpec[];
  readonly outputs: readonly ValueSpec[];
  /** Nodes of the graph and of the bodies of If, Loop and Scan. */
  readonly nodes: number;
  /** Their operators, most frequent first. */
  readonly operators: readonly OnnxOperator[];
  /** Functions the model brings along. */
  readonly functions: number;
  /** Tensors with weights and constants. */
  readonly initializers: number;
  /** Elements in them. */
  readonly parameters: number;
  readonly externalData: readonly OnnxExternalFile[];
}

/**
 * Reads an ONNX model's description without an engine, from a file (whose weights are passed
 * over) or its bytes.
 *
 * Errors: ERR_TENON_MODEL_NOT_FOUND where there is no such file, ERR_TENON_MODEL_INVALID where
 * it is no ONNX model, ERR_TENON_TOO_LARGE where its descriptions exceed 256 MiB.
 */
export async function readOnnxModel(source: string | Uint8Array): Promise<OnnxModel> {
  if (typeof source === 'string') {
    return describeModel(source, await decodeModelFile(ModelProto, source, 'an ONNX model'));
  }
  const subject = 'the given bytes';
  return describeModel(
    subject,
    ModelProto.decode(source, { code: 'ERR_TENON_MODEL_INVALID', subject }),
  );
}

function describeModel(subject: string, proto: ModelProto): OnnxModel {
  const { graph } = proto;
  // Bytes of another kind often decode to an empty message; these two every model has.
  if (graph === undefined || proto.irVersion <= 0n) {
    throw invalid(subject, 'an ONNX model with an IR version and a graph', 'neither or one');
  }
  const census = new Census(subject);
  census.countGraph(graph);
  for (const { node } of proto.functions) census.countNodes(node);
  const initialized = new Set([
    ...graph.initializer.map(({ name }) => name),
    ...graph.sparseInitializer.map(({ values }) => values?.name ?? ''),
  ]);
  return {
    irVersion: toNumber(subject, 'IR version', proto.irVersion),
    opsets: proto.opsetImport.map(({ domain, version }) => ({
      domain: domain === 'ai.onnx' ? '' : domain,
      version: toNumber(subject, 'opset version', version),
    })),
    producerName: proto.producerName,
    producerVersion: proto.producerVersion,
    domain: proto.domain,
    modelVersion: toNumber(subject, 'model version', proto.modelVersion),
    docString: proto.docString,
    graphName: graph.name,
    graphDocString: graph.docString,
    metadata: Object.fromEntries(proto.metadataProps.map(({ key, value }) => [key, value])),
    inputs: graph.input.map((value) => readValue(subject, 'input', value, initialized)),
    outputs: graph.output.map((value) => readValue(subject, 'output', value, undefined)),
    nodes: census.nodes,
    operators: census.operators(),
    functions: proto.functions.length,
    initializers: census.initializers,
    parameters: census.parameters,
    externalData: census.externalData(),
  };
}

/** Counts what is in a graph and the graphs inside its nodes. */
class Census {
  nodes = 0;
  initializers = 0;
  parameters = 0;
  readonly #subject: string;
  readonly #operators = new Map<string, { domain: string; type: string; count: number }>();
  readonly #external = new Map<string, { tensors: number; byteLength: number | null }>();

  constructor(subject: string) {
    this.#subject = subject;
  }

  countGraph(graph: GraphProto): void {
    for (const tensor of graph.initializer) this.#countTensor(tensor);
    for (const { values } of graph.sparseInitializer) {
      if (values !== undefined) this.#countTensor(values);
    }
    this.countNodes(graph.node);
  }

  countNodes(nodes: readonly NodeProto[]): void {
    for (const { domain, opType, attribute } of nodes) {
      this.nodes++;
      const shownDomain = domain === 'ai.onnx' ? '' : domain;
      const key = `${shownDomain} ${opType}`;
      const operator = this.#operators.get(key);
      if (operator === undefined) {
        this.#operators.set(key, { domain: shownDomain, type: opType, count: 1 });
      } else {
        operator.count++;
      }
      for (const { g, graphs } of attribute) {
        if (g !== undefined) this.countGraph(g);
        for (const graph of graphs) this.countGraph(graph);
      }
    }
  }

  operators(): OnnxOperator[] {
    return [...this.#operators.values()].sort(
      (a, b) => b.count - a.count || (a.type < b.type ? -1 : 1),
    );
  }

  externalData(): OnnxExternalFile[] {
    return [...this.#external].map(([location, file]) => ({ location, ...file }));
  }

  #countTensor(tensor: TensorProto): void {
    this.initializers++;
    let elements = 1;
    for (const dim of tensor.dims) {
      elements *= toNumber(this.#subject, `size of initializer "${tensor.name}"`, dim);
    }
    this.parameters += elements;
    if (tensor.dataLocation !== TensorProtoDataLocation.EXTERNAL) return;
    const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
    const location = entries.get('location') ?? '';
    const length = entries.get('length');
    const bytes = length === undefined || !/^\d+$/.test(length) ? null : Number(length);
    const file = this.#external.get(location) ?? { tensors: 0, byteLength: 0 };
    file.tensors++;
    file.byteLength = file.byteLength === null || bytes === null ? null : file.byteLength + bytes;
    this.#external.set(location, file);
  }
}

function readValue(
  subject: string,
  side: string,
  value: ValueInfoProto,
  initialized: ReadonlySet<string> | undefined,
): ValueSpec {
  const where = `${side} "${value.name}"`;
  const spec = readType(subject, where, value.name, value.type);
  return initialized?.has(value.name) === true ? { ...spec, optional: true } : spec;
}

/** Sequences, optionals and maps contain types; the decoder has bounded how deep. */
function readType(
  subject: string,
  where: string,
  name: string,
  type: TypeProto | undefined,
): ValueSpec {
  const value = type?.value;
  switch (value?.case) {
    case 'tensorType': {
      const dtype = readDType(subject, where, value.value.elemType);
      return { kind: 'tensor', name, dtype, shape: readShape(subject, where, value.value.shape) };
    }
    case 'sequenceType':
      return {
        kind: 'sequence',
        name,
        element: readType(subject, where, name, value.value.elemType),
      };
    case 'optionalType':
      return {
        kind: 'optional',
        name,
        element: readType(subject, where, name, value.value.elemType),
      };
    case 'mapType':
      return {
        kind: 'map',
        name,
        key: readDType(subject, where, value.value.keyType),
        value: readType(subject, where, name, value.value.valueType),
      };
    case 'sparseTensorType':
      return { kind: 'sparse', name };
    default:
      return { kind: 'opaque', name };
  }
}

function readDType(subject: string, where: string, number: number): DType {
  const dtype = dtypeFromOnnx(number);
  if (dtype === undefined) {
    throw invalid(subject, `a known data type for ${where}`, `number ${number}`);
  }
  return dtype;
}

function readShape(
  subject: string,
  where: string,
  shape: TensorShapeProto | undefined,
): Dimension[] | null {
  if (shape === undefined) return null;
  return shape.dim.map(({ value }) => {
    if (value === undefined) return null;
    if (value.case === 'dimParam') return value.value === '' ? null : value.value;
    // Some exporters write -1 for a size they do not know.
    return value.value === -1n ? null : toNumber(subject, `dimension of ${where}`, value.value);
  });
}

function toNumber(subject: string, what: string, value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw invalid(subject, `a ${what} of 0 or more`, String(value));
  }
  return Number(value);
}

function invalid(subject: string, expected: string, received: string): TenonError {
  return new TenonError(
    'ERR_TENON_MODEL_INVALID',
    `expected ${expected} for "${subject}", received ${received}`,
  );
}
