/**
 * Requests that wait, in the order they are to go: higher priority first; of one priority the
 * callers take turns, a row each; of one caller in order. Everything is O(1) but finding a priority
 * among those that are waited with.
 */

/** What waits: links are the line's, the rest is set before `push`. */
export interface Waiting {
  readonly rows: number;
  readonly priority: number;
  readonly caller: string | undefined;
  previous: this | undefined;
  next: this | undefined;
  turn: Turn<this> | undefined;
}

/** The requests of one caller and priority. */
class Turn<T extends Waiting> {
  first: T | undefined;
  last: T | undefined;
  /** Rows it may take, by deficit round robin: one more at each turn. */
  credit = 0;
  before: Turn<T> = this;
  after: Turn<T> = this;
  isInRing = false;

  constructor(
    readonly level: Level<T>,
    readonly caller: string | undefined,
  ) {}
}

class Level<T extends Waiting> {
  /** Whose turn it is; undefined where nobody waits. */
  current: Turn<T> | undefined;
  /** Most requests name no caller: no look-up for them. */
  readonly nobody = new Turn<T>(this, undefined);
  readonly callers = new Map<string, Turn<T>>();

  constructor(readonly priority: number) {}
}

export type { Turn };

export class WaitingLine<T extends Waiting> {
  /** How many wait, and their rows. */
  length = 0;
  rows = 0;
  /** By descending priority; only the last that is left may be empty. */
  readonly #levels: Level<T>[] = [];

  push(item: T): void {
    const level = this.#level(item.priority);
    const turn = item.caller === undefined ? level.nobody : turnOf(level, item.caller);
    item.turn = turn;
    item.previous = turn.last;
    item.next = undefined;
    if (turn.last === undefined) turn.first = item;
    else turn.last.next = item;
    turn.last = item;
    if (!turn.isInRing) enter(level, turn);
    this.length++;
    this.rows += item.rows;
  }

  /** Who goes next. */
  peek(): T | undefined {
    for (let i = 0; i < this.#levels.length; i++) {
      let turn = (this.#levels[i] as Level<T>).current;
      if (turn === undefined) continue;
      if (turn.after !== turn) {
        // Each round gives everyone a row of credit, so it ends when the first can pay.
        while (turn.credit < (turn.first as T).rows) {
          turn = turn.after;
          turn.credit++;
        }
        turn.level.current = turn;
      }
      return turn.first;
    }
    return undefined;
  }

  /** Takes out one that waits: what `peek` gave, or any other. */
  remove(item: T): void {
    const turn = item.turn as Turn<T>;
    if (turn.after !== turn && turn.first === item && turn.level.current === turn) {
      turn.credit = Math.max(0, turn.credit - item.rows);
    }
    if (item.previous === undefined) turn.first = item.next;
    else item.previous.next = item.next;
    if (item.next === undefined) turn.last = item.previous;
    else item.next.previous = item.previous;
    item.previous = item.next = item.turn = undefined;
    this.length--;
    this.rows -= item.rows;
    if (turn.first === undefined) this.#leave(turn);
  }

  /** The smallest `value` of those who are first in their turns. */
  least(value: (item: T) => number): number {
    let least = Infinity;
    for (const { current } of this.#levels) {
      let turn = current;
      if (turn === undefined) continue;
      do {
        least = Math.min(least, value(turn.first as T));
        turn = turn.after;
      } while (turn !== current);
    }
    return least;
  }

  #level(priority: number): Level<T> {
    const levels = this.#levels;
    let i = 0;
    while (i < levels.length && (levels[i] as Level<T>).priority > priority) i++;
    const found = levels[i];
    if (found !== undefined && found.priority === priority) return found;
    const level = new Level<T>(priority);
    levels.splice(i, 0, level);
    return level;
  }

  #leave(turn: Turn<T>): void {
    const { level } = turn;
    turn.isInRing = false;
    turn.credit = 0;
    if (turn.after === turn) {
      level.current = undefined;
      if (this.#levels.length > 1) this.#levels.splice(this.#levels.indexOf(level), 1);
    } else {
      turn.before.after = turn.after;
      turn.after.before = turn.before;
      // Back one: `peek` begins with whoever comes after.
      if (level.current === turn) level.current = turn.before;
    }
    turn.before = turn.after = turn;
    if (turn.caller !== undefined) level.callers.delete(turn.caller);
  }
}

function turnOf<T extends Waiting>(level: Level<T>, caller: string): Turn<T> {
  let turn = level.callers.get(caller);
  if (turn === undefined) level.callers.set(caller, (turn = new Turn(level, caller)));
  return turn;
}

/** Behind everyone else, so that who comes back often gains nothing by it. */
function enter<T extends Waiting>(level: Level<T>, turn: Turn<T>): void {
  turn.isInRing = true;
  const { current } = level;
  if (current === undefined) {
    level.current = turn;
    return;
  }
  turn.before = current.before;
  turn.after = current;
  turn.before.after = turn;
  current.before = turn;
}
