// Medians and their ratios. Pure functions over arrays of numbers.

/**
 * @param {readonly number[]} values
 * @param {number} part From 0 to 1; between two values it is interpolated.
 */
export function quantile(values, part) {
  const sorted = [...values].sort((a, b) => a - b);
  const position = part * (sorted.length - 1);
  const [below, above] = [Math.floor(position), Math.ceil(position)];
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}

export const median = (values) => quantile(values, 0.5);

const resamples = 4000;

/**
 * The ratio of the medians of two contenders and its 95 % interval: rounds are drawn with
 * replacement (a bootstrap), a round of both contenders at a time, because what disturbed the
 * machine in that round disturbed both.
 *
 * @param {readonly number[]} numerators One value a round.
 * @param {readonly number[]} denominators The same rounds of the other.
 */
export function ratioOfMedians(numerators, denominators) {
  let state = 1;
  const draw = (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const rounds = Math.min(numerators.length, denominators.length);
  const ratios = Array.from({ length: resamples }, () => {
    const drawn = Array.from({ length: rounds }, () => draw(rounds));
    return median(drawn.map((i) => numerators[i])) / median(drawn.map((i) => denominators[i]));
  });
  return {
    ratio: median(numerators) / median(denominators),
    low: quantile(ratios, 0.025),
    high: quantile(ratios, 0.975),
  };
}
