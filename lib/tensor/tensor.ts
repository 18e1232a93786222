import { describe, invalidArgument, TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type { NativeEngineTensor, NativeTensorIn, NativeHandle } from '../native/types.js';
import { bfloat16ToNumber, float16ToNumber, smallFloatToNumber, unpack } from './convert.js';
import {
  carrierLength,
  dtypeFromNumber,
  type DType,
  type DTypeData,
  type DTypeElement,
  type DTypeSource,
  dtypes,
  isDType,
  type TypedArray,
} from './dtypes.js';
import { dataFromElements, inferDType, nestedShape, tensorShape } from './elements.js';
import { releaseMemory } from './pins.js';
import { checkShape, elementCount, shapeText } from './shape.js';

const brand = Symbol.for('tenon.Tensor');

/** The method by which the model layer takes a tensor of either build of the package. */
export const toNative = Symbol.for('tenon.Tensor.toNative');

type Elements = TypedArray | readonly (string | Uint8Array)[];

/** Elements that need no more checks, on their way into the constructor. */
class Adopted {
  constructor(
    readonly elements: Elements | undefined,
    /** Memory of Tenon's own, or what is over it: what dispose() gives back. */
    readonly memory: ArrayBuffer | TypedArray | undefined,
    /** The tensor that stays in its engine, in place of elements. */
    readonly engine?: NativeEngineTensor,
  ) {}
}

/** Elements in nested arrays, as deep as the tensor's rank. */
export type TensorArray<D extends DType> = DTypeElement[D] | TensorArray<D>[];

/** What a tensor can be made of. */
export type TensorElements<D extends DType> =
  | DTypeSource[D]
  | readonly DTypeElement[D][]
  | (D extends 'string' ? readonly (string | Uint8Array)[] : never)
  | (D extends 'int64' | 'uint64' ? readonly (number | bigint)[] : never);

/**
 * A multi-dimensional array of one dtype, row-major, in host memory.
 *
 * A tensor does not copy the typed array it is made of: it is a view, and writing to `data`
 * writes to the caller's array. It belongs to one JavaScript thread.
 */
export class Tensor<D extends DType = DType> {
  readonly dtype: D;
  /** Sizes of the dimensions, outermost first; empty for a scalar. */
  readonly shape: readonly number[];
  /** Number of elements: the product of the shape, 1 for a scalar. */
  readonly size: number;

  #elements: Elements | undefined;
  #memory: ArrayBuffer | TypedArray | undefined;
  #engine: NativeEngineTensor | undefined;
  #strings: string[] | undefined;
  #bytes: Uint8Array[] | undefined;

  /**
   * @param dtype The name of an element type.
   * @param data The elements in row-major order: the dtype's typed array (see `DTypeData`), used
   *   as it is; or an array of numbers, bigints, booleans, strings or Uint8Arrays (strings as
   *   bytes), which is converted.
   * @param shape Non-negative integers; by default one dimension that holds all of `data`.
   * @throws ERR_TENON_DTYPE for elements of another type, ERR_TENON_DATA_LENGTH where data and
   *   shape disagree, ERR_TENON_SHAPE, ERR_TENON_TOO_LARGE, ERR_TENON_DETACHED.
   */
  constructor(dtype: D, data: TensorElements<D>, shape?: readonly number[]) {
    if ((data as unknown) instanceof Adopted) {
      const adopted = data as unknown as Adopted;
      this.dtype = dtype;
      this.shape = shape as number[];
      this.size = elementCount(this.shape);
      this.#elements = adopted.elements;
      this.#memory = adopted.memory;
      this.#engine = adopted.engine;
      return;
    }
    this.dtype = checkDType(dtype);
    const elements = elementsOf(dtype, data);
    if (shape === undefined) {
      this.shape = checkShape([lengthOf(dtype, data, elements)], `a ${dtype} tensor`);
    } else {
      this.shape = checkShape(shape, `a ${dtype} tensor`);
    }
    this.size = elementCount(this.shape);
    const expected = carrierLength(dtype, this.size);
    if (elements.length !== expected) {
      if (isDetached(elements)) throw detached(`a ${dtype} tensor`);
      throw new TenonError(
        'ERR_TENON_DATA_LENGTH',
        `expected ${expected} elements for a ${dtype} tensor of shape ${shapeText(this.shape)}, received ${elements.length}`,
      );
    }
    this.#elements = elements;
  }

  /** Also true for tensors of the package's other build (ESM and CommonJS). */
  static [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && brand in value;
  }

  /**
   * A zeroed tensor in memory of Tenon's own, aligned to 64 bytes: both engines take it as it is,
   * without a copy, in synchronous and asynchronous runs alike. (Feeds of 16 KiB or less in all are
   * copied, which takes less time.)
   *
   * @throws ERR_TENON_OUT_OF_MEMORY, ERR_TENON_SHAPE, ERR_TENON_TOO_LARGE; ERR_TENON_UNSUPPORTED
   *   for strings, which have no fixed size.
   */
  static alloc<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
    checkDType(dtype);
    if (dtype === 'string') {
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        'expected a dtype of fixed size for Tensor.alloc, received "string"',
      );
    }
    const checked = checkShape(shape, `a ${dtype} tensor`);
    const length = carrierLength(dtype, elementCount(checked));
    const byteLength = length * bytesPerCarrierElement(dtype);
    if (!Number.isSafeInteger(byteLength)) {
      throw new TenonError(
        'ERR_TENON_TOO_LARGE',
        `expected fewer than 2^53 bytes for a ${dtype} tensor, received shape ${shapeText(checked)}`,
      );
    }
    return adoptTensor(dtype, checked, nativeAddon().alloc(byteLength)) as Tensor<D>;
  }

  /**
   * Whether a typed array lies in memory of Tenon's own (`Tensor.alloc`, a large output). An
   * asynchronous run passes such memory to the engine without a copy, and may write an output into
   * it.
   */
  static isOwned(data: ArrayBufferView): boolean {
    return nativeAddon().owns(data.buffer);
  }

  /**
   * A tensor from nested arrays or one scalar. Without `dtype`, numbers become float32, bigints
   * int64, booleans bool, strings and Uint8Arrays string. Complex elements are
   * `[real, imaginary]` pairs.
   *
   * @throws ERR_TENON_SHAPE for ragged arrays, ERR_TENON_DTYPE for elements that do not fit.
   */
  static from<D extends DType = DType>(values: unknown, dtype?: D): Tensor<D> {
    const nested = nestedShape(values);
    const elementType = checkDType(dtype ?? (inferDType(values) as D));
    const data = dataFromElements(elementType, values, nested);
    return new Tensor(elementType, data as TensorElements<D>, tensorShape(elementType, nested));
  }

  /**
   * Where the elements are: in host memory, or in the engine, where an output was told to stay
   * (`outputs: { name: 'engine' }`). A tensor in the engine may be fed; `toHost()` copies it.
   */
  get location(): 'host' | 'engine' {
    return this.#engine === undefined ? 'host' : 'engine';
  }

  /** "cpu", or the engine's name for the device that holds a tensor in the engine. */
  get device(): string {
    return this.#engine?.device ?? 'cpu';
  }

  /** Bytes of the elements; for strings the sum of their UTF-8 lengths. */
  get byteLength(): number {
    if (this.#engine !== undefined) return this.#engine.byteLength;
    const bytes: Uint8Array | Uint8Array[] = this.bytes;
    if (!Array.isArray(bytes)) return bytes.byteLength;
    return bytes.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /**
   * The elements in row-major order, in the dtype's carrier: a view, not a copy. Strings are
   * decoded once.
   *
   * @throws ERR_TENON_INVALID_UTF8 for a string tensor whose bytes are no UTF-8 (use `bytes`),
   *   ERR_TENON_DISPOSED.
   */
  get data(): DTypeData[D] {
    const elements = this.#live();
    if (isTypedArray(elements)) return elements as DTypeData[D];
    this.#strings ??= elements.map((element, index) => {
      if (typeof element === 'string') return element;
      try {
        return utf8.decode(element);
      } catch (cause) {
        throw new TenonError(
          'ERR_TENON_INVALID_UTF8',
          `expected UTF-8 in element ${index} of a string tensor, received other bytes; read them through "bytes"`,
          { cause },
        );
      }
    });
    return this.#strings as DTypeData[D];
  }

  /**
   * The elements as bytes: for a string tensor one Uint8Array an element, whatever they hold; for
   * every other dtype one Uint8Array over the whole memory, without a copy.
   */
  get bytes(): D extends 'string' ? Uint8Array[] : Uint8Array {
    const elements = this.#live();
    let bytes: Uint8Array | Uint8Array[];
    if (isTypedArray(elements)) {
      bytes = new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
    } else {
      bytes = this.#bytes ??= elements.map((element) =>
        typeof element === 'string' ? encoder.encode(element) : element,
      );
    }
    return bytes as D extends 'string' ? Uint8Array[] : Uint8Array;
  }

  /**
   * The elements in nested arrays; a bare element for a scalar. bool elements are booleans,
   * 64-bit integers bigints, half and 8-bit floats numbers, complex numbers pairs.
   */
  toArray(): TensorArray<D> {
    const element = this.#reader();
    let index = 0;
    const build = (depth: number): unknown => {
      if (depth === this.shape.length) return element(index++);
      return Array.from({ length: this.shape[depth] ?? 0 }, () => build(depth + 1));
    };
    return build(0) as TensorArray<D>;
  }

  /**
   * The elements as float32, rounded where they do not fit: always a new array.
   *
   * @throws ERR_TENON_UNSUPPORTED for strings and complex numbers.
   */
  toFloat32(): Float32Array {
    const { parts } = dtypes[this.dtype];
    if (this.dtype === 'string' || parts > 1) {
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        `expected a dtype of real numbers for toFloat32, received "${this.dtype}"`,
      );
    }
    if (this.dtype === 'float32') return (this.data as Float32Array).slice();
    const element = this.#reader();
    const result = new Float32Array(this.size);
    for (let i = 0; i < result.length; i++) result[i] = Number(element(i));
    return result;
  }

  /**
   * This tensor in host memory: itself where it is there, else a copy, made on a native thread.
   *
   * @throws ERR_TENON_DISPOSED.
   */
  async toHost(): Promise<Tensor<D>> {
    if (this.#engine === undefined) {
      this.#live();
      return this;
    }
    const [dtype, shape, data, offsets] = await nativeAddon().toHost(this.#engine.handle);
    return adoptTensor(dtypeFromNumber(dtype), shape, data, offsets) as Tensor<D>;
  }

  /**
   * Lets the elements go: typed arrays over memory of Tenon's own (`Tensor.alloc`, outputs) become
   * empty, and the memory is freed at once, or when the last run that reads it has ended; a
   * caller's own array is only forgotten. Every later use throws ERR_TENON_DISPOSED; disposing
   * twice is nothing. What else reads the memory by pointer, such as a write to a socket, must have
   * ended.
   */
  dispose(): void {
    const memory = this.#memory;
    if (memory !== undefined) {
      releaseMemory(isTypedArray(memory) ? (memory.buffer as ArrayBuffer) : memory);
    }
    if (this.#engine !== undefined) nativeAddon().releaseEngineTensor(this.#engine.handle);
    this.#memory = undefined;
    this.#engine = undefined;
    this.#elements = undefined;
    this.#strings = undefined;
    this.#bytes = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What console.log shows: the dtype, the shape and the first elements. */
  [Symbol.for('nodejs.util.inspect.custom')](
    _depth: number,
    options: object,
    inspect: (value: unknown, options: object) => string,
  ): string {
    const head = `Tensor ${this.dtype} ${shapeText(this.shape)}`;
    const elements = this.#elements;
    if (this.#engine !== undefined) return `${head} (in the engine, ${this.device})`;
    if (elements === undefined) return `${head} (disposed)`;
    const shown = elements.slice(0, 8);
    const rest = elements.length - shown.length;
    const list = Array.from<unknown, string>(shown as ArrayLike<unknown>, (element) =>
      inspect(element, options),
    );
    return `${head} [${list.join(', ')}${rest > 0 ? `, … ${rest} more` : ''}]`;
  }

  /** @internal */
  [toNative](subject: string): NativeTensorIn | NativeHandle {
    if (this.#engine !== undefined) return this.#engine.handle;
    const elements = this.#live();
    if (isTypedArray(elements)) {
      if (elements.length !== carrierLength(this.dtype, this.size)) {
        if (isDetached(elements)) throw detached(`"${subject}"`);
        throw new TenonError(
          'ERR_TENON_DATA_LENGTH',
          `expected ${carrierLength(this.dtype, this.size)} elements for "${subject}", received ${elements.length}: its buffer was resized`,
        );
      }
    }
    return [dtypes[this.dtype].number, this.shape, elements];
  }

  #live(): Elements {
    if (this.#engine !== undefined) {
      throw new TenonError(
        'ERR_TENON_UNSUPPORTED',
        `expected a tensor in host memory, received a ${this.dtype} tensor that stays in its engine; copy it with toHost()`,
      );
    }
    if (this.#elements === undefined) {
      throw new TenonError(
        'ERR_TENON_DISPOSED',
        `expected a live tensor, received a ${this.dtype} tensor that was disposed`,
      );
    }
    return this.#elements;
  }

  /** Reads one element as toArray() gives it. */
  #reader(): (index: number) => unknown {
    const dtype: DType = this.dtype;
    const { bits, parts } = dtypes[dtype];
    const data = this.data as TypedArray | string[];
    if (parts > 1) return (index) => [data[2 * index], data[2 * index + 1]];
    if (bits > 0 && bits < 8) {
      const packed = data as Uint8Array;
      const signed = dtype === 'int4' || dtype === 'int2';
      return (index) => {
        const raw = unpack(packed, index, bits, signed);
        return smallFloatToNumber(dtype, raw) ?? raw;
      };
    }
    if (dtype === 'bool') return (index) => data[index] !== 0;
    if (dtype === 'float16') return (index) => float16ToNumber(data[index] as number);
    if (dtype === 'bfloat16') return (index) => bfloat16ToNumber(data[index] as number);
    if (dtype.startsWith('float8')) {
      return (index) => smallFloatToNumber(dtype, data[index] as number);
    }
    return (index) => data[index];
  }
}

// On the prototype, not on each instance: making a tensor stays cheap.
Object.defineProperty(Tensor.prototype, brand, { value: true });

/** A tensor over elements or memory of the addon's, which the tensor then owns. */
export function adoptTensor(
  dtype: DType,
  shape: readonly number[],
  memory: ArrayBuffer | TypedArray,
  offsets?: Float64Array,
): Tensor {
  const elements = isTypedArray(memory) ? memory : elementsIn(dtype, memory, offsets);
  return new Tensor(
    dtype,
    new Adopted(elements, memory) as unknown as TensorElements<DType>,
    shape,
  );
}

function elementsIn(dtype: DType, buffer: ArrayBuffer, offsets?: Float64Array): Elements {
  if (dtype !== 'string') {
    return new (dtypes[dtype].carrier as new (buffer: ArrayBuffer) => TypedArray)(buffer);
  }
  const bytes = new Uint8Array(buffer);
  return Array.from({ length: (offsets?.length ?? 1) - 1 }, (_, i) =>
    bytes.subarray(offsets?.[i], offsets?.[i + 1]),
  );
}

/** A tensor that stays in its engine. */
export function adoptEngineTensor(engine: NativeEngineTensor): Tensor {
  const adopted = new Adopted(undefined, undefined, engine);
  return new Tensor(
    dtypeFromNumber(engine.dtype),
    adopted as unknown as TensorElements<DType>,
    engine.shape,
  );
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Whether `value` is a typed array, of whatever realm. */
export function isTypedArray(value: unknown): value is TypedArray {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

function checkDType<D extends DType>(dtype: D): D {
  if (!isDType(dtype)) {
    throw invalidArgument('dtype', `one of ${Object.keys(dtypes).join(', ')}`, dtype);
  }
  return dtype;
}

function bytesPerCarrierElement(dtype: DType): number {
  return (dtypes[dtype].carrier as Uint8ArrayConstructor).BYTES_PER_ELEMENT;
}

/** Data as a caller gave it, in the dtype's carrier. */
function elementsOf(dtype: DType, data: unknown): Elements {
  if (Array.isArray(data)) {
    const { parts } = dtypes[dtype];
    const isFlat = parts === 1 || data.length === 0 || typeof data[0] === 'number';
    const shape = isFlat ? [data.length] : nestedShape(data);
    return dataFromElements(dtype, data, shape);
  }
  const { carrier } = dtypes[dtype];
  if (isTypedArray(data)) {
    // The tag, unlike instanceof, also holds for arrays of another realm (vm contexts, test runners).
    const name: string = data[Symbol.toStringTag];
    if (name === carrier.name) return data;
    // Other views of the same bytes, where nothing is lost in taking them.
    if (carrier === Uint8Array && name === 'Uint8ClampedArray') {
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    }
    if (dtype === 'float16' && name === 'Float16Array') {
      return new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
    }
  }
  const expected = dtype === 'string' ? 'an array of strings or Uint8Arrays' : `a ${carrier.name}`;
  throw new TenonError(
    'ERR_TENON_DTYPE',
    `expected ${expected} or an array of elements as data of ${dtype}, received ${describe(data)}`,
  );
}

/** Elements in `data` where no shape says so: packed bytes are taken to be full. */
function lengthOf(dtype: DType, data: unknown, elements: Elements): number {
  const { bits, parts } = dtypes[dtype];
  if (parts > 1) return elements.length / parts;
  if (Array.isArray(data)) return data.length;
  return bits > 0 && bits < 8 ? elements.length * (8 / bits) : elements.length;
}

/** Whether the buffer behind a typed array was transferred away. */
export function isDetached(elements: unknown): boolean {
  if (!ArrayBuffer.isView(elements) || !(elements.buffer instanceof ArrayBuffer)) return false;
  const buffer = elements.buffer as ArrayBuffer & { detached?: boolean };
  if (buffer.detached !== undefined) return buffer.detached;
  if (buffer.byteLength > 0) return false;
  try {
    // Node 20 has no `detached`: only a detached buffer refuses to be viewed.
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

function detached(subject: string): TenonError {
  return new TenonError(
    'ERR_TENON_DETACHED',
    `expected memory that is there for ${subject}, received a view of a detached ArrayBuffer (it was transferred or disposed)`,
  );
}
