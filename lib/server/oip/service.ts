/**
 * What the Open Inference Protocol (KServe's v2) asks of a server, whatever carries the request:
 * named tensors in, named tensors out.
 *
 * The protocol: github.com/kserve/open-inference-protocol; its extensions as Triton has them:
 * github.com/triton-inference-server/server, docs/protocol.
 */

import { type Datatype, datatypeOfDType } from '../../codec/oip/datatypes.js';
import type { Parameters } from '../../codec/oip/parameters.js';
import { StatusError } from '../../codec/status.js';
import type { EngineName, Signature, Tensor, TensorSpec, ValueSpec } from '../../index.js';
import type { Entrypoint } from '../metrics.js';
import type { ModelDirectory, ModelSpec, ModelUse, ServedModel, VersionStatus } from '../models.js';
import { packageVersion } from '../package-version.js';
import { invalid, statusOf } from '../tfserving/errors.js';
import { letGo } from '../tfserving/let-go.js';
import type { CallContext, NamedTensor, TensorFlowServing } from '../tfserving/service.js';
import { classesOf } from './classification.js';
import { requestParameters } from './parameters.js';
import type { VersionStatistics } from './statistics.js';

export type { CallContext, NamedTensor } from '../tfserving/service.js';
export type { Duration, VersionStatistics } from './statistics.js';

export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: Datatype;
  /** -1 is any size. One of unknown rank has the shape [-1]. */
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly name: string;
  /** Versions that serve, newest first; of a request for one version that alone. */
  readonly versions: readonly string[];
  /** "onnx_onnxv1" or "tensorflow_savedmodel". */
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

export interface RequestedOutput {
  readonly name: string;
  /** How many classes to give in place of the numbers; 0 or undefined: the numbers. */
  readonly classification?: number | undefined;
}

export interface InferRequest {
  /** Of the request as a whole. */
  readonly parameters: Parameters;
  /** By input. Without a prototype, or names would be found that nobody sent. */
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Which outputs to give, in this order; empty: all of the signature. */
  readonly outputs: readonly RequestedOutput[];
  readonly api: Entrypoint;
}

export interface InferResult {
  readonly modelName: string;
  readonly modelVersion: bigint;
  readonly signatureName: string;
  /** The caller disposes of them. */
  readonly outputs: readonly NamedTensor[];
}

export type VersionState = 'READY' | 'LOADING' | 'UNLOADING' | 'UNAVAILABLE';

export interface IndexEntry {
  readonly name: string;
  /** Undefined where no version of the model was found. */
  readonly version: string | undefined;
  readonly state: VersionState;
  /** Why it is not ready; "" where nothing is known. */
  readonly reason: string;
}

export interface ModelConfiguration {
  readonly name: string;
  readonly platform: string;
  /** "onnxruntime" or "tensorflow". */
  readonly backend: string;
  /**
   * Rows that requests may bring at most, where they are batched; their dimension is not among those
   * of the tensors then. 0: that dimension, if there is one, is like any other.
   */
  readonly maxBatchSize: number;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

/** What loads and unloads models of the configuration. Resolves when that is done. */
export interface RepositoryControl {
  /** @throws StatusError NOT_FOUND for a model that the configuration does not have. */
  loadModel(name: string): Promise<void>;
  unloadModel(name: string): Promise<void>;
}

export interface OpenInferenceOptions {
  readonly models: ModelDirectory;
  /** Runs the models. */
  readonly service: TensorFlowServing<never>;
  /** Without it load and unload are UNIMPLEMENTED. */
  readonly repository?: RepositoryControl | undefined;
  /** Of all threads. Without it statistics are UNIMPLEMENTED. */
  readonly statistics?: (() => Promise<readonly VersionStatistics[]>) | undefined;
}

const extensions = [
  'binary_tensor_data',
  'classification',
  'model_configuration',
  'model_repository',
  'parameters',
  'schedule_policy',
  'statistics',
];

/** Of TensorFlow the server has SavedModels alone. */
const platforms: Readonly<Record<EngineName, string>> = {
  onnxruntime: 'onnx_onnxv1',
  tensorflow: 'tensorflow_savedmodel',
};

const defaultSignature = 'serving_default';

/**
 * Belongs to one JavaScript thread, as the models do. Everything it throws, and rejects with, is a
 * StatusError.
 */
export class OpenInference {
  readonly #models: ModelDirectory;
  readonly #service: TensorFlowServing<never>;
  readonly #repository: RepositoryControl | undefined;
  readonly #statistics: OpenInferenceOptions['statistics'];

