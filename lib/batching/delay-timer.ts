/**
 * Waits of microseconds on an event loop whose timers step by milliseconds: a timer up to two
 * milliseconds before the end, then a look at the clock in each turn of the loop. Between two looks
 * the loop serves whatever else there is; what the last two milliseconds cost is that the thread
 * does not sleep.
 */

/** Node's timers are up to one step late, and a second one where the loop is at work. */
const coarseMs = 2;

export class DelayTimer {
  readonly #fire: () => void;
  #dueMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** Calls back once `performance.now()` has reached `dueMs`; another call moves that. */
  set(dueMs: number): void {
    if (this.#dueMs === dueMs && (this.#timer ?? this.#immediate) !== undefined) return;
    this.clear();
    this.#dueMs = dueMs;
    this.#arm(dueMs - performance.now());
  }

  clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = this.#immediate = undefined;
  }

  #arm(leftMs: number): void {
    if (leftMs > coarseMs) {
      this.#timer = setTimeout(this.#look, Math.floor(leftMs - coarseMs));
    } else {
      this.#immediate = setImmediate(this.#look);
    }
  }

  readonly #look = (): void => {
    this.#timer = this.#immediate = undefined;
    const leftMs = this.#dueMs - performance.now();
    if (leftMs <= 0) this.#fire();
    else this.#arm(leftMs);
  };
}
