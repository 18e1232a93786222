/** What a measuring process is told, and what it answers. */

import type { LoadOptions, ValueSpec } from '../index.js';
import type { EngineName } from '../index.js';
import type { Point } from './rank.js';

/** Loads the model by default and says what the search needs to know. */
export interface DescribeJob {
  readonly kind: 'describe';
  readonly source: string;
  readonly options: LoadOptions;
  readonly signature: string | undefined;
}

export interface Description {
  readonly engine: EngineName;
  readonly engineVersion: string;
  readonly cpuQuota: number;
  /** In the engine's build. */
  readonly providers: readonly string[];
  readonly signature: string;
  readonly inputs: Readonly<Record<string, ValueSpec>>;
  readonly outputs: Readonly<Record<string, ValueSpec>>;
}

/** Loads the model with these options and runs it in closed loops. */
export interface MeasureJob {
  readonly kind: 'measure';
  readonly source: string;
  readonly options: LoadOptions;
  readonly signature: string;
  /** By name, packed. */
  readonly feeds: Readonly<Record<string, unknown>>;
  /** Numbers of requests in flight, rising. */
  readonly inFlight: readonly number[];
  /** For each of them, once it is warm. */
  readonly seconds: number;
}

export interface Measured {
  readonly points: readonly Point[];
  readonly loadMs: number;
  readonly residentBytes: number;
  readonly cpus: number;
}

export type Job = DescribeJob | MeasureJob;

export type Answer<T = Description | Measured> =
  | { readonly result: T }
  | { readonly error: { readonly code: string | undefined; message: string } };

/** Written before the answer, so that what an engine prints to stdout is not taken for it. */
export const answerMark = 'tenon-tune:';
