/**
 * Who loads next. Few models load at a time, because more would only fight for the same cores and
 * disk; but one that takes long keeps no other from loading.
 */

import type { Clock, Timer } from './clock.js';
import { compareVersions } from './aspired-versions.js';

export interface LoadQueueOptions {
  /** Loads at the same time, as long as none is slow. */
  readonly places: number;
  /** Loads at the same time at most, the slow ones included. */
  readonly limit: number;
  /** A load that takes longer than these milliseconds gives its place to another, and goes on. */
  readonly slowAfterMs: number;
  readonly clock: Clock;
}

export interface QueuedLoad<Owner> {
  /** The model: those with the fewest loads under way go first. */
  readonly owner: Owner;
  /** Of one model the highest goes first. */
  readonly version: bigint;
  /** Whether the model serves nothing yet: then it goes before those that do. */
  isUrgent(): boolean;
  /** Called once it has a place, which it keeps until the promise settles. */
  begin(): Promise<void>;
}

export class LoadQueue<Owner> {
  readonly #options: LoadQueueOptions;
  #waiting: QueuedLoad<Owner>[] = [];
  readonly #running = new Map<QueuedLoad<Owner>, { isSlow: boolean; timer: Timer }>();

  constructor(options: LoadQueueOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running.size;
  }

  add(load: QueuedLoad<Owner>): void {
    this.#waiting.push(load);
    this.#start();
  }

  /** Has no effect on one that has begun. */
  remove(load: QueuedLoad<Owner>): void {
    this.#waiting = this.#waiting.filter((each) => each !== load);
  }

  #start(): void {
    const { places, limit, slowAfterMs, clock } = this.#options;
    while (this.#waiting.length > 0 && this.#running.size < limit) {
      let taken = 0;
      for (const { isSlow } of this.#running.values()) if (!isSlow) taken++;
      if (taken >= places) return;
      const load = this.#next();
      this.#waiting = this.#waiting.filter((each) => each !== load);
      const place = {
        isSlow: false,
        timer: clock.after(slowAfterMs, () => {
          place.isSlow = true;
          this.#start();
        }),
      };
      this.#running.set(load, place);
      const end = (): void => {
        place.timer.cancel();
        this.#running.delete(load);
        this.#start();
      };
      load.begin().then(end, end);
    }
  }

  #next(): QueuedLoad<Owner> {
    const loads = new Map<Owner, number>();
    for (const { owner } of this.#running.keys()) loads.set(owner, (loads.get(owner) ?? 0) + 1);
    const before = (a: QueuedLoad<Owner>, b: QueuedLoad<Owner>): boolean => {
      if (a.owner === b.owner) return compareVersions(a.version, b.version) > 0;
      const urgency = Number(a.isUrgent()) - Number(b.isUrgent());
      if (urgency !== 0) return urgency > 0;
      return (loads.get(a.owner) ?? 0) < (loads.get(b.owner) ?? 0);
    };
    return this.#waiting.reduce((best, load) => (before(load, best) ? load : best));
  }
}
