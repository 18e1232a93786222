import { describe, invalidArgument, TenonError } from '../errors.js';
import type { EngineName, NativeSession, NativeValueIn, NativeValueOut } from '../native/types.js';
import { checkOptions, integer, string, strings } from '../options.js';
import { feedToNative, isBareFeed } from './feeds.js';
import { valueFromNative } from './outputs.js';
import type { Signature, ValueSpec } from './spec.js';
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
  /** Which outputs to compute. Default: all. */
  outputs?: readonly O[];
}

export interface AsyncRunOptions<
  T extends ModelTypes<T> = UntypedModel,
  S extends keyof T = keyof T,
  O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
> extends RunOptions<T, S, O> {
  /**
   * Rejects the run with the signal's reason. ONNX Runtime is told to stop; TensorFlow cannot
   * stop one run, which then ends unheard.
   */
  signal?: AbortSignal;
  /** Milliseconds after which the run is stopped likewise, with ERR_TENON_TIMEOUT. */
  timeoutMs?: number;
}

/** What a model says of itself, under the engine's own keys. */
export interface ModelMetadata {
  readonly [key: string]: string | Readonly<Record<string, string>>;
  /** The model's own key/value map. */
  readonly custom: Readonly<Record<string, string>>;
}

/** A signature made ready for runs: names to indices, once. */
interface Plan {
  readonly index: number;
  readonly inputs: ReadonlyMap<string, { readonly index: number; readonly spec: ValueSpec }>;
  readonly required: readonly string[];
  /** The input a bare feed goes to. */
  readonly onlyInput: string | undefined;
  readonly outputs: ReadonlyMap<string, number>;
  readonly outputNames: readonly string[];
  readonly allOutputs: readonly number[];
}

interface Request {
  readonly plan: Plan;
  readonly inputs: readonly number[];
  readonly feeds: readonly NativeValueIn[];
  readonly outputs: readonly number[];
  readonly outputNames: readonly string[];
}

interface ModelSetup {
  signature: string | undefined;
  validateShapes: boolean;
  methodNames: ReadonlyMap<string, string>;
}

const constructing = Symbol('constructing');

/** Longest time a Node timer can wait. */
const maxTimeoutMs = 2 ** 31 - 1;

