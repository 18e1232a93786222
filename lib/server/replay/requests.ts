/** Recorded requests as other targets and other protocols take them. */

import {
  decodeClassificationRequest,
  decodeClassificationResponse,
  decodeMultiInferenceRequest,
  decodeMultiInferenceResponse,
  decodePredictRequest,
  decodePredictResponse,
  decodeRegressionRequest,
  decodeRegressionResponse,
  type LoggedBytes,
  type RequestModelSpec,
  toRequestModelSpec,
} from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import type { Tensor } from '../../index.js';
import { ModelSpec, MultiInferenceRequest } from '../../protobuf/tensorflow-serving.js';
import { WireReader, WireType, WireWriter } from '../../protobuf/wire.js';
import {
  type ComparedAnswer,
  comparedClasses,
  comparedResults,
  comparedTensor,
  comparedValues,
} from '../traffic/compare.js';
import { examplesJson } from './examples.js';

/** The model that requests go to in place of the one they name. */
export interface ModelOverride {
  readonly name: string;
  /** Neither: the highest version, whatever the request named. */
  readonly version: bigint | undefined;
  readonly label: string | undefined;
}

/** What a record, or an answer by gRPC, holds. */
export function comparedResponse(kind: LoggedBytes['kind'], response: Uint8Array): ComparedAnswer {
  switch (kind) {
    case 'predict': {
      const outputs = Object.entries(decodePredictResponse(response));
      return new Map(outputs.map(([name, tensor]) => [name, comparedTensor(tensor)]));
    }
    case 'classify':
      return comparedClasses(decodeClassificationResponse(response));
    case 'regress':
      return comparedValues(decodeRegressionResponse(response));
    case 'multiInference':
      return comparedResults(decodeMultiInferenceResponse(response));
  }
}

const modelSpecTag = (1 << 3) | WireType.bytes;

/** The same request of another model; everything else in it stays as it is. */
export function redirected(
  { kind, request }: LoggedBytes,
  { name, version, label }: ModelOverride,
): Uint8Array {
  const specOf = (signatureName: string): ModelSpec =>
    toRequestModelSpec({ name, version, label, signatureName });
  if (kind === 'multiInference') {
    const { tasks, input } = MultiInferenceRequest.decode(request);
    return MultiInferenceRequest.encode({
      tasks: tasks.map((task) => ({
        ...task,
        modelSpec: specOf(task.modelSpec?.signatureName ?? ''),
      })),
      input,
    });
  }
  const reader = new WireReader(request, { subject: 'request' });
  const kept: Uint8Array[] = [];
  let signatureName = '';
  while (reader.position < reader.end) {
    const from = reader.position;
    const tag = reader.tag();
    if (tag === modelSpecTag) {
      signatureName = ModelSpec.decode(reader.byteString()).signatureName || signatureName;
      continue;
    }
    reader.skip(tag);
    kept.push(request.subarray(from, reader.position));
  }
  const spec = ModelSpec.encode(specOf(signatureName));
  const head = new WireWriter();
  head.tag(1, WireType.bytes);
  head.byteString(spec);
  return Buffer.concat([head.finish(), ...kept]);
}

/** A request to the REST API. */
export interface RestRequest {
  /** Below the server's address: "/v1/models/m:predict". */
  readonly path: string;
  readonly body: string;
}

/** @throws StatusError UNIMPLEMENTED for what REST has no request for. */
export function restRequest(
  { kind, request }: LoggedBytes,
  override: ModelOverride | undefined,
): RestRequest {
  switch (kind) {
    case 'predict': {
      const { modelSpec, inputs } = decodePredictRequest(request);
      const tensors = Object.entries(inputs).map(
        ([name, tensor]) => `${JSON.stringify(name)}: ${tensorJson(tensor)}`,
      );
      return {
        path: `${restPath(modelSpec, override)}:predict`,
        body: `{${signatureMember(modelSpec)}"inputs": {${tensors.join(', ')}}}`,
      };
    }
    case 'classify':
    case 'regress': {
      const decode = kind === 'classify' ? decodeClassificationRequest : decodeRegressionRequest;
      const { modelSpec, examples } = decode(request);
      return {
        path: `${restPath(modelSpec, override)}:${kind}`,
        body: `{${signatureMember(modelSpec)}"examples": ${examplesJson(examples)}}`,
      };
    }
    case 'multiInference':
      throw new StatusError('UNIMPLEMENTED', 'REST has no MultiInference: give a grpc:// address');
  }
}

function signatureMember(spec: RequestModelSpec | undefined): string {
  const name = spec?.signatureName ?? '';
  return name === '' ? '' : `"signature_name": ${JSON.stringify(name)}, `;
}

function restPath(spec: RequestModelSpec | undefined, override: ModelOverride | undefined): string {
  const { name = '', version, label } = override ?? spec ?? {};
  const choice =
    version !== undefined
      ? `/versions/${version}`
      : label !== undefined
        ? `/labels/${encodeURIComponent(label)}`
        : '';
  return `/v1/models/${encodeURIComponent(name)}${choice}`;
}

/** Elements as the REST API reads them: strings as bytes, NaN and infinities bare. */
function tensorJson(tensor: Tensor): string {
  const { shape } = tensor;
  const elements = (tensor.dtype === 'string' ? tensor.bytes : flatElements(tensor)) as ArrayLike<
    Uint8Array | number | bigint | boolean
  >;
  let index = 0;
  const write = (dimension: number): string => {
    if (dimension === shape.length) return elementJson(elements[index++]);
    const parts: string[] = [];
    for (let i = 0; i < (shape[dimension] as number); i++) parts.push(write(dimension + 1));
    return `[${parts.join(', ')}]`;
  };
  return write(0);
}

function flatElements(tensor: Tensor): unknown[] {
  const nested: unknown = tensor.toArray();
  return Array.isArray(nested) ? nested.flat(Infinity) : [nested];
}

function elementJson(element: unknown): string {
  if (element instanceof Uint8Array) {
    return `{"b64": "${Buffer.from(element).toString('base64')}"}`;
  }
  // Of whole numbers and booleans, too; NaN and the infinities stand as REST reads them.
  return Object.is(element, -0) ? '-0.0' : String(element);
}

/** What the model that is asked directly is given. */
export interface DirectRequest {
  readonly examples: readonly Uint8Array[];
  readonly tasks: readonly { readonly signatureName: string; readonly methodName: string }[];
}

export function directMultiInference(request: Uint8Array): DirectRequest {
  const { tasks, examples } = decodeMultiInferenceRequest(request);
  return {
    examples,
    tasks: tasks.map(({ modelSpec, methodName }) => ({
      signatureName: modelSpec?.signatureName ?? '',
      methodName,
    })),
  };
}
