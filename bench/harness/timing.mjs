// Loops of a block. What a call gives is kept, so that no compiler can leave it out.
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** @type {unknown} */
export let lastResult;

const nanosecondsSince = (start) => Number(process.hrtime.bigint() - start);

/** @param {() => unknown} call */
export function timeSync(call) {
  return (count) => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) lastResult = call();
    return nanosecondsSince(start);
  };
}

/**
 * One call at a time, each awaited.
 *
 * @param {() => Promise<unknown>} call
 */
export function timeAwaited(call) {
  return async (count) => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) lastResult = await call();
    return nanosecondsSince(start);
  };
}

/**
 * `inFlight` calls at a time: one that ends starts the next.
 *
 * @param {(caller: number) => Promise<unknown>} call Gets the number of its caller, from 0 on.
 * @param {number} inFlight
 */
export function timeConcurrent(call, inFlight) {
  return async (count) => {
    let left = count;
    const caller = async (_, number) => {
      while (left-- > 0) lastResult = await call(number);
    };
    const start = process.hrtime.bigint();
    await Promise.all(Array.from({ length: Math.min(inFlight, count) }, caller));
    return nanosecondsSince(start);
  };
}

/** The event loop's delay, in nanoseconds, while `work` keeps going for so many milliseconds. */
export async function loopDelay(work, ms, resolutionMs) {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  await work(performance.now() + ms);
  delay.disable();
  return delay;
}
