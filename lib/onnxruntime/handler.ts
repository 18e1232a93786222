/** A loaded model as onnxruntime-common's registry knows sessions. */

import type * as ort from 'onnxruntime-common';

import {
  type AsyncRunOptions,
  type FeedValue,
  type Model,
  type OutputPlace,
  Tensor,
  type TensorSpec,
  type ValueSpec,
  type ValuesModel,
} from '../index.js';
import { disposed, failure, runError, terminated } from './errors.js';
import { type ResolvedRunOptions, resolveRunOptions, type RunOptions } from './run-options.js';
import { outputsOnDevice } from './session-options.js';
import {
  carriedSpec,
  checkPlace,
  feedOf,
  fill,
  isCarried,
  mayStayOnDevice,
  outputOf,
  tensorOf,
  type TensorClass,
  unsupported,
} from './tensors.js';
import { onTerminate } from './terminate.js';

export type Feeds = Readonly<Record<string, unknown>>;
/** A tensor is where the output is to go. */
export type Fetches = Readonly<Record<string, ort.Tensor | null>>;
export type Results = Record<string, ort.Tensor>;

/** One output of a call. */
interface Fetch {
  readonly name: string;
  readonly given: ort.Tensor | null;
  /** The engine writes into `given` itself. */
  readonly inPlace: boolean;
}

interface Call {
  readonly feeds: Record<string, FeedValue>;
  readonly fetches: readonly Fetch[];
  /** Undefined: all of them, to host memory. */
  readonly outputs: Record<string, OutputPlace> | undefined;
}

/** What a session is made of beside the model. */
export interface HandlerSetup {
  readonly TensorOf: TensorClass;
  readonly preferredOutputLocation: unknown;
  /** The file that `endProfiling()` writes. */
  readonly profiles: boolean;
}

