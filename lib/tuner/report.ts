/** What a search found, as one HTML page that needs nothing from elsewhere. */

import path from 'node:path';

import { choose, type Ranked } from './rank.js';
import { keyOf } from './space.js';
import type { TuneResult } from './tune.js';

/** Rows of the table; more are counted. */
const shownRows = 25;

/** A self-contained HTML page: the choice, the latency–throughput chart, the table, the provenance. */
export function reportOf(result: TuneResult, version: string): string {
  const { chosen, machine, objective } = result;
  const name = path.basename(result.model.path);
  const ratio = chosen.score.value / result.default.score.value;
  const facts: [string, string][] = [
    ['Model', `${name}, SHA-256 ${result.model.sha256.slice(0, 16)}…`],
    ['Engine', `${result.engine} ${result.engineVersion}, Tenon ${version}, Node ${machine.node}`],
    [
      'Machine',
      `${machine.cpu}, ${machine.cpuQuota} CPUs for this process, ` +
        `${Math.round(machine.memoryBytes / 2 ** 30)} GiB, ${machine.platform} ${machine.arch}`,
    ],
    [
      'Requests',
      `${result.rows === 1 ? '1 row' : `${result.rows} rows`} each; in flight ${result.inFlight.join(', ')}`,
    ],
    ['Search', `${searchText(result)}, seed ${result.seed}, ${result.date.slice(0, 10)}`],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(name)}: tenon tune</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escaped(name)}</h1>
<p class="lead">${escaped(objectiveText(objective))}: <strong>${escaped(keyOf(chosen.measurement.configuration))}</strong>${
    isDefault(result)
      ? ', which is the default'
      : `, ${comparison(objective.for, ratio)} the default`
  }.</p>
<section>
<h2>Latency and throughput</h2>
${chart(result)}
<p class="note">Each line is one configuration; its points are the numbers of requests in flight (${result.inFlight.join(', ')}). Down and to the right is better.</p>
</section>
<section>
<h2>Options</h2>
<pre>${escaped(JSON.stringify(result.options, null, 2))}</pre>
</section>
<section>
<h2>Ranking</h2>
${table(result)}
</section>
<section>
<h2>Where this comes from</h2>
<dl>${facts.map(([term, text]) => `<dt>${escaped(term)}</dt><dd>${escaped(text)}</dd>`).join('')}</dl>
</section>
</main>
</body>
</html>
`;
}

export function objectiveText({ for: purpose, targetP99Ms }: TuneResult['objective']): string {
  const within = targetP99Ms === undefined ? '' : ` with p99 ≤ ${numeral(targetP99Ms)} ms`;
  return purpose === 'throughput' ? `Best throughput${within}` : `Lowest p99${within}`;
}

/** "1.83 × the throughput of", "0.55 × the p99 of". */
export function comparison(purpose: 'throughput' | 'latency', ratio: number): string {
  return purpose === 'throughput'
    ? `${numeral(ratio)} × the throughput of`
    : `${numeral(1 / ratio)} × the p99 of`;
}

export function isDefault(result: TuneResult): boolean {
  return result.chosen === result.default;
}

export function searchText(result: TuneResult): string {
  const { configurations, ranked, failures, pruned, untried, seconds, ended } = result;
  const ends = { done: '', time: ', out of time', stopped: ', stopped' }[ended];
  return (
    `${ranked.length} of ${configurations} configurations measured in ${Math.round(seconds)} s${ends}; ` +
    `${pruned.length} pruned, ${failures.length} failed, ${untried.length} not tried`
  );
}

/** How a configuration fared: the choice, the default, why it was left. */
export function fateOf(ranked: Ranked, result: TuneResult): string {
  const { configuration, round } = ranked.measurement;
  const key = keyOf(configuration);
  const fates: string[] = [];
  if (ranked === result.chosen) fates.push('chosen');
  if (ranked === result.default) fates.push('default');
  if (!ranked.score.meetsTarget) fates.push('misses the target');
  const pruned = result.pruned.find((each) => keyOf(each.configuration) === key);
  if (pruned !== undefined) fates.push(pruned.reason);
  else if (ranked !== result.chosen && ranked === best(result)) {
    fates.push('within a tie of the choice, which is plainer');
  }
  if (fates.length === 0 && round < result.chosen.measurement.round) {
    fates.push(round === 0 ? 'first look only' : 'measured briefly');
  }
  return fates.join('; ');
}

function best(result: TuneResult): Ranked | undefined {
  const last = choose(result.ranked)?.measurement.round;
  return result.ranked.find(({ measurement }) => measurement.round === last);
}

export function numeral(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

function table(result: TuneResult): string {
  const rows = result.ranked.map((ranked, index) => ({ ranked, place: index + 1 }));
  const shown = rows.filter(
    ({ ranked, place }) =>
      place <= shownRows || ranked === result.chosen || ranked === result.default,
  );
  const cells = shown.map(({ ranked, place }) => {
    const { measurement, score } = ranked;
    const { at } = score;
    const mark = ranked === result.chosen ? 'chosen' : ranked === result.default ? 'default' : '';
    return (
      `<tr${mark === '' ? '' : ` class="${mark}"`}><td>${place}</td>` +
      `<td class="text">${escaped(keyOf(measurement.configuration))}</td>` +
      `<td>${numeral(at.throughput)}</td><td>${at.inFlight}</td><td>${numeral(at.p50Ms)}</td>` +
      `<td>${numeral(at.p99Ms)}</td><td>${numeral(measurement.cpus)}</td>` +
      `<td>${Math.round(measurement.residentBytes / 1e6)}</td>` +
      `<td class="text">${escaped(fateOf(ranked, result))}</td></tr>`
    );
  });
  const left = rows.length - shown.length;
  return `<div class="scroll"><table>
