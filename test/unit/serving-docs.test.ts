import { readFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { flagNames } from '../../lib/server/config/flags.js';
import { exposition, type MetricSnapshot } from '../../lib/server/metric-registry.js';
import { Metrics } from '../../lib/server/metrics.js';
import { root } from '../helpers/paths.js';

const page = readFileSync(path.join(root, 'docs/serving.md'), 'utf8');

describe('docs/serving.md', () => {
  it('names every flag, and no other', () => {
    const named = new Set([...page.matchAll(/`--([a-z_]+)/g)].map(([, name]) => name));
    for (const name of ['version', 'help', 'name']) named.delete(name);
    expect([...named].toSorted()).toEqual(flagNames.toSorted());
  });

  it('names every metric', () => {
    const metrics = new Metrics({ models: () => [] });
    const names = metrics.snapshot().map(({ name }: MetricSnapshot) => name);
    metrics.close();
    expect(exposition([])).toBe('');
    // "`tenon_model_runs_total`, `…_failed_runs_total`" shares the beginning.
    const isNamed = (name: string): boolean =>
      page.includes(`\`${name}\``) ||
      [...page.matchAll(/`…(_[a-z_]+)`/g)].some(([, end]) => name.endsWith(end as string));
    expect(names.filter((name) => !isNamed(name))).toEqual([]);
  });
});
