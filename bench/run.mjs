// Asks the benchmarks' questions; docs/performance.md says how they are measured.
//
//   npm run bench -- [<question> …] [options]
//
//   --list             the questions
//   --pairs <n>        rounds, in each of which every contender has one block (default 15)
//   --scale <x>        length of the blocks, times this (default 1)
//   --json <file>      where the results go as well (always: build/bench-results/latest.json)
//   --compare <file>   sets saved results beside these
//   --report           asks nothing, writes docs/performance.md from the saved results
//   --noisy            lets the page have results of a machine at work, marked as such
//   --from <file>      saved results for --report instead of the latest; of several, later ones win
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { fail, root } from '../scripts/run-command.mjs';
import { buildFloors } from './harness/build.mjs';
import { contenderEnvironment } from './harness/engines.mjs';
import { comparisonTable, measureTable } from './harness/figures.mjs';
import { describeMachine, quietLoad } from './harness/machine.mjs';
import { ask, names } from './harness/questions.mjs';
import { writeReport } from './harness/report.mjs';
import { textTable } from './harness/table.mjs';

const latest = path.join(root, 'build', 'bench-results', 'latest.json');

const { values: options, positionals } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '15' },
    scale: { type: 'string', default: '1' },
    json: { type: 'string' },
    compare: { type: 'string' },
    report: { type: 'boolean', default: false },
    noisy: { type: 'boolean', default: false },
    from: { type: 'string', multiple: true, default: [latest] },
  },
  allowPositionals: true,
});

const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  fail(`expected questions among ${names.join(', ')}, received ${unknown.join(', ')}`);
}
const rounds = Number(options.pairs);
const scale = Number(options.scale);
if (!Number.isInteger(rounds) || rounds < 1) fail(`expected --pairs to be 1 or more`);
if (!(scale > 0)) fail('expected --scale to be above 0');

if (options.list) {
  console.log(names.join('\n'));
} else if (options.report) {
  await writeReport(options.from.map(read).reduce(merged, { questions: [] }), options);
} else {
  await run(positionals.length > 0 ? positionals : names);
}

async function run(chosen) {
  buildFloors();
  const saved = options.compare === undefined ? undefined : read(options.compare);
  const { machine, versions, tensorflowLibrary } = await describeMachine();
  Object.assign(process.env, contenderEnvironment(tensorflowLibrary));
  const date = new Date().toISOString().slice(0, 10);
  if (machine.load > quietLoad) {
    console.log(
      `Others are at work here (load ${machine.load.toFixed(1)}): figures will be off.\n`,
    );
  }
  const results = { questions: [] };
  for (const name of chosen) {
    const result = { ...(await ask(name, { rounds, scale })), date, scale, machine, versions };
    results.questions.push(result);
    print(
      result,
      saved?.questions.find((question) => question.name === name),
    );
    // After each question, so that a run broken off leaves what it has.
    write(latest, merged(read(latest), { questions: [result] }));
    if (options.json !== undefined) write(options.json, results);
  }
}

function print(result, saved) {
  console.log(`# ${result.title}  (${result.name}, ${result.rounds} rounds)\n`);
  const tables =
    result.tables ??
    result.measures.map((measure) =>
      measureTable(
        measure,
        saved?.measures.find(({ id }) => id === measure.id),
      ),
    );
  for (const table of tables) console.log(`${textTable(table)}\n`);
  const comparisons = comparisonTable(result);
  if (comparisons !== undefined) console.log(`${textTable(comparisons)}\n`);
  for (const note of result.notes ?? []) console.log(note);
  for (const { contender, reason } of result.skipped)
    console.log(`left out ${contender}: ${reason}`);
  console.log();
}

function read(file) {
  // There may be no latest results yet.
  if (!existsSync(file) && file === latest) return { questions: [] };
  return JSON.parse(readFileSync(file, 'utf8'));
}

function write(file, results) {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
}

/** The questions of both, in the order they are asked; the later answer where both have one. */
function merged(earlier, later) {
  const all = new Map([...earlier.questions, ...later.questions].map((one) => [one.name, one]));
  return { questions: names.flatMap((name) => all.get(name) ?? []) };
}