<thead><tr><th>#</th><th class="text">configuration</th><th>requests/s</th><th>in flight</th><th>p50 ms</th><th>p99 ms</th><th>CPUs</th><th>MB</th><th class="text">why</th></tr></thead>
<tbody>
${cells.join('\n')}
</tbody></table></div>${left > 0 ? `\n<p class="note">${left} more were measured.</p>` : ''}`;
}

const width = 860;
const height = 420;
const margin = { top: 16, right: 24, bottom: 48, left: 64 };

/** Throughput to the right, p99 up, both logarithmic: a factor is as long anywhere. */
function chart(result: TuneResult): string {
  const { ranked, chosen, objective } = result;
  const points = ranked.flatMap(({ measurement }) => measurement.points);
  const xs = ticks(points.map(({ throughput }) => throughput));
  const target = objective.targetP99Ms;
  const ys = ticks([
    ...points.map(({ p99Ms }) => p99Ms),
    ...(target === undefined ? [] : [target]),
  ]);
  const x = scale(xs, margin.left, width - margin.right);
  const y = scale(ys, height - margin.bottom, margin.top);
  const line = ({ measurement }: Ranked, name: string, title: string): string => {
    const at = measurement.points.map((p) => [x(p.throughput), y(p.p99Ms), p.inFlight] as const);
    const path = at.map(([cx, cy]) => `${fixed(cx)},${fixed(cy)}`).join(' ');
    const dots = at.map(
      ([cx, cy, inFlight]) =>
        `<circle cx="${fixed(cx)}" cy="${fixed(cy)}" r="${name === 'other' ? 2 : 4}"/>` +
        (name === 'other'
          ? ''
          : `<text x="${fixed(cx)}" y="${fixed(cy + (name === 'chosen' ? 17 : -9))}" text-anchor="middle">${inFlight}</text>`),
    );
    return `<g class="${name}"><title>${escaped(title)}</title><polyline points="${path}"/>${dots.join('')}</g>`;
  };
  const grid = [
    ...xs.map(
      (value) =>
        `<line x1="${fixed(x(value))}" x2="${fixed(x(value))}" y1="${margin.top}" y2="${height - margin.bottom}"/>` +
        `<text x="${fixed(x(value))}" y="${height - margin.bottom + 18}" text-anchor="middle">${numeral(value)}</text>`,
    ),
    ...ys.map(
      (value) =>
        `<line x1="${margin.left}" x2="${width - margin.right}" y1="${fixed(y(value))}" y2="${fixed(y(value))}"/>` +
        `<text x="${margin.left - 8}" y="${fixed(y(value) + 4)}" text-anchor="end">${numeral(value)}</text>`,
    ),
  ];
  const others = ranked.filter((each) => each !== chosen && each !== result.default);
  const named = (each: Ranked): string => keyOf(each.measurement.configuration);
  const lines = [
    ...others.map((each) => line(each, 'other', named(each))),
    ...(isDefault(result)
      ? []
      : [line(result.default, 'default', `the default: ${named(result.default)}`)]),
    line(chosen, 'chosen', `chosen: ${named(chosen)}`),
  ];
  const legend = [
    ['chosen', isDefault(result) ? 'chosen, the default' : 'chosen'],
    ...(isDefault(result) ? [] : [['default', 'default']]),
    ...(others.length === 0 ? [] : [['other', 'others']]),
  ].map(
    ([name, text], index) =>
      `<g class="${name}" transform="translate(${margin.left + 12 + index * 150},${margin.top + 14})"><line x1="0" x2="22" y1="0" y2="0"/><circle cx="11" cy="0" r="${name === 'other' ? 2 : 4}"/><text class="key" x="30" y="4">${text}</text></g>`,
  );
  const limit =
    target === undefined
      ? ''
      : `<g class="target"><line x1="${margin.left}" x2="${width - margin.right}" y1="${fixed(y(target))}" y2="${fixed(y(target))}"/>` +
        `<text x="${width - margin.right - 4}" y="${fixed(y(target) - 6)}" text-anchor="end">target ${numeral(target)} ms</text></g>`;
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="p99 latency over throughput for each configuration">
<g class="grid">${grid.join('')}</g>
<text class="axis" x="${(margin.left + width - margin.right) / 2}" y="${height - 8}" text-anchor="middle">requests per second</text>
<text class="axis" x="16" y="${height / 2}" text-anchor="middle" transform="rotate(-90 16 ${height / 2})">p99, milliseconds</text>
${limit}
${lines.join('\n')}
${legend.join('')}
</svg>`;
}

