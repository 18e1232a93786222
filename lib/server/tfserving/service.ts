/**
 * What TensorFlow Serving's PredictionService and ModelService do, whatever carries the request:
 * tensors in, tensors out, errors as statuses with its texts.
 *
 * Formulas, texts and order of the checks: github.com/tensorflow/serving,
 * tensorflow_serving/servables/tensorflow/{predict_util,classifier,regressor,multi_inference}.cc.
 */

import { type DecodedPredict, decodePredict, type JsonRun } from '../../codec/json.js';
import { StatusError } from '../../codec/status.js';
import {
  type AsyncRunOptions,
  type Dimension,
  type Signature,
  Tensor,
  type Value,
  type ValueSpec,
} from '../../index.js';
import { jsonRunOf, runOf, type RunResults } from '../../model/short-cuts.js';
import type { ApiMethod, Entrypoint, ServingMetrics } from '../metrics.js';
import type {
  ModelDirectory,
  ModelSpec,
  ServedModel,
  SignatureDef,
  VersionStatus,
} from '../models.js';
import { signatureDebugString } from './debug-string.js';
import { engineTypeName, wireTypeName } from './dtype-names.js';
import { invalid, statusOf, timedOut } from './errors.js';

/** How a request may end early, and its place in the queue. */
export interface CallContext {
  /** Aborted when the client has gone: the run is stopped and its place is free. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds the run may take; 0 or less: none are left. Undefined: no limit. */
  readonly timeoutMs?: number | undefined;
  /** Higher ones go first. Default: 0. */
  readonly priority?: number | undefined;
  /**
   * The request as a serialized message of TensorFlow Serving's, where it came as one: it is recorded
   * as it is.
   */
  readonly message?: Uint8Array | undefined;
}

export interface PredictRequest {
  /** "" is "serving_default". */
  readonly signatureName: string;
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Which outputs to compute; empty or undefined: all of the signature. */
  readonly outputFilter?: readonly string[] | undefined;
  /** Which transport it came by: their errors differ. */
  readonly api: Entrypoint;
  /** As which call the run is measured. Default: "Predict". */
  readonly method?: 'Predict' | 'ModelInfer' | undefined;
}

export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

export interface PredictResult {
  readonly signatureName: string;
  readonly version: bigint;
  /** In the order of the filter, or of the signature. The caller disposes of them. */
  readonly outputs: readonly NamedTensor[];
}

export interface ExamplesRequest {
  /** "" is "serving_default". */
  readonly signatureName: string;
  /** Each a serialized tensorflow.Example, the context's bytes in front. */
  readonly examples: readonly Uint8Array[];
}

export interface Class {
  readonly label: string;
  readonly score: number;
}

export interface ClassifyResult {
  readonly signatureName: string;
  readonly version: bigint;
  /** For each example its classes. */
  readonly classifications: readonly (readonly Class[])[];
}

export interface RegressResult {
  readonly signatureName: string;
  readonly version: bigint;
  /** A value for each example. */
  readonly values: readonly number[];
}

export interface InferenceTask {
  readonly modelSpec: ModelSpec & { readonly signatureName: string };
  /** "tensorflow/serving/classify" or "tensorflow/serving/regress". */
  readonly methodName: string;
}

export type InferenceResult =
  | (ClassifyResult & { readonly kind: 'classify'; readonly name: string })
  | (RegressResult & { readonly kind: 'regress'; readonly name: string });

export interface MetadataResult {
  readonly name: string;
  readonly version: bigint;
  readonly signatureDefs: Readonly<Record<string, SignatureDef>>;
}

export interface ServiceOptions<Config = unknown> {
  /** Requests themselves are counted by the front ends. */
  readonly metrics?: Pick<ServingMetrics, 'runtime' | 'examples'> | undefined;
  /** HandleReloadConfigRequest; without it UNIMPLEMENTED. */
  readonly reload?: ((config: Config) => Promise<void>) | undefined;
  /** `--enable_signature_method_name_check`. Default: false. */
  readonly checkMethodName?: boolean | undefined;
}

