import type { WriteStream } from 'node:tty';

export interface InstallProgress {
  /** Getting the archive, comparing checksums, unpacking the library. */
  phase: 'download' | 'verify' | 'extract';
  /** Bytes of this phase that are done. */
  receivedBytes: number;
  /** Bytes of this phase altogether, where that is known. */
  totalBytes?: number;
}

export type OnProgress = (progress: InstallProgress) => void;

export interface ProgressBar {
  onProgress: OnProgress;
  /** Ends the line. Must be called, also after a failure. */
  end(): void;
}

const barColumns = 24;
const redrawMs = 80;

/**
 * Draws an install's progress: one line redrawn in place on a terminal, a line per phase and
 * quarter elsewhere (a log file, a CI job).
 */
export function createProgressBar(stream: NodeJS.WritableStream, label: string): ProgressBar {
  const terminal = isTerminal(stream) ? stream : undefined;
  let phase: InstallProgress['phase'] | undefined;
  let drawnAt = 0;
  let quarter = 0;
  let last: InstallProgress | undefined;

  function drawLine(progress: InstallProgress): void {
    const columns = terminal?.columns ?? 80;
    terminal?.write(`\r\x1b[2K${formatProgress(label, progress).slice(0, columns - 1)}`);
  }

  return {
    onProgress(progress) {
      last = progress;
      if (terminal !== undefined) {
        const now = performance.now();
        if (progress.phase === phase && now - drawnAt < redrawMs) return;
        phase = progress.phase;
        drawnAt = now;
        drawLine(progress);
        return;
      }
      const reached = Math.floor(4 * (share(progress) ?? 0));
      if (progress.phase === phase && reached <= quarter) return;
      phase = progress.phase;
      quarter = reached;
      const percent = share(progress) === undefined ? '' : ` ${reached * 25} %`;
      stream.write(`${label}: ${progress.phase}${percent}${sizes(progress)}\n`);
    },
    end() {
      if (terminal === undefined || last === undefined) return;
      drawLine(last);
      terminal.write('\n');
    },
  };
}

/** One line: label, phase, bar, per cent, sizes. */
export function formatProgress(label: string, progress: InstallProgress): string {
  const done = share(progress);
  if (done === undefined) return `${label}  ${progress.phase}${sizes(progress)}`;
  const filled = Math.round(done * barColumns);
  const bar = '█'.repeat(filled) + '░'.repeat(barColumns - filled);
  const percent = String(Math.floor(done * 100)).padStart(3);
  return `${label}  ${progress.phase.padEnd(8)} ${bar} ${percent} %${sizes(progress)}`;
}

function share({ receivedBytes, totalBytes }: InstallProgress): number | undefined {
  if (totalBytes === undefined || totalBytes <= 0) return undefined;
  return Math.min(1, receivedBytes / totalBytes);
}

function sizes({ receivedBytes, totalBytes }: InstallProgress): string {
  if (receivedBytes === 0 && totalBytes === undefined) return ' …';
  const total = totalBytes === undefined ? '' : ` of ${formatBytes(totalBytes)}`;
  return `  ${formatBytes(receivedBytes)}${total}`;
}

/** Decimal units: "274 MB", "1.2 GB". */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1_000)} kB`;
  if (bytes < 1_000_000_000) return `${Math.round(bytes / 1_000_000)} MB`;
  return `${(bytes / 1_000_000_000).toFixed(1)} GB`;
}

function isTerminal(stream: NodeJS.WritableStream): stream is WriteStream {
  return (stream as Partial<WriteStream>).isTTY === true;
}