/**
 * A loaded model. Runs may overlap; each happens on a native thread of the model's own pool.
 *
 * A model belongs to one JavaScript thread. Memory of its feeds is copied when a run is called,
 * except where Tenon owns it (`Tensor.alloc`, outputs), so a caller may reuse its arrays at once.
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

  readonly #session: NativeSession;
  readonly #plans: ReadonlyMap<string, Plan>;
  readonly #defaultPlan: Plan | undefined;
  readonly #validateShapes: boolean;
  #closed: Promise<void> | undefined;
  #lastTicket = 0;

  /** Models are made by `load()`. */
  constructor(key: symbol, engine: EngineName, session: NativeSession, setup: ModelSetup) {
    if (key !== constructing) throw new TypeError('a Model is made by load()');
    const { info } = session;
    this.engine = engine;
    this.#session = session;
    this.#validateShapes = setup.validateShapes;
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
    const name = defaultSignature(info.signatures, setup.signature);
    this.#defaultPlan = name === undefined ? undefined : this.#plans.get(name);
    if (setup.signature !== undefined && this.#defaultPlan === undefined) {
      throw this.#unknownSignature(setup.signature);
    }
    this.inputs = name === undefined ? {} : (this.signatures[name]?.inputs ?? {});
    this.outputs = name === undefined ? {} : (this.signatures[name]?.outputs ?? {});
  }

  /**
   * Runs the model on a native thread.
   *
   * @param feeds By input name: a Tensor; a typed array or a flat array, whose shape the model
   *   settles; a scalar; nested arrays. For a model with one input the bare value.
   * @returns The outputs by name, each over memory of its own: writing to one changes nothing else.
   * @throws A TenonError, before the engine is called: ERR_TENON_UNKNOWN_FEED,
   *   ERR_TENON_MISSING_FEED, ERR_TENON_DTYPE, ERR_TENON_SHAPE, ERR_TENON_DATA_LENGTH,
   *   ERR_TENON_DETACHED, ERR_TENON_DISPOSED, ERR_TENON_UNKNOWN_OUTPUT,
   *   ERR_TENON_UNKNOWN_SIGNATURE, ERR_TENON_QUEUE_FULL, ERR_TENON_MODEL_CLOSED; ERR_TENON_RUN with
   *   the engine's text where the engine fails; ERR_TENON_TIMEOUT; the signal's reason.
   */
  async run<
    S extends keyof T = DefaultSignature<T>,
    O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
  >(feeds: Feeds<T, S>, options?: AsyncRunOptions<T, S, O>): Promise<Pick<T[S]['outputs'], O>> {
    const given = checkOptions(options, 'run', ['signature', 'outputs', 'signal', 'timeoutMs']);
    const signal = checkSignal(given['signal']);
    const timeoutMs = integer(given['timeoutMs'], 'timeoutMs', 0, 1, maxTimeoutMs);
    signal?.throwIfAborted();
    const request = this.#request(feeds, given);
    const values =
      signal === undefined && timeoutMs === 0
        ? await this.#start(request, 0)
        : await this.#startStoppable(request, signal, timeoutMs);
    return namedOutputs(request, values) as Pick<T[S]['outputs'], O>;
  }

  /**
   * Runs the model on the calling thread, which does nothing else meanwhile: for worker threads
   * and for models that take microseconds. Feeds are not copied.
   *
   * @throws As `run`.
   */
  runSync<
    S extends keyof T = DefaultSignature<T>,
    O extends keyof T[S]['outputs'] = keyof T[S]['outputs'],
  >(feeds: Feeds<T, S>, options?: RunOptions<T, S, O>): Pick<T[S]['outputs'], O> {
    const given = checkOptions(options, 'runSync', ['signature', 'outputs']);
    const request = this.#request(feeds, given);
    const { plan, inputs, feeds: values, outputs } = request;
    return namedOutputs(
      request,
      this.#session.runSync(plan.index, inputs, values, outputs),
    ) as Pick<T[S]['outputs'], O>;
  }

  /**
   * Lets running and queued runs end, then gives the engine's session back. New runs throw
   * ERR_TENON_MODEL_CLOSED from the moment of the call. Closing again waits for the same end.
   */
  close(): Promise<void> {
    this.#closed ??= this.#session.close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start({ plan, inputs, feeds, outputs }: Request, ticket: number): Promise<NativeValueOut[]> {
    return this.#session.run(plan.index, inputs, feeds, outputs, ticket);
  }

  #startStoppable(
    request: Request,
    signal: AbortSignal | undefined,
    timeoutMs: number,
  ): Promise<NativeValueOut[]> {
    // Tickets are 32-bit and not 0; one is free again long before the count comes round.
    this.#lastTicket = (this.#lastTicket % 0xffff_fffe) + 1;
    const ticket = this.#lastTicket;
    // First of all: what it throws must leave neither a timer nor a listener.
    const started = this.#start(request, ticket);
    return new Promise((resolve, reject) => {
      const stop = (reason: unknown): void => {
        this.#session.cancel(ticket);
        end();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- an AbortSignal's reason may be anything
        reject(reason);
      };
      const onAbort = (): void => stop(signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      const timer =
        timeoutMs === 0
          ? undefined
          : setTimeout(
              () =>
                stop(
                  new TenonError(
                    'ERR_TENON_TIMEOUT',
                    `expected the run to end within ${timeoutMs} ms, and it did not`,
                  ),
                ),
              timeoutMs,
            );
      const end = (): void => {
        signal?.removeEventListener('abort', onAbort);
        clearTimeout(timer);
      };
      started.then(resolve, reject).finally(end);
    });
  }

  #request(feeds: unknown, options: Record<string, unknown>): Request {
    if (this.#closed !== undefined) {
      throw new TenonError(
        'ERR_TENON_MODEL_CLOSED',
        'expected an open model, received a run after close()',
      );
    }
    const plan = this.#plan(string(options['signature'], 'signature'));
    const inputs: number[] = [];
    const values: NativeValueIn[] = [];
    const take = (name: string, value: unknown): void => {
      const input = plan.inputs.get(name);
      if (input === undefined) {
        throw new TenonError(
          'ERR_TENON_UNKNOWN_FEED',
          `expected feeds for ${listed(plan.inputs.keys())}, received one for "${name}"`,
        );
      }
      inputs.push(input.index);
      values.push(feedToNative(value, input.spec, name, this.#validateShapes));
    };
    if (isBareFeed(feeds)) {
      if (plan.onlyInput === undefined) {
        throw new TenonError(
          'ERR_TENON_MISSING_FEED',
          `expected an object with feeds for ${listed(plan.inputs.keys())}, received ${describe(feeds)}`,
        );
      }
      take(plan.onlyInput, feeds);
    } else {
      const named = feeds as Record<string, unknown>;
      for (const name of Object.keys(named)) {
        if (named[name] !== undefined) take(name, named[name]);
      }
      for (const name of plan.required) {
        if (named[name] === undefined || !Object.hasOwn(named, name)) {
          throw new TenonError(
            'ERR_TENON_MISSING_FEED',
            `expected a feed for "${name}", received ${listed(Object.keys(named))}`,
          );
        }
      }
    }
    const wanted = options['outputs'];
    if (wanted === undefined) {
      const { allOutputs: outputs, outputNames } = plan;
      return { plan, inputs, feeds: values, outputs, outputNames };
    }
    const outputNames = [...new Set(strings(wanted, 'outputs'))];
    if (outputNames.length === 0) {
      throw invalidArgument('outputs', `at least one of ${listed(plan.outputNames)}`, wanted);
    }
    const outputs = outputNames.map((name) => {
      const index = plan.outputs.get(name);
      if (index === undefined) {
        throw new TenonError(
          'ERR_TENON_UNKNOWN_OUTPUT',
          `expected outputs among ${listed(plan.outputNames)}, received "${name}"`,
        );
      }
      return index;
    });
    return { plan, inputs, feeds: values, outputs, outputNames };
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
  session: NativeSession,
  setup: ModelSetup,
): Model<T> {
  return new Model<T>(constructing, engine, session, setup);
}

function planOf(signature: { inputs: ValueSpec[]; outputs: ValueSpec[] }, index: number): Plan {
  const required = signature.inputs.filter(({ optional }) => optional !== true);
  const onlyInput = required.length === 1 ? required[0] : signature.inputs[0];
  return {
    index,
    inputs: new Map(signature.inputs.map((spec, i) => [spec.name, { index: i, spec }])),
    required: required.map(({ name }) => name),
    onlyInput: required.length === 1 || signature.inputs.length === 1 ? onlyInput?.name : undefined,
    outputs: new Map(signature.outputs.map(({ name }, i) => [name, i])),
    outputNames: signature.outputs.map(({ name }) => name),
    allOutputs: signature.outputs.map((_, i) => i),
  };
}

function byName(specs: readonly ValueSpec[]): Record<string, ValueSpec> {
  return Object.fromEntries(specs.map((spec) => [spec.name, Object.freeze(spec)]));
}

function defaultSignature(
  signatures: readonly { name: string }[],
  chosen: string | undefined,
): string | undefined {
  if (chosen !== undefined) return chosen;
  if (signatures.some(({ name }) => name === 'serving_default')) return 'serving_default';
  return signatures.length === 1 ? signatures[0]?.name : undefined;
}

function namedOutputs(
  { outputNames }: Request,
  values: readonly NativeValueOut[],
): Record<string, Value> {
  const outputs: Record<string, Value> = {};
  for (let i = 0; i < outputNames.length; i++) {
    outputs[outputNames[i] as string] = valueFromNative(values[i] as NativeValueOut);
  }
  return outputs;
}

function listed(names: Iterable<string>): string {
  const list = [...names];
  return list.length === 0 ? 'nothing' : list.map((name) => `"${name}"`).join(', ');
}

function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  // By what it does, not by instanceof: polyfills and other realms have their own.
  const { addEventListener, throwIfAborted } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof addEventListener !== 'function' || typeof throwIfAborted !== 'function') {
    throw invalidArgument('signal', 'an AbortSignal', signal);
  }
  return signal as AbortSignal;
}
