/** One model of the repository: its base path is watched, its versions come and go. */

import { type FSWatcher, watch } from 'node:fs';
import path from 'node:path';

import { StatusError } from '../../codec/status.js';
import { localPath, type ModelConfig } from '../config/model-config.js';
import type { ServedModel, VersionStateName, VersionStatus } from '../models.js';
import { aspiredVersions, compareVersions, type SourceVersion } from './aspired-versions.js';
import type { Timer } from './clock.js';
import { fingerprint } from './fingerprint.js';
import { type Effect, Lifecycle, reportedState, type VersionRecord } from './lifecycle.js';
import type { LoadQueue, QueuedLoad } from './load-queue.js';
import { loadVersion } from './loader.js';
import type { ResolvedRepositoryOptions } from './options.js';
import type { ServedVersion } from './served-version.js';
import { isModelFile, VersionSource } from './version-source.js';

/** What a model tells the repository, and what it asks of it. */
export interface ModelHost {
  readonly options: ResolvedRepositoryOptions;
  readonly queue: LoadQueue<ManagedModel>;
  /** Before a version is AVAILABLE. */
  onLoaded(served: ServedVersion): Promise<void>;
  /** When no request holds a version any more that is UNLOADING; its memory is given back after that. */
  onUnload(served: ServedVersion): Promise<void>;
  /** After any change of what can be seen from outside. */
  onChange(): void;
}

/** What comes of a hint within this time is one look. */
const hintDelayMs = 50;
/** How often files of versions that failed are looked at where base paths are not polled. */
const failuresIntervalMs = 1000;
/** How often a version whose files change while they are loaded is refused for that. */
const maxChangedLoads = 3;

/** What is known of a version that was loaded in vain. */
interface Failure {
  /** Of the files that were loaded. */
  readonly files: string;
  /** As they were at the last look, and for how many looks. */
  latest: string;
  looks: number;
}

export class ManagedModel {
  readonly name: string;
  #config: ModelConfig;
  #source: VersionSource;
  readonly #host: ModelHost;
  readonly #lifecycle: Lifecycle;
  readonly #served = new Map<VersionRecord, ServedVersion>();
  /** Highest first. */
  #available: ServedVersion[] = [];
  readonly #queued = new Map<VersionRecord, QueuedLoad<ManagedModel>>();
  readonly #loading = new Map<VersionRecord, AbortController>();
  readonly #retries = new Map<VersionRecord, Timer>();
  readonly #failures = new Map<VersionRecord, Failure>();
  /** What was found at the base path last; undefined where it was never looked at. */
  #present: readonly SourceVersion[] | undefined;
  /** Why there is no version to serve. */
  #problem: string | undefined;
  #hasScanned = false;
  /** Whether the policy is another than when versions were last chosen. */
  #isPolicyNew = false;
  #isStopped = false;

  #timer: Timer | undefined;
  #hint: Timer | undefined;
  #watcher: { folder: string; handle: FSWatcher } | undefined;
  #scanning: Promise<void> | undefined;

  /** Which labels stand for which versions, now. */
  labels: ReadonlyMap<string, bigint> = new Map();

  constructor(config: ModelConfig, host: ModelHost) {
    this.name = config.name;
    this.#config = config;
    this.#source = new VersionSource(localPath(config));
    this.#host = host;
    this.#lifecycle = new Lifecycle(host.options.maxLoadRetries);
  }

  get config(): ModelConfig {
    return this.#config;
  }

  /** Highest first. */
  get available(): readonly ServedVersion[] {
    return this.#available;
  }

  get records(): readonly VersionRecord[] {
    return this.#lifecycle.records;
  }

  /** Whether nothing loads, serves or unloads. */
  get isEmpty(): boolean {
    return this.#lifecycle.isEmpty;
  }

