/** Puts a batcher before a model's sessions, and finds out whether it may be there. */

import { Batcher, type BatcherStats } from '../batching/batcher.js';
import type { ResolvedBatching } from '../batching/options.js';
import { planSignature, type SignaturePlan } from '../batching/signature.js';
import { type BatchVerdict, verifyBatching } from '../batching/verify.js';
import { TenonError } from '../errors.js';
import type { NativeSignature } from '../native/types.js';
import { Tickets } from '../runner.js';
import { defaultSignatureOf, listed, makeRequest, planOf } from './request.js';
import type { Sessions } from './sessions.js';
import { WaitingFeeds } from './waiting-feeds.js';

export type { BatchVerdict } from '../batching/verify.js';

/** What the batcher of a model has done so far: a snapshot of plain numbers. */
export interface BatchingStats extends BatcherStats {
  /** For each signature whether it may be batched, see `verifyBatching`. */
  readonly verification: Readonly<Record<string, BatchVerdict>>;
}

/** A model's batcher. */
export interface Batching {
  readonly runner: Batcher;
  /** Tickets of the model's own runs come from here too. */
  readonly tickets: Tickets;
  /** The input that requests may leave out. */
  readonly filledInput: string | undefined;
  stats(): BatchingStats;
}

export interface BatchingSetup {
  readonly batching: ResolvedBatching;
  readonly signature: string | undefined;
  readonly validateShapes: boolean;
}

/**
 * @throws ERR_TENON_NOT_BATCHABLE where verification refuses the default signature (or, without
 *   one, every signature) and is to refuse; ERR_TENON_INVALID_ARGUMENT for options that name what
 *   the model does not have; what a run of `sample` fails with.
 */
export async function startBatching(
  sessions: Sessions,
  { batching, signature, validateShapes }: BatchingSetup,
): Promise<Batching> {
  const { signatures } = sessions.first().info;
  checkNames(signatures, batching);
  const tickets = new Tickets();
  const name = defaultSignatureOf(signatures, signature);
  const plans: SignaturePlan[] = [];
  const verification: Record<string, BatchVerdict> = {};
  for (const [index, each] of signatures.entries()) {
    const plan = planSignature(each, batching);
    const sample = each.name === name ? batching.sample : [];
    const verdict: BatchVerdict =
      batching.verify === 'off'
        ? { status: 'off', reason: 'verifyBatching is false' }
        : await verifyBatching(
            sessions.runner,
            index,
            each,
            plan,
            batching,
            tickets,
            sample.map((feeds) =>
              makeRequest(planOf(each, index), feeds, undefined, validateShapes, plan.maskName),
            ),
          );
    verification[each.name] = verdict;
    plans.push({ ...plan, isRefused: verdict.status === 'refused' });
  }
  const decisive = name === undefined ? Object.keys(verification) : [name];
  const refused = decisive.map((each) => verification[each]);
  if (refused.length > 0 && refused.every((verdict) => verdict?.status === 'refused')) {
    const reason = refused[0]?.reason ?? '';
    if (batching.verify === 'refuse') {
      throw new TenonError(
        'ERR_TENON_NOT_BATCHABLE',
        `expected a model that can be batched, received one where ${reason}`,
      );
    }
    process.emitWarning(`The model runs unbatched: ${reason}`, {
      type: 'TenonWarning',
      code: 'ERR_TENON_NOT_BATCHABLE',
    });
  }
  const runner = new Batcher(sessions.runner, {
    options: batching,
    plans,
    tickets,
    memory: new WaitingFeeds(),
  });
  return {
    runner,
    tickets,
    filledInput: batching.maskInput?.name,
    stats: () => ({ ...runner.stats(), verification: { ...verification } }),
  };
}

/** That each name in the options is one of some signature's. */
function checkNames(signatures: readonly NativeSignature[], batching: ResolvedBatching): void {
  const { maskInput, padValues, trimOutputs } = batching;
  const names = (specs: 'inputs' | 'outputs'): Set<string> =>
    new Set(signatures.flatMap((signature) => signature[specs].map(({ name }) => name)));
  const check = (known: Set<string>, option: string, name: string | undefined): void => {
    if (name === undefined || known.has(name)) return;
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      `expected one of ${listed(known)} for "batching.${option}", received "${name}"`,
    );
  };
  const inputs = names('inputs');
  check(inputs, 'maskInput', maskInput?.name);
  check(inputs, 'maskInput.of', maskInput?.of);
  for (const name of Object.keys(padValues)) check(inputs, 'padValues', name);
  const outputs = names('outputs');
  for (const [name, { of }] of Object.entries(trimOutputs)) {
    check(outputs, 'trimOutputs', name);
    check(inputs, `trimOutputs.${name}.of`, of);
  }
}
