import type { ModelDirectory } from '../models.js';
import {
  noTraffic,
  type ResolvedModelTraffic,
  type Traffic,
  trafficOf,
  versionOf,
} from './config.js';
import { heaviest, pick, type Weighted } from './weights.js';

/** A route whose version is there. */
export interface OpenRoute extends Weighted {
  readonly target: string;
  readonly version: bigint;
}

interface ModelRoutes {
  readonly traffic: ResolvedModelTraffic;
  readonly open: readonly OpenRoute[];
  /** Where requests are run again; undefined where that is not there. */
  readonly shadowVersion: bigint | undefined;
}

/** What becomes of requests that name neither version nor label. */
export class Router {
  readonly #models: ModelDirectory;
  readonly #random: () => number;
  #traffic: Traffic = noTraffic;
  #isIdle = true;
  /** Looked up when they are needed, and again after any change; null where nothing is said of one. */
  readonly #routes = new Map<string, ModelRoutes | null>();

  /** @param random From 0 up to but not including 1. */
  constructor(models: ModelDirectory, random: () => number) {
    this.#models = models;
    this.#random = random;
  }

  get traffic(): Traffic {
    return this.#traffic;
  }

  update(traffic: Traffic): void {
    this.#traffic = traffic;
    this.#isIdle = traffic.models.size === 0 && traffic.default === undefined;
    this.#routes.clear();
  }

  /** Versions have come, gone, or got other labels. */
  onModelsChanged(): void {
    this.#routes.clear();
  }

  /** Undefined where nothing is said of the model, and for one that is not there. */
  routesOf(name: string): ModelRoutes | undefined {
    if (this.#isIdle) return undefined;
    let routes = this.#routes.get(name);
    if (routes === undefined) {
      routes = this.#lookUp(name) ?? null;
      // Clients may make names up.
      if (routes !== null || this.#routes.size < maxUnknown) this.#routes.set(name, routes);
    }
    return routes ?? undefined;
  }

  /** Undefined: the highest version there is. */
  choose({ open }: ModelRoutes): OpenRoute | undefined {
    return pick(open, this.#random());
  }

  /** The route of most requests. */
  main({ open }: ModelRoutes): OpenRoute | undefined {
    return heaviest(open);
  }

  #lookUp(name: string): ModelRoutes | undefined {
    const traffic = trafficOf(this.#traffic, name);
    if (traffic === undefined) return undefined;
    const listing = this.#models.list().find((model) => model.name === name);
    if (listing === undefined) return undefined;
    const open: OpenRoute[] = [];
    for (const { target, weight } of traffic.routes) {
      const version = versionOf(listing, target);
      if (version !== undefined) open.push({ target, version, weight });
    }
    return {
      traffic,
      open,
      shadowVersion: traffic.shadow && versionOf(listing, traffic.shadow.to),
    };
  }
}

const maxUnknown = 1000;
