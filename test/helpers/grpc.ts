/** A gRPC client of all of the server's services, made by grpc-js from the protos in test/fixtures. */

import {
  type ChannelCredentials,
  type ChannelOptions,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
  status as statusNumbers,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { fixture } from './paths.js';

const definition = loadPackageDefinition(
  loadSync(
    [
      'tensorflow_serving/apis/prediction_service.proto',
      'tensorflow_serving/apis/model_service.proto',
      'inference/grpc_service.proto',
      'grpc/health/v1/health.proto',
      'grpc/reflection/v1/reflection.proto',
    ],
    {
      includeDirs: [fixture('protos')],
      longs: String,
      enums: String,
      oneofs: true,
      keepCase: true,
    },
  ),
);

/** A message as protobufjs has it: integers of 64 bits as strings, enums by name. */
export type Message = Record<string, unknown>;

export interface CallOptions {
  deadline?: Date;
  metadata?: Record<string, string>;
}

interface Stub {
  close(): void;
  [method: string]: (...args: unknown[]) => unknown;
}

export interface Failure {
  code: string;
  details: string;
}

/** One connection to a server, for all of its services. */
export class GrpcClient {
  readonly #address: string;
  readonly #credentials: ChannelCredentials;
  readonly #options: ChannelOptions;
  readonly #stubs = new Map<string, Stub>();

  constructor(
    address: string,
    channelCredentials = credentials.createInsecure(),
    options: ChannelOptions = {},
  ) {
    this.#address = address;
    this.#credentials = channelCredentials;
    this.#options = { 'grpc.max_receive_message_length': -1, ...options };
  }

  /** @param method "tensorflow.serving.PredictionService/Predict" */
  call(method: string, request: Message, options: CallOptions = {}): Promise<Message> {
    return this.start(method, request, options).answer;
  }

  start(
    method: string,
    request: Message,
    { deadline, metadata = {} }: CallOptions = {},
  ): { answer: Promise<Message>; cancel: () => void } {
    const [service = '', name = ''] = method.split('/');
    const stub = this.#stub(service);
    const headers = Metadata.fromHttp2Headers(metadata);
    let cancel = (): void => undefined;
    const answer = new Promise<Message>((resolve, reject) => {
      const call = stub[name]?.(
        request,
        headers,
        deadline === undefined ? {} : { deadline },
        (error: ServiceError | null, response: Message) => {
          if (error === null) resolve(response);
          else reject(error);
        },
      ) as { cancel(): void };
      cancel = () => call.cancel();
    });
    return { answer, cancel };
  }

  predict(request: Message, options?: CallOptions): Promise<Message> {
    return this.call('tensorflow.serving.PredictionService/Predict', request, options);
  }

  /** @param method "ModelInfer" */
  inference(method: string, request: Message = {}, options?: CallOptions): Promise<Message> {
    return this.call(`inference.GRPCInferenceService/${method}`, request, options);
  }

  inferStream(): ClientDuplexStream<Message, Message> {
    return this.#stub('inference.GRPCInferenceService')[
      'ModelStreamInfer'
    ]?.() as ClientDuplexStream<Message, Message>;
  }

  watch(service: string): ClientReadableStream<Message> {
    return this.#stub('grpc.health.v1.Health')['Watch']?.({
      service,
    }) as ClientReadableStream<Message>;
  }

  reflect(): ClientDuplexStream<Message, Message> {
    return this.#stub('grpc.reflection.v1.ServerReflection')[
      'ServerReflectionInfo'
    ]?.() as ClientDuplexStream<Message, Message>;
  }

  close(): void {
    for (const stub of this.#stubs.values()) stub.close();
  }

  #stub(service: string): Stub {
    let stub = this.#stubs.get(service);
    if (stub === undefined) {
      let part: unknown = definition;
      for (const name of service.split('.')) part = (part as Record<string, unknown>)[name];
      const Client = part as new (...args: unknown[]) => Stub;
      stub = new Client(this.#address, this.#credentials, this.#options);
      this.#stubs.set(service, stub);
    }
    return stub;
  }
}

/** The status that a call ends with. */
export async function failureOf(call: Promise<unknown>): Promise<Failure> {
  try {
    await call;
  } catch (error) {
    const { code, details } = error as ServiceError;
    return { code: statusNumbers[code], details };
  }
  throw new Error('expected the call to fail');
}
