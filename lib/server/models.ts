import { StatusError, type StatusName } from '../codec/status.js';
import type { Model } from '../index.js';
import type { ModelVersionStatusState } from '../protobuf/tensorflow-serving.js';
import type { RequestObserver } from './exchange.js';

/** Which version of which model a request means; with neither version nor label the highest one. */
export interface ModelSpec {
  readonly name: string;
  readonly version?: bigint | undefined;
  readonly label?: string | undefined;
}

/** tensorflow.serving.ModelVersionStatus.State, by name. */
export type VersionStateName = keyof typeof ModelVersionStatusState;

export interface VersionStatus {
  readonly version: bigint;
  readonly state: VersionStateName;
  /** OK, or why the version is not served. */
  readonly error: { readonly status: StatusName; readonly message: string };
}

/** One entry of a SavedModel's signature_def, as GetModelMetadata shows it. */
export interface SignatureTensor {
  /** "serving_default_x:0"; for ONNX the name itself. */
  readonly name: string;
  /** tensorflow.DataType, by name: "DT_FLOAT". */
  readonly dtype: string;
  /** Undefined for an unknown rank; -1 is an unknown size. */
  readonly shape: readonly number[] | undefined;
  /** Of a sparse tensor, which has no name of its own, the tensors it is made of. */
  readonly cooSparse?: {
    readonly valuesTensorName: string;
    readonly indicesTensorName: string;
    readonly denseShapeTensorName: string;
  };
}

export interface SignatureDef {
  readonly inputs: Readonly<Record<string, SignatureTensor>>;
  readonly outputs: Readonly<Record<string, SignatureTensor>>;
  readonly methodName: string;
}

/** A version that a request holds: it stays loaded until `release()`, whatever happens meanwhile. */
export interface ServedModel {
  readonly name: string;
  readonly version: bigint;
  readonly model: Model;
  /**
   * Rows (dimension 0) that one request may bring at most: `max_batch_size` of a batched model that
   * does not split larger ones. Undefined: any number.
   */
  readonly maxRows?: number | undefined;
  /**
   * Who wants to know what the request was and how it was answered, because it is recorded or run
   * again; undefined for most. The service tells it, with tensors: whoever runs the model another way
   * leaves such requests to the service.
   */
  readonly observer?: RequestObserver | undefined;
  /** What GetModelMetadata answers. */
  signatureDefs(): Readonly<Record<string, SignatureDef>>;
  /** Once, when the request has ended. */
  release(): void;
}

export interface ModelListing {
  readonly name: string;
  /** Newest first. */
  readonly versions: readonly VersionStatus[];
  readonly labels: Readonly<Record<string, bigint>>;
}

export interface Readiness {
  /**
   * Every model of the first configuration has had a version AVAILABLE or a load that failed (it may
   * be tried again), and we are not stopping. Models that come later do not take it back.
   */
  readonly ready: boolean;
  /** Models that are still loading their first version. */
  readonly waiting: readonly string[];
  /** Models of which no version could be loaded, with the reason. */
  readonly failed: readonly { readonly name: string; readonly message: string }[];
}

export type ModelUse = 'run' | 'describe';

/**
 * The models there are, as the front ends see them: the repository in its own thread, a mirror of
 * it in a front-end thread.
 */
export interface ModelDirectory {
  /**
   * @param use What for: a 'run' of a request may be routed, recorded and run again; what only
   *   describes a model is not. Default: 'run'.
   * @throws StatusError NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
   */
  acquire(spec: ModelSpec, use?: ModelUse): ServedModel;
  /**
   * Newest first.
   * @throws StatusError NOT_FOUND
   */
  status(spec: ModelSpec): readonly VersionStatus[];
  list(): readonly ModelListing[];
  readiness(): Readiness;
}

/**
 * The version that a request means by its number or its label; undefined is the highest.
 *
 * @param labels The model's; undefined where there is no such model.
 * @throws StatusError INVALID_ARGUMENT for an unknown label.
 */
export function versionMeant(
  { version, label }: ModelSpec,
  labels: ReadonlyMap<string, bigint> | undefined,
): bigint | undefined {
  if (label === undefined) return version;
  const labelled = labels?.get(label);
  if (labelled !== undefined) return labelled;
  throw new StatusError('INVALID_ARGUMENT', `Unrecognized servable version label: ${label}`);
}

/** What `acquire` throws where the version meant, or any, is not AVAILABLE. */
export function servableNotFound(name: string, version: bigint | undefined): StatusError {
  return new StatusError(
    'NOT_FOUND',
    `Servable not found for request: ${version === undefined ? `Latest(${name})` : `Specific(${name}, ${version})`}`,
  );
}

/**
 * What `status` answers, of the statuses of all of the model's versions.
 *
 * @throws StatusError NOT_FOUND
 */
export function statusesMeant(
  name: string,
  version: bigint | undefined,
  statuses: readonly VersionStatus[],
): readonly VersionStatus[] {
  const found =
    version === undefined ? statuses : statuses.filter((status) => status.version === version);
  if (found.length > 0) return found;
  throw new StatusError(
    'NOT_FOUND',
    version === undefined
      ? `Could not find any versions of model ${name}`
      : `Could not find version ${version} of model ${name}`,
  );
}
