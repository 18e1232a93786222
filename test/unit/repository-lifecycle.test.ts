import { describe, expect, it } from 'vitest';

import type { SourceVersion } from '../../lib/server/repository/aspired-versions.js';
import {
  type Effect,
  Lifecycle,
  maxEndedVersions,
  reportedState,
  type VersionRecord,
} from '../../lib/server/repository/lifecycle.js';
import { randomOf } from '../helpers/random.js';

const versionOf = (version: number, key = `/m/${version}`): SourceVersion => ({
  version: BigInt(version),
  path: `/m/${version}`,
  key,
});
const versions = (...numbers: number[]): SourceVersion[] =>
  numbers.sort((a, b) => b - a).map((number) => versionOf(number));

/** `kind version` of each effect, and `state version STATE`. */
const told = (effects: readonly Effect[]): string[] =>
  effects.map((effect) =>
    [
      effect.kind,
      String(effect.record.version),
      ...(effect.kind === 'state' ? [effect.state] : []),
    ].join(' '),
  );
const actions = (effects: readonly Effect[]): string[] =>
  told(effects).filter((each) => !each.startsWith('state'));

function recordOf(lifecycle: Lifecycle, version: number): VersionRecord {
  const found = lifecycle.records.find((record) => record.version === BigInt(version));
  if (found === undefined) throw new Error(`expected a record of version ${version}`);
  return found;
}

function serve(lifecycle: Lifecycle, version: number): Effect[] {
  return [
    ...lifecycle.begun(recordOf(lifecycle, version)),
    ...lifecycle.loaded(recordOf(lifecycle, version)),
  ];
}

function fail(lifecycle: Lifecycle, version: number, message = 'bad'): Effect[] {
  return [
    ...lifecycle.begun(recordOf(lifecycle, version)),
    ...lifecycle.failed(recordOf(lifecycle, version), new Error(message)),
  ];
}

describe('a version', () => {
  it('goes from START over LOADING and AVAILABLE to UNLOADING and END', () => {
    const lifecycle = new Lifecycle(5);
    const effects = [...lifecycle.aspire(versions(1)), ...serve(lifecycle, 1)];
    effects.push(...lifecycle.aspire([]), ...lifecycle.unloaded(recordOf(lifecycle, 1)));
    expect(told(effects)).toEqual([
      'state 1 START',
      'queue 1',
      'state 1 LOADING',
      'state 1 AVAILABLE',
      'unload 1',
      'state 1 UNLOADING',
      'state 1 END',
    ]);
    expect(lifecycle.isEmpty).toBe(true);
  });

  it('stays LOADING while its load is tried again, then ends with the error', () => {
    const lifecycle = new Lifecycle(2);
    lifecycle.aspire(versions(1));
    const effects = fail(lifecycle, 1, 'first');
    for (const message of ['second', 'third']) {
      effects.push(...lifecycle.retry(recordOf(lifecycle, 1)), ...fail(lifecycle, 1, message));
    }
    expect(told(effects)).toEqual([
      'state 1 LOADING',
      'wait 1',
      'queue 1',
      'wait 1',
      'queue 1',
      'state 1 END',
    ]);
    expect(recordOf(lifecycle, 1)).toMatchObject({ tries: 3, error: new Error('third') });
    expect(lifecycle.retry(recordOf(lifecycle, 1))).toEqual([]);
  });

  it.each(['retrying', 'ended'] as const)(
    'is loaded anew when it has changed while %s',
    (phase) => {
      const lifecycle = new Lifecycle(phase === 'ended' ? 0 : 3);
      lifecycle.aspire(versions(1));
      fail(lifecycle, 1);
      expect(recordOf(lifecycle, 1).phase).toBe(phase);
      const effects = lifecycle.renew(recordOf(lifecycle, 1));
      expect(actions(effects)).toEqual(phase === 'ended' ? ['queue 1'] : ['unwait 1', 'queue 1']);
      expect(recordOf(lifecycle, 1)).toMatchObject({ tries: 0, renewals: 1, error: undefined });
      serve(lifecycle, 1);
      expect(recordOf(lifecycle, 1)).toMatchObject({ phase: 'ready', renewals: 0 });
      expect(lifecycle.renew(recordOf(lifecycle, 1))).toEqual([]);
    },
  );

  it('that nobody wants any more is tried no more', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    fail(lifecycle, 1);
    expect(told(lifecycle.aspire([]))).toEqual(['unwait 1', 'state 1 END']);
    expect(lifecycle.retry(recordOf(lifecycle, 1))).toEqual([]);
    expect(told(lifecycle.aspire(versions(1)))).toEqual(['state 1 START', 'queue 1']);
  });

  it('that nobody wants any more leaves the queue', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    expect(told(lifecycle.aspire([]))).toEqual(['unqueue 1', 'state 1 END']);
    expect(recordOf(lifecycle, 1).error).toBeUndefined();
  });

  it('that nobody wants while it loads is given back when it has loaded all the same', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    lifecycle.begun(recordOf(lifecycle, 1));
    expect(told(lifecycle.aspire([]))).toEqual(['stop 1']);
    expect(told(lifecycle.loaded(recordOf(lifecycle, 1)))).toEqual([
      'unload 1',
      'state 1 UNLOADING',
    ]);
  });

  it('that is wanted again while it is stopped or unloaded loads again after that', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    lifecycle.begun(recordOf(lifecycle, 1));
    lifecycle.aspire([]);
    expect(lifecycle.aspire(versions(1))).toEqual([]);
    expect(told(lifecycle.failed(recordOf(lifecycle, 1), new Error('stopped')))).toEqual([
      'state 1 END',
      'state 1 START',
      'queue 1',
    ]);
    serve(lifecycle, 1);
    lifecycle.aspire([]);
    expect(lifecycle.aspire(versions(1))).toEqual([]);
    expect(actions(lifecycle.unloaded(recordOf(lifecycle, 1)))).toEqual(['queue 1']);
  });

  it('hears nothing of answers that come too late', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    const record = recordOf(lifecycle, 1);
    serve(lifecycle, 1);
    for (const effects of [
      lifecycle.begun(record),
      lifecycle.loaded(record),
      lifecycle.failed(record, new Error()),
      lifecycle.retry(record),
      lifecycle.unloaded(record),
    ]) {
      expect(effects).toEqual([]);
    }
  });
});

