export interface Thread {
  readonly id: string;
  readonly name: string;
  readonly niceness: number;
}

export function livingThreads(): Thread[];
