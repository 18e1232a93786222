/** The server's log: a JSON object a line, or readable lines on a terminal. */

import { openSync, write } from 'node:fs';

import { type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino';

export type Logger = PinoLogger;

export const logLevelNames = [
  'fatal',
  'error',
  'warn',
  'info',
  'debug',
  'trace',
  'silent',
] as const;

export type ServerLogLevel = (typeof logLevelNames)[number];

export interface LogOptions {
  /** The least severe records to write. Default: "info". */
  readonly level?: ServerLogLevel;
  /** 'pretty' is lines for people, 'json' an object a line. Default: pretty on a terminal. */
  readonly format?: 'json' | 'pretty';
  /** A file that records are appended to. Default: the standard error output. */
  readonly file?: string;
}

/**
 * Bytes of records that may wait for a slow disk or a full pipe. What comes while they wait is
 * dropped, and the number of dropped records logged later.
 */
const maxPendingBytes = 4 << 20;
const standardError = 2;

export interface OpenLog {
  readonly logger: Logger;
  /** Resolves when everything that was logged before is written, or lost. */
  readonly flush: () => Promise<void>;
}

/** @throws What opening the file fails with. */
export function openLog({ level = 'info', format, file }: LogOptions = {}): OpenLog {
  const descriptor = file === undefined ? standardError : openSync(file, 'a');
  const isTerminal = file === undefined && process.stderr.isTTY;
  const destination = new LogDestination(descriptor);
  const isPretty = format === undefined ? isTerminal : format === 'pretty';
  const hasColour = isTerminal && !process.env['NO_COLOR'];
  const logger = pino(
    {
      level,
      base: undefined,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line) => destination.log(isPretty ? pretty(line, hasColour) : line) },
  );
  return { logger, flush: () => destination.flush() };
}

/** A log that says nothing, for those who give none. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}

/**
 * Writes lines one after another without waiting. A record that cannot be written (no space, a
 * closed pipe) is lost, and nothing else: the service does not depend on its log.
 */
export class LogDestination {
  readonly #descriptor: number;
  readonly #waiting: string[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #lost = 0;
  readonly #flushed: (() => void)[] = [];

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Records that were lost and not yet told of. */
  get lost(): number {
    return this.#lost;
  }

  log(line: string): void {
    if (this.#waitingBytes + line.length > maxPendingBytes) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    if (!this.#isWriting) this.#writeNext();
  }

  flush(): Promise<void> {
    if (!this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => this.#flushed.push(resolve));
  }

  #writeNext(): void {
    const lines = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    this.#isWriting = lines.length > 0;
    if (this.#isWriting) this.#write(Buffer.from(lines.join('')), lines.length);
    else for (const resolve of this.#flushed.splice(0)) resolve();
  }

  #write(bytes: Buffer, records: number): void {
    write(this.#descriptor, bytes, 0, bytes.length, null, (error, written) => {
      if (error?.code === 'EAGAIN') {
        // Somebody set the pipe to non-blocking, and its reader is slow.
        setTimeout(() => this.#write(bytes, records), retryMs);
        return;
      }
      if (error === null && written < bytes.length) {
        this.#write(bytes.subarray(written), records);
        return;
      }
      if (error !== null) this.#lost += records;
      else if (this.#lost > 0) this.#tellOfLost();
      this.#writeNext();
    });
  }

  #tellOfLost(): void {
    const lost = this.#lost;
    this.#lost = 0;
    const time = new Date().toISOString();
    this.#waiting.unshift(
      `${JSON.stringify({ level: 'warn', time, lost, msg: 'records of the log were lost' })}\n`,
    );
  }
}

/** Milliseconds until a full pipe is tried again. */
const retryMs = 50;

const colours: Readonly<Record<string, number>> = {
  fatal: 31,
  error: 31,
  warn: 33,
  info: 32,
  debug: 36,
  trace: 90,
};

/** "12:34:56.789 INFO  message  key=value", and an error's stack below. */
export function pretty(line: string, hasColour: boolean): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const name = String(level);
  const label = name.toUpperCase().padEnd(5);
  const coloured = hasColour ? `\x1b[${colours[name] ?? 0}m${label}\x1b[0m` : label;
  const fields = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const { stack, message } = (err ?? {}) as { stack?: string; message?: string };
  const text = [typeof msg === 'string' ? msg : '', ...fields].join(' ');
  const below = (stack ?? message)?.split('\n') ?? [];
  // Names from clients may hold control characters, which a terminal would obey.
  const lines = [text, ...below].map(escapeControls);
  return `${String(time).slice(11, 23)} ${coloured} ${lines.join('\n')}\n`;
}

function escapeControls(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\0-\x1f\x7f-\x9f]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
