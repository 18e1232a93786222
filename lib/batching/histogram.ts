/** Counts by value, with eight steps an octave: a quantile is at most 12.5 % too large. */

export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Everything that was counted. */
export interface Distribution {
  readonly count: number;
  readonly sum: number;
  /**
   * Ascending, those that have any: how many values were at most `upTo`, and above the one before.
   * Whole values below 16 have a place of their own each; others are at most 12.5 % below `upTo`.
   */
  readonly places: readonly (readonly [upTo: number, count: number])[];
}

const steps = 8;

export class Histogram {
  readonly #counts = new Float64Array(steps * 32);
  #count = 0;
  #sum = 0;
  #max = 0;

  /** A value of 0 or more. */
  add(value: number): void {
    this.#count++;
    this.#sum += value;
    if (value > this.#max) this.#max = value;
    (this.#counts[indexOf(value)] as number)++;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = this.#sum = this.#max = 0;
  }

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  quantile(q: number): number {
    let left = Math.ceil(this.#count * q);
    if (left === 0) return 0;
    for (let i = 0; i < this.#counts.length; i++) {
      left -= this.#counts[i] as number;
      if (left <= 0) return Math.min(upperEnd(i), this.#max);
    }
    return this.#max;
  }

  distribution(): Distribution {
    const places: [upTo: number, count: number][] = [];
    this.#counts.forEach((count, i) => {
      if (count > 0) places.push([upperEnd(i), count]);
    });
    return { count: this.#count, sum: this.#sum, places };
  }

  summary(): Summary {
    return {
      count: this.#count,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
      max: this.#max,
    };
  }
}

function indexOf(value: number): number {
  const whole = Math.min(value, 2 ** 31 - 1) >>> 0;
  if (whole < steps) return whole;
  const octave = 31 - Math.clz32(whole);
  return (octave - 2) * steps + ((whole >>> (octave - 3)) & (steps - 1));
}

/** The largest value that counts in this place. */
function upperEnd(index: number): number {
  if (index < steps) return index;
  const octave = Math.floor(index / steps) + 2;
  return 2 ** octave + ((index % steps) + 1) * 2 ** (octave - 3) - 1;
}
