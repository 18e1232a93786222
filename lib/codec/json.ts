/**
 * Tensors as JSON: the bodies of TensorFlow Serving's REST API, read and written natively
 * (native/codec), what is large on threads of the codec's own.
 *
 * The formats and texts are those of github.com/tensorflow/serving,
 * tensorflow_serving/util/json_tensor.cc.
 */

import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  NativeJson,
  NativeJsonExamples,
  NativeJsonInputs,
  NativeJsonPredict,
  NativeJsonRun,
  NativeRefusal,
  NativeSession,
  NativeTensorIn,
  NativeTensorOut,
} from '../native/types.js';
import { type DType, dtypeFromNumber, dtypes } from '../tensor/dtypes.js';
import { adoptTensor, type Tensor, toNative } from '../tensor/tensor.js';
import { StatusCode, StatusError, type StatusName } from './status.js';

/**
 * Bodies of up to as many bytes are read on the calling thread. Of 16 KiB that took 12 µs for
 * numbers of 17 digits and 72 µs for lists of three small integers, and handing the body to
 * another thread and back 17 to 60 µs more.
 */
export const decodeAtOnceMaxBytes = 16 * 1024;

/**
 * Likewise tensors of up to as many elements are written there: that took 13 µs for integers, 47 µs
 * for doubles, and on another thread 7 to 32 µs more.
 */
export const encodeAtOnceMaxElements = 2048;

/** An input of a signature. */
export interface JsonInput {
  readonly name: string;
  readonly dtype: DType;
}

/** Whether a body lists instances ("instances", "predictions") or whole tensors ("inputs", "outputs"). */
export type JsonFormat = 'row' | 'columnar';

export interface DecodedPredict {
  /** "serving_default" where the body names none. */
  readonly signatureName: string;
  readonly format: JsonFormat;
  /**
   * By input: what the body had, usually all of them. Memory of Tenon's own (that of more than 16 KiB
   * is external and aligned to 64 bytes), to be disposed of after use.
   */
  readonly feeds: Record<string, Tensor>;
}

export interface DecodedExamples {
  /** "serving_default" where the body names none. */
  readonly signatureName: string;
  /** Each a serialized tensorflow.Example, the context's bytes in front. */
  readonly examples: Uint8Array[];
}

/** An output under its name in the signature. */
export interface JsonOutput {
  readonly name: string;
  readonly tensor: Tensor;
}

const defaultSignature = 'serving_default';
const rowForm = 0;
const columnarForm = 1;

/**
 * Decodes the body of a predict request.
 *
 * Elements go straight into tensors of the inputs' dtypes. Numbers are read exactly: integers with
 * all digits, doubles correctly rounded, floats as the nearest double rounded to float. Of members
 * with the same name the first counts; what follows the root is not looked at.
 *
 * @param body Must be left alone until a promise has settled.
 * @param inputsOf The inputs of a signature; what it throws for an unknown one is thrown here,
 *   unless the body is not well-formed. It is also asked for "serving_default" when the body may
 *   name another. The same array for the same signature spares reading it again.
 * @returns A promise where the body has more than `decodeAtOnceMaxBytes`.
 * @throws StatusError with TensorFlow Serving's texts; ERR_TENON_OUT_OF_MEMORY,
 *   ERR_TENON_QUEUE_FULL.
 */
export function decodePredict(
  body: Uint8Array,
  inputsOf: (signatureName: string) => readonly JsonInput[],
): DecodedPredict | Promise<DecodedPredict> {
  const decoder = new PredictDecoder(body, inputsOf);
  return body.byteLength <= decodeAtOnceMaxBytes ? decoder.decode() : decoder.decodeOnThread();
}

interface Inputs {
  readonly specs: readonly JsonInput[];
  readonly native: NativeJsonInputs;
}

class PredictDecoder {
  readonly #json: NativeJson = nativeAddon().json;
  readonly #body: Uint8Array;
  readonly #inputsOf: (signatureName: string) => readonly JsonInput[];
  #signatureName = defaultSignature;
  #inputs: Inputs | undefined;
  /** What `#inputsOf` threw for the signature. */
  #failure: { readonly error: unknown } | undefined;

  constructor(body: Uint8Array, inputsOf: (signatureName: string) => readonly JsonInput[]) {
    this.#body = body;
    this.#inputsOf = inputsOf;
    this.#useSignature(defaultSignature);
  }

