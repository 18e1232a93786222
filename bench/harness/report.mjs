// Writes docs/performance.md and its charts from saved results.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import prettier from 'prettier';

import { root } from '../../scripts/run-command.mjs';
import { barChart, histogramChart, lineChart } from './chart.mjs';
import { evaluate } from './comparisons.mjs';
import { comparisonTable, figureTable, measureTable, summarize } from './figures.mjs';
import { quietBusyCores } from './machine.mjs';
import { names, question } from './questions.mjs';
import { markdownTable } from './table.mjs';

const notesFolder = path.join(root, 'bench', 'notes');
const publishedRounds = 15;

const head = `# Performance

Speed and memory of Tenon beside \`onnxruntime-node\` and beside the engines' own C calls. This page
is written by \`npm run bench -- --report\` from the results of a run; the questions are the files of
[bench/](../bench), one each.

\`\`\`sh
npm run compile                       # once: the package itself
npm run bench                         # every question, about 25 minutes on two cores
npm run bench -- tiny-sync vision     # some; npm run bench -- --list names all
npm run bench -- --resume             # those that have no results of this machine and version yet
npm run bench -- --compare old.json   # saved results (--json old.json) beside these
npm run bench -- tiny-sync --profile 'C: Run'   # where the time of one contender goes (perf)
npm run bench -- --report             # this page, from the latest results
\`\`\``;

const method = `## How it is measured

- **Ratios, not absolute figures.** Contenders run in interleaved blocks — A B C, A B C, … — and a
  ratio is one of medians over those rounds. Its interval holds 95 % of the ratios that rounds drawn
  with replacement give. A block is long enough (20 ms to 2 s) for the clock and the garbage
  collector to be part of it. Tables show the median and the middle half of the rounds.
- **One process for each contender**, asleep while another runs: no heap, no compiled function and
  no process-wide state of an engine is shared. (In one process Tenon and \`onnxruntime-node\` would
  share one mapping of the library and its one environment.)
- **The floor** is [bench/floor](../bench/floor): a C++ program that opens the same library, with
  names cached and values built once. It shows what the engine costs by itself; its “preallocated”
  and “RunWithBinding” reuse the outputs too. What Node-API costs by itself is measured by a small
  addon beside it.

## Fairness

- Every contender opens the same file: the library inside the package \`onnxruntime-node\`, which is
  the one its own binding opens.
- Telemetry is off, and idle threads of the engine do not spin
  (\`session.intra_op.allow_spinning=0\`), because they would take the processor from whoever is
  measured next; where spinning helps \`onnxruntime-node\`, a contender with it is measured too.
- Where there are several ways to use \`onnxruntime-node\` or the C calls, all are measured, and what
  is “at its best” is the one with the best median.
- Tensors that can be made once are made once, by all.
- \`onnxruntime-node\` has no synchronous call; its \`await run()\` is compared with the call of
  Tenon's that a caller would use in its place.
- Models are generated with random weights from fixed seeds ([bench/models](../bench/models)); time
  does not depend on the weights. Python is not needed.
- Nothing in the tests asserts a time.`;

/** Whether a run was long enough for the page. */
export const isWhole = ({ rounds, scale }) => rounds >= publishedRounds && scale >= 1;

/** Why a result is not for the page, if so. */
function objection({ rounds, scale, machine: { busy } }, noisy) {
  if (rounds < publishedRounds) return `${rounds} rounds, expected at least ${publishedRounds}`;
  if (scale < 1) return `blocks of ${scale} times their length, expected whole ones`;
  if (busy > quietBusyCores && !noisy) {
    return `${busy.toFixed(1)} cores busy with others, expected at most ${quietBusyCores} (or --noisy)`;
  }
  return undefined;
}

/**
 * @param {string} page Where it goes; the charts go into a folder of its name beside it.
 * @param {any[]} results
 * @param {{ noisy: boolean }} options Whether results of a machine at work are taken, and marked.
 * @returns {Promise<string[]>} What the user should know.
 */
