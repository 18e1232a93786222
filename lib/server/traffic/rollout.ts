/** Weights that follow how a canary does: step by step up, or down to nothing at once. */

import type { MetricSnapshot } from '../metric-registry.js';
import type { ModelListing } from '../models.js';
import type { Clock, Timer } from '../repository/clock.js';
import type { RepositoryLog } from '../repository/options.js';
import {
  noTraffic,
  type ResolvedModelTraffic,
  type ResolvedRollout,
  type Traffic,
  trafficOf,
  versionOf,
} from './config.js';

export interface VersionCounts {
  readonly requests: number;
  readonly failures: number;
}

/** What there was of two versions, in a step. */
export interface RolloutCounts {
  readonly stable: VersionCounts;
  readonly canary: VersionCounts;
  /** Of shadow runs of the canary; one that failed counts as a row that does not agree. */
  readonly rows: number;
  readonly agreeingRows: number;
}

export type Verdict =
  | { readonly kind: 'wait' }
  | { readonly kind: 'advance' }
  | { readonly kind: 'rollback'; readonly reason: string };

const wait: Verdict = { kind: 'wait' };

/** @param hasRequests Whether the canary has a part of the requests in this step. */
export function judge(
  rollout: ResolvedRollout,
  { stable, canary, rows, agreeingRows }: RolloutCounts,
  hasRequests: boolean,
): Verdict {
  const { minRequests, maxErrorRateIncrease, minAgreement } = rollout;
  const isAnswered = canary.requests >= minRequests;
  if (isAnswered) {
    const rate = canary.failures / canary.requests;
    const usual = stable.requests === 0 ? 0 : stable.failures / stable.requests;
    if (rate - usual > maxErrorRateIncrease) {
      const reason = `${percent(rate)} of its requests failed, ${percent(usual)} of the stable version's`;
      return { kind: 'rollback', reason };
    }
  }
  const isCompared = rows >= minRequests;
  if (minAgreement !== undefined && isCompared && agreeingRows / rows < minAgreement) {
    const reason = `${percent(agreeingRows / rows)} of its answers agreed with those served`;
    return { kind: 'rollback', reason };
  }
  // What nothing is known of is not given more.
  if (!hasRequests && minAgreement === undefined) return wait;
  if (hasRequests && !isAnswered) return wait;
  if (minAgreement !== undefined && !isCompared) return wait;
  return { kind: 'advance' };
}

function percent(rate: number): string {
  return `${Number((100 * rate).toPrecision(3))} %`;
}

export interface RolloutsOptions {
  readonly list: () => readonly ModelListing[];
  /** The metrics of all threads. */
  readonly measure: () => Promise<readonly MetricSnapshot[]>;
  /** Puts other weights in force. */
  readonly apply: (traffic: Traffic) => void;
  readonly onDecision: (model: string, decision: 'advance' | 'rollback' | 'done') => void;
  readonly log: Pick<RepositoryLog, 'info' | 'warn' | 'error'>;
  readonly clock: Clock;
}

/** Of a model, from the first look at its canary until that has another version. */
interface Progress {
  readonly canary: bigint;
  /** What was said of the model. */
  readonly given: ResolvedModelTraffic;
  /** Steps it has been given. */
  step: number;
  /** Undefined: the weights that were given. */
  share: number | undefined;
  isEnded: boolean;
  isRolledBack: boolean;
  /** Counts as they were when the step began. */
  base: RolloutCounts;
  nextLook: number;
}

const lookMs = 1000;

