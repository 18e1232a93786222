import { resolveBatching } from '../batching/options.js';
import { findEngine } from '../engines/find.js';
import { TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type {
  NativeCancel,
  NativeGraphTensor,
  NativeOnnxLoad,
  NativeSession,
  NativeTensorFlowLoad,
} from '../native/types.js';
import { boolean, checkOptions, string } from '../options.js';
import { checkModelNames } from '../onnx-model/check-names.js';
import { readWeights } from '../onnx-model/weights.js';
import { readSavedModel, selectMetaGraph } from '../saved-model/read.js';
import { startBatching } from './batching.js';
import { withConfig } from './config-file.js';
import { type LoadOptions, resolveLoadOptions, type ResolvedLoadOptions } from './load-options.js';
import { checkStop, PendingCalls } from './pending.js';
import { createModel, type Model, type SharedModel } from './model.js';
import { attachSessions, openSessions, type Sessions } from './sessions.js';
import { type ModelSource, type ResolvedSource, resolveSource } from './source.js';
import type { ModelTypes, UntypedModel } from './types.js';

/** The signature an ONNX model's graph is called by, and TensorFlow's usual one. */
export const defaultSignatureName = 'serving_default';

/**
 * Loads a model on a native thread; the event loop stays free.
 *
 * @param source A path or file: URL — an `.onnx` or `.ort` file (external data beside it), a
 *   SavedModel folder, a folder of numeric versions (the highest is taken), a frozen GraphDef
 *   `.pb` with `tensorflow.inputs` and `outputs` — or the bytes of an ONNX model, which are
 *   copied; or what `share()` of a model in another thread gave, with the options `signature`,
 *   `validateShapes` and `batching` alone: each thread batches for itself.
 * @throws A TenonError: ERR_TENON_MODEL_NOT_FOUND, ERR_TENON_MODEL_FORMAT,
 *   ERR_TENON_MODEL_INVALID, ERR_TENON_UNKNOWN_TAG, ERR_TENON_UNKNOWN_SIGNATURE,
 *   ERR_TENON_PROVIDER, ERR_TENON_INVALID_ARGUMENT, ERR_TENON_CONFIG, ERR_TENON_NOT_BATCHABLE, and
 *   those of finding the engine (ERR_TENON_ENGINE_…).
 */
export async function load<T extends ModelTypes<T> = UntypedModel>(
  source: ModelSource | SharedModel,
  options?: LoadOptions,
): Promise<Model<T>> {
  if (isSharedModel(source)) return attach<T>(source, options);
  const given = options?.config === undefined ? options : await withConfig(options);
  const resolved = resolveLoadOptions(given);
  const stop = checkStop({ ...given });
  const stopping = new AbortController();
  const loading = loadModel<T>(source, resolved, stopping.signal);
  if (stop.signal === undefined && stop.timeoutMs === 0) return loading;
  return new PendingCalls().track(
    loading,
    () => {
      stopping.abort();
      // A load that ends all the same has nobody who would close what it loaded.
      loading.then(
        (model) => model.close(),
        () => undefined,
      );
    },
    stop,
    'load',
  );
}

async function loadModel<T extends ModelTypes<T>>(
  source: ModelSource,
  options: ResolvedLoadOptions,
  signal: AbortSignal,
): Promise<Model<T>> {
  const found = await resolveSource(source, options.engine);
  for (const { engine, option } of options.onlyFor) {
    if (engine !== found.engine) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected "${option}" only for a model of ${engine}, received it for one of ${found.engine}`,
      );
    }
  }
  return found.engine === 'onnxruntime'
    ? loadOnnx<T>(found.model, options, signal)
    : loadTensorFlow<T>(found, options, signal);
}

function isSharedModel(source: unknown): source is SharedModel {
  return (source as SharedModel | null)?.kind === 'tenon.SharedModel';
}

/** A model that another thread loaded: everything but the default signature is settled. */
async function attach<T extends ModelTypes<T>>(
  shared: SharedModel,
  options: LoadOptions | undefined,
): Promise<Model<T>> {
  const given = checkOptions(options, 'load', ['signature', 'validateShapes', 'batching']);
  const batching = resolveBatching(given['batching']);
  const setup = {
    signature: string(given['signature'], 'signature') ?? shared.signature,
    validateShapes: boolean(given['validateShapes'], 'validateShapes', shared.validateShapes),
    methodNames: new Map(shared.methodNames),
  };
  const sessions = await attachSessions(shared.shares);
  try {
    return createModel<T>(
      shared.engine,
      sessions,
      setup,
      batching && (await startBatching(sessions, { batching, ...setup })),
    );
  } catch (error) {
    await sessions.runner.close();
    throw error;
  }
}

async function loadOnnx<T extends ModelTypes<T>>(
  source: string | Uint8Array,
  options: ResolvedLoadOptions,
  signal: AbortSignal,
): Promise<Model<T>> {
  const { onnxruntime, threads } = options;
  const own = (Object.keys(threads.given) as (keyof typeof threads.given)[]).filter(
    (name) => threads.given[name],
  );
  if (threads.shared === true && own.length > 0) {
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      `expected no threads.${own.join(' and no threads.')} beside threads.shared, received both: they are options of the model's own threads`,
    );
  }
  await checkModelNames(source, onnxruntime);
  const engine = await findEngine('onnxruntime', { library: onnxruntime.library });
  const addon = nativeAddon();
  const nativeOptions: NativeOnnxLoad = {
    ...onnxruntime,
    ...(await sharedWeights(source, options)),
    library: engine.library,
    source,
    intraOpThreads: threads.intraOp,
    interOpThreads: threads.interOp ?? 1,
    spin: threads.spin,
    sharedThreads: threads.shared ?? (own.length > 0 ? false : undefined),
    providers: options.providers,
    allowProviderFallback: options.allowProviderFallback,
    configEntries: [
      ...(threads.affinity === ''
        ? []
        : [['session.intra_op_thread_affinities', threads.affinity] as [string, string]]),
      ...onnxruntime.configEntries,
    ],
    ...nativePool(options),
    allowInline: options.allowInline,
  };
  const load = (cancel: NativeCancel): Promise<NativeSession> => {
    const loading = addon.loadOnnx(nativeOptions, cancel);
    // The addon holds the memory as long as the engine reads it; a pool may load it again.
    if (typeof source !== 'string' && options.sessions === 1) {
      addon.release(source.buffer as ArrayBuffer);
    }
    return loading;
  };
  return finish<T>(
    'onnxruntime',
    await openSessions('onnxruntime', load, options, signal),
    options,
  );
}

