/** Which version takes a request that names none, and which others are tried beside it. */

import { invalidArgument } from '../../errors.js';
import { checkOptions, integer, string } from '../../options.js';
import type { ModelListing } from '../models.js';
import { share } from '../shares.js';

export interface ShadowOptions {
  /** Where requests are run again: a label, or a version's number. */
  readonly to: string;
  /** Share of the requests that name neither version nor label, 0 to 1. */
  readonly share: number;
  /** Runs at the same time at most, of each front end's thread; more are left out. Default: 2. */
  readonly maxInFlight?: number;
}

export interface RolloutOptions {
  /** The label, or version, that is tried. It has a route. */
  readonly canary: string;
  /** The one it is compared with. It has a route as well. */
  readonly stable: string;
  /**
   * The canary's parts of the requests, one after another, 0 to 1: it gets the next one once it has
   * passed, and the last one for good. The route's weights are the first. Default: none, it is only
   * rolled back.
   */
  readonly steps?: readonly number[];
  /** Seconds between two looks. Default: 10. */
  readonly intervalSeconds?: number;
  /** Requests that the canary must have answered before it is judged, in each step. Default: 100. */
  readonly minRequests?: number;
  /**
   * It is rolled back where its share of failed requests is above the stable version's by more than
   * this. Default: 0.01.
   */
  readonly maxErrorRateIncrease?: number;
  /**
   * It is rolled back where a smaller share of the rows of shadow runs agrees; there have to be
   * `minRequests` of them. Default: agreement does not count.
   */
  readonly minAgreement?: number;
}

export interface ModelTraffic {
  /**
   * Weights by label or version's number (what has only digits is a number) of requests that name
   * neither. What is not there has no part. Default: the highest version takes all.
   */
  readonly routes?: Readonly<Record<string, number>>;
  readonly shadow?: ShadowOptions;
  /** Shifts the weights by itself. Default: nothing does. */
  readonly rollout?: RolloutOptions;
}

export interface TrafficOptions {
  readonly models?: Readonly<Record<string, ModelTraffic>>;
  /** Of models that `models` does not name. */
  readonly default?: ModelTraffic;
}

/** Checked, with its defaults; plain data, to be posted to front-end threads. */
export interface Traffic {
  readonly models: ReadonlyMap<string, ResolvedModelTraffic>;
  readonly default: ResolvedModelTraffic | undefined;
}

export interface ResolvedModelTraffic {
  /** Empty: the highest version takes all. */
  readonly routes: readonly Route[];
  readonly shadow: Required<ShadowOptions> | undefined;
  readonly rollout: ResolvedRollout | undefined;
}

export interface Route {
  readonly target: string;
  readonly weight: number;
}

export type ResolvedRollout = Required<Omit<RolloutOptions, 'minAgreement'>> & {
  readonly minAgreement: number | undefined;
};

export const noTraffic: Traffic = { models: new Map(), default: undefined };

export function trafficOf(traffic: Traffic, model: string): ResolvedModelTraffic | undefined {
  return traffic.models.get(model) ?? traffic.default;
}

/** The AVAILABLE version that a target means: what has only digits is its number, else it is a label. */
export function versionOf({ labels, versions }: ModelListing, target: string): bigint | undefined {
  const labelled = Object.hasOwn(labels, target) ? labels[target] : undefined;
  const version = /^\d+$/.test(target) ? BigInt(target) : labelled;
  return versions.find((each) => each.version === version && each.state === 'AVAILABLE')?.version;
}

/** @throws ERR_TENON_INVALID_ARGUMENT naming the option. */
export function resolveTraffic(value: unknown, subject = 'traffic'): Traffic {
  const given = checkOptions(value, subject, ['models', 'default']);
  const models = new Map<string, ResolvedModelTraffic>();
  for (const [name, each] of records(given['models'], `${subject}.models`)) {
    models.set(name, resolveModel(each, `${subject}.models.${name}`));
  }
  const fallback = given['default'];
  return {
    models,
    default: fallback === undefined ? undefined : resolveModel(fallback, `${subject}.default`),
  };
}

