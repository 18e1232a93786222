/**
 * The codec of ModelInfer over any bytes: what is no request is a status, its tensors take no more
 * memory than its bytes are worth, and are the same again when they have been written, raw and
 * typed, and read.
 */

import { strictEqual } from 'node:assert';

import {
  decodeInferTensors,
  decodeModelInferRequestHead,
  encodeModelInferResponse,
  type InferOutput,
} from '../../lib/codec/proto/index.js';
import { StatusError } from '../../lib/codec/status.js';
import { type MessageType, messageType } from '../../lib/protobuf/message.js';
import { WireType, WireWriter } from '../../lib/protobuf/wire.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import { isSame } from './same-tensor.js';

/** Of a response what a request has as well: an output is written as an input is. */
interface Response {
  outputs: Uint8Array[];
  rawOutputContents: Uint8Array[];
}

const Response: MessageType<Response> = messageType('inference.ModelInferResponse', () => [
  { name: 'outputs', number: 5, type: 'bytes', repeated: 'expanded' },
  { name: 'rawOutputContents', number: 6, type: 'bytes', repeated: 'expanded' },
]);

function asRequest(response: Uint8Array): Uint8Array {
  const { outputs, rawOutputContents } = Response.decode(response);
  const writer = new WireWriter();
  for (const output of outputs) writer.tag(5, WireType.bytes).byteString(output);
  for (const raw of rawOutputContents) writer.tag(7, WireType.bytes).byteString(raw);
  return writer.finish();
}

function decode(bytes: Uint8Array): InferOutput[] {
  const head = decodeModelInferRequestHead(bytes);
  const tensors = decodeInferTensors(head, { passed: 0, copied: 0 });
  return head.inputs.map(({ name, parameters }, i) => ({
    name,
    parameters,
    tensor: tensors[i] as Tensor,
  }));
}

/** A varint of one byte may be an element of eight. */
function checkSize(outputs: readonly InferOutput[], inputBytes: number): void {
  let total = 0;
  for (const { tensor } of outputs) {
    if (tensor.dtype !== 'string') total += (tensor.bytes as Uint8Array).byteLength;
  }
  if (total > 8 * inputBytes) {
    throw new Error(`expected less memory for ${inputBytes} bytes, received ${total}`);
  }
}

function roundTrip(bytes: Uint8Array): void {
  const outputs = decode(bytes);
  checkSize(outputs, bytes.byteLength);
  const { modelName, modelVersion, id, parameters } = decodeModelInferRequestHead(bytes);
  for (const raw of [false, true]) {
    const response = encodeModelInferResponse(
      { modelName, modelVersion, id, parameters, outputs },
      raw,
    );
    const again = decode(asRequest(response));
    strictEqual(again.length, outputs.length);
    outputs.forEach(({ name, tensor }, i) => {
      strictEqual(again[i]?.name, name);
      isSame(tensor, again[i].tensor);
    });
  }
}

export function fuzz(data: Buffer): void {
  try {
    roundTrip(data);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
  }
}