export async function writeReport(page, results, { noisy }) {
  const charts = page.replace(/\.md$/, '');
  rmSync(charts, { recursive: true, force: true });
  const published = [];
  const messages = [];
  for (const result of results) {
    const reason = objection(result, noisy);
    if (reason === undefined) published.push(result);
    else messages.push(`left out ${result.name}: ${reason}`);
  }
  const text = [
    head,
    ...(await figures(published)),
    ...machines(published),
    method,
    ...published.flatMap((result) => section(result, charts)),
  ].join('\n\n');
  const options = await prettier.resolveConfig(path.join(root, 'docs', 'performance.md'));
  mkdirSync(path.dirname(page), { recursive: true });
  writeFileSync(page, await prettier.format(text, { ...options, filepath: page }));
  const drawn = published.length === 0 ? 0 : readdirSync(charts).length;
  messages.push(`wrote ${page} (${published.length} questions, ${drawn} charts)`);
  for (const result of published) {
    const missed = evaluate(result).filter(({ verdict }) => verdict === 'missed');
    if (missed.length > 0 && notesOf(result.name) === undefined) {
      messages.push(`bench/notes/${result.name}.md should say why: ${missed[0].label} is missed`);
    }
  }
  return messages;
}

async function figures(published) {
  if (published.length === 0) {
    return ['## Figures', '**Figures follow**: none have been taken on a quiet machine yet.'];
  }
  const questions = await Promise.all(names.map(question));
  const resultOf = ({ name }) => published.find((one) => one.name === name);
  const link = (asked, verdict) => {
    const result = resultOf(asked);
    if (verdict !== 'missed' || result === undefined) return verdict;
    return `**missed**, see [below](#${anchor(result.title)})`;
  };
  return ['## Figures', markdownTable(figureTable(questions, resultOf, link))];
}

/** A heading's address, as GitHub makes it. */
const anchor = (title) =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');

/** The machine and versions, once for each set of questions that have them in common. */
function machines(results) {
  if (results.length === 0) return [];
  const sets = new Map();
  for (const { name, date, machine, versions } of results) {
    const { busy, ...stable } = machine;
    const key = JSON.stringify([date, stable, versions]);
    const set = sets.get(key) ?? { date, machine, versions, names: [], busy: 0 };
    set.names.push(name);
    set.busy = Math.max(set.busy, busy);
    sets.set(key, set);
  }
  const rows = [...sets.values()].map(({ date, machine, versions, names, busy }) => [
    sets.size === 1 ? 'all' : names.join(', '),
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}`,
    `Node ${versions.node}, Tenon ${versions.tenon}, ONNX Runtime ${versions.onnxruntime}, TensorFlow ${versions.tensorflow}`,
    date,
    `${busy.toFixed(2)} cores${busy > quietBusyCores ? ': **figures are off**' : ''}`,
  ]);
  return [
    '## Machine and versions',
    markdownTable([
      ['questions', 'machine', 'versions', 'date', 'busy with others, at most'],
      ...rows,
    ]),
  ];
}

function section(result, charts) {
  const { name, title, asks, measures, notes = [], skipped, tables } = result;
  const shown = tables ?? measures.map((measure) => measureTable(measure));
  const comparisons = comparisonTable(result);
  const written = notesOf(name);
  return [
    `## ${title}`,
    `${asks} (\`npm run bench -- ${name}\`)`,
    ...drawn(result, charts).map(({ file, alt }) => `![${alt}](${path.basename(charts)}/${file})`),
    ...(comparisons ? [markdownTable(comparisons)] : []),
    ...shown.map(markdownTable),
    ...notes,
    ...skipped.map(({ contender, reason }) => `Not measured: ${contender} (${reason}).`),
    ...(written === undefined ? [] : [written]),
  ];
}

/** What was written by hand about a question's results: why a figure is missed, with a profile. */
function notesOf(name) {
  const file = path.join(notesFolder, `${name}.md`);
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
}

const chartOf = { histogram: histogramChart, lines: lineChart };

/** Draws what the question asks for, or else its first measure. */
function drawn({ name, title, measures, charts: asked }, folder) {
  const images = asked
    ? asked.map(({ kind = 'lines', ...chart }) => ({
        id: chart.id,
        alt: chart.title,
        text: chartOf[kind](chart),
      }))
    : measures.slice(0, 1).map((measure) => {
        const alt = `${title}: ${measure.caption.toLowerCase()}`;
        return { id: '', alt, text: barChart(alt, measure.unit, summarize(measure)) };
      });
  mkdirSync(folder, { recursive: true });
  return images.map(({ id, alt, text }) => {
    const file = `${[name, id].filter(Boolean).join('-')}.svg`;
    writeFileSync(path.join(folder, file), text);
    return { file, alt };
  });
}
