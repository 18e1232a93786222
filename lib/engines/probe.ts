import path from 'node:path';

import { TenonError, errorCodes, type TenonErrorCode } from '../errors.js';
import { packageRoot } from '../native/load.js';
import type { EngineName, NativeEngineDescription } from '../native/types.js';
import { engineChildEnvironment, howItEnded, lastLines, runChild } from './child.js';
import { engineTitles } from './versions.js';

/** Written before the answer, so that what an engine prints to stdout is not taken for it. */
export const probeMark = 'tenon-probe:';

export type ProbeAnswer =
  { description: NativeEngineDescription } | { error: { code: string; message: string } };

/** Mapping TensorFlow from a cold disk takes seconds; more than this is a hang. */
const defaultTimeoutMs = 60_000;

/**
 * Opens an engine in a process of its own and asks it about itself: this process maps nothing, and
 * a library that crashes when it is opened takes only the child with it.
 */
export async function probeEngine(
  name: EngineName,
  library: string,
  options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<NativeEngineDescription> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const program = path.join(packageRoot(), 'dist', 'engine-probe.js');
  const result = await runChild(process.execPath, [program, name, library], {
    timeoutMs,
    signal: options.signal,
    env: engineChildEnvironment(process.env),
  });
  const line = result.stdout
    .split('\n')
    .reverse()
    .find((text) => text.startsWith(probeMark));
  if (line !== undefined) {
    const answer = JSON.parse(line.slice(probeMark.length)) as ProbeAnswer;
    if ('description' in answer) return answer.description;
    throw new TenonError(toErrorCode(answer.error.code), answer.error.message);
  }
  const noise = lastLines(result.stderr);
  throw new TenonError(
    'ERR_TENON_ENGINE_LOAD',
    [
      `expected ${engineTitles[name]} at ${library} to open, received ${howItEnded(result, timeoutMs)} ` +
        'of the process that tried it',
      ...noise.map((text) => `  | ${text}`),
    ].join('\n'),
  );
}

function toErrorCode(code: string): TenonErrorCode {
  return errorCodes.find((known) => known === code) ?? 'ERR_TENON_ENGINE_LOAD';
}
