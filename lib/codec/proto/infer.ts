/**
 * inference.ModelInferRequest and ModelInferResponse (grpc_service.proto of Triton, which is that of
 * KServe and more).
 *
 * Raw contents become tensors over the message where they are aligned in it. Typed contents are
 * decoded straight into the tensor's memory, which is only taken when the message holds as many
 * bytes as its shape needs at least: nothing of a tensor may be left out, so no message stands for
 * more memory than eight times its own length.
 */

import { TenonError } from '../../errors.js';
import { InferParameter } from '../../protobuf/open-inference.js';
import { WireReader, WireType, WireWriter } from '../../protobuf/wire.js';
import type { DType, TypedArray } from '../../tensor/dtypes.js';
import { shapeText } from '../../tensor/shape.js';
import { Tensor } from '../../tensor/tensor.js';
import { datatypeOfDType } from '../oip/datatypes.js';
import type { InferRequestedOutput } from '../oip/infer-request.js';
import { noParameters, type Parameters, type ParameterValue } from '../oip/parameters.js';
import {
  countStrings,
  type RawBudget,
  type RawCounts,
  type RawOptions,
  tensorFromRaw,
  tensorHead,
} from '../oip/raw.js';
import { StatusError } from '../status.js';
import {
  allocate,
  decodeValues,
  onlyValues,
  tagOf,
  type TensorHead,
  tensorOver,
} from './elements.js';
import { type MeasuredTensor, measureValues } from './encode-tensor.js';
import type { ValueLayout } from './layout.js';
import { decoded, decodeOptions, maxElements } from './malformed.js';
import { type ByteWriter, responseWriter, varintLength } from './writer.js';

export interface InferInput {
  readonly name: string;
  /** As the request has it. */
  readonly datatype: string;
  /** As the request has it; a bigint where a number cannot hold it. */
  readonly shape: readonly (number | bigint)[];
  readonly parameters: Parameters;
  /** An InferTensorContents, as a view of the request; undefined where it has none. */
  readonly contents: Uint8Array | undefined;
}

/** A request of which only the tensors are not decoded yet: they may wait until there is a model. */
export interface ModelInferRequestHead {
  readonly modelName: string;
  /** "" is the server's choice. */
  readonly modelVersion: string;
  readonly id: string;
  readonly parameters: Parameters;
  readonly inputs: readonly InferInput[];
  /** None are all of them. */
  readonly outputs: readonly InferRequestedOutput[];
  /** Views of the request. */
  readonly rawInputContents: readonly Uint8Array[];
}

const modelNameTag = tagOf(1, WireType.bytes);
const modelVersionTag = tagOf(2, WireType.bytes);
const idTag = tagOf(3, WireType.bytes);
const parametersTag = tagOf(4, WireType.bytes);
const inputsTag = tagOf(5, WireType.bytes);
const outputsTag = tagOf(6, WireType.bytes);
const rawContentsTag = tagOf(7, WireType.bytes);

/** @throws StatusError INTERNAL for bytes that are no ModelInferRequest. */
export function decodeModelInferRequestHead(bytes: Uint8Array): ModelInferRequestHead {
  return decoded(() => {
    const reader = newReader(bytes, 'ModelInferRequest');
    let modelName = '';
    let modelVersion = '';
    let id = '';
    let parameters: Map<string, ParameterValue> | undefined;
    const inputs: InferInput[] = [];
    const outputs: InferRequestedOutput[] = [];
    const rawInputContents: Uint8Array[] = [];
    while (reader.position < reader.end) {
      const tag = reader.tag();
      switch (tag) {
        case modelNameTag:
          modelName = reader.text(true);
          break;
        case modelVersionTag:
          modelVersion = reader.text(true);
          break;
        case idTag:
          id = reader.text(true);
          break;
        case parametersTag:
          readParameter(reader, (parameters ??= new Map<string, ParameterValue>()));
          break;
        case inputsTag:
          inputs.push(readInput(reader));
          break;
        case outputsTag:
          outputs.push(readOutput(reader));
          break;
        case rawContentsTag:
          reader.countElement();
          rawInputContents.push(reader.byteString());
          break;
        default:
          reader.skip(tag);
      }
    }
    return {
      modelName,
      modelVersion,
      id,
      parameters: parameters ?? noParameters,
      inputs,
      outputs,
      rawInputContents,
    };
  });
}

/**
 * Where in a ModelInferRequest the first raw content begins, by the request's first bytes; undefined
 * where they do not show it.
 */
