/**
 * Whether the rows that wait go as one batch, or as one for each lane that is idle. Both end at the
 * same time where a batch uses all cores by itself or costs much the same whatever its size; where
 * lanes have cores of their own, parts end sooner, and lanes that end by turns leave the event loop
 * time for one while the other runs. Which it is, is measured.
 */

import { RunTimes } from './run-times.js';

/** Batches of a size before anything is concluded from them. */
const enough = 8;
/** Parts are worth it where they take no more than this share of the whole. */
const worthwhile = 0.75;
/** Batches that went whole before parts are tried again. */
const patience = 256;

export class Sharing {
  /** Of parts, which ran beside each other. */
  readonly #parts = new RunTimes();
  #declined = 0;

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
    if (this.#parts.expected(part) <= worthwhile * times.expected(whole)) return part;
    return ++this.#declined % patience === 0 ? part : whole;
  }

  /** A part that ran beside others. */
  note(rows: number, micros: number): void {
    this.#parts.note(rows, micros);
  }
}
