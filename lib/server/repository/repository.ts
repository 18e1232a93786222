/**
 * The models of a server: their versions on storage are watched, loaded and unloaded, and handed to
 * requests. Nothing here waits for one model on behalf of another, but for the places to load.
 */

import os from 'node:os';

import { StatusError } from '../../codec/status.js';
import { load } from '../../index.js';
import { checkModelConfig, type ModelServerConfig } from '../config/model-config.js';
import {
  type ModelDirectory,
  type ModelListing,
  type ModelSpec,
  type Readiness,
  type ServedModel,
  servableNotFound,
  statusesMeant,
  versionMeant,
  type VersionStatus,
} from '../models.js';
import { systemClock, type Timer } from './clock.js';
import { LoadQueue } from './load-queue.js';
import { ManagedModel, type ModelHost } from './managed-model.js';
import type { RepositoryOptions, ResolvedRepositoryOptions } from './options.js';
import type { ServedVersion, ServedVersionInfo } from './served-version.js';

export type { RepositoryLog, RepositoryOptions, VersionToLoad, WarmUp } from './options.js';
export type { ServedVersionInfo } from './served-version.js';

type Listener<A extends unknown[]> = (...args: A) => void | Promise<void>;

export interface ReloadOptions {
  /** Ends the waiting, not the loading. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to wait for models at most. Default: the repository's `reloadTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

const defaultLoadThreads = 4;
/** The addon has 16 threads for loading and closing: closing must not wait for what is slow to load. */
const maxLoads = 12;
const slowLoadMs = 10_000;
/** `start` does not wait longer for a base path that does not answer. */
const firstLookMs = 5_000;
/** Front-end threads that do not answer do not keep a version from its end or its beginning. */
const listenerMs = 60_000;
/** After this time the log says who is still loading. */
const slowStartMs = 10_000;
/** Models that were taken out of the configuration of which the end is still told. */
const maxRetired = 64;
/** Requests that are told to end have so long for it. */
const destroyMs = 5_000;

export class Repository implements ModelDirectory {
  readonly #options: ResolvedRepositoryOptions;
  readonly #host: ModelHost;
  #config: ModelServerConfig;
  /** Those of the configuration, in its order. */
  #models = new Map<string, ManagedModel>();
  /** Those that were taken out, the latest last: unloading, or ended. */
  readonly #retired = new Map<string, ManagedModel>();
  readonly #availableListeners: Listener<[ServedVersionInfo]>[] = [];
  readonly #unloadListeners: Listener<[ServedVersionInfo]>[] = [];
  readonly #changeListeners: (() => void)[] = [];
  readonly #waiters = new Set<() => void>();
  /** Models that the first configuration has, until each has been ready or has failed once. */
  #starting: Set<ManagedModel> | undefined;
  #isReady = false;
  /** Whether labels of the first configuration come to stand as their versions become available. */
  #labelsCome = true;
  #isStopping = false;
  #isClosed = false;
  #startedAt = 0;

