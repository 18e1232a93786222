// Asks the benchmarks' questions; docs/performance.md says how they are measured.
//
//   npm run bench -- [<question> …] [options]
//
//   --list              the questions
//   --pairs <n>         rounds, in each of which every contender has one block (default 15)
//   --scale <x>         length of the blocks, times this (default 1)
//   --resume            leaves out questions whose results are there, of this machine and version
//   --json <file>       where the results go as well
//   --compare <file>    sets saved results beside these
//   --profile <name>    has perf look at one contender of one question instead: where its time goes
//   --report            asks nothing, writes the page from the saved results
//   --noisy             lets the page have results of a machine at work, marked as such
//   --from <file>       saved results for --report instead of the latest; of several, later ones win
//   --page <file>       the page (default docs/performance.md; its charts go beside it). A question's
//                       section ends with bench/notes/<question>.md, where somebody wrote that
//   --results <folder>  where results are kept (default build/bench-results): latest.json has those
//                       fit for the page, each question's newest, quick.json those of shorter runs
//   --floors <folder>   a CMake build with the floors, instead of building them
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { fail, root } from '../scripts/run-command.mjs';
import { buildFloors, useFloors } from './harness/build.mjs';
import { contenderEnvironment } from './harness/engines.mjs';
import { comparisonTable, figureTable, measureTable } from './harness/figures.mjs';
import { busyCores, describeMachine, quietBusyCores } from './harness/machine.mjs';
import { profile } from './harness/profile.mjs';
import { ask, names, question } from './harness/questions.mjs';
import { isWhole, writeReport } from './harness/report.mjs';
import { textTable } from './harness/table.mjs';

const { values: options, positionals } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '15' },
    scale: { type: 'string', default: '1' },
    resume: { type: 'boolean', default: false },
    json: { type: 'string' },
    compare: { type: 'string' },
    profile: { type: 'string' },
    report: { type: 'boolean', default: false },
    noisy: { type: 'boolean', default: false },
    from: { type: 'string', multiple: true },
    page: { type: 'string', default: path.join(root, 'docs', 'performance.md') },
    results: { type: 'string', default: path.join(root, 'build', 'bench-results') },
    floors: { type: 'string' },
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
const chosen = names.filter((name) => positionals.length === 0 || positionals.includes(name));
// How long the machine is watched before and after each question.
const watchedMs = 1000 * Math.min(1, scale);
const latest = path.join(options.results, 'latest.json');

if (options.list) {
  for (const name of names) console.log(`${name.padEnd(20)} ${(await question(name)).title}`);
} else if (options.report) {
  const { questions } = (options.from ?? [latest]).map(read).reduce(merged, { questions: [] });
  const messages = await writeReport(options.page, questions, { noisy: options.noisy });
  console.log(messages.join('\n'));
} else if (options.profile !== undefined) {
  if (positionals.length !== 1) fail('expected one question whose contender is profiled');
  await prepare();
  console.log(await profile(positionals[0], options.profile));
} else {
  await run();
}

/** Builds what contenders need, and says what they run on. */
async function prepare() {
  if (options.floors === undefined) buildFloors();
  else useFloors(options.floors);
  const { machine, versions, tensorflowLibrary } = await describeMachine();
  Object.assign(process.env, contenderEnvironment(tensorflowLibrary));
  return { machine, versions };
}

async function run() {
  const saved = options.compare === undefined ? [] : read(options.compare).questions;
  const { machine, versions } = await prepare();
  const date = new Date().toISOString().slice(0, 10);
  const answered = [];
  const failed = [];
  for (const name of chosen) {
    const known = options.resume && read(latest).questions.find((one) => one.name === name);
    if (known && isSame(known, { machine, versions })) {
      console.log(`${name}: its results are there\n`);
      answered.push(known);
      continue;
    }
    try {
      const busyBefore = await busyCores(watchedMs);
      const start = performance.now();
      const answer = await ask(name, { rounds, scale });
      const seconds = Math.round((performance.now() - start) / 1000);
      const busy = Math.max(busyBefore, await busyCores(watchedMs));
      const result = { ...answer, date, seconds, machine: { ...machine, busy }, versions };
      answered.push(result);
      print(
        result,
        saved.find((one) => one.name === name),
      );
      // After each question, so that a run broken off leaves what it has.
      const file = isWhole(result) ? latest : path.join(options.results, 'quick.json');
      write(file, merged(read(file), { questions: [result] }));
      if (options.json !== undefined) write(options.json, { questions: answered });
    } catch (error) {
      failed.push(name);
      console.error(`# ${name} failed\n\n${error.stack}\n`);
    }
  }
  await printFigures(answered);
  if (failed.length > 0) fail(`failed: ${failed.join(', ')}`);
}

/** Whether results are of this machine, engine versions and build of Tenon. */
function isSame(known, { machine, versions }) {
  const { busy, ...knownMachine } = known.machine;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  return busy <= quietBusyCores && same(knownMachine, machine) && same(known.versions, versions);
}

function print(result, saved) {
  const { title, name, seconds, machine, skipped, tables, measures, notes = [] } = result;
  console.log(`# ${title}  (${name}, ${result.rounds} rounds, ${seconds} s)\n`);
  if (machine.busy > quietBusyCores) {
    console.log(
      `Others were at work (${machine.busy.toFixed(1)} cores busy before or after): figures are off.\n`,
    );
  }
  const shown =
    tables ??
    measures.map((measure) =>
      measureTable(
        measure,
        saved?.measures.find(({ id }) => id === measure.id),
      ),
    );
  for (const table of shown) console.log(`${textTable(table)}\n`);
  const comparisons = comparisonTable(result, saved);
  if (comparisons !== undefined) console.log(`${textTable(comparisons)}\n`);
  for (const note of notes) console.log(note);
  for (const { contender, reason } of skipped) console.log(`left out ${contender}: ${reason}`);
  console.log();
}

async function printFigures(answered) {
  const asked = await Promise.all(chosen.map(question));
  const table = figureTable(asked, ({ name }) => answered.find((one) => one.name === name));
  if (table.length > 1) console.log(`# Figures\n\n${textTable(table)}`);
}

function read(file) {
  // There may be no results yet.
  const expected = options.from ?? [options.compare];
  if (!existsSync(file) && !expected.includes(file)) return { questions: [] };
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
