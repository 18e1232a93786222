/**
 * Chooses a share of what comes, each by chance and none because of another. Between two it counts down:
 * where few are chosen that costs less than a random number for each.
 */
export class Sampler {
  readonly #share: number;
  readonly #random: () => number;
  /** How many come before the next that is chosen. */
  #gap: number;

  /**
   * @param share 0 to 1.
   * @param random From 0 up to but not including 1.
   */
  constructor(share: number, random: () => number = Math.random) {
    this.#share = share;
    this.#random = random;
    this.#gap = this.#nextGap();
  }

  /** Whether this one is chosen. */
  next(): boolean {
    if (this.#gap > 0) {
      this.#gap--;
      return false;
    }
    this.#gap = this.#nextGap();
    return true;
  }

  /** Of a geometric distribution. */
  #nextGap(): number {
    if (this.#share <= 0) return Infinity;
    if (this.#share >= 1) return 0;
    return Math.floor(Math.log(1 - this.#random()) / Math.log1p(-this.#share));
  }
}