const predictMethod = 'tensorflow/serving/predict';
const classifyMethod = 'tensorflow/serving/classify';
const regressMethod = 'tensorflow/serving/regress';
/** What a request that names no signature means. */
export const defaultSignature = 'serving_default';

/** Longest time a Node timer can wait; a deadline further away is none. */
const maxTimeoutMs = 2 ** 31 - 1;

/** A signature made ready for requests, once. */
interface SignaturePlan {
  readonly signature: Signature;
  readonly inputs: ReadonlyMap<string, { readonly index: number; readonly spec: ValueSpec }>;
  readonly required: readonly string[];
  readonly outputs: readonly string[];
  /** The first output that no response can hold. */
  readonly unsendable: string | undefined;
  /** Made for the first predict of JSON; null where there can be none. */
  json: JsonRun | null | undefined;
}

/**
 * Belongs to one JavaScript thread, as the models do. Everything it throws, and rejects with, is a
 * StatusError.
 */
export class TensorFlowServing<Config = unknown> {
  readonly #models: ModelDirectory;
  readonly #metrics: ServiceOptions['metrics'];
  readonly #reload: ((config: Config) => Promise<void>) | undefined;
  readonly #checkMethodName: boolean;
  readonly #plans = new WeakMap<Signature, SignaturePlan>();

  constructor(models: ModelDirectory, options: ServiceOptions<Config> = {}) {
    this.#models = models;
    this.#metrics = options.metrics;
    this.#reload = options.reload;
    this.#checkMethodName = options.checkMethodName ?? false;
  }

  /**
   * Shapes are not compared with the signature's: TensorFlow Serving's clients rely on that. The
   * caller holds `served`, and releases it.
   *
   * @returns A promise where the run goes on; nobody waits for one that has been made.
   */
  predict(
    served: ServedModel,
    request: PredictRequest,
    call: CallContext = {},
  ): PredictResult | Promise<PredictResult> {
    const signatureName = request.signatureName || defaultSignature;
    const plan = this.#plan(served, signatureName);
    if (plan === undefined) {
      throw request.api === 'REST'
        ? invalid(`Serving signature name: "${signatureName}" not found in signature def`)
        : new StatusError(
            'FAILED_PRECONDITION',
            `Serving signature key "${signatureName}" not found.`,
          );
    }
    this.#checkPredictMethod(plan);
    checkFeeds(plan, request.feeds);
    const wanted = wantedOutputs(plan, request.outputFilter);
    const { feeds, method = 'Predict' } = request;
    const toResult = (results: RunResults): PredictResult => {
      const outputs = wanted.map((name) => ({ name, tensor: results[name] as Tensor }));
      served.observer?.answered({
        kind: 'predict',
        message: call.message,
        signatureName,
        feeds,
        outputFilter: request.outputFilter ?? [],
        outputs,
      });
      return { signatureName, version: served.version, outputs };
    };
    const results = this.#run(served, plan, method, feeds, wanted, call);
    return results instanceof Promise ? results.then(toResult) : toResult(results);
  }

  /**
   * A predict of the default signature whose body is JSON, in one go on the calling thread, of a
   * model whose runs take less than handing them over does. The caller holds `served`.
   *
   * @returns The answer; undefined, with nothing done, where it has to be another way: decoded, and
   *   given to `predict`.
   */
  predictJson(
    served: ServedModel,
    body: Uint8Array,
  ): string | Buffer | Promise<string | Buffer> | undefined {
    if (served.maxRows !== undefined || served.observer !== undefined) return undefined;
    const plan = this.#plan(served, defaultSignature);
    if (plan === undefined) return undefined;
    plan.json ??= jsonRunOf(served.model, defaultSignature) ?? null;
    if (plan.json === null) return undefined;
    this.#checkPredictMethod(plan);
    const { json } = plan;
    const { engine } = served.model;
    const ran = (): void => this.#metrics?.runtime(served.name, 'Predict', engine, json.micros);
    let answer: string | Buffer | Promise<string | Buffer> | undefined;
    try {
      answer = json.run(body);
    } catch (error) {
      ran();
      const hasFitting = (): boolean => fitsDeclaration(plan, feedsOf(plan, body));
      throw statusOf(error, { engine, fitsDeclaration: hasFitting });
    }
    if (answer !== undefined) ran();
    return answer;
  }

