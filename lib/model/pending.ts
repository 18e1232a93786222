/** Loads and runs that may be stopped before they end: by a signal, a time limit, or the end of the model. */

import { invalidArgument, TenonError } from '../errors.js';
import { integer } from '../options.js';

/** Longest time a Node timer can wait. */
const maxTimeoutMs = 2 ** 31 - 1;

export interface StopOptions {
  readonly signal: AbortSignal | undefined;
  /** 0: no limit. */
  readonly timeoutMs: number;
}

export const neverStopped: StopOptions = Object.freeze({ signal: undefined, timeoutMs: 0 });

/** `signal` and `timeoutMs`, checked; throws the reason of a signal that is aborted already. */
export function checkStop(options: Record<string, unknown>): StopOptions {
  const signal = checkSignal(options['signal']);
  const timeoutMs = integer(options['timeoutMs'], 'timeoutMs', 0, 1, maxTimeoutMs);
  signal?.throwIfAborted();
  return { signal, timeoutMs };
}

function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  // By what it does, not by instanceof: polyfills and other realms have their own.
  const { addEventListener, throwIfAborted } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof addEventListener !== 'function' || typeof throwIfAborted !== 'function') {
    throw invalidArgument('signal', 'an AbortSignal', signal);
  }
  return signal as AbortSignal;
}

export class PendingCalls {
  readonly #stops = new Set<(reason: unknown) => void>();

  /**
   * The result of `started`, or the reason it was stopped for: at once, or, where the engine reads
   * memory that is `lent` to it, when it has ended. `cancel` tells the engine.
   */
  track<T>(
    started: Promise<T>,
    cancel: () => void,
    { signal, timeoutMs }: StopOptions,
    what: string,
    lent = false,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let stopped: { reason: unknown } | undefined;
      const stop = (reason: unknown): void => {
        cancel();
        end();
        stopped = { reason };
        if (lent) return;
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- an AbortSignal's reason may be anything
        reject(reason);
      };
      const onAbort = (): void => stop(signal?.reason);
      const timer =
        timeoutMs === 0
          ? undefined
          : setTimeout(
              () =>
                stop(
                  new TenonError(
                    'ERR_TENON_TIMEOUT',
                    `expected the ${what} to end within ${timeoutMs} ms, and it did not`,
                  ),
                ),
              timeoutMs,
            );
      const end = (): void => {
        this.#stops.delete(stop);
        signal?.removeEventListener('abort', onAbort);
        clearTimeout(timer);
      };
      this.#stops.add(stop);
      signal?.addEventListener('abort', onAbort, { once: true });
      started.then(
        (value) => {
          end();
          if (stopped === undefined) resolve(value);
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- as above
          else reject(stopped.reason);
        },
        (error: unknown) => {
          end();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it is
          reject(stopped === undefined ? error : stopped.reason);
        },
      );
    });
  }

  stopAll(reason: unknown): void {
    for (const stop of [...this.#stops]) stop(reason);
  }
}
