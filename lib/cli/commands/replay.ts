import { readFile } from 'node:fs/promises';
import { clearLine, cursorTo } from 'node:readline';

import { readRecorded, type RecordFile } from '../../server/replay/records.js';
import { replay, type ReplayResult, type TargetResult } from '../../server/replay/replay.js';
import { openTarget, type Target, type TargetOptions } from '../../server/replay/targets.js';
import { print, UsageError } from '../context.js';
import { formatJson } from '../json.js';
import { columns, counted, grouped, printable, styleOf } from '../terminal.js';

export interface ReplayCommandOptions {
  url?: string;
  model?: string;
  against?: string;
  concurrency?: number;
  repeat?: number;
  rate?: number;
  limit?: number;
  timeoutMs?: number;
  tolerance?: number;
  minAgreement?: number;
  maxFailures?: number;
  ca?: string;
  json?: boolean;
}

const defaults = {
  concurrency: 1,
  repeat: 1,
  timeoutMs: 30_000,
  tolerance: 1e-3,
  minAgreement: 0,
  maxFailures: 0,
} as const;

/** Reasons that are printed. */
const printedReasons = 5;

/** Fails where more requests do, or answers lie further apart, than was said. */
export async function replayCommand(
  paths: readonly string[],
  options: ReplayCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  const given = { ...defaults, ...options };
  const { url, model, against: beside } = given;
  if ((url === undefined) === (model === undefined)) {
    throw new UsageError('expected one of --url and --model');
  }
  const where = (url ?? model) as string;
  if (url !== undefined && !/^(https?|grpcs?):\/\//i.test(url)) {
    throw new UsageError(
      `expected an address of http, https, grpc or grpcs for --url, received "${url}"`,
    );
  }
  const { requests, files } = await readRecorded(paths, given.limit);
  for (const note of notesOn(files)) console.error(note);
  if (requests.length === 0) throw new Error('there is no request to send');
  const settings: TargetOptions = {
    timeoutMs: given.timeoutMs,
    concurrency: given.concurrency,
    ca: given.ca === undefined ? undefined : await readFile(given.ca, 'utf8'),
    token: process.env['TENON_AUTH_TOKEN'] || undefined,
  };
  const open: Target[] = [];
  const progress = progressOf(process.stderr);
  let result: ReplayResult;
  try {
    const target = await openTarget(where, settings);
    open.push(target);
    const against = beside === undefined ? undefined : await openTarget(beside, settings);
    if (against !== undefined) open.push(against);
    result = await replay(requests, {
      target,
      against,
      concurrency: given.concurrency,
      repeat: given.repeat,
      rate: given.rate,
      signal,
      onProgress: progress.show,
    });
  } finally {
    progress.end();
    await Promise.all(open.map((target) => target.close()));
  }
  const faults = faultsOf(result, given);
  if (given.json === true) print(formatJson({ ...result, files, faults }));
  else print(linesOf(result).join('\n'));
  if (faults.length > 0) throw new Error(faults.join('; '));
}

function notesOn(files: readonly RecordFile[]): string[] {
  return files.flatMap(({ file, records, passedOver, damage }) => {
    const notes: string[] = [];
    if (damage !== undefined) {
      notes.push(`${file}: ${damage}; ${counted(records, 'record')} before that can be used`);
    }
    if (passedOver > 0) {
      notes.push(`${file}: ${counted(passedOver, 'record')} passed over: no request to send again`);
    }
    return notes.map(printable);
  });
}

/** What makes the command fail. */
function faultsOf(
  { target, against, mismatched, maxAbsError, worst, rows, agreeingRows }: ReplayResult,
  limits: { tolerance: number; minAgreement: number; maxFailures: number },
): string[] {
  const faults: string[] = [];
  for (const each of [target, against]) {
    if (each === undefined || each.failed <= limits.maxFailures) continue;
    faults.push(`${counted(each.failed, 'request')} to ${each.target} failed`);
  }
  if (mismatched > 0) faults.push(`${counted(mismatched, 'answer')} cannot be compared`);
  if (maxAbsError > limits.tolerance) {
    faults.push(
      `the largest difference is ${numeral(maxAbsError)} (${worst}), above ${limits.tolerance}`,
    );
  }
  if (rows > 0 && agreeingRows / rows < limits.minAgreement) {
    faults.push(
      `${numeral((100 * agreeingRows) / rows)} % of the rows agree, less than ${100 * limits.minAgreement} %`,
    );
  }
  return faults.map(printable);
}

function linesOf(result: ReplayResult): string[] {
  const style = styleOf(process.stdout);
  const { requests, seconds, target, against, compared, unknown, mismatched } = result;
  const targets = [target, ...(against === undefined ? [] : [against])];
  const lines = [
    `${counted(requests, 'request')} in ${numeral(seconds)} s, ${numeral(requests / seconds)} a second`,
    ...columns([
      ['target', 'answered', 'failed', 'p50 ms', 'p90 ms', 'p99 ms', 'max ms'].map((title) =>
        style.dim(title),
      ),
      ...targets.map((each) => rowOf(each)),
    ]),
    ...targets.flatMap(({ failures }) => reasonLines('failed', failures)),
  ];
  if (compared > 0) {
    const { maxAbsError, worst, rows, agreeingRows } = result;
    const what = against === undefined ? 'with what was recorded' : `with ${against.target}`;
    lines.push(`${grouped(compared)} compared ${printable(what)}`);
    const of = worst === undefined ? '' : ` (${printable(worst)})`;
    lines.push(`largest difference  ${numeral(maxAbsError)}${of}`);
    if (rows > 0) {
      const part = numeral((100 * agreeingRows) / rows);
      lines.push(`rows that agree     ${grouped(agreeingRows)} of ${grouped(rows)}, ${part} %`);
    }
  }
  if (unknown > 0) lines.push(`${grouped(unknown)} with nothing to compare them with`);
  if (mismatched > 0) lines.push(...reasonLines('not comparable', result.mismatches));
  return lines;
}

function rowOf({ target, answered, failed, latencies }: TargetResult): string[] {
  const ms = (value: number | undefined): string => (value === undefined ? '' : numeral(value));
  return [
    printable(target),
    grouped(answered),
    grouped(failed),
    ms(latencies?.p50Ms),
    ms(latencies?.p90Ms),
    ms(latencies?.p99Ms),
    ms(latencies?.maxMs),
  ];
}

function reasonLines(what: string, reasons: ReplayResult['mismatches']): string[] {
  return reasons
    .slice(0, printedReasons)
    .map(({ reason, count }) => `${what}: ${grouped(count)} × ${printable(reason)}`);
}

function numeral(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** On a terminal one line that changes. */
function progressOf(stream: NodeJS.WriteStream): {
  readonly show: (sent: number, of: number) => void;
  readonly end: () => void;
} {
  let shownAt = -Infinity;
  const clear = (): void => {
    clearLine(stream, 0);
    cursorTo(stream, 0);
  };
  return {
    show(sent, of) {
      if (!stream.isTTY || performance.now() - shownAt < 100) return;
      shownAt = performance.now();
      clear();
      stream.write(`${grouped(sent)} of ${grouped(of)}`);
    },
    end() {
      if (stream.isTTY) clear();
    },
  };
}
