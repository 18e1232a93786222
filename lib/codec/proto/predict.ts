/** tensorflow.serving.PredictRequest and PredictResponse (predict.proto). */

import { ModelSpec } from '../../protobuf/tensorflow-serving.js';
import { WireReader, WireType } from '../../protobuf/wire.js';
import type { Tensor } from '../../tensor/tensor.js';
import { decodeTensorProto, maxFillBytesDefault } from './decode-tensor.js';
import { type MeasuredTensor, measureTensorProto } from './encode-tensor.js';
import { decoded, decodeOptions, maxElements } from './malformed.js';
import {
  encodeModelSpec,
  fromModelSpec,
  type RequestModelSpec,
  type ResponseModelSpec,
  toRequestModelSpec,
} from './model-spec.js';
import { messageWriter, varintLength } from './writer.js';

export interface PredictRequest {
  /** Undefined where the request has none. */
  readonly modelSpec: RequestModelSpec | undefined;
  readonly inputs: Record<string, Tensor>;
  readonly outputFilter: string[];
}

export interface DecodeTensorsOptions {
  /**
   * Bytes that all tensors of a request together may take beyond what is in it: a TensorProto may
   * leave elements out, so that a few bytes stand for many. Default 64 MiB.
   */
  maxFillBytes?: number;
}

/** A request of which only the tensors are not decoded yet: they may wait until there is a model. */
export interface PredictRequestHead {
  readonly modelSpec: RequestModelSpec | undefined;
  readonly outputFilter: string[];
  /** TensorProtos, as views of the request. */
  readonly tensorProtos: ReadonlyMap<string, Uint8Array>;
}

const modelSpecTag = (1 << 3) | WireType.bytes;
const inputsTag = (2 << 3) | WireType.bytes;
/** Of a response. */
const outputsTag = (1 << 3) | WireType.bytes;
const outputFilterTag = (3 << 3) | WireType.bytes;
const keyTag = (1 << 3) | WireType.bytes;
const valueTag = (2 << 3) | WireType.bytes;

/** @throws StatusError INTERNAL for bytes that are no PredictRequest. */
export function decodePredictRequestHead(bytes: Uint8Array): PredictRequestHead {
  return decoded(() => {
    const reader = new WireReader(bytes, decodeOptions);
    reader.typeName = 'tensorflow.serving.PredictRequest';
    const modelSpecs: Uint8Array[] = [];
    const outputFilter: string[] = [];
    const tensorProtos = new Map<string, Uint8Array>();
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === modelSpecTag) {
        reader.countElement();
        modelSpecs.push(reader.byteString());
      } else if (tag === inputsTag) {
        reader.countElement();
        readNamedTensor(reader, tensorProtos);
      } else if (tag === outputFilterTag) {
        reader.countElement();
        outputFilter.push(reader.text(true));
      } else reader.skip(tag);
    }
    const modelSpec = merged(modelSpecs);
    return {
      modelSpec:
        modelSpec === undefined
          ? undefined
          : fromModelSpec(ModelSpec.decode(modelSpec, decodeOptions)),
      outputFilter,
      tensorProtos,
    };
  });
}

/** An entry of a map of tensors by name. */
function readNamedTensor(reader: WireReader, tensorProtos: Map<string, Uint8Array>): void {
  let alias = '';
  const protos: Uint8Array[] = [];
  const outerEnd = reader.end;
  reader.end = reader.length() + reader.position;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === keyTag) alias = reader.text(true);
    else if (tag === valueTag) {
      reader.countElement();
      protos.push(reader.byteString());
    } else reader.skip(tag);
  }
  reader.end = outerEnd;
  tensorProtos.set(alias, merged(protos) ?? noBytes);
}

/** A message that comes several times is merged, which is what its bytes in a row are. */
function merged(pieces: readonly Uint8Array[]): Uint8Array | undefined {
  return pieces.length > 1 ? Buffer.concat(pieces) : pieces[0];
}

const noBytes = new Uint8Array(0);

/**
 * The tensors of a request. Small ones are views of the request's bytes, which must not change as
 * long as they are in use; large ones are in memory of Tenon's own.
 *
 * @throws StatusError INVALID_ARGUMENT `tensor parsing error: <alias>`, RESOURCE_EXHAUSTED for more
 *   than 2^20 strings, INTERNAL.
 */
export function decodeTensors(
  tensorProtos: ReadonlyMap<string, Uint8Array>,
  { maxFillBytes = maxFillBytesDefault }: DecodeTensorsOptions = {},
): Record<string, Tensor> {
  const budget = { bytes: maxFillBytes, strings: maxElements };
  // A name is a client's choice: "__proto__" is one.
  const inputs = Object.create(null) as Record<string, Tensor>;
  return decoded(() => {
    try {
      for (const [alias, proto] of tensorProtos) {
        inputs[alias] = decodeTensorProto(proto, alias, budget);
      }
    } catch (error) {
      for (const tensor of Object.values(inputs)) tensor.dispose();
      throw error;
    }
    return inputs;
  });
}