  decode(): DecodedPredict {
    for (;;) {
      const native = this.#inputs?.native ?? null;
      const decoded = this.#finish(this.#json.decodePredict(this.#body, native, false));
      if (decoded !== undefined) return decoded;
    }
  }

  async decodeOnThread(): Promise<DecodedPredict> {
    for (;;) {
      const native = this.#inputs?.native ?? null;
      const decoded = this.#finish(await this.#json.decodePredict(this.#body, native, true));
      if (decoded !== undefined) return decoded;
    }
  }

  #useSignature(name: string): void {
    this.#signatureName = name;
    this.#inputs = undefined;
    this.#failure = undefined;
    try {
      const specs = this.#inputsOf(name);
      this.#inputs = { specs, native: nativeInputs(this.#json, name, specs) };
    } catch (error) {
      // Thrown only if the body means this signature and is well-formed.
      this.#failure = { error };
    }
  }

  /** Undefined where the body has to be read again, for another signature. */
  #finish(result: NativeJsonPredict): DecodedPredict | undefined {
    if (result[0] === 2) throw refusal(result);
    if (result[0] === 1) {
      const [, name] = result;
      if (name === this.#signatureName) {
        if (this.#failure !== undefined) throw this.#failure.error;
        // Asked for again it would be another again: U+FFFD stands for what is no UTF-8.
        throw new StatusError('INVALID_ARGUMENT', "'signature_name' must be UTF-8");
      }
      this.#useSignature(name);
      return undefined;
    }
    const [, form, tensors] = result;
    const feeds: Record<string, Tensor> = Object.create(null) as Record<string, Tensor>;
    for (let i = 0; i < tensors.length; i++) {
      const spec = this.#inputs?.specs[result[3 + i] as number];
      if (spec !== undefined) feeds[spec.name] = tensorOf(tensors[i] as NativeTensorOut);
    }
    const format = form === rowForm ? 'row' : 'columnar';
    return { signatureName: this.#signatureName, format, feeds };
  }
}

const known = new WeakMap<readonly JsonInput[], Map<string, NativeJsonInputs>>();

function nativeInputs(
  json: NativeJson,
  signatureName: string,
  specs: readonly JsonInput[],
): NativeJsonInputs {
  let bySignature = known.get(specs);
  if (bySignature === undefined) {
    bySignature = new Map<string, NativeJsonInputs>();
    known.set(specs, bySignature);
  }
  let inputs = bySignature.get(signatureName);
  if (inputs === undefined) {
    const names = specs.map(({ name }) => name);
    const numbers = specs.map(({ dtype }) => dtypes[dtype].number);
    inputs = json.createInputs(signatureName, names, numbers);
    bySignature.set(signatureName, inputs);
  }
  return inputs;
}

/**
 * Decodes the body of a classify or regress request into serialized tensorflow.Example messages:
 * integers and booleans become int64_list, other numbers float_list, strings and `{"b64": …}`
 * bytes_list.
 *
 * @param body Must be left alone until a promise has settled.
 * @returns A promise where the body has more than `decodeAtOnceMaxBytes`.
 * @throws StatusError with TensorFlow Serving's texts; RESOURCE_EXHAUSTED where the context,
 *   repeated for each example, makes more than 64 MiB and eight times the body of them.
 */
export function decodeExamples(body: Uint8Array): DecodedExamples | Promise<DecodedExamples> {
  const { json } = nativeAddon();
  if (body.byteLength <= decodeAtOnceMaxBytes) {
    return examplesOf(json.decodeExamples(body, false));
  }
  return json.decodeExamples(body, true).then(examplesOf);
}

function examplesOf(result: NativeJsonExamples): DecodedExamples {
  if (result[0] === 2) throw refusal(result);
  const [, signatureName, examples] = result;
  return { signatureName, examples: tensorOf(examples).bytes as Uint8Array[] };
}

/**
 * Writes the answer to a predict request, `{"predictions": …}` or `{"outputs": …}`, with
 * TensorFlow Serving's layout and numbers. One output is written alone, several by their names, in
 * the order they are given; strings whose output ends in "_bytes" are `{"b64": …}`.
 *
 * @param outputs In host memory. What is not Tenon's own is copied where another thread writes.
 * @returns The text, a string where it is short and has nothing but ASCII; a promise where there are
 *   more than `encodeAtOnceMaxElements`.
 * @throws StatusError with TensorFlow Serving's texts; ERR_TENON_TOO_LARGE for an answer of 2 GiB
 *   or more, ERR_TENON_OUT_OF_MEMORY, ERR_TENON_QUEUE_FULL, ERR_TENON_DISPOSED,
 *   ERR_TENON_UNSUPPORTED for tensors that stay in their engine.
 */
