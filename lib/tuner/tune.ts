import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { errorCodes, invalidArgument } from '../errors.js';
import { type FeedValue, type LoadOptions, type Signature, TenonError } from '../index.js';
import * as check from '../options.js';
import { type ChildFailure, runJob } from './child.js';
import { completeFeeds, packFeed, rowsOf } from './feeds.js';
import type { MeasureJob } from './job.js';
import { race, type RaceOptions, type RaceProgress, type RaceResult, roundParts } from './race.js';
import { choose, type Objective, rank, type Ranked } from './rank.js';
import {
  type Configuration,
  defaultSpace,
  enumerate,
  keyOf,
  loadOptionsOf,
  type Machine,
  type TuneSpace,
} from './space.js';

export interface TuneOptions {
  /**
   * What is best: the most requests per second whose p99 is within the target, or the lowest p99.
   * Default: 'throughput'.
   */
  for?: 'throughput' | 'latency';
  /** Milliseconds that 99 of 100 requests may take at most. Default: any. */
  targetP99Ms?: number;
  /** Numbers of requests in flight, each a closed loop. Default: 1, 8, 32. */
  inFlight?: readonly number[];
  /** Of all together, within a few seconds. Default: 5. */
  maxMinutes?: number;
  /**
   * How long each number in flight is measured in the last round; 0.1 and 0.33 of it in the first
   * two. Requests that take longer get longer. Default: 3.
   */
  secondsPerPoint?: number;
  /** Settles which configurations are tried, in which order, and what random feeds hold. Default: 1. */
  seed?: number;
  /**
   * 'race' tries what there is time for and drops what is clearly worse; 'exhaustive' measures
   * everything at full length, as far as the time allows. Default: 'race'.
   */
  search?: 'race' | 'exhaustive';
  /** Values to try instead of the tuner's own, for each setting. */
  space?: Partial<TuneSpace>;
  /** Options that hold for every configuration. */
  load?: LoadOptions;
  /** The signature that requests call. Default: the model's default. */
  signature?: string;
  /**
   * Feeds of a request, or what makes them of the signature. Inputs of floats that have none get
   * random numbers, with one row where the first dimension is open; others are an error.
   */
  feeds?:
    | Readonly<Record<string, FeedValue>>
    | ((signature: Signature) => Promise<Readonly<Record<string, FeedValue>>>);
  onProgress?: (progress: TuneProgress) => void;
  /** Stops the search: what was measured is the result; before anything was, its reason is thrown. */
  signal?: AbortSignal;
}

export interface TuneProgress extends RaceProgress {
  readonly seconds: number;
  readonly secondsLeft: number;
}

export interface TuneResult {
  readonly model: { readonly path: string; readonly sha256: string };
  readonly engine: string;
  readonly engineVersion: string;
  readonly objective: Objective;
  readonly inFlight: readonly number[];
  /** Rows of each request. */
  readonly rows: number;
  readonly seed: number;
  readonly machine: MachineDescription;
  readonly date: string;
  readonly seconds: number;
  /** The search's end: all done, out of time, or stopped by the signal. */
  readonly ended: RaceResult['ended'];
  /** Best first, whatever their rounds. */
  readonly ranked: readonly Ranked[];
  readonly chosen: Ranked;
  readonly default: Ranked;
  readonly failures: RaceResult['failures'];
  readonly pruned: RaceResult['pruned'];
  readonly untried: readonly Configuration[];
  readonly configurations: number;
  /** What `load()` takes for the chosen one. */
  readonly options: LoadOptions;
}

export interface MachineDescription {
  readonly platform: string;
  readonly arch: string;
  readonly cpu: string;
  readonly cpuQuota: number;
  readonly memoryBytes: number;
  readonly node: string;
}

const defaultInFlight = [1, 8, 32];
/** Longest that describing the model may take. */
const loadAllowanceMs = 120_000;
/** How far past the end of the time a measurement under way may go. */
const graceMs = 10_000;

/**
 * Finds the settings of `load()` that serve a model best on this machine: engine threads, lanes,
 * sessions, batches, graph optimization and execution providers, each configuration in a process of
 * its own, under closed loops of requests.
 *
 * A closed loop keeps a number of requests in flight, as a service does that limits its concurrency;
 * its latencies are those at that number, not at an arrival rate, which the throughput beside them
 * tells.
 *
 * @throws A TenonError: what `load()` throws for the default settings; ERR_TENON_MISSING_FEED for an
 *   input that needs a sample; ERR_TENON_INVALID_ARGUMENT; the signal's reason where it was aborted
 *   before anything was measured.
 */
