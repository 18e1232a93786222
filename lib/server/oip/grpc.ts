/** inference.GRPCInferenceService: the Open Inference Protocol over gRPC, with Triton's extensions. */

import type { InferRequestedOutput } from '../../codec/oip/infer-request.js';
import {
  integerParameter,
  type Parameters,
  type ParameterValue,
} from '../../codec/oip/parameters.js';
import { decoded, decodeOptions } from '../../codec/proto/malformed.js';
import {
  decodeInferTensors,
  decodeModelInferRequestHead,
  encodeModelInferResponse,
  encodeModelStreamInferResponse,
  type InferInput,
  isRaw,
  rawContentsAt,
} from '../../codec/proto/index.js';
import type { RawCounts } from '../../codec/oip/raw.js';
import { StatusError } from '../../codec/status.js';
import { Tensor } from '../../index.js';
import type { MessageType } from '../../protobuf/message.js';
import {
  DataType,
  InferStatistics,
  ModelConfig,
  ModelConfigRequest,
  ModelConfigResponse,
  ModelDynamicBatching,
  ModelInput,
  ModelMetadataRequest,
  ModelMetadataResponse,
  ModelOutput,
  ModelReadyRequest,
  ModelReadyResponse,
  type ModelRepositoryParameter,
  ModelStatistics,
  ModelStatisticsRequest,
  ModelStatisticsResponse,
  RepositoryIndexRequest,
  RepositoryIndexResponse,
  RepositoryModelLoadRequest,
  RepositoryModelLoadResponse,
  RepositoryModelUnloadRequest,
  RepositoryModelUnloadResponse,
  ServerLiveRequest,
  ServerLiveResponse,
  ServerMetadataRequest,
  ServerMetadataResponse,
  ServerReadyRequest,
  ServerReadyResponse,
  type StatisticDuration,
} from '../../protobuf/open-inference.js';
import { counted, type Outcome } from '../grpc/counted.js';
import type { GrpcMethod, StreamCall, StreamListener, UnaryHandler } from '../grpc/transport.js';
import type { ServingMetrics } from '../metrics.js';
import { invalid, statusOf } from '../tfserving/errors.js';
import { letGo } from '../tfserving/let-go.js';
import { modelSpec } from './model-spec.js';
import type {
  CallContext,
  Duration,
  ModelConfiguration,
  NamedTensor,
  OpenInference,
  RequestedOutput,
  TensorMetadata,
  VersionStatistics,
} from './service.js';

export const inferenceService = 'inference.GRPCInferenceService';

export interface OpenInferenceGrpcOptions {
  readonly service: OpenInference;
  /** Of ModelInfer and the messages of ModelStreamInfer; the other calls run no model. */
  readonly metrics?: ServingMetrics | undefined;
}

/** The service's calls, for a transport. */
export function openInferenceMethods({
  service,
  metrics,
}: OpenInferenceGrpcOptions): [string, GrpcMethod][] {
  const infer = counted(metrics, 'ModelInfer', (...call) =>
    modelInfer({ service, metrics }, ...call),
  );
  const methods: Record<string, GrpcMethod> = {
    ModelInfer: { unary: infer, tensorsAt: rawContentsAt },
    ModelStreamInfer: { stream: (call) => new InferStream(call, infer), tensorsAt: rawContentsAt },
    ServerLive: unary(ServerLiveRequest, ServerLiveResponse, () => ({ live: true })),
    ServerReady: unary(ServerReadyRequest, ServerReadyResponse, () => ({
      ready: service.serverReady(),
    })),
    ServerMetadata: unary(ServerMetadataRequest, ServerMetadataResponse, () => {
      const { name, version, extensions } = service.serverMetadata();
      return { name, version, extensions: [...extensions] };
    }),
    ModelReady: unary(ModelReadyRequest, ModelReadyResponse, ({ name, version }) => ({
      ready: service.modelReady(modelSpec(name, version)),
    })),
    ModelMetadata: unary(ModelMetadataRequest, ModelMetadataResponse, ({ name, version }) => {
      const metadata = service.modelMetadata(modelSpec(name, version));
      return {
        name: metadata.name,
        versions: [...metadata.versions],
        platform: metadata.platform,
        inputs: metadata.inputs.map(tensorMetadata),
        outputs: metadata.outputs.map(tensorMetadata),
      };
    }),
    ModelConfig: unary(ModelConfigRequest, ModelConfigResponse, ({ name, version }) => ({
      config: modelConfig(service.modelConfiguration(modelSpec(name, version))),
    })),
    ModelStatistics: unary(
      ModelStatisticsRequest,
      ModelStatisticsResponse,
      async ({ name, version }) => {
        const spec = name === '' ? undefined : modelSpec(name, version);
        return { modelStats: (await service.statistics(spec)).map(modelStatistics) };
      },
    ),
    RepositoryIndex: unary(RepositoryIndexRequest, RepositoryIndexResponse, (request) => {
      onlyRepository(request.repositoryName);
      const models = service.repositoryIndex(request.ready);
      return { models: models.map(({ version = '', ...entry }) => ({ ...entry, version })) };
    }),
    RepositoryModelLoad: unary(
      RepositoryModelLoadRequest,
      RepositoryModelLoadResponse,
      async (request) => {
        const modelName = modelNamed(request);
        await service.loadModel(modelName, repositoryParameters(request.parameters));
        return { modelName, isLoaded: true };
      },
    ),
    RepositoryModelUnload: unary(
      RepositoryModelUnloadRequest,
      RepositoryModelUnloadResponse,
      async (request) => {
        const modelName = modelNamed(request);
        await service.unloadModel(modelName);
        return { modelName, isUnloaded: true };
      },
    ),
  };
  return Object.entries(methods).map(([name, method]) => [`/${inferenceService}/${name}`, method]);
}