  /** The caller holds `served`, and releases it. */
  async classify(
    served: ServedModel,
    request: ExamplesRequest,
    call: CallContext = {},
  ): Promise<ClassifyResult> {
    const result = await this.#classify(served, request, call);
    const { signatureName, classifications } = result;
    served.observer?.answered({
      kind: 'classify',
      message: call.message,
      signatureName,
      examples: request.examples,
      classifications,
    });
    return result;
  }

  async #classify(
    served: ServedModel,
    request: ExamplesRequest,
    call: CallContext,
  ): Promise<ClassifyResult> {
    const signatureName = request.signatureName || defaultSignature;
    const plan = this.#examplesPlan(served, signatureName);
    const wanted = this.#checkClassify(served, plan);
    const classifications = await this.#runExamples(
      served,
      plan,
      'Classify',
      request.examples,
      wanted,
      call,
      (results) => classificationsOf(results, request.examples.length),
    );
    return { signatureName, version: served.version, classifications };
  }

  /** The caller holds `served`, and releases it. */
  async regress(
    served: ServedModel,
    request: ExamplesRequest,
    call: CallContext = {},
  ): Promise<RegressResult> {
    const result = await this.#regress(served, request, call);
    const { signatureName, values } = result;
    served.observer?.answered({
      kind: 'regress',
      message: call.message,
      signatureName,
      examples: request.examples,
      values,
    });
    return result;
  }

  async #regress(
    served: ServedModel,
    request: ExamplesRequest,
    call: CallContext,
  ): Promise<RegressResult> {
    const signatureName = request.signatureName || defaultSignature;
    const plan = this.#examplesPlan(served, signatureName);
    const wanted = this.#checkRegress(served, plan);
    const values = await this.#runExamples(
      served,
      plan,
      'Regress',
      request.examples,
      wanted,
      call,
      (results) => regressionsOf(results, request.examples.length),
    );
    return { signatureName, version: served.version, values };
  }

  /**
   * Several signatures of one model over the same examples. Each is a run of its own: they need
   * not share their outputs' graph, as they have to in TensorFlow Serving.
   */
  async multiInference(
    tasks: readonly InferenceTask[],
    examples: readonly Uint8Array[],
    call: CallContext = {},
  ): Promise<readonly InferenceResult[]> {
    const first = tasks[0]?.modelSpec;
    if (first === undefined || first.name === '') {
      throw invalid('ModelSpec has no name specified.');
    }
    const started = performance.now();
    const served = this.#models.acquire(first);
    try {
      const results = await this.#infer(served, tasks, examples, call, started);
      served.observer?.answered({
        kind: 'multiInference',
        message: call.message,
        examples,
        results,
      });
      return results;
    } finally {
      served.release();
    }
  }

  async #infer(
    served: ServedModel,
    tasks: readonly InferenceTask[],
    examples: readonly Uint8Array[],
    call: CallContext,
    started: number,
  ): Promise<readonly InferenceResult[]> {
    this.#checkTasks(served, tasks);
    const results: InferenceResult[] = [];
    for (const { modelSpec, methodName } of tasks) {
      const { signatureName } = modelSpec;
      const left: CallContext = { ...call, timeoutMs: timeLeft(call.timeoutMs, started) };
      const request = { signatureName, examples };
      const { name } = served;
      results.push(
        methodName === classifyMethod
          ? { kind: 'classify', name, ...(await this.#classify(served, request, left)) }
          : { kind: 'regress', name, ...(await this.#regress(served, request, left)) },
      );
    }
    return results;
  }

  /** GetModelMetadata's signature_def. */
  metadata(spec: ModelSpec): MetadataResult {
    const served = this.#models.acquire(spec, 'describe');
    try {
      return {
        name: served.name,
        version: served.version,
        signatureDefs: served.signatureDefs(),
      };
    } finally {
      served.release();
    }
  }

  /** Of one version, or of all, newest first. A label counts for nothing, as in TensorFlow Serving. */
  status({ name, version }: ModelSpec): readonly VersionStatus[] {
    return this.#models.status({ name, version });
  }

  /** Resolves when every model that is new has a version that serves, or has failed. */
  async reload(config: Config): Promise<void> {
    if (this.#reload === undefined) {
      throw new StatusError('UNIMPLEMENTED', 'This server takes no new configuration');
    }
    try {
      await this.#reload(config);
    } catch (error) {
      throw statusOf(error);
    }
  }

  #plan({ model }: ServedModel, name: string): SignaturePlan | undefined {
    if (!Object.hasOwn(model.signatures, name)) return undefined;
    const signature = model.signatures[name] as Signature;
    let plan = this.#plans.get(signature);
    if (plan === undefined) {
      plan = planOf(signature);
      this.#plans.set(signature, plan);
    }
    return plan;
  }

  #examplesPlan(served: ServedModel, name: string): SignaturePlan {
    const plan = this.#plan(served, name);
    if (plan === undefined) throw invalid(`No signature was found with the name: ${name}`);
    return plan;
  }

  #checkPredictMethod({ signature }: SignaturePlan): void {
    if (!this.#checkMethodName) return;
    const method = signature.methodName ?? '';
    if ([predictMethod, classifyMethod, regressMethod].includes(method)) return;
    throw new StatusError(
      'INTERNAL',
      `Expected prediction signature method_name to be one of {${predictMethod}, ${classifyMethod}, ${regressMethod}}. Was: ${method}`,
    );
  }

  /** @returns The outputs to ask for. */
  #checkClassify(served: ServedModel, plan: SignaturePlan): readonly string[] {
    this.#checkMethod(plan, 'classification', classifyMethod);
    if (plan.inputs.size !== 1) throw invalid('Expected one input Tensor.');
    if (plan.outputs.length !== 1 && plan.outputs.length !== 2) {
      throw invalid(`Expected one or two output Tensors, found ${plan.outputs.length}`);
    }
    if (!plan.inputs.has('inputs')) {
      throw invalid(`No classification inputs found in SignatureDef: ${debugString(served, plan)}`);
    }
    const wanted = plan.outputs.filter((name) => name === 'classes' || name === 'scores');
    if (wanted.length === 0) {
      throw invalid(
        `Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: ${debugString(served, plan)}`,
      );
    }
    return wanted;
  }

  /** @returns The outputs to ask for. */
  #checkRegress(served: ServedModel, plan: SignaturePlan): readonly string[] {
    this.#checkMethod(plan, 'regression', regressMethod);
    if (plan.inputs.size !== 1) throw invalid('Expected one input Tensor.');
    if (plan.outputs.length !== 1) throw invalid('Expected one output Tensor.');
    if (!plan.inputs.has('inputs')) {
      throw invalid(`No regression inputs found in SignatureDef: ${debugString(served, plan)}`);
    }
    if (!plan.outputs.includes('outputs')) {
      throw invalid(`No regression outputs found in SignatureDef: ${debugString(served, plan)}`);
    }
    return ['outputs'];
  }

  #checkMethod({ signature }: SignaturePlan, kind: string, expected: string): void {
    const method = signature.methodName ?? '';
    if (!this.#checkMethodName || method === expected) return;
    throw invalid(`Expected ${kind} signature method_name to be ${expected}. Was: ${method}`);
  }

  #checkTasks(served: ServedModel, tasks: readonly InferenceTask[]): void {
    const seen = new Set<string>();
    for (const { modelSpec, methodName } of tasks) {
      if (modelSpec.name === '') throw invalid('Found ModelSpec with an empty model name.');
      if (modelSpec.name !== served.name) {
        throw invalid('All ModelSpecs in a MultiInferenceRequest must access the same model name.');
      }
      const name = modelSpec.signatureName || defaultSignature;
      if (seen.has(name)) throw invalid(`Duplicate evaluation of signature: ${name}`);
      seen.add(name);
      const plan = this.#plan(served, name);
      if (plan === undefined)
        throw invalid(`Requested signature not found in model graph: ${name}`);
      if (methodName === classifyMethod) this.#checkClassify(served, plan);
      else if (methodName === regressMethod) this.#checkRegress(served, plan);
      else {
        throw new StatusError('UNIMPLEMENTED', `Unsupported signature method_name: ${methodName}`);
      }
    }
  }

  async #runExamples<T>(
    served: ServedModel,
    plan: SignaturePlan,
    api: 'Classify' | 'Regress',
    examples: readonly Uint8Array[],
    wanted: readonly string[],
    call: CallContext,
    read: (results: Readonly<Record<string, Value>>) => T,
  ): Promise<T> {
    if (examples.length === 0) throw invalid('Input is empty.');
    this.#metrics?.examples(served.name, examples.length);
    const inputs = new Tensor('string', [...examples], [examples.length]);
    const feeds = { inputs };
    checkDTypes(plan, feeds);
    const results = await this.#run(served, plan, api, feeds, wanted, call);
    try {
      return read(results);
    } finally {
      for (const name of wanted) (results[name] as Tensor).dispose();
    }
  }

  #run(
    served: ServedModel,
    plan: SignaturePlan,
    api: ApiMethod,
    feeds: Readonly<Record<string, Tensor>>,
    wanted: readonly string[],
    call: CallContext,
  ): RunResults | Promise<RunResults> {
    const { model } = served;
    if (served.maxRows !== undefined) checkRows(feeds, served.maxRows);
    const { signal, timeoutMs, priority } = call;
    if (timeoutMs !== undefined && timeoutMs <= 0) throw timedOut();
    const options: AsyncRunOptions = { signature: plan.signature.name };
    if (wanted.length !== plan.outputs.length) options.outputs = wanted;
    if (signal !== undefined) options.signal = signal;
    if (timeoutMs !== undefined && timeoutMs <= maxTimeoutMs) {
      options.timeoutMs = Math.ceil(timeoutMs);
    }
    if (priority !== undefined) options.priority = priority;
    const started = performance.now();
    const ended = (): void => {
      const micros = (performance.now() - started) * 1000;
      this.#metrics?.runtime(served.name, api, model.engine, micros);
    };
    const failed = (error: unknown): never => {
      ended();
      throw statusOf(error, {
        engine: model.engine,
        signal,
        fitsDeclaration: () => fitsDeclaration(plan, feeds),
      });
    };
    let results: RunResults | Promise<RunResults>;
    try {
      results = runOf(model, feeds, options);
    } catch (error) {
      return failed(error);
    }
    if (results instanceof Promise) {
      return results.then((settled) => {
        ended();
        return settled;
      }, failed);
    }
    ended();
    return results;
  }
}

