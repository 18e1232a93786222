/** ONNX Runtime's options: checked, in the form the addon takes. */

import { invalidArgument, TenonError } from '../errors.js';
import type {
  NativeOnnxLoad,
  NativeOnnxRunOptions,
  NativeProvider,
  NativeTensorIn,
} from '../native/types.js';
import * as check from '../options.js';
import { Tensor, toNative } from '../tensor/tensor.js';

export const graphOptimizationLevels = {
  disabled: 0,
  basic: 1,
  extended: 2,
  layout: 3,
  all: 99,
} as const;

/** Severities of ONNX Runtime's log, quietest last. */
export const logLevels = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;

export type LogLevel = (typeof logLevels)[number];

/**
 * A name ("cuda", "CUDAExecutionProvider"), or a name with the provider's own options. `devices`
 * chooses among those that `engines.devices()` lists for the provider, by their index in that list.
 */
export type ExecutionProvider =
  | string
  | {
      readonly name: string;
      readonly devices?: readonly number[];
      readonly [option: string]: string | number | boolean | readonly number[] | undefined;
    };

/** CPUs for threads, as `OnnxThreadOptions.affinity` takes them. */
export type ThreadAffinity = string | readonly (readonly number[])[];

export interface OnnxRuntimeLoadOptions {
  /** The library to open, before every other place it is looked for. */
  library?: string;
  /** Default: 'all'. */
  graphOptimizationLevel?: keyof typeof graphOptimizationLevels;
  /**
   * Where the optimized model is written: in the ORT format if the name ends in `.ort`, else as
   * ONNX. From level 'layout' on it fits the kind of machine that made it.
   */
  optimizedModelPath?: string;
  /** Buffers come from an arena that keeps what was freed. Default: true. */
  cpuArena?: boolean;
  /** The places of buffers are planned once for each shape of the inputs. Default: true. */
  memoryPattern?: boolean;
  /** Kernels give the same bits for the same feeds where they can. Default: false. */
  deterministic?: boolean;
  /** ONNX Runtime's session configuration entries, by their own keys. */
  configEntries?: Readonly<Record<string, string | number | boolean>>;
  /** Run configuration entries that hold for every run, by their own keys. */
  runConfigEntries?: Readonly<Record<string, string | number | boolean>>;
  /** Sizes for symbolic dimensions, by their name. */
  freeDimensionOverrides?: Readonly<Record<string, number>>;
  /** Sizes for dimensions by their denotation ("DATA_BATCH"). */
  freeDenotationOverrides?: Readonly<Record<string, number>>;
  /** Paths of custom-op libraries. */
  customOpLibraries?: readonly string[];
  /** Records what each operator costs, in Chrome's trace format. */
  profiling?: {
    /** The file to write when the model is closed; one that is there is replaced. */
    file: string;
  };
  /** The least severe records of this session's log. Default: `configure()`'s. */
  logLevel?: LogLevel;
  /** How much is said at level 'verbose'. Default: 0. */
  logVerbosity?: number;
  /** What this session's records are marked with. */
  logId?: string;
  /**
   * Weights to use instead of the model's own, by the initializer's name. Memory of `Tensor.alloc`
   * is used where it lies, by every session it is given to; any other is copied. It must not change
   * as long as a model uses it.
   */
  initializers?: Readonly<Record<string, Tensor>>;
  /** Weights that the model says are in a file, by the initializer's name; memory as above. */
  externalInitializers?: Readonly<Record<string, Tensor>>;
  /** Files of weights as bytes, by the name the model has for them. ONNX Runtime 1.18 and later. */
  externalData?: Readonly<Record<string, Uint8Array>>;
  /**
   * Sessions of this process with the same name share what kernels make of their weights. That
   * saves memory together with `initializers`, which share the weights themselves.
   */
  weightGroup?: string;
  /** LoRA adapters by a name of yours: a file, or its bytes. ONNX Runtime 1.20 and later. */
  loraAdapters?: Readonly<Record<string, string | Uint8Array>>;
  /** Names of `loraAdapters` that every run uses. Default: none. */
  activeLoraAdapters?: readonly string[];
}

