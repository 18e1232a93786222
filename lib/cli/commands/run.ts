import {
  type LoadOptions,
  type Model,
  type Signature,
  TenonError,
  type Value,
  type ValuesModel,
  load,
} from '../../index.js';
import { UsageError, print } from '../context.js';
import { assignment, readFeeds, readInputsJson } from '../feeds.js';
import { formatJson } from '../json.js';
import { styleOf } from '../terminal.js';
import { describedValue, valueLines, writeValue } from '../values.js';

export interface RunCommandOptions {
  input?: string[];
  inputsJson?: string;
  signature?: string;
  tags?: string[];
  output?: string[];
  json?: boolean;
  repeat?: number;
}

interface Times {
  runs: number;
  firstMs: number;
  /** Of all runs but the first, which pays for warming up. */
  medianMs: number;
  minMs: number;
  maxMs: number;
}

export async function runCommand(source: string, options: RunCommandOptions): Promise<void> {
  // What was typed is checked before a model is loaded for it.
  const inputs = (options.input ?? []).map((each) => assignment(each, '--input'));
  const outputs = (options.output ?? []).map((each) => splitOutput(each));
  for (const { file } of outputs) {
    if (file !== undefined && !/\.(npy|json)$/i.test(file)) {
      throw new UsageError(`expected a .npy or .json file for --output, received "${file}"`);
    }
  }
  const fromFile = await readInputsJson(options.inputsJson);
  const model = await load<ValuesModel>(
    source,
    loadOptions(source, options, [...inputs.map(({ name }) => name), ...fromFile.keys()], outputs),
  );
  try {
    const signature = chooseSignature(model, options.signature);
    const feeds = await readFeeds(signature, inputs, fromFile);
    const wanted = [...new Set(outputs.map(({ name }) => name))];
    const runOptions = {
      signature: signature.name,
      ...(wanted.length > 0 ? { outputs: wanted } : {}),
    };
    let values: Record<string, Value> = {};
    const durations: number[] = [];
    for (let i = 0; i < (options.repeat ?? 1); i++) {
      const start = performance.now();
      values = await model.run(feeds, runOptions);
      durations.push(performance.now() - start);
    }
    await show(values, outputs, signature.name, options, timesOf(durations));
  } finally {
    await model.close();
  }
}

/** A frozen graph names neither inputs nor outputs: they are those of the command line. */
function loadOptions(
  source: string,
  options: RunCommandOptions,
  inputs: readonly string[],
  outputs: readonly { name: string }[],
): LoadOptions {
  const isFrozenGraph = /\.pb$/i.test(source) && !/(^|[\\/])saved_model\.pb$/.test(source);
  if (isFrozenGraph && outputs.length === 0) {
    throw new UsageError(
      `expected --output with the operations to compute, because "${source}" is a frozen graph ` +
        '("tenon inspect" lists them)',
    );
  }
  return {
    ...(options.tags === undefined ? {} : { tags: options.tags }),
    ...(isFrozenGraph
      ? { tensorflow: { inputs: [...new Set(inputs)], outputs: outputs.map(({ name }) => name) } }
      : {}),
  };
}

function chooseSignature(model: Model<ValuesModel>, name: string | undefined): Signature {
  const { signatures } = model;
  const names = Object.keys(signatures);
  const chosen = name ?? (names.length === 1 ? names[0] : 'serving_default');
  const signature = Object.hasOwn(signatures, chosen ?? '') ? signatures[chosen ?? ''] : undefined;
  if (signature !== undefined) return signature;
  const listed = names.map((each) => `"${each}"`).join(', ');
  throw new TenonError(
    'ERR_TENON_UNKNOWN_SIGNATURE',
    name === undefined
      ? `expected --signature with one of ${listed}`
      : `expected a signature among ${listed}, received "${name}"`,
  );
}

function splitOutput(given: string): { name: string; file?: string } {
  if (!given.includes('=')) return { name: given };
  const { name, value } = assignment(given, '--output');
  return { name, file: value };
}

async function show(
  values: Record<string, Value>,
  outputs: readonly { name: string; file?: string }[],
  signature: string,
  options: RunCommandOptions,
  times: Times | undefined,
): Promise<void> {
  const files = new Map(outputs.map(({ name, file }) => [name, file]));
  const printed: [string, Value][] = [];
  const notes: string[] = [];
  for (const [name, value] of Object.entries(values)) {
    const file = files.get(name);
    if (file === undefined) {
      printed.push([name, value]);
      continue;
    }
    await writeValue(value, file);
    notes.push(`wrote ${name} to ${file}`);
  }
  if (options.json === true) {
    for (const note of notes) console.error(note);
    const described = new Map(printed.map(([name, value]) => [name, describedValue(value)]));
    print(formatJson({ signature, outputs: described, times }));
    return;
  }
  const style = styleOf(process.stdout);
  const lines = printed.flatMap(([name, value]) => {
    const [first = '', ...rest] = valueLines(name, value);
    const end = first.indexOf('  ');
    return [`${style.bold(first.slice(0, end))}${first.slice(end)}`, ...rest];
  });
  if (times !== undefined) {
    const ms = (value: number): string => `${Number(value.toPrecision(3))} ms`;
    lines.push(
      style.dim(
        `${times.runs} runs: first ${ms(times.firstMs)}, then median ${ms(times.medianMs)}, ` +
          `${ms(times.minMs)} to ${ms(times.maxMs)}`,
      ),
    );
  }
  print([...lines, ...notes].join('\n'));
}

function timesOf(durations: readonly number[]): Times | undefined {
  const [firstMs, ...rest] = durations;
  if (firstMs === undefined || rest.length === 0) return undefined;
  const sorted = rest.sort((a, b) => a - b);
  return {
    runs: durations.length,
    firstMs,
    medianMs: sorted[Math.floor(sorted.length / 2)] ?? firstMs,
    minMs: sorted[0] ?? firstMs,
    maxMs: sorted.at(-1) ?? firstMs,
  };
}