function planOf(signature: Signature): SignaturePlan {
  const inputs = Object.values(signature.inputs);
  const outputs = Object.values(signature.outputs);
  return {
    signature,
    inputs: new Map(inputs.map((spec, index) => [spec.name, { index, spec }])),
    required: inputs.filter(({ optional }) => optional !== true).map(({ name }) => name),
    outputs: outputs.map(({ name }) => name),
    unsendable: outputs.find(({ kind }) => kind !== 'tensor')?.name,
    json: undefined,
  };
}

function checkFeeds(plan: SignaturePlan, feeds: Readonly<Record<string, Tensor>>): void {
  const { inputs, required } = plan;
  const fed = Object.keys(feeds);
  const isMissing = (name: string): boolean => !Object.hasOwn(feeds, name);
  if (fed.length > inputs.size || required.some(isMissing)) {
    if (fed.length !== inputs.size) throw wrongInputs(plan, fed);
  }
  for (const name of fed) {
    if (!inputs.has(name)) {
      throw invalid(
        `input tensor alias not found in signature: ${name}. Inputs expected to be in the set {${sorted(inputs.keys())}}.`,
      );
    }
  }
  checkDTypes(plan, feeds);
}

function wrongInputs({ inputs }: SignaturePlan, fed: readonly string[]): StatusError {
  const extra = fed.filter((name) => !inputs.has(name));
  const missing = [...inputs.keys()].filter((name) => !fed.includes(name));
  return invalid(
    `input size does not match signature: ${fed.length}!=${inputs.size} len({${sorted(fed)}}) != len({${sorted(inputs.keys())}}). Sent extra: {${sorted(extra)}}. Missing but required: {${sorted(missing)}}.`,
  );
}