export function rawContentsAt(first: Uint8Array): number | undefined {
  const reader = newReader(first, 'ModelInferRequest');
  try {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag !== rawContentsTag) reader.skip(tag);
      // What it announces may still be on its way.
      else if (reader.uint32() > 0) return reader.position;
    }
  } catch (error) {
    // A request that goes on elsewhere, or none at all, which its decoder will tell.
    if (!(error instanceof TenonError)) throw error;
  }
  return undefined;
}

function newReader(bytes: Uint8Array, message: string): WireReader {
  const reader = new WireReader(bytes, decodeOptions);
  reader.typeName = `inference.${message}`;
  return reader;
}

/** Moves the reader's end to that of the message that begins here; the one it had. */
function enter(reader: WireReader): number {
  reader.countElement();
  const outerEnd = reader.end;
  reader.end = reader.length() + reader.position;
  return outerEnd;
}

const keyTag = tagOf(1, WireType.bytes);
const valueTag = tagOf(2, WireType.bytes);

/** An entry of a map of parameters. */
function readParameter(reader: WireReader, parameters: Map<string, ParameterValue>): void {
  const outerEnd = enter(reader);
  let name = '';
  let choice: InferParameter['parameterChoice'];
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === keyTag) name = reader.text(true);
    else if (tag === valueTag) {
      choice = InferParameter.decode(reader.byteString(), decodeOptions).parameterChoice ?? choice;
    } else reader.skip(tag);
  }
  reader.end = outerEnd;
  if (choice !== undefined) parameters.set(name, choice.value);
}

const inputNameTag = tagOf(1, WireType.bytes);
const inputDatatypeTag = tagOf(2, WireType.bytes);
const inputSizesTag = tagOf(3, WireType.bytes);
const inputSizeTag = tagOf(3, WireType.varint);
const inputParametersTag = tagOf(4, WireType.bytes);
const inputContentsTag = tagOf(5, WireType.bytes);

function readInput(reader: WireReader): InferInput {
  const outerEnd = enter(reader);
  let name = '';
  let datatype = '';
  const shape: (number | bigint)[] = [];
  let parameters: Map<string, ParameterValue> | undefined;
  let contents: Uint8Array | undefined;
  let pieces: Uint8Array[] | undefined;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case inputNameTag:
        name = reader.text(true);
        break;
      case inputDatatypeTag:
        datatype = reader.text(true);
        break;
      case inputSizesTag: {
        const end = reader.length() + reader.position;
        const inputEnd = reader.end;
        reader.end = end;
        while (reader.position < end) shape.push(readSize(reader));
        reader.end = inputEnd;
        break;
      }
      case inputSizeTag:
        shape.push(readSize(reader));
        break;
      case inputParametersTag:
        readParameter(reader, (parameters ??= new Map<string, ParameterValue>()));
        break;
      case inputContentsTag: {
        reader.countElement();
        const piece = reader.byteString();
        if (contents === undefined) contents = piece;
        else (pieces ??= [contents]).push(piece);
        break;
      }
      default:
        reader.skip(tag);
    }
  }
  reader.end = outerEnd;
  // A message that comes several times is merged, which is what its bytes in a row are.
  if (pieces !== undefined) contents = Buffer.concat(pieces);
  return { name, datatype, shape, parameters: parameters ?? noParameters, contents };
}

function readSize(reader: WireReader): number | bigint {
  reader.countElement();
  const start = reader.position;
  const size = reader.int53();
  if (!Number.isNaN(size)) return size;
  reader.position = start;
  return reader.int64();
}

const outputNameTag = tagOf(1, WireType.bytes);
const outputParametersTag = tagOf(2, WireType.bytes);

function readOutput(reader: WireReader): InferRequestedOutput {
  const outerEnd = enter(reader);
  let name = '';
  let parameters: Map<string, ParameterValue> | undefined;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === outputNameTag) name = reader.text(true);
    else if (tag === outputParametersTag)
      readParameter(reader, (parameters ??= new Map<string, ParameterValue>()));
    else reader.skip(tag);
  }
  reader.end = outerEnd;
  return { name, parameters: parameters ?? noParameters };
}

interface TypedContents extends ValueLayout {
  readonly name: string;
}

const boolContents = { kind: 'bool', field: 1, name: 'bool_contents' } as const;
const intContents = { kind: 'varint32', field: 2, name: 'int_contents' } as const;
const uintContents = { kind: 'varint32', field: 4, name: 'uint_contents' } as const;

