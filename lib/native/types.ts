/** The addon as TypeScript sees it. Nothing outside lib/native and lib/model needs these. */

import type { ValueSpec } from '../model/spec.js';
import type { TenonError } from '../errors.js';
import type { TypedArray } from '../tensor/dtypes.js';

export type EngineName = 'onnxruntime' | 'tensorflow';

/** A tensor on its way in: dtype number, shape, elements. */
export type NativeTensorIn = readonly [
  dtype: number,
  shape: readonly number[],
  data: ArrayBufferView | readonly (string | Uint8Array)[],
];

/**
 * A tensor on its way out: elements, or the memory they are in; strings come as their bytes and
 * size + 1 offsets into them.
 */
export type NativeTensorOut = readonly [
  dtype: number,
  shape: number[],
  data: ArrayBuffer | TypedArray,
  offsets?: Float64Array,
];

declare const handleBrand: unique symbol;
/** A tensor the addon holds, opaque to JavaScript. */
export interface NativeHandle {
  readonly [handleBrand]: true;
}

declare const cancelBrand: unique symbol;
/** What one load is stopped by. */
export interface NativeCancel {
  readonly [cancelBrand]: true;
}

/** An output that stays in its engine. */
export interface NativeEngineTensor {
  readonly handle: NativeHandle;
  readonly dtype: number;
  readonly shape: number[];
  readonly byteLength: number;
  /** "cpu", or the engine's name for the device. */
  readonly device: string;
}

export type NativeValueIn =
  | NativeTensorIn
  | NativeHandle
  | null
  | { readonly sequence: readonly NativeValueIn[] }
  | { readonly keys: NativeTensorIn; readonly values: NativeValueIn };

export type NativeValueOut =
  | NativeTensorOut
  | NativeEngineTensor
  | null
  | { readonly sequence: readonly NativeValueOut[] }
  | { readonly keys: NativeTensorOut; readonly values: NativeValueOut };

/** Where an output goes: 0 to host memory, 1 nowhere (it stays in the engine), or into a tensor. */
export type NativeTarget = 0 | 1 | NativeTensorIn;

/** An output, or a hole where it went into a tensor the caller has. */
export type NativeOutputs = readonly (NativeValueOut | undefined)[];

/** How the tensors of a batch come about from those of its members. */
export interface NativeBatchLayout {
  /**
   * Rows (dimension 0) of the whole batch, at least the members' sum. Further ones repeat the last
   * row, which is safe for any model.
   */
  rows: number;
  /**
   * The batch's shape of each input, dimension 0 being `rows`. A member may be smaller in
   * dimensions from 1 on, and is padded at their ends.
   */
  shapes: readonly (readonly number[])[];
  /**
   * For each input what it is padded with: a number its dtype has, or the member's own first element
   * (0 where it has none). Strings, types below 8 bits and 8-bit floats cannot be padded.
   */
  padValues: readonly (number | 'first')[];
  /**
   * Inputs nobody feeds that mark what is a member's own with 1 and padding with 0, of shape
   * [rows, size of dimension `dim` of the input at position `of`].
   */
  masks: readonly (readonly [input: number, dtype: number, of: number, dim: number])[];
  /**
   * Outputs cut back to a member's own length: dimension `dim` of the output at that position to
   * dimension `inputDim` of the member's input at position `of`.
   */
  trims: readonly (readonly [output: number, dim: number, of: number, inputDim: number])[];
}

/** Where elements of feeds are: memory (a view where it is no ArrayBuffer's), or a tensor's strings. */
export type NativeFeedSource = ArrayBuffer | ArrayBufferView | readonly (string | Uint8Array)[];

/**
 * One output of a batch: a value for each member; or all their rows below each other, for the
 * receiver to cut and copy.
 */
export type NativeBatchResult =
  | readonly [isWhole: false, members: readonly NativeValueOut[]]
  | readonly [isWhole: true, rows: NativeTensorOut];

/** Outputs for each member of a batch, in order. */
export type NativeBatchOutputs = readonly NativeOutputs[];

