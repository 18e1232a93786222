// The figures of a question as rows of text, for the terminal and for the page alike.
import { evaluate } from './comparisons.mjs';
import { median, quantile } from './statistics.mjs';

/** Three significant digits, and no more than a reader needs. */
export function number(value) {
  const size = Math.abs(value);
  if (size < 0.005) return '0';
  if (size >= 1000) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

const withUnit = (text, unit) => (unit === '' ? text : `${text} ${unit}`);
const between = ({ low, high }) => `${number(low)} – ${number(high)}`;

/** @returns {{ contender: string, median: number, low: number, high: number }[]} */
export function summarize({ rows }) {
  return rows.map(({ contender, samples }) => ({
    contender,
    median: median(samples),
    low: quantile(samples, 0.25),
    high: quantile(samples, 0.75),
  }));
}

/**
 * Contender, median and middle half of its rounds, beside the saved measure if there is one.
 *
 * @param {import('./measure.mjs').Measure} measure
 * @param {import('./measure.mjs').Measure} [saved]
 */
export function measureTable(measure, saved) {
  const before = new Map(saved ? summarize(saved).map((row) => [row.contender, row.median]) : []);
  const header = [measure.caption, 'median', 'middle half', ...(saved ? ['saved', 'change'] : [])];
  const rows = summarize(measure).map(({ contender, median: value, low, high }) => [
    contender,
    withUnit(number(value), measure.unit),
    between({ low, high }),
    ...(saved ? savedCells(value, before.get(contender), measure.unit) : []),
  ]);
  return [header, ...rows];
}

/** Several measures of the same contenders in one table: a column each, medians only. */
export function medianTable(caption, measures) {
  const names = [...new Set(measures.flatMap(({ rows }) => rows.map((row) => row.contender)))];
  return [
    [caption, ...measures.map(({ name, id }) => name ?? id)],
    ...names.map((name) => [
      name,
      ...measures.map(({ rows, unit }) => {
        const row = rows.find(({ contender }) => contender === name);
        return row === undefined ? '' : withUnit(number(median(row.samples)), unit);
      }),
    ]),
  ];
}

function savedCells(value, old, unit) {
  if (old === undefined) return ['', ''];
  const percent = Math.abs((value / old - 1) * 100).toFixed(0);
  return [withUnit(number(old), unit), old === 0 ? '' : `${value >= old ? '+' : '−'}${percent} %`];
}

/** What is compared with what, the result, its interval, and the figure aimed at. */
export function comparisonTable(result, saved) {
  const outcomes = evaluate(result);
  if (outcomes.length === 0) return undefined;
  const before = new Map(saved ? evaluate(saved).map((one) => [one.label, one]) : []);
  return [
    ['compared', 'measured', '95 % interval', 'target', '', ...(saved ? ['saved', 'change'] : [])],
    ...outcomes.map((outcome) => [
      outcome.label,
      withUnit(number(outcome.value), outcome.unit),
      between(outcome),
      targetText(outcome.target, outcome.unit),
      verdictText(outcome),
      ...(saved ? savedCells(outcome.value, before.get(outcome.label)?.value, outcome.unit) : []),
    ]),
  ];
}

/**
 * The table of figures: everything with a target that has a line there, measured or not.
 *
 * @param {{ comparisons: import('./comparisons.mjs').Comparison[] }[]} questions
 * @param {(question: object) => object | undefined} resultOf
 * @param {(question: object, verdict: string) => string} [link]
 */
export function figureTable(questions, resultOf, link = (_, verdict) => verdict) {
  const rows = questions.flatMap((question) => {
    const result = resultOf(question);
    const outcomes = result === undefined ? [] : evaluate(result);
    return question.comparisons
      .filter(({ figure }) => figure !== undefined)
      .map(({ figure, target, kind = 'ratio', unit = kind === 'ratio' ? '×' : '' }) => {
        const outcome = outcomes.find((one) => one.figure === figure);
        if (outcome === undefined) {
          return [figure, targetText(target, unit), '', '', link(question, 'not measured')];
        }
        return [
          figure,
          targetText(target, outcome.unit),
          withUnit(number(outcome.value), outcome.unit),
          between(outcome),
          link(question, verdictText(outcome)),
        ];
      });
  });
  return [['figure', 'target', 'measured', '95 % interval', 'met?'], ...rows];
}

function targetText(target, unit) {
  if (target === undefined) return '';
  const { atMost, atLeast } = target;
  const [sign, value] = atMost !== undefined ? ['≤', atMost] : ['≥', atLeast];
  return withUnit(`${sign} ${value >= 1000 ? number(value) : value}`, unit);
}

function verdictText({ verdict, waived }) {
  if (waived !== undefined) return `does not apply: ${waived}`;
  return verdict ?? '';
}