/** 1, 2 and 5 times powers of ten from below the values to above them; the powers alone where those are many. */
export function ticks(values: readonly number[]): number[] {
  const least = Math.max(1e-6, Math.min(...values));
  const most = Math.max(least, ...values);
  for (const steps of [[1, 2, 5], [1]]) {
    const all: number[] = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
      for (const step of steps) all.push(Number((step * 10 ** power).toPrecision(1)));
    }
    const from = all.findLastIndex((tick) => tick <= least);
    const to = Math.max(
      from + 1,
      all.findIndex((tick) => tick >= most),
    );
    const around = all.slice(from, to + 1);
    if (around.length <= 9 || steps.length === 1) return around;
  }
  return [least, most];
}

function scale(tickValues: readonly number[], from: number, to: number): (value: number) => number {
  const low = Math.log(tickValues[0] as number);
  const high = Math.log(tickValues.at(-1) as number);
  return (value) =>
    from + ((Math.log(Math.max(value, 1e-9)) - low) / (high - low || 1)) * (to - from);
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replaceAll(
    /[&<>"']/g,
    (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[char] ?? '&#39;',
  );
}

const style = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --quiet: #60666d; --rule: #dfe3e7; --other: #aab1b8; --chosen: #0b62d6; --default: #c2410c; --wash: #eef4fd; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e9ec; --quiet: #9aa2aa; --rule: #2c3238; --other: #59616a; --chosen: #6cb0ff; --default: #ff9d5c; --wash: #1a2635; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
.lead { font-size: 17px; margin: 0; } .note { color: var(--quiet); font-size: 13px; margin: 6px 0 0; }
pre { background: var(--wash); padding: 12px 14px; border-radius: 6px; overflow: auto; margin: 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; } th { color: var(--quiet); font-weight: 600; }
.text { text-align: left; } td.text { white-space: normal; min-width: 130px; }
tr.chosen td { background: var(--wash); font-weight: 600; } tr.default td.text:nth-child(2) { color: var(--default); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0; } dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--quiet); } svg .axis { font-size: 13px; fill: var(--ink); } svg .key { fill: var(--ink); }
.grid line { stroke: var(--rule); } polyline { fill: none; }
.other { opacity: .75; } .other polyline, .other line { stroke: var(--other); stroke-width: 1; } .other circle { fill: var(--other); }
.default polyline, .default line { stroke: var(--default); stroke-width: 2.5; } .default circle { fill: var(--default); } svg .default text:not(.key) { fill: var(--default); }
.chosen polyline, .chosen line { stroke: var(--chosen); stroke-width: 2.5; } .chosen circle { fill: var(--chosen); } svg .chosen text:not(.key) { fill: var(--chosen); }
.target line { stroke: var(--ink); stroke-dasharray: 5 4; } svg .target text { fill: var(--ink); }
`;