function resolveModel(value: unknown, subject: string): ResolvedModelTraffic {
  const given = checkOptions(value, subject, ['routes', 'shadow', 'rollout']);
  const routes = records(given['routes'], `${subject}.routes`).map(([target, weight]): Route => {
    if (target === '') throw invalidArgument(`${subject}.routes`, 'a label or a version', target);
    return { target, weight: weightOf(weight, `${subject}.routes.${target}`) };
  });
  if (routes.length > 0 && routes.every(({ weight }) => weight === 0)) {
    throw invalidArgument(`${subject}.routes`, 'a weight above 0', 0);
  }
  return {
    routes,
    shadow: resolveShadow(given['shadow'], `${subject}.shadow`),
    rollout: resolveRollout(given['rollout'], `${subject}.rollout`, routes),
  };
}

function resolveShadow(value: unknown, subject: string): Required<ShadowOptions> | undefined {
  if (value === undefined) return undefined;
  const given = checkOptions(value, subject, ['to', 'share', 'maxInFlight']);
  if (given['share'] === undefined) {
    throw invalidArgument(`${subject}.share`, 'a number from 0 to 1', undefined);
  }
  return {
    to: target(given['to'], `${subject}.to`),
    share: share(given['share'], `${subject}.share`, 0),
    maxInFlight: integer(given['maxInFlight'], `${subject}.maxInFlight`, 2, 1, 1024),
  };
}

function resolveRollout(
  value: unknown,
  subject: string,
  routes: readonly Route[],
): ResolvedRollout | undefined {
  if (value === undefined) return undefined;
  const given = checkOptions(value, subject, [
    'canary',
    'stable',
    'steps',
    'intervalSeconds',
    'minRequests',
    'maxErrorRateIncrease',
    'minAgreement',
  ]);
  const routed = (name: 'canary' | 'stable'): string => {
    const found = target(given[name], `${subject}.${name}`);
    if (routes.some((route) => route.target === found)) return found;
    throw invalidArgument(`${subject}.${name}`, 'one of the routes', found);
  };
  const canary = routed('canary');
  const stable = routed('stable');
  if (canary === stable) throw invalidArgument(`${subject}.canary`, 'another than stable', canary);
  const steps: unknown = given['steps'] ?? [];
  if (!Array.isArray(steps)) throw invalidArgument(`${subject}.steps`, 'an array of shares', steps);
  const minAgreement = given['minAgreement'];
  return {
    canary,
    stable,
    steps: steps.map((step, i) => share(step ?? null, `${subject}.steps[${i}]`, 0)),
    intervalSeconds: integer(given['intervalSeconds'], `${subject}.intervalSeconds`, 10, 1, 86_400),
    minRequests: integer(given['minRequests'], `${subject}.minRequests`, 100, 1),
    maxErrorRateIncrease: share(
      given['maxErrorRateIncrease'],
      `${subject}.maxErrorRateIncrease`,
      0.01,
    ),
    minAgreement:
      minAgreement === undefined ? undefined : share(minAgreement, `${subject}.minAgreement`, 0),
  };
}

/** A label or a version: YAML has numbers for these. */
function target(value: unknown, subject: string): string {
  const text = typeof value === 'number' || typeof value === 'bigint' ? String(value) : value;
  const found = string(text, subject);
  if (found === undefined || found === '') {
    throw invalidArgument(subject, 'a label or a version', value);
  }
  return found;
}

function weightOf(value: unknown, subject: string): number {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1e9)) {
    throw invalidArgument(subject, 'a weight from 0 to 1000000000', value);
  }
  return value;
}

function records(value: unknown, subject: string): [string, unknown][] {
  if (value === undefined) return [];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(subject, 'an object', value);
  }
  return Object.entries(value);
}