export interface NativeHistogram {
  count: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

export interface NativeLane {
  /** Unlike that of any other lane of the process. */
  id: number;
  runs: number;
  busyMicros: number;
  isBusy: boolean;
}

declare const poolBrand: unique symbol;
/** A holder of lanes that several models share; they end with their last model and holder. */
export interface NativePool {
  readonly [poolBrand]: true;
  stats(): { sessions: number; queuedRuns: number; busyLanes: number; lanes: NativeLane[] };
  /** Lets go of the lanes. Throws ERR_TENON_POOL_CLOSED, as everything else afterwards. */
  close(): Promise<void>;
}

export interface NativeStats {
  runs: number;
  inlineRuns: number;
  failedRuns: number;
  cancelledRuns: number;
  queuedRuns: number;
  busyLanes: number;
  queueMicros: NativeHistogram;
  runMicros: NativeHistogram;
  feedBytesCopied: number;
  feedBytesPassed: number;
  outputBytesCopied: number;
  outputBytesPassed: number;
  /** Of the pool, those that have started. */
  lanes: NativeLane[];
  batches: number;
  batchedRuns: number;
  batchRows: number;
  paddedRows: number;
  /** How many batches were of 2^i to 2^(i + 1) - 1 rows. */
  batchSizes: number[];
  gatheredBytes: number;
  gatherAllocations: number;
}

export interface NativeSignature {
  name: string;
  inputs: ValueSpec[];
  outputs: ValueSpec[];
}

export interface NativeModelInfo {
  signatures: NativeSignature[];
  metadata: [string, string][];
  customMetadata: [string, string][];
  /** ONNX Runtime: the session's execution providers in order of preference … */
  providers: string[];
  /** … and those that were asked for and could not start, with the engine's words. */
  providerFallbacks: [name: string, reason: string][];
}

export interface NativeEngineDescription {
  name: EngineName;
  version: string;
  path: string;
  providers: string[];
  devices: string[];
}

export interface NativeProvider {
  name: string;
  options: [string, string][];
  devices: number[];
}

/** Process-wide settings; a field that is left out is nobody's wish. */
export interface NativeConfiguration {
  onnxruntime?: {
    logSeverity: number | undefined;
    telemetry: boolean | undefined;
    /** The log goes to setLogger's callbacks. */
    logger: boolean;
    globalThreadPools:
      | {
          intraOpThreads: number;
          interOpThreads: number;
          spin: boolean;
          affinity: string;
          denormalAsZero: boolean;
        }
      | undefined;
    providerLibraries: [name: string, path: string][];
  };
  tensorflow?: { perSessionThreads: boolean | undefined };
}

export type NativeLogRecord = readonly [
  severity: number,
  category: string,
  logId: string,
  location: string,
  message: string,
];

export interface NativeDevice {
  provider: string;
  providerVendor: string;
  type: 'cpu' | 'gpu' | 'npu' | 'unknown';
  vendor: string;
  vendorId: number;
  deviceId: number;
  metadata: [string, string][];
  options: [string, string][];
}

/** How each engine's options reach the addon: resolved, every field present. */
export interface NativeOnnxLoad {
  library: string;
  /** A path, or the model's bytes in memory from `alloc`, which is held, not copied. */
  source: string | Uint8Array;
  intraOpThreads: number;
  interOpThreads: number;
  spin: boolean;
  /** Undefined: the process's pools, where it has some. */
  sharedThreads: boolean | undefined;
  graphOptimizationLevel: number;
  /** Paths and names are empty where there are none. */
  optimizedModelPath: string;
  cpuArena: boolean;
  memoryPattern: boolean;
  deterministic: boolean;
  profilePath: string;
  /** Undefined: the process's. */
  logSeverity: number | undefined;
  logVerbosity: number;
  logId: string;
  providers: NativeProvider[];
  allowProviderFallback: boolean;
  configEntries: [string, string][];
  runConfigEntries: [string, string][];
  freeDimensionOverrides: [string, number][];
  freeDenotationOverrides: [string, number][];
  customOpLibraries: string[];
  initializers: [string, NativeTensorIn][];
  externalInitializers: [string, NativeTensorIn][];
  externalData: [string, Uint8Array][];
  weightGroup: string;
  loraAdapters: [string, string | Uint8Array][];
  activeLoraAdapters: string[];
  lanes: number;
  maxQueue: number;
  spinMicros: number;
  niceness: number;
  /** Whose lanes the model runs on; undefined: its own. */
  pool: NativePool | undefined;
  weight: number;
  /** Runs that are short enough may happen on the calling thread. */
  allowInline: boolean;
}

export interface NativeGraphTensor {
  spec: ValueSpec;
  /** The graph tensor behind it, "serving_default_x:0". */
  tensor: string;
}

export interface NativeTensorFlowLoad {
  library: string;
  /** One of both: a SavedModel folder, or a file with a frozen GraphDef. */
  savedModel: string;
  frozenGraph: string;
  tags: string[];
  signatures: { name: string; inputs: NativeGraphTensor[]; outputs: NativeGraphTensor[] }[];
  metadata: [string, string][];
  intraOpThreads: number;
  interOpThreads: number;
  /** Those numbers were asked for: another pool of the process is an error. */
  insistIntraOp: boolean;
  insistInterOp: boolean;
  /** Undefined: whatever `configure` has settled. */
  sharedThreads: boolean | undefined;
  opLibraries: string[];
  /** A serialized ConfigProto laid over the thread counts; may be empty. */
  configProto: Uint8Array;
  lanes: number;
  maxQueue: number;
  spinMicros: number;
  niceness: number;
  /** Whose lanes the model runs on; undefined: its own. */
  pool: NativePool | undefined;
  weight: number;
  /** Runs that are short enough may happen on the calling thread. */
  allowInline: boolean;
}

/** What ONNX Runtime is told of one run; paths and the tag are empty where there are none. */
export interface NativeOnnxRunOptions {
  engine: 'onnxruntime';
  configEntries: [string, string][];
  /** Undefined: the session's `activeLoraAdapters`. */
  loraAdapters: string[] | undefined;
  logSeverity: number | undefined;
  logVerbosity: number | undefined;
  tag: string;
  profilePath: string;
}

/** What TensorFlow is told of one run. */
export interface NativeTensorFlowRunOptions {
  engine: 'tensorflow';
  /** 0: no bound of this run's own. */
  timeoutMs: number;
  tracePath: string;
  traceHardware: boolean;
}

/** Of the session's own engine. A run with these always goes to a lane. */
export type NativeRunOptions = NativeOnnxRunOptions | NativeTensorFlowRunOptions;

/** A call whose feeds and places of outputs are fixed. */
export interface NativeBinding {
  /** One at a time. Undefined where the run happened on the calling thread. */
  run(ticket: number): Promise<void> | undefined;
  runSync(): void;
}

/**
 * Memory in which requests of small tensors and their outputs cross, and the calls that read it;
 * native/runtime/exchange_block.h says how both are laid out. One for each environment.
 */
export interface NativeExchange {
  readonly buffer: ArrayBuffer;
  /** Offsets are from here, where the block is aligned. */
  readonly start: number;
  readonly byteLength: number;
  readonly requestWords: number;
  readonly resultAt: number;
  readonly feedsAt: number;
  readonly feedBytes: number;
  readonly alignment: number;
  /** As `run` of the session that the request names; undefined where the outputs are in the block. */
  run(
    ticket: number,
    priority: number,
  ): undefined | readonly NativeValueOut[] | Promise<readonly NativeValueOut[]>;
  runSync(): undefined | readonly NativeValueOut[];
  /** What gives the outputs in the block, for whoever they are. */
  setReader(read: () => NativeOutputs): void;
}

export interface NativeSession {
  readonly info: NativeModelInfo;
  /** By which requests in the exchange name it. */
  readonly number: number;
  /**
   * Inputs and outputs by their index in the signature. A run that is expected to take less time
   * than handing it to a lane happens at once, and gives no promise. Throws or rejects with a
   * TenonError.
   *
   * @param ticket By which `cancel` finds the run; 0 for one that nobody cancels.
   * @param borrow Buffers that are not Tenon's go by pointer.
   */
  run(
    signature: number,
    inputs: readonly number[],
    feeds: readonly NativeValueIn[],
    outputs: readonly number[],
    targets: readonly NativeTarget[] | undefined,
    ticket: number,
    priority: number,
    borrow: boolean,
    options?: NativeRunOptions,
  ): NativeOutputs | Promise<NativeOutputs>;
  /**
   * Several requests as one call of the engine: rows are gathered into one tensor an input, and
   * outputs cut into the members' rows, small ones by whoever receives them. On a lane, or on the
   * calling thread where that is shorter: the caller then lets the event loop turn before the next.
   *
   * Memory of the members goes as in `run`: what Tenon owns by pointer, anything else is copied
   * before the call returns, straight to its place in the batch, unless `borrow`.
   *
   * Throws or rejects with a TenonError: ERR_TENON_BATCH where an output is no tensor of
   * `layout.rows` rows or cannot be cut back; ERR_TENON_UNSUPPORTED for packed dtypes whose rows
   * are no whole bytes; as `run` otherwise. What is wrong with one member names it by its position.
   *
   * @param numbers What the batch is, because each value that crosses costs; read during the call
   *   only. The signature and `layout.rows`; the number of outputs, and their indices; that of
   *   inputs, and theirs; for each input what pads it, and the rank and sizes of the batch's shape;
   *   the number of masks, and the four of each; that of trims likewise; the number of members; for
   *   each member and input the dtype, the index of its source, the offset there, the byte length,
   *   and the rank and sizes, of which the first counts rows, as many for all inputs of a member.
   * @param length How many of the numbers count.
   * @param ticket As for `run`: `cancel` stops the whole batch.
   * @param onLane On a lane however short it is.
   */
  runBatch(
    numbers: Float64Array,
    length: number,
    sources: readonly NativeFeedSource[],
    ticket: number,
    priority: number,
    borrow: boolean,
    onLane: boolean,
  ): readonly NativeBatchResult[] | Promise<readonly NativeBatchResult[]>;
  /** The same as `run` on the calling thread. */
  runSync(
    signature: number,
    inputs: readonly number[],
    feeds: readonly NativeValueIn[],
    outputs: readonly number[],
    targets: readonly NativeTarget[] | undefined,
    options?: NativeRunOptions,
  ): NativeOutputs;
  /** Every target has to be a tensor. The options hold for each run. */
  bind(
    signature: number,
    inputs: readonly number[],
    feeds: readonly NativeValueIn[],
    outputs: readonly number[],
    targets: readonly NativeTarget[],
    options?: NativeRunOptions,
  ): NativeBinding;
  /**
   * A predict of JSON, from the body to the answer, in one call.
   *
   * @param inputs Of that signature, or of some of its inputs.
   * @param outputNames Which to compute and write, in this order; all of them tensors.
   * @param micros Its first element is set to how long the engine took, with each run.
   */
  prepareJson(
    signature: number,
    inputs: NativeJsonInputs,
    outputNames: readonly string[],
    micros: Float64Array,
  ): NativeJsonRun;
  /** Asks the run that was given this ticket (not 0) to stop; one that waits leaves the queue. */
  cancel(ticket: number): void;
  cancelAll(): void;
  stats(): NativeStats;
  /** How much the model has to do, of all threads that share it; cheaper than `stats`. */
  load(): readonly [lanes: number, busy: number, waiting: number];
  /** A number by which other threads of the process attach to the model while this session is open. */
  share(): number;
  /** Ends the profile and gives its file. Throws ERR_TENON_UNSUPPORTED where there is none. */
  endProfiling(): string;
  /** Resolves when accepted runs have ended and this share of the engine's session is gone. */
  close(): Promise<void>;
}

declare const jsonInputsBrand: unique symbol;
/** The inputs of a signature, as the JSON codec holds them. */
export interface NativeJsonInputs {
  readonly [jsonInputsBrand]: true;
}

/** Why a request is refused: a status of gRPC by its number, and the text for the client. */
export type NativeRefusal = readonly [outcome: 2, code: number, message: string];

/** `outcome` 1: the body asks for another signature. */
export type NativeJsonPredict =
  | readonly [
      outcome: 0,
      form: 0 | 1,
      tensors: readonly NativeTensorOut[],
      ...inputs: readonly number[],
    ]
  | readonly [outcome: 1, signature: string]
  | NativeRefusal;

/** The body's text without the elements of its inputs, and these, each with one dimension. */
export type NativeJsonInfer =
  readonly [done: 0, text: string, tensors: readonly NativeTensorOut[]] | NativeRefusal;

/**
 * Undefined where nothing was done: the body is no predict that is as it should be, has not all of
 * the inputs, or the run would not be one on the calling thread. An array of outputs where they are
 * too many to be written on it. Throws a TenonError where the engine fails.
 */
export type NativeJsonRun = (
  body: Uint8Array,
) =>
  | ArrayBuffer
  | string
  | NativeRefusal
  | readonly [outcome: 0, form: 0 | 1, outputs: readonly NativeTensorOut[]]
  | undefined;

export type NativeJsonExamples =
  | readonly [outcome: 0, signature: string, examples: NativeTensorOut]
  | NativeRefusal;

/**
 * The JSON tensor codec. With `onThread` a call gives a promise, and what it was given has to be
 * left alone until that has settled.
 */
export interface NativeJson {
  createInputs(
    signature: string,
    names: readonly string[],
    dtypes: readonly number[],
  ): NativeJsonInputs;
  /** Without inputs the body is only checked. Of each tensor there is the index of its input. */
  decodePredict(body: Uint8Array, inputs: NativeJsonInputs | null, onThread: false): NativeJsonPredict;
  decodePredict(
    body: Uint8Array,
    inputs: NativeJsonInputs | null,
    onThread: true,
  ): Promise<NativeJsonPredict>;
  decodeExamples(body: Uint8Array, onThread: false): NativeJsonExamples;
  decodeExamples(body: Uint8Array, onThread: true): Promise<NativeJsonExamples>;
  /**
   * Form 0 lists instances, 1 whole tensors. Memory that is Tenon's goes by pointer. A short text
   * of ASCII is a string.
   */
  encodePredict(
    form: 0 | 1,
    names: readonly string[],
    tensors: readonly NativeTensorIn[],
    onThread: false,
  ): ArrayBuffer | string | NativeRefusal;
  encodePredict(
    form: 0 | 1,
    names: readonly string[],
    tensors: readonly NativeTensorIn[],
    onThread: true,
  ): Promise<ArrayBuffer | string | NativeRefusal>;
  decodeInfer(body: Uint8Array, onThread: false): NativeJsonInfer;
  decodeInfer(body: Uint8Array, onThread: true): Promise<NativeJsonInfer>;
  /** The pieces, with the elements of a tensor between each two. */
  weave(
    pieces: readonly string[],
    tensors: readonly NativeTensorIn[],
    onThread: false,
  ): ArrayBuffer | string;
  weave(
    pieces: readonly string[],
    tensors: readonly NativeTensorIn[],
    onThread: true,
  ): Promise<ArrayBuffer | string>;
  encodeNumber(number: number, isFloat: boolean): string;
}

export interface NativeAddon {
  /** The addon's own version, compared with package.json at load. */
  readonly version: string;
  /** Numbers and names of the dtypes, for the test that compares both tables. */
  readonly dtypes: [number, string, number][];
  setErrorConstructor(constructor: typeof TenonError): void;
  cpuQuota(): number;
  /**
   * A second descriptor for the same file or socket, which is closed by itself; negative for an
   * error: its number with the sign changed. Windows has none.
   */
  duplicateDescriptor(descriptor: number): number;
  readonly json: NativeJson;
  /** Throws ERR_TENON_CONFIGURE for what an engine has fixed otherwise. */
  configure(settings: NativeConfiguration): void;
  /** Gets the process's log on this thread; null gives it back to stderr. */
  setLogger(
    deliver: ((records: readonly NativeLogRecord[], dropped: number) => void) | null,
  ): void;
  /** Opens ONNX Runtime and lists the devices of its providers, on a thread. */
  onnxDevices(library: string): Promise<NativeDevice[]>;
  /**
   * Memory both engines take as it is: 64-byte aligned, owned by Tenon, zeroed unless it may hold
   * anything because all of it that is read will have been written.
   */
  alloc(byteLength: number, unzeroed?: boolean): ArrayBuffer;
  /** Whether a buffer is over memory of Tenon's own; false for anything but an ArrayBuffer. */
  owns(buffer: ArrayBufferLike): boolean;
  /** Detaches a buffer; memory that came from alloc or a run goes when the last run lets go. */
  release(buffer: ArrayBuffer): void;
  exchange(): NativeExchange;
  /** Opens the engine (or finds it open) and asks it about itself, on a thread. */
  describeEngine(engine: EngineName, library: string): Promise<NativeEngineDescription>;
  createPool(lanes: number, spinMicros: number, niceness: number): NativePool;
  /** A session over a model that another thread loaded and shared. */
  attach(share: number): NativeSession;
  toHost(handle: NativeHandle): Promise<NativeTensorOut>;
  releaseEngineTensor(handle: NativeHandle): void;
  /** Memory of Tenon's own that JavaScript holds, in the whole process. */
  memory(): { buffers: number; byteLength: number };
  createCancel(): NativeCancel;
  /** Asks a load to stop; TensorFlow's cannot. */
  cancelLoad(cancel: NativeCancel): void;
  loadOnnx(options: NativeOnnxLoad, cancel: NativeCancel): Promise<NativeSession>;
  loadTensorFlow(options: NativeTensorFlowLoad, cancel: NativeCancel): Promise<NativeSession>;
}