/** What ONNX Runtime is told of one run, or of every run of a binding. */
export interface OnnxRuntimeRunOptions {
  /** Run configuration entries by their own keys, in place of `runConfigEntries`' where both have one. */
  configEntries?: Readonly<Record<string, string | number | boolean>>;
  /**
   * Names of the model's `loraAdapters` that the run uses, and no others; none if it is empty.
   * Default: `activeLoraAdapters`.
   */
  loraAdapters?: readonly string[];
  /** Records what each operator of the run costs, in Chrome's trace format. 1.25 and later. */
  profiling?: {
    /** The file to write, there when the run has ended; one that is there is replaced. */
    file: string;
  };
  /** The least severe records of the run. Default: the model's. */
  logLevel?: LogLevel;
  /** How much is said at level 'verbose'. Default: the model's. */
  logVerbosity?: number;
  /** What the run's records are marked with. */
  tag?: string;
}

/** What the addon takes of it. */
export type ResolvedOnnxRuntimeOptions = { library: string | undefined } & Pick<
  NativeOnnxLoad,
  | 'graphOptimizationLevel'
  | 'optimizedModelPath'
  | 'cpuArena'
  | 'memoryPattern'
  | 'deterministic'
  | 'profilePath'
  | 'logSeverity'
  | 'logVerbosity'
  | 'logId'
  | 'configEntries'
  | 'runConfigEntries'
  | 'freeDimensionOverrides'
  | 'freeDenotationOverrides'
  | 'customOpLibraries'
  | 'initializers'
  | 'externalInitializers'
  | 'externalData'
  | 'weightGroup'
  | 'loraAdapters'
  | 'activeLoraAdapters'
>;

const options = [
  'library',
  'graphOptimizationLevel',
  'optimizedModelPath',
  'cpuArena',
  'memoryPattern',
  'deterministic',
  'configEntries',
  'runConfigEntries',
  'freeDimensionOverrides',
  'freeDenotationOverrides',
  'customOpLibraries',
  'profiling',
  'logLevel',
  'logVerbosity',
  'logId',
  'initializers',
  'externalInitializers',
  'externalData',
  'weightGroup',
  'loraAdapters',
  'activeLoraAdapters',
] as const satisfies readonly (keyof OnnxRuntimeLoadOptions)[];

/** @throws ERR_TENON_INVALID_ARGUMENT naming the option. */
export function resolveOnnxRuntimeOptions(given: unknown): ResolvedOnnxRuntimeOptions {
  const onnx = check.checkOptions(given, 'onnxruntime', options);
  const named = (option: string): string => `onnxruntime.${option}`;
  const path = (option: string): string => check.path(onnx[option], named(option)) ?? '';
  const flag = (option: string, fallback: boolean): boolean =>
    check.boolean(onnx[option], named(option), fallback);
  const entries = (option: string): [string, string][] =>
    check.entries(onnx[option], named(option), check.text);
  const sizes = (option: string): [string, number][] =>
    check.entries(onnx[option], named(option), (value, name) =>
      check.integer(value, name, 0, 0, Number.MAX_SAFE_INTEGER),
    );
  const tensors = (option: string): [string, NativeTensorIn][] =>
    check.entries(onnx[option], named(option), tensorToNative);

  const level = check.oneOf(onnx['logLevel'], named('logLevel'), logLevels);
  const loraAdapters = check.entries(onnx['loraAdapters'], named('loraAdapters'), adapter);
  const activeLoraAdapters = check.strings(onnx['activeLoraAdapters'], named('activeLoraAdapters'));
  for (const name of activeLoraAdapters) {
    if (!loraAdapters.some(([known]) => known === name)) {
      throw invalidArgument(named('activeLoraAdapters'), 'names of onnxruntime.loraAdapters', name);
    }
  }
  return {
    library: check.path(onnx['library'], named('library')),
    graphOptimizationLevel:
      check.choice(
        onnx['graphOptimizationLevel'],
        named('graphOptimizationLevel'),
        graphOptimizationLevels,
      ) ?? graphOptimizationLevels.all,
    optimizedModelPath: path('optimizedModelPath'),
    cpuArena: flag('cpuArena', true),
    memoryPattern: flag('memoryPattern', true),
    deterministic: flag('deterministic', false),
    profilePath: check.outputFile(onnx['profiling'], named('profiling')),
    logSeverity: level === undefined ? undefined : logLevels.indexOf(level),
    logVerbosity: check.integer(onnx['logVerbosity'], named('logVerbosity'), 0, 0),
    logId: check.string(onnx['logId'], named('logId')) ?? '',
    configEntries: entries('configEntries'),
    runConfigEntries: entries('runConfigEntries'),
    freeDimensionOverrides: sizes('freeDimensionOverrides'),
    freeDenotationOverrides: sizes('freeDenotationOverrides'),
    customOpLibraries: check.paths(onnx['customOpLibraries'], named('customOpLibraries')),
    initializers: tensors('initializers'),
    externalInitializers: tensors('externalInitializers'),
    externalData: check.entries(onnx['externalData'], named('externalData'), bytes),
    weightGroup: check.string(onnx['weightGroup'], named('weightGroup')) ?? '',
    loraAdapters,
    activeLoraAdapters,
  };
}