/** A call whose messages go through the field tables. */
function unary<Request extends object, Response extends object>(
  request: MessageType<Request>,
  response: MessageType<Response>,
  handle: (request: Request) => Partial<Response> | Promise<Partial<Response>>,
): GrpcMethod {
  const handler: UnaryHandler = async (bytes) => {
    try {
      const message = decoded(() => request.decode(bytes, decodeOptions));
      return response.encode(await handle(message));
    } catch (error) {
      throw statusOf(error);
    }
  };
  return { unary: handler };
}

async function modelInfer(
  { service, metrics }: OpenInferenceGrpcOptions,
  request: Buffer,
  context: CallContext,
  outcome: Outcome,
): Promise<Uint8Array> {
  const started = performance.now();
  const head = decodeModelInferRequestHead(request);
  outcome.model = head.modelName;
  const served = service.acquire(modelSpec(head.modelName, head.modelVersion));
  let tensors: readonly Tensor[] = [];
  let outputs: readonly NamedTensor[] = [];
  try {
    outcome.version = served.version;
    const wanted = head.outputs.map(requestedOutput);
    // What is not of Tenon's own is copied on its way to the engine.
    const isOwned = isRaw(head) && Tensor.isOwned(request);
    const counts: RawCounts = { passed: 0, copied: 0 };
    tensors = decodeInferTensors(head, counts, { isOwned });
    const feeds = feedsOf(head.inputs, tensors);
    const { parameters } = head;
    const decodedAt = performance.now();
    const result = await service.infer(
      served,
      { parameters, feeds, outputs: wanted, api: 'GRPC' },
      context,
    );
    ({ outputs } = result);
    outcome.signature = result.signatureName;
    const ranAt = performance.now();
    const { modelName, modelVersion } = result;
    const answer = encodeModelInferResponse(
      { modelName, modelVersion: String(modelVersion), id: head.id, outputs },
      isRaw(head),
    );
    metrics?.codec?.({
      model: modelName,
      version: modelVersion,
      entrypoint: 'GRPC',
      inputMicros: (decodedAt - started) * 1000,
      outputMicros: (performance.now() - ranAt) * 1000,
      passedBytes: counts.passed,
      copiedBytes: counts.copied,
    });
    return answer;
  } catch (error) {
    throw timeoutExpired(error, context, performance.now() - started) ?? error;
  } finally {
    for (const tensor of tensors) letGo(tensor);
    for (const { tensor } of outputs) letGo(tensor);
    served.release();
  }
}

/**
 * The time that a request gives itself by its parameter has run out: that is no deadline of gRPC's,
 * and the protocol has it as UNAVAILABLE.
 */
function timeoutExpired(
  error: unknown,
  { timeoutMs = Infinity }: CallContext,
  elapsedMs: number,
): StatusError | undefined {
  if (!(error instanceof StatusError) || error.status !== 'DEADLINE_EXCEEDED') return undefined;
  if (elapsedMs >= timeoutMs) return undefined;
  return new StatusError('UNAVAILABLE', 'Request timeout expired', { cause: error });
}

function requestedOutput({ name, parameters }: InferRequestedOutput): RequestedOutput {
  return {
    name,
    classification: integerParameter(parameters, 'classification', ` of output "${name}"`),
  };
}

