import { spawn } from 'node:child_process';

export interface ChildOptions {
  /** Milliseconds before the child is killed. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

export interface ChildResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  stdout: string;
  stderr: string;
}

/** The ends of both streams are kept, which is where tools say why they failed. */
const keptCharacters = 1 << 20;
/** From the polite signal to the other one. */
const killAfterMs = 3_000;
/** How long output of an ended child is waited for: a grandchild may hold the pipe open. */
const drainMs = 500;

/**
 * Runs a program without a shell. Resolves with how it ended; rejects where it could not be
 * started, and with the signal's reason (after the child has ended) where that was aborted.
 */
export function runChild(
  command: string,
  args: readonly string[],
  options: ChildOptions,
): Promise<ChildResult> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    let killTimer: NodeJS.Timeout | undefined;
    let drainTimer: NodeJS.Timeout | undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-keptCharacters);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-keptCharacters);
    });
    const kill = (): void => {
      child.kill();
      killTimer ??= setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, options.timeoutMs);
    signal?.addEventListener('abort', kill, { once: true });
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      clearTimeout(drainTimer);
      signal?.removeEventListener('abort', kill);
      if (signal?.aborted) reject(signal.reason as Error);
      else act();
    };
    child.on('error', (error) => settle(() => reject(error)));
    child.on('exit', () => {
      drainTimer = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, drainMs);
    });
    child.on('close', (code, childSignal) =>
      settle(() => resolve({ code, signal: childSignal, timedOut, stdout, stderr })),
    );
  });
}

/** For a process of ours that opens an engine: nothing that is meant for this one alone. */
export function engineChildEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const options = (env.NODE_OPTIONS ?? '')
    .split(/\s+/)
    // A second inspector on the same port would stop the child.
    .filter((option) => option !== '' && !option.startsWith('--inspect'));
  return {
    ...env,
    NODE_OPTIONS: options.join(' '),
    // In Electron, execPath is the application unless told otherwise.
    ELECTRON_RUN_AS_NODE: '1',
    TF_CPP_MIN_LOG_LEVEL: env.TF_CPP_MIN_LOG_LEVEL ?? '3',
    ORT_DISABLE_TELEMETRY: '1',
  };
}

/** The last few lines a tool wrote, without blank ones, each cut to a readable length. */
export function lastLines(text: string, count = 6): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-count)
    .map((line) => (line.length > 300 ? `${line.slice(0, 300)}…` : line));
}

/** "exit code 1", "signal SIGSEGV", "no answer within 60 s". */
export function howItEnded(result: ChildResult, timeoutMs: number): string {
  if (result.timedOut) return `no end within ${timeoutMs / 1000} s`;
  if (result.signal !== null) return `signal ${result.signal}`;
  return `exit code ${result.code ?? 'unknown'}`;
}
