/** The body of the answer to an inference request of the Open Inference Protocol. */

import { nativeAddon } from '../../native/load.js';
import type { Tensor } from '../../tensor/tensor.js';
import { encodeAtOnceMaxElements, nativeTensor, textOf } from '../json.js';
import { StatusError } from '../status.js';
import { datatypeOfDType } from './datatypes.js';
import { rawOfTensor } from './raw.js';

export interface InferOutput {
  readonly name: string;
  /** In host memory, of a dtype that the protocol has. */
  readonly tensor: Tensor;
  readonly isBinary: boolean;
}

export interface InferResponse {
  readonly modelName: string;
  readonly modelVersion: bigint;
  /** Undefined: the request had none. */
  readonly id: string | undefined;
  readonly outputs: readonly InferOutput[];
}

export interface EncodedResponse {
  readonly json: string | Buffer;
  /**
   * What follows the JSON: of each binary output its elements, views of its memory but for BYTES.
   * Undefined where none is binary.
   */
  readonly binary: readonly Uint8Array[] | undefined;
}

/**
 * Encodes an answer.
 *
 * @returns A promise where more than `encodeAtOnceMaxElements` elements are written as JSON; the
 *   tensors must be there until it has settled.
 * @throws StatusError INVALID_ARGUMENT for outputs that JSON cannot carry: FP16, BF16, BYTES that
 *   are no UTF-8; ERR_TENON_TOO_LARGE for JSON of 2 GiB or more, ERR_TENON_OUT_OF_MEMORY,
 *   ERR_TENON_QUEUE_FULL.
 */
export function encodeInferResponse({
  modelName,
  modelVersion,
  id,
  outputs,
}: InferResponse): EncodedResponse | Promise<EncodedResponse> {
  const pieces: string[] = [];
  const written: Tensor[] = [];
  const binary: Uint8Array[] = [];
  let text = `{"model_name":${JSON.stringify(modelName)},"model_version":"${modelVersion}"`;
  if (id !== undefined) text += `,"id":${JSON.stringify(id)}`;
  text += ',"outputs":[';
  outputs.forEach(({ name, tensor, isBinary }, i) => {
    const datatype = datatypeOfDType(tensor.dtype);
    if (i > 0) text += ',';
    text += `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${tensor.shape.join(',')}]`;
    if (isBinary) {
      const raw = rawOfTensor(tensor);
      binary.push(raw);
      text += `,"parameters":{"binary_data_size":${raw.byteLength}}}`;
    } else {
      checkForJson(name, tensor);
      pieces.push(`${text},"data":`);
      written.push(tensor);
      text = '}';
    }
  });
  text += ']}';
  const isBinary = outputs.some((output) => output.isBinary);
  const encoded = (json: string | Buffer): EncodedResponse => ({
    json,
    binary: isBinary ? binary : undefined,
  });
  if (written.length === 0) return encoded(text);
  pieces.push(text);
  const { json } = nativeAddon();
  const tensors = written.map((tensor) => nativeTensor('an output', tensor));
  const elements = written.reduce((sum, { size }) => sum + size, 0);
  if (elements <= encodeAtOnceMaxElements) {
    return encoded(textOf(json.weave(pieces, tensors, false)));
  }
  return json.weave(pieces, tensors, true).then((result) => encoded(textOf(result)));
}

function checkForJson(name: string, tensor: Tensor): void {
  const { dtype } = tensor;
  if (dtype === 'float16' || dtype === 'bfloat16') {
    throw new StatusError(
      'INVALID_ARGUMENT',
      `expected output "${name}" of ${datatypeOfDType(dtype)} to be asked for with binary_data, received a request for JSON`,
    );
  }
  // What is no UTF-8 would make the whole answer none.
  if (dtype === 'string') void tensor.data;
}
