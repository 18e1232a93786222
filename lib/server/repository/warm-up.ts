/** Requests that a version answers before it takes those of clients. */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';

import { StatusError } from '../../codec/status.js';
import type { WarmUp } from './options.js';
import type { ServedVersion } from './served-version.js';
import { isModelFile } from './version-source.js';

/** As TensorFlow Serving has it. */
export const maxWarmUpRecords = 1000;

/** Where records lie, relative to the version's folder; the first that is there counts. */
const places = [
  path.join('assets.extra', 'tf_serving_warmup_requests'),
  'tf_serving_warmup_requests',
];

/**
 * Runs the records of `<folder>/assets.extra/tf_serving_warmup_requests`, or of
 * `tf_serving_warmup_requests` beside an ONNX model, one after another.
 *
 * @param root The version's folder. A file that is a model has no warm-up: others may lie beside it.
 * @throws What a record fails with; StatusError INVALID_ARGUMENT for more than 1000 records.
 */
export async function runWarmUp(
  served: ServedVersion,
  root: string,
  warmUp: WarmUp,
  signal: AbortSignal,
): Promise<void> {
  if (isModelFile(root)) return;
  const file = await warmUpFile(root);
  if (file === undefined) return;
  let count = 0;
  for await (const record of warmUp.records(createReadStream(file))) {
    signal.throwIfAborted();
    if (++count > maxWarmUpRecords) {
      throw new StatusError(
        'INVALID_ARGUMENT',
        `Number of warmup records exceeds the maximum (${maxWarmUpRecords}) at ${file}`,
      );
    }
    const hold = served.acquire();
    try {
      await warmUp.run(hold, record);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StatusError(
        error instanceof StatusError ? error.status : 'UNKNOWN',
        `Warm-up record ${count} of ${file} failed: ${reason}`,
        { cause: error },
      );
    } finally {
      hold.release();
    }
  }
}

async function warmUpFile(root: string): Promise<string | undefined> {
  for (const place of places) {
    const file = path.join(root, place);
    const found = await stat(file).catch(() => undefined);
    if (found === undefined) continue;
    if (!found.isFile()) {
      throw new StatusError('INVALID_ARGUMENT', `expected a file of warm-up requests at ${file}`);
    }
    return file;
  }
  return undefined;
}
