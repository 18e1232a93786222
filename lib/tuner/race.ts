/**
 * The search: successive halving, then steps from the leader. It knows neither processes nor
 * clocks: what measures and what tells the time are given.
 */

import {
  choose,
  dominatedBelow,
  type Measurement,
  type Objective,
  rank,
  scoreOf,
  survivors,
} from './rank.js';
import { type Configuration, keyOf, neighbours } from './space.js';
import { seededRandom, shuffled } from './random.js';

/** How long each number in flight is measured, by round, as parts of the last one's time. */
export const roundParts = [0.1, 1 / 3, 1] as const;
/** One in so many goes on to the next round. */
const reduction = 4;
/** Of the time, what is kept for steps from the leader. */
const refinement = 0.25;
/** A first look sees few requests: its p99 is nearly their maximum, so the target is not held to it. */
const relaxedTarget = 1.5;
/** A provider that reaches less than this part of the default is left out as a whole. */
const hopelessBelow = 0.2;

/** A configuration that could not be measured. */
export interface Failure {
  readonly configuration: Configuration;
  readonly code: string | undefined;
  readonly message: string;
}

/** A configuration that was left, and when. */
export interface Pruned {
  readonly configuration: Configuration;
  readonly round: number;
  readonly reason: string;
}

export interface RaceOptions {
  /** Every configuration, the default first. */
  readonly all: readonly Configuration[];
  readonly objective: Objective;
  readonly seed: number;
  readonly search: 'race' | 'exhaustive';
  /** Seconds the race may take. */
  readonly seconds: number;
  readonly measure: (configuration: Configuration, round: number) => Promise<Measurement | Failure>;
  /** Seconds since the race began. */
  readonly now: () => number;
  /** Whether somebody has stopped it. */
  readonly isStopped: () => boolean;
  readonly onProgress?: (progress: RaceProgress) => void;
}

export interface RaceProgress {
  readonly phase: 'round' | 'refine';
  readonly round: number;
  /** Configurations of this round, and which of them this is, from 1. */
  readonly count: number;
  readonly index: number;
  readonly last: Measurement | Failure;
}

export interface RaceResult {
  /** The longest measurement of each configuration. */
  readonly measurements: Measurement[];
  readonly failures: Failure[];
  readonly pruned: Pruned[];
  /** Configurations that there was no time for. */
  readonly untried: Configuration[];
  readonly ended: 'done' | 'time' | 'stopped';
}

/**
 * The default and each thing that may not work at all (a provider, batches) get a first look. Then
 * successive halving: every configuration there is time for gets one, drawn at random by the seed; the best quarter, less what is clearly worse than the best, is measured longer, and the
 * best quarter of those longest. Then the neighbours of the leader that were not among them are
 * tried, and so on from a better one. The default is measured in every round, to compare with.
 *
 * 'exhaustive' measures every configuration as long as the last round does.
 *
 * The same seed and measurements give the same search.
 */
export async function race(options: RaceOptions): Promise<RaceResult> {
  return new Race(options).run();
}

class Race {
  readonly #options: RaceOptions;
  readonly #random: () => number;
  readonly #best = new Map<string, Measurement>();
  readonly #failures = new Map<string, Failure>();
  readonly #pruned = new Map<string, Pruned>();
  /** What turned out not to work. */
  readonly #dropped: { has: Sounding['has']; reason: string }[] = [];
  #ended: RaceResult['ended'] = 'done';

