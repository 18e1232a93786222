// Medians, what is made of them, and how sure that is. Pure functions over arrays of numbers.

/**
 * @param {readonly number[]} values
 * @param {number} part From 0 to 1; between two values it is interpolated.
 */
export function quantile(values, part) {
  return quantileOfSorted(Float64Array.from(values).sort(), part);
}

function quantileOfSorted(sorted, part) {
  const position = part * (sorted.length - 1);
  const [below, above] = [Math.floor(position), Math.ceil(position)];
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}

export const median = (values) => quantile(values, 0.5);

const resamples = 4000;

/**
 * A statistic of some contenders' medians and its 95 % interval. Rounds are drawn with replacement
 * (a bootstrap), a round of all the contenders at a time, because what disturbed the machine in
 * that round disturbed them all.
 *
 * @param {readonly (readonly number[])[]} contenders One value a round of each.
 * @param {(...medians: number[]) => number} statistic
 */
export function estimate(contenders, statistic) {
  let state = 1;
  const draw = (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const rounds = Math.min(...contenders.map((samples) => samples.length));
  const drawn = new Array(rounds);
  const values = Array.from({ length: resamples }, () => {
    for (let i = 0; i < rounds; i++) drawn[i] = draw(rounds);
    return statistic(...contenders.map((samples) => median(drawn.map((round) => samples[round]))));
  });
  return {
    value: statistic(...contenders.map(median)),
    low: quantile(values, 0.025),
    high: quantile(values, 0.975),
  };
}
