// Charts as SVG: bars of medians, lines over labelled places or numbers, histograms one below the
// other. Text and colours follow the reader's light or dark scheme.
import { number } from './figures.mjs';

const width = 760;
const rowHeight = 30;
const palette = ['#2f6fde', '#d9822b', '#3a9d6b', '#9b59b6', '#c0504d', '#1aa3a3'];
const muted = '#8a8f98';

const escape = (text) =>
  String(text).replace(
    /[&<>"]/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c],
  );
const round = (value) => Number(value.toFixed(1));

const style = `<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 } .soft { fill: #6b7280; font-size: 12px }
  .grid { stroke: #8a8f98; stroke-opacity: .3 } .whisker { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #9aa4b2 } .whisker { stroke: #e6edf3 }
  }
</style>`;

const svg = (height, title, body) =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">`,
    style,
    `<text class="title" x="0" y="16">${escape(title)}</text>`,
    ...body,
    '</svg>',
    '',
  ].join('\n');

/** Tenon, its peers and the floors each have their colour, whatever is beside them. */
function colourOf(contender) {
  if (/^(C|Node-API):|idle|^ready-made/.test(contender)) return muted;
  if (/tenon/.test(contender)) return palette[0];
  if (/onnxruntime-node/.test(contender)) return palette[1];
  return undefined;
}

/**
 * A bar for each contender: its median, and the middle half of its rounds as a whisker.
 *
 * @param {string} title
 * @param {string} unit
 * @param {{ contender: string, median: number, low: number, high: number }[]} rows
 */
export function barChart(title, unit, rows) {
  const [left, right, top] = [300, 100, 30];
  const most = Math.max(...rows.map(({ median, high }) => Math.max(median, high))) || 1;
  const x = (value) => round(left + (value / most) * (width - left - right));
  const body = rows.flatMap(({ contender, median, low, high }, i) => {
    const y = top + i * rowHeight;
    const middle = y + 10;
    return [
      `<text x="${left - 10}" y="${y + 15}" text-anchor="end">${escape(contender)}</text>`,
      `<rect x="${left}" y="${y}" width="${round(x(median) - left)}" height="20" rx="2" fill="${colourOf(contender) ?? palette[2]}"/>`,
      `<path class="whisker" d="M${x(low)} ${middle}H${x(high)}"/>`,
      `<text x="${Math.max(x(median), x(high)) + 8}" y="${y + 15}">${escape(number(median))} ${escape(unit)}</text>`,
    ];
  });
  return svg(top + rows.length * rowHeight, title, body);
}

/**
 * Lines over places that are labelled one by one, or over numbers from 0 on.
 *
 * @param {{ title: string, xLabel: string, yLabel: string, xTicks?: string[], logarithmic?: boolean,
 *   series: { name: string, points: [number, number][] }[] }} chart With `xTicks` a point's first
 *   number is the index of one of them.
 */
export function lineChart({ title, xLabel, yLabel, xTicks, logarithmic = false, series }) {
  const colours = coloursOf(series);
  const names = legend(series, colours);
  const [left, right, top, bottom] = [56, 32, names.bottom + 32, 48];
  const height = top + 232 + bottom;
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  const scale = logarithmic ? (value) => Math.log10(Math.max(value, 1e-6)) : (value) => value;
  const ticks = axisTicks(Math.min(...values), Math.max(...values), logarithmic);
  const [lowest, highest] = [scale(ticks[0]), scale(ticks.at(-1))];
  const furthest = Math.max(...series.flatMap(({ points }) => points.map(([place]) => place)));
  const places =
    xTicks?.map((text, place) => ({ place, text })) ??
    axisTicks(0, furthest, false).map((place) => ({ place, text: tickText(place) }));
  const last = places.at(-1).place;
  const x = (place) => round(left + (place / last) * (width - left - right));
  const y = (value) =>
    round(
      height - bottom - ((scale(value) - lowest) / (highest - lowest)) * (height - top - bottom),
    );

  return svg(height, title, [
    ...ticks.flatMap((tick) => [
      `<path class="grid" d="M${left} ${y(tick)}H${width - right}"/>`,
      `<text class="soft" x="${left - 8}" y="${y(tick) + 4}" text-anchor="end">${tickText(tick)}</text>`,
    ]),
    ...places.map(
      ({ place, text }) =>
        `<text class="soft" x="${x(place)}" y="${height - bottom + 18}" text-anchor="middle">${escape(text)}</text>`,
    ),
    `<text class="soft" x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">${escape(xLabel)}</text>`,
    `<text class="soft" x="0" y="${top - 12}">${escape(yLabel)}</text>`,
    ...names.body,
    ...series.map(
      ({ points }, i) =>
        `<path fill="none" stroke="${colours[i]}" stroke-width="2" d="M${points.map(([place, value]) => `${x(place)} ${y(value)}`).join('L')}"/>`,
    ),
    // Places where something was measured, between which the line is a guess.
    ...series.flatMap(({ points }, i) =>
      points.map(
        ([place, value]) =>
          `<circle cx="${x(place)}" cy="${y(value)}" r="3" fill="${colours[i]}"/>`,
      ),
    ),
  ]);
}