/**
 * Sessions from which on they share weights. A shared weight stays beside what kernels make of it,
 * where a session of its own keeps only the latter: measured with an encoder of 44 MB, two sessions
 * take 95 MB either way, eight 101 MB instead of 366.
 */
const leastSharing = 3;
let pools = 0;

/**
 * What lets the sessions of a pool use the same weights: those that kernels read as they are lie in
 * one memory, and what kernels make of them is made once. A provider's own memory is its own.
 */
async function sharedWeights(
  source: string | Uint8Array,
  { sessions, providers, onnxruntime }: ResolvedLoadOptions,
): Promise<Partial<NativeOnnxLoad>> {
  if (sessions < leastSharing || providers.length > 0) return {};
  const given = new Set(onnxruntime.initializers.map(([name]) => name));
  const weights = (await readWeights(source)).filter(([name]) => !given.has(name));
  return {
    initializers: [...onnxruntime.initializers, ...weights],
    weightGroup: onnxruntime.weightGroup || `tenon.pool.${process.pid}.${++pools}`,
  };
}

async function loadTensorFlow<T extends ModelTypes<T>>(
  source: Extract<ResolvedSource, { engine: 'tensorflow' }>,
  options: ResolvedLoadOptions,
  signal: AbortSignal,
): Promise<Model<T>> {
  const { tensorflow, threads } = options;
  const { configThreads } = tensorflow;
  const intraOpThreads = configThreads.intraOp ?? threads.intraOp;
  const described =
    'savedModel' in source
      ? await describeSavedModel(source.savedModel, options)
      : describeFrozenGraph(source.frozenGraph, options);
  const engine = await findEngine('tensorflow', { library: tensorflow.library });
  const nativeOptions: NativeTensorFlowLoad = {
    ...described.load,
    library: engine.library,
    intraOpThreads,
    // Operations of all runs wait for these threads: with fewer than lanes the rest would only wait.
    interOpThreads:
      configThreads.interOp ?? threads.interOp ?? Math.max(intraOpThreads, options.lanes),
    insistIntraOp: threads.given.intraOp || configThreads.intraOp !== undefined,
    insistInterOp: threads.given.interOp || configThreads.interOp !== undefined,
    sharedThreads: threads.shared,
    opLibraries: tensorflow.opLibraries,
    configProto: tensorflow.config,
    ...nativePool(options),
    allowInline: options.allowInline,
  };
  const load = (cancel: NativeCancel): Promise<NativeSession> =>
    nativeAddon().loadTensorFlow(nativeOptions, cancel);
  const sessions = await openSessions('tensorflow', load, options, signal);
  return finish<T>('tensorflow', sessions, options, described.methodNames);
}

