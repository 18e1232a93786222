import { type MessageType, messageType } from '../../lib/protobuf/message.js';

/** tensorflow.serving.PredictResponse, its tensors as bytes. */
export interface PredictResponse {
  outputs: Map<string, Uint8Array>;
}

export const PredictResponse: MessageType<PredictResponse> = messageType(
  'tensorflow.serving.PredictResponse',
  () => [{ name: 'outputs', number: 1, type: 'bytes', key: 'string' }],
);