describe('the versions of a model', () => {
  it('load the highest first', () => {
    expect(actions(new Lifecycle(5).aspire(versions(9, 10, 2)))).toEqual([
      'queue 10',
      'queue 9',
      'queue 2',
    ]);
  });

  it('unload the lowest first, once one that is wanted is ready', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1, 2));
    serve(lifecycle, 2);
    serve(lifecycle, 1);
    expect(actions(lifecycle.aspire(versions(3)))).toEqual(['queue 3']);
    expect(told(serve(lifecycle, 3))).toEqual([
      'state 3 LOADING',
      'state 3 AVAILABLE',
      'unload 1',
      'state 1 UNLOADING',
      'unload 2',
      'state 2 UNLOADING',
    ]);
  });

  it('stay where the one that is wanted cannot be loaded', () => {
    const lifecycle = new Lifecycle(0);
    lifecycle.aspire(versions(1));
    serve(lifecycle, 1);
    lifecycle.aspire(versions(2));
    expect(actions(fail(lifecycle, 2))).toEqual([]);
    expect(recordOf(lifecycle, 1).phase).toBe('ready');
  });

  it('all unload where none is wanted', () => {
    const lifecycle = new Lifecycle(0);
    lifecycle.aspire(versions(1, 2));
    serve(lifecycle, 1);
    serve(lifecycle, 2);
    expect(actions(lifecycle.aspire([]))).toEqual(['unload 1', 'unload 2']);
  });

  it('do not load to the end what would be unloaded at once', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1, 2));
    serve(lifecycle, 2);
    lifecycle.begun(recordOf(lifecycle, 1));
    expect(actions(lifecycle.aspire(versions(2)))).toEqual(['stop 1']);
  });

  it('load to the end what is all there is, though a newer one is wanted', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1));
    lifecycle.begun(recordOf(lifecycle, 1));
    expect(actions(lifecycle.aspire(versions(2)))).toEqual(['queue 2']);
    expect(told(lifecycle.loaded(recordOf(lifecycle, 1)))).toEqual(['state 1 AVAILABLE']);
    expect(actions(serve(lifecycle, 2))).toEqual(['unload 1']);
  });

  it('are replaced by others of the same number without a gap', () => {
    const lifecycle = new Lifecycle(5);
    lifecycle.aspire(versions(1, 2));
    serve(lifecycle, 1);
    serve(lifecycle, 2);
    lifecycle.aspire([versionOf(2, 'new 2'), versionOf(1, 'new 1')]);
    const renewed = (version: number): VersionRecord =>
      lifecycle.records.find(({ key }) => key === `new ${version}`) as VersionRecord;
    lifecycle.begun(renewed(2));
    const effects = lifecycle.loaded(renewed(2));
    expect(actions(effects)).toEqual(['unload 2']);
    expect(effects.find(({ kind }) => kind === 'unload')?.record.key).toBe('/m/2');
    lifecycle.begun(renewed(1));
    expect(actions(lifecycle.loaded(renewed(1)))).toEqual(['unload 1']);
  });

  it('are forgotten some time after their end', () => {
    const lifecycle = new Lifecycle(5);
    for (let version = 1; version <= 100; version++) {
      lifecycle.aspire(versions(version));
      serve(lifecycle, version);
      for (const record of lifecycle.records) lifecycle.unloaded(record);
    }
    const numbers = lifecycle.records.map(({ version }) => Number(version));
    expect(numbers).toHaveLength(maxEndedVersions + 1);
    expect(Math.min(...numbers)).toBe(100 - maxEndedVersions);
  });
});

