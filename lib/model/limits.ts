/** What options may ask for at most: more would be a mistake, and no machine has it. */

export const maxLanes = 1024;
export const maxSpinMicros = 10_000;
