import type { EngineContext } from './context.js';
import type { OnProgress } from './progress.js';

/** An archive that one way of getting an engine has put on disk. */
export interface Obtained {
  file: string;
  /** How, in words, kept in the manifest. */
  way: string;
  location: string;
  /** What its sha256 must be, where that is known. */
  sha256?: string | undefined;
  /** The version it was asked for under another name than the user's. */
  version?: string;
}

export interface WayOptions {
  context: EngineContext;
  signal: AbortSignal;
  /** For one child process or one download. */
  timeoutMs: number;
  onProgress: OnProgress;
}

/** One way did not work: others follow, and the reasons are told together. */
export class WayFailed extends Error {
  constructor(
    readonly way: string,
    readonly reason: string,
    readonly lines: readonly string[] = [],
    readonly remedy?: string,
  ) {
    super(`${way}: ${reason}`);
  }

  /** Lines for a message, the first without indentation. */
  explain(): string[] {
    return [
      `${this.way}: ${this.reason}`,
      ...this.lines.map((line) => `  | ${line}`),
      ...(this.remedy === undefined ? [] : [`  remedy: ${this.remedy}`]),
    ];
  }
}