/** The field of InferTensorContents for elements of each dtype; FP16 and BF16 have none. */
const typedContents: Partial<Record<DType, TypedContents>> = {
  bool: boolContents,
  int8: intContents,
  int16: intContents,
  int32: intContents,
  int64: { kind: 'varint64', field: 3, name: 'int64_contents' },
  uint8: uintContents,
  uint16: uintContents,
  uint32: uintContents,
  uint64: { kind: 'varint64', field: 5, name: 'uint64_contents' },
  float32: { kind: 'fixed32', field: 6, name: 'fp32_contents' },
  float64: { kind: 'fixed64', field: 7, name: 'fp64_contents' },
  string: { kind: 'string', field: 8, name: 'bytes_contents' },
};

const contentsNames = new Map(
  Object.values(typedContents).map(({ field, name }) => [field, name] as const),
);

/** Whether the request's tensors are in raw_input_contents. */
export function isRaw({ rawInputContents }: ModelInferRequestHead): boolean {
  return rawInputContents.length > 0;
}

/**
 * The tensors of a request, in the order of its inputs. Those of raw contents are views of the
 * request's bytes where they are aligned, and so are small ones of others: the bytes must not change
 * as long as they are in use.
 *
 * @param counts Of raw contents, bytes that became tensors as they are, and copied ones.
 * @throws StatusError INVALID_ARGUMENT where datatype, shape and contents disagree, where contents
 *   come both raw and typed, or raw for fewer or more inputs than there are; RESOURCE_EXHAUSTED for
 *   more than 2^20 strings; INTERNAL.
 */
export function decodeInferTensors(
  head: ModelInferRequestHead,
  counts: RawCounts,
  options: RawOptions = {},
): Tensor[] {
  const { inputs, rawInputContents } = head;
  if (isRaw(head)) {
    const typed = inputs.find(({ contents }) => contents !== undefined && contents.length > 0);
    if (typed !== undefined) {
      throw invalid(
        `expected either raw_input_contents or typed contents, received both, those of ${subjectOf(typed)}`,
      );
    }
    if (rawInputContents.length !== inputs.length) {
      throw invalid(
        `expected raw_input_contents for each of ${inputs.length} inputs, received ${rawInputContents.length}`,
      );
    }
  }
  const budget: RawBudget = { strings: maxElements };
  const tensors: Tensor[] = [];
  return decoded(() => {
    try {
      for (const [index, input] of inputs.entries()) {
        const raw = rawInputContents[index];
        tensors.push(
          raw === undefined
            ? tensorFromContents(input, budget)
            : tensorFromRaw({ ...input, subject: subjectOf(input) }, raw, budget, counts, options),
        );
      }
    } catch (error) {
      for (const tensor of tensors) tensor.dispose();
      throw error;
    }
    return tensors;
  });
}

function subjectOf({ name }: InferInput): string {
  return `input "${name}"`;
}

function invalid(message: string): StatusError {
  return new StatusError('INVALID_ARGUMENT', message);
}

const noBytes = new Uint8Array(0);

function tensorFromContents(input: InferInput, budget: RawBudget): Tensor {
  const subject = subjectOf(input);
  const head = tensorHead({ ...input, subject });
  const { dtype, size } = head;
  const bytes = input.contents ?? noBytes;
  const layout = typedContents[dtype];
  if (layout === undefined) {
    throw invalid(
      `expected raw_input_contents for ${subject}, whose datatype ${input.datatype} has no typed contents, received none`,
    );
  }
  checkFields(input, layout, bytes);
  if (layout.kind === 'string') return stringsFromContents(input, head, layout, budget);
  // A varint has at least one byte.
  const leastWidth = layout.kind === 'fixed32' ? 4 : layout.kind === 'fixed64' ? 8 : 1;
  if (size * leastWidth > bytes.byteLength) throw wrongCount(input, head, layout, bytes);
  if (size > 0 && leastWidth > 1) {
    const whole = onlyValues(contentsReader(bytes), layout, size * leastWidth);
    if (whole !== undefined) return tensorOver(head, whole);
  }
  const { tensor, data } = allocate(head);
  // 8 and 16 bits come as 32.
  const isNarrow = data.BYTES_PER_ELEMENT < 4 && dtype !== 'bool';
  const wide = layout === uintContents ? Uint32Array : Int32Array;
  const elements = isNarrow ? new wide(size) : data;
  const found = decodeValues(contentsReader(bytes), layout, elements, size);
  if (found !== size) throw wrongCount(input, head, layout, bytes);
  if (elements !== data) {
    (data as Int8Array).set(elements as Int32Array);
    // The array keeps the lower bits alone.
    const misfit = elements.findIndex((value: number | bigint, i: number) => data[i] !== value);
    if (misfit >= 0) {
      throw invalid(
        `expected numbers that fit ${input.datatype} in ${layout.name} of ${subject}, received ${elements[misfit]}`,
      );
    }
  }
  return tensor;
}

