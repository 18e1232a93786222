// Random weights, the same in every run and on every machine.

/** @param {number} seed */
export function randomWeights(seed) {
  let state = seed >>> 0;
  /** Uniform in [0, 1): mulberry32. */
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  /** Uniform with the given standard deviation. */
  return (size, deviation) =>
    Float32Array.from({ length: size }, () => (next() * 2 - 1) * Math.sqrt(3) * deviation);
}