  constructor({ models, service, repository, statistics }: OpenInferenceOptions) {
    this.#models = models;
    this.#service = service;
    this.#repository = repository;
    this.#statistics = statistics;
  }

  /** Whether every model serves, or has failed to, and the server is not stopping. */
  serverReady(): boolean {
    return this.#models.readiness().ready;
  }

  serverMetadata(): ServerMetadata {
    return { name: 'tenon', version: packageVersion(), extensions };
  }

  /**
   * Whether the version serves; without one, whether any does.
   *
   * @throws StatusError NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for an unknown
   *   label.
   */
  modelReady(spec: ModelSpec): boolean {
    return this.#statuses(spec).some(({ state }) => state === 'AVAILABLE');
  }

  /**
   * Holds a version for a request, until its `release()`.
   *
   * @throws StatusError NOT_FOUND for an unknown model or version, UNAVAILABLE for one that does not
   *   serve now, INVALID_ARGUMENT for an unknown label.
   */
  acquire(spec: ModelSpec, use?: ModelUse): ServedModel {
    try {
      return this.#models.acquire(spec, use);
    } catch (error) {
      if (!(error instanceof StatusError) || error.status !== 'NOT_FOUND') throw statusOf(error);
      const [latest] = this.#statuses(spec);
      throw new StatusError('UNAVAILABLE', notReady(spec, latest));
    }
  }

  /**
   * @param signatureName "" is "serving_default", or the model's one signature.
   * @throws StatusError as `acquire`; INVALID_ARGUMENT for an unknown signature.
   */
  modelMetadata(spec: ModelSpec, signatureName = ''): ModelMetadata {
    const served = this.acquire(spec, 'describe');
    try {
      const signature = signatureOf(served, signatureName);
      const isOne = spec.version !== undefined || spec.label !== undefined;
      return {
        name: served.name,
        versions: isOne
          ? [String(served.version)]
          : this.#statuses({ name: spec.name })
              .filter(({ state }) => state === 'AVAILABLE')
              .map(({ version }) => String(version)),
        platform: platforms[served.model.engine],
        inputs: tensorMetadata(signature.inputs),
        outputs: tensorMetadata(signature.outputs),
      };
    } finally {
      served.release();
    }
  }

  /**
   * The inputs of the default signature.
   *
   * @throws StatusError INVALID_ARGUMENT where there is none.
   */
  inputsOf(served: ServedModel): readonly TensorMetadata[] {
    return tensorMetadata(signatureOf(served, '').inputs);
  }

  /**
   * The default signature as Triton configures models.
   *
   * @throws StatusError as `modelMetadata`.
   */
  modelConfiguration(spec: ModelSpec): ModelConfiguration {
    const served = this.acquire(spec, 'describe');
    try {
      const { name, model, maxRows } = served;
      const signature = signatureOf(served, '');
      const inputs = tensorMetadata(signature.inputs);
      const outputs = tensorMetadata(signature.outputs);
      const isBatched =
        maxRows !== undefined && [...inputs, ...outputs].every(({ shape }) => shape[0] === -1);
      const own = ({ shape, ...rest }: TensorMetadata): TensorMetadata => ({
        ...rest,
        shape: isBatched ? shape.slice(1) : shape,
      });
      return {
        name,
        platform: platforms[model.engine],
        backend: model.engine,
        maxBatchSize: isBatched ? maxRows : 0,
        inputs: inputs.map(own),
        outputs: outputs.map(own),
      };
    } finally {
      served.release();
    }
  }

  /**
   * What was measured of versions that are loaded: of one, of a model's, or of all.
   *
   * @throws StatusError NOT_FOUND, INVALID_ARGUMENT for an unknown label, UNIMPLEMENTED.
   */
  async statistics(spec?: ModelSpec): Promise<readonly VersionStatistics[]> {
    if (this.#statistics === undefined) {
      throw new StatusError('UNIMPLEMENTED', 'This server keeps no statistics');
    }
    const meant =
      spec && new Set(this.#statuses(spec).map(({ version }) => `${version} ${spec.name}`));
    const all = await this.#statistics().catch((error: unknown) => {
      throw statusOf(error);
    });
    return meant === undefined
      ? all
      : all.filter(({ name, version }) => meant.has(`${version} ${name}`));
  }