function checkDTypes({ inputs }: SignaturePlan, feeds: Readonly<Record<string, Tensor>>): void {
  for (const name of Object.keys(feeds)) {
    const { index, spec } = inputs.get(name) as { index: number; spec: ValueSpec };
    if (spec.kind !== 'tensor') {
      throw new StatusError('UNIMPLEMENTED', `Input "${name}" is of kind ${spec.kind}, no tensor`);
    }
    const { dtype } = feeds[name] as Tensor;
    if (dtype !== spec.dtype) {
      throw invalid(
        `Expects arg[${index}] to be ${engineTypeName(spec.dtype)} but ${engineTypeName(dtype)} is provided`,
      );
    }
  }
}

function wantedOutputs(
  plan: SignaturePlan,
  filter: readonly string[] | undefined,
): readonly string[] {
  const { outputs } = plan.signature;
  if (filter === undefined || filter.length === 0) {
    if (plan.unsendable !== undefined) throw unsendable(plan, plan.unsendable);
    return plan.outputs;
  }
  const seen = new Set<string>();
  for (const name of filter) {
    if (!Object.hasOwn(outputs, name)) {
      throw invalid(
        `output tensor alias not found in signature: ${name} Outputs expected to be in the set {${sorted(plan.outputs)}}.`,
      );
    }
    if (seen.has(name)) throw invalid(`duplicate output tensor alias: ${name}`);
    seen.add(name);
    if (outputs[name]?.kind !== 'tensor') throw unsendable(plan, name);
  }
  return filter;
}

