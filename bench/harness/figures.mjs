// The figures of a question as rows of text, for the terminal and for the page alike.
import { median, quantile, ratioOfMedians } from './statistics.mjs';

/** Three significant digits, and no more than a reader needs. */
export function number(value) {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

const withUnit = (value, unit) => (unit === '' ? number(value) : `${number(value)} ${unit}`);

/** @returns {{ contender: string, median: number, low: number, high: number }[]} */
export function summarize({ rows }) {
  return rows.map(({ contender, samples }) => ({
    contender,
    median: median(samples),
    low: quantile(samples, 0.25),
    high: quantile(samples, 0.75),
  }));
}

/** Contender, median and middle half of its rounds. */
export function measureTable(measure, saved) {
  const before = new Map(saved ? summarize(saved).map((row) => [row.contender, row.median]) : []);
  const header = [measure.caption, 'median', 'middle half', ...(saved ? ['saved', 'change'] : [])];
  const rows = summarize(measure).map(({ contender, median: value, low, high }) => {
    const old = before.get(contender);
    const change =
      old === undefined ? ['', ''] : [withUnit(old, measure.unit), percentChange(value, old)];
    return [
      contender,
      withUnit(value, measure.unit),
      `${number(low)} – ${number(high)}`,
      ...(saved ? change : []),
    ];
  });
  return [header, ...rows];
}

const percentChange = (value, old) =>
  old === 0 ? '' : `${value >= old ? '+' : '−'}${Math.abs((value / old - 1) * 100).toFixed(0)} %`;

/** What is compared with what, the ratio or difference, its interval, and the figure aimed at. */
export function comparisonTable({ measures, ratios, differences = [], limits = [] }) {
  const samples = (id, contender) =>
    measures.find((measure) => measure.id === id).rows.find((row) => row.contender === contender)
      .samples;
  // Which measure, where there is more than one.
  const suffix = (id) => (measures.length > 1 ? `, ${id}` : '');
  const unitOf = (id) => measures.find((measure) => measure.id === id).unit;
  const rows = [
    ...ratios.map(({ measure, of, to, target = {} }) => {
      const { ratio, low, high } = ratioOfMedians(samples(measure, of), samples(measure, to));
      return [
        `${of} ÷ ${to}${suffix(measure)}`,
        `${number(ratio)} ×`,
        `${number(low)} – ${number(high)}`,
        ...verdict(ratio, target, ' ×'),
      ];
    }),
    ...differences.map(({ measure, of, to, target = {} }) => {
      const value = median(samples(measure, of)) - median(samples(measure, to));
      const unit = ` ${unitOf(measure)}`;
      return [
        `${of} − ${to}${suffix(measure)}`,
        number(value) + unit,
        '',
        ...verdict(value, target, unit),
      ];
    }),
    ...limits.map(({ measure, of, atMost }) => {
      const value = median(samples(measure, of));
      const unit = unitOf(measure) === '' ? '' : ` ${unitOf(measure)}`;
      return [
        `${of}${suffix(measure)}`,
        number(value) + unit,
        '',
        ...verdict(value, { atMost }, unit),
      ];
    }),
  ];
  return rows.length === 0
    ? undefined
    : [['compared', 'measured', '95 % interval', 'aim', ''], ...rows];
}

function verdict(value, { atMost, atLeast }, unit) {
  if (atMost !== undefined) return [`≤ ${atMost}${unit}`, value <= atMost ? 'met' : 'missed'];
  if (atLeast !== undefined) return [`≥ ${atLeast}${unit}`, value >= atLeast ? 'met' : 'missed'];
  return ['', ''];
}
