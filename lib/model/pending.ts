/** Runs that may be stopped before they end: by a signal, a time limit, or the end of the model. */

import { TenonError } from '../errors.js';

/** Longest time a Node timer can wait. */
export const maxTimeoutMs = 2 ** 31 - 1;

export interface StopOptions {
  readonly signal: AbortSignal | undefined;
  /** 0: no limit. */
  readonly timeoutMs: number;
}

export class PendingRuns {
  readonly #stops = new Set<(reason: unknown) => void>();

  /**
   * The result of `started`, or the reason it was stopped for, at once. `cancel` tells the engine.
   */
  track<T>(
    started: Promise<T>,
    cancel: () => void,
    { signal, timeoutMs }: StopOptions,
    what: string,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = (reason: unknown): void => {
        cancel();
        end();
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
          resolve(value);
        },
        (error: unknown) => {
          end();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it is
          reject(error);
        },
      );
    });
  }

  stopAll(reason: unknown): void {
    for (const stop of [...this.#stops]) stop(reason);
  }
}
