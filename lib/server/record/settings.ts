import { boolean, checkOptions, integer, requiredPath } from '../../options.js';
import { share } from '../shares.js';

export interface RecordOptions {
  /** The folder of the records, made if it is not there. No other process may record to it. */
  readonly folder: string;
  /** Share of the requests that are recorded, 0 to 1. Default: 0.01. */
  readonly sampling?: number;
  /** Bytes of a file at most. Default: 16 MiB. */
  readonly maxFileBytes?: number;
  /**
   * Files that are kept at most, of all models and threads together; the oldest is removed for a new
   * one. Default: 16.
   */
  readonly maxFiles?: number;
  /** Records answers as well, which `tenon replay` compares with. Default: true. */
  readonly responses?: boolean;
}

/** Plain data, to be posted to a front end's thread. */
export type RecordSettings = Required<RecordOptions>;

/** @throws ERR_TENON_INVALID_ARGUMENT naming the option. */
export function resolveRecord(value: unknown): RecordSettings | undefined {
  if (value === undefined) return undefined;
  const given = checkOptions(value, 'record', [
    'folder',
    'sampling',
    'maxFileBytes',
    'maxFiles',
    'responses',
  ]);
  return {
    folder: requiredPath(given['folder'], 'record.folder'),
    sampling: share(given['sampling'], 'record.sampling', 0.01),
    maxFileBytes: integer(given['maxFileBytes'], 'record.maxFileBytes', 16 << 20, 1024),
    maxFiles: integer(given['maxFiles'], 'record.maxFiles', 16, 1, 10_000),
    responses: boolean(given['responses'], 'record.responses', true),
  };
}

/** What one of several threads that record to one folder may fill. */
export interface RecordQuota {
  readonly maxFileBytes: number;
  readonly maxFiles: number;
}

/** Equal parts of the whole, which is never exceeded. */
export function quotaOf({ maxFileBytes, maxFiles }: RecordQuota, threads: number): RecordQuota {
  if (maxFiles >= threads) return { maxFileBytes, maxFiles: Math.floor(maxFiles / threads) };
  return { maxFileBytes: Math.floor((maxFileBytes * maxFiles) / threads), maxFiles: 1 };
}
