import { cancelled } from './errors.js';

/**
 * An AbortSignal of one request, aborted when its client has gone. Most requests are over before
 * anybody listens, and a real one costs more than the rest of what a small request needs.
 */
export class CloseSignal implements AbortSignal {
  aborted = false;
  reason: unknown = undefined;
  onabort: AbortSignal['onabort'] = null;
  #listeners: Set<unknown> | undefined;

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = cancelled();
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (listeners === undefined) return;
    const event = new Event('abort');
    for (const listener of listeners) (listener as (event: Event) => void)(event);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  addEventListener(_type: string, listener: unknown): void {
    if (typeof listener === 'function' && !this.aborted)
      (this.#listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: string, listener: unknown): void {
    this.#listeners?.delete(listener);
  }

  dispatchEvent(): boolean {
    return true;
  }
}
