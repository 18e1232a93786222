/** Messages of the Open Inference Protocol as protobufjs writes and reads them. */

import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import type { Message } from './grpc.js';
import { fixture } from './paths.js';

const definition = loadSync('inference/grpc_service.proto', {
  includeDirs: [fixture('protos')],
  longs: String,
  enums: String,
  oneofs: true,
  keepCase: true,
});
const service = definition['inference.GRPCInferenceService'] as ServiceDefinition;
const modelInfer = service['ModelInfer'] as MethodDefinition<Message, Message>;

export function inferRequest(message: Message): Buffer {
  return modelInfer.requestSerialize(message);
}

export function inferResponse(bytes: Buffer): Message {
  return modelInfer.responseDeserialize(bytes);
}
