// What a question compares, from its measures: ratios, differences and plain medians, each with
// its interval and, where there is one, the figure it aims at.
import { estimate, median } from './statistics.mjs';

/**
 * A contender, or the best of several by their medians.
 *
 * @typedef {string | { name: string, bestOf: string[] }} Side
 *
 * @typedef {object} Target
 * @property {number} [atMost]
 * @property {number} [atLeast]
 *
 * @typedef {object} Comparison
 * @property {'ratio' | 'difference' | 'median'} [kind] Default: ratio.
 * @property {string} [measure] Its id; "calls" by default.
 * @property {Side} of
 * @property {Side} [to] What it is divided by, or what is taken from it; a median has none.
 * @property {Target} [target]
 * @property {string} [figure] Its line in the table of figures; where it has a target.
 * @property {string} [unit] Of a difference or median, for the line of one that was not measured.
 *
 * @typedef {object} Outcome
 * @property {string} label What is compared.
 * @property {string} [figure]
 * @property {string} unit
 * @property {number} value
 * @property {number} low
 * @property {number} high
 * @property {Target} [target]
 * @property {'met' | 'missed' | undefined} verdict Undefined without a target, or where it is waived.
 * @property {string} [waived] Why the target does not apply.
 */

const statistics = {
  ratio: (of, to) => of / to,
  difference: (of, to) => of - to,
  median: (of) => of,
};
const signs = { ratio: '÷', difference: '−' };

/**
 * The outcomes of the comparisons whose contenders were all there.
 *
 * @param {{ measures: import('./measure.mjs').Measure[], comparisons: Comparison[],
 *   waived?: Record<string, string> }} result
 * @returns {Outcome[]}
 */
export function evaluate({ measures, comparisons, waived = {} }) {
  return comparisons.flatMap((comparison) => {
    const { kind = 'ratio', measure: id = 'calls', of, to, target, figure } = comparison;
    const measure = measures.find((one) => one.id === id);
    const sides = [of, ...(to === undefined ? [] : [to])].map((side) => resolve(measure, side));
    if (sides.includes(undefined)) return [];
    const estimated = estimate(
      sides.map(({ samples }) => samples),
      statistics[kind],
    );
    const label = sides.map(({ label }) => label).join(` ${signs[kind]} `);
    const reason = figure === undefined ? undefined : waived[figure];
    return {
      label: measures.length > 1 ? `${label}, ${measure.name ?? id}` : label,
      figure,
      unit: kind === 'ratio' ? '×' : measure.unit,
      ...estimated,
      target,
      verdict: reason === undefined ? verdict(estimated.value, target) : undefined,
      waived: reason,
    };
  });
}

/** @param {Side} side */
function resolve(measure, side) {
  const names = typeof side === 'string' ? [side] : side.bestOf;
  const rows = measure?.rows.filter(({ contender }) => names.includes(contender)) ?? [];
  // Without one of them the best of the others says nothing of the best of all.
  if (rows.length < names.length) return undefined;
  const sign = measure.better === 'higher' ? -1 : 1;
  const [best] = rows.sort((a, b) => sign * (median(a.samples) - median(b.samples)));
  const label =
    typeof side === 'string' ? side : `${side.name} (${suffixOf(best.contender, side.name)})`;
  return { label, samples: best.samples };
}

/** "peer: a, 2 threads" of "peer: a" is "2 threads", and "peer: 2 threads" of "peer at its best". */
function suffixOf(contender, group) {
  if (contender.startsWith(`${group}, `)) return contender.slice(group.length + 2);
  const [head, ...rest] = contender.split(': ');
  return rest.length > 0 && group.startsWith(`${head} at `) ? rest.join(': ') : contender;
}

function verdict(value, target) {
  if (target === undefined) return undefined;
  const { atMost = Infinity, atLeast = -Infinity } = target;
  return value <= atMost && value >= atLeast ? 'met' : 'missed';
}