/** @throws As `decodePredictRequestHead` and `decodeTensors`. */
export function decodePredictRequest(
  bytes: Uint8Array,
  options?: DecodeTensorsOptions,
): PredictRequest {
  const { modelSpec, outputFilter, tensorProtos } = decodePredictRequestHead(bytes);
  return { modelSpec, inputs: decodeTensors(tensorProtos, options), outputFilter };
}

export interface PredictResponse {
  readonly modelSpec: ResponseModelSpec;
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[];
}

export interface EncodeTensorsOptions {
  /**
   * Whether elements go into `tensor_content` instead of the typed fields, which clients that read
   * `float_val` and the like expect. Default: false.
   */
  tensorContent?: boolean;
}

/**
 * @throws StatusError UNIMPLEMENTED for a dtype TensorFlow does not have, RESOURCE_EXHAUSTED for a
 *   response of 2 GiB or more.
 */
export function encodePredictResponse(
  { modelSpec, outputs }: PredictResponse,
  { tensorContent = false }: EncodeTensorsOptions = {},
): Buffer {
  return encodeTensors(outputs, tensorContent, { field: 1, spec: encodeModelSpec(modelSpec) });
}

/**
 * A request with its tensors as `tensor_content`.
 *
 * @throws As `encodePredictResponse`.
 */
export function encodePredictRequest({
  modelSpec,
  inputs,
  outputFilter,
}: Omit<PredictRequest, 'outputFilter'> & { readonly outputFilter: readonly string[] }): Buffer {
  const spec = modelSpec === undefined ? noBytes : ModelSpec.encode(toRequestModelSpec(modelSpec));
  const tensors = Object.entries(inputs).map(([name, tensor]) => ({ name, tensor }));
  return encodeTensors(tensors, true, { field: 2, spec, outputFilter });
}

/** What stands beside the tensors of a request or a response. */
interface Beside {
  /** Of the map of tensors; the other of 1 and 2 is the ModelSpec's. */
  readonly field: 1 | 2;
  readonly spec: Uint8Array;
  readonly outputFilter?: readonly string[];
}

function encodeTensors(
  tensors: readonly { readonly name: string; readonly tensor: Tensor }[],
  tensorContent: boolean,
  { field, spec, outputFilter = [] }: Beside,
): Buffer {
  let byteLength = 1 + varintLength(spec.byteLength) + spec.byteLength;
  const entries: { name: string; nameLength: number; length: number; tensor: MeasuredTensor }[] =
    [];
  for (const each of tensors) {
    const { name } = each;
    const tensor = measureTensorProto(each.tensor, tensorContent);
    const nameLength = Buffer.byteLength(name);
    const length =
      1 +
      varintLength(nameLength) +
      nameLength +
      1 +
      varintLength(tensor.byteLength) +
      tensor.byteLength;
    entries.push({ name, nameLength, length, tensor });
    byteLength += 1 + varintLength(length) + length;
  }
  for (const name of outputFilter) {
    const length = Buffer.byteLength(name);
    byteLength += 1 + varintLength(length) + length;
  }
  const writer = messageWriter(field === 1 ? 'response' : 'request', byteLength);
  for (const { name, nameLength, length, tensor } of entries) {
    writer.tag(field, WireType.bytes);
    writer.varint(length);
    writer.tag(1, WireType.bytes);
    writer.varint(nameLength);
    writer.text(name);
    writer.tag(2, WireType.bytes);
    writer.varint(tensor.byteLength);
    tensor.write(writer);
  }
  writer.tag(3 - field, WireType.bytes);
  writer.varint(spec.byteLength);
  writer.raw(spec);
  for (const name of outputFilter) {
    writer.tag(3, WireType.bytes);
    writer.varint(Buffer.byteLength(name));
    writer.text(name);
  }
  return writer.bytes;
}

/**
 * The outputs of a response.
 *
 * @throws As `decodeTensors`; StatusError INTERNAL for bytes that are no PredictResponse.
 */
export function decodePredictResponse(
  bytes: Uint8Array,
  options?: DecodeTensorsOptions,
): Record<string, Tensor> {
  const tensorProtos = decoded(() => {
    const reader = new WireReader(bytes, { ...decodeOptions, subject: 'response' });
    reader.typeName = 'tensorflow.serving.PredictResponse';
    const protos = new Map<string, Uint8Array>();
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === outputsTag) {
        reader.countElement();
        readNamedTensor(reader, protos);
      } else reader.skip(tag);
    }
    return protos;
  });
  return decodeTensors(tensorProtos, options);
}
