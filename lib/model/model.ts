import { type JsonInput, JsonRun } from '../codec/json.js';
import { modelClosed, TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type { OnnxRuntimeRunOptions } from '../engines/options-onnxruntime.js';
import { resolveRunOptions } from '../engines/options-run.js';
import type { TensorFlowRunOptions } from '../engines/options-tensorflow.js';
import type { EngineName, NativeHistogram, NativeRunOptions } from '../native/types.js';
import { boolean, checkOptions, integer, string } from '../options.js';
import type { SessionStats } from '../pool/session-pool.js';
import { isUnderWay, type Runner, Tickets } from '../runner.js';
import { Tensor } from '../tensor/tensor.js';
import type { Batching, BatchingStats } from './batching.js';
import { type Binding, createBinding } from './binding.js';
import { runSync } from './exchange.js';

import { checkStop, neverStopped, PendingCalls, type StopOptions } from './pending.js';
import {
  defaultSignatureOf,
  listed,
  makeRequest,
  namedOutputs,
  type OutputPlace,
  type Plan,
  planOf,
  type Request,
  targetOf,
} from './request.js';
import type { Sessions } from './sessions.js';
import { jsonRun, type RunResults, startRun } from './short-cuts.js';
import type { Signature, ValueSpec } from './spec.js';
import type { LaneStats } from './pool.js';
import type { ModelTypes, UntypedModel, Value } from './types.js';

/** The signature `run` takes by itself: "serving_default" where the model has it. */
export type DefaultSignature<T extends ModelTypes<T>> = 'serving_default' extends keyof T
  ? 'serving_default'
  : keyof T & string;

/** Feeds by name, or the bare value of a model's only input. */
export type Feeds<T extends ModelTypes<T>, S extends keyof T> =
  T[S]['feeds'] | T[S]['feeds'][keyof T[S]['feeds']];

export interface RunOptions<
  T extends ModelTypes<T> = UntypedModel,
  S extends keyof T = keyof T,
  O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
> {
  /** Which signature to call. Default: the one chosen at load, usually "serving_default". */
  signature?: S;
  /**
   * Which outputs to compute, by name; or where each goes: `'host'` memory (the default for names
   * alone), `'engine'` (it stays there as a tensor that can be fed but not read), or a tensor of
   * its dtype and shape, which is written in place and comes back. A run off the calling thread
   * writes only into memory of Tenon's own (`Tensor.alloc`, a large output). Default: all, to host
   * memory.
   */
  outputs?: readonly O[] | { readonly [name in O]?: OutputPlace };
  /**
   * What only ONNX Runtime is told of this run; says nothing of a model of TensorFlow. A run with
   * such options, or those of TensorFlow, always goes to a lane.
   */
  onnxruntime?: OnnxRuntimeRunOptions;
  /** What only TensorFlow is told of this run; says nothing of an ONNX model. */
  tensorflow?: TensorFlowRunOptions;
}

export interface AsyncRunOptions<
  T extends ModelTypes<T> = UntypedModel,
  S extends keyof T = keyof T,
  O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
> extends RunOptions<T, S, O> {
  /**
   * Rejects the run with the signal's reason, at once: a queued run leaves the queue, ONNX Runtime
   * is told to stop, TensorFlow cannot stop one run, which then ends unheard on its lane.
   */
  signal?: AbortSignal;
  /** Milliseconds after which the run is stopped likewise, with ERR_TENON_TIMEOUT. */
  timeoutMs?: number;
  /** Queued runs of a higher priority go first; equal ones in order. An integer. Default: 0. */
  priority?: number;
  /**
   * Passes the caller's own ArrayBuffers to the engine by pointer instead of copying them. Until
   * the promise settles they must be neither written to, nor resized, nor transferred away
   * (postMessage, `ArrayBuffer.transfer`): the engine would read freed memory. A run that was
   * stopped therefore rejects only when it has ended, and a worker that is terminated waits for it.
   * Default: false.
   */
  borrow?: boolean;
  /**
   * With batching: whose run it is, by any name. Callers that wait take turns, a row each, so that
   * one who sends many keeps no other waiting. Default: all are one caller.
   */
  caller?: string;
}

export interface BindOptions<T extends ModelTypes<T>, S extends keyof T> {
  signature?: S;
  /** Tensors that outputs are written into. The others get memory of their own. */
  outputs?: { readonly [name in keyof T[S]['outputs']]?: Tensor };
  /** What the engine is told of each run of the binding; as for `run`. */
  onnxruntime?: OnnxRuntimeRunOptions;
  tensorflow?: TensorFlowRunOptions;
}

/** An execution provider that could not start. */
export interface ProviderFallback {
  /** As it was asked for. */
  readonly provider: string;
  /** The engine's words. */
  readonly reason: string;
}

/** What a model says of itself, under the engine's own keys. */
export interface ModelMetadata {
  readonly [key: string]: string | Readonly<Record<string, string>>;
  /** The model's own key/value map. */
  readonly custom: Readonly<Record<string, string>>;
}

/** Times in microseconds; a quantile is at most 12.5 % too large. */
export type TimeSummary = NativeHistogram;

/**
 * A snapshot of plain numbers. Counts are those of the model in all threads that share it, and in
 * all its sessions; a quantile is then the largest of the sessions'.
 */
export interface ModelStats {
  /** Runs that ended, failed and cancelled ones included. */
  readonly runs: number;
  /** Of these, asynchronous runs that happened on the calling thread. */
  readonly inlineRuns: number;
  readonly failedRuns: number;
  readonly cancelledRuns: number;
  /** Runs that wait for a lane. */
  readonly queuedRuns: number;
  /** Lanes that run, abandoned runs included. */
  readonly busyLanes: number;
  /** Waits of runs that went through a lane. */
  readonly queueMicros: TimeSummary;
  /** Calls of the engine that went well. */
  readonly runMicros: TimeSummary;
  /**
   * Bytes of feeds copied on their way to the engine, with what the engine's layer copies between
   * host buffers besides (outputs it writes into given tensors), and of feeds passed by pointer.
   */
  readonly feedBytesCopied: number;
  readonly feedBytesPassed: number;
  /**
   * Bytes of outputs likewise; those written into a given tensor count as neither, but for the small
   * ones (4 KiB each) that `runSync` copies there.
   */
  readonly outputBytesCopied: number;
  readonly outputBytesPassed: number;
  /**
   * The lanes that have started: of a shared pool with all that they did for its models. Their runs
   * are those made on a lane, a batch being one.
   */
  readonly lanes: readonly LaneStats[];
  /** Calls of the engine for several runs at once. */
  readonly batches: number;
  /** Runs that were made in them; `runs` and the like count them one by one. */
  readonly batchedRuns: number;
  /** Rows (dimension 0) of those runs, and rows that filled batches up. */
  readonly batchRows: number;
  readonly paddedRows: number;
  /** How many batches had 2^i to 2^(i + 1) - 1 rows of runs, by i; as long as it has to be. */
  readonly batchSizes: readonly number[];
  /** Bytes copied into batches, which are among `feedBytesCopied`. */
  readonly gatheredBytes: number;
  /** Buffers allocated for batches. They are used again, so this stops to grow. */
  readonly gatherAllocations: number;
  /** Of a pool of several sessions, what each does; empty otherwise. */
  readonly sessions: readonly SessionStats[];
  /** What the batcher does, in this thread; undefined without `batching`. */
  readonly batching: BatchingStats | undefined;
  /** Memory of Tenon's own that JavaScript holds, of all models of the process. */
  readonly liveBuffers: number;
  readonly liveBytes: number;
}

/** A model that other threads may attach to: can be sent to a worker, and given to `load()`. */
export interface SharedModel {
  readonly kind: 'tenon.SharedModel';
  readonly shares: readonly number[];
  readonly engine: EngineName;
  readonly signature: string | undefined;
  readonly validateShapes: boolean;
  readonly methodNames: readonly (readonly [string, string])[];
}

interface ModelSetup {
  signature: string | undefined;
  validateShapes: boolean;
  methodNames: ReadonlyMap<string, string>;
}

const constructing = Symbol('constructing');

/**
 * A loaded model. Runs may overlap; those that take longer than handing them over happen on
 * native threads of the model's own ("lanes").
 *
 * A model belongs to one JavaScript thread (others attach through `share()`). Memory of its feeds
 * is copied when a run is called, except where Tenon owns it (`Tensor.alloc`, outputs), so a caller
 * may reuse its arrays at once.
 */
export class Model<T extends ModelTypes<T> = UntypedModel> {
  readonly engine: EngineName;
  /** Every signature by name. An ONNX model has one, "serving_default". */
  readonly signatures: Readonly<Record<string, Signature>>;
  /** Inputs of the default signature, by name, in the model's order. */
  readonly inputs: Readonly<Record<string, ValueSpec>>;
  /** Outputs of the default signature, by name, in the model's order. */
  readonly outputs: Readonly<Record<string, ValueSpec>>;
  readonly metadata: ModelMetadata;
  /**
   * ONNX Runtime's execution providers for this model, in order of preference, by their full names;
   * the CPU, the last, takes what no other can. Empty for TensorFlow.
   */
  readonly providers: readonly string[];
  /** Providers that were asked for and left out, see `allowProviderFallback` of `load`. */
  readonly providerFallbacks: readonly ProviderFallback[];

  /** What runs go through; calls that a runner has no part in go to a session itself. */
  readonly #runner: Runner;
  readonly #sessions: Sessions;
  readonly #setup: ModelSetup;
  readonly #plans: ReadonlyMap<string, Plan>;
  readonly #defaultPlan: Plan | undefined;
  readonly #batching: Batching | undefined;
  readonly #tickets: Tickets;
  readonly #pending = new PendingCalls();
  #closed: Promise<void> | undefined;

  /** Models are made by `load()`. */
  constructor(
    key: symbol,
    engine: EngineName,
    sessions: Sessions,
    setup: ModelSetup,
    batching?: Batching,
  ) {
    if (key !== constructing) throw new TypeError('a Model is made by load()');
    const { info } = sessions.first();
    this.engine = engine;
    this.#runner = batching?.runner ?? sessions.runner;
    this.#batching = batching;
    this.#tickets = batching?.tickets ?? new Tickets();
    this.#sessions = sessions;
    this.#setup = setup;
    this.#plans = new Map(
      info.signatures.map((signature, index) => [signature.name, planOf(signature, index)]),
    );
    this.signatures = Object.fromEntries(
      info.signatures.map(({ name, inputs, outputs }) => {
        const methodName = setup.methodNames.get(name);
        const signature: Signature = {
          name,
          inputs: byName(inputs),
          outputs: byName(outputs),
          ...(methodName ? { methodName } : {}),
        };
        return [name, signature];
      }),
    );
    this.metadata = {
      ...Object.fromEntries(info.metadata),
      custom: Object.fromEntries(info.customMetadata),
    };
    this.providers = info.providers;
    this.providerFallbacks = info.providerFallbacks.map(([provider, reason]) => ({
      provider,
      reason,
    }));
    const name = defaultSignatureOf(info.signatures, setup.signature);
    this.#defaultPlan = name === undefined ? undefined : this.#plans.get(name);
    if (setup.signature !== undefined && this.#defaultPlan === undefined) {
      throw this.#unknownSignature(setup.signature);
    }
    this.inputs = name === undefined ? {} : (this.signatures[name]?.inputs ?? {});
    this.outputs = name === undefined ? {} : (this.signatures[name]?.outputs ?? {});
  }

  /**
   * Runs the model off the calling thread, or on it where that is shorter than handing it over.
   *
   * @param feeds By input name: a Tensor; a typed array or a flat array, whose shape the model
   *   settles; a scalar; nested arrays. For a model with one input the bare value.
   * @returns The outputs by name, each over memory of its own: writing to one changes nothing else.
   * @throws A TenonError, before the engine is called: ERR_TENON_UNKNOWN_FEED,
   *   ERR_TENON_MISSING_FEED, ERR_TENON_DTYPE, ERR_TENON_SHAPE, ERR_TENON_DATA_LENGTH,
   *   ERR_TENON_DETACHED, ERR_TENON_DISPOSED, ERR_TENON_UNKNOWN_OUTPUT,
   *   ERR_TENON_UNKNOWN_SIGNATURE, ERR_TENON_QUEUE_FULL, ERR_TENON_MODEL_CLOSED, with batching
   *   ERR_TENON_DEADLINE; ERR_TENON_RUN with
   *   the engine's text where the engine fails; ERR_TENON_TIMEOUT; the signal's reason.
   */
  async run<
    S extends keyof T = DefaultSignature<T>,
    O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
  >(feeds: Feeds<T, S>, options?: AsyncRunOptions<T, S, O>): Promise<Pick<T[S]['outputs'], O>> {
    const started = this[startRun](feeds, options);
    return (started instanceof Promise ? await started : started) as Pick<T[S]['outputs'], O>;
  }

  [startRun](feeds: unknown, options?: object): RunResults | Promise<RunResults> {
    let stop = neverStopped;
    let priority = 0;
    let borrow = false;
    let caller: string | undefined;
    let given: Record<string, unknown> = noOptions;
    if (options !== undefined) {
      given = checkOptions(options, 'run', runOptionNames);
      stop = checkStop(given);
      priority = integer(given['priority'], 'priority', 0, -(2 ** 31));
      borrow = boolean(given['borrow'], 'borrow', false);
      caller = string(given['caller'], 'caller');
    }
    const request = this.#request(feeds, given, this.#batching?.filledInput);
    const own = this.#engineOptions(given);
    // The batcher itself knows who waits when the model is destroyed.
    const isTracked =
      this.#batching === undefined || stop.signal !== undefined || stop.timeoutMs > 0;
    const ticket = isTracked ? this.#tickets.next() : 0;
    const deadline = stop.timeoutMs === 0 ? 0 : performance.now() + stop.timeoutMs;
    const started = this.#runner.run(own === undefined ? request : { ...request, options: own }, {
      ticket,
      priority,
      borrow,
      deadline,
      caller,
    });
    if (!isUnderWay(started)) return namedOutputs(request, started);
    return isTracked
      ? this.#track(started, this.#runner, ticket, stop, borrow).then((results) =>
          namedOutputs(request, results),
        )
      : started.then(
          (results) => namedOutputs(request, results),
          (error: unknown) => {
            throw atCaller(error);
          },
        );
  }

  /**
   * Runs the model on the calling thread, which does nothing else meanwhile: for worker threads
   * and for models that take microseconds. Feeds of more than 16 KiB in all are not copied.
   *
   * @throws As `run`.
   */
  runSync<
    S extends keyof T = DefaultSignature<T>,
    O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
  >(feeds: Feeds<T, S>, options?: RunOptions<T, S, O>): Pick<T[S]['outputs'], O> {
    const given =
      options === undefined ? noOptions : checkOptions(options, 'runSync', syncRunOptionNames);
    const request = this.#request(feeds, given);
    const own = this.#engineOptions(given);
    const results = runSync(
      this.#sessions.first(),
      own === undefined ? request : { ...request, options: own },
    );
    return namedOutputs(request, results) as Pick<T[S]['outputs'], O>;
  }

  /**
   * Settles a call once, to be made many times at the least cost: names, checks, values and
   * buffers. Feeds whose memory is Tenon's own (`Tensor.alloc`, outputs) are read anew at each run,
   * anything else keeps the value it had here. Outputs are written in place at each run: into the
   * tensors given, or into memory of their own whose shape one run here finds out.
   *
   * @throws As `run`; ERR_TENON_UNSUPPORTED for outputs that have no fixed size (strings,
   *   sequences, maps). A run of the binding throws ERR_TENON_SHAPE where an output's shape is not
   *   the same again.
   */
  async bind<S extends keyof T = DefaultSignature<T>>(
    feeds: Feeds<T, S>,
    options?: BindOptions<T, S>,
  ): Promise<Binding<T[S]['outputs']>> {
    const given = checkOptions(options, 'bind', syncRunOptionNames);
    const own = this.#engineOptions(given);
    const plan = this.#plan(string(given['signature'], 'signature'));
    const places = checkOptions(given['outputs'], 'outputs', plan.outputNames);
    const request = this.#request(feeds, { signature: given['signature'] });
    const { outputNames } = plan;
    const specOf = (name: string): ValueSpec =>
      (plan.outputs.get(name) as { spec: ValueSpec }).spec;
    const missing = outputNames.filter((name) => places[name] === undefined);
    const found =
      missing.length === 0
        ? {}
        : ((await this.run(feeds, {
            ...given,
            outputs: missing as (keyof T[S]['outputs'])[],
          })) as Record<string, unknown>);
    const outputs: Record<string, Tensor> = {};
    for (const name of outputNames) {
      const place = (places[name] ?? found[name]) as Value;
      if (!(place instanceof Tensor) || place.dtype === 'string') {
        throw new TenonError(
          'ERR_TENON_UNSUPPORTED',
          `expected outputs of fixed size to bind, received "${name}" of ${specOf(name).kind === 'tensor' ? 'strings' : `kind ${specOf(name).kind}`}`,
        );
      }
      outputs[name] = places[name] === undefined ? Tensor.alloc(place.dtype, place.shape) : place;
    }
    if (this.#closed !== undefined) throw modelClosed();
    const targets = outputNames.map((name) => targetOf(outputs[name] as Tensor, specOf(name)));
    const session = this.#sessions.first();
    const native = session.bind(
      plan.index,
      request.inputs,
      request.feeds,
      request.outputs,
      targets,
      own,
    );
    return createBinding(native, outputs as T[S]['outputs'], async (runOptions) => {
      const stop =
        runOptions === undefined
          ? neverStopped
          : checkStop(checkOptions(runOptions, 'run', ['signal', 'timeoutMs']));
      const ticket = this.#tickets.next();
      const started = native.run(ticket);
      if (started !== undefined) await this.#track(started, session, ticket, stop);
    });
  }

  /** What the model has done so far; see ModelStats. @throws ERR_TENON_MODEL_CLOSED. */
  stats(): ModelStats {
    const { buffers, byteLength } = nativeAddon().memory();
    return {
      ...this.#sessions.stats(),
      sessions: this.#sessions.sessionStats(),
      batching: this.#batching?.stats(),
      liveBuffers: buffers,
      liveBytes: byteLength,
    };
  }

  /**
   * Ends the profile that the option `onnxruntime.profiling` of `load` asked for, instead of
   * `close()`, and gives the path of its file, which is complete then. Runs that are under way are
   * in it as far as they are. The calling thread writes the file.
   *
   * @throws ERR_TENON_UNSUPPORTED for a model that was loaded without; ERR_TENON_MODEL_CLOSED.
   */
  endProfiling(): string {
    return this.#sessions.first().endProfiling();
  }

  /**
   * A handle by which another worker of this process runs the same model without loading it again:
   * send it with `postMessage` and give it to `load()` there. The model stays until everyone who
   * loaded or attached has closed it; nobody can attach any more once this one is closed.
   *
   * @throws ERR_TENON_MODEL_CLOSED.
   */
  share(): SharedModel {
    const { signature, validateShapes, methodNames } = this.#setup;
    return {
      kind: 'tenon.SharedModel',
      shares: this.#sessions.share(),
      engine: this.engine,
      signature,
      validateShapes,
      methodNames: [...methodNames],
    };
  }

  /**
   * Lets running and queued runs end, then gives the engine's session back. New runs throw
   * ERR_TENON_MODEL_CLOSED from the moment of the call. Closing again waits for the same end.
   */
  close(): Promise<void> {
    this.#closed ??= this.#runner.close();
    return this.#closed;
  }

  /**
   * Rejects running and queued runs with `reason` at once, then closes: ONNX Runtime is told to
   * stop, a TensorFlow run ends unheard. Resolves when the engine's session is gone.
   */
  destroy(
    reason: unknown = new TenonError('ERR_TENON_ABORTED', 'the model was destroyed'),
  ): Promise<void> {
    const destroyed = this.#batching?.runner.destroy(reason) ?? this.#runner.destroy();
    this.#closed ??= destroyed;
    this.#pending.stopAll(reason);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [jsonRun](signature: string): JsonRun | undefined {
    const session = this.#batching === undefined ? this.#sessions.only : undefined;
    const plan = this.#plans.get(signature);
    if (session === undefined || plan === undefined || this.#setup.validateShapes) return undefined;
    const inputs: JsonInput[] = [];
    for (const { spec } of plan.inputs.values()) {
      if (spec.kind !== 'tensor') return undefined;
      inputs.push(spec);
    }
    for (const { spec } of plan.outputs.values()) if (spec.kind !== 'tensor') return undefined;
    const outputs = Object.keys(this.signatures[signature]?.outputs ?? {});
    return new JsonRun(session, plan.index, signature, inputs, outputs);
  }

  async #track<R>(
    started: Promise<R>,
    runner: Pick<Runner, 'cancel'>,
    ticket: number,
    stop: StopOptions,
    lent = false,
  ): Promise<R> {
    try {
      return await this.#pending.track(started, () => runner.cancel(ticket), stop, 'run', lent);
    } catch (error) {
      throw atCaller(error);
    }
  }

  #request(feeds: unknown, options: Record<string, unknown>, filled?: string): Request {
    if (this.#closed !== undefined) throw modelClosed();
    const plan = this.#plan(
      options === noOptions ? undefined : string(options['signature'], 'signature'),
    );
    return makeRequest(plan, feeds, options['outputs'], this.#setup.validateShapes, filled);
  }

  /** Undefined where the engine is told nothing of this run alone. */
  #engineOptions(given: Record<string, unknown>): NativeRunOptions | undefined {
    return given === noOptions ? undefined : resolveRunOptions(this.engine, given);
  }

  #plan(signature: string | undefined): Plan {
    if (signature === undefined) {
      if (this.#defaultPlan !== undefined) return this.#defaultPlan;
      throw new TenonError(
        'ERR_TENON_UNKNOWN_SIGNATURE',
        `expected the "signature" option, because the model has ${listed(this.#plans.keys())} and no "serving_default"`,
      );
    }
    const plan = this.#plans.get(signature);
    if (plan === undefined) throw this.#unknownSignature(signature);
    return plan;
  }

  #unknownSignature(name: string): TenonError {
    return new TenonError(
      'ERR_TENON_UNKNOWN_SIGNATURE',
      `expected a signature among ${listed(this.#plans.keys())}, received "${name}"`,
    );
  }
}

/** What `load()` calls once the engine has the model. */
export function createModel<T extends ModelTypes<T>>(
  engine: EngineName,
  sessions: Sessions,
  setup: ModelSetup,
  batching?: Batching,
): Model<T> {
  return new Model<T>(constructing, engine, sessions, setup, batching);
}

/** An error that was made on the way back from a lane knows nothing of its caller; here it does. */
function atCaller(error: unknown): unknown {
  if (error instanceof TenonError) Error.captureStackTrace(error);
  return error;
}

const noOptions: Record<string, unknown> = Object.freeze({});
const syncRunOptionNames = ['signature', 'outputs', 'onnxruntime', 'tensorflow'];
const runOptionNames = [
  ...syncRunOptionNames,
  'signal',
  'timeoutMs',
  'priority',
  'borrow',
  'caller',
];

function byName(specs: readonly ValueSpec[]): Record<string, ValueSpec> {
  return Object.fromEntries(specs.map((spec) => [spec.name, Object.freeze(spec)]));
}
