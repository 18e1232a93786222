/** The time, so that tests can have their own. */
export interface Clock {
  /** Milliseconds from any moment on, never going back. */
  now(): number;
  /** Calls `action` once, after `ms` milliseconds, unless cancelled. */
  after(ms: number, action: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** setTimeout takes no longer waits: it would fire at once. */
const maxDelayMs = 2 ** 31 - 1;

/** Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, action) {
    const timer = setTimeout(action, Math.min(ms, maxDelayMs)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
