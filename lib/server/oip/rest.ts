/** The Open Inference Protocol's REST API as routes for Fastify. */

import { Readable } from 'node:stream';

import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';

import {
  decodeInferRequest,
  type InferRequestBody,
  rawInferRequest,
} from '../../codec/oip/infer-request.js';
import { type EncodedResponse, encodeInferResponse } from '../../codec/oip/infer-response.js';
import {
  booleanParameter,
  integerParameter,
  type Parameters,
  parametersOf,
} from '../../codec/oip/parameters.js';
import type { RawCounts } from '../../codec/oip/raw.js';
import { show } from '../../codec/oip/raw.js';
import type { StatusName } from '../../codec/status.js';
import type { Tensor } from '../../index.js';
import { type Body, thenFree } from '../http-body.js';
import { HttpError } from '../http-status.js';
import type { ServingMetrics } from '../metrics.js';
import type { ModelSpec, ServedModel } from '../models.js';
import {
  allowAnyOrigin,
  answerPreflight,
  leaveBodies,
  RestCall,
  type RestCallLimits,
  RestCalls,
  sendJson,
} from '../rest-calls.js';
import { invalid, statusOf } from '../tfserving/errors.js';
import { letGo } from '../tfserving/let-go.js';
import { Turn } from '../turn.js';
import { compress, compressionFor } from './compression.js';
import { oipErrorBody, oipHttpStatus } from './errors.js';
import { configJson, indexJson, statisticsJson } from './rest-json.js';
import { type ControlTarget, type GetTarget, parseOipTarget } from './rest-target.js';
import type { InferResult, OpenInference, RequestedOutput, TensorMetadata } from './service.js';

export interface OpenInferenceRestOptions extends RestCallLimits {
  readonly service: OpenInference;
  readonly metrics?: ServingMetrics | undefined;
  /** What an inference may take, in milliseconds. 0: no limit. Default: 30000. */
  readonly timeoutMs?: number | undefined;
  /** Answers requests of pages of any origin. Default: false. */
  readonly cors?: boolean | undefined;
  /** The port's limits, where other APIs are served there, too. Default: those that are given here. */
  readonly calls?: RestCalls | undefined;
}

/**
 * `fastify.register(openInference, { service, prefix })`: the routes of the Open Inference Protocol
 * below `/v2`, below the prefix if there is one. Content types are ignored: the header
 * Inference-Header-Content-Length says whether a body has binary tensors. Errors are
 * `{"error":"<message>"}`.
 */
export const openInference: FastifyPluginCallback<OpenInferenceRestOptions> = (
  fastify,
  options,
  done,
) => {
  const front = new OpenInferenceFrontEnd(options, fastify.prefix);
  leaveBodies(fastify);
  fastify.setErrorHandler((error, _request, reply) => sendError(reply, error));
  for (const url of ['/v2', '/v2/*']) {
    fastify.all(url, (request, reply) => front.handle(request, reply));
  }
  done();
};

/** An inference, and what becomes known of it on its way. */
class Inference extends RestCall {
  readonly spec: ModelSpec;
  version: bigint | undefined;
  signature: string | undefined;

  constructor(spec: ModelSpec) {
    super();
    this.spec = spec;
  }
}

/** Up to here the parts of an answer are put together, which costs less than writing each. */
const joinedMaxBytes = 256 * 1024;
/** Bytes of a request that lists or loads models. */
const maxControlBytes = 1 << 20;

const headerLengthName = 'inference-header-content-length';
const allowedHeaders = 'Content-Type, Inference-Header-Content-Length';

interface Answer extends EncodedResponse {
  /** To be called once the answer is sent, or nobody waits for it any more. */
  readonly release: () => void;
}

class OpenInferenceFrontEnd {
  readonly #service: OpenInference;
  readonly #metrics: ServingMetrics | undefined;
  readonly #timeoutMs: number;
  readonly #cors: boolean;
  readonly #calls: RestCalls;
  readonly #prefixLength: number;
  readonly #turn = new Turn();

