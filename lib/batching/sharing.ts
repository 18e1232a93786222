/**
 * Whether the rows that wait go as one batch, or as one for each lane that is idle. Both end at the
 * same time where a batch uses all cores by itself or costs much the same whatever its size; where
 * lanes have cores of their own, parts end sooner, and lanes that end by turns leave the event loop
 * time for one while the other runs. Which it is, is measured.
 */

import { RunTimes } from './run-times.js';

/** Batches of a size before anything is concluded from them. */
const enough = 8;
/** Parts are worth it where they take no more than this share of the whole … */
const worthwhile = 0.75;
/** … and stay so up to this one: what is measured varies. */
const stillWorthwhile = 0.85;
/**
 * Of so many batches the last `enough` go the other way: what was measured may no longer be so. Few
 * at first, when machine code is still being made; twice as many each time it was right.
 */
const leastPatience = 64;
const mostPatience = 1024;

export class Sharing {
  /** Of parts, which ran beside each other. */
  readonly #parts = new RunTimes();
  #prefersParts = false;
  #decided = 0;
  #patience = leastPatience;

  /**
   * Rows for the next batch.
   *
   * @param waiting Rows that wait.
   * @param idle Lanes that are idle.
   * @param limit Rows that a batch may have.
   * @param times What batches took, parts included.
   */
  rows(waiting: number, idle: number, limit: number, times: RunTimes): number {
    const whole = Math.min(waiting, limit);
    if (idle < 2) return whole;
    const part = Math.ceil(waiting / idle);
    if (part >= whole || times.seen(whole) < enough) return whole;
    if (this.#parts.seen(part) < enough) return part;
    const share = this.#prefersParts ? stillWorthwhile : worthwhile;
    const prefersParts = this.#parts.expected(part) <= share * times.expected(whole);
    if (prefersParts !== this.#prefersParts) {
      this.#prefersParts = prefersParts;
      this.#patience = leastPatience;
      this.#decided = 0;
    } else if (++this.#decided >= this.#patience) {
      this.#patience = Math.min(2 * this.#patience, mostPatience);
      this.#decided = 0;
    }
    const isTrial = this.#decided >= this.#patience - enough;
    return prefersParts === isTrial ? whole : part;
  }

  /** A part, and how long it and those beside it took. */
  note(rows: number, micros: number): void {
    this.#parts.note(rows, micros);
  }
}
