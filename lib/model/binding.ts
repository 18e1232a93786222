import type { NativeBinding } from '../native/types.js';

export interface BindingRunOptions {
  /** Rejects the run with the signal's reason; see `model.run`. */
  signal?: AbortSignal;
  /** Milliseconds after which the run is stopped, with ERR_TENON_TIMEOUT. */
  timeoutMs?: number;
}

/** Runs a bound call; the model's part, which knows how to stop one. */
type Run = (options: BindingRunOptions | undefined) => Promise<void>;

const constructing = Symbol('constructing');

/**
 * A call of a model whose feeds and outputs are fixed: the least a call can cost. Made by
 * `model.bind()`. One run at a time; it ends with its model.
 */
export class Binding<O extends object = object> {
  /** The outputs by name: the same tensors at each run, written in place. */
  readonly outputs: O;
  readonly #native: NativeBinding;
  readonly #run: Run;

  constructor(key: symbol, native: NativeBinding, outputs: O, run: Run) {
    if (key !== constructing) throw new TypeError('a Binding is made by model.bind()');
    this.outputs = outputs;
    this.#native = native;
    this.#run = run;
  }

  /**
   * Reads the feeds as they are now, runs, and resolves with `outputs`. A run that was stopped may
   * have written to some of them.
   *
   * @throws ERR_TENON_BINDING_BUSY while a run of this binding is under way,
   *   ERR_TENON_MODEL_CLOSED, ERR_TENON_RUN, ERR_TENON_SHAPE, ERR_TENON_TIMEOUT, the signal's reason.
   */
  async run(options?: BindingRunOptions): Promise<O> {
    await this.#run(options);
    return this.outputs;
  }

  /** The same on the calling thread. */
  runSync(): O {
    this.#native.runSync();
    return this.outputs;
  }
}

export function createBinding<O extends object>(
  native: NativeBinding,
  outputs: O,
  run: Run,
): Binding<O> {
  return new Binding(constructing, native, outputs, run);
}
