/** Requests that another version runs as well, once they have been answered. */

import type { Exchange } from '../exchange.js';
import type { ModelDirectory, ServedModel } from '../models.js';
import { letGo } from '../tfserving/let-go.js';
import { TensorFlowServing } from '../tfserving/service.js';
import { type ComparedAnswer, compareAnswers, comparedExchange } from './compare.js';
import type { ShadowOptions } from './config.js';
import type { ShadowOutcome, TrafficMetrics } from './traffic-metrics.js';

export interface ShadowRun {
  /** That answered the request; released since. */
  readonly served: Pick<ServedModel, 'name' | 'version' | 'model'>;
  /** That runs it again; undefined where it is not there. */
  readonly version: bigint | undefined;
  readonly shadow: Required<ShadowOptions>;
  readonly exchange: Exchange;
}

/** Runs of requests go first. */
const priority = -1;
/** A run that takes longer is given up. */
const timeoutMs = 30_000;

export class Shadows {
  readonly #models: ModelDirectory;
  readonly #metrics: TrafficMetrics;
  readonly #inFlight = new Map<string, number>();

  constructor(models: ModelDirectory, metrics: TrafficMetrics) {
    this.#models = models;
    this.#metrics = metrics;
  }

  /** Runs and compares, unless something speaks against it, and counts what came of it. Never rejects. */
  async run({ served, version, shadow, exchange }: ShadowRun): Promise<void> {
    const { name } = served;
    const others = this.#inFlight.get(name) ?? 0;
    if (version === undefined) this.#metrics.shadowDropped(name, 'unavailable');
    else if (version === served.version) this.#metrics.shadowDropped(name, 'same_version');
    else if (others >= shadow.maxInFlight) this.#metrics.shadowDropped(name, 'in_flight');
    else if (hasQueue(served)) this.#metrics.shadowDropped(name, 'busy');
    else {
      this.#inFlight.set(name, others + 1);
      try {
        await this.#runOn(version, served, exchange);
      } finally {
        const left = (this.#inFlight.get(name) as number) - 1;
        if (left > 0) this.#inFlight.set(name, left);
        else this.#inFlight.delete(name);
      }
    }
  }

  async #runOn(version: bigint, served: ShadowRun['served'], exchange: Exchange): Promise<void> {
    const { name } = served;
    let target: ServedModel;
    try {
      target = this.#models.acquire({ name, version });
    } catch {
      // It has gone meanwhile.
      this.#metrics.shadowDropped(name, 'unavailable');
      return;
    }
    const measured = { model: name, version: served.version, shadowVersion: version };
    let outcome: ShadowOutcome;
    try {
      if (hasQueue(target)) {
        this.#metrics.shadowDropped(name, 'busy');
        return;
      }
      const started = performance.now();
      const again = await runAgain(target, exchange);
      const micros = (performance.now() - started) * 1000;
      try {
        outcome = {
          micros,
          comparison: await compareAnswers(comparedExchange(exchange), again.answer),
        };
      } finally {
        again.release();
      }
    } catch {
      outcome = 'failed';
    } finally {
      target.release();
    }
    this.#metrics.shadowed(measured, outcome);
  }
}

/** Whether requests wait for the model, which others must not make longer. */
function hasQueue({ model }: Pick<ServedModel, 'model'>): boolean {
  try {
    const { queuedRuns, batching } = model.stats();
    return queuedRuns > 0 || (batching?.queuedRows ?? 0) > 0;
  } catch {
    return true; // closed meanwhile
  }
}

interface ShadowAnswer {
  readonly answer: ComparedAnswer;
  release(): void;
}

async function runAgain(target: ServedModel, exchange: Exchange): Promise<ShadowAnswer> {
  const held: ServedModel = {
    name: target.name,
    version: target.version,
    model: target.model,
    maxRows: target.maxRows,
    signatureDefs: () => target.signatureDefs(),
    release: () => undefined,
  };
  // Not counted as a request, and not looked at by others.
  const service = new TensorFlowServing({
    acquire: () => held,
    status: () => [],
    list: () => [],
    readiness: () => ({ ready: true, waiting: [], failed: [] }),
  });
  const call = { priority, timeoutMs };
  const nothing = (): void => undefined;
  switch (exchange.kind) {
    case 'predict': {
      const { signatureName, feeds, outputFilter } = exchange;
      const request = { signatureName, feeds, outputFilter, api: 'GRPC' } as const;
      const { outputs } = await service.predict(held, request, call);
      return {
        answer: comparedExchange({ ...exchange, outputs }),
        release: () => {
          for (const { tensor } of outputs) letGo(tensor);
        },
      };
    }
    case 'classify': {
      const { signatureName, examples } = exchange;
      const { classifications } = await service.classify(held, { signatureName, examples }, call);
      return { answer: comparedExchange({ ...exchange, classifications }), release: nothing };
    }
    case 'regress': {
      const { signatureName, examples } = exchange;
      const { values } = await service.regress(held, { signatureName, examples }, call);
      return { answer: comparedExchange({ ...exchange, values }), release: nothing };
    }
    case 'multiInference': {
      const tasks = exchange.results.map(({ kind, signatureName }) => ({
        modelSpec: { name: held.name, signatureName },
        methodName: `tensorflow/serving/${kind}`,
      }));
      const results = await service.multiInference(tasks, exchange.examples, call);
      return { answer: comparedExchange({ ...exchange, results }), release: nothing };
    }
  }
}
