/** Where recorded requests are sent: a server, by REST or gRPC, or a model of this process. */

import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

import {
  decodeClassificationRequest,
  decodePredictRequest,
  decodeRegressionRequest,
  type LoggedBytes,
} from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import { invalidArgument } from '../../errors.js';
import { load } from '../../index.js';
import { GrpcUnaryClient } from '../grpc/client.js';
import type { ServedModel } from '../models.js';
import { TensorFlowServing } from '../tfserving/service.js';
import {
  type ComparedAnswer,
  comparedClasses,
  comparedResults,
  comparedTensor,
  comparedValues,
} from '../traffic/compare.js';
import {
  comparedResponse,
  directMultiInference,
  type ModelOverride,
  redirected,
  restRequest,
} from './requests.js';
import { comparedRestAnswer } from './rest-answer.js';

export interface TargetOptions {
  /** Milliseconds for an answer. */
  readonly timeoutMs: number;
  /** PEM text of who may have signed a server's certificate. */
  readonly ca?: string | undefined;
  readonly token?: string | undefined;
  /** Requests at the same time. */
  readonly concurrency: number;
}

export interface Target {
  /** As it was given. */
  readonly name: string;
  /** @throws StatusError; the signal's reason. */
  send(request: LoggedBytes, signal: AbortSignal): Promise<ComparedAnswer>;
  close(): Promise<void>;
}

/**
 * @param where "http://host:port", "https://…", "grpc://…" (or "grpcs://…" for TLS), with
 *   "/v1/models/NAME" and "/versions/N" or "/labels/LABEL" behind it where all requests go to that
 *   model; else what `load()` takes.
 * @throws ERR_TENON_INVALID_ARGUMENT for another address; what `load()` throws.
 */
export async function openTarget(where: string, options: TargetOptions): Promise<Target> {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(where)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'http':
    case 'https':
      return new RestTarget(where, options);
    case 'grpc':
    case 'grpcs':
      return new GrpcTarget(where, options);
    case undefined:
      return ModelTarget.open(where, options);
    default:
      throw invalidArgument(
        'target',
        'an address of http, https, grpc or grpcs, or a model',
        where,
      );
  }
}

interface Address {
  readonly origin: string;
  /** Before "/v1/models". */
  readonly prefix: string;
  readonly override: ModelOverride | undefined;
}

const modelPath = /^(.*?)(?:\/v1\/models\/([^/]+?)(?:\/versions\/(\d+)|\/labels\/([^/]+))?)?\/*$/i;

function addressOf(where: string, protocol: string): Address {
  let url: URL;
  try {
    url = new URL(where.replace(/^[a-z]+:/i, `${protocol}:`));
  } catch {
    throw invalidArgument('target', 'an address', where);
  }
  const [, prefix = '', name, version, label] = modelPath.exec(url.pathname) ?? [];
  return {
    origin: url.origin,
    prefix,
    override:
      name === undefined
        ? undefined
        : {
            name: decodeURIComponent(name),
            version: version === undefined ? undefined : BigInt(version),
            label: label === undefined ? undefined : decodeURIComponent(label),
          },
  };
}

/** Bytes of an answer at most. */
const maxAnswerBytes = 2 ** 30;

class RestTarget implements Target {
  readonly name: string;
  readonly #address: Address;
  readonly #options: TargetOptions;
  readonly #agent: HttpAgent;

  constructor(where: string, options: TargetOptions) {
    this.name = where;
    this.#address = addressOf(where, /^https:/i.test(where) ? 'https' : 'http');
    this.#options = options;
    const { ca, concurrency } = options;
    const settings = { keepAlive: true, maxSockets: concurrency };
    this.#agent = this.#isTls
      ? new HttpsAgent({ ...settings, ...(ca !== undefined && { ca }) })
      : new HttpAgent(settings);
  }

  get #isTls(): boolean {
    return this.#address.origin.startsWith('https:');
  }

  async send(request: LoggedBytes, signal: AbortSignal): Promise<ComparedAnswer> {
    const { path, body } = restRequest(request, this.#address.override);
    const text = await this.#post(`${this.#address.prefix}${path}`, body, signal);
    return comparedRestAnswer(request.kind, text);
  }

  close(): Promise<void> {
    this.#agent.destroy();
    return Promise.resolve();
  }

  #post(path: string, body: string, signal: AbortSignal): Promise<string> {
    const { token, timeoutMs } = this.#options;
    const bytes = Buffer.from(body);
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        reject(
          signal.aborted
            ? (signal.reason as Error)
            : error instanceof StatusError
              ? error
              : new StatusError('UNAVAILABLE', error.message),
        );
      };
      const request = (this.#isTls ? httpsRequest : httpRequest)(
        new URL(path, this.#address.origin),
        {
          method: 'POST',
          agent: this.#agent,
          signal,
          headers: {
            'content-type': 'application/json',
            'content-length': bytes.byteLength,
            ...(token !== undefined && { authorization: `Bearer ${token}` }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let length = 0;
          response.on('data', (chunk: Buffer) => {
            length += chunk.byteLength;
            if (length > maxAnswerBytes) request.destroy(tooLong());
            else chunks.push(chunk);
          });
          response.on('error', failed);
          response.on('end', () => {
            clearTimeout(timer);
            const text = Buffer.concat(chunks).toString();
            if (response.statusCode === 200) resolve(text);
            else failed(restFailure(response.statusCode ?? 0, text));
          });
        },
      );
      const timer = setTimeout(() => request.destroy(late(timeoutMs)), timeoutMs);
      request.on('error', failed);
      request.on('close', () => clearTimeout(timer));
      request.end(bytes);
    });
  }
}

