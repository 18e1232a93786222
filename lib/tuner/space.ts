/** Which settings there are to try. */

import type { EngineName, LoadOptions } from '../index.js';

/** Settings as the tuner varies them. */
export interface Configuration {
  readonly intraOp: number;
  /** ONNX Runtime: idle threads spin. */
  readonly spin: boolean;
  /** Of each session. */
  readonly lanes: number;
  readonly sessions: number;
  /** Most rows in a batch; 0: no batching. */
  readonly batchSize: number;
  readonly delayMicros: number;
  /** ONNX Runtime's graph optimization level; undefined for TensorFlow. */
  readonly graph: GraphLevel | undefined;
  /** An execution provider of ONNX Runtime; undefined: the CPU. */
  readonly provider: string | undefined;
}

export type GraphLevel = NonNullable<
  NonNullable<LoadOptions['onnxruntime']>['graphOptimizationLevel']
>;

/** The values tried of each setting. */
export interface TuneSpace {
  intraOp: readonly number[];
  spin: readonly boolean[];
  lanes: readonly number[];
  sessions: readonly number[];
  /** 0 is no batching. */
  batchSize: readonly number[];
  delayMicros: readonly number[];
  graph: readonly GraphLevel[];
  /** Execution providers; "cpu" is none. */
  providers: readonly string[];
}

export interface Machine {
  readonly engine: EngineName;
  /** CPUs the process may use. */
  readonly cpuQuota: number;
  /** ONNX Runtime's providers in this build, by their full names. */
  readonly providers: readonly string[];
  /** Requests of this model can be rows of one batch. */
  readonly canBatch: boolean;
}

/** Most lanes that `load()` takes by default. */
const defaultMaxLanes = 8;

/** What `load()` does where nothing is set. */
export function defaultConfiguration({ engine, cpuQuota }: Machine): Configuration {
  return {
    intraOp: cpuQuota,
    spin: false,
    lanes: Math.min(cpuQuota, defaultMaxLanes),
    sessions: 1,
    batchSize: 0,
    delayMicros: 0,
    graph: engine === 'onnxruntime' ? 'all' : undefined,
    provider: undefined,
  };
}

/** The values tried where the caller names none. */
export function defaultSpace(machine: Machine): TuneSpace {
  const isOnnx = machine.engine === 'onnxruntime';
  const counts = powersOfTwo(machine.cpuQuota);
  return {
    intraOp: counts,
    // A pool of one thread has nobody to wait for.
    spin: isOnnx ? [false, true] : [false],
    lanes: counts.filter((lanes) => lanes <= defaultMaxLanes),
    // TensorFlow's sessions share neither weights nor an intra-op pool of their own.
    sessions: isOnnx ? [1, 2] : [1],
    batchSize: machine.canBatch ? [0, 4, 16, 64] : [0],
    delayMicros: [0, 2000],
    graph: isOnnx ? ['all', 'extended'] : [],
    providers: ['cpu', ...(isOnnx ? otherProviders(machine.providers) : [])],
  };
}

/** What runs elsewhere than in this process, or is the CPU, is nothing to try. */
function otherProviders(providers: readonly string[]): string[] {
  return providers.filter((name) => !/^(CPU|Azure)ExecutionProvider$/.test(name));
}

/** 1, 2, 4 … and `most` itself. */
function powersOfTwo(most: number): number[] {
  const counts: number[] = [];
  for (let count = 1; count < most; count *= 2) counts.push(count);
  return [...counts, most];
}

/**
 * Every configuration worth trying, each once, the default first: settings that mean nothing beside
 * others are not varied (a delay without batches, spinning with one thread), and threads that run
 * at a time on the CPU are at most twice the quota.
 */
