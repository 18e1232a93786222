/** The messages of PredictionService and ModelService beside those of Predict. */

import type { ModelServerConfig } from '../../protobuf/tensorflow-serving-config.js';
import {
  type ClassificationResult,
  ClassificationRequest,
  ClassificationResponse,
  GetModelMetadataRequest,
  GetModelMetadataResponse,
  GetModelStatusRequest,
  GetModelStatusResponse,
  type InferenceResult,
  ModelVersionStatusState,
  MultiInferenceRequest,
  MultiInferenceResponse,
  type RegressionResult,
  RegressionRequest,
  RegressionResponse,
  ReloadConfigRequest,
  ReloadConfigResponse,
  type SerializedInput,
  SignatureDefMap,
} from '../../protobuf/tensorflow-serving.js';
import {
  DataType,
  type SignatureDef,
  type TensorInfo,
  type TensorInfoCooSparse,
} from '../../protobuf/tensorflow.js';
import { StatusCode, StatusError, type StatusName } from '../status.js';
import { decoded, decodeOptions } from './malformed.js';
import {
  fromModelSpec,
  type RequestModelSpec,
  type ResponseModelSpec,
  toModelSpec,
  toRequestModelSpec,
} from './model-spec.js';

/** ClassificationRequest or RegressionRequest. */
export interface ExamplesRequest {
  /** Undefined where the request has none. */
  readonly modelSpec: RequestModelSpec | undefined;
  /** Serialized tensorflow.Examples, a context's features included. Empty where there is no input. */
  readonly examples: Uint8Array[];
}

/**
 * @throws StatusError INTERNAL for bytes that are no ClassificationRequest; so do the others.
 *   RESOURCE_EXHAUSTED where a context, repeated for each example, makes more than 64 MiB and eight
 *   times the request of them.
 */
export function decodeClassificationRequest(bytes: Uint8Array): ExamplesRequest {
  return decoded(() => examplesRequest(ClassificationRequest.decode(bytes, decodeOptions), bytes));
}

/** @throws As `decodeClassificationRequest`. */
export function decodeRegressionRequest(bytes: Uint8Array): ExamplesRequest {
  return decoded(() => examplesRequest(RegressionRequest.decode(bytes, decodeOptions), bytes));
}

function examplesRequest(
  { modelSpec, input }: ClassificationRequest,
  { byteLength }: Uint8Array,
): ExamplesRequest {
  return {
    modelSpec: modelSpec && fromModelSpec(modelSpec),
    examples: examplesOf(input, byteLength),
  };
}

/** As the JSON codec's kMaxExampleBytes. */
const maxExampleBytes = 64 * 1024 * 1024;

/**
 * The examples of an Input in a request of so many bytes. A context's bytes stand before those of
 * each example: parsed as one message they are merged, the example's features over the context's.
 */
function examplesOf(input: SerializedInput | undefined, requestBytes: number): Uint8Array[] {
  const kind = input?.kind;
  if (kind === undefined) return [];
  if (kind.case === 'exampleList') return kind.value.examples;
  const { context, examples } = kind.value;
  if (context.byteLength === 0) return examples;
  const most = Math.max(maxExampleBytes, 8 * requestBytes);
  // The examples are in the request, so that it is the context that makes them many bytes.
  if (context.byteLength * examples.length > most) {
    throw new StatusError(
      'RESOURCE_EXHAUSTED',
      `The examples with their context take more than ${most} bytes`,
    );
  }
  return examples.map((example) => Buffer.concat([context, example]));
}

/** ClassificationRequest or RegressionRequest: the same fields in both. */
export function encodeExamplesRequest({ modelSpec, examples }: ExamplesRequest): Uint8Array {
  return ClassificationRequest.encode({
    modelSpec: modelSpec && toRequestModelSpec(modelSpec),
    input: { kind: { case: 'exampleList', value: { examples } } },
  });
}

export interface Class {
  readonly label: string;
  readonly score: number;
}

