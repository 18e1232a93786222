/** The gRPC server, and TensorFlow Serving's services: PredictionService and ModelService. */

import type { Socket } from 'node:net';

import {
  type ClassificationAnswer,
  decodeClassificationRequest,
  decodeGetModelMetadataRequest,
  decodeGetModelStatusRequest,
  decodeMultiInferenceRequest,
  decodePredictRequestHead,
  decodeRegressionRequest,
  decodeReloadConfigRequest,
  decodeTensors,
  encodeClassificationResponse,
  encodeGetModelMetadataResponse,
  encodeGetModelStatusResponse,
  encodeMultiInferenceResponse,
  encodePredictResponse,
  encodeRegressionResponse,
  encodeReloadConfigResponse,
  type ExamplesRequest,
  type RegressionAnswer,
  type RequestModelSpec,
} from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import type { Tensor } from '../../index.js';
import { modelServerConfigOf } from '../config/model-config-message.js';
import type { ModelServerConfig } from '../config/model-config.js';
import { counted, type Handler, type Outcome } from '../grpc/counted.js';
import { Health } from '../grpc/health.js';
import { reflectionMethods } from '../grpc/reflection.js';
import { type GrpcMethod, GrpcTransport, type GrpcTransportOptions } from '../grpc/transport.js';
import type { ApiMethod, ServingMetrics } from '../metrics.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import { inferenceService, openInferenceMethods } from '../oip/grpc.js';
import type { OpenInference } from '../oip/service.js';
import { invalid } from './errors.js';
import { letGo } from './let-go.js';
import type { CallContext, PredictResult, TensorFlowServing } from './service.js';

export interface GrpcServerOptions extends Omit<GrpcTransportOptions, 'methods' | 'onRefused'> {
  readonly models: ModelDirectory;
  readonly service: TensorFlowServing<ModelServerConfig>;
  /** inference.GRPCInferenceService. Default: the server does not have it. */
  readonly openInference?: OpenInference | undefined;
  readonly metrics?: ServingMetrics | undefined;
  /**
   * Answers of Predict hold `tensor_content` in place of the typed fields that clients usually read.
   * Default: false.
   */
  readonly tensorContent?: boolean | undefined;
  /** grpc.health.v1.Health. Default: true. */
  readonly health?: boolean | undefined;
  /** grpc.reflection.v1 and v1alpha. Default: true. */
  readonly reflection?: boolean | undefined;
  /**
   * Bytes that the tensors of a request may take beyond what is in it, see `decodeTensors`.
   * Default: 64 MiB.
   */
  readonly maxFillBytes?: number | undefined;
}

const predictionService = 'tensorflow.serving.PredictionService';
const modelService = 'tensorflow.serving.ModelService';

/** Makes a server that does not listen yet: give it an address, or connections accepted elsewhere. */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  return new GrpcServer(options);
}

/** Belongs to one JavaScript thread, as the models do. */
export class GrpcServer {
  readonly #transport: GrpcTransport;
  readonly #health: Health;

  /** Servers are made by `createGrpcServer()`. */
  constructor(options: GrpcServerOptions) {
    const { models, metrics, openInference, health = true, reflection = true } = options;
    const front = new GrpcFrontEnd(options);
    const services = [predictionService, modelService];
    const methods: [string, GrpcMethod][] = front.methods();
    if (openInference !== undefined) {
      services.push(inferenceService);
      methods.push(...openInferenceMethods({ service: openInference, metrics }));
    }
    this.#health = new Health(() => models.readiness().ready, services);
    if (health) {
      services.push('grpc.health.v1.Health');
      methods.push(...this.#health.methods());
    }
    if (reflection) {
      services.push(
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      );
      methods.push(...reflectionMethods(services));
    }
    this.#transport = new GrpcTransport({
      ...options,
      methods: new Map(methods),
      onRefused: (limit) => metrics?.refused('GRPC', limit),
    });
  }

  /**
   * Listens on a port (0: any free one) of `host`, or on the unix socket `path`.
   *
   * @returns The port. @throws Node's error, where the address cannot be had.
   */
  listen(where: { host?: string; port?: number; path?: string }): Promise<number | undefined> {
    return this.#transport.listen(where);
  }

  /** Serves a connection that was accepted elsewhere; nothing has been read from it. */
  accept(socket: Socket): void {
    this.#transport.accept(socket);
  }

  /** To be called when the state of the models has changed: whoever watches the health is told. */
  onModelsChanged(): void {
    this.#health.update();
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#transport.connections;
  }

  /**
   * Not healthy from here on. Resolves when the calls under way, and those that clients begin before
   * they learn of it, have been answered and all connections are closed; after `timeoutMs` they are
   * cut off.
   *
   * @returns How many connections were cut off.
   */
  drain(timeoutMs: number): Promise<number> {
    this.#health.stop();
    return this.#transport.drain(timeoutMs);
  }
}

