/** Lanes that several models share. */

import { invalidArgument, TenonError } from '../errors.js';
import { nativeAddon } from '../native/load.js';
import type { NativeLane, NativePool } from '../native/types.js';
import { checkOptions, integer } from '../options.js';

/** What options may ask for at most: more would be a mistake, and no machine has it. */
export const maxLanes = 1024;
export const maxSpinMicros = 10_000;
export const defaultNiceness = 5;
export const maxNiceness = 19;

export interface CreatePoolOptions {
  /** Runs at the same time, of all models in the pool. Default: the CPU quota. */
  lanes?: number;
  /**
   * Microseconds that a lane without work looks for some before it sleeps. At most one lane does,
   * and only after a run, so an idle pool costs no CPU. Default: 0.
   */
  spinMicros?: number;
  /** How far the lanes give way to other threads, as `niceness` of `load`. Default: 5. */
  niceness?: number;
}

/** What one lane has done. */
export type LaneStats = Readonly<NativeLane>;

/** A snapshot of plain numbers. */
export interface PoolStats {
  /** Sessions of models in the pool. */
  readonly sessions: number;
  /** Runs that wait for a lane. */
  readonly queuedRuns: number;
  /** Lanes that run, abandoned runs included. */
  readonly busyLanes: number;
  /** Lanes that have started, with their runs and the microseconds those took. */
  readonly lanes: readonly LaneStats[];
}

/** Not the class's own field: pools of the ESM build work in the CommonJS build, too. */
const native = Symbol.for('tenon.Pool');
const constructing = Symbol('constructing');

/**
 * Native threads ("lanes") that models share: one budget for all of them, instead of lanes for each.
 * A model gets its share of the lanes' time by its `pool.weight`, whatever single runs take; alone it
 * may use all of them. Made by `createPool`, used by `load(…, { pool: { shared } })`.
 */
export class Pool {
  /** How many runs go on at the same time. */
  readonly lanes: number;
  readonly [native]: NativePool;
  #closed: Promise<void> | undefined;

  /** Pools are made by `createPool()`. */
  constructor(key: symbol, lanes: number, pool: NativePool) {
    if (key !== constructing) throw new TypeError('a Pool is made by createPool()');
    this.lanes = lanes;
    this[native] = pool;
  }

  /** @throws ERR_TENON_POOL_CLOSED. */
  stats(): PoolStats {
    if (this.#closed !== undefined) throw closedError();
    return this[native].stats();
  }

  /**
   * Takes no more models from here on. Those in the pool keep its lanes, which end with the last of
   * them, or now where there is none. Closing again waits for the same end.
   */
  close(): Promise<void> {
    this.#closed ??= this[native].close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Makes lanes for models to share.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT.
 */
export function createPool(options?: CreatePoolOptions): Pool {
  const given = checkOptions(options, 'createPool', ['lanes', 'spinMicros', 'niceness']);
  const addon = nativeAddon();
  const lanes = integer(given['lanes'], 'lanes', Math.min(addon.cpuQuota(), maxLanes), 1, maxLanes);
  const spinMicros = integer(given['spinMicros'], 'spinMicros', 0, 0, maxSpinMicros);
  const niceness = integer(given['niceness'], 'niceness', defaultNiceness, 0, maxNiceness);
  return new Pool(constructing, lanes, addon.createPool(lanes, spinMicros, niceness));
}

/** The lanes behind a `pool.shared` option. @throws ERR_TENON_INVALID_ARGUMENT. */
export function sharedLanes(pool: unknown): NativePool | undefined {
  if (pool === undefined) return undefined;
  const lanes = (pool as Pool | null)?.[native];
  if (lanes === undefined) throw invalidArgument('pool.shared', 'what createPool() gave', pool);
  return lanes;
}

function closedError(): TenonError {
  return new TenonError(
    'ERR_TENON_POOL_CLOSED',
    'expected an open pool, received a call after close()',
  );
}
