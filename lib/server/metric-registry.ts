/**
 * Counters, gauges and histograms in Prometheus' text format (version 0.0.4), of which snapshots of
 * several threads can be added up. A series is looked up once and then only written to.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';

export interface MetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

export interface HistogramOptions extends MetricOptions {
  /** Upper bounds, ascending; what is above the last counts in `+Inf`. */
  readonly buckets: readonly number[];
}

/**
 * Series of one metric, at most: label values come from clients and from models. What more would
 * make counts in one series whose labels are all empty.
 */
export const maxSeries = 2000;

/** One metric as it was: plain data, to be posted between threads. */
export interface MetricSnapshot {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly labels: readonly string[];
  readonly buckets: readonly number[];
  /**
   * Label values with numbers: one, or for a histogram the count of each bucket (not cumulative,
   * the last above all bounds) and then the sum.
   */
  readonly series: readonly (readonly [values: readonly string[], numbers: readonly number[]])[];
}

abstract class Metric<Series extends { readonly numbers: number[] }> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly #series = new Map<string, { values: readonly string[]; series: Series }>();

  constructor(
    readonly type: MetricType,
    { name, help, labels = [] }: MetricOptions,
  ) {
    this.name = name;
    this.help = help;
    this.labels = labels;
  }

  protected abstract make(): Series;

  protected get buckets(): readonly number[] {
    return [];
  }

  /** The series with these label values, in the order of `labels`. */
  with(...values: readonly string[]): Series {
    const key = keyOf(values);
    const found = this.#series.get(key);
    if (found !== undefined) return found.series;
    if (this.#series.size >= maxSeries && values.some((value) => value !== '')) {
      return this.with(...values.map(() => ''));
    }
    const series = this.make();
    this.#series.set(key, { values, series });
    return series;
  }

  /** Drops the series whose label values these are; undefined stands for any. */
  drop(...values: readonly (string | undefined)[]): void {
    for (const [key, { values: own }] of this.#series) {
      if (values.every((value, i) => value === undefined || value === own[i])) {
        this.#series.delete(key);
      }
    }
  }

  snapshot(): MetricSnapshot {
    const { name, help, type, labels, buckets } = this;
    return {
      name,
      help,
      type,
      labels,
      buckets,
      series: [...this.#series.values()].map(({ values, series }) => [values, [...series.numbers]]),
    };
  }
}

class NumberSeries {
  readonly numbers = [0];

  add(amount: number): void {
    (this.numbers[0] as number) += amount;
  }

  set(value: number): void {
    this.numbers[0] = value;
  }
}

export class Counter extends Metric<NumberSeries> {
  constructor(options: MetricOptions) {
    super('counter', options);
  }

  protected override make(): NumberSeries {
    return new NumberSeries();
  }
}

/** Of several threads, gauges with the same labels are added up. */
export class Gauge extends Metric<NumberSeries> {
  constructor(options: MetricOptions) {
    super('gauge', options);
  }

  protected override make(): NumberSeries {
    return new NumberSeries();
  }
}

class HistogramSeries {
  readonly #buckets: readonly number[];
  /** The buckets, the one above them, the sum. */
  readonly numbers: number[];

  constructor(buckets: readonly number[]) {
    this.#buckets = buckets;
    this.numbers = new Array<number>(buckets.length + 2).fill(0);
  }

  observe(value: number): void {
    this.count(value, 1);
    this.add(value);
  }

  /** Counts `times` values that are as large as this one, and leaves the sum to `add`. */
  count(value: number, times: number): void {
    const buckets = this.#buckets;
    let low = 0;
    let high = buckets.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (buckets[middle] as number)) high = middle;
      else low = middle + 1;
    }
    (this.numbers[low] as number) += times;
  }

  /** To the sum of all values. */
  add(amount: number): void {
    (this.numbers[this.#buckets.length + 1] as number) += amount;
  }
}

export class Histogram extends Metric<HistogramSeries> {
  readonly #buckets: readonly number[];

  constructor(options: HistogramOptions) {
    super('histogram', options);
    this.#buckets = options.buckets;
  }

  protected override get buckets(): readonly number[] {
    return this.#buckets;
  }

  protected override make(): HistogramSeries {
    return new HistogramSeries(this.#buckets);
  }
}

/** `count` bounds: first, first × factor, first × factor² … */
export function exponentialBuckets(first: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first * factor ** i);
}

/** The same metrics of several threads as one: numbers with equal labels are added up. */
export function mergeSnapshots(
  threads: readonly (readonly MetricSnapshot[])[],
): readonly MetricSnapshot[] {
  const merged = new Map<
    string,
    { metric: MetricSnapshot; series: Map<string, [readonly string[], number[]]> }
  >();
  for (const metric of threads.flat()) {
    let entry = merged.get(metric.name);
    if (entry === undefined) merged.set(metric.name, (entry = { metric, series: new Map() }));
    for (const [values, numbers] of metric.series) {
      const key = keyOf(values);
      const sum = entry.series.get(key);
      if (sum === undefined) entry.series.set(key, [values, [...numbers]]);
      else numbers.forEach((number, i) => ((sum[1][i] as number) += number));
    }
  }
  return [...merged.values()].map(({ metric, series }) => ({
    ...metric,
    series: [...series.values()],
  }));
}

export const expositionContentType = 'text/plain; version=0.0.4; charset=utf-8';

/** Metrics as Prometheus reads them. */
export function exposition(metrics: readonly MetricSnapshot[]): string {
  const lines: string[] = [];
  for (const { name, help, type, labels, buckets, series } of metrics) {
    if (series.length === 0) continue;
    lines.push(`# HELP ${name} ${help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n')}`);
    lines.push(`# TYPE ${name} ${type}`);
    for (const [values, numbers] of series) {
      const pairs = labels.map((label, i) => `${label}="${escapeLabel(values[i] ?? '')}"`);
      const selector = (...more: string[]): string => {
        const all = [...pairs, ...more];
        return all.length === 0 ? '' : `{${all.join(',')}}`;
      };
      if (type !== 'histogram') {
        lines.push(`${name}${selector()} ${number(numbers[0] as number)}`);
        continue;
      }
      let total = 0;
      for (const [i, bound] of [...buckets, Infinity].entries()) {
        total += numbers[i] as number;
        lines.push(`${name}_bucket${selector(`le="${sixDigits(bound)}"`)} ${total}`);
      }
      lines.push(`${name}_sum${selector()} ${number(numbers[buckets.length + 1] as number)}`);
      lines.push(`${name}_count${selector()} ${total}`);
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function number(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}

/** `%g`, as TensorFlow Serving writes bounds, which rules and dashboards name. */
function sixDigits(value: number): string {
  if (!Number.isFinite(value) || value === 0) return number(value);
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  const short = Number(value.toPrecision(6));
  if (exponent >= -4 && exponent < 6) return String(short);
  return short.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
}

function escapeLabel(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}

function keyOf(values: readonly string[]): string {
  return values.length === 1 ? (values[0] as string) : JSON.stringify(values);
}