function nativePool({
  lanes,
  maxQueue,
  spinMicros,
  niceness,
  sharedPool: pool,
  weight,
}: ResolvedLoadOptions): Pick<
  NativeOnnxLoad,
  'lanes' | 'maxQueue' | 'spinMicros' | 'niceness' | 'pool' | 'weight'
> {
  return { lanes, maxQueue, spinMicros, niceness, pool, weight };
}

interface DescribedGraph {
  load: Pick<
    NativeTensorFlowLoad,
    'savedModel' | 'frozenGraph' | 'tags' | 'signatures' | 'metadata'
  >;
  methodNames: Map<string, string>;
}

async function describeSavedModel(
  folder: string,
  options: ResolvedLoadOptions,
): Promise<DescribedGraph> {
  const savedModel = await readSavedModel(folder);
  const metaGraph = selectMetaGraph(savedModel, options.tags);
  return {
    load: {
      savedModel: folder,
      frozenGraph: '',
      tags: [...metaGraph.tags],
      signatures: metaGraph.signatures.map(({ name, inputs, outputs }) => ({
        name,
        inputs: [...inputs],
        outputs: [...outputs],
      })),
      metadata: [
        ['tags', metaGraph.tags.join(',')],
        ['tensorflowVersion', metaGraph.tensorflowVersion],
      ],
    },
    methodNames: new Map(metaGraph.signatures.map(({ name, methodName }) => [name, methodName])),
  };
}

/** dtypes and shapes stay open: the engine reads them off the graph. */
function describeFrozenGraph(file: string, options: ResolvedLoadOptions): DescribedGraph {
  const { inputs, outputs } = options.tensorflow;
  if (outputs.length === 0) {
    throw new TenonError(
      'ERR_TENON_MODEL_FORMAT',
      `expected "tensorflow.inputs" and "tensorflow.outputs" for the frozen graph ${file}, which names none itself`,
    );
  }
  const bind = ([name, tensor]: [string, string]): NativeGraphTensor => ({
    spec: { kind: 'tensor', name, dtype: undefined as never, shape: null },
    tensor,
  });
  return {
    load: {
      savedModel: '',
      frozenGraph: file,
      tags: [],
      signatures: [
        { name: defaultSignatureName, inputs: inputs.map(bind), outputs: outputs.map(bind) },
      ],
      metadata: [],
    },
    methodNames: new Map(),
  };
}

async function finish<T extends ModelTypes<T>>(
  engine: 'onnxruntime' | 'tensorflow',
  sessions: Sessions,
  options: ResolvedLoadOptions,
  methodNames = new Map<string, string>(),
): Promise<Model<T>> {
  const { batching, signature, validateShapes } = options;
  try {
    return createModel<T>(
      engine,
      sessions,
      { signature, validateShapes, methodNames },
      batching && (await startBatching(sessions, { batching, signature, validateShapes })),
    );
  } catch (error) {
    await sessions.runner.close();
    throw error;
  }
}
