export interface Step {
  readonly keyword: string;
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

export interface Stage {
  readonly from: string;
  readonly name: string;
  readonly steps: readonly Step[];
}

export function readDockerfile(
  file: string,
  buildArguments?: Readonly<Record<string, string>>,
): Stage[];
export function pairs(text: string): (readonly [string, string])[];