function feedsOf(
  inputs: readonly InferInput[],
  tensors: readonly Tensor[],
): Readonly<Record<string, Tensor>> {
  // A name is a client's choice: "__proto__" is one.
  const feeds = Object.create(null) as Record<string, Tensor>;
  for (const [index, { name }] of inputs.entries()) {
    if (name in feeds) throw invalid(`expected input "${name}" once, received it twice`);
    feeds[name] = tensors[index] as Tensor;
  }
  return feeds;
}

function tensorMetadata({ name, datatype, shape }: TensorMetadata): {
  name: string;
  datatype: string;
  shape: bigint[];
} {
  return { name, datatype, shape: shape.map(BigInt) };
}

function modelConfig(configuration: ModelConfiguration): ModelConfig {
  const { name, platform, backend, maxBatchSize, inputs, outputs } = configuration;
  return ModelConfig.create({
    name,
    platform,
    backend,
    maxBatchSize,
    input: inputs.map((input) => ModelInput.create(configTensor(input))),
    output: outputs.map((output) => ModelOutput.create(configTensor(output))),
    schedulingChoice:
      maxBatchSize > 0
        ? { case: 'dynamicBatching', value: ModelDynamicBatching.create() }
        : undefined,
  });
}

function configTensor({ name, datatype, shape }: TensorMetadata): {
  name: string;
  dataType: number;
  dims: bigint[];
} {
  const type = datatype === 'BYTES' ? 'STRING' : datatype;
  return { name, dataType: DataType[`TYPE_${type}`], dims: shape.map(BigInt) };
}

function modelStatistics(statistics: VersionStatistics): ModelStatistics {
  return ModelStatistics.create({
    name: statistics.name,
    version: statistics.version,
    lastInference: whole(statistics.lastInference),
    inferenceCount: whole(statistics.inferenceCount),
    executionCount: whole(statistics.executionCount),
    inferenceStats: InferStatistics.create({
      success: duration(statistics.success),
      fail: duration(statistics.fail),
      queue: duration(statistics.queue),
      computeInput: duration(statistics.computeInput),
      computeInfer: duration(statistics.computeInfer),
      computeOutput: duration(statistics.computeOutput),
    }),
  });
}

function duration({ count, ns }: Duration): StatisticDuration {
  return { count: whole(count), ns: whole(ns) };
}

function whole(value: number): bigint {
  return BigInt(Math.round(value));
}

/** KServe's message has the model's name where Triton's has the repository's. */
function modelNamed({
  repositoryName,
  modelName,
}: Readonly<{ repositoryName: string; modelName: string }>): string {
  if (modelName !== '') {
    onlyRepository(repositoryName);
    return modelName;
  }
  if (repositoryName === '') throw invalid('expected the name of a model, received none');
  return repositoryName;
}

function onlyRepository(name: string): void {
  if (name === '') return;
  throw new StatusError(
    'UNIMPLEMENTED',
    `expected no "repository_name", because the server has one repository, received "${name}"`,
  );
}

function repositoryParameters(parameters: Map<string, ModelRepositoryParameter>): Parameters {
  const values = new Map<string, ParameterValue>();
  for (const [name, { parameterChoice: choice }] of parameters) {
    // What is in a file is of no interest: none is taken.
    values.set(name, choice === undefined || choice.case === 'bytesParam' ? '' : choice.value);
  }
  return values;
}

/**
 * ModelStreamInfer: each message is answered before the next is read, and a request that fails is
 * answered with its error, so that the stream goes on.
 */
class InferStream implements StreamListener {
  readonly #call: StreamCall;
  readonly #infer: UnaryHandler;
  /** Those that came with the one that is being answered. */
  readonly #waiting: Buffer[] = [];
  #isBusy = false;
  #isLast = false;

  constructor(call: StreamCall, infer: UnaryHandler) {
    this.#call = call;
    this.#infer = infer;
  }

  onMessage(message: Buffer): void {
    this.#waiting.push(message);
    if (!this.#isBusy) void this.#answerWaiting();
  }

  onHalfClose(): void {
    this.#isLast = true;
    if (!this.#isBusy) this.#call.end();
  }

  onDrain(): void {
    // Nothing waits to be sent.
  }

  onClose(): void {
    this.#waiting.length = 0;
  }

  /** What has come is answered. */
  onShutdown(): void {
    this.onHalfClose();
  }

  async #answerWaiting(): Promise<void> {
    this.#isBusy = true;
    this.#call.pause();
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      let answer: Uint8Array;
      try {
        answer = encodeModelStreamInferResponse({
          inferResponse: await this.#infer(next, this.#call),
        });
      } catch (error) {
        answer = encodeModelStreamInferResponse({ errorMessage: statusOf(error).message });
      }
      this.#call.send(answer);
    }
    this.#isBusy = false;
    this.#call.resume();
    if (this.#isLast) this.#call.end();
  }
}
