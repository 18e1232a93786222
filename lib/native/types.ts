/** The addon as TypeScript sees it. Nothing outside lib/native and lib/model needs these. */

import type { ValueSpec } from '../model/spec.js';
import type { TenonError } from '../errors.js';

export type EngineName = 'onnxruntime' | 'tensorflow';

/** A tensor on its way in: dtype number, shape, elements. */
export type NativeTensorIn = readonly [
  dtype: number,
  shape: readonly number[],
  data: ArrayBufferView | readonly (string | Uint8Array)[],
];

/** A tensor on its way out; strings come as their bytes and size + 1 offsets into them. */
export type NativeTensorOut = readonly [
  dtype: number,
  shape: number[],
  data: ArrayBuffer,
  offsets?: Float64Array,
];

export type NativeValueIn =
  | NativeTensorIn
  | null
  | { readonly sequence: readonly NativeValueIn[] }
  | { readonly keys: NativeTensorIn; readonly values: NativeValueIn };

export type NativeValueOut =
  | NativeTensorOut
  | null
  | { readonly sequence: readonly NativeValueOut[] }
  | { readonly keys: NativeTensorOut; readonly values: NativeValueOut };

export interface NativeSignature {
  name: string;
  inputs: ValueSpec[];
  outputs: ValueSpec[];
}

export interface NativeModelInfo {
  signatures: NativeSignature[];
  metadata: [string, string][];
  customMetadata: [string, string][];
}

export interface NativeEngineDescription {
  name: EngineName;
  version: string;
  path: string;
  providers: string[];
  devices: string[];
}

/** How each engine's options reach the addon: resolved, every field present. */
export interface NativeOnnxLoad {
  library: string;
  /** A path, or the model's bytes in memory from `alloc`, which is held, not copied. */
  source: string | Uint8Array;
  intraOpThreads: number;
  interOpThreads: number;
  spin: boolean;
  graphOptimizationLevel: number;
  providers: { name: string; options: [string, string][] }[];
  configEntries: [string, string][];
  freeDimensionOverrides: [string, number][];
  customOpLibraries: string[];
  logSeverity: number;
  telemetry: boolean;
  lanes: number;
  maxQueue: number;
}

export interface NativeBinding {
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
  signatures: { name: string; inputs: NativeBinding[]; outputs: NativeBinding[] }[];
  metadata: [string, string][];
  intraOpThreads: number;
  interOpThreads: number;
  opLibraries: string[];
  /** A serialized ConfigProto laid over the thread counts; may be empty. */
  configProto: Uint8Array;
  lanes: number;
  maxQueue: number;
}

export interface NativeSession {
  readonly info: NativeModelInfo;
  /** Inputs and outputs by their index in the signature. Rejects with a TenonError. */
  run(
    signature: number,
    inputs: readonly number[],
    feeds: readonly NativeValueIn[],
    outputs: readonly number[],
    ticket: number,
  ): Promise<NativeValueOut[]>;
  /** The same on the calling thread. */
  runSync(
    signature: number,
    inputs: readonly number[],
    feeds: readonly NativeValueIn[],
    outputs: readonly number[],
  ): NativeValueOut[];
  /** Asks the run that was given this ticket (not 0) to stop. */
  cancel(ticket: number): void;
  /** Resolves when accepted runs have ended and the engine's session is gone. */
  close(): Promise<void>;
}

export interface NativeAddon {
  /** The addon's own version, compared with package.json at load. */
  readonly version: string;
  /** Numbers and names of the dtypes, for the test that compares both tables. */
  readonly dtypes: [number, string, number][];
  setErrorConstructor(constructor: typeof TenonError): void;
  cpuQuota(): number;
  /** Memory both engines take as it is: 64-byte aligned, zeroed, owned by Tenon. */
  alloc(byteLength: number): ArrayBuffer;
  /** Detaches a buffer that came from alloc or a run; its memory goes when the last run lets go. */
  release(buffer: ArrayBuffer): void;
  /** Opens the engine (or finds it open) and asks it about itself, on a thread. */
  describeEngine(engine: EngineName, library: string): Promise<NativeEngineDescription>;
  loadOnnx(options: NativeOnnxLoad): Promise<NativeSession>;
  loadTensorFlow(options: NativeTensorFlowLoad): Promise<NativeSession>;
}