export async function tune(source: string, options: TuneOptions = {}): Promise<TuneResult> {
  const settings = resolve(options);
  const { signal, objective, seed } = settings;
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const limit = settings.maxMinutes * 60;
  const model = path.resolve(source);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenon-tune-'));
  try {
    const described = resultOf(
      await runJob(
        { kind: 'describe', source: model, options: settings.load, signature: settings.signature },
        folder,
        { timeoutMs: loadAllowanceMs, signal },
      ),
    );
    const { engine, engineVersion, inputs, outputs } = described;
    const signature: Signature = { name: described.signature, inputs, outputs };
    const given = typeof settings.feeds === 'function' ? settings.feeds(signature) : settings.feeds;
    const feeds = completeFeeds(signature, await given, 1, seed);
    const packed = Object.fromEntries(
      Object.entries(feeds).map(([name, feed]) => [name, packFeed(feed)]),
    );
    const machine: Machine = {
      engine,
      cpuQuota: described.cpuQuota,
      providers: described.providers,
      canBatch: canBatch(signature),
    };
    const all = enumerate({ ...defaultSpace(machine), ...settings.space }, machine);
    let firstFailure: ChildFailure | undefined;
    const measure: RaceOptions['measure'] = async (configuration, round) => {
      const job: MeasureJob = {
        kind: 'measure',
        source: model,
        options: check.overlaid(settings.load, loadOptionsOf(configuration)),
        signature: signature.name,
        feeds: packed,
        inFlight: settings.inFlight,
        seconds: settings.secondsPerPoint * (roundParts[round] as number),
      };
      // Whatever hangs ends with the time there is, and a little more for a run in its middle.
      const timeoutMs = Math.max(0, limit - seconds()) * 1000 + graceMs;
      try {
        const answer = await runJob(job, folder, { timeoutMs, signal });
        if ('result' in answer) return { configuration, round, ...answer.result };
        firstFailure ??= answer.error;
        return { configuration, ...answer.error };
      } catch (error) {
        if (signal?.aborted !== true) throw error;
        return { configuration, code: undefined, message: 'stopped' };
      }
    };
    const found = await race({
      all,
      objective,
      seed,
      search: settings.search,
      seconds: limit,
      measure,
      now: seconds,
      isStopped: () => signal?.aborted === true,
      onProgress: (progress) =>
        settings.onProgress?.({
          ...progress,
          seconds: seconds(),
          secondsLeft: Math.max(0, limit - seconds()),
        }),
    });
    const ranked = rank(found.measurements, objective);
    const chosen = choose(ranked);
    const first = keyOf(all[0] as Configuration);
    const plain = ranked.find(({ measurement }) => keyOf(measurement.configuration) === first);
    if (chosen === undefined || plain === undefined) {
      signal?.throwIfAborted();
      throw firstFailure === undefined
        ? new TenonError(
            'ERR_TENON_TIMEOUT',
            `expected the default settings to be measured within ${settings.maxMinutes} minutes, and they were not`,
          )
        : errorOf(firstFailure);
    }
    return {
      model: { path: model, sha256: await hashOf(model) },
      engine,
      engineVersion,
      objective,
      inFlight: settings.inFlight,
      rows: rowsOf(feeds),
      seed,
      machine: describeMachine(described.cpuQuota),
      date: new Date().toISOString(),
      seconds: seconds(),
      ended: found.ended,
      ranked,
      chosen,
      default: plain,
      failures: found.failures,
      pruned: found.pruned,
      untried: found.untried,
      configurations: all.length,
      options: loadOptionsOf(chosen.measurement.configuration),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function resolve(options: TuneOptions) {
  const given = check.checkOptions(options, 'tune', [
    'for',
    'targetP99Ms',
    'inFlight',
    'maxMinutes',
    'secondsPerPoint',
    'seed',
    'search',
    'space',
    'load',
    'signature',
    'feeds',
    'onProgress',
    'signal',
  ]);
  const objective: Objective = {
    for: check.oneOf(given['for'], 'for', ['throughput', 'latency']) ?? 'throughput',
    targetP99Ms:
      options.targetP99Ms === undefined ? undefined : positive(options.targetP99Ms, 'targetP99Ms'),
  };
  return {
    objective,
    inFlight: counts(options.inFlight ?? defaultInFlight, 'inFlight', 1),
    maxMinutes: positive(options.maxMinutes ?? 5, 'maxMinutes'),
    secondsPerPoint: positive(options.secondsPerPoint ?? 3, 'secondsPerPoint'),
    seed: check.integer(options.seed, 'seed', 1, 0),
    search: check.oneOf(given['search'], 'search', ['race', 'exhaustive']) ?? 'race',
    space: resolveSpace(given['space']),
    load: check.checkOptions(given['load'], 'load', freeLoadOptions) as LoadOptions,
    signature: check.string(options.signature, 'signature'),
    feeds: options.feeds ?? {},
    onProgress: options.onProgress,
    signal: options.signal,
  };
}

/** What configurations do not vary, or vary a part of; and what a process of its own can be told. */
const freeLoadOptions = [
  'engine',
  'tags',
  'threads',
  'executionProviders',
  'allowProviderFallback',
  'pool',
  'inline',
  'validateShapes',
  'batching',
  'onnxruntime',
  'tensorflow',
];

/** Values for each setting, sorted where they are numbers, so that the order settles nothing. */
function resolveSpace(given: unknown): Partial<TuneSpace> {
  const space = check.checkOptions(given, 'space', [
    'intraOp',
    'spin',
    'lanes',
    'sessions',
    'batchSize',
    'delayMicros',
    'graph',
    'providers',
  ]);
  const resolved: Record<string, unknown> = {};
  for (const [name, values] of Object.entries(space)) {
    if (values === undefined) continue;
    if (!Array.isArray(values) || values.length === 0) {
      throw invalidArgument(`space.${name}`, 'an array of at least one value', values);
    }
    const subject = `space.${name}`;
    if (name === 'spin') {
      resolved[name] = values.map((value, i) => check.boolean(value, `${subject}[${i}]`, false));
    } else if (name === 'graph' || name === 'providers') {
      resolved[name] = check.strings(values, subject);
    } else {
      const least = name === 'batchSize' || name === 'delayMicros' ? 0 : 1;
      resolved[name] = counts(values, subject, least);
    }
  }
  return resolved;
}

function counts(values: unknown, name: string, least: number): number[] {
  if (!Array.isArray(values) || values.length === 0) {
    throw invalidArgument(name, 'an array of at least one number', values);
  }
  const checked = values.map((value, i) => check.integer(value, `${name}[${i}]`, least, least));
  return [...new Set(checked)].sort((a, b) => a - b);
}

function positive(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    throw invalidArgument(name, 'a number above 0', value);
  }
  return value;
}

/** Whether every input and output may have any number of rows. */
function canBatch({ inputs, outputs }: Signature): boolean {
  return [...Object.values(inputs), ...Object.values(outputs)].every(
    (spec) =>
      spec.optional === true ||
      (spec.kind === 'tensor' &&
        (spec.shape === null || typeof spec.shape[0] !== 'number') &&
        spec.shape?.length !== 0),
  );
}

function resultOf<T>(answer: { result: T } | { error: ChildFailure }): T {
  if ('result' in answer) return answer.result;
  throw errorOf(answer.error);
}

function errorOf({ code, message }: ChildFailure): TenonError {
  return new TenonError(
    errorCodes.find((known) => known === code) ?? 'ERR_TENON_INTERNAL',
    message,
  );
}

function describeMachine(cpuQuota: number): MachineDescription {
  return {
    platform: process.platform,
    arch: process.arch,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cpuQuota,
    memoryBytes: os.totalmem(),
    node: process.version,
  };
}

/** Of a file's bytes; of a folder, of every file's path and bytes. */
async function hashOf(model: string): Promise<string> {
  const hash = createHash('sha256');
  const isFile = (await stat(model)).isFile();
  const entries = isFile ? [] : await readdir(model, { recursive: true, withFileTypes: true });
  const files = isFile
    ? [model]
    : entries
        .filter((entry) => entry.isFile())
        .map((entry) => path.join(entry.parentPath, entry.name))
        .sort();
  for (const file of files) {
    if (!isFile) hash.update(`${path.relative(model, file).split(path.sep).join('/')}\0`);
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}