const runOptions = [
  'configEntries',
  'loraAdapters',
  'profiling',
  'logLevel',
  'logVerbosity',
  'tag',
] as const satisfies readonly (keyof OnnxRuntimeRunOptions)[];

/**
 * Undefined where nothing is asked for.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option.
 */
export function resolveOnnxRuntimeRunOptions(given: unknown): NativeOnnxRunOptions | undefined {
  const onnx = check.checkOptions(given, 'onnxruntime', runOptions);
  if (runOptions.every((option) => onnx[option] === undefined)) return undefined;
  const level = check.oneOf(onnx['logLevel'], 'onnxruntime.logLevel', logLevels);
  return {
    engine: 'onnxruntime',
    configEntries: check.entries(onnx['configEntries'], 'onnxruntime.configEntries', check.text),
    loraAdapters:
      onnx['loraAdapters'] === undefined
        ? undefined
        : [...new Set(check.strings(onnx['loraAdapters'], 'onnxruntime.loraAdapters'))],
    logSeverity: level === undefined ? undefined : logLevels.indexOf(level),
    logVerbosity:
      onnx['logVerbosity'] === undefined
        ? undefined
        : check.integer(onnx['logVerbosity'], 'onnxruntime.logVerbosity', 0, 0),
    tag: check.string(onnx['tag'], 'onnxruntime.tag') ?? '',
    profilePath: check.outputFile(onnx['profiling'], 'onnxruntime.profiling'),
  };
}

/** @throws ERR_TENON_INVALID_ARGUMENT naming the provider or its option. */
export function resolveProviders(value: unknown): NativeProvider[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    throw invalidArgument('executionProviders', 'an array of providers', value);
  }
  return value.map((provider: unknown, index): NativeProvider => {
    const subject = `executionProviders[${index}]`;
    if (typeof provider === 'string') return { name: provider, options: [], devices: [] };
    if (typeof provider !== 'object' || provider === null || Array.isArray(provider)) {
      throw invalidArgument(subject, 'a name or an object with a name', provider);
    }
    const { name, devices = [], ...own } = provider as Record<string, unknown>;
    if (typeof name !== 'string') throw invalidArgument(`${subject}.name`, 'a string', name);
    if (!Array.isArray(devices)) {
      throw invalidArgument(`${subject}.devices`, 'an array of indices', devices);
    }
    return {
      name,
      options: check.entries(own, subject, check.text),
      devices: devices.map((device: unknown, i) =>
        check.integer(device, `${subject}.devices[${i}]`, 0, 0),
      ),
    };
  });
}

/**
 * The engine's form: groups of processors separated by ';', processors counted from 1.
 *
 * @param value That form, or for each thread the CPUs it may use, counted from 0 as the operating
 *   system does. The caller's own thread has no entry: there is one less than threads.
 */
export function resolveAffinity(value: unknown, name: string): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  const expected = 'a string, or for each thread an array of CPU numbers';
  if (!Array.isArray(value)) throw invalidArgument(name, expected, value);
  return value
    .map((cpus: unknown, index) => {
      const thread = `${name}[${index}]`;
      if (!Array.isArray(cpus) || cpus.length === 0) throw invalidArgument(thread, expected, cpus);
      return cpus.map((cpu, i) => check.integer(cpu, `${thread}[${i}]`, 0, 0) + 1).join(',');
    })
    .join(';');
}

function tensorToNative(value: unknown, name: string): NativeTensorIn {
  if (!(value instanceof Tensor)) throw invalidArgument(name, 'a Tensor', value);
  const native = (
    value as unknown as Record<typeof toNative, (subject: string) => NativeTensorIn | object>
  )[toNative](name);
  if (Array.isArray(native)) return native as unknown as NativeTensorIn;
  throw new TenonError(
    'ERR_TENON_UNSUPPORTED',
    `expected a tensor in host memory for "${name}", received one that stays in its engine`,
  );
}

function bytes(value: unknown, name: string): Uint8Array {
  if (Object.prototype.toString.call(value) !== '[object Uint8Array]') {
    throw invalidArgument(name, 'a Uint8Array', value);
  }
  return value as Uint8Array;
}

function adapter(value: unknown, name: string): string | Uint8Array {
  return typeof value === 'string' ? (check.path(value, name) as string) : bytes(value, name);
}