/** Of the main thread. What it does to weights lasts as long as the process, and is logged. */
export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #progress = new Map<string, Progress>();
  #given: Traffic = noTraffic;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: RolloutsOptions) {
    this.#options = options;
  }

  /** What is given is put in force; of models of which it says the same as before, as far as they came. */
  update(traffic: Traffic): void {
    this.#given = traffic;
    for (const [name, { given }] of this.#progress) {
      const now = trafficOf(traffic, name);
      if (now === undefined || JSON.stringify(now) !== JSON.stringify(given)) {
        this.#progress.delete(name);
      }
    }
    this.#options.apply(this.#current());
    this.#arm();
  }

  /** Resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #arm(): void {
    const { models, default: fallback } = this.#given;
    const all = [...models.values(), fallback];
    this.#timer?.cancel();
    if (this.#isStopped || all.every((each) => each?.rollout === undefined)) return;
    this.#timer = this.#options.clock.after(lookMs, () => {
      this.#looking ??= this.#look()
        .catch((error: unknown) => {
          this.#options.log.error({ err: error }, 'The canaries could not be looked at');
        })
        .finally(() => {
          this.#looking = undefined;
          this.#arm();
        });
    });
  }

  async #look(): Promise<void> {
    const now = this.#options.clock.now();
    const due = this.#options.list().flatMap((listing) => {
      const given = trafficOf(this.#given, listing.name);
      const progress = this.#progress.get(listing.name);
      const isDue = progress === undefined || progress.nextLook <= now;
      return given?.rollout !== undefined && isDue
        ? [{ listing, given, rollout: given.rollout }]
        : [];
    });
    if (due.length === 0) return;
    const given = this.#given;
    const metrics = await this.#options.measure();
    // Others were given meanwhile.
    if (given !== this.#given || this.#isStopped) return;
    let hasChanged = false;
    for (const { listing, given: own, rollout } of due) {
      const canary = versionOf(listing, rollout.canary);
      const stable = versionOf(listing, rollout.stable);
      if (canary === undefined || stable === undefined || canary === stable) continue;
      const counts = countsOf(metrics, listing.name, stable, canary);
      const nextLook = now + rollout.intervalSeconds * 1000;
      const progress = this.#progress.get(listing.name);
      if (progress?.canary === canary) {
        progress.nextLook = nextLook;
        if (progress.isEnded) continue;
        const since = difference(counts, progress.base);
        hasChanged = this.#decide(listing.name, rollout, progress, since, counts) || hasChanged;
        continue;
      }
      // Another canary begins where the first did.
      hasChanged ||= progress !== undefined;
      this.#progress.set(listing.name, {
        canary,
        given: own,
        step: 0,
        share: undefined,
        isEnded: false,
        isRolledBack: false,
        base: counts,
        nextLook,
      });
    }
    if (hasChanged) this.#options.apply(this.#current());
  }

  /** @returns Whether weights change. */
  #decide(
    name: string,
    rollout: ResolvedRollout,
    progress: Progress,
    since: RolloutCounts,
    counts: RolloutCounts,
  ): boolean {
    const { log, onDecision } = this.#options;
    const verdict = judge(rollout, since, shareOf(progress) > 0);
    const fields = { model: name, version: progress.canary, ...since };
    if (verdict.kind === 'wait') return false;
    progress.base = counts;
    if (verdict.kind === 'rollback') {
      progress.share = 0;
      progress.isEnded = true;
      progress.isRolledBack = true;
      const text = `${rollout.canary} of ${name}, version ${progress.canary}, is rolled back: ${verdict.reason}`;
      log.warn(fields, text);
      onDecision(name, 'rollback');
      return true;
    }
    const share = rollout.steps[progress.step];
    if (share === undefined) {
      // Without steps it is only watched, for as long as it is there.
      if (rollout.steps.length === 0) return false;
      progress.isEnded = true;
      const text = `${rollout.canary} of ${name}, version ${progress.canary}, has passed its last step`;
      log.info(fields, text);
      onDecision(name, 'done');
      return false;
    }
    progress.step++;
    progress.share = share;
    const text = `${rollout.canary} of ${name}, version ${progress.canary}, gets ${percent(share)} of the requests`;
    log.info(fields, text);
    onDecision(name, 'advance');
    return true;
  }

  /** What is in force: what was given, with the weights of those that have come further. */
  #current(): Traffic {
    const models = new Map(this.#given.models);
    for (const [name, { given, share, isRolledBack }] of this.#progress) {
      const { rollout } = given;
      if (rollout === undefined || share === undefined) continue;
      const { canary } = rollout;
      models.set(name, {
        ...given,
        routes: weighted(given, rollout, share),
        // What is known to be bad need not be tried again and again.
        shadow: isRolledBack && given.shadow?.to === canary ? undefined : given.shadow,
      });
    }
    return { ...this.#given, models };
  }
}