function unsendable({ signature }: SignaturePlan, name: string): StatusError {
  return new StatusError(
    'UNIMPLEMENTED',
    `Output "${name}" is of kind ${signature.outputs[name]?.kind}, no tensor; name the outputs to compute`,
  );
}

function checkRows(feeds: Readonly<Record<string, Tensor>>, maxRows: number): void {
  for (const name of Object.keys(feeds)) {
    const rows = (feeds[name] as Tensor).shape[0];
    if (rows !== undefined && rows > maxRows) {
      throw invalid(`Task size ${rows} is larger than maximum input batch size ${maxRows}`);
    }
  }
}

function classificationsOf(
  results: Readonly<Record<string, Value>>,
  examples: number,
): readonly (readonly Class[])[] {
  const classes = matrix(results['classes'], 'classes', 'string', examples);
  const scores = matrix(results['scores'], 'scores', 'float32', examples);
  const width = classes?.shape[1] ?? scores?.shape[1] ?? 0;
  if (scores !== undefined && scores.shape[1] !== width) {
    throw invalid(
      `Tensors class and score should match in dim_size(1). Got ${width} vs. ${scores.shape[1]}`,
    );
  }
  const labels = classes?.bytes as Uint8Array[] | undefined;
  const numbers = scores?.data as Float32Array | undefined;
  return Array.from({ length: examples }, (_, row) =>
    Array.from({ length: width }, (_, column) => {
      const index = row * width + column;
      return {
        label: labels === undefined ? '' : utf8.decode(labels[index]),
        score: numbers?.[index] ?? 0,
      };
    }),
  );
}