  /**
   * Runs a signature of the model. Inputs must have the declared datatypes and shapes; an ONNX input
   * with a default may be left out. The caller holds `served`, and releases it.
   *
   * @param call Its `priority` gives way to the request's, its `timeoutMs` to a shorter one.
   * @throws StatusError INVALID_ARGUMENT for inputs, outputs, parameters that do not fit, UNAVAILABLE
   *   for a full queue, DEADLINE_EXCEEDED, UNIMPLEMENTED for tensors that the protocol does not have.
   */
  async infer(
    served: ServedModel,
    request: InferRequest,
    call: CallContext = {},
  ): Promise<InferResult> {
    const { signatureName, priority, timeoutMs } = requestParameters(request.parameters);
    const signature = signatureOf(served, signatureName);
    checkFeeds(signature, request.feeds);
    const wanted = request.outputs.length > 0 ? request.outputs : outputsOf(signature);
    checkOutputs(signature, wanted);
    const result = await this.#service.predict(
      served,
      {
        signatureName: signature.name,
        feeds: request.feeds,
        outputFilter: wanted.map(({ name }) => name),
        api: request.api,
        method: 'ModelInfer',
      },
      {
        signal: call.signal,
        timeoutMs: shorter(timeoutMs, call.timeoutMs),
        priority: priority ?? call.priority,
      },
    );
    const { outputs } = result;
    try {
      return {
        modelName: served.name,
        modelVersion: served.version,
        signatureName: signature.name,
        outputs: outputs.map((output, i) => classified(output, wanted[i] as RequestedOutput)),
      };
    } catch (error) {
      for (const { tensor } of outputs) letGo(tensor);
      throw error;
    }
  }

  /** Every version of every model, those that do not serve included. */
  repositoryIndex(onlyReady = false): readonly IndexEntry[] {
    const { failed, waiting } = this.#models.readiness();
    const entries = this.#models.list().flatMap(({ name, versions }): IndexEntry[] => {
      if (versions.length > 0) return versions.map((version) => indexEntry(name, version));
      const reason = failed.find((each) => each.name === name)?.message ?? '';
      const isWaiting = waiting.includes(name);
      return [{ name, version: undefined, state: isWaiting ? 'LOADING' : 'UNAVAILABLE', reason }];
    });
    return onlyReady ? entries.filter(({ state }) => state === 'READY') : entries;
  }

  /**
   * Has a model of the configuration looked for and served, with what is in its base path now.
   * Resolves when it serves.
   *
   * @param parameters Nothing but Tenon's configuration says where models lie, so `config` and files
   *   are refused.
   * @throws StatusError NOT_FOUND for a model that is not in the configuration, INVALID_ARGUMENT,
   *   UNKNOWN for one that could not be loaded, UNIMPLEMENTED.
   */
  async loadModel(name: string, parameters: Parameters): Promise<void> {
    for (const parameter of parameters.keys()) {
      if (parameter === 'config' || parameter.startsWith('file:')) {
        throw invalid(
          `expected no parameter "${parameter}" in a request to load ${name}: models are loaded from the server's configuration alone`,
        );
      }
    }
    await this.#control((repository) => repository.loadModel(name));
  }

  /** Has a model's versions unloaded once their requests have ended; it stays in the index. */
  async unloadModel(name: string): Promise<void> {
    await this.#control((repository) => repository.unloadModel(name));
  }

  async #control(act: (repository: RepositoryControl) => Promise<void>): Promise<void> {
    if (this.#repository === undefined) {
      throw new StatusError(
        'UNIMPLEMENTED',
        'This server does not load or unload models by request',
      );
    }
    try {
      await act(this.#repository);
    } catch (error) {
      throw statusOf(error);
    }
  }

  /** @throws StatusError NOT_FOUND, INVALID_ARGUMENT for an unknown label. */
  #statuses(spec: ModelSpec): readonly VersionStatus[] {
    try {
      return this.#models.status(spec);
    } catch (error) {
      const failure = statusOf(error);
      const isListed =
        failure.status === 'NOT_FOUND' &&
        spec.version === undefined &&
        this.#models.list().some(({ name }) => name === spec.name);
      // In the configuration, and nothing found of it yet.
      if (isListed) return [];
      throw failure;
    }
  }
}

function notReady({ name, version }: ModelSpec, status: VersionStatus | undefined): string {
  const which = version === undefined ? `Model ${name}` : `Version ${version} of model ${name}`;
  if (status === undefined) return `${which} is not ready`;
  const { message } = status.error;
  return `${which} is not ready: ${message === '' ? status.state : message}`;
}

function signatureOf({ name, model }: ServedModel, signatureName: string): Signature {
  const names = Object.keys(model.signatures);
  const wanted =
    signatureName === '' && names.length === 1 ? names[0] : signatureName || defaultSignature;
  if (wanted !== undefined && Object.hasOwn(model.signatures, wanted)) {
    return model.signatures[wanted] as Signature;
  }
  throw invalid(
    `expected one of ${names.join(', ')} as the parameter "signature_name" for model ${name}, received ${signatureName || 'none'}`,
  );
}

