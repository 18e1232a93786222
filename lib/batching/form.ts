/** How many rows a batch has and how its members fit together: pure functions. */

import type { BatchLayout, RunTensor } from '../runner.js';
import type { SignaturePlan } from './signature.js';

/** The smallest allowed size that holds `rows`; `rows` itself where none does or all are allowed. */
export function roundUp(rows: number, allowedBatchSizes: readonly number[]): number {
  for (const size of allowedBatchSizes) if (size >= rows) return size;
  return rows;
}

/** Whether a request of `next` rows still goes into a batch that has `rows` in it. */
export function fits(rows: number, next: number, limit: number): boolean {
  return rows === 0 || rows + next <= limit;
}

/**
 * How many rows the next batches of a queue may have after one that the engine failed: half.
 * Its members are tried again alone, so a queue in which bad requests are frequent would make two
 * calls of many; at 1 there is nothing left to try again.
 */
export function limitAfterFailure(rows: number): number {
  return Math.max(1, Math.floor(rows / 2));
}

/** … and after one that went well: back by an eighth, until `full`, where there is no such limit. */
export function limitAfterSuccess(limit: number, full: number): number {
  const next = limit + Math.max(1, Math.floor(limit / 8));
  return next >= full ? Infinity : next;
}

/**
 * @param inputs Indices of the inputs that are fed.
 * @param outputs Indices of the outputs that are asked for.
 */
export function layoutOf(
  plan: SignaturePlan,
  inputs: readonly number[],
  outputs: readonly number[],
  members: readonly (readonly RunTensor[])[],
  rows: number,
): BatchLayout {
  const first = members[0] as readonly RunTensor[];
  const shapes = first.map(([, shape], i) => {
    const whole = [...shape];
    whole[0] = rows;
    const { padded } = plan.inputs[inputs[i] as number] as SignaturePlan['inputs'][number];
    for (let d = 1; d < whole.length; d++) {
      if (!padded(d)) continue;
      for (const member of members) {
        whole[d] = Math.max(whole[d] as number, (member[i] as RunTensor)[1][d] as number);
      }
    }
    return whole;
  });
  const { mask, trims } = plan;
  const maskOf = mask === undefined || inputs.includes(mask.input) ? -1 : inputs.indexOf(mask.of);
  return {
    rows,
    shapes,
    padValues: inputs.map((input) => plan.inputs[input]?.padValue ?? 0),
    masks: mask === undefined || maskOf < 0 ? [] : [[mask.input, mask.dtype, maskOf, mask.dim]],
    trims: trims.flatMap(({ output, dim, of, inputDim }) => {
      const at = outputs.indexOf(output);
      const from = inputs.indexOf(of);
      return at < 0 || from < 0 ? [] : [[at, dim, from, inputDim] as const];
    }),
  };
}