  /** Whether it serves, or is known not to for now: see `failure`. */
  get isSettled(): boolean {
    if (this.#available.length > 0) return true;
    if (!this.#hasScanned) return false;
    return this.records.every(
      ({ isAspired, phase, error }) => !isAspired || phase === 'ended' || error !== undefined,
    );
  }

  /** Why it does not serve, as far as that is known. */
  get failure(): string | undefined {
    if (this.#available.length > 0) return undefined;
    const failed = this.records.filter(({ isAspired, error }) => isAspired && error !== undefined);
    failed.sort((a, b) => compareVersions(b.version, a.version));
    return failed[0]?.error?.message ?? this.#problem;
  }

  /** Whether it was told to stop, and not to begin again since. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Whether a version, or any, may still come to serve: it waits, loads, or will be looked for. */
  isComing(version?: bigint): boolean {
    if (this.#isStopped) return false;
    if (!this.#hasScanned) return true;
    return this.records.some(
      (record) =>
        (version === undefined || record.version === version) &&
        record.isAspired &&
        record.phase !== 'ready' &&
        record.phase !== 'ended' &&
        record.error === undefined,
    );
  }

  isAvailable(version: bigint): boolean {
    return this.#available.some((served) => served.version === version);
  }

  /** The highest version without one. */
  acquire(version?: bigint): ServedModel | undefined {
    const served =
      version === undefined
        ? this.#available[0]
        : this.#available.find((each) => each.version === version);
    return served?.acquire();
  }

  /** Newest first; one a version. */
  statuses(): VersionStatus[] {
    const seen = new Map<bigint, VersionRecord>();
    for (const record of this.records) {
      const other = seen.get(record.version);
      if (other === undefined || rank(record) > rank(other)) seen.set(record.version, record);
    }
    return [...seen.values()]
      .sort((a, b) => compareVersions(b.version, a.version))
      .map((record) => ({
        version: record.version,
        state: reportedState(record),
        error: reportedError(record),
      }));
  }

  /** Looks for versions, now and from time to time. Resolves when it has looked. */
  start(): Promise<void> {
    return this.#scanSoon();
  }

  /** Resolves when the base path was looked at again. */
  reconfigure(config: ModelConfig): Promise<void> {
    const before = this.#config;
    this.#config = config;
    this.#isStopped = false;
    if (localPath(before) !== localPath(config)) {
      this.#source = new VersionSource(localPath(config));
      this.#present = undefined;
      this.#hasScanned = this.#available.length > 0;
    }
    // Not before the next look: what a new policy wants may have come since the last one.
    this.#isPolicyNew = true;
    // A look that is under way may be at the old path.
    return (this.#scanning ?? Promise.resolve()).then(() => this.#scanSoon());
  }

  /** Looks no more, and has every version unloaded once its requests have ended. */
  stop(): void {
    this.#isStopped = true;
    this.labels = new Map();
    this.#timer?.cancel();
    this.#hint?.cancel();
    this.#hint = undefined;
    this.#unwatch();
    this.#problem = undefined;
    this.#present = undefined;
    this.#hasScanned = false;
    this.#source = new VersionSource(localPath(this.#config));
    this.#apply(this.#lifecycle.aspire([]));
  }

  /** Ends requests that are under way with `reason`. */
  destroy(reason: unknown): void {
    for (const { model } of this.#served.values())
      void model.destroy(reason).catch(() => undefined);
  }

  #scanSoon(): Promise<void> {
    this.#scanning ??= this.#look().finally(() => {
      this.#scanning = undefined;
    });
    return this.#scanning;
  }

  async #look(): Promise<void> {
    if (this.#isStopped) return;
    this.#timer?.cancel();
    const source = this.#source;
    const config = this.#config;
    const scan = await source.scan();
    // Another path came meanwhile, or the end.
    if (this.#isStopped || source !== this.#source) return;
    if (scan.kind === 'found') this.#present = scan.versions;
    // Another policy: what it wants may have come since, and the look that follows will see.
    if (config !== this.#config) return;
    const { name } = this;
    const { options } = this.#host;
    const { basePath } = config;
    if (scan.kind === 'found') {
      for (const folder of scan.duplicates) {
        options.log.warn(
          { model: name, folder },
          `${folder} is left out: another folder has the same version`,
        );
      }
      this.#hasScanned = true;
      this.#aspire(scan.versions);
    } else if (scan.kind === 'missing') {
      this.#problem = `Could not find base path ${basePath} for servable ${name} with error ${scan.error.message}`;
      options.log.error({ model: name, basePath, err: scan.error }, this.#problem);
      this.#hasScanned = true;
      this.#host.onChange();
    }
    if (this.#isPolicyNew && this.#present !== undefined) this.#aspire(this.#present);
    await this.#lookAtFailures();
    if (this.#isStopped) return;
    this.#watch();
    this.#arm();
  }

  #arm(): void {
    const { pollIntervalSeconds, clock } = this.#host.options;
    const mayRetry = [...this.#failures.keys()].some(({ phase }) => phase === 'retrying');
    if (pollIntervalSeconds === 0 && !mayRetry) return;
    const ms = pollIntervalSeconds === 0 ? failuresIntervalMs : pollIntervalSeconds * 1000;
    this.#timer?.cancel();
    this.#timer = clock.after(ms, () => {
      if (pollIntervalSeconds > 0) void this.#scanSoon();
      else void this.#lookAtFailures().then(() => this.#isStopped || this.#arm());
    });
  }

  #aspire(present: readonly SourceVersion[]): void {
    const { versions, missing } = aspiredVersions(this.#config.versionPolicy, present);
    const { log } = this.#host.options;
    this.#problem = undefined;
    this.#isPolicyNew = false;
    for (const version of missing) {
      log.warn(
        { model: this.name, version },
        `Version ${version} of servable ${this.name}, which was requested to be served as a 'specific' version in the servable's version policy, was not found in the file system`,
      );
    }
    if (versions.length === 0) {
      const { basePath } = this.#config;
      this.#problem = `No versions of servable ${this.name} found under base path ${basePath}. Did you forget to name your leaf directory as a number (eg. '/1/')?`;
      log.warn({ model: this.name, basePath }, this.#problem);
    }
    this.#apply(this.#lifecycle.aspire(versions));
    this.#host.onChange();
  }

  /**
   * Has versions that failed loaded anew once their files are others than those that failed and
   * stay as they are for a look, or for twice as many after each time that did not help.
   */
  async #lookAtFailures(): Promise<void> {
    for (const [record, failure] of this.#failures) {
      const { value } = await fingerprint(record.path);
      if (this.#failures.get(record) !== failure || this.#isStopped) continue;
      if (value === failure.files) continue;
      failure.looks = value === failure.latest ? failure.looks + 1 : 0;
      failure.latest = value;
      if (value === '' || failure.looks < 2 ** Math.min(record.renewals, 6)) continue;
      this.#host.options.log.info(
        { model: this.name, version: record.version },
        `Version ${record.version} of ${this.name} has changed since it failed to load, and is loaded anew`,
      );
      this.#apply(this.#lifecycle.renew(record));
    }
  }

  /** Has the base path looked at as soon as something happens there, where the system tells. */
  #watch(): void {
    if (this.#host.options.pollIntervalSeconds === 0) return;
    const { folder } = this.#source;
    if (this.#watcher !== undefined && this.#watcher.folder === folder) return;
    this.#unwatch();
    if (folder === undefined) return;
    const basePath = localPath(this.#config);
    try {
      const target = isModelFile(basePath) ? path.dirname(basePath) : basePath;
      const handle = watch(target, { persistent: false }, () => {
        this.#hint ??= this.#host.options.clock.after(hintDelayMs, () => {
          this.#hint = undefined;
          if (!this.#isStopped) void this.#scanSoon();
        });
      });
      // It may have been replaced; the next look watches what is there then.
      handle.on('error', () => this.#unwatch());
      this.#watcher = { folder, handle };
    } catch {
      // The system has no more watches, or none for this file system: polling finds all as well.
    }
  }

  #unwatch(): void {
    this.#watcher?.handle.close();
    this.#watcher = undefined;
  }

  #apply(effects: readonly Effect[]): void {
    for (const effect of effects) this.#perform(effect);
    if (effects.some(({ kind }) => kind === 'state')) this.#host.onChange();
  }

  #perform(effect: Effect): void {
    const { record } = effect;
    const { options, queue } = this.#host;
    switch (effect.kind) {
      case 'queue': {
        const load: QueuedLoad<ManagedModel> = {
          owner: this,
          version: record.version,
          isUrgent: () => this.#available.length === 0,
          begin: () => this.#load(record),
        };
        this.#failures.delete(record);
        this.#queued.set(record, load);
        queue.add(load);
        return;
      }
      case 'unqueue': {
        const load = this.#queued.get(record);
        this.#queued.delete(record);
        if (load !== undefined) queue.remove(load);
        return;
      }
      case 'stop':
        this.#loading.get(record)?.abort();
        return;
      case 'wait':
        this.#retries.set(
          record,
          options.clock.after(this.#retryDelayMs(record), () => {
            this.#retries.delete(record);
            this.#apply(this.#lifecycle.retry(record));
          }),
        );
        return;
      case 'unwait':
        this.#retries.get(record)?.cancel();
        this.#retries.delete(record);
        this.#failures.delete(record);
        return;
      case 'unload':
        this.#unload(record);
        return;
      case 'state':
        this.#report(record, effect.state);
        return;
    }
  }

  #retryDelayMs({ tries }: VersionRecord): number {
    const { loadRetryIntervalMs, loadRetryBackoff } = this.#host.options;
    return loadRetryIntervalMs * loadRetryBackoff ** (tries - 1);
  }

  async #load(record: VersionRecord): Promise<void> {
    const { options } = this.#host;
    const controller = new AbortController();
    const started = options.clock.now();
    let files = '';
    this.#queued.delete(record);
    this.#loading.set(record, controller);
    this.#apply(this.#lifecycle.begun(record));
    let served: ServedVersion;
    try {
      served = await loadVersion(
        {
          config: this.#config,
          version: record.version,
          path: record.path,
          insistOnSame: record.renewals < maxChangedLoads,
          signal: controller.signal,
          onFiles: (fingerprint) => (files = fingerprint),
          onLoaded: (loaded) => this.#host.onLoaded(loaded),
          onDropped: (dropped) => this.#letGo(dropped),
        },
        options,
      );
    } catch (error) {
      this.#loading.delete(record);
      this.#failed(record, error as StatusError, files);
      return;
    }
    this.#loading.delete(record);
    this.#served.set(record, served);
    const ms = Math.round(options.clock.now() - started);
    options.log.info(
      { model: this.name, version: record.version, path: record.path, ms },
      `Successfully loaded servable version {name: ${this.name} version: ${record.version}}`,
    );
    this.#apply(this.#lifecycle.loaded(record));
  }

  #failed(record: VersionRecord, error: StatusError, files: string): void {
    const { log, maxLoadRetries } = this.#host.options;
    const wasWanted = record.isAspired && record.phase === 'loading';
    if (wasWanted) this.#failures.set(record, { files, latest: '', looks: 0 });
    const effects = this.#lifecycle.failed(record, error);
    if (wasWanted) {
      const seconds = Math.round(this.#retryDelayMs(record) / 1000);
      const isRetrying = effects.some(({ kind }) => kind === 'wait');
      const next = isRetrying ? `; next try in ${seconds} s` : '; given up';
      log.error(
        { model: this.name, version: record.version, path: record.path, err: error },
        `Loading servable {name: ${this.name} version: ${record.version}} failed (try ${record.tries} of ${maxLoadRetries + 1}${next}): ${error.message}`,
      );
    }
    this.#apply(effects);
    // What is reported may be LOADING still, but why it is not AVAILABLE is known now.
    this.#host.onChange();
    if (this.#host.options.pollIntervalSeconds === 0 && !this.#isStopped) this.#arm();
  }

  #unload(record: VersionRecord): void {
    const served = this.#served.get(record);
    if (served === undefined) return;
    this.#available = this.#available.filter((each) => each !== served);
    void this.#giveBack(served).then(() => {
      this.#served.delete(record);
      this.#apply(this.#lifecycle.unloaded(record));
    });
  }