class GrpcFrontEnd {
  readonly #options: GrpcServerOptions;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
  }

  methods(): [string, GrpcMethod][] {
    const { metrics } = this.#options;
    const prediction = (method: ApiMethod, handle: Handler): [string, GrpcMethod] => [
      `/${predictionService}/${method}`,
      { unary: counted(metrics, method, handle) },
    ];
    const model = (method: ApiMethod, handle: Handler): [string, GrpcMethod] => [
      `/${modelService}/${method}`,
      { unary: counted(metrics, method, handle) },
    ];
    return [
      prediction('Predict', (...call) => this.#predict(...call)),
      prediction('Classify', (...call) => this.#classify(...call)),
      prediction('Regress', (...call) => this.#regress(...call)),
      prediction('MultiInference', (...call) => this.#multiInference(...call)),
      prediction('GetModelMetadata', (...call) => this.#metadata(...call)),
      model('GetModelStatus', (...call) => this.#status(...call)),
      model('HandleReloadConfigRequest', (request) => this.#reload(request)),
    ];
  }

  #predict(
    request: Buffer,
    context: CallContext,
    outcome: Outcome,
  ): Uint8Array | Promise<Uint8Array> {
    const { models, service, maxFillBytes } = this.#options;
    const head = decodePredictRequestHead(request);
    const spec = named(head.modelSpec, outcome);
    const served = models.acquire(spec);
    let feeds: Record<string, Tensor> = {};
    const letGoOfAll = (): void => {
      for (const name of Object.keys(feeds)) letGo(feeds[name] as Tensor);
      served.release();
    };
    let answer: Uint8Array | Promise<Uint8Array>;
    try {
      outcome.version = served.version;
      feeds = decodeTensors(head.tensorProtos, maxFillBytes === undefined ? {} : { maxFillBytes });
      const { signatureName } = spec;
      const { outputFilter } = head;
      const result = service.predict(
        served,
        { signatureName, feeds, outputFilter, api: 'GRPC' },
        context,
      );
      answer =
        result instanceof Promise
          ? result.then((settled) => this.#answerPredict(served, settled, outcome))
          : this.#answerPredict(served, result, outcome);
    } catch (error) {
      letGoOfAll();
      throw error;
    }
    if (answer instanceof Promise) return answer.finally(letGoOfAll);
    letGoOfAll();
    return answer;
  }

  #answerPredict(
    { name }: ServedModel,
    { signatureName, version, outputs }: PredictResult,
    outcome: Outcome,
  ): Uint8Array {
    outcome.signature = signatureName;
    try {
      return encodePredictResponse(
        { modelSpec: { name, version, signatureName }, outputs },
        { tensorContent: this.#options.tensorContent ?? false },
      );
    } finally {
      for (const { tensor } of outputs) letGo(tensor);
    }
  }

  async #classify(request: Buffer, context: CallContext, outcome: Outcome): Promise<Uint8Array> {
    const { models, service } = this.#options;
    const { modelSpec, examples } = decodeClassificationRequest(request);
    const served = models.acquire(named(modelSpec, outcome));
    try {
      outcome.version = served.version;
      const signature = (modelSpec as RequestModelSpec).signatureName;
      const result = await service.classify(
        served,
        { signatureName: signature, examples },
        context,
      );
      const { signatureName, version, classifications } = result;
      outcome.signature = signatureName;
      return encodeClassificationResponse({
        modelSpec: { name: served.name, version, signatureName },
        classifications,
      });
    } finally {
      served.release();
    }
  }

  async #regress(request: Buffer, context: CallContext, outcome: Outcome): Promise<Uint8Array> {
    const { models, service } = this.#options;
    const { modelSpec, examples }: ExamplesRequest = decodeRegressionRequest(request);
    const served = models.acquire(named(modelSpec, outcome));
    try {
      outcome.version = served.version;
      const signature = (modelSpec as RequestModelSpec).signatureName;
      const result = await service.regress(served, { signatureName: signature, examples }, context);
      const { signatureName, version, values } = result;
      outcome.signature = signatureName;
      return encodeRegressionResponse({
        modelSpec: { name: served.name, version, signatureName },
        values,
      });
    } finally {
      served.release();
    }
  }

  async #multiInference(
    request: Buffer,
    context: CallContext,
    outcome: Outcome,
  ): Promise<Uint8Array> {
    const { tasks, examples } = decodeMultiInferenceRequest(request);
    outcome.model = tasks[0]?.modelSpec?.name ?? '';
    const results = await this.#options.service.multiInference(
      tasks.map(({ modelSpec, methodName }) => ({ modelSpec: modelSpec ?? noModel, methodName })),
      examples,
      context,
    );
    outcome.version = results[0]?.version;
    return encodeMultiInferenceResponse(
      results.map((result): ClassificationAnswer | RegressionAnswer => {
        const { name, version, signatureName } = result;
        const modelSpec = { name, version, signatureName };
        return result.kind === 'classify'
          ? { modelSpec, classifications: result.classifications }
          : { modelSpec, values: result.values };
      }),
    );
  }

  #metadata(request: Buffer, _context: CallContext, outcome: Outcome): Uint8Array {
    const { modelSpec, metadataFields } = decodeGetModelMetadataRequest(request);
    if (modelSpec === undefined) throw invalid('Missing ModelSpec');
    if (metadataFields.length === 0) {
      throw invalid('GetModelMetadataRequest must specify at least one metadata_field');
    }
    const unknown = metadataFields.find((field) => field !== 'signature_def');
    if (unknown !== undefined) throw invalid(`Metadata field ${unknown} is not supported`);
    const { name, version, signatureDefs } = this.#options.service.metadata(
      named(modelSpec, outcome),
    );
    outcome.version = version;
    return encodeGetModelMetadataResponse({ modelSpec: { name, version }, signatureDefs });
  }

  #status(request: Buffer, _context: CallContext, outcome: Outcome): Uint8Array {
    const { modelSpec } = decodeGetModelStatusRequest(request);
    const spec = named(modelSpec, outcome);
    const versions = this.#options.service.status(spec);
    outcome.version = spec.version ?? versions[0]?.version;
    return encodeGetModelStatusResponse(versions);
  }

  async #reload(request: Buffer): Promise<Uint8Array> {
    const { config } = decodeReloadConfigRequest(request);
    const choice = config?.config;
    if (choice?.case !== 'modelConfigList') {
      throw invalid(
        'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported',
      );
    }
    await this.#options.service.reload(modelServerConfigOf(choice.value));
    return encodeReloadConfigResponse();
  }
}

const noModel: RequestModelSpec = {
  name: '',
  version: undefined,
  label: undefined,
  signatureName: '',
};

/** The spec of a request, which has to name a model. */
function named(spec: RequestModelSpec | undefined, outcome: Outcome): RequestModelSpec {
  if (spec === undefined) throw new StatusError('INVALID_ARGUMENT', 'Missing ModelSpec');
  if (spec.name === '') throw invalid('ModelSpec has no name specified.');
  outcome.model = spec.name;
  return spec;
}