/** Labels are bytes to TensorFlow and a string to JSON and protobuf: what is no UTF-8 is replaced. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

function matrix(
  value: Value | undefined,
  name: string,
  dtype: 'string' | 'float32',
  examples: number,
): Tensor | undefined {
  if (value === undefined) return undefined;
  const tensor = value as Tensor;
  if (tensor.shape.length !== 2) {
    throw invalid(
      `Expected Tensor shape: [batch_size num_classes] but got [${tensor.shape.join(',')}]`,
    );
  }
  if (tensor.dtype !== dtype) {
    throw invalid(
      `Expected ${name} Tensor of ${wireTypeName(dtype)}. Got: ${wireTypeName(tensor.dtype)}`,
    );
  }
  if (tensor.shape[0] !== examples) {
    throw invalid(`Expected ${name} output batch size of ${examples}. Got: ${tensor.shape[0]}`);
  }
  return tensor;
}

function regressionsOf(
  results: Readonly<Record<string, Value>>,
  examples: number,
): readonly number[] {
  const tensor = results['outputs'] as Tensor;
  const { shape, dtype } = tensor;
  if (!(shape.length === 1 || (shape.length === 2 && shape[1] === 1))) {
    throw invalid(
      `Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [${shape.join(',')}]`,
    );
  }
  if (shape[0] !== examples) {
    throw invalid(`Input batch size did not match output batch size: ${examples} vs. ${shape[0]}`);
  }
  if (dtype !== 'float32') {
    throw invalid(`Expected output Tensor of DT_FLOAT.  Got: ${wireTypeName(dtype)}`);
  }
  return [...(tensor as Tensor<'float32'>).data];
}

/** The feeds of a small body that has been found to be as it should. */
function feedsOf({ inputs }: SignaturePlan, body: Uint8Array): Readonly<Record<string, Tensor>> {
  const specs = [...inputs.values()].flatMap(({ spec }) => (spec.kind === 'tensor' ? [spec] : []));
  return (decodePredict(body, () => specs) as DecodedPredict).feeds;
}

function fitsDeclaration(
  { inputs }: SignaturePlan,
  feeds: Readonly<Record<string, Tensor>>,
): boolean {
  const named = new Map<string, number>();
  const fits = (declared: Dimension, size: number): boolean => {
    if (typeof declared === 'number') return declared === size;
    if (declared === null) return true;
    const known = named.get(declared) ?? size;
    named.set(declared, size);
    return known === size;
  };
  return Object.entries(feeds).every(([name, { shape }]) => {
    const spec = inputs.get(name)?.spec;
    if (spec?.kind !== 'tensor' || spec.shape === null) return true;
    return (
      shape.length === spec.shape.length &&
      spec.shape.every((declared, i) => fits(declared, shape[i] as number))
    );
  });
}

function debugString(served: ServedModel, { signature }: SignaturePlan): string {
  const definition = served.signatureDefs()[signature.name];
  return definition === undefined ? signature.name : signatureDebugString(definition);
}

function timeLeft(timeoutMs: number | undefined, started: number): number | undefined {
  return timeoutMs === undefined ? undefined : timeoutMs - (performance.now() - started);
}

/** Names as TensorFlow lists a set of them: in the order of their bytes. */
function sorted(names: Iterable<string>): string {
  return [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).join(',');
}
