/** Loads one version: the engine's model, its signatures, its warm-up. */

import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

import { StatusError, StatusCode, type StatusName } from '../../codec/status.js';
import { TenonError, type EngineName, type LoadOptions, type Model } from '../../index.js';
import { engineOf, type ModelConfig } from '../config/model-config.js';
import { fingerprint } from './fingerprint.js';
import type { ResolvedRepositoryOptions } from './options.js';
import { ServedVersion } from './served-version.js';
import { readSignatureDefs } from './signature-defs.js';
import { isModelFile, modelIn } from './version-source.js';
import { runWarmUp } from './warm-up.js';

/** Files that changed this short ago may be on their way still. */
const freshMs = 2000;
/** Files that did not change for this long are there. */
const settledMs = 200;
/** Files that go on changing are loaded all the same after so long. */
const maxSettlingMs = 30_000;

export interface LoadTask {
  readonly config: ModelConfig;
  readonly version: bigint;
  /** The version's folder, or the model's file. */
  readonly path: string;
  /** Whether a model is refused whose files changed while it was loaded. */
  readonly insistOnSame: boolean;
  readonly signal: AbortSignal;
  /** Told what the files were when the load began. */
  onFiles(fingerprint: string): void;
  /** Awaited before the load counts as done. */
  onLoaded(served: ServedVersion): Promise<void>;
  /** Where that fails: awaited before what was loaded is closed. */
  onDropped(served: ServedVersion): Promise<void>;
}

/** @throws A StatusError, as ModelService reports it. What was loaded is closed then. */
export async function loadVersion(
  task: LoadTask,
  options: ResolvedRepositoryOptions,
): Promise<ServedVersion> {
  try {
    return await tryLoad(task, options);
  } catch (error) {
    throw statusOf(error);
  }
}

async function tryLoad(task: LoadTask, options: ResolvedRepositoryOptions): Promise<ServedVersion> {
  const { config, version, signal } = task;
  const before = await settledFiles(task, options);
  task.onFiles(before);
  const { file, engine } = await findModel(task.path, engineOf(config));
  const given = await options.loadOptions(config.name, { version, path: task.path, engine });
  signal.throwIfAborted();
  const model = await options
    .load(file, { ...given, validateShapes: false, signal })
    .catch((error: unknown) => {
      throw statusOf(error, engine);
    });
  try {
    const signatureDefs = await readSignatureDefs(model, file, given.tags);
    const maxRows = maxRowsOf(given);
    const served = new ServedVersion({ name: config.name, version, model, signatureDefs, maxRows });
    if (options.warmUp !== undefined) await runWarmUp(served, task.path, options.warmUp, signal);
    if (task.insistOnSame && (await fingerprint(task.path)).value !== before) {
      throw new StatusError(
        'UNAVAILABLE',
        `expected the files in ${task.path} to stay as they are while they are loaded, received others`,
      );
    }
    try {
      await task.onLoaded(served);
      signal.throwIfAborted();
    } catch (error) {
      await task.onDropped(served);
      throw error;
    }
    return served;
  } catch (error) {
    await close(model, options, config.name);
    throw error;
  }
}

/** `max_batch_size` as TensorFlow Serving means it, where it was given. */
function maxRowsOf({ batching }: LoadOptions): number | undefined {
  if (typeof batching !== 'object' || batching.splitLarge === true) return undefined;
  return batching.maxBatchSize ?? batching.allowedBatchSizes?.at(-1);
}

async function close(
  model: Model,
  { log }: ResolvedRepositoryOptions,
  name: string,
): Promise<void> {
  try {
    await model.close();
  } catch (error) {
    log.error({ err: error, model: name }, `Could not close a version of ${name}`);
  }
}

/** The files' fingerprint, once nobody seems to be writing them any more. */
async function settledFiles(
  { path: root, signal }: LoadTask,
  { clock }: ResolvedRepositoryOptions,
): Promise<string> {
  let found = await fingerprint(root);
  const deadline = clock.now() + maxSettlingMs;
  // A folder that was moved here as a whole is as fresh, but waits no longer than once.
  while (Date.now() - found.changedAtMs < freshMs && clock.now() < deadline && !signal.aborted) {
    await new Promise<void>((resolve) => void clock.after(settledMs, resolve));
    const next = await fingerprint(root);
    if (next.value === found.value) break;
    found = next;
  }
  return found.value;
}

async function findModel(
  root: string,
  wanted: EngineName | undefined,
): Promise<{ file: string; engine: EngineName }> {
  const file = (await stat(root)).isDirectory()
    ? modelIn(root, await readdir(root))
    : isModelFile(root)
      ? root
      : undefined;
  if (file === undefined) {
    throw new StatusError(
      'NOT_FOUND',
      `Could not find a model in ${root}: expected saved_model.pb, model.onnx or one .onnx or .ort file`,
    );
  }
  const engine = file === root && !isModelFile(file) ? 'tensorflow' : 'onnxruntime';
  if (wanted !== undefined && wanted !== engine) {
    throw new StatusError(
      'INVALID_ARGUMENT',
      `expected a model for the platform ${wanted} in ${root}, received ${path.basename(file)} for ${engine}`,
    );
  }
  return { file, engine };
}

const statusOfCode: Readonly<Record<string, StatusName>> = {
  ERR_TENON_MODEL_NOT_FOUND: 'NOT_FOUND',
  ERR_TENON_ENGINE_NOT_FOUND: 'UNIMPLEMENTED',
  ERR_TENON_UNKNOWN_TAG: 'NOT_FOUND',
  ERR_TENON_OUT_OF_MEMORY: 'RESOURCE_EXHAUSTED',
  ERR_TENON_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  ERR_TENON_UNSUPPORTED: 'UNIMPLEMENTED',
  ERR_TENON_ABORTED: 'CANCELLED',
  ERR_TENON_TIMEOUT: 'DEADLINE_EXCEEDED',
  ERR_TENON_INTERNAL: 'INTERNAL',
  ERR_TENON_MODEL_FORMAT: 'INVALID_ARGUMENT',
  ERR_TENON_MODEL_INVALID: 'INVALID_ARGUMENT',
  ERR_TENON_INVALID_ARGUMENT: 'INVALID_ARGUMENT',
  ERR_TENON_CONFIG: 'INVALID_ARGUMENT',
  ERR_TENON_CONFIGURE: 'FAILED_PRECONDITION',
  ERR_TENON_NOT_BATCHABLE: 'FAILED_PRECONDITION',
};

const statusNames = Object.keys(StatusCode) as StatusName[];

function statusOf(error: unknown, engine?: EngineName): StatusError {
  if (error instanceof StatusError) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  // TensorFlow's numbers are these statuses.
  const own =
    engine === 'tensorflow' && cause instanceof TenonError && cause.engineCode
      ? statusNames[cause.engineCode]
      : undefined;
  const status =
    own ??
    statusOfCode[code] ??
    (code === 'ENOENT' || code === 'ENOTDIR' ? 'NOT_FOUND' : 'UNKNOWN');
  return new StatusError(status, cause.message, { cause });
}
