/** Calls that wait, at most: whoever came first must not wait for all the rest. */
const mostWaiting = 16;

/**
 * Resolves when what was put off to the end of this turn has been done: what a request does once it
 * has let go of its model, for instance.
 */
export function endOfTurn(): Promise<void> {
  // What is put off in the same turn may be put off after this.
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/**
 * What is to happen together, at the end of this turn of the event loop or a little sooner.
 *
 * A write to a socket wakes up the client that waits for it, which takes longer than the write, and
 * each time anew where requests lie between the answers of one client.
 */
export class Turn {
  #calls: (() => void)[] = [];
  #isEndAwaited = false;

  /** @param call Must not throw. */
  atEnd(call: () => void): void {
    this.#calls.push(call);
    if (this.#calls.length >= mostWaiting) {
      this.#makeCalls();
    } else if (!this.#isEndAwaited) {
      this.#isEndAwaited = true;
      setImmediate(() => {
        this.#isEndAwaited = false;
        this.#makeCalls();
      });
    }
  }

  #makeCalls(): void {
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) call();
  }
}
