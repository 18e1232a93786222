/** A repository of the server over a clock and a loader that tests hold in their hands. */

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import type { load, Model } from '../../lib/index.js';
import { latestVersion, type ModelConfig } from '../../lib/server/config/model-config.js';
import type { VersionStateName } from '../../lib/server/models.js';
import type { Clock } from '../../lib/server/repository/clock.js';
import type { RepositoryLog } from '../../lib/server/repository/options.js';
import type { Repository } from '../../lib/server/repository/repository.js';

/**
 * Short waits pass as fast as turns of the event loop go by; longer ones when the test says so.
 */
export class TestClock implements Clock {
  readonly #shortMs: number;
  #now = 0;
  readonly #timers = new Set<{ at: number; action: () => void }>();

  /** @param shortMs The longest wait that passes by itself. */
  constructor(shortMs = 1000) {
    this.#shortMs = shortMs;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, action: () => void): { cancel(): void } {
    if (ms <= this.#shortMs) {
      const immediate = setImmediate(action);
      return { cancel: () => clearImmediate(immediate) };
    }
    const timer = { at: this.#now + ms, action };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** When the timers that wait are due, counted from now. */
  get waiting(): number[] {
    return [...this.#timers].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.action();
    }
  }
}

/** Keeps what was logged: `level message`. */
export class TestLog implements RepositoryLog {
  readonly lines: string[] = [];
  readonly debug = (_: object, message: string): void => void this.lines.push(`debug ${message}`);
  readonly info = (_: object, message: string): void => void this.lines.push(`info ${message}`);
  readonly warn = (_: object, message: string): void => void this.lines.push(`warn ${message}`);
  readonly error = (_: object, message: string): void => void this.lines.push(`error ${message}`);
}

/** Stands for a model of ONNX Runtime without a signature. */
export class FakeModel {
  readonly engine = 'onnxruntime';
  readonly signatures = {};
  readonly source: string;
  isClosed = false;
  isDestroyed = false;
  #onClosed: (() => void) | undefined;
  readonly #closed = new Promise<void>((resolve) => (this.#onClosed = resolve));
  /** Whether `close()` ends by itself. */
  closesAtOnce = true;

  constructor(source: string) {
    this.source = source;
  }

  close(): Promise<void> {
    this.isClosed = true;
    if (this.closesAtOnce) this.finishClosing();
    return this.#closed;
  }

  finishClosing(): void {
    this.#onClosed?.();
  }

  destroy(): Promise<void> {
    this.isDestroyed = true;
    return this.close();
  }
}

/** A load that ends when the test says so. */
export interface FakeLoad {
  readonly source: string;
  readonly signal: AbortSignal | undefined;
  succeed(): FakeModel;
  fail(error: Error): void;
}

/** Loads that succeed at once, or, held back, when the test says so. */
export class FakeLoader {
  readonly #held: boolean;
  readonly loads: FakeLoad[] = [];
  readonly models: FakeModel[] = [];
  /** How many loads have begun. */
  begun = 0;
  /** Where set, what a load of this path fails with. */
  readonly errors = new Map<string, Error>();

  constructor({ held = false } = {}) {
    this.#held = held;
  }

  readonly load = ((source: string, options?: { signal?: AbortSignal }) => {
    this.begun++;
    return new Promise<Model>((resolve, reject) => {
      const end = (): void => {
        const index = this.loads.indexOf(load);
        if (index >= 0) this.loads.splice(index, 1);
      };
      const load: FakeLoad = {
        source,
        signal: options?.signal,
        succeed: () => {
          end();
          const model = new FakeModel(source);
          this.models.push(model);
          resolve(model as unknown as Model);
          return model;
        },
        fail: (error) => {
          end();
          reject(error);
        },
      };
      options?.signal?.addEventListener('abort', () => load.fail(new Error('stopped')));
      const error = this.errors.get(source);
      if (error !== undefined) load.fail(error);
      else if (this.#held) this.loads.push(load);
      else load.succeed();
    });
  }) as unknown as typeof load;

  /** The load of a version that is under way. */
  of(name: string, version: number): FakeLoad | undefined {
    const end = path.join(name, String(version), 'model.onnx');
    return this.loads.find(({ source }) => source.endsWith(end));
  }
}

/** Resolves once `condition` holds, which is looked at whenever something changes. */
export function until(repository: Repository, condition: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (condition()) resolve();
    };
    repository.onChange(check);
    check();
  });
}

/** Resolves once `condition` holds, which is looked at in each turn of the event loop. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** A model in `<root>/<name>` with what counts as an ONNX model in each version's folder. */
export function makeModel(
  root: string,
  name: string,
  versions: readonly number[],
  more: Partial<ModelConfig> = {},
): ModelConfig {
  const basePath = path.join(root, name);
  mkdirSync(basePath, { recursive: true });
  for (const version of versions) makeVersion(root, name, version);
  return { name, basePath, versionPolicy: latestVersion, labels: {}, ...more };
}

export function makeVersion(root: string, name: string, version: number): string {
  const folder = path.join(root, name, String(version));
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'model.onnx'), `version ${version}`);
  return folder;
}

/** The states of a model's versions; empty where none is known. */
export function statesOf(repository: Repository, name: string): Record<string, VersionStateName> {
  try {
    return Object.fromEntries(
      repository.status({ name }).map(({ version, state }) => [String(version), state]),
    );
  } catch {
    return {};
  }
}