  constructor(options: RaceOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  async run(): Promise<RaceResult> {
    const { all, search } = this.#options;
    const [first, ...others] = all;
    const last = roundParts.length - 1;
    if (first !== undefined) {
      if (search === 'exhaustive') {
        if (await this.#sound()) {
          await this.#round([first, ...shuffled(others, this.#random)], last);
        }
      } else if (await this.#halve(first, others)) {
        await this.#refine();
      }
    }
    const { measurements, failures } = this.#result();
    const seen = (each: Configuration): boolean =>
      this.#best.has(keyOf(each)) || this.#failures.has(keyOf(each)) || this.#isPruned(each);
    return {
      measurements,
      failures,
      pruned: [...this.#pruned.values()],
      untried: all.filter((each) => !seen(each)),
      ended: this.#ended,
    };
  }

  #result(): { measurements: Measurement[]; failures: Failure[] } {
    return { measurements: [...this.#best.values()], failures: [...this.#failures.values()] };
  }

  /** A look at each thing that may not work at all: what fails, or is far off, is left out. */
  async #sound(): Promise<boolean> {
    const { all, objective } = this.#options;
    const [first] = all;
    const plain = first === undefined ? undefined : this.#best.get(keyOf(first));
    for (const { configuration, what, has } of soundings(all)) {
      if (!(await this.#round([configuration], 0))) return false;
      const key = keyOf(configuration);
      const failure = this.#failures.get(key);
      const measured = this.#best.get(key);
      if (failure !== undefined) {
        this.#dropped.push({ has, reason: `${what}: ${failure.message}` });
      } else if (what !== 'batches' && plain !== undefined && measured !== undefined) {
        const part = scoreOf(measured, objective).value / scoreOf(plain, objective).value;
        if (part < hopelessBelow) {
          this.#dropped.push({ has, reason: `${what}: ${percent(part)} of the default` });
        }
      }
    }
    return true;
  }

  async #halve(first: Configuration, others: readonly Configuration[]): Promise<boolean> {
    const { seconds, now, objective } = this.#options;
    const began = now();
    if (!(await this.#round([first], 0))) return false;
    // What one look took tells how many there is time for.
    const look = Math.max(0.01, now() - began);
    if (!(await this.#sound())) return false;
    const affordable = affordableLooks(seconds * (1 - refinement) - now(), look);
    const left = others.filter((each) => !this.#isHopeless(each) && !this.#best.has(keyOf(each)));
    let field = shuffled(left, this.#random).slice(0, affordable);
    for (let round = 0; round < roundParts.length; round++) {
      if (round > 0) {
        // In another order than before: a machine that slows down is then nobody's fault alone.
        field = shuffled(field, this.#random);
      }
      const contenders = round === 0 ? field : [first, ...field];
      if (!(await this.#round(contenders, round))) return false;
      if (round === roundParts.length - 1) break;
      field = this.#select(round, Math.max(2, Math.ceil(contenders.length / reduction)), {
        ...objective,
        targetP99Ms:
          objective.targetP99Ms === undefined || round > 0
            ? objective.targetP99Ms
            : objective.targetP99Ms * relaxedTarget,
      }).filter((each) => keyOf(each) !== keyOf(first));
    }
    return true;
  }

  /** Who goes on from this round; the others are noted with the reason. */
  #select(round: number, keep: number, objective: Objective): Configuration[] {
    const ranked = rank(
      this.#result().measurements.filter((measurement) => measurement.round === round),
      objective,
    );
    const kept = survivors(ranked, keep);
    const names = new Set(kept.map(keyOf));
    const [best] = ranked;
    for (const { measurement, score } of ranked) {
      const { configuration } = measurement;
      if (names.has(keyOf(configuration)) || best === undefined) continue;
      const part = score.value / best.score.value;
      let reason = `not among the best ${keep}`;
      if (score.meetsTarget !== best.score.meetsTarget) reason = 'missed the target';
      else if (part < dominatedBelow) reason = `${percent(part)} of the best`;
      this.#pruned.set(keyOf(configuration), { configuration, round, reason });
    }
    return kept;
  }

  /** Steps from the leader as long as one is better and there is time. */
  async #refine(): Promise<void> {
    const { all, objective } = this.#options;
    const last = roundParts.length - 1;
    const tried = new Set<string>();
    for (;;) {
      const leader = choose(rank(this.#result().measurements, objective))?.measurement;
      if (leader === undefined || tried.has(keyOf(leader.configuration))) return;
      tried.add(keyOf(leader.configuration));
      const around = neighbours(leader.configuration, all).filter(
        (each) =>
          (this.#best.get(keyOf(each))?.round ?? -1) < 1 && !this.#failures.has(keyOf(each)),
      );
      const bar = scoreOf(leader, objective).value * dominatedBelow;
      if (!(await this.#round(shuffled(around, this.#random), 1, 'refine'))) return;
      const promising = around.filter((each) => {
        const measurement = this.#best.get(keyOf(each));
        return measurement !== undefined && scoreOf(measurement, objective).value > bar;
      });
      const best = rank(
        promising.map((each) => this.#best.get(keyOf(each)) as Measurement),
        objective,
      ).slice(0, 2);
      const longer = best.map(({ measurement }) => measurement.configuration);
      if (!(await this.#round(longer, last, 'refine'))) return;
    }
  }

  /** Measures one after another. False where the race has to end. */
  async #round(
    configurations: readonly Configuration[],
    round: number,
    phase: RaceProgress['phase'] = 'round',
  ): Promise<boolean> {
    const { measure, now, seconds, isStopped, onProgress } = this.#options;
    for (const [i, configuration] of configurations.entries()) {
      if (this.#isHopeless(configuration)) continue;
      if (isStopped()) return this.#end('stopped');
      if (now() >= seconds) return this.#end('time');
      const result = await measure(configuration, round);
      if (isStopped() && !('points' in result)) return this.#end('stopped');
      const key = keyOf(configuration);
      if ('points' in result) {
        this.#best.set(key, result);
        this.#pruned.delete(key);
      } else {
        this.#failures.set(key, result);
        this.#best.delete(key);
      }
      onProgress?.({ phase, round, count: configurations.length, index: i + 1, last: result });
    }
    return true;
  }

  #end(how: RaceResult['ended']): false {
    this.#ended = how;
    return false;
  }

  #isPruned(configuration: Configuration): boolean {
    return this.#pruned.has(keyOf(configuration));
  }

  /** One with something in it that does not work. */
  #isHopeless(configuration: Configuration): boolean {
    const key = keyOf(configuration);
    const dropped = this.#dropped.find(({ has }) => has(configuration));
    if (dropped === undefined) return false;
    if (!this.#failures.has(key)) {
      this.#pruned.set(key, { configuration, round: 0, reason: dropped.reason });
    }
    return true;
  }
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}

/** How many first looks fit, with the rounds that follow from them. */
export function affordableLooks(seconds: number, look: number): number {
  // A look is one part starting and loading and one part measuring, of which the later rounds have more.
  const [first] = roundParts;
  let each = 0;
  for (const [round, length] of roundParts.entries()) {
    each += (look * (0.5 + (0.5 * length) / first)) / reduction ** round;
  }
  return Math.max(1, Math.floor(seconds / each));
}

/** Something that may not work at all, with the plainest configuration that has it. */
export interface Sounding {
  readonly configuration: Configuration;
  readonly what: string;
  readonly has: (configuration: Configuration) => boolean;
}

/** What is tried once before configurations are drawn: each provider, and batches. */
export function soundings(all: readonly Configuration[]): Sounding[] {
  const plainest = (has: Sounding['has']): Configuration | undefined => {
    const having = all.filter(has);
    return having.find((each) => each.sessions === 1 && each.delayMicros === 0) ?? having[0];
  };
  const candidates: Omit<Sounding, 'configuration'>[] = [
    ...[...new Set(all.map(({ provider }) => provider))]
      .filter((provider) => provider !== undefined)
      .map((provider) => ({
        what: provider,
        has: (each: Configuration) => each.provider === provider,
      })),
    {
      what: 'batches',
      has: (each: Configuration) => each.batchSize > 0,
    },
  ];
  return candidates.flatMap((sounding) => {
    const configuration = plainest((each) => sounding.has(each) && isAlone(each, sounding.what));
    return configuration === undefined ? [] : [{ ...sounding, configuration }];
  });
}

/** Nothing else is in it that may not work. */
function isAlone({ batchSize, provider }: Configuration, what: string): boolean {
  return what === 'batches' ? provider === undefined : batchSize === 0;
}
