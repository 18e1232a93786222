/** TensorFlow Serving's REST API as routes for Fastify. */

import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';

import { decodeExamples, decodePredict, encodePredict } from '../../codec/json.js';
import { type StatusName, StatusError } from '../../codec/status.js';
import type { DType, Signature, Tensor } from '../../index.js';
import { type Body, thenFree } from '../http-body.js';
import { errorBody, httpStatusOfError } from '../http-status.js';
import { expositionContentType } from '../metric-registry.js';
import type { ApiMethod, ServingMetrics } from '../metrics.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import {
  allowAnyOrigin,
  answerPreflight,
  leaveBodies,
  RestCall,
  type RestCallLimits,
  RestCalls,
  sendJson,
} from '../rest-calls.js';
import { Turn } from '../turn.js';
import { invalid, statusOf } from './errors.js';
import { letGo } from './let-go.js';
import { openApiDocument } from './openapi.js';
import type { OpenApiPart } from './openapi-parts.js';
import {
  classifyJson,
  listJson,
  metadataJson,
  readinessJson,
  regressJson,
  statusJson,
} from './rest-json.js';
import { malformed, parseTarget, type PostMethod, type RestTarget } from './rest-target.js';
import { defaultSignature, type TensorFlowServing } from './service.js';

export interface TensorFlowServingRestOptions extends RestCallLimits {
  readonly models: ModelDirectory;
  readonly service: TensorFlowServing;
  readonly metrics?: ServingMetrics | undefined;
  /** `--rest_api_timeout_in_ms`: what a predict, classify or regress may take. 0: no limit. Default: 30000. */
  readonly timeoutMs?: number | undefined;
  /** `--rest_api_enable_cors_support`. Default: false. */
  readonly cors?: boolean | undefined;
  /** The port's limits, where other APIs are served there, too. Default: those that are given here. */
  readonly calls?: RestCalls | undefined;
  /**
   * Whether the API's requests are answered once the `onRequest` hooks are through: what Fastify does
   * after them costs a small request a tenth of its time, and is nothing where no application has
   * hooks of its own. Default: false.
   */
  readonly answersEarly?: boolean | undefined;
  /** Adds `GET /healthz/live` and `GET /healthz/ready`. Default: true. */
  readonly health?: boolean | undefined;
  /** Adds `GET /openapi.json`. Default: true. */
  readonly openApi?: boolean | undefined;
  /** Other APIs under the same prefix, for that document. Default: none. */
  readonly otherApis?: readonly OpenApiPart[] | undefined;
  /** A page for Prometheus, by its path. */
  readonly metricsPage?:
    { readonly path: string; readonly render: () => string | Promise<string> } | undefined;
}

/**
 * `fastify.register(tensorflowServing, { models, service, prefix })`: the routes of TensorFlow
 * Serving's REST API below `/v1/`, with health, OpenAPI and metrics beside them, all below the
 * prefix if there is one. Content types are ignored: a body is JSON. Errors are
 * `{"error": "<message>"}`.
 */
export const tensorflowServing: FastifyPluginCallback<TensorFlowServingRestOptions> = (
  fastify,
  options,
  done,
) => {
  const front = new RestFrontEnd(options, fastify.prefix);
  leaveBodies(fastify);
  fastify.setErrorHandler((error, _request, reply) => sendError(reply, statusOf(error)));
  for (const url of ['/v1/*', '/V1/*']) {
    const handle = (request: FastifyRequest, reply: FastifyReply): void =>
      front.handle(request, reply);
    fastify.all(url, options.answersEarly === true ? { onRequest: handle } : {}, handle);
  }
  if (options.health !== false) {
    fastify.get('/healthz/live', (_request, reply) => {
      sendJson(reply, 200, Buffer.from('{"alive":true}'));
    });
    fastify.get('/healthz/ready', (_request, reply) => {
      const readiness = options.models.readiness();
      sendJson(reply, readiness.ready ? 200 : 503, readinessJson(readiness));
    });
  }
  if (options.openApi !== false) {
    fastify.get('/openapi.json', (_request, reply) => {
      sendJson(reply, 200, openApiDocument(options.models, fastify.prefix, options.otherApis));
    });
  }
  const page = options.metricsPage;
  if (page !== undefined) {
    fastify.get(page.path, async (_request, reply) => {
      const text = await page.render();
      return reply.header('content-type', expositionContentType).send(text);
    });
  }
  done();
};

