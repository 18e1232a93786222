/** grpc.reflection.v1 and v1alpha: which services there are, and their .proto files. */

import { StatusCode, type StatusError } from '../../codec/status.js';
import { describedFiles } from '../../protobuf/descriptors.js';
import {
  ServerReflectionRequest,
  ServerReflectionResponse,
} from '../../protobuf/grpc-reflection.js';
import { decoded, decodeOptions } from '../../codec/proto/malformed.js';
import type { GrpcMethod, StreamHandler } from './transport.js';

type Answer = ServerReflectionResponse['messageResponse'];

const filesByName = new Map(describedFiles.map((file) => [file.name, file]));

/** Made at the first question; most servers are never asked. */
let fileBySymbol: ReadonlyMap<string, string> | undefined;
const encodedFiles = new Map<string, Uint8Array>();

/** @param services Full names of those the server has. */
export function reflectionMethods(services: readonly string[]): [string, GrpcMethod][] {
  const stream: StreamHandler = (call) => ({
    onMessage: (message) => {
      const request = decoded(() => ServerReflectionRequest.decode(message, decodeOptions));
      call.send(
        ServerReflectionResponse.encode({
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request, services),
        }),
      );
    },
    onHalfClose: () => call.end(),
    onDrain: () => undefined,
    onClose: () => undefined,
    onShutdown: () => call.end(),
  });
  return ['v1', 'v1alpha'].map((version) => [
    `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    { stream },
  ]);
}

function answer({ messageRequest }: ServerReflectionRequest, services: readonly string[]): Answer {
  switch (messageRequest?.case) {
    case 'fileByFilename':
      return filesFrom(messageRequest.value, 'File not found.');
    case 'fileContainingSymbol':
      return filesFrom(fileOf(messageRequest.value), 'Symbol not found.');
    case 'listServices':
      return {
        case: 'listServicesResponse',
        value: { service: services.map((name) => ({ name })) },
      };
    // None of the files has extensions: they are proto3.
    case 'fileContainingExtension':
      return failure('NOT_FOUND', 'Extension not found.');
    case 'allExtensionNumbersOfType': {
      const name = messageRequest.value;
      if (fileOf(name) === undefined) return failure('NOT_FOUND', 'Type not found.');
      return {
        case: 'allExtensionNumbersResponse',
        value: { baseTypeName: name, extensionNumber: [] },
      };
    }
    case undefined:
      return failure('INVALID_ARGUMENT', 'The request asks for nothing.');
  }
}

function failure(status: StatusError['status'], errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode: StatusCode[status], errorMessage } };
}

/** The file that defines a message, enum or service, or what is inside of one. */
function fileOf(symbol: string): string | undefined {
  fileBySymbol ??= new Map(
    describedFiles.flatMap(({ name, symbols }) => symbols.map((full) => [full, name])),
  );
  const found = fileBySymbol.get(symbol);
  if (found !== undefined) return found;
  // "tensorflow.serving.PredictionService.Predict", a field, a value of an enum.
  const dot = symbol.lastIndexOf('.');
  return dot < 0 ? undefined : fileBySymbol.get(symbol.slice(0, dot));
}

/** A file and all that it imports, so that one answer is enough. */
function filesFrom(name: string | undefined, notFound: string): Answer {
  if (name === undefined || !filesByName.has(name)) return failure('NOT_FOUND', notFound);
  const names = new Set([name]);
  for (const each of names) {
    for (const dependency of filesByName.get(each)?.dependencies ?? []) names.add(dependency);
  }
  return {
    case: 'fileDescriptorResponse',
    value: { fileDescriptorProto: [...names].map(encodedFile) },
  };
}

function encodedFile(name: string): Uint8Array {
  let bytes = encodedFiles.get(name);
  if (bytes === undefined) {
    bytes = Buffer.from(filesByName.get(name)?.base64 ?? '', 'base64');
    encodedFiles.set(name, bytes);
  }
  return bytes;
}
