/** The models as requests get them: which version is meant, and who looks on. */

import type { Tensor } from '../../index.js';
import type { Exchange, RequestObserver } from '../exchange.js';
import type {
  ModelDirectory,
  ModelListing,
  ModelSpec,
  ModelUse,
  Readiness,
  ServedModel,
  SignatureDef,
  VersionStatus,
} from '../models.js';
import { Recorder } from '../record/recorder.js';
import type { RecordSettings } from '../record/settings.js';
import { systemClock, type Timer } from '../repository/clock.js';
import type { RepositoryLog } from '../repository/options.js';
import { keep } from '../tfserving/let-go.js';
import { endOfTurn } from '../turn.js';
import type { Traffic } from './config.js';
import { type OpenRoute, Router } from './router.js';
import { type ShadowRun, Shadows } from './shadows.js';
import type { TrafficMetrics } from './traffic-metrics.js';

export interface TrafficDirectoryOptions {
  readonly models: ModelDirectory;
  readonly metrics: TrafficMetrics;
  /** Undefined: nothing is recorded. */
  readonly recorder: Recorder | undefined;
  /** From 0 up to but not including 1. Default: Math.random. */
  readonly random?: () => number;
}

/** @param slot Tells this thread's files apart from others'. */
export function recorderOf(
  settings: RecordSettings | undefined,
  slot: number,
  { log, metrics }: { readonly log: RepositoryLog; readonly metrics: TrafficMetrics },
): Recorder | undefined {
  if (settings === undefined || settings.sampling === 0) return undefined;
  return new Recorder({
    ...settings,
    slot,
    log,
    onLost: (reason, records) => metrics.recordLost(reason, records),
    onWritten: (model, records, bytes) => metrics.recorded(model, records, bytes),
  });
}

const closeMs = 2_000;
/** Answered requests that wait for their turn to be run again. */
const maxWaiting = 256;

/** Belongs to one JavaScript thread, as the models do. */
export class TrafficDirectory implements ModelDirectory {
  readonly #models: ModelDirectory;
  readonly #metrics: TrafficMetrics;
  readonly #recorder: Recorder | undefined;
  readonly #random: () => number;
  readonly #router: Router;
  readonly #shadows: Shadows;
  #waiting = 0;

  constructor({ models, metrics, recorder, random = Math.random }: TrafficDirectoryOptions) {
    this.#models = models;
    this.#metrics = metrics;
    this.#recorder = recorder;
    this.#random = random;
    this.#router = new Router(models, random);
    this.#shadows = new Shadows(models, metrics);
  }

  get traffic(): Traffic {
    return this.#router.traffic;
  }

  update(traffic: Traffic): void {
    this.#router.update(traffic);
  }

  onModelsChanged(): void {
    this.#router.onModelsChanged();
  }

  /** What was recorded is in its files then, or their disk takes too long. */
  async close(): Promise<void> {
    if (this.#recorder === undefined) return;
    await endOfTurn();
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = systemClock.after(closeMs, resolve);
    });
    await Promise.race([this.#recorder.close(), late]);
    timer?.cancel();
  }

  acquire(spec: ModelSpec, use: ModelUse = 'run'): ServedModel {
    const isNamed = spec.version !== undefined || spec.label !== undefined;
    const routes = isNamed ? undefined : this.#router.routesOf(spec.name);
    if (use === 'describe') {
      const main = routes && this.#router.main(routes);
      return this.#acquire(spec, main);
    }
    const route = routes && this.#router.choose(routes);
    const served = this.#acquire(spec, route);
    if (route !== undefined) this.#metrics.routed(spec.name, route);
    const isRecorded = this.#recorder?.sample() === true;
    const shadow = routes?.traffic.shadow;
    const isShadowed = shadow !== undefined && this.#random() < shadow.share;
    if (!isRecorded && !isShadowed) return served;
    const onReleased = (exchange: Exchange): void => {
      const { version } = served;
      if (isRecorded)
        this.#recorder?.record({ spec, version }, exchange, keep(tensorsOf(exchange)));
      if (isShadowed) {
        const run: ShadowRun = { served, version: routes?.shadowVersion, shadow, exchange };
        void this.#runAgain(run, keep(tensorsOf(exchange)));
      }
    };
    return new WatchedModel(served, onReleased);
  }

  status(spec: ModelSpec): readonly VersionStatus[] {
    return this.#models.status(spec);
  }

  list(): readonly ModelListing[] {
    return this.#models.list();
  }

  readiness(): Readiness {
    return this.#models.readiness();
  }

  #acquire(spec: ModelSpec, route: OpenRoute | undefined): ServedModel {
    if (route === undefined) return this.#models.acquire(spec);
    return this.#models.acquire({ name: spec.name, version: route.version });
  }

  /** Once the answer has been handed to the connection. Never rejects. */
  async #runAgain(run: ShadowRun, letGo: () => void): Promise<void> {
    try {
      if (this.#waiting >= maxWaiting) {
        this.#metrics.shadowDropped(run.served.name, 'in_flight');
        return;
      }
      this.#waiting++;
      await endOfTurn();
      this.#waiting--;
      await this.#shadows.run(run);
    } finally {
      letGo();
    }
  }
}

/** A version held by a request that is looked at. */
class WatchedModel implements ServedModel, RequestObserver {
  readonly #served: ServedModel;
  readonly #onReleased: (exchange: Exchange) => void;
  #answered: { readonly exchange: Exchange; readonly letGo: () => void } | undefined;

  constructor(served: ServedModel, onReleased: (exchange: Exchange) => void) {
    this.#served = served;
    this.#onReleased = onReleased;
  }

  get name(): string {
    return this.#served.name;
  }

  get version(): bigint {
    return this.#served.version;
  }

  get model(): ServedModel['model'] {
    return this.#served.model;
  }

  get maxRows(): number | undefined {
    return this.#served.maxRows;
  }

  get observer(): RequestObserver {
    return this;
  }

  signatureDefs(): Readonly<Record<string, SignatureDef>> {
    return this.#served.signatureDefs();
  }

  answered(exchange: Exchange): void {
    this.#answered ??= { exchange, letGo: keep(tensorsOf(exchange)) };
  }

  release(): void {
    this.#served.release();
    const answered = this.#answered;
    this.#answered = undefined;
    if (answered === undefined) return;
    this.#onReleased(answered.exchange);
    answered.letGo();
  }
}

function tensorsOf(exchange: Exchange): Tensor[] {
  if (exchange.kind !== 'predict') return [];
  return [...Object.values(exchange.feeds), ...exchange.outputs.map(({ tensor }) => tensor)];
}