/** Those that the protocol can carry. */
function tensorMetadata(specs: Readonly<Record<string, ValueSpec>>): TensorMetadata[] {
  return Object.values(specs).flatMap((spec) => {
    const datatype = spec.kind === 'tensor' ? datatypeOfDType(spec.dtype) : undefined;
    if (spec.kind !== 'tensor' || datatype === undefined) return [];
    return [{ name: spec.name, datatype, shape: shapeOf(spec) }];
  });
}

function shapeOf({ shape }: TensorSpec): number[] {
  return (shape ?? [null]).map((size) => (typeof size === 'number' ? size : -1));
}

/** The outputs of a request that asks for none: those that the metadata lists. */
function outputsOf({ outputs }: Signature): readonly RequestedOutput[] {
  const all = Object.values(outputs);
  const listed = all.filter(
    (spec) => spec.kind === 'tensor' && datatypeOfDType(spec.dtype) !== undefined,
  );
  // Where none is, the first says why.
  return listed.length > 0 ? listed : all;
}

function checkFeeds({ name, inputs }: Signature, feeds: Readonly<Record<string, Tensor>>): void {
  for (const fed of Object.keys(feeds)) {
    const spec = Object.hasOwn(inputs, fed) ? inputs[fed] : undefined;
    if (spec === undefined) {
      throw invalid(
        `expected inputs among ${listOf(inputs)} for signature ${name}, received "${fed}"`,
      );
    }
    checkFeed(spec, feeds[fed] as Tensor);
  }
  const missing = Object.values(inputs).find(
    (spec) => spec.optional !== true && !Object.hasOwn(feeds, spec.name),
  );
  if (missing !== undefined) {
    throw invalid(`expected input "${missing.name}" for signature ${name}, received none`);
  }
}

function checkFeed(spec: ValueSpec, { dtype, shape }: Tensor): void {
  const subject = `input "${spec.name}"`;
  if (spec.kind !== 'tensor') {
    throw new StatusError('UNIMPLEMENTED', `${subject} is of kind ${spec.kind}, no tensor`);
  }
  if (dtype !== spec.dtype) {
    throw invalid(
      `expected ${datatypeOfDType(spec.dtype) ?? spec.dtype} for ${subject}, received ${datatypeOfDType(dtype)}`,
    );
  }
  if (spec.shape === null) return;
  const fits =
    shape.length === spec.shape.length &&
    spec.shape.every((size, i) => typeof size !== 'number' || size === shape[i]);
  if (!fits) {
    throw invalid(
      `expected shape [${shapeOf(spec).join(',')}] for ${subject}, received [${shape.join(',')}]`,
    );
  }
}

function checkOutputs({ name, outputs }: Signature, wanted: readonly RequestedOutput[]): void {
  const seen = new Set<string>();
  for (const { name: output } of wanted) {
    const spec = Object.hasOwn(outputs, output) ? outputs[output] : undefined;
    if (spec === undefined) {
      throw invalid(
        `expected outputs among ${listOf(outputs)} for signature ${name}, received "${output}"`,
      );
    }
    if (seen.has(output)) throw invalid(`expected output "${output}" once, received it twice`);
    seen.add(output);
    if (spec.kind !== 'tensor') {
      throw new StatusError(
        'UNIMPLEMENTED',
        `output "${output}" is of kind ${spec.kind}, no tensor`,
      );
    }
    if (datatypeOfDType(spec.dtype) === undefined) {
      throw new StatusError(
        'UNIMPLEMENTED',
        `output "${output}" has elements of ${spec.dtype}, which the protocol does not have`,
      );
    }
  }
}

function listOf(specs: Readonly<Record<string, ValueSpec>>): string {
  return Object.keys(specs)
    .map((name) => `"${name}"`)
    .join(', ');
}

function classified(output: NamedTensor, { classification = 0 }: RequestedOutput): NamedTensor {
  if (classification === 0) return output;
  const { name, tensor } = output;
  const classes = classesOf(tensor, classification, `output "${name}"`);
  letGo(tensor);
  return { name, tensor: classes };
}

const states: Partial<Record<VersionStatus['state'], VersionState>> = {
  AVAILABLE: 'READY',
  START: 'LOADING',
  LOADING: 'LOADING',
  UNLOADING: 'UNLOADING',
};

function indexEntry(name: string, { version, state, error }: VersionStatus): IndexEntry {
  return {
    name,
    version: String(version),
    state: states[state] ?? 'UNAVAILABLE',
    reason: error.message,
  };
}

function shorter(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}