  /** Never rejects. */
  async #giveBack(served: ServedVersion): Promise<void> {
    const { log } = this.#host.options;
    const { name, version } = served;
    await served.idle();
    await this.#letGo(served);
    await served.model
      .close()
      .catch((error: unknown) =>
        log.error({ model: name, version, err: error }, `Closing version ${version} of ${name}`),
      );
    log.info(
      { model: name, version },
      `Done unloading servable version {name: ${name} version: ${version}}`,
    );
  }

  /** Waits until those who were told of the version need it no more. Never rejects. */
  async #letGo(served: ServedVersion): Promise<void> {
    const { name, version } = served;
    try {
      await this.#host.onUnload(served);
    } catch (error) {
      const { log } = this.#host.options;
      log.error({ model: name, version, err: error }, `Unloading version ${version} of ${name}`);
    }
  }

  #report(record: VersionRecord, state: VersionStateName): void {
    const served = this.#served.get(record);
    if (state === 'AVAILABLE' && served !== undefined) {
      this.#available = [...this.#available, served].sort((a, b) =>
        compareVersions(b.version, a.version),
      );
    }
    if (record.phase === 'ended' && !record.isAspired) this.#failures.delete(record);
    this.#host.options.log.debug(
      { model: this.name, version: record.version, state },
      `${this.name} version ${record.version}: ${state}`,
    );
  }
}

/** Of two that have one version the one that is more alive is reported. */
function rank({ phase }: VersionRecord): number {
  if (phase === 'ready') return 3;
  if (phase === 'ended') return 0;
  return phase === 'unloading' || phase === 'stopping' ? 1 : 2;
}

function reportedError({ phase, error }: VersionRecord): VersionStatus['error'] {
  if (phase !== 'ended' || error === undefined) return { status: 'OK', message: '' };
  return {
    status: error instanceof StatusError ? error.status : 'UNKNOWN',
    message: error.message,
  };
}