function contentsReader(bytes: Uint8Array): WireReader {
  return newReader(bytes, 'InferTensorContents');
}

/** Elements of another type would be passed over, and those of this one be too few. */
function checkFields(input: InferInput, layout: TypedContents, bytes: Uint8Array): void {
  const reader = contentsReader(bytes);
  while (reader.position < reader.end) {
    const tag = reader.tag();
    const field = tag >>> 3;
    if (field !== layout.field && contentsNames.has(field)) {
      throw invalid(
        `expected ${layout.name} for ${subjectOf(input)} of ${input.datatype}, received ${contentsNames.get(field)}`,
      );
    }
    reader.skip(tag);
  }
}

function wrongCount(
  input: InferInput,
  { shape, size }: TensorHead,
  layout: TypedContents,
  bytes: Uint8Array,
): StatusError {
  const found =
    layout.kind === 'string'
      ? countFields(layout, bytes)
      : decodeValues(contentsReader(bytes), layout, noElements(layout), 0);
  return invalid(
    `expected ${size} elements in ${layout.name} of ${subjectOf(input)}, which is of shape ${shapeText(shape)}, received ${found}`,
  );
}

function noElements({ kind }: TypedContents): TypedArray {
  return kind === 'varint64' ? new BigInt64Array(0) : new Int32Array(0);
}

function countFields({ field }: TypedContents, bytes: Uint8Array): number {
  const reader = contentsReader(bytes);
  let count = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === tagOf(field, WireType.bytes)) count++;
    reader.skip(tag);
  }
  return count;
}

function stringsFromContents(
  input: InferInput,
  head: TensorHead,
  layout: TypedContents,
  budget: RawBudget,
): Tensor {
  const { shape, size } = head;
  const bytes = input.contents ?? noBytes;
  countStrings(size, budget);
  if (countFields(layout, bytes) !== size) throw wrongCount(input, head, layout, bytes);
  const reader = contentsReader(bytes);
  const elements: Uint8Array[] = [];
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === tagOf(layout.field, WireType.bytes)) elements.push(reader.byteString());
    else reader.skip(tag);
  }
  return new Tensor('string', elements, shape);
}

export interface InferOutput {
  readonly name: string;
  /** In host memory. */
  readonly tensor: Tensor;
  readonly parameters?: Parameters | undefined;
}

export interface ModelInferResponse {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly parameters?: Parameters | undefined;
  readonly outputs: readonly InferOutput[];
}

/**
 * @param raw Whether elements go into raw_output_contents. They do as well where an output has a
 *   datatype without typed contents, because a response has the ones or the others.
 * @throws StatusError UNIMPLEMENTED for a dtype the protocol does not have, RESOURCE_EXHAUSTED for a
 *   response of 2 GiB or more.
 */
export function encodeModelInferResponse(
  { modelName, modelVersion, id, parameters, outputs }: ModelInferResponse,
  raw: boolean,
): Buffer {
  const isRawResponse =
    raw || outputs.some(({ tensor }) => typedContents[tensor.dtype] === undefined);
  const top = new WireWriter();
  writeText(top, 1, modelName);
  writeText(top, 2, modelVersion);
  writeText(top, 3, id);
  writeParameters(top, parameters);
  let byteLength = top.byteLength;
  const measured: MeasuredOutput[] = [];
  for (const output of outputs) {
    const one = isRawResponse ? rawOutput(output) : typedOutput(output);
    byteLength += one.byteLength;
    measured.push(one);
  }
  const writer = responseWriter(byteLength);
  writer.raw(top.finish());
  for (const { head, contents } of measured) {
    const contentsLength = contents === undefined ? 0 : delimitedLength(contents.byteLength);
    writer.tag(5, WireType.bytes);
    writer.varint(head.byteLength + contentsLength);
    writer.raw(head);
    if (contents === undefined) continue;
    writer.tag(5, WireType.bytes);
    writer.varint(contents.byteLength);
    contents.write(writer);
  }
  for (const { rawContents } of measured) {
    if (rawContents === undefined) continue;
    writer.tag(6, WireType.bytes);
    writer.varint(rawContents.byteLength);
    rawContents.write(writer);
  }
  return writer.bytes;
}