export function encodePredict(
  format: JsonFormat,
  outputs: readonly JsonOutput[],
): string | Buffer | Promise<string | Buffer> {
  const { json } = nativeAddon();
  const form = format === 'row' ? rowForm : columnarForm;
  const names = outputs.map(({ name }) => name);
  const tensors = outputs.map(({ name, tensor }) => nativeTensor(name, tensor));
  const elements = outputs.reduce((sum, { tensor }) => sum + tensor.size, 0);
  if (elements <= encodeAtOnceMaxElements) {
    return textOf(json.encodePredict(form, names, tensors, false));
  }
  return json.encodePredict(form, names, tensors, true).then(textOf);
}

/**
 * Predicts of one signature of a model as JSON, each in one go on the calling thread: body to tensors
 * to outputs to answer. For models whose runs are shorter than handing them to another thread, where
 * three calls of the addon and the tensors between them would cost more than the run.
 */
export class JsonRun {
  readonly #run: NativeJsonRun;
  readonly #outputNames: readonly string[];
  readonly #micros = new Float64Array(1);

  /**
   * @param signature By its number, and its name.
   * @param outputNames Which to compute and write, in this order; tensors.
   */
  constructor(
    session: NativeSession,
    signature: number,
    name: string,
    inputs: readonly JsonInput[],
    outputNames: readonly string[],
  ) {
    const native = nativeInputs(nativeAddon().json, name, inputs);
    this.#run = session.prepareJson(signature, native, outputNames, this.#micros);
    this.#outputNames = outputNames;
  }

  /** How long the engine took for the last run, in microseconds. */
  get micros(): number {
    return this.#micros[0] as number;
  }

  /**
   * @returns As `encodePredict`; undefined, with nothing done, where a run on this thread is not what
   *   is called for, or the body is not as it should be: `decodePredict` says what is wrong.
   * @throws What a run of the model throws; as `encodePredict`.
   */
  run(body: Uint8Array): string | Buffer | Promise<string | Buffer> | undefined {
    if (body.byteLength > decodeAtOnceMaxBytes) return undefined;
    const result = this.#run(body);
    if (typeof result === 'string' || result === undefined) return result;
    if (result instanceof ArrayBuffer || result[0] !== 0) return textOf(result);
    const [, form, tensors] = result;
    const outputs = tensors.map((tensor, i) => ({
      name: this.#outputNames[i] as string,
      tensor: tensorOf(tensor),
    }));
    return encodePredict(form === rowForm ? 'row' : 'columnar', outputs);
  }
}

interface ToNative {
  [toNative](subject: string): NativeTensorIn | object;
}

/** What the addon takes a tensor as. */
export function nativeTensor(name: string, tensor: Tensor): NativeTensorIn {
  const native = (tensor as unknown as ToNative)[toNative](name);
  if (Array.isArray(native)) return native as unknown as NativeTensorIn;
  throw new TenonError(
    'ERR_TENON_UNSUPPORTED',
    `expected a tensor in host memory for "${name}", received one that stays in its engine; copy it with toHost()`,
  );
}

/** A text that the addon wrote. */
export function textOf(result: ArrayBuffer | string | NativeRefusal): string | Buffer {
  if (typeof result === 'string') return result;
  if (result instanceof ArrayBuffer) return Buffer.from(result);
  throw refusal(result);
}

/**
 * A number as answers have it: six significant digits as printf's `%g` writes them if they read
 * back as the same number, else nine (float32) or seventeen (float64); ".0" behind what looks like
 * an integer; NaN, Infinity and -Infinity bare.
 */
export function encodeNumber(value: number, dtype: 'float32' | 'float64'): string {
  return nativeAddon().json.encodeNumber(value, dtype === 'float32');
}

function tensorOf([dtype, shape, data, offsets]: NativeTensorOut): Tensor {
  return adoptTensor(dtypeFromNumber(dtype), shape, data, offsets);
}

const statusNames = new Map(
  Object.entries(StatusCode).map(([name, code]) => [code as number, name as StatusName]),
);

/** The error that a refusal of the addon's stands for. */
export function refusal([, code, message]: NativeRefusal): StatusError {
  return new StatusError(statusNames.get(code) ?? 'UNKNOWN', message);
}
