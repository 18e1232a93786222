// Writes docs/performance.md and its charts from saved results.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import prettier from 'prettier';

import { root } from '../../scripts/run-command.mjs';
import { barChart, lineChart } from './chart.mjs';
import { comparisonTable, measureTable, summarize } from './figures.mjs';
import { quietLoad } from './machine.mjs';
import { markdownTable } from './table.mjs';

const page = path.join(root, 'docs', 'performance.md');
const charts = path.join(root, 'docs', 'performance');
const publishedRounds = 15;

const method = `# Performance

Speed and memory of Tenon beside \`onnxruntime-node\` and beside the engines' own C calls. This page
is written by \`npm run bench -- --report\` from the results of a run; the questions are the files of
[bench/](../bench), one each.

\`\`\`sh
npm run compile                       # once: the package itself
npm run bench                       # every question
npm run bench -- tiny-sync vision   # some
npm run bench -- --compare old.json # saved results (--json old.json) beside these
npm run bench -- --report           # this page, from the latest results
\`\`\`

## How it is measured

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
- Tensors that can be made once are made once, by all.
- \`onnxruntime-node\` has no synchronous call; its \`await run()\` is compared with the call of
  Tenon's that a caller would use in its place.
- Models are generated with random weights from fixed seeds ([bench/models](../bench/models)); time
  does not depend on the weights. Python is not needed.
- Nothing in the tests asserts a time.
`;

/** Why a result is not for the page, if so. */
function objection({ rounds, scale, machine: { load } }, noisy) {
  if (rounds < publishedRounds) return `${rounds} rounds, expected at least ${publishedRounds}`;
  if (scale < 1) return `blocks of ${scale} times their length, expected whole ones`;
  if (load > quietLoad && !noisy) {
    return `a load of ${load.toFixed(1)} before the run, expected at most ${quietLoad} (or --noisy)`;
  }
  return undefined;
}

/**
 * @param {{ questions: any[] }} results
 * @param {{ noisy: boolean }} options Whether results of a machine at work are taken, and marked.
 */
export async function writeReport({ questions }, { noisy }) {
  rmSync(charts, { recursive: true, force: true });
  const published = [];
  for (const question of questions) {
    const reason = objection(question, noisy);
    if (reason === undefined) published.push(question);
    else console.log(`left out ${question.name}: ${reason}`);
  }
  const figures =
    published.length === 0
      ? ['## Figures', '**Figures follow**: none have been taken on a quiet machine yet.']
      : published.flatMap(section);
  const text = [method, ...machines(published), ...figures].join('\n\n');
  const options = await prettier.resolveConfig(page);
  writeFileSync(page, await prettier.format(text, { ...options, filepath: page }));
  const drawn = published.length === 0 ? 0 : readdirSync(charts).length;
  console.log(`wrote docs/performance.md (${published.length} questions, ${drawn} charts)`);
}

/** The machine and versions, once for each set of questions that have them in common. */
function machines(questions) {
  if (questions.length === 0) return [];
  const sets = new Map();
  for (const { name, date, machine, versions } of questions) {
    const { load, ...stable } = machine;
    const key = JSON.stringify([date, stable, versions]);
    const set = sets.get(key) ?? { date, machine, versions, names: [], load: 0 };
    set.names.push(name);
    set.load = Math.max(set.load, load);
    sets.set(key, set);
  }
  const rows = [...sets.values()].map(({ date, machine, versions, names, load }) => [
    sets.size === 1 ? 'all' : names.join(', '),
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}`,
    `Node ${versions.node}, Tenon ${versions.tenon}, ONNX Runtime ${versions.onnxruntime}, TensorFlow ${versions.tensorflow}`,
    date,
    load > quietLoad ? `${load.toFixed(1)}: others were at work` : load.toFixed(1),
  ]);
  return [
    '## Machine and versions',
    markdownTable([['questions', 'machine', 'versions', 'date', 'load before'], ...rows]),
  ];
}

function section(result) {
  const { name, title, asks, measures, notes = [], skipped, tables } = result;
  const shown = tables ?? measures.map((measure) => measureTable(measure));
  const comparisons = comparisonTable(result);
  return [
    `## ${title}`,
    `${asks} (\`npm run bench -- ${name}\`)`,
    ...drawn(result).map(({ file, alt }) => `![${alt}](performance/${file})`),
    ...(comparisons ? [markdownTable(comparisons)] : []),
    ...shown.map(markdownTable),
    ...notes,
    ...skipped.map(({ contender, reason }) => `Not measured: ${contender} (${reason}).`),
  ];
}

/** Draws what the question asks for, or else its first measure. */
function drawn({ name, title, measures, charts: asked }) {
  const images = asked
    ? asked.map((chart) => ({ id: chart.id, alt: chart.title, text: lineChart(chart) }))
    : measures.slice(0, 1).map((measure) => {
        const alt = `${title}: ${measure.caption.toLowerCase()}`;
        return { id: '', alt, text: barChart(alt, measure.unit, summarize(measure)) };
      });
  mkdirSync(charts, { recursive: true });
  return images.map(({ id, alt, text }) => {
    const file = `${[name, id].filter(Boolean).join('-')}.svg`;
    writeFileSync(path.join(charts, file), text);
    return { file, alt };
  });
}
