/**
 * How long batches take by their number of rows: smoothed means and deviations for sizes up to
 * powers of two, and a straight line through them for what was not seen yet.
 */

/** One size class. */
export interface RunTime {
  /** Batches of more than half of this and up to it. */
  readonly rows: number;
  readonly batches: number;
  readonly meanRows: number;
  readonly meanMicros: number;
  /** Mean plus three mean deviations: what a batch of this size seldom exceeds. */
  readonly highMicros: number;
}

/** Share of a new measurement once enough have been seen; the first ones count fully. */
const smoothing = 0.1;

interface SizeClass {
  batches: number;
  rows: number;
  micros: number;
  deviation: number;
}

export class RunTimes {
  readonly #classes: (SizeClass | undefined)[] = [];

  note(rows: number, micros: number): void {
    const index = classOf(rows);
    const found = this.#classes[index];
    if (found === undefined) {
      this.#classes[index] = { batches: 1, rows, micros, deviation: micros / 8 };
      return;
    }
    found.batches++;
    const share = Math.max(smoothing, 1 / found.batches);
    // One batch that a busy machine held up must not move everything.
    const seen = Math.min(micros, 8 * found.micros + 1000);
    found.deviation += share * (Math.abs(seen - found.micros) - found.deviation);
    found.micros += share * (seen - found.micros);
    found.rows += share * (rows - found.rows);
  }

  /** Batches noted of about this size. */
  seen(rows: number): number {
    return this.#classes[classOf(rows)]?.batches ?? 0;
  }

  /** Batches noted so far. */
  get batches(): number {
    return this.#classes.reduce((sum, found) => sum + (found?.batches ?? 0), 0);
  }

  /** The largest batches noted, as the mean of their size class. */
  get largestRows(): number {
    return this.#classes.reduce((most, found) => Math.max(most, found?.rows ?? 0), 0);
  }

  /** Expected microseconds of a batch; 0 where nothing was noted. */
  expected(rows: number): number {
    return this.#at(rows, ({ micros }) => micros);
  }

  /** Microseconds that a batch seldom exceeds. */
  high(rows: number): number {
    return this.#at(rows, ({ micros, deviation }) => micros + 3 * deviation);
  }

  table(): RunTime[] {
    return this.#classes.flatMap((found, index) =>
      found === undefined
        ? []
        : [
            {
              rows: 2 ** index,
              batches: found.batches,
              meanRows: found.rows,
              meanMicros: found.micros,
              highMicros: found.micros + 3 * found.deviation,
            },
          ],
    );
  }

  /** Between two sizes that were seen in proportion, beyond them along the nearest line. */
  #at(rows: number, value: (found: SizeClass) => number): number {
    const seen = this.#classes.filter((found) => found !== undefined);
    const [first] = seen;
    if (first === undefined) return 0;
    if (seen.length === 1) {
      // One point makes no line: half of it is taken as fixed.
      return value(first) * (0.5 + (0.5 * rows) / first.rows);
    }
    let above = seen.findIndex((found) => found.rows >= rows);
    if (above < 0) above = seen.length - 1;
    if (above === 0) above = 1;
    const low = seen[above - 1] as SizeClass;
    const high = seen[above] as SizeClass;
    const span = high.rows - low.rows;
    const slope = span <= 0 ? 0 : Math.max(0, (value(high) - value(low)) / span);
    return Math.max(0, value(low) + slope * (rows - low.rows));
  }
}

function classOf(rows: number): number {
  return Math.ceil(Math.log2(Math.max(1, rows)));
}
