/** What the benchmarks make of their measurements: medians, comparisons, tables, the page. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, describe, expect, it } from 'vitest';

import { root } from '../helpers/paths.js';

/** The harness is JavaScript without declarations. */
async function harness<T>(file: string): Promise<T> {
  const url = pathToFileURL(path.join(root, 'bench/harness', file)).href;
  return (await import(url)) as T;
}

type Target = { atMost?: number; atLeast?: number };
type Side = string | { name: string; bestOf: string[] };
interface Comparison {
  kind?: 'ratio' | 'difference' | 'median';
  measure?: string;
  of: Side;
  to?: Side;
  target?: Target;
  figure?: string;
}
interface Question {
  name: string;
  title: string;
  asks: string;
  contenders: { name: string }[];
  comparisons: Comparison[];
}
interface Outcome {
  label: string;
  value: number;
  low: number;
  high: number;
  verdict?: string;
  waived?: string;
}

const measure = (better: 'lower' | 'higher', rows: Record<string, number[]>) => ({
  id: 'calls',
  caption: 'Calls',
  unit: 'µs',
  better,
  rows: Object.entries(rows).map(([contender, samples]) => ({ contender, samples })),
});

describe('statistics', async () => {
  const { estimate, quantile } = await harness<{
    estimate: (
      contenders: number[][],
      of: (...medians: number[]) => number,
    ) => { value: number; low: number; high: number };
    quantile: (values: number[], part: number) => number;
  }>('statistics.mjs');

  it('interpolates quantiles', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(quantile([10, 9, 100], 0)).toBe(9);
  });

  it('gives an interval that holds the estimate, and none where every round is alike', () => {
    const noisy = estimate(
      [
        [10, 12, 11, 13, 9],
        [5, 6, 5, 7, 5],
      ],
      (a, b) => a / b,
    );
    expect(noisy.value).toBe(2.2);
    expect(noisy.low).toBeLessThan(noisy.value);
    expect(noisy.high).toBeGreaterThanOrEqual(noisy.value);
    expect(estimate([[3, 3, 3]], (a) => a)).toEqual({ value: 3, low: 3, high: 3 });
  });
});

describe('comparisons', async () => {
  const { evaluate } = await harness<{
    evaluate: (result: {
      measures: unknown[];
      comparisons: Comparison[];
      waived?: Record<string, string>;
    }) => Outcome[];
  }>('comparisons.mjs');
  const times = measure('lower', { tenon: [2, 2, 2], 'peer: a': [8, 8, 8], 'peer: b': [4, 4, 4] });

  it('meets and misses targets', () => {
    const compared = (target: Target) =>
      evaluate({ measures: [times], comparisons: [{ of: 'tenon', to: 'peer: a', target }] })[0];
    expect(compared({ atMost: 0.25 })?.verdict).toBe('met');
    expect(compared({ atMost: 0.2 })?.verdict).toBe('missed');
    expect(compared({ atLeast: 0.3 })?.verdict).toBe('missed');
    expect(compared({})?.value).toBe(0.25);
  });

  it('takes the best of several, by what is better', () => {
    const to = { name: 'peer at its best', bestOf: ['peer: a', 'peer: b'] };
    const [lower] = evaluate({ measures: [times], comparisons: [{ of: 'tenon', to }] });
    expect(lower).toMatchObject({ label: 'tenon ÷ peer at its best (b)', value: 0.5 });
    const rates = { ...times, better: 'higher' };
    const [higher] = evaluate({ measures: [rates], comparisons: [{ of: 'tenon', to }] });
    expect(higher).toMatchObject({ label: 'tenon ÷ peer at its best (a)', value: 0.25 });
  });

  it('leaves out what was not measured, and waives what does not apply', () => {
    const bestOf = ['peer: a', 'peer: c'];
    const comparisons: Comparison[] = [
      { of: 'tenon', to: 'peer: c' },
      { of: 'tenon', to: { name: 'peer', bestOf } },
      { of: 'tenon', measure: 'memory', kind: 'median' },
      { kind: 'difference', of: 'tenon', to: 'peer: a', target: { atLeast: 0 }, figure: 'f' },
    ];
    const outcomes = evaluate({ measures: [times], comparisons, waived: { f: 'no gain' } });
    expect(outcomes).toHaveLength(1);
    expect(outcomes[0]).toMatchObject({ value: -6, waived: 'no gain', verdict: undefined });
  });
});

