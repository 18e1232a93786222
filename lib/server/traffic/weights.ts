/** Which target takes a request. */

export interface Weighted {
  /** 0 or more. */
  readonly weight: number;
}

/**
 * The target that a random number falls on: each has a part of the range from 0 to 1 as long as its
 * part of all weights, in their order.
 *
 * @param draw From 0 up to but not including 1.
 * @returns Undefined where no target has a weight.
 */
export function pick<T extends Weighted>(targets: readonly T[], draw: number): T | undefined {
  let total = 0;
  for (const { weight } of targets) total += weight;
  let rest = draw * total;
  let last: T | undefined;
  for (const target of targets) {
    if (target.weight === 0) continue;
    if (rest < target.weight) return target;
    rest -= target.weight;
    // Rounding may leave a little behind the last part.
    last = target;
  }
  return last;
}

/** The target with the greatest weight, the first of several. */
export function heaviest<T extends Weighted>(targets: readonly T[]): T | undefined {
  let found: T | undefined;
  for (const target of targets) {
    if (target.weight > (found?.weight ?? 0)) found = target;
  }
  return found;
}
