/**
 * The protobuf codec over any bytes: what is no message is a status, and a tensor that was decoded is
 * the same again when it has been written and read, either way it can be written.
 */

import { strictEqual } from 'node:assert';

import {
  decodeClassificationRequest,
  decodeGetModelMetadataRequest,
  decodeGetModelStatusRequest,
  decodeMultiInferenceRequest,
  decodePredictionLog,
  decodePredictRequest,
  decodeRegressionRequest,
  decodeReloadConfigRequest,
  decodeTensors,
  encodePredictResponse,
} from '../../lib/codec/proto/index.js';
import { StatusError } from '../../lib/codec/status.js';
import { PredictResponse } from './predict-response.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import { isSame } from './same-tensor.js';

const maxFillBytes = 1 << 16;

/** What is left out of a tensor may be this much at most, and its bytes at their worth. */
function checkSize(tensor: Tensor, inputBytes: number): void {
  if (tensor.dtype === 'string') return;
  const { byteLength } = tensor.bytes as Uint8Array;
  if (byteLength > maxFillBytes + 16 * inputBytes) {
    throw new Error(`expected less memory for ${inputBytes} bytes, received ${byteLength}`);
  }
}

function predict(bytes: Uint8Array): void {
  const { inputs } = decodePredictRequest(bytes, { maxFillBytes });
  const outputs = Object.keys(inputs).map((name) => ({ name, tensor: inputs[name] as Tensor }));
  for (const { tensor } of outputs) checkSize(tensor, bytes.byteLength);
  const modelSpec = { name: 'm', version: 1n, signatureName: 's' };
  for (const tensorContent of [false, true]) {
    const answer = encodePredictResponse({ modelSpec, outputs }, { tensorContent });
    const protos = PredictResponse.decode(answer).outputs;
    const again = decodeTensors(protos, { maxFillBytes });
    strictEqual(Object.keys(again).length, outputs.length);
    for (const { name, tensor } of outputs) isSame(tensor, again[name] as Tensor);
  }
}

const decoders: ((bytes: Uint8Array) => unknown)[] = [
  predict,
  decodeClassificationRequest,
  decodeRegressionRequest,
  decodeMultiInferenceRequest,
  decodeGetModelMetadataRequest,
  decodeGetModelStatusRequest,
  decodeReloadConfigRequest,
  (bytes) => decodePredictionLog(bytes, { maxFillBytes }),
];

/** The first byte chooses a message. */
export function fuzz(data: Buffer): void {
  const decode = decoders[(data[0] ?? 0) % decoders.length] as (bytes: Uint8Array) => unknown;
  try {
    decode(data.subarray(1));
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
  }
}