/** One message of ModelStreamInfer: an answer, as it is encoded, or why there is none. */
export function encodeModelStreamInferResponse({
  errorMessage = '',
  inferResponse,
}: {
  readonly errorMessage?: string;
  readonly inferResponse?: Uint8Array;
}): Buffer {
  const text = Buffer.from(errorMessage);
  const pieces = [
    [1, text],
    [2, inferResponse],
  ] as const;
  let byteLength = 0;
  for (const [, bytes] of pieces) {
    if (bytes !== undefined && bytes.byteLength > 0)
      byteLength += delimitedLength(bytes.byteLength);
  }
  const writer = responseWriter(byteLength);
  for (const [field, bytes] of pieces) {
    if (bytes === undefined || bytes.byteLength === 0) continue;
    writer.tag(field, WireType.bytes);
    writer.varint(bytes.byteLength);
    writer.raw(bytes);
  }
  return writer.bytes;
}

interface MeasuredOutput {
  /** Of all it adds to the response. */
  readonly byteLength: number;
  /** Its InferOutputTensor without contents. */
  readonly head: Uint8Array;
  readonly contents: MeasuredTensor | undefined;
  readonly rawContents: MeasuredTensor | undefined;
}

/** Of a field below 16 with so many bytes in it. */
function delimitedLength(byteLength: number): number {
  return 1 + varintLength(byteLength) + byteLength;
}

function rawOutput(output: InferOutput): MeasuredOutput {
  const head = outputHead(output);
  const rawContents = measureRaw(output.tensor);
  const byteLength = delimitedLength(head.byteLength) + delimitedLength(rawContents.byteLength);
  return { byteLength, head, contents: undefined, rawContents };
}

function typedOutput(output: InferOutput): MeasuredOutput {
  const head = outputHead(output);
  // There is one: a response with a dtype that has none is raw.
  const contents = measureValues(
    output.tensor,
    typedContents[output.tensor.dtype] as TypedContents,
  );
  const inner = head.byteLength + delimitedLength(contents.byteLength);
  return { byteLength: delimitedLength(inner), head, contents, rawContents: undefined };
}

function outputHead({ name, tensor, parameters }: InferOutput): Uint8Array {
  const datatype = datatypeOfDType(tensor.dtype);
  if (datatype === undefined) {
    throw new StatusError(
      'UNIMPLEMENTED',
      `the Open Inference Protocol has no datatype for output "${name}" of ${tensor.dtype}`,
    );
  }
  const writer = new WireWriter();
  writeText(writer, 1, name);
  writeText(writer, 2, datatype);
  if (tensor.shape.length > 0) {
    const start = writer.tag(3, WireType.bytes).fork();
    for (const size of tensor.shape) writer.int64(BigInt(size));
    writer.join(start);
  }
  writeParameters(writer, parameters);
  return writer.finish();
}

/** A string of a message; the empty one is the default. */
function writeText(writer: WireWriter, field: number, text: string): void {
  if (text !== '') writer.tag(field, WireType.bytes).text(text);
}

/** Field 4 of all that has parameters in a response. */
function writeParameters(writer: WireWriter, parameters: Parameters | undefined): void {
  if (parameters === undefined) return;
  for (const [name, value] of parameters) {
    const start = writer.tag(4, WireType.bytes).fork();
    writer.tag(1, WireType.bytes).text(name);
    writer.tag(2, WireType.bytes).byteString(InferParameter.encode(inferParameter(value)));
    writer.join(start);
  }
}

function inferParameter(value: ParameterValue): InferParameter {
  if (typeof value === 'string') return { parameterChoice: { case: 'stringParam', value } };
  if (typeof value === 'boolean') return { parameterChoice: { case: 'boolParam', value } };
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    return { parameterChoice: { case: 'doubleParam', value } };
  }
  return { parameterChoice: { case: 'int64Param', value: BigInt.asIntN(64, BigInt(value)) } };
}

/** Elements as they lie in memory; strings with their length before them. */
function measureRaw(tensor: Tensor): MeasuredTensor {
  if (tensor.dtype !== 'string') {
    const data = tensor.data as TypedArray;
    return { byteLength: data.byteLength, write: (writer) => writer.elements(data) };
  }
  const strings = tensor.bytes as unknown as Uint8Array[];
  let byteLength = 0;
  for (const string of strings) byteLength += 4 + string.byteLength;
  return {
    byteLength,
    write(writer: ByteWriter) {
      for (const string of strings) {
        writer.fixed32(string.byteLength);
        writer.raw(string);
      }
    },
  };
}