/**
 * Random schedules of what storage, the engine and clients may do. A schedule is settled by its
 * seed alone; set TENON_REPOSITORY_SEED to run one again.
 */
describe('whatever happens', () => {
  const schedules = 3000;
  const given = process.env['TENON_REPOSITORY_SEED'];

  /** Cheaper than expect(), of which a schedule would call thousands. */
  function holds(condition: boolean | undefined, what: string): void {
    if (condition !== true) throw new Error(`expected: ${what}`);
  }

  function runSchedule(seed: number): { gaps: number; served: number } {
    const random = randomOf(seed);
    const maxRetries = random.below(3);
    const lifecycle = new Lifecycle(maxRetries);
    const queued = new Set<VersionRecord>();
    const loading = new Map<VersionRecord, { isStopped: boolean }>();
    const waiting = new Set<VersionRecord>();
    const unloading = new Set<VersionRecord>();
    const reported = new Map<VersionRecord, string>();

    let wanted: SourceVersion[] = [];
    let served = 0;
    const serving = (): VersionRecord[] =>
      lifecycle.records.filter(({ phase }) => phase === 'ready');

    const legal: Record<string, string[]> = {
      START: ['LOADING', 'END'],
      LOADING: ['AVAILABLE', 'UNLOADING', 'END', 'START'],
      AVAILABLE: ['UNLOADING'],
      UNLOADING: ['END'],
      END: ['START'],
    };

    const apply = (effects: readonly Effect[]): void => {
      for (const effect of effects) {
        const { record } = effect;
        switch (effect.kind) {
          case 'queue':
            holds(![queued, waiting, unloading].some((set) => set.has(record)), 'queued once');
            holds(!loading.has(record), 'not queued while it loads');
            queued.add(record);
            break;
          case 'unqueue':
            holds(queued.delete(record), 'was queued');
            break;
          case 'stop':
            holds(loading.get(record)?.isStopped === false, 'stopped once');
            loading.set(record, { isStopped: true });
            break;
          case 'wait':
            holds(!waiting.has(record), 'waits once');
            waiting.add(record);
            break;
          case 'unwait':
            holds(waiting.delete(record), 'was waiting');
            break;
          case 'unload': {
            holds(!unloading.has(record), 'unloaded once');
            // What is wanted and serves is never touched, and something wanted serves on.
            holds(!record.isAspired, 'what is wanted stays');
            if (wanted.length > 0 && reported.get(record) === 'AVAILABLE') {
              holds(
                serving().some(({ isAspired }) => isAspired),
                'another serves',
              );
              const successor = lifecycle.records.find(
                ({ isAspired, version }) => isAspired && version === record.version,
              );
              const isComing = successor?.phase !== 'ready' && successor?.error === undefined;
              holds(successor === undefined || !isComing, 'its number serves on');
            }
            unloading.add(record);
            break;
          }
          case 'state': {
            const before = reported.get(record) ?? 'END';
            holds(legal[before]?.includes(effect.state), `${before} before ${effect.state}`);
            reported.set(record, effect.state);
            if (effect.state === 'AVAILABLE') served++;
            break;
          }
        }
      }
      for (const record of lifecycle.records) {
        holds(reportedState(record) === reported.get(record), 'every state is told');
      }
    };

    let gaps = 0;
    for (let step = 0; step < 80; step++) {
      const servedBefore = serving().length;
      const action = random.next();
      if (action < 0.25) {
        // Some of six numbers, now and then with other files behind one.
        const numbers = [1, 2, 3, 4, 5, 6].filter(() => random.chance(0.35)).reverse();
        wanted = numbers.map((number) =>
          versionOf(number, `/m/${number}/${random.chance(0.15) ? random.below(3) : 0}`),
        );
        apply(lifecycle.aspire(wanted));
      } else if (action < 0.45 && queued.size > 0) {
        const record = random.pick([...queued]);
        queued.delete(record);
        loading.set(record, { isStopped: false });
        apply(lifecycle.begun(record));
      } else if (action < 0.8 && loading.size > 0) {
        const record = random.pick([...loading.keys()]);
        const { isStopped } = loading.get(record) as { isStopped: boolean };
        loading.delete(record);
        if (random.chance(isStopped ? 0.2 : 0.6)) {
          apply(lifecycle.loaded(record));
        } else {
          apply(lifecycle.failed(record, new Error('bad')));
        }
      } else if (action < 0.9 && waiting.size > 0) {
        const record = random.pick([...waiting]);
        if (random.chance(0.7)) {
          waiting.delete(record);
          apply(lifecycle.retry(record));
        } else {
          apply(lifecycle.renew(record));
        }
      } else if (unloading.size > 0) {
        const record = random.pick([...unloading]);
        unloading.delete(record);
        apply(lifecycle.unloaded(record));
      }
      holds(lifecycle.records.length < 6 * 3 + maxEndedVersions, 'few records');
      if (servedBefore > 0 && serving().length === 0 && wanted.length > 0) gaps++;
    }

    // Let it come to rest: each load succeeds, each unload ends.
    for (let turn = 0; turn < 200; turn++) {
      for (const record of waiting) {
        waiting.delete(record);
        apply(lifecycle.retry(record));
      }
      for (const record of queued) {
        queued.delete(record);
        loading.set(record, { isStopped: false });
        apply(lifecycle.begun(record));
      }
      for (const record of loading.keys()) {
        loading.delete(record);
        apply(lifecycle.loaded(record));
      }
      for (const record of unloading) {
        unloading.delete(record);
        apply(lifecycle.unloaded(record));
      }
      if (queued.size + loading.size + waiting.size + unloading.size === 0) break;
    }
    holds(queued.size + loading.size + waiting.size + unloading.size === 0, 'it comes to rest');
    // What is wanted serves, but for what was given up; what is not wanted does not, unless it is
    // all there is.
    const isUp = wanted.some(({ key }) =>
      lifecycle.records.some((record) => record.key === key && record.phase === 'ready'),
    );
    for (const record of lifecycle.records) {
      if (record.isAspired) {
        holds(record.phase === 'ready' || record.error !== undefined, 'what is wanted serves');
      } else if (isUp || wanted.length === 0) {
        const isReplaced = lifecycle.records.some(
          (other) => other.isAspired && other.version === record.version,
        );
        holds(isReplaced || record.phase === 'ended', 'what is not wanted is gone');
      }
    }
    return { gaps, served };
  }

  it('a model that serves goes on serving as long as a version is wanted', () => {
    const seeds = given === undefined ? Array.from({ length: schedules }, (_, i) => i) : [given];
    let served = 0;
    for (const seed of seeds) {
      try {
        const result = runSchedule(Number(seed));
        expect(result.gaps).toBe(0);
        served += result.served;
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
    // The schedules are of the kind that is meant.
    expect(served).toBeGreaterThan(seeds.length);
  });
});
