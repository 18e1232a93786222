/**
 * The body of an inference request of the Open Inference Protocol: JSON, or JSON and then the tensors
 * that it announces, in binary.
 */

import { nativeAddon } from '../../native/load.js';
import type { NativeJsonInfer, NativeTensorOut } from '../../native/types.js';
import { type DType, dtypeFromNumber, dtypes } from '../../tensor/dtypes.js';
import { shapeText } from '../../tensor/shape.js';
import { adoptTensor, Tensor } from '../../tensor/tensor.js';
import { decodeAtOnceMaxBytes, refusal } from '../json.js';
import { StatusError } from '../status.js';
import { type Datatype, dtypeOfDatatype } from './datatypes.js';
import { integerParameter, type Parameters, parametersOf } from './parameters.js';
import {
  maxStringsDefault,
  type RawBudget,
  type RawCounts,
  type RawOptions,
  show,
  tensorFromRaw,
  tensorHead,
} from './raw.js';

export interface InferRequestedOutput {
  readonly name: string;
  readonly parameters: Parameters;
}

export interface InferRequestBody {
  /** Undefined where there is none. */
  readonly id: string | undefined;
  readonly parameters: Parameters;
  /**
   * By input, without a prototype. Tensors that came in binary are views of the body where they are
   * aligned in it.
   */
  readonly feeds: Record<string, Tensor>;
  /** None are all of the model's. */
  readonly outputs: readonly InferRequestedOutput[];
}

/**
 * Decodes a request. Elements in JSON are read natively, and exactly: 64-bit integers with all
 * digits, doubles correctly rounded. Members nobody knows are passed over.
 *
 * @param body Must be left alone until a promise has settled, and as long as tensors that are views
 *   of it are in use.
 * @param headerLength Bytes of the JSON at the beginning; undefined: all of them.
 * @param counts To which the bytes of tensors that came in binary are added.
 * @returns A promise where the JSON has more than `decodeAtOnceMaxBytes`.
 * @throws StatusError INVALID_ARGUMENT, naming what is wrong; RESOURCE_EXHAUSTED for too many strings;
 *   ERR_TENON_OUT_OF_MEMORY, ERR_TENON_QUEUE_FULL.
 */
export function decodeInferRequest(
  body: Uint8Array,
  headerLength: number | undefined,
  counts: RawCounts,
  options: RawOptions = {},
): InferRequestBody | Promise<InferRequestBody> {
  if (headerLength !== undefined && headerLength > body.byteLength) {
    throw invalid(
      `expected ${headerLength} bytes of JSON, as Inference-Header-Content-Length has it, received a body of ${body.byteLength}`,
    );
  }
  const header = headerLength === undefined ? body : body.subarray(0, headerLength);
  const binary = headerLength === undefined ? undefined : body.subarray(headerLength);
  const { json } = nativeAddon();
  const read = (result: NativeJsonInfer): InferRequestBody => {
    if (result[0] === 2) throw refusal(result);
    return new RequestReader(result[2], { binary, counts, options }).read(parse(result[1]));
  };
  if (header.byteLength <= decodeAtOnceMaxBytes) return read(json.decodeInfer(header, false));
  return json.decodeInfer(header, true).then(read);
}

/**
 * The request whose whole body is the data of a model's one input, a row of it: the first dimension
 * of any size is 1, and of the others one may be as long as the data says. BYTES are one element.
 *
 * @param input As the model declares it; -1 is any size.
 * @throws As `decodeInferRequest`.
 */
export function rawInferRequest(
  body: Uint8Array,
  { name, datatype, shape }: { name: string; datatype: Datatype; shape: readonly number[] },
  counts: RawCounts,
  options: RawOptions = {},
): InferRequestBody {
  const subject = `input "${name}"`;
  const dtype = dtypeOfDatatype(datatype) as DType;
  const sizes = [...shape];
  const first = sizes.indexOf(-1);
  if (first === 0) sizes[0] = 1;
  let tensor: Tensor;
  if (dtype === 'string') {
    tensor = new Tensor(
      'string',
      [body],
      sizes.map((size) => (size === -1 ? 1 : size)),
    );
  } else {
    const open = sizes.indexOf(-1);
    if (open !== -1) {
      const row = sizes.reduce((product, size) => product * (size === -1 ? 1 : size), 1);
      sizes[open] = Math.floor(body.byteLength / (row * (dtypes[dtype].bits / 8)));
    }
    const budget = { strings: maxStringsDefault };
    tensor = tensorFromRaw({ subject, datatype, shape: sizes }, body, budget, counts, options);
  }
  const feeds = Object.create(null) as Record<string, Tensor>;
  feeds[name] = tensor;
  return { id: undefined, parameters: binaryOutput, feeds, outputs: [] };
}