  constructor(options: OpenInferenceRestOptions, prefix: string) {
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
    const [path = '', query = ''] = (raw.url ?? '').slice(this.#prefixLength).split('?', 2);
    if (this.#cors) allowAnyOrigin(reply, allowedHeaders);
    try {
      if (method === 'OPTIONS') {
        answerPreflight(request, reply);
        return;
      }
      const target = parseOipTarget(method === 'HEAD' ? 'GET' : method, path);
      switch (target.kind) {
        case 'infer':
          this.#infer(request, reply, target.spec);
          break;
        case 'index':
        case 'load':
        case 'unload':
          this.#control(request, reply, target);
          break;
        case 'statistics':
          this.#statistics(reply, target.spec);
          break;
        default:
          this.#get(reply, target, query);
      }
    } catch (error) {
      if (error instanceof HttpError && error.httpStatus === 405) {
        void reply.header('allow', method === 'POST' ? 'GET, HEAD' : 'POST');
      }
      sendError(reply, error);
    }
  }

  #get(reply: FastifyReply, target: GetTarget, query: string): void {
    const service = this.#service;
    switch (target.kind) {
      case 'server':
        sendJson(reply, 200, JSON.stringify(service.serverMetadata()));
        break;
      case 'live':
        sendJson(reply, 200, '{"live":true}');
        break;
      case 'ready': {
        const ready = service.serverReady();
        sendJson(reply, ready ? 200 : 503, JSON.stringify({ ready }));
        break;
      }
      case 'modelReady': {
        const ready = service.modelReady(target.spec);
        sendJson(reply, ready ? 200 : 503, JSON.stringify({ name: target.spec.name, ready }));
        break;
      }
      case 'metadata': {
        const signatureName = new URLSearchParams(query).get('signature_name') ?? '';
        sendJson(reply, 200, JSON.stringify(service.modelMetadata(target.spec, signatureName)));
        break;
      }
      case 'config':
        sendJson(reply, 200, configJson(service.modelConfiguration(target.spec)));
        break;
    }
  }

  #statistics(reply: FastifyReply, spec: ModelSpec | undefined): void {
    this.#service.statistics(spec).then(
      (statistics) => sendJson(reply, 200, statisticsJson(statistics)),
      (error: unknown) => sendError(reply, error),
    );
  }

  /** What lists, loads and unloads models. */
  #control(request: FastifyRequest, reply: FastifyReply, target: ControlTarget): void {
    this.#calls.take(request, reply, new RestCall(), {
      deflate: true,
      onBody: ({ bytes }) => {
        this.#answerControl(target, bytes).then(
          (answer) => sendJson(reply, 200, answer),
          (error: unknown) => sendError(reply, error),
        );
      },
      onError: (error) => sendError(reply, error),
    });
  }

  async #answerControl(target: ControlTarget, bytes: Buffer): Promise<string> {
    const body = controlBody(bytes);
    const { ready = false } = body;
    switch (target.kind) {
      case 'index':
        if (typeof ready !== 'boolean') {
          throw invalid(`expected true or false as "ready", received ${show(ready)}`);
        }
        return indexJson(this.#service.repositoryIndex(ready));
      case 'load':
        await this.#service.loadModel(
          target.name,
          parametersOf(body['parameters'], ' of the request'),
        );
        return '{}';
      case 'unload':
        await this.#service.unloadModel(target.name);
        return '{}';
    }
  }

  #infer(request: FastifyRequest, reply: FastifyReply, spec: ModelSpec): void {
    const headerLength = headerLengthOf(request);
    const acceptEncoding = request.headers['accept-encoding'];
    const call = new Inference(spec);
    this.#calls.take(request, reply, call, {
      deflate: true,
      tensorsAt: headerLength,
      onBody: (body) => {
        this.#answer(call, body, headerLength).then(
          (answer) => this.#sendAnswer(reply, call, answer, acceptEncoding?.toString()),
          (error: unknown) => this.#sendFailure(reply, call, error),
        );
      },
      onError: (error) => this.#sendFailure(reply, call, error),
    });
  }

  async #answer(call: Inference, body: Body, headerLength: number | undefined): Promise<Answer> {
    const served = this.#service.acquire(call.spec);
    try {
      call.version = served.version;
      return await this.#run(served, call, body, headerLength);
    } finally {
      served.release();
    }
  }

  async #run(
    served: ServedModel,
    call: Inference,
    body: Body,
    headerLength: number | undefined,
  ): Promise<Answer> {
    const { bytes, isOwned } = body;
    const counts: RawCounts = { passed: 0, copied: 0 };
    const decoding =
      headerLength === 0
        ? rawInferRequest(bytes, this.#onlyInput(served), counts, { isOwned })
        : decodeInferRequest(bytes, headerLength, counts, { isOwned });
    // Tensors in binary stay where the body is.
    const reading = headerLength === undefined ? thenFree(body, decoding) : decoding;
    const request = reading instanceof Promise ? await reading : reading;
    const decoded = performance.now();
    let result: InferResult | undefined;
    let answer: Answer | undefined;
    try {
      const wanted = request.outputs.map(requestedOutput);
      const isBinary = binaryOutputs(request);
      result = await this.#service.infer(
        served,
        { parameters: request.parameters, feeds: request.feeds, outputs: wanted, api: 'REST' },
        call.context(this.#timeoutMs),
      );
      call.signature = result.signatureName;
      const { modelName, modelVersion, outputs } = result;
      const ran = performance.now();
      const encoding = encodeInferResponse({
        modelName,
        modelVersion,
        id: request.id,
        outputs: outputs.map((output) => ({ ...output, isBinary: isBinary(output.name) })),
      });
      const encoded = encoding instanceof Promise ? await encoding : encoding;
      this.#metrics?.codec?.({
        model: modelName,
        version: modelVersion,
        entrypoint: 'REST',
        inputMicros: (decoded - call.started) * 1000,
        outputMicros: (performance.now() - ran) * 1000,
        passedBytes: counts.passed,
        copiedBytes: counts.copied,
      });
      const release = (): void => {
        for (const { tensor } of outputs) letGo(tensor);
      };
      answer = { ...encoded, release };
      return answer;
    } finally {
      for (const name of Object.keys(request.feeds)) letGo(request.feeds[name] as Tensor);
      if (answer === undefined) for (const { tensor } of result?.outputs ?? []) letGo(tensor);
    }
  }

  /** The input that a body without JSON stands for. */
  #onlyInput(served: ServedModel): TensorMetadata {
    const inputs = this.#service.inputsOf(served);
    const [input] = inputs;
    if (input !== undefined && inputs.length === 1) return input;
    throw invalid(
      `expected JSON in a request for model ${served.name}, which has ${inputs.length} inputs, received none`,
    );
  }

  #sendAnswer(
    reply: FastifyReply,
    call: Inference,
    answer: Answer,
    acceptEncoding: string | undefined,
  ): void {
    const { json, binary, release } = answer;
    const jsonBytes = Buffer.byteLength(json);
    if (binary !== undefined) void reply.header(headerLengthName, String(jsonBytes));
    const parts = [json, ...(binary ?? [])];
    const length = parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
    const compression = compressionFor(acceptEncoding, length);
    if (compression !== undefined) {
      const whole = join(parts);
      release();
      compress(whole, compression).then(
        (compressed) => {
          void reply.header('content-encoding', compression);
          this.#send(reply, call, binary !== undefined, compressed);
        },
        (error: unknown) => this.#sendFailure(reply, call, error),
      );
      return;
    }
    this.#turn.atEnd(() => {
      if (binary === undefined) {
        release();
        this.#send(reply, call, false, json);
      } else if (length <= joinedMaxBytes) {
        const whole = join(parts);
        release();
        this.#send(reply, call, true, whole);
      } else {
        // The socket reads tensors where they are.
        reply.raw.once('close', release);
        void reply.header('content-length', length);
        const chunks = parts.map(bufferOf).filter((chunk) => chunk.length > 0);
        this.#send(reply, call, true, Readable.from(chunks, { objectMode: false }));
      }
    });
  }

  #send(
    reply: FastifyReply,
    call: Inference,
    isBinary: boolean,
    body: string | Buffer | Readable,
  ): void {
    if (typeof body === 'string' || (!isBinary && Buffer.isBuffer(body))) {
      sendJson(reply, 200, body);
    } else {
      const type = isBinary ? 'application/octet-stream' : 'application/json';
      void reply.code(200).header('content-type', type).send(body);
    }
    this.#onAnswered(reply, call, 'OK');
  }

  #sendFailure(reply: FastifyReply, call: Inference, error: unknown): void {
    const failure = statusOf(error);
    void reply.removeHeader(headerLengthName);
    sendError(reply, failure);
    this.#onAnswered(reply, call, failure.status);
  }

  #onAnswered(
    reply: FastifyReply,
    { spec, version, signature, started }: Inference,
    status: StatusName,
  ): void {
    this.#metrics?.request({
      model: spec.name,
      version,
      signature,
      method: 'ModelInfer',
      entrypoint: 'REST',
      status,
      micros: (performance.now() - started) * 1000,
    });
    this.#calls.limitSending(reply);
  }
}

