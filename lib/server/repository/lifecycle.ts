/**
 * The life of a model's versions, as a state machine without a clock, a file system or an engine:
 * events go in, what is to be done comes out. Availability comes first: a version that serves is
 * unloaded only where one that is to be served is ready, or none is to be served at all.
 *
 * One that is to be served is loaded the highest first; of those that are not, the lowest is
 * unloaded first. A version whose load fails is tried again some times and then left alone until
 * its files change.
 */

import type { VersionStateName } from '../models.js';
import { compareVersions, type SourceVersion } from './aspired-versions.js';

/**
 * `queued`: waits for its turn to load; `loading`; `retrying`: waits between two tries; `ready`;
 * `unloading`: requests end, then the memory is given back; `stopping`: a load that nobody wants
 * any more ends; `ended`: for good, or until it is wanted again.
 */
export type VersionPhase =
  'queued' | 'loading' | 'retrying' | 'ready' | 'unloading' | 'stopping' | 'ended';

export interface VersionRecord extends SourceVersion {
  readonly phase: VersionPhase;
  /** Whether the policy wants it. */
  readonly isAspired: boolean;
  /** Tries of loading it since it last was wanted or changed. */
  readonly tries: number;
  /** How often a change of its files had it loaded anew after a failure. */
  readonly renewals: number;
  /** Why it is not served, or why the last try failed. */
  readonly error: Error | undefined;
}

export type Effect =
  /** Have it load as soon as there is a place; then `begun`, and `loaded` or `failed`. */
  | { readonly kind: 'queue'; readonly record: VersionRecord }
  /** It waits for a place no more. */
  | { readonly kind: 'unqueue'; readonly record: VersionRecord }
  /** The load's end is wanted soon: still `loaded` or `failed` follows. */
  | { readonly kind: 'stop'; readonly record: VersionRecord }
  /** Call `retry` after some time, which the number of tries may decide. */
  | { readonly kind: 'wait'; readonly record: VersionRecord }
  | { readonly kind: 'unwait'; readonly record: VersionRecord }
  /** Let its requests end, give its memory back, then call `unloaded`. */
  | { readonly kind: 'unload'; readonly record: VersionRecord }
  /** What ModelService reports of it has changed. */
  | { readonly kind: 'state'; readonly record: VersionRecord; readonly state: VersionStateName };

/** Versions that have ended stay listed so many a model: the list does not grow with each swap. */
export const maxEndedVersions = 10;

const stateOf: Readonly<Record<VersionPhase, VersionStateName>> = {
  queued: 'START',
  loading: 'LOADING',
  retrying: 'LOADING',
  ready: 'AVAILABLE',
  unloading: 'UNLOADING',
  stopping: 'LOADING',
  ended: 'END',
};

/** A later try waits in a queue, too, but what is reported of it stays LOADING. */
export function reportedState(record: VersionRecord): VersionStateName {
  return record.phase === 'queued' && record.tries > 0 ? 'LOADING' : stateOf[record.phase];
}

type Mutable = { -readonly [K in keyof VersionRecord]: VersionRecord[K] };

export class Lifecycle {
  /** Those that ended are in the order in which they did. */
  #records: Mutable[] = [];
  readonly #maxTries: number;

  /** @param maxRetries Tries after the first. */
  constructor(maxRetries: number) {
    this.#maxTries = maxRetries + 1;
  }

  /** As they are now, in no order: more than one of a version where one replaces another. */
  get records(): readonly VersionRecord[] {
    return this.#records;
  }

  /** Whether anything is left that loads, serves or unloads. */
  get isEmpty(): boolean {
    return this.#records.every(({ phase }) => phase === 'ended');
  }