/** The canary's and the stable version's weights, shared out anew; others keep theirs. */
function weighted(
  { routes }: ResolvedModelTraffic,
  { canary, stable }: ResolvedRollout,
  share: number,
): ResolvedModelTraffic['routes'] {
  const both = routes
    .filter(({ target }) => target === canary || target === stable)
    .reduce((sum, { weight }) => sum + weight, 0);
  return routes.map((route) => {
    if (route.target === canary) return { ...route, weight: both * share };
    if (route.target === stable) return { ...route, weight: both * (1 - share) };
    return route;
  });
}

function shareOf({ given, share }: Progress): number {
  const { routes, rollout } = given;
  return share ?? routes.find(({ target }) => target === rollout?.canary)?.weight ?? 0;
}

/** Statuses that say nothing of the version. */
const unjudged: ReadonlySet<string> = new Set(['CANCELLED']);
const runMethods: ReadonlySet<string> = new Set([
  'Predict',
  'Classify',
  'Regress',
  'MultiInference',
  'ModelInfer',
]);

function countsOf(
  metrics: readonly MetricSnapshot[],
  model: string,
  stable: bigint,
  canary: bigint,
): RolloutCounts {
  const requests = labelled(metrics, 'tenon_requests_total').filter(
    ({ labels }) =>
      labels['model_name'] === model &&
      runMethods.has(labels['method'] ?? '') &&
      !unjudged.has(labels['status'] ?? ''),
  );
  const of = (version: bigint): VersionCounts => {
    const own = requests.filter(({ labels }) => labels['version'] === String(version));
    return {
      requests: sum(own),
      failures: sum(own.filter(({ labels }) => labels['status'] !== 'OK')),
    };
  };
  const shadows = (name: string): Labelled[] =>
    labelled(metrics, name).filter(
      ({ labels }) => labels['model_name'] === model && labels['shadow_version'] === String(canary),
    );
  const failed = shadows('tenon_shadow_runs_total').filter(
    ({ labels }) => labels['result'] !== 'compared',
  );
  return {
    stable: of(stable),
    canary: of(canary),
    rows: sum(shadows('tenon_shadow_rows_total')) + sum(failed),
    agreeingRows: sum(shadows('tenon_shadow_agreeing_rows_total')),
  };
}

interface Labelled {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

function labelled(metrics: readonly MetricSnapshot[], name: string): Labelled[] {
  return metrics
    .filter((metric) => metric.name === name)
    .flatMap(({ labels, series }) =>
      series.map(([values, numbers]) => ({
        labels: Object.fromEntries(labels.map((label, i) => [label, values[i] ?? ''])),
        value: numbers[0] ?? 0,
      })),
    );
}

function sum(all: readonly Labelled[]): number {
  return all.reduce((total, { value }) => total + value, 0);
}

/** A version that went and came again begins to count anew. */
function difference(now: RolloutCounts, before: RolloutCounts): RolloutCounts {
  const less = (a: number, b: number): number => (a >= b ? a - b : a);
  const version = (a: VersionCounts, b: VersionCounts): VersionCounts => ({
    requests: less(a.requests, b.requests),
    failures: less(a.failures, b.failures),
  });
  return {
    stable: version(now.stable, before.stable),
    canary: version(now.canary, before.canary),
    rows: less(now.rows, before.rows),
    agreeingRows: less(now.agreeingRows, before.agreeingRows),
  };
}