export function enumerate(space: TuneSpace, machine: Machine): Configuration[] {
  const first = defaultConfiguration(machine);
  const found = new Map([[keyOf(first), first]]);
  const graphs = machine.engine === 'onnxruntime' ? space.graph : [undefined];
  for (const provider of space.providers) {
    for (const graph of graphs) {
      for (const sessions of space.sessions) {
        for (const lanes of space.lanes) {
          for (const intraOp of space.intraOp) {
            for (const spin of intraOp === 1 ? [false] : space.spin) {
              const isCpu = provider === 'cpu';
              if (isCpu && intraOp * lanes * sessions > 2 * machine.cpuQuota) continue;
              // On a device the CPU's threads do little.
              if (!isCpu && intraOp !== space.intraOp[0]) continue;
              for (const batchSize of space.batchSize) {
                for (const delayMicros of batchSize === 0 ? [0] : space.delayMicros) {
                  const configuration = {
                    intraOp,
                    spin,
                    lanes,
                    sessions,
                    batchSize,
                    delayMicros,
                    graph,
                    provider: isCpu ? undefined : provider,
                  };
                  found.set(keyOf(configuration), configuration);
                }
              }
            }
          }
        }
      }
    }
  }
  return [...found.values()];
}

/** A text that is the same for equal configurations. */
export function keyOf(configuration: Configuration): string {
  const { intraOp, spin, lanes, sessions, batchSize, delayMicros, graph, provider } = configuration;
  return [
    `intra-op ${intraOp}${spin ? ' spinning' : ''}`,
    counted(lanes, 'lane'),
    ...(sessions === 1 ? [] : [`${sessions} sessions`]),
    ...(batchSize === 0 ? [] : [`batch ${batchSize}`]),
    ...(delayMicros === 0 ? [] : [`delay ${delayMicros} µs`]),
    ...(graph === undefined || graph === 'all' ? [] : [`graph ${graph}`]),
    ...(provider === undefined ? [] : [provider.replace(/ExecutionProvider$/, '')]),
  ].join(', ');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Threads of the engine that can run at a time. */
export function threadsOf({ intraOp, lanes, sessions }: Configuration): number {
  return intraOp * lanes * sessions;
}

/** What sets it, as `load()` takes it; settings at their engine's only value are left out. */
export function loadOptionsOf(configuration: Configuration): LoadOptions {
  const { intraOp, spin, lanes, sessions, batchSize, delayMicros, graph, provider } = configuration;
  return {
    threads: { intraOp, ...(spin ? { spin } : {}) },
    pool: { lanes, ...(sessions === 1 ? {} : { sessions }) },
    ...(batchSize === 0
      ? {}
      : { batching: { maxBatchSize: batchSize, maxDelayMicros: delayMicros } }),
    ...(graph === undefined ? {} : { onnxruntime: { graphOptimizationLevel: graph } }),
    ...(provider === undefined ? {} : { executionProviders: [provider] }),
  };
}

/** The configurations of `all` that differ from one in one setting, by a step where it has steps. */
export function neighbours(
  configuration: Configuration,
  all: readonly Configuration[],
): Configuration[] {
  const steps = (name: 'intraOp' | 'lanes' | 'sessions' | 'batchSize' | 'delayMicros') =>
    [...new Set(all.map((each) => each[name]))].sort((a, b) => a - b);
  const axes = (['intraOp', 'lanes', 'sessions', 'batchSize', 'delayMicros'] as const).map(
    (name) => [name, steps(name)] as const,
  );
  return all.filter((other) => {
    let differences = 0;
    for (const [name, values] of axes) {
      const distance = Math.abs(values.indexOf(other[name]) - values.indexOf(configuration[name]));
      if (distance > 1) return false;
      // With batching a delay comes or goes.
      if (name === 'delayMicros' && other.batchSize === 0) continue;
      differences += distance;
    }
    if (other.spin !== configuration.spin && other.intraOp === configuration.intraOp) differences++;
    if (other.graph !== configuration.graph) differences++;
    if (other.provider !== configuration.provider) differences++;
    return differences === 1;
  });
}