  /** The versions that are to be served from now on, highest first. */
  aspire(versions: readonly SourceVersion[]): Effect[] {
    const effects: Effect[] = [];
    const wanted = new Map(versions.map((version) => [version.key, version]));
    for (const record of this.#records) {
      const wasAspired = record.isAspired;
      record.isAspired = wanted.delete(record.key);
      if (!record.isAspired && (record.phase === 'queued' || record.phase === 'retrying')) {
        effects.push({ kind: record.phase === 'queued' ? 'unqueue' : 'unwait', record });
        this.#move(record, 'ended', effects);
      } else if (record.isAspired && record.phase === 'ended' && !wasAspired) {
        record.renewals = 0;
        this.#begin(record, effects);
      }
    }
    for (const version of wanted.values()) {
      // What ended under the same number is not listed beside it.
      this.#records = this.#records.filter(
        (record) => record.version !== version.version || record.phase !== 'ended',
      );
      const record: Mutable = {
        ...version,
        phase: 'ended',
        isAspired: true,
        tries: 0,
        renewals: 0,
        error: undefined,
      };
      this.#records.push(record);
      this.#begin(record, effects);
    }
    return this.#settle(effects);
  }

  /** A load has its place. */
  begun(record: VersionRecord): Effect[] {
    return this.#on(record, ['queued'], (own, effects) => {
      this.#move(own, 'loading', effects);
      own.tries++;
    });
  }

  loaded(record: VersionRecord): Effect[] {
    return this.#on(record, ['loading', 'stopping'], (own, effects) => {
      own.error = undefined;
      if (own.phase === 'loading' || own.isAspired) {
        own.renewals = 0;
        this.#move(own, 'ready', effects);
      } else {
        // It was never seen to serve, but what it holds has to be given back as well.
        effects.push({ kind: 'unload', record: own });
        this.#move(own, 'unloading', effects);
      }
    });
  }

  failed(record: VersionRecord, error: Error): Effect[] {
    return this.#on(record, ['loading', 'stopping'], (own, effects) => {
      own.error = error;
      if (own.phase === 'stopping' || !own.isAspired) {
        if (own.phase === 'stopping') own.error = undefined;
        this.#move(own, 'ended', effects);
        if (own.isAspired) this.#begin(own, effects);
      } else if (own.tries >= this.#maxTries) {
        this.#move(own, 'ended', effects);
      } else {
        effects.push({ kind: 'wait', record: own });
        this.#move(own, 'retrying', effects);
      }
    });
  }

  /** The time between two tries is over. */
  retry(record: VersionRecord): Effect[] {
    return this.#on(record, ['retrying'], (own, effects) => {
      this.#move(own, 'queued', effects);
      effects.push({ kind: 'queue', record: own });
    });
  }

  /** The files of a version that failed are others now, and stay so: it is loaded anew, at once. */
  renew(record: VersionRecord): Effect[] {
    return this.#on(record, ['retrying', 'ended'], (own, effects) => {
      if (!own.isAspired) return;
      if (own.phase === 'retrying') effects.push({ kind: 'unwait', record: own });
      own.renewals++;
      this.#begin(own, effects);
    });
  }

  unloaded(record: VersionRecord): Effect[] {
    return this.#on(record, ['unloading'], (own, effects) => {
      this.#move(own, 'ended', effects);
      if (own.isAspired) this.#begin(own, effects);
    });
  }

  #on(
    record: VersionRecord,
    phases: readonly VersionPhase[],
    act: (own: Mutable, effects: Effect[]) => void,
  ): Effect[] {
    const own = this.#records.find((each) => each === record);
    // A timer or an answer that comes when something else has happened meanwhile.
    if (own === undefined || !phases.includes(own.phase)) return [];
    const effects: Effect[] = [];
    act(own, effects);
    return this.#settle(effects);
  }

  #begin(record: Mutable, effects: Effect[]): void {
    record.tries = 0;
    record.error = undefined;
    this.#move(record, 'queued', effects);
    effects.push({ kind: 'queue', record });
  }

  #move(record: Mutable, phase: VersionPhase, effects: Effect[]): void {
    const before = reportedState(record);
    const isNew = record.phase === 'ended' && phase === 'queued';
    record.phase = phase;
    if (phase === 'ended') {
      this.#records = this.#records.filter((each) => each !== record);
      this.#records.push(record);
    }
    const state = reportedState(record);
    if (isNew || state !== before) effects.push({ kind: 'state', record, state });
  }

  /** What the policy says of the versions as they are now. */
  #settle(effects: Effect[]): Effect[] {
    for (const record of unloadable(this.#records)) {
      const own = record as Mutable;
      if (own.phase === 'loading') {
        effects.push({ kind: 'stop', record: own });
        own.phase = 'stopping';
      } else {
        effects.push({ kind: 'unload', record: own });
        this.#move(own, 'unloading', effects);
      }
    }
    this.#forget();
    return effects;
  }

  #forget(): void {
    const ended = this.#records.filter(({ phase, isAspired }) => phase === 'ended' && !isAspired);
    const forgotten = new Set(ended.slice(0, Math.max(0, ended.length - maxEndedVersions)));
    if (forgotten.size > 0) {
      this.#records = this.#records.filter((record) => !forgotten.has(record));
    }
  }
}

/**
 * Which of the versions that nobody wants may go, the lowest first: all where none is wanted, else
 * none before one that is wanted is ready. One that is replaced by another of its own number waits
 * for that one, as long as it may come.
 */
export function unloadable(records: readonly VersionRecord[]): VersionRecord[] {
  const aspired = records.filter(({ isAspired }) => isAspired);
  if (aspired.length > 0 && !aspired.some(({ phase }) => phase === 'ready')) return [];
  return records
    .filter(
      ({ isAspired, phase, version }) =>
        !isAspired &&
        (phase === 'ready' || phase === 'loading') &&
        !aspired.some(
          (other) => other.version === version && other.phase !== 'ready' && !isGivenUp(other),
        ),
    )
    .sort((a, b) => compareVersions(a.version, b.version));
}

function isGivenUp({ phase, error }: VersionRecord): boolean {
  return phase === 'ended' && error !== undefined;
}