describe('questions', async () => {
  const { names, question } = await harness<{
    names: string[];
    question: (name: string) => Promise<Question>;
  }>('questions.mjs');

  it('each file of bench/ is one, and is asked', () => {
    const files = readdirSync(path.join(root, 'bench')).filter((file) => file.endsWith('.mjs'));
    expect(names.map((name) => `${name}.mjs`).sort()).toEqual(
      files.filter((file) => file !== 'run.mjs').sort(),
    );
  });

  it.each(names)('%s compares contenders that it has', async (name) => {
    const { contenders, comparisons, title, asks } = await question(name);
    const known = contenders.map((contender) => contender.name);
    expect(title).not.toBe('');
    expect(asks).not.toBe('');
    expect(new Set(known).size).toBe(known.length);
    const sides = comparisons.flatMap(({ of, to }) => [of, ...(to === undefined ? [] : [to])]);
    for (const side of sides) {
      for (const one of typeof side === 'string' ? [side] : side.bestOf) {
        expect(known).toContain(one);
      }
    }
    const figures = comparisons.filter(({ figure }) => figure !== undefined);
    for (const { target } of figures) expect(target).toBeDefined();
  });

  it('no two figures share a line', async () => {
    const all = await Promise.all(names.map(question));
    const figures = all.flatMap(({ comparisons }) => comparisons.flatMap(({ figure }) => figure));
    const lines = figures.filter((figure) => figure !== undefined);
    expect(new Set(lines).size).toBe(lines.length);
  });
});

describe('the page', async () => {
  const { writeReport } = await harness<{
    writeReport: (
      page: string,
      results: unknown[],
      options: { noisy: boolean },
    ) => Promise<string[]>;
  }>('report.mjs');
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-bench-'));
  const page = path.join(folder, 'performance.md');
  afterAll(() => rmSync(folder, { recursive: true }));

  const result = {
    name: 'tiny-sync',
    title: 'A title (of sorts)',
    asks: 'How long?',
    rounds: 15,
    scale: 1,
    date: '2026-01-01',
    machine: { cpu: 'a CPU', cores: 2, memoryGb: 8, system: 'Linux', busy: 0 },
    versions: { node: '20', tenon: '0', onnxruntime: '1', tensorflow: '2' },
    skipped: [],
    comparisons: [
      {
        figure: 'tiny model: `binding.runSync()` ÷ the C call, bound',
        of: 'tenon',
        to: 'C: Run',
        target: { atMost: 1.2 },
      },
    ],
    measures: [measure('lower', { tenon: [3, 3, 3], 'C: Run': [2, 2, 2] })],
  };

  it('has the figures first, then each question with its chart', async () => {
    await writeReport(page, [result], { noisy: false });
    const text = readFileSync(page, 'utf8');
    expect(text).toMatch(/1\.50 × \| +1\.50 – 1\.50 \| \*\*missed\*\*.*\(#a-title-of-sorts\)/);
    expect(text).toMatch(/ not measured +\|/);
    expect(text.indexOf('## Figures')).toBeLessThan(text.indexOf('## A title (of sorts)'));
    expect(text).toContain('](performance/tiny-sync.svg)');
    const chart = readFileSync(path.join(folder, 'performance/tiny-sync.svg'), 'utf8');
    expect(chart).toMatch(/^<svg [^>]*>[^]*<\/svg>\n$/);
    expect(chart).toContain('3.00 µs');
  });

  it('takes no short run, and a busy machine only where told to', async () => {
    const sections = async (results: unknown[], noisy: boolean) => {
      await writeReport(page, results, { noisy });
      return readFileSync(page, 'utf8').match(/^## A title/gm)?.length ?? 0;
    };
    const busy = { ...result, machine: { ...result.machine, busy: 1.5 } };
    expect(await sections([{ ...result, rounds: 5 }], true)).toBe(0);
    expect(await sections([{ ...result, scale: 0.5 }], true)).toBe(0);
    expect(await sections([busy], false)).toBe(0);
    expect(await sections([busy], true)).toBe(1);
    expect(readFileSync(page, 'utf8')).toContain('figures are off');
  });

  it('draws each kind of chart', async () => {
    const bars = ['1', 'more'];
    const charts = [
      {
        kind: 'histogram',
        id: 'h',
        title: 'H',
        xLabel: 'ms',
        bars,
        series: [{ name: 'tenon', shares: [99.95, 0.05] }],
      },
      {
        id: 'l',
        title: 'L',
        xLabel: 'x',
        yLabel: 'y',
        logarithmic: true,
        series: [
          {
            name: 'tenon',
            points: [
              [0, 1],
              [70, 30],
            ],
          },
        ],
      },
    ];
    await writeReport(page, [{ ...result, charts }], { noisy: false });
    const read = (name: string) => readFileSync(path.join(folder, 'performance', name), 'utf8');
    expect(read('tiny-sync-h.svg')).toContain('&lt; 0.1 %');
    expect(read('tiny-sync-l.svg')).not.toMatch(/NaN|undefined/);
  });
});
