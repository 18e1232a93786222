import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { clearLine, cursorTo } from 'node:readline';

import { type FeedValue, inspect, type LoadOptions, type Signature } from '../../index.js';
import {
  comparison,
  configFileOf,
  describeConfiguration,
  fateOf,
  isDefault,
  numeral,
  objectiveText,
  reportOf,
  searchText,
  tune,
  type TuneOptions,
  type TuneProgress,
  type TuneResult,
} from '../../tuner/index.js';
import { print, UsageError } from '../context.js';
import { formatJson } from '../json.js';
import { columns, printable, styleOf } from '../terminal.js';
import { assignment, readFeeds, readInputsJson } from '../feeds.js';

export interface TuneCommandOptions {
  input?: string[];
  inputsJson?: string;
  signature?: string;
  tags?: string[];
  for?: 'throughput' | 'latency';
  targetP99Ms?: number;
  inFlight?: number[];
  maxMinutes?: number;
  seconds?: number;
  seed?: number;
  search?: 'race' | 'exhaustive';
  space?: string;
  out?: string | false;
  report?: string;
  json?: boolean;
}

/** Rows of the printed table. */
const printedRows = 10;

/** @param version Tenon's own. */
export async function tuneCommand(
  source: string,
  options: TuneCommandOptions,
  signal: AbortSignal,
  version: string,
): Promise<void> {
  const inputs = (options.input ?? []).map((each) => assignment(each, '--input'));
  const fromFile = await readInputsJson(options.inputsJson);
  const progress = progressOf(process.stderr);
  const settings: TuneOptions = {
    signal,
    feeds: (signature) => feedsOf(signature, inputs, fromFile),
    onProgress: progress.show,
    ...(options.signature === undefined ? {} : { signature: options.signature }),
    ...(options.for === undefined ? {} : { for: options.for }),
    ...(options.targetP99Ms === undefined ? {} : { targetP99Ms: options.targetP99Ms }),
    ...(options.inFlight === undefined ? {} : { inFlight: options.inFlight }),
    ...(options.maxMinutes === undefined ? {} : { maxMinutes: options.maxMinutes }),
    ...(options.seconds === undefined ? {} : { secondsPerPoint: options.seconds }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.search === undefined ? {} : { search: options.search }),
    ...(options.space === undefined ? {} : { space: parseSpace(options.space) }),
    ...(options.tags === undefined ? {} : { load: { tags: options.tags } satisfies LoadOptions }),
  };
  // What is no model is said before a process is started for it.
  if (!/\.ort$/i.test(source)) await inspect(source);
  let result: TuneResult;
  try {
    result = await tune(source, settings);
  } finally {
    progress.end();
  }
  const notes: string[] = [];
  if (options.out !== false) {
    const file = options.out ?? `${path.parse(path.resolve(source)).name}.tenon.json`;
    await writeFile(file, `${formatJson(configFileOf(result, version))}\n`);
    notes.push(`wrote ${file}: load(model, { config: ${JSON.stringify(file)} })`);
  }
  if (options.report !== undefined) {
    await writeFile(options.report, reportOf(result, version));
    notes.push(`wrote ${options.report}`);
  }
  if (options.json === true) {
    print(formatJson(result));
    for (const note of notes) console.error(note);
  } else {
    print([...summaryLines(result), ...notes].join('\n'));
  }
  // Ctrl-C: what there was is written, and the exit code says that it is not all.
  if (result.ended === 'stopped') signal.throwIfAborted();
}

async function feedsOf(
  signature: Signature,
  inputs: Parameters<typeof readFeeds>[1],
  fromFile: ReadonlyMap<string, unknown>,
): Promise<Record<string, FeedValue>> {
  return readFeeds(signature, inputs, fromFile, 'some');
}

function parseSpace(text: string): NonNullable<TuneOptions['space']> {
  try {
    return JSON.parse(text) as NonNullable<TuneOptions['space']>;
  } catch (error) {
    throw new UsageError(
      `expected JSON for --space, received ${JSON.stringify(text)}: ${(error as Error).message}`,
    );
  }
}

function summaryLines(result: TuneResult): string[] {
  const style = styleOf(process.stdout);
  const { ranked, chosen, objective, configurations } = result;
  const rows = ranked
    .map((each, index) => ({ each, place: index + 1 }))
    .filter(
      ({ each, place }) => place <= printedRows || each === chosen || each === result.default,
    );
  const cells = rows.map(({ each, place }) => {
    const { measurement, score } = each;
    const { at } = score;
    const row = [
      String(place),
      numeral(at.throughput),
      String(at.inFlight),
      numeral(at.p50Ms),
      numeral(at.p99Ms),
      describeConfiguration(measurement.configuration),
      fateOf(each, result),
    ];
    return each === chosen ? row.map((cell) => style.bold(cell)) : row;
  });
  const ratio = chosen.score.value / result.default.score.value;
  const named = describeConfiguration(chosen.measurement.configuration);
  const place = ranked.indexOf(result.default) + 1;
  return [
    ...columns([
      ['#', 'requests/s', 'in flight', 'p50 ms', 'p99 ms', 'configuration', ''].map((title) =>
        style.dim(title),
      ),
      ...cells,
    ]),
    ...(ranked.length > rows.length ? [style.dim(`${ranked.length - rows.length} more`)] : []),
    '',
    searchText(result),
    `${objectiveText(objective)}: ${named}`,
    isDefault(result)
      ? 'That is the default.'
      : `That is ${comparison(objective.for, ratio)} the default, which comes ${ordinal(place)} of ${ranked.length}` +
        `${ranked.length < configurations ? ' measured' : ''}.`,
    ...(chosen.score.meetsTarget ? [] : ['No configuration meets the target.']),
    ...failureLines(result),
    formatJson(result.options),
  ];
}

function failureLines({ failures }: TuneResult): string[] {
  return failures
    .slice(0, 5)
    .map(
      ({ configuration, message }) =>
        `failed: ${describeConfiguration(configuration)}: ${shortened(message)}`,
    );
}

/** Engines say where in their source they are; the code and the first words will do here. */
function shortened(message: string): string {
  const [line = ''] = message.split('\n');
  return printable(line.length > 160 ? `${line.slice(0, 160)}…` : line);
}

function ordinal(place: number): string {
  const tens = place % 100;
  const suffix = tens >= 11 && tens <= 13 ? 'th' : (['th', 'st', 'nd', 'rd'][place % 10] ?? 'th');
  return `${place}${suffix}`;
}

interface Progress {
  readonly show: (progress: TuneProgress) => void;
  readonly end: () => void;
}

/** On a terminal one line that changes, elsewhere a line for each measurement. */
function progressOf(stream: NodeJS.WriteStream): Progress {
  const isTerminal = stream.isTTY;
  return {
    show({ phase, round, index, count, last, secondsLeft }) {
      const stage = phase === 'refine' ? 'around the leader' : `round ${round + 1}`;
      const name = describeConfiguration(last.configuration);
      const most = 'points' in last ? Math.max(...last.points.map((p) => p.throughput)) : undefined;
      const told = most === undefined ? 'failed' : `${numeral(most)} requests/s`;
      const line = `${stage}, ${index} of ${count}: ${name}: ${told}; at most ${Math.ceil(secondsLeft)} s left`;
      if (isTerminal) {
        clearLine(stream, 0);
        cursorTo(stream, 0);
        stream.write(line.slice(0, stream.columns - 1));
      } else {
        stream.write(`${line}\n`);
      }
    },
    end() {
      if (!isTerminal) return;
      clearLine(stream, 0);
      cursorTo(stream, 0);
    },
  };
}