const apiMethods: Readonly<Record<PostMethod, ApiMethod>> = {
  predict: 'Predict',
  classify: 'Classify',
  regress: 'Regress',
};

/** A predict, classify or regress, and what becomes known of it on its way. */
class Call extends RestCall {
  readonly target: PostTarget;
  version: bigint | undefined;
  signature: string | undefined;

  constructor(target: PostTarget) {
    super();
    this.target = target;
  }
}

type Answer = string | Buffer;

class RestFrontEnd {
  readonly #models: ModelDirectory;
  readonly #service: TensorFlowServing;
  readonly #metrics: ServingMetrics | undefined;
  readonly #timeoutMs: number;
  readonly #cors: boolean;
  readonly #calls: RestCalls;
  readonly #prefixLength: number;
  readonly #turn = new Turn();

  constructor(options: TensorFlowServingRestOptions, prefix: string) {
    this.#models = options.models;
    this.#service = options.service;
    this.#metrics = options.metrics;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#cors = options.cors ?? false;
    this.#calls = options.calls ?? new RestCalls(options, options.metrics);
    this.#prefixLength = prefix.length;
  }

  /** Always answers, and never throws. */
  handle(request: FastifyRequest, reply: FastifyReply): void {
    const { raw } = request;
    const method = raw.method ?? '';
    const url = (raw.url ?? '').slice(this.#prefixLength);
    if (this.#cors) allowAnyOrigin(reply, 'Content-Type');
    let target: RestTarget;
    try {
      if (method === 'OPTIONS') {
        answerPreflight(request, reply);
        return;
      }
      target = parseTarget(method === 'HEAD' ? 'GET' : method, url);
    } catch (error) {
      sendError(reply, method === 'HEAD' ? malformed(method, url) : statusOf(error));
      return;
    }
    if (method === 'POST') this.#post(request, reply, target as PostTarget);
    else this.#get(reply, target);
  }

  #get(reply: FastifyReply, target: RestTarget): void {
    if (target.kind === 'list') {
      sendJson(reply, 200, listJson(this.#models.list()));
      return;
    }
    const started = performance.now();
    const { kind } = target;
    const { spec } = target;
    let status: StatusName = 'OK';
    let version: bigint | undefined;
    try {
      let answer: Buffer;
      if (kind === 'metadata') {
        const metadata = this.#service.metadata(spec);
        ({ version } = metadata);
        answer = metadataJson(metadata);
      } else {
        const versions = this.#service.status(spec);
        version = spec.version ?? versions[0]?.version;
        answer = statusJson(versions);
      }
      sendJson(reply, 200, answer);
    } catch (error) {
      const failure = statusOf(error);
      ({ status } = failure);
      sendError(reply, failure);
    }
    this.#metrics?.request({
      model: spec.name,
      version,
      signature: undefined,
      method: kind === 'metadata' ? 'GetModelMetadata' : 'GetModelStatus',
      entrypoint: 'REST',
      status,
      micros: (performance.now() - started) * 1000,
    });
  }

  #post(request: FastifyRequest, reply: FastifyReply, target: PostTarget): void {
    const call = new Call(target);
    try {
      this.#calls.take(request, reply, call, {
        onBody: (body) => this.#onBody(reply, call, body),
        onError: (error) => this.#sendFailure(reply, call, error),
      });
    } catch (error) {
      sendError(reply, error as StatusError);
    }
  }

  #onBody(reply: FastifyReply, call: Call, body: Body): void {
    let answer: Answer | Promise<Answer>;
    try {
      answer = this.#answer(call, body);
    } catch (error) {
      this.#sendFailure(reply, call, error);
      return;
    }
    // A promise would put it off for nothing.
    if (answer instanceof Promise) {
      answer.then(
        (settled) => this.#sendAnswer(reply, call, settled),
        (error: unknown) => this.#sendFailure(reply, call, error),
      );
    } else {
      this.#sendAnswer(reply, call, answer);
    }
  }

  #sendAnswer(reply: FastifyReply, call: Call, answer: Answer): void {
    this.#turn.atEnd(() => {
      void reply.header('model-version', String(call.version));
      sendJson(reply, 200, answer);
      this.#onAnswered(reply, call, 'OK');
    });
  }

  #sendFailure(reply: FastifyReply, call: Call, error: unknown): void {
    const failure = statusOf(error);
    sendError(reply, failure);
    this.#onAnswered(reply, call, failure.status);
  }

  /** The answer to a predict, classify or regress has been handed over. */
  #onAnswered(
    reply: FastifyReply,
    { target, version, signature, started }: Call,
    status: StatusName,
  ): void {
    this.#metrics?.request({
      model: target.spec.name,
      version,
      signature,
      method: apiMethods[target.kind],
      entrypoint: 'REST',
      status,
      micros: (performance.now() - started) * 1000,
    });
    this.#calls.limitSending(reply);
  }

  #answer(call: Call, body: Body): Answer | Promise<Answer> {
    const { kind, spec } = call.target;
    const served = this.#models.acquire(spec);
    call.version = served.version;
    let answer: Answer | Promise<Answer> | undefined;
    try {
      if (kind === 'predict') answer = this.#service.predictJson(served, body.bytes);
    } catch (error) {
      served.release();
      throw error;
    }
    if (answer === undefined) return this.#answerLater(served, call, body);
    call.signature = defaultSignature;
    served.release();
    return answer;
  }

  async #answerLater(served: ServedModel, call: Call, body: Body): Promise<Answer> {
    try {
      const { kind } = call.target;
      if (kind === 'predict') return await this.#predict(served, call, body);
      const examples = await thenFree(body, decodeExamples(body.bytes));
      const context = call.context(this.#timeoutMs);
      if (kind === 'classify') {
        const result = await this.#service.classify(served, examples, context);
        call.signature = result.signatureName;
        return classifyJson(result.classifications);
      }
      const result = await this.#service.regress(served, examples, context);
      call.signature = result.signatureName;
      return regressJson(result.values);
    } finally {
      served.release();
    }
  }

  async #predict(served: ServedModel, call: Call, body: Body): Promise<Answer> {
    const decoding = thenFree(
      body,
      decodePredict(body.bytes, (signature) => inputsOf(served, signature)),
    );
    const { signatureName, format, feeds } =
      decoding instanceof Promise ? await decoding : decoding;
    let outputs: readonly { readonly name: string; readonly tensor: Tensor }[] = [];
    try {
      const result = await this.#service.predict(
        served,
        { signatureName, feeds, api: 'REST' },
        call.context(this.#timeoutMs),
      );
      ({ outputs } = result);
      call.signature = result.signatureName;
      const answer = encodePredict(format, outputs);
      return answer instanceof Promise ? await answer : answer;
    } finally {
      for (const name of Object.keys(feeds)) letGo(feeds[name] as Tensor);
      for (const { tensor } of outputs) letGo(tensor);
    }
  }
}

type PostTarget = Extract<RestTarget, { readonly kind: PostMethod }>;

interface InputType {
  readonly name: string;
  readonly dtype: DType;
}

const inputTypes = new WeakMap<Signature, readonly InputType[]>();

function inputsOf({ model }: ServedModel, name: string): readonly InputType[] {
  const signature = Object.hasOwn(model.signatures, name) ? model.signatures[name] : undefined;
  if (signature === undefined) {
    throw invalid(`Serving signature name: "${name}" not found in signature def`);
  }
  let inputs = inputTypes.get(signature);
  if (inputs === undefined) {
    inputs = Object.values(signature.inputs).map((spec) => {
      if (spec.kind === 'tensor') return { name: spec.name, dtype: spec.dtype };
      const message = `Input "${spec.name}" is of kind ${spec.kind}, no tensor`;
      throw new StatusError('UNIMPLEMENTED', message);
    });
    inputTypes.set(signature, inputs);
  }
  if (inputs.length === 0) throw invalid(`Failed to get input map for signature: ${name}`);
  return inputs;
}

function sendError(reply: FastifyReply, error: StatusError): void {
  sendJson(reply, httpStatusOfError(error), errorBody(error.message));
}
