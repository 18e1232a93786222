/** `InferenceSession` of onnxruntime-common's API, straight over the backend. */

import type * as ort from 'onnxruntime-common';

import type { Backend, Common } from './backend.js';
import { failure, rangeError, typeError } from './errors.js';
import type { Feeds, Results, SessionHandler } from './handler.js';
import type { RunOptions } from './run-options.js';
import type { SessionOptions } from './session-options.js';

/** The arguments of a run, told apart. */
interface RunArguments {
  /** Undefined: every output. */
  readonly fetches: Record<string, ort.Tensor | null> | undefined;
  readonly options: RunOptions | undefined;
}

/** What `InferenceSession` is. */
export interface SessionClass {
  create(path: string, options?: SessionOptions): Promise<Session>;
  create(buffer: ArrayBufferLike | Uint8Array, options?: SessionOptions): Promise<Session>;
  create(
    buffer: ArrayBufferLike,
    byteOffset: number,
    byteLength?: number,
    options?: SessionOptions,
  ): Promise<Session>;
}

/** A session with all that onnxruntime-common's have, and `runSync`. */
export interface Session extends ort.InferenceSession {
  run(feeds: Feeds, options?: RunOptions): Promise<Results>;
  run(
    feeds: Feeds,
    fetches: ort.InferenceSession.FetchesType,
    options?: RunOptions,
  ): Promise<Results>;
  runSync(feeds: Feeds, options?: RunOptions): Results;
  runSync(feeds: Feeds, fetches: ort.InferenceSession.FetchesType, options?: RunOptions): Results;
  endProfiling(): string | undefined;
}

export function makeSessionClass({ Tensor }: Common, backend: Backend): SessionClass {
  const isTensor = (value: unknown): value is ort.Tensor => value instanceof Tensor;

  class InferenceSession implements Session {
    readonly #handler: SessionHandler;

    constructor(handler: SessionHandler) {
      this.#handler = handler;
    }

    static async create(
      arg0: unknown,
      arg1?: unknown,
      arg2?: unknown,
      arg3?: unknown,
    ): Promise<InferenceSession> {
      const [source, options] = createArguments(arg0, arg1, arg2, arg3);
      return new InferenceSession(await backend.createInferenceSessionHandler(source, options));
    }

    get inputNames() {
      return this.#handler.inputNames;
    }
    get outputNames() {
      return this.#handler.outputNames;
    }
    get inputMetadata() {
      return this.#handler.inputMetadata;
    }
    get outputMetadata() {
      return this.#handler.outputMetadata;
    }

    async run(feeds: Feeds, arg1?: unknown, arg2?: unknown): Promise<Results> {
      const { fetches, options } = this.#arguments(feeds, arg1, arg2);
      return this.#handler.run(feeds, fetches, options);
    }

    runSync(feeds: Feeds, arg1?: unknown, arg2?: unknown): Results {
      const { fetches, options } = this.#arguments(feeds, arg1, arg2);
      return this.#handler.runSync(feeds, fetches, options);
    }

    release(): Promise<void> {
      return this.#handler.dispose();
    }

    startProfiling(): void {
      this.#handler.startProfiling();
    }

    endProfiling(): string | undefined {
      return this.#handler.endProfiling();
    }

    /** `run(feeds, fetches?, options?)`: an object is fetches where it says so of an output. */
    #arguments(feeds: unknown, arg1: unknown, arg2: unknown): RunArguments {
      if (typeof feeds !== 'object' || feeds === null || isTensor(feeds) || Array.isArray(feeds)) {
        throw typeError(
          "'feeds' must be an object that use input names as keys and OnnxValue as corresponding values.",
        );
      }
      const fetches = fetchesOf(arg1, this.outputNames, isTensor);
      const given = fetches === undefined ? arg1 : arg2;
      if (given !== undefined && (typeof given !== 'object' || given === null)) {
        throw typeError("'options' must be an object.");
      }
      for (const name of this.inputNames) {
        if ((feeds as Feeds)[name] === undefined) {
          throw failure(`input '${name}' is missing in 'feeds'.`, 'ERR_TENON_MISSING_FEED');
        }
      }
      return { fetches, options: given };
    }
  }
  return InferenceSession;
}

/** @returns undefined where the argument is options, or nothing. */
function fetchesOf(
  arg: unknown,
  outputNames: readonly string[],
  isTensor: (value: unknown) => value is ort.Tensor,
): Record<string, ort.Tensor | null> | undefined {
  if (arg === undefined) return undefined;
  if (typeof arg !== 'object') {
    throw typeError("Unexpected argument[1]: must be 'fetches' or 'options'.");
  }
  if (arg === null) throw typeError('Unexpected argument[1]: cannot be null.');
  if (isTensor(arg)) throw typeError("'fetches' cannot be a Tensor");
  const fetches: Record<string, ort.Tensor | null> = {};
  if (Array.isArray(arg)) {
    if (arg.length === 0) throw typeError("'fetches' cannot be an empty array.");
    for (const name of arg as unknown[]) {
      if (typeof name !== 'string') {
        throw typeError("'fetches' must be a string array or an object.");
      }
      if (!outputNames.includes(name)) {
        throw rangeError(
          `'fetches' contains invalid output name: ${name}.`,
          'ERR_TENON_UNKNOWN_OUTPUT',
        );
      }
      fetches[name] = null;
    }
    return fetches;
  }
  let isFetches = false;
  for (const name of outputNames) {
    const value = Object.hasOwn(arg, name) ? (arg as Record<string, unknown>)[name] : undefined;
    if (value === null || isTensor(value)) {
      fetches[name] = value;
      isFetches = true;
    }
  }
  return isFetches ? fetches : undefined;
}

/** `create(path | bytes, options?)` and `create(buffer, byteOffset, byteLength?, options?)`. */
function createArguments(
  source: unknown,
  arg1: unknown,
  arg2: unknown,
  arg3: unknown,
): [string | Uint8Array, SessionOptions] {
  if (typeof source === 'string' || source instanceof Uint8Array) {
    return [source, optionsOf(arg1)];
  }
  if (!(source instanceof ArrayBuffer || source instanceof SharedArrayBuffer)) {
    throw typeError("Unexpected argument[0]: must be 'path' or 'buffer'.");
  }
  if (typeof arg1 !== 'number') return [new Uint8Array(source), optionsOf(arg1)];
  if (!Number.isSafeInteger(arg1)) throw rangeError("'byteOffset' must be an integer.");
  if (arg1 < 0 || arg1 >= source.byteLength) {
    throw rangeError(`'byteOffset' is out of range [0, ${source.byteLength}).`);
  }
  const rest = source.byteLength - arg1;
  if (arg2 === undefined) return [new Uint8Array(source, arg1), optionsOf(arg3)];
  if (typeof arg2 !== 'number') throw typeError("'byteLength' must be a number.");
  if (!Number.isSafeInteger(arg2)) throw rangeError("'byteLength' must be an integer.");
  if (arg2 <= 0 || arg2 > rest) throw rangeError(`'byteLength' is out of range (0, ${rest}].`);
  return [new Uint8Array(source, arg1, arg2), optionsOf(arg3)];
}

function optionsOf(value: unknown): SessionOptions {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null) throw typeError("'options' must be an object.");
  return value;
}