function tooLong(): StatusError {
  return new StatusError('RESOURCE_EXHAUSTED', `an answer of more than ${maxAnswerBytes} bytes`);
}

function late(timeoutMs: number): StatusError {
  return new StatusError('DEADLINE_EXCEEDED', `no answer within ${timeoutMs} ms`);
}

function restFailure(status: number, text: string): StatusError {
  let reason = text;
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === 'string') reason = error;
  } catch {
    // Whatever answered says it in its own way.
  }
  return new StatusError('UNKNOWN', `HTTP ${status}: ${reason.slice(0, 500)}`);
}

const methods: Readonly<Record<LoggedBytes['kind'], string>> = {
  predict: 'Predict',
  classify: 'Classify',
  regress: 'Regress',
  multiInference: 'MultiInference',
};

class GrpcTarget implements Target {
  readonly name: string;
  readonly #client: GrpcUnaryClient;
  readonly #override: ModelOverride | undefined;
  readonly #timeoutMs: number;

  constructor(where: string, { timeoutMs, ca, token }: TargetOptions) {
    this.name = where;
    const { origin, override } = addressOf(where, /^grpcs:/i.test(where) ? 'https' : 'http');
    this.#client = new GrpcUnaryClient(origin, { ca, token });
    this.#override = override;
    this.#timeoutMs = timeoutMs;
  }

  async send(request: LoggedBytes, signal: AbortSignal): Promise<ComparedAnswer> {
    const message =
      this.#override === undefined ? request.request : redirected(request, this.#override);
    const path = `/tensorflow.serving.PredictionService/${methods[request.kind]}`;
    const options = { timeoutMs: this.#timeoutMs, signal };
    return comparedResponse(request.kind, await this.#client.call(path, message, options));
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }
}

class ModelTarget implements Target {
  readonly name: string;
  readonly #served: ServedModel;
  readonly #service: TensorFlowServing;
  readonly #timeoutMs: number;

  private constructor(name: string, served: ServedModel, timeoutMs: number) {
    this.name = name;
    this.#served = served;
    this.#timeoutMs = timeoutMs;
    this.#service = new TensorFlowServing({
      acquire: () => served,
      status: () => [],
      list: () => [],
      readiness: () => ({ ready: true, waiting: [], failed: [] }),
    });
  }

  static async open(source: string, { timeoutMs }: TargetOptions): Promise<ModelTarget> {
    const model = await load(source, { validateShapes: false });
    const served: ServedModel = {
      name: 'model',
      version: 1n,
      model,
      signatureDefs: () => ({}),
      release: () => undefined,
    };
    return new ModelTarget(source, served, timeoutMs);
  }

  async send({ kind, request }: LoggedBytes, signal: AbortSignal): Promise<ComparedAnswer> {
    const call = { signal, timeoutMs: this.#timeoutMs };
    const served = this.#served;
    switch (kind) {
      case 'predict': {
        const { modelSpec, inputs, outputFilter } = decodePredictRequest(request);
        const signatureName = modelSpec?.signatureName ?? '';
        const { outputs } = await this.#service.predict(
          served,
          { signatureName, feeds: inputs, outputFilter, api: 'GRPC' },
          call,
        );
        return new Map(outputs.map(({ name, tensor }) => [name, comparedTensor(tensor)]));
      }
      case 'classify': {
        const { modelSpec, examples } = decodeClassificationRequest(request);
        const signatureName = modelSpec?.signatureName ?? '';
        const result = await this.#service.classify(served, { signatureName, examples }, call);
        return comparedClasses(result.classifications);
      }
      case 'regress': {
        const { modelSpec, examples } = decodeRegressionRequest(request);
        const signatureName = modelSpec?.signatureName ?? '';
        const result = await this.#service.regress(served, { signatureName, examples }, call);
        return comparedValues(result.values);
      }
      case 'multiInference': {
        const { tasks, examples } = directMultiInference(request);
        const named = tasks.map(({ signatureName, methodName }) => ({
          modelSpec: { name: served.name, signatureName },
          methodName,
        }));
        const results = await this.#service.multiInference(named, examples, call);
        return comparedResults(
          results.map((result) =>
            result.kind === 'classify' ? result.classifications : result.values,
          ),
        );
      }
    }
  }

  async close(): Promise<void> {
    await this.#served.model.close();
  }
}
