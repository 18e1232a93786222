/** Files of requests that were recorded, read for as far as they are whole. */

import { createReadStream } from 'node:fs';

import { type LoggedBytes, readPredictionLog } from '../../codec/proto/index.js';
import { StatusError } from '../../codec/status.js';
import { readRecords } from '../../codec/tf-record.js';

export interface RecordedRequest extends LoggedBytes {
  readonly file: string;
  /** Its number in the file, from 1. */
  readonly number: number;
}

export interface RecordFile {
  readonly file: string;
  readonly records: number;
  /** Logs of streams and the like, which cannot be sent. */
  readonly passedOver: number;
  /** What is wrong with it, and where; what came before that is used. */
  readonly damage: string | undefined;
}

export interface RecordedRequests {
  readonly requests: readonly RecordedRequest[];
  readonly files: readonly RecordFile[];
}

/**
 * @param limit Requests at most, of all files.
 * @throws What opening a file fails with.
 */
export async function readRecorded(
  paths: readonly string[],
  limit = Infinity,
): Promise<RecordedRequests> {
  const requests: RecordedRequest[] = [];
  const files: RecordFile[] = [];
  for (const file of paths) {
    let records = 0;
    let passedOver = 0;
    let damage: string | undefined;
    try {
      for await (const record of readRecords(createReadStream(file))) {
        if (requests.length >= limit) break;
        const log = readPredictionLog(record);
        records++;
        if ('request' in log) requests.push({ ...log, file, number: records });
        else passedOver++;
      }
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      damage =
        error.status === 'INTERNAL'
          ? `record ${records + 1} is no PredictionLog: ${error.message}`
          : error.message;
    }
    files.push({ file, records, passedOver, damage });
  }
  return { requests, files };
}