export interface ClassificationAnswer {
  readonly modelSpec: ResponseModelSpec;
  /** By example. */
  readonly classifications: readonly (readonly Class[])[];
}

export interface RegressionAnswer {
  readonly modelSpec: ResponseModelSpec;
  /** By example. */
  readonly values: readonly number[];
}

export function encodeClassificationResponse(answer: ClassificationAnswer): Uint8Array {
  return ClassificationResponse.encode({
    modelSpec: toModelSpec(answer.modelSpec),
    result: classificationResult(answer),
  });
}

export function encodeRegressionResponse(answer: RegressionAnswer): Uint8Array {
  return RegressionResponse.encode({
    modelSpec: toModelSpec(answer.modelSpec),
    result: regressionResult(answer),
  });
}

function classificationResult({ classifications }: ClassificationAnswer): ClassificationResult {
  return { classifications: classifications.map((classes) => ({ classes: [...classes] })) };
}

function regressionResult({ values }: RegressionAnswer): RegressionResult {
  return { regressions: values.map((value) => ({ value })) };
}

/** @throws StatusError INTERNAL for bytes that are no ClassificationResponse; so do the others. */
export function decodeClassificationResponse(bytes: Uint8Array): Class[][] {
  const { result } = decoded(() => ClassificationResponse.decode(bytes, decodeOptions));
  return classesOf(result);
}

export function decodeRegressionResponse(bytes: Uint8Array): number[] {
  const { result } = decoded(() => RegressionResponse.decode(bytes, decodeOptions));
  return result?.regressions.map(({ value }) => value) ?? [];
}

/** Of each task its classes, or its values. */
export function decodeMultiInferenceResponse(bytes: Uint8Array): (Class[][] | number[])[] {
  const { results } = decoded(() => MultiInferenceResponse.decode(bytes, decodeOptions));
  return results.map(({ result }) =>
    result?.case === 'regressionResult'
      ? result.value.regressions.map(({ value }) => value)
      : classesOf(result?.value),
  );
}

function classesOf(result: ClassificationResult | undefined): Class[][] {
  return result?.classifications.map(({ classes }) => classes) ?? [];
}

export interface MultiInferenceTask {
  readonly modelSpec: RequestModelSpec | undefined;
  /** "tensorflow/serving/classify" or "tensorflow/serving/regress". */
  readonly methodName: string;
}

export interface DecodedMultiInferenceRequest {
  readonly tasks: MultiInferenceTask[];
  readonly examples: Uint8Array[];
}

/** @throws As `decodeClassificationRequest`. */
export function decodeMultiInferenceRequest(bytes: Uint8Array): DecodedMultiInferenceRequest {
  return decoded(() => {
    const { tasks, input } = MultiInferenceRequest.decode(bytes, decodeOptions);
    return {
      tasks: tasks.map(({ modelSpec, methodName }) => ({
        modelSpec: modelSpec && fromModelSpec(modelSpec),
        methodName,
      })),
      examples: examplesOf(input, bytes.byteLength),
    };
  });
}

export function encodeMultiInferenceResponse(
  answers: readonly (ClassificationAnswer | RegressionAnswer)[],
): Uint8Array {
  return MultiInferenceResponse.encode({
    results: answers.map((answer): InferenceResult => ({
      modelSpec: toModelSpec(answer.modelSpec),
      result:
        'values' in answer
          ? { case: 'regressionResult', value: regressionResult(answer) }
          : { case: 'classificationResult', value: classificationResult(answer) },
    })),
  });
}

export interface MetadataRequest {
  readonly modelSpec: RequestModelSpec | undefined;
  readonly metadataFields: string[];
}

export function decodeGetModelMetadataRequest(bytes: Uint8Array): MetadataRequest {
  return decoded(() => {
    const { modelSpec, metadataField } = GetModelMetadataRequest.decode(bytes, decodeOptions);
    return { modelSpec: modelSpec && fromModelSpec(modelSpec), metadataFields: metadataField };
  });
}

