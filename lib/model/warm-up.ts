/** The runs a session has to pass before it takes traffic. */

import { TenonError } from '../errors.js';
import type { NativeModelInfo } from '../native/types.js';
import type { Runner } from '../runner.js';
import { Tensor } from '../tensor/tensor.js';
import type { ResolvedLoadOptions } from './load-options.js';
import { defaultSignatureOf, makeRequest, planOf } from './request.js';
import type { ValueSpec } from './spec.js';
import type { FeedValue } from './types.js';

type WarmUp = (info: NativeModelInfo, runner: Runner) => Promise<void>;

const nobody = { ticket: 0, priority: 0, borrow: false, deadline: 0, caller: undefined };

/** Undefined where none are asked for. */
export function warmUpOf(options: ResolvedLoadOptions): WarmUp | undefined {
  const { warmup, signature, validateShapes } = options;
  if (warmup === 0) return undefined;
  return async (info, runner) => {
    const name = defaultSignatureOf(info.signatures, signature);
    const index = info.signatures.findIndex((each) => each.name === name);
    const chosen = info.signatures[index];
    if (chosen === undefined) {
      throw new TenonError(
        'ERR_TENON_UNKNOWN_SIGNATURE',
        'expected the "signature" option beside "pool.warmup", because the model has several and no "serving_default"',
      );
    }
    const feeds = typeof warmup === 'number' ? zeroFeeds(chosen.inputs) : warmup;
    const runs = typeof warmup === 'number' ? warmup : 1;
    const request = makeRequest(planOf(chosen, index), feeds, undefined, validateShapes);
    for (let run = 0; run < runs; run++) await runner.run(request, nobody);
  };
}

/** Zero is the one number that is an index into any table, too. */
function zeroFeeds(inputs: readonly ValueSpec[]): Record<string, FeedValue> {
  const required = inputs.filter(({ optional }) => optional !== true);
  return Object.fromEntries(
    required.map((spec) => {
      if (spec.kind !== 'tensor' || spec.dtype === 'string' || spec.shape === null) {
        const what = spec.kind !== 'tensor' ? spec.kind : spec.shape === null ? 'any' : 'string';
        throw new TenonError(
          'ERR_TENON_MISSING_FEED',
          `expected feeds for "pool.warmup", received a number: input "${spec.name}" (${what}) has no zeros`,
        );
      }
      const shape = spec.shape.map((size) => (typeof size === 'number' ? size : 1));
      return [spec.name, Tensor.alloc(spec.dtype, shape)];
    }),
  );
}