  /** @throws StatusError INVALID_ARGUMENT: see `checkModelConfig`. */
  constructor(options: RepositoryOptions) {
    checkModelConfig(options.config);
    this.#config = options.config;
    const clock = options.clock ?? systemClock;
    this.#options = {
      loadOptions: options.loadOptions ?? (() => ({})),
      pollIntervalSeconds: options.pollIntervalSeconds ?? 1,
      maxLoadRetries: options.maxLoadRetries ?? 5,
      loadRetryIntervalMs: options.loadRetryIntervalMs ?? 60_000,
      loadRetryBackoff: options.loadRetryBackoff ?? 1,
      loadThreads:
        Math.min(maxLoads, options.loadThreads ?? 0) ||
        Math.min(defaultLoadThreads, os.availableParallelism()),
      warmUp: options.warmUp,
      allowLabelsForUnavailable: options.allowLabelsForUnavailable ?? false,
      reloadTimeoutMs: options.reloadTimeoutMs ?? 300_000,
      log: options.log,
      clock,
      load: options.load ?? load,
    };
    this.#host = {
      options: this.#options,
      queue: new LoadQueue({
        places: this.#options.loadThreads,
        limit: maxLoads,
        slowAfterMs: slowLoadMs,
        clock,
      }),
      onLoaded: (served) => this.#tell(this.#availableListeners, served),
      onUnload: (served) => this.#tell(this.#unloadListeners, served),
      onChange: () => this.#onChange(),
    };
  }

  /** Called for each version that is loaded, and awaited before it is AVAILABLE. */
  onAvailable(listener: Listener<[ServedVersionInfo]>): void {
    this.#availableListeners.push(listener);
  }

  /**
   * Called for each version that `onAvailable` was called for, also where it never came to be
   * AVAILABLE, once no request holds it, and awaited before its memory is given back.
   */
  onUnload(listener: Listener<[ServedVersionInfo]>): void {
    this.#unloadListeners.push(listener);
  }

  /** Called after any change of what `acquire`, `status`, `list` and `readiness` give. */
  onChange(listener: () => void): void {
    this.#changeListeners.push(listener);
  }

  /** The configuration that was given last. */
  get config(): ModelServerConfig {
    return this.#config;
  }

  /** Resolves when each base path has been looked at; loading goes on. */
  async start(): Promise<void> {
    const { clock } = this.#options;
    this.#startedAt = clock.now();
    const looks = this.#applyConfig(this.#config);
    this.#starting = new Set(this.#models.values());
    this.#onChange();
    clock.after(slowStartMs, () => this.#reportSlowStart());
    await this.#within(firstLookMs, Promise.all(looks));
    this.#onChange();
  }

  /**
   * Has the new configuration replace the old one, as HandleReloadConfigRequest does: models that
   * it does not name are unloaded. Resolves when those it names for the first time are available
   * and its labels stand. A call that another overtakes rejects; none waits for another.
   *
   * @throws StatusError INVALID_ARGUMENT for a bad configuration, which changes nothing; UNKNOWN for
   *   new models of which no version could be loaded (once; more tries follow); FAILED_PRECONDITION
   *   for a label of a version that is not available, where all labels stay as they were; ABORTED
   *   for a later configuration; DEADLINE_EXCEEDED; the signal's reason; UNAVAILABLE while closing.
   */
  async reload(config: ModelServerConfig, options: ReloadOptions = {}): Promise<void> {
    if (this.#isStopping) throw stopping();
    checkModelConfig(config, { served: this.#config });
    const known = new Set(this.#models.keys());
    this.#labelsCome = false;
    const looks = this.#applyConfig(config);
    const added = [...this.#models.values()].filter(({ name }) => !known.has(name));
    this.#options.log.info(
      { models: config.models.map(({ name }) => name), added: added.map(({ name }) => name) },
      'Adding/updating models',
    );
    this.#onChange();
    const looked = Promise.all(looks);
    let hasLooked = false;
    void looked.then(() => {
      hasLooked = true;
      this.#onChange();
    });
    const isCurrent = (): boolean => this.#config === config && !this.#isStopping;
    await this.#until(
      () =>
        !isCurrent() ||
        (hasLooked &&
          added.every((model) => model.isSettled) &&
          [...this.#models.values()].every((model) =>
            Object.values(model.config.labels).every((version) => !model.isComing(version)),
          )),
      options,
    );
    if (!isCurrent()) {
      throw new StatusError(
        'ABORTED',
        this.#isStopping
          ? 'The server is shutting down'
          : 'A later configuration has replaced this one before its models were available',
      );
    }
    const labelError = this.#assignLabels();
    const failed = added.filter((model) => model.available.length === 0);
    if (failed.length > 0) {
      const reasons = failed.map((model) => ` {${describeFailure(model)}}`);
      throw new StatusError(
        'UNKNOWN',
        `${failed.length} servable(s) did not become available:${reasons.join(',')}`,
      );
    }
    if (labelError !== undefined) throw labelError;
  }

  /**
   * Has the base path of a model looked at again, and what is to be served of it loaded, also where
   * `unloadModel` had it unloaded. Resolves when that is done.
   *
   * @throws StatusError NOT_FOUND for a model that the configuration does not have;
   *   FAILED_PRECONDITION for one of which no version could be loaded; ABORTED where another call has
   *   it unloaded meanwhile; as `reload`.
   */
  async loadModel(name: string, options: ReloadOptions = {}): Promise<void> {
    if (this.#isStopping) throw stopping();
    const model = this.#configured(name);
    let hasLooked = false;
    void model.reconfigure(model.config).then(() => {
      hasLooked = true;
      this.#onChange();
    });
    this.#options.log.info({ model: name }, `Loading ${name} as a client asks`);
    this.#onChange();
    const isCurrent = (): boolean =>
      this.#models.get(name) === model && !model.isStopped && !this.#isStopping;
    await this.#until(
      () => !isCurrent() || (hasLooked && model.isSettled && !model.isComing()),
      options,
    );
    if (!isCurrent()) {
      throw new StatusError('ABORTED', `Model ${name} was unloaded before it was available`);
    }
    if (model.available.length === 0) {
      throw new StatusError(
        'FAILED_PRECONDITION',
        `Model ${name} did not become available: ${model.failure ?? 'no version'}`,
      );
    }
    // They went with its versions.
    this.#assignFreeLabels([model]);
    this.#onChange();
  }

  /**
   * Has all versions of a model unloaded once their requests have ended, and resolves then. It stays
   * so until `loadModel`, or the next configuration.
   *
   * @throws StatusError as `loadModel`.
   */
  async unloadModel(name: string, options: ReloadOptions = {}): Promise<void> {
    if (this.#isStopping) throw stopping();
    const model = this.#configured(name);
    this.#options.log.info({ model: name }, `Unloading ${name} as a client asks`);
    model.stop();
    this.#onChange();
    await this.#until(() => !model.isStopped || model.isEmpty, options);
  }

  /** From now on we are not ready, and load nothing more; what is loaded serves until `close`. */
  beginStop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#onChange();
  }

  /**
   * Unloads everything once its requests have ended; those that have not after `timeoutMs` are
   * ended. Requests that come now are refused with UNAVAILABLE.
   */
  async close(timeoutMs = 30_000): Promise<void> {
    this.beginStop();
    this.#isClosed = true;
    const models = [...this.#models.values(), ...this.#retired.values()];
    for (const model of models) model.stop();
    const areEmpty = (): boolean => models.every((model) => model.isEmpty);
    const onTime = await this.#until(areEmpty, { timeoutMs }).then(
      () => true,
      () => false,
    );
    if (onTime) return;
    this.#options.log.warn({ timeoutMs }, 'Ending the requests that are still under way');
    for (const model of models) model.destroy(stopping());
    await this.#until(areEmpty, { timeoutMs: destroyMs }).catch(() => {
      this.#options.log.error({}, 'Some models could not be unloaded');
    });
  }

  acquire(spec: ModelSpec): ServedModel {
    if (this.#isClosed) throw stopping();
    const model = this.#models.get(spec.name);
    const version = versionMeant(spec, model?.labels);
    const held = model?.acquire(version);
    if (held === undefined) throw servableNotFound(spec.name, version);
    return held;
  }

  status(spec: ModelSpec): readonly VersionStatus[] {
    const model = this.#models.get(spec.name) ?? this.#retired.get(spec.name);
    const version = versionMeant(spec, model?.labels);
    return statusesMeant(spec.name, version, model?.statuses() ?? []);
  }

  list(): readonly ModelListing[] {
    const leaving = [...this.#retired.values()].filter((model) => !model.isEmpty);
    return [...this.#models.values(), ...leaving].map((model) => ({
      name: model.name,
      versions: model.statuses(),
      labels: Object.fromEntries(model.labels),
    }));
  }

  readiness(): Readiness {
    const models = [...this.#models.values()];
    return {
      ready: this.#isReady && !this.#isStopping,
      waiting: models
        .filter((model) => !model.isSettled && !model.isStopped)
        .map(({ name }) => name),
      failed: models
        .filter((model) => model.isSettled && model.available.length === 0)
        .map((model) => ({ name: model.name, message: model.failure ?? 'no version' })),
    };
  }

  #configured(name: string): ManagedModel {
    const model = this.#models.get(name);
    if (model !== undefined) return model;
    throw new StatusError('NOT_FOUND', `The configuration has no model ${name}`);
  }

  /** @returns A promise for each model's next look at its base path. */
  #applyConfig(config: ModelServerConfig): Promise<void>[] {
    const before = new Map(this.#models);
    this.#config = config;
    this.#models = new Map();
    const looks: Promise<void>[] = [];
    for (const each of config.models) {
      const known = before.get(each.name) ?? this.#retired.get(each.name);
      this.#retired.delete(each.name);
      before.delete(each.name);
      const model = known ?? new ManagedModel(each, this.#host);
      this.#models.set(each.name, model);
      looks.push(known === undefined ? model.start() : model.reconfigure(each));
    }
    for (const model of before.values()) {
      model.stop();
      this.#retired.set(model.name, model);
    }
    for (const [name, model] of this.#retired) {
      if (this.#retired.size <= maxRetired) break;
      if (model.isEmpty) this.#retired.delete(name);
    }
    return looks;
  }

  /**
   * The labels of the configuration, or an error where one cannot stand; then all stay as they
   * were, those of models that are gone aside.
   */
  #assignLabels(): StatusError | undefined {
    const assigned: [ManagedModel, Map<string, bigint>][] = [];
    for (const model of this.#models.values()) {
      const labels = new Map(Object.entries(model.config.labels));
      for (const [label, version] of labels) {
        if (model.isAvailable(version)) continue;
        // One that is in use must not lead into the void for a while.
        const current = model.labels.get(label);
        const isFree = current === undefined || current === version;
        if (this.#options.allowLabelsForUnavailable && isFree) continue;
        return new StatusError(
          'FAILED_PRECONDITION',
          `Request to assign label to version ${version} of model ${model.name}, which is not currently available for inference`,
        );
      }
      assigned.push([model, labels]);
    }
    for (const [model, labels] of assigned) model.labels = labels;
    this.#onChange();
    return undefined;
  }

  /** Those that are not in use, of versions that are there. */
  #assignFreeLabels(models: Iterable<ManagedModel>): void {
    for (const model of models) {
      const free = Object.entries(model.config.labels).filter(
        ([label, version]) =>
          !model.labels.has(label) &&
          (this.#options.allowLabelsForUnavailable || model.isAvailable(version)),
      );
      if (free.length > 0) model.labels = new Map([...model.labels, ...free]);
    }
  }

  #onChange(): void {
    if (this.#labelsCome) this.#assignFreeLabels(this.#models.values());
    this.#reportStart();
    for (const check of [...this.#waiters]) check();
    for (const listener of this.#changeListeners) {
      try {
        listener();
      } catch (error) {
        this.#options.log.error({ err: error }, 'A listener for changes of the models failed');
      }
    }
  }

  /** Says of each model of the first configuration once what has become of it. */
  #reportStart(): void {
    const starting = this.#starting;
    if (starting === undefined) return;
    const { log, clock } = this.#options;
    const current = new Set(this.#models.values());
    for (const model of starting) {
      if (!current.has(model) || (model.isStopped && !this.#isStopping)) {
        starting.delete(model);
      } else if (model.isSettled) {
        starting.delete(model);
        const { failure } = model;
        const versions = model.available.map(({ version }) => version);
        if (failure === undefined)
          log.info({ model: model.name, versions }, `${model.name} is ready`);
        else log.warn({ model: model.name }, `${model.name} is not served: ${failure}`);
      }
    }
    if (starting.size > 0) return;
    this.#starting = undefined;
    this.#isReady = true;
    const { failed } = this.readiness();
    log.info(
      {
        models: this.#models.size,
        failed: failed.map(({ name }) => name),
        ms: Math.round(clock.now() - this.#startedAt),
      },
      failed.length === 0
        ? 'Ready: all models are available'
        : `Ready, without ${failed.map(({ name }) => name).join(', ')}`,
    );
  }

  #reportSlowStart(): void {
    const waiting = [...(this.#starting ?? [])].map(({ name }) => name);
    if (waiting.length === 0 || this.#isStopping) return;
    this.#options.log.warn({ models: waiting }, `Still loading: ${waiting.join(', ')}`);
    this.#options.clock.after(slowStartMs, () => this.#reportSlowStart());
  }

  /** @throws Where a listener does, or one does not answer in time. */
  async #tell(
    listeners: readonly Listener<[ServedVersionInfo]>[],
    served: ServedVersion,
  ): Promise<void> {
    const answered = Promise.all(listeners.map(async (listener) => listener(served)));
    if (await this.#within(listenerMs, answered)) return;
    throw new StatusError(
      'DEADLINE_EXCEEDED',
      `expected those who use version ${served.version} of ${served.name} to answer within ${listenerMs} ms, received no answer`,
    );
  }

  /** Whether `promise` resolved in time. */
  async #within(ms: number, promise: Promise<unknown>): Promise<boolean> {
    let timer: Timer | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = this.#options.clock.after(ms, () => resolve(false));
    });
    try {
      return await Promise.race([promise.then(() => true), late]);
    } finally {
      timer?.cancel();
    }
  }

  /** Resolves once `condition` holds; looked at whenever something changes. */
  #until(
    condition: () => boolean,
    { timeoutMs = this.#options.reloadTimeoutMs, signal }: ReloadOptions,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const end = (): void => {
        timer.cancel();
        this.#waiters.delete(check);
        signal?.removeEventListener('abort', onAbort);
      };
      const check = (): void => {
        if (!condition()) return;
        end();
        resolve();
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const timer = this.#options.clock.after(timeoutMs, () => {
        end();
        reject(
          new StatusError(
            'DEADLINE_EXCEEDED',
            `Timed out after ${timeoutMs} ms; what is loading goes on`,
          ),
        );
      });
      this.#waiters.add(check);
      signal?.addEventListener('abort', onAbort, { once: true });
      check();
    });
  }
}

function stopping(): StatusError {
  return new StatusError('UNAVAILABLE', 'The server is shutting down');
}

function describeFailure(model: ManagedModel): string {
  const failed = model.statuses()[0];
  const version = failed === undefined ? '' : ` Version: ${failed.version}`;
  return `Name: ${model.name}${version} due to error: ${model.failure ?? 'no version'}`;
}