export class SessionHandler implements ort.InferenceSessionHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ort.InferenceSession.ValueMetadata[];
  readonly outputMetadata: readonly ort.InferenceSession.ValueMetadata[];

  readonly #model: Model<ValuesModel>;
  readonly #setup: HandlerSetup;
  readonly #inputs: readonly ValueSpec[];
  readonly #outputs: ReadonlyMap<string, ValueSpec>;
  /** Outputs that stay where the engine made them. */
  readonly #onDevice: ReadonlySet<string>;
  /** What most calls ask for, where nothing has to be said of it: every output. */
  readonly #everything: readonly Fetch[] | undefined;
  #isDisposed = false;

  /** @throws TypeError for a preferredOutputLocation that names no output. */
  constructor(model: Model<ValuesModel>, setup: HandlerSetup) {
    this.#model = model;
    this.#setup = setup;
    // Weights that a caller may replace are no inputs to onnxruntime-common.
    this.#inputs = Object.values(model.inputs).filter(({ optional }) => optional !== true);
    this.#outputs = new Map(Object.entries(model.outputs));
    this.inputNames = this.#inputs.map(({ name }) => name);
    this.outputNames = [...this.#outputs.keys()];
    this.inputMetadata = this.#inputs.map(metadataOf);
    this.outputMetadata = [...this.#outputs.values()].map(metadataOf);
    const onDevice = outputsOnDevice(setup.preferredOutputLocation, this.outputNames);
    // Where all memory is the CPU's, outputs are there already.
    const hasDevice = model.providers.some((name) => name !== 'CPUExecutionProvider');
    this.#onDevice = hasDevice
      ? new Set([...onDevice].filter((name) => this.#mayStay(name)))
      : new Set();
    this.#everything =
      this.#onDevice.size === 0 && [...this.#outputs.values()].every(isPlainOutput)
        ? this.outputNames.map((name) => ({ name, given: null, inPlace: false }))
        : undefined;
  }

  /** @param fetches Undefined: every output. */
  async run(
    feeds: Feeds,
    fetches?: Fetches,
    options?: RunOptions,
  ): Promise<ort.InferenceSession.ReturnType & Results> {
    const resolved = this.#start(options);
    const call = this.#prepare(feeds, fetches, (given) => Tensor.isOwned(given.data as never));
    try {
      const outputs =
        options?.terminate === undefined
          ? await this.#model.run(call.feeds, optionsOf(call, resolved.tenon))
          : await this.#runUntilTerminated(call, options, resolved);
      for (const { name } of call.fetches) {
        const output = (outputs as Record<string, Tensor>)[name] as Tensor | null;
        // Asked to stay on a device, and made on the CPU by a node that no other provider took.
        if (output?.location === 'engine' && output.device === 'cpu') {
          (outputs as Record<string, Tensor>)[name] = await output.toHost();
          output.dispose();
        }
      }
      return this.#results(call, outputs as Record<string, Tensor>);
    } catch (error) {
      throw runError(error);
    }
  }

  /** The same on the calling thread, which does nothing else meanwhile. */
  runSync(feeds: Feeds, fetches?: Fetches, options?: RunOptions): Results {
    const resolved = this.#start(options);
    const call = this.#prepare(feeds, fetches, () => true);
    const onnxruntime = resolved.tenon?.onnxruntime;
    try {
      const outputs = this.#model.runSync(
        call.feeds,
        optionsOf(call, onnxruntime === undefined ? undefined : { onnxruntime }),
      );
      return this.#results(call, outputs as Record<string, Tensor>);
    } catch (error) {
      throw runError(error);
    }
  }

  /** Runs that were started end first. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) throw disposed();
    this.#isDisposed = true;
    await this.#model.close();
  }

  /** Profiling starts with the session, by the option `enableProfiling`. */
  startProfiling(): void {
    if (this.#isDisposed) throw disposed();
  }

  /** The file of the profile, complete; undefined where the session makes none. */
  endProfiling(): string | undefined {
    if (this.#isDisposed) throw disposed();
    return this.#setup.profiles ? this.#model.endProfiling() : undefined;
  }

  #mayStay(name: string): boolean {
    const spec = this.#outputs.get(name);
    return spec?.kind === 'tensor' && mayStayOnDevice(spec.dtype);
  }

  #start(options: RunOptions | undefined): ResolvedRunOptions {
    if (this.#isDisposed) throw disposed();
    const resolved = resolveRunOptions(options);
    if (resolved.terminate) throw terminated();
    return resolved;
  }

  #runUntilTerminated(
    { feeds, outputs }: Call,
    options: RunOptions,
    { tenon, signal }: ResolvedRunOptions,
  ): Promise<Record<string, unknown>> {
    const terminator = new AbortController();
    const end = onTerminate(options, () => terminator.abort(terminated()));
    const stop =
      signal === undefined ? terminator.signal : AbortSignal.any([signal, terminator.signal]);
    const run = this.#model.run(feeds, { ...tenon, ...(outputs && { outputs }), signal: stop });
    return run.finally(end);
  }

  /** @throws What the stock binding says of feeds and fetches, before the engine is called. */
  #prepare(
    feeds: Feeds,
    fetches: Fetches | undefined,
    mayWriteInto: (given: ort.Tensor) => boolean,
  ): Call {
    const given: Record<string, FeedValue> = {};
    for (const spec of this.#inputs) {
      given[spec.name] = feedOf(feeds[spec.name], spec);
    }
    if (fetches === undefined && this.#everything !== undefined) {
      return { feeds: given, fetches: this.#everything, outputs: undefined };
    }
    const list: Fetch[] = [];
    const outputs: Record<string, OutputPlace> = {};
    // In the model's order, as the stock binding gives results.
    for (const [name, spec] of this.#outputs) {
      if (fetches !== undefined && !Object.hasOwn(fetches, name)) continue;
      const held = carriedSpec(spec);
      const place = fetches?.[name] ?? null;
      const target = place === null ? undefined : placeOf(place, held);
      const inPlace =
        place !== null && spec.kind === 'tensor' && held.dtype !== 'string' && mayWriteInto(place);
      list.push({ name, given: place, inPlace });
      outputs[name] =
        inPlace && target !== undefined
          ? target
          : this.#onDevice.has(name) && place === null
            ? 'engine'
            : 'host';
    }
    return { feeds: given, fetches: list, outputs };
  }

  #results({ fetches }: Call, outputs: Record<string, Tensor>): Results {
    const results: Results = {};
    for (const { name, given, inPlace } of fetches) {
      const output = outputs[name] as Tensor | null;
      // An optional without a value.
      if (output === null) throw unsupported(this.#outputs.get(name) as ValueSpec, 'output');
      if (given === null) {
        results[name] = outputOf(this.#setup.TensorOf, output);
        continue;
      }
      if (!inPlace) {
        fill(given, output, name);
        output.dispose();
      }
      results[name] = given;
    }
    return results;
  }
}

/** Undefined where nothing is said, which costs a run least. */
function optionsOf(
  { outputs }: Call,
  tenon: AsyncRunOptions<ValuesModel> | undefined,
): AsyncRunOptions<ValuesModel> | undefined {
  return outputs === undefined ? tenon : { ...tenon, outputs };
}

function isPlainOutput(spec: ValueSpec): boolean {
  return spec.kind === 'tensor' && isCarried(spec.dtype);
}

/** A given tensor as the place of an output: in host memory, of the output's type and shape. */
function placeOf(given: ort.Tensor, spec: TensorSpec): Tensor {
  const target = tensorOf(given, spec, 'output');
  if (target.location !== 'host') {
    throw failure(
      `output '${spec.name}' can be written into a tensor in host memory only.`,
      'ERR_TENON_UNSUPPORTED',
    );
  }
  if (spec.shape !== null) checkPlace(given.dims, spec.shape, spec.name);
  return target;
}

/** As onnxruntime-node gives it: an unknown rank is an empty shape, an unnamed dimension ''. */
function metadataOf(spec: ValueSpec): ort.InferenceSession.ValueMetadata {
  const { name } = spec;
  if (spec.kind !== 'tensor') return { name, isTensor: false };
  const shape = (spec.shape ?? []).map((dimension) => dimension ?? '');
  return { name, isTensor: true, type: spec.dtype as ort.Tensor.Type, shape };
}
