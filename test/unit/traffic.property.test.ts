import { describe, expect, it } from 'vitest';

import { Sampler } from '../../lib/server/sampler.js';
import { heaviest, pick, type Weighted } from '../../lib/server/traffic/weights.js';
import { type Random, randomOf } from '../helpers/random.js';

interface Target extends Weighted {
  readonly name: string;
}

function targetsOf(random: Random): Target[] {
  return Array.from({ length: 1 + random.below(6) }, (_, i) => ({
    name: `t${i}`,
    // Some are 0, some tiny, some huge.
    weight: random.chance(0.2) ? 0 : random.next() * 10 ** (random.below(12) - 3),
  }));
}

const seeds = Array.from({ length: 40 }, (_, i) => i + 1);

describe('pick', () => {
  it.each(seeds)('gives each its part of evenly spread draws (seed %i)', (seed) => {
    const targets = targetsOf(randomOf(seed));
    const total = targets.reduce((sum, { weight }) => sum + weight, 0);
    const draws = 20_000;
    const counts = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const target = pick(targets, (i + 0.5) / draws);
      if (total === 0) expect(target).toBeUndefined();
      else counts.set((target as Target).name, (counts.get((target as Target).name) ?? 0) + 1);
    }
    if (total === 0) return;
    for (const { name, weight } of targets) {
      const count = counts.get(name) ?? 0;
      expect(Math.abs(count - (draws * weight) / total)).toBeLessThanOrEqual(1);
      if (weight === 0) expect(count).toBe(0);
    }
  });

  it.each(seeds)('gives one with a weight, whatever the draw (seed %i)', (seed) => {
    const random = randomOf(seed);
    const targets = [...targetsOf(random), { name: 'sure', weight: 0.1 }];
    for (const draw of [0, Number.EPSILON, 0.5, 1 - Number.EPSILON, 1 - 2 ** -53, random.next()]) {
      expect(pick(targets, draw)?.weight).toBeGreaterThan(0);
    }
  });

  it.each(seeds)('depends on proportions only (seed %i)', (seed) => {
    const random = randomOf(seed);
    const targets = targetsOf(random);
    const doubled = targets.map(({ name, weight }) => ({ name, weight: 2 * weight }));
    for (let i = 0; i < 50; i++) {
      const draw = random.next();
      expect(pick(doubled, draw)?.name).toBe(pick(targets, draw)?.name);
    }
  });
});

describe('heaviest', () => {
  it.each(seeds)('is the first of those with the greatest weight (seed %i)', (seed) => {
    const targets = targetsOf(randomOf(seed));
    const most = Math.max(...targets.map(({ weight }) => weight));
    const first = targets.find(({ weight }) => weight === most && weight > 0);
    expect(heaviest(targets)).toBe(first);
  });
});

describe('a sampler', () => {
  const chosen = (sampler: Sampler, count: number): number => {
    let total = 0;
    for (let i = 0; i < count; i++) if (sampler.next()) total++;
    return total;
  };

  it.each(seeds)('chooses its share (seed %i)', (seed) => {
    const random = randomOf(seed);
    const share = random.pick([0.001, 0.01, 0.1, 0.5, 0.9, 0.999]);
    const count = 100_000;
    const deviation = Math.sqrt(count * share * (1 - share));
    const total = chosen(new Sampler(share, () => random.next()), count);
    expect(Math.abs(total - count * share)).toBeLessThan(5 * deviation);
  });

  it('chooses all, or none', () => {
    for (const draw of [0, 0.5, 1 - 2 ** -53]) {
      expect(chosen(new Sampler(1, () => draw), 1000)).toBe(1000);
      expect(chosen(new Sampler(0, () => draw), 1000)).toBe(0);
    }
  });

  it('makes no difference between what comes first and what comes later', () => {
    const random = randomOf(1);
    const rounds = 20_000;
    const counts = [0, 0, 0, 0, 0];
    for (let round = 0; round < rounds; round++) {
      const sampler = new Sampler(0.3, () => random.next());
      for (let i = 0; i < counts.length; i++)
        if (sampler.next()) counts[i] = (counts[i] as number) + 1;
    }
    const deviation = Math.sqrt(rounds * 0.3 * 0.7);
    for (const count of counts) expect(Math.abs(count - 0.3 * rounds)).toBeLessThan(5 * deviation);
  });
});