/** One input or output of a signature, as GetModelMetadata shows it. */
export interface TensorDescription {
  readonly name: string;
  /** A tensorflow.DataType by name; one that is unknown is DT_INVALID. */
  readonly dtype: string;
  /** Undefined for an unknown rank; -1 is an unknown size. */
  readonly shape: readonly number[] | undefined;
  /** Of a sparse tensor, in place of a name. */
  readonly cooSparse?: TensorInfoCooSparse;
}

export interface SignatureDescription {
  readonly inputs: Readonly<Record<string, TensorDescription>>;
  readonly outputs: Readonly<Record<string, TensorDescription>>;
  readonly methodName: string;
}

export interface MetadataAnswer {
  readonly modelSpec: { readonly name: string; readonly version: bigint };
  readonly signatureDefs: Readonly<Record<string, SignatureDescription>>;
}

export function encodeGetModelMetadataResponse({
  modelSpec,
  signatureDefs,
}: MetadataAnswer): Uint8Array {
  const signatureDef = new Map<string, SignatureDef>();
  for (const [name, { inputs, outputs, methodName }] of Object.entries(signatureDefs)) {
    signatureDef.set(name, {
      inputs: tensorInfos(inputs),
      outputs: tensorInfos(outputs),
      methodName,
    });
  }
  const map = {
    typeUrl: `type.googleapis.com/${SignatureDefMap.typeName}`,
    value: SignatureDefMap.encode({ signatureDef }),
  };
  return GetModelMetadataResponse.encode({
    modelSpec: toModelSpec({ ...modelSpec, signatureName: '' }),
    metadata: new Map([['signature_def', map]]),
  });
}

function tensorInfos(
  tensors: Readonly<Record<string, TensorDescription>>,
): Map<string, TensorInfo> {
  const infos = new Map<string, TensorInfo>();
  const dataTypes: Readonly<Record<string, number>> = DataType;
  for (const [key, { name, dtype, shape, cooSparse }] of Object.entries(tensors)) {
    infos.set(key, {
      encoding:
        cooSparse === undefined
          ? { case: 'name', value: name }
          : { case: 'cooSparse', value: cooSparse },
      dtype: Object.hasOwn(dataTypes, dtype) ? (dataTypes[dtype] as number) : DataType.DT_INVALID,
      tensorShape: {
        dim: (shape ?? []).map((size) => ({ size: BigInt(size), name: '' })),
        unknownRank: shape === undefined,
      },
    });
  }
  return infos;
}

export interface StatusRequest {
  readonly modelSpec: RequestModelSpec | undefined;
}

export function decodeGetModelStatusRequest(bytes: Uint8Array): StatusRequest {
  return decoded(() => {
    const { modelSpec } = GetModelStatusRequest.decode(bytes, decodeOptions);
    return { modelSpec: modelSpec && fromModelSpec(modelSpec) };
  });
}

export interface VersionDescription {
  readonly version: bigint;
  readonly state: keyof typeof ModelVersionStatusState;
  readonly error: { readonly status: StatusName; readonly message: string };
}

export function encodeGetModelStatusResponse(versions: readonly VersionDescription[]): Uint8Array {
  return GetModelStatusResponse.encode({
    modelVersionStatus: versions.map(({ version, state, error }) => ({
      version,
      state: ModelVersionStatusState[state],
      status: { errorCode: StatusCode[error.status], errorMessage: error.message },
    })),
  });
}

export interface ReloadRequest {
  /** Undefined where the request has none. */
  readonly config: ModelServerConfig | undefined;
}

export function decodeReloadConfigRequest(bytes: Uint8Array): ReloadRequest {
  return decoded(() => {
    const { config } = ReloadConfigRequest.decode(bytes, decodeOptions);
    return { config };
  });
}

/** A reload that failed has the RPC's own status instead. */
export function encodeReloadConfigResponse(): Uint8Array {
  return ReloadConfigResponse.encode({
    status: { errorCode: StatusCode.OK, errorMessage: '' },
  });
}
