/** A mistake in how the command was called: exit code 2. */
export class UsageError extends Error {}

export interface CommandContext {
  /** Aborts at Ctrl-C. Only commands that clean up after themselves read it; others just end. */
  interruptSignal(): AbortSignal;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** An option that may come several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** "a,b" → ["a", "b"]; "" → no tags at all, which a meta graph can have. */
export function splitTags(value: string): string[] {
  return value
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');
}