/** The names of series below the title, in as many rows as they take. */
function legend(series, colours) {
  const [left, top, row] = [0, 26, 20];
  let [x, y] = [left, top];
  const body = series.flatMap(({ name }, i) => {
    // As wide as its letters are in most fonts.
    const length = 34 + name.length * 7.2;
    if (x > left && x + length > width) [x, y] = [left, y + row];
    const at = x;
    x += length;
    return [
      `<rect x="${round(at)}" y="${y}" width="12" height="12" rx="2" fill="${colours[i]}"/>`,
      `<text x="${round(at + 18)}" y="${y + 11}">${escape(name)}</text>`,
    ];
  });
  return { body, bottom: y + 12 };
}

/**
 * A histogram for each series, one below the other, over the same bars.
 *
 * @param {{ title: string, xLabel: string, bars: string[],
 *   series: { name: string, shares: number[] }[] }} chart Shares in percent, one a bar.
 */
export function histogramChart({ title, xLabel, bars, series }) {
  const [left, right, top, barHeight, gap] = [8, 8, 34, 56, 34];
  const slot = (width - left - right) / bars.length;
  const colours = coloursOf(series);
  const bottom = top + series.length * (barHeight + gap);
  const body = series.flatMap(({ name, shares }, row) => {
    const base = top + row * (barHeight + gap) + gap / 2 + barHeight;
    return [
      `<text x="${width - right}" y="${base - barHeight + 8}" text-anchor="end">${escape(name)}</text>`,
      `<path class="grid" d="M${left} ${base}H${width - right}"/>`,
      ...shares.flatMap((share, bar) => {
        if (share === 0) return [];
        const height = Math.max(1, (share / 100) * barHeight);
        const x = left + bar * slot;
        return [
          `<rect x="${round(x + 3)}" y="${round(base - height)}" width="${round(slot - 6)}" height="${round(height)}" fill="${colours[row]}"/>`,
          `<text class="soft" x="${round(x + slot / 2)}" y="${round(base - height - 4)}" text-anchor="middle">${share < 0.1 ? '&lt; 0.1' : number(share)} %</text>`,
        ];
      }),
    ];
  });
  const ticks = bars.map(
    (bar, i) =>
      `<text class="soft" x="${round(left + (i + 0.5) * slot)}" y="${bottom + 10}" text-anchor="middle">${escape(bar)}</text>`,
  );
  return svg(bottom + 36, title, [
    ...body,
    ...ticks,
    `<text class="soft" x="${width / 2}" y="${bottom + 30}" text-anchor="middle">${escape(xLabel)}</text>`,
  ]);
}

/** Each series its contender's own colour, or one that no series before it has. */
function coloursOf(series) {
  const taken = [];
  for (const { name } of series) {
    const own = colourOf(name);
    taken.push(
      own !== undefined && !taken.includes(own)
        ? own
        : (palette.slice(2).find((colour) => !taken.includes(colour)) ?? palette.at(-1)),
    );
  }
  return taken;
}

/** Round numbers from below the least to above the greatest value. */
function axisTicks(least, greatest, logarithmic) {
  if (logarithmic) {
    const low = Math.floor(Math.log10(Math.max(least, 1e-6)));
    const high = Math.max(Math.ceil(Math.log10(greatest)), low + 1);
    return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
  }
  const rough = (greatest || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  return Array.from({ length: Math.ceil(greatest / step) + 1 }, (_, i) => i * step);
}

const tickText = (tick) => (tick >= 1000 ? number(tick) : Number(tick.toPrecision(6)).toString());