/** Undefined where the whole body is JSON; 0 where none of it is. */
function headerLengthOf({ headers }: FastifyRequest): number | undefined {
  const text = headers[headerLengthName]?.toString();
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalid(
    `expected an integer of 0 or more as Inference-Header-Content-Length, received ${show(text)}`,
  );
}

function requestedOutput({
  name,
  parameters,
}: {
  name: string;
  parameters: Parameters;
}): RequestedOutput {
  const of = ` of output "${name}"`;
  return { name, classification: integerParameter(parameters, 'classification', of) };
}

/** Which outputs the request wants in binary. */
function binaryOutputs({ parameters, outputs }: InferRequestBody): (name: string) => boolean {
  const all = booleanParameter(parameters, 'binary_data_output') ?? false;
  const own = new Map(
    outputs.map(({ name, parameters: given }) => [
      name,
      booleanParameter(given, 'binary_data', ` of output "${name}"`),
    ]),
  );
  return (name) => own.get(name) ?? all;
}

/** An empty body is an empty object. */
function controlBody(bytes: Buffer): Readonly<Record<string, unknown>> {
  if (bytes.length === 0) return {};
  if (bytes.length > maxControlBytes) {
    throw new HttpError(
      413,
      'RESOURCE_EXHAUSTED',
      `The request body is larger than ${maxControlBytes} bytes`,
    );
  }
  let body: unknown;
  try {
    body = JSON.parse(bytes.toString());
  } catch (error) {
    throw invalid(`expected JSON as the body of the request: ${(error as Error).message}`);
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return body as Record<string, unknown>;
  }
  throw invalid('expected a JSON object as the request');
}

type Part = string | Uint8Array;

function bufferOf(part: Part): Buffer {
  return typeof part === 'string'
    ? Buffer.from(part)
    : Buffer.from(part.buffer, part.byteOffset, part.byteLength);
}

function join(parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map(bufferOf));
}

function sendError(reply: FastifyReply, error: unknown): void {
  const failure = statusOf(error);
  sendJson(reply, oipHttpStatus(failure), oipErrorBody(failure.message));
}