const binaryOutput: Parameters = new Map([['binary_data_output', true]]);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The engine's words would count positions without the tensors.
    throw new StatusError(
      'INVALID_ARGUMENT',
      'expected a JSON object and nothing else as the request',
      { cause },
    );
  }
}

interface BinaryPart {
  readonly binary: Uint8Array | undefined;
  readonly counts: RawCounts;
  readonly options: RawOptions;
}

class RequestReader {
  readonly #tensors: readonly NativeTensorOut[];
  readonly #binary: Uint8Array | undefined;
  readonly #counts: RawCounts;
  readonly #options: RawOptions;
  readonly #budget: RawBudget = { strings: maxStringsDefault };
  /** Of the binary tensors, as far as they have been taken. */
  #offset = 0;

  constructor(tensors: readonly NativeTensorOut[], { binary, counts, options }: BinaryPart) {
    this.#tensors = tensors;
    this.#binary = binary;
    this.#counts = counts;
    this.#options = options;
  }

  read(request: unknown): InferRequestBody {
    if (!isObject(request)) throw invalid('expected a JSON object and nothing else as the request');
    const { id, inputs, outputs = [] } = request;
    if (id !== undefined && typeof id !== 'string') {
      throw invalid(`expected a string as the "id" of the request, received ${show(id)}`);
    }
    if (!Array.isArray(inputs)) {
      throw invalid(`expected an array as the "inputs" of the request, received ${show(inputs)}`);
    }
    if (!Array.isArray(outputs)) {
      throw invalid(`expected an array as the "outputs" of the request, received ${show(outputs)}`);
    }
    const feeds = Object.create(null) as Record<string, Tensor>;
    for (const input of inputs as unknown[]) {
      const name = nameOf(input, 'input');
      if (name in feeds) throw invalid(`expected input "${name}" once, received it twice`);
      feeds[name] = this.#input(input as Json, `input "${name}"`);
    }
    const left = (this.#binary?.byteLength ?? 0) - this.#offset;
    if (left > 0) {
      throw invalid(
        `expected ${this.#offset} bytes of binary tensors, as the inputs announce, received ${left} more`,
      );
    }
    return {
      id,
      parameters: parametersOf(request['parameters'], ' of the request'),
      feeds,
      outputs: (outputs as unknown[]).map((output) => {
        const name = nameOf(output, 'output');
        return {
          name,
          parameters: parametersOf((output as Json)['parameters'], ` of output "${name}"`),
        };
      }),
    };
  }

  #input({ datatype, shape, data, parameters: given }: Json, subject: string): Tensor {
    const parameters = parametersOf(given, ` of ${subject}`);
    const raw = { subject, datatype, shape };
    if (parameters.has('binary_data_size')) {
      const size = integerParameter(parameters, 'binary_data_size', ` of ${subject}`);
      if (data !== undefined) {
        throw invalid(`expected "data" or binary data for ${subject}, received both`);
      }
      const bytes = this.#take(size, subject);
      return tensorFromRaw(raw, bytes, this.#budget, this.#counts, this.#options);
    }
    const { dtype, shape: sizes, size } = tensorHead(raw);
    if (dtype === 'float16' || dtype === 'bfloat16') {
      throw invalid(
        `expected binary data for ${subject}, which is ${String(datatype)}, received JSON`,
      );
    }
    const native = typeof data === 'number' ? this.#tensors[data] : undefined;
    if (native === undefined || dtypeFromNumber(native[0]) !== dtype) {
      const received = typeof data === 'string' ? data : show(data);
      throw invalid(
        `expected a list of ${String(datatype)} elements as the "data" of ${subject}, received ${received}`,
      );
    }
    const [, [count], elements, offsets] = native;
    if (count !== size) {
      throw invalid(
        `expected ${size} elements for ${subject} of shape ${shapeText(sizes)}, received ${count}`,
      );
    }
    return adoptTensor(dtype, sizes, elements, offsets);
  }

  #take(size: number, subject: string): Uint8Array {
    const left = (this.#binary?.byteLength ?? 0) - this.#offset;
    if (this.#binary === undefined || size > left) {
      throw invalid(
        this.#binary === undefined
          ? `expected the header Inference-Header-Content-Length with binary data for ${subject}, received none`
          : `expected ${size} bytes of binary data for ${subject}, received ${left}`,
      );
    }
    const start = this.#offset;
    this.#offset += size;
    return this.#binary.subarray(start, this.#offset);
  }
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function nameOf(tensor: unknown, what: string): string {
  if (!isObject(tensor)) {
    throw invalid(`expected an object for each ${what}, received ${show(tensor)}`);
  }
  const { name } = tensor;
  if (typeof name === 'string') return name;
  throw invalid(`expected a string as the "name" of each ${what}, received ${show(name)}`);
}

function invalid(message: string): StatusError {
  return new StatusError('INVALID_ARGUMENT', message);
}
