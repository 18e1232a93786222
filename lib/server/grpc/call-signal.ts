type Listener = ((event: Event) => void) | { handleEvent(event: Event): void };

/**
 * An AbortSignal of a call. Node's own, with its EventTarget, takes a tenth of a small call's time;
 * most calls end without anybody having listened.
 */
export class CallSignal implements AbortSignal {
  onabort: ((this: AbortSignal, event: Event) => unknown) | null = null;
  #reason: unknown;
  #isAborted = false;
  #listeners: Set<Listener> | undefined;

  /** @param reason Of a call that has ended already. */
  constructor(reason?: unknown) {
    if (reason !== undefined) this.abort(reason);
  }

  get aborted(): boolean {
    return this.#isAborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  throwIfAborted(): void {
    if (this.#isAborted) throw this.#reason;
  }

  addEventListener(type: string, listener: Listener): void {
    if (type === 'abort' && !this.#isAborted) (this.#listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: string, listener: Listener): void {
    this.#listeners?.delete(listener);
  }

  /** Calls the listeners, once each. */
  dispatchEvent(event: Event): boolean {
    const listeners = this.#listeners;
    this.#listeners = undefined;
    this.onabort?.call(this, event);
    for (const listener of listeners ?? []) {
      if (typeof listener === 'function') listener.call(this, event);
      else listener.handleEvent(event);
    }
    return true;
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#reason = reason;
    if (this.#listeners !== undefined || this.onabort !== null) {
      this.dispatchEvent(new Event('abort'));
    }
  }
}
