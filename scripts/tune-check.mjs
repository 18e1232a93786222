// How good the tuner's choice is: beside the default, and beside the best of a whole grid.
//
//   node scripts/tune-check.mjs [--minutes 14] [--model digits|mobilenet-v2|<path>]… [--target-p99-ms <ms>]
//
// For each model: tunes with a part of the time, measures every configuration of the same space with
// the rest, then measures the choice and the best few of the grid again, in turn with the default,
// so that a lucky measurement in the grid is not taken for the best there is. Reports go to build/tune.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { modelPath } from '../bench/models/index.mjs';
import { describeConfiguration, numeral, reportOf, tune } from '../dist/tune.js';
import { root } from './run-command.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '14' },
    model: { type: 'string', multiple: true, default: ['digits', 'mobilenet-v2'] },
    'target-p99-ms': { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});

const models = {
  digits: path.join(root, 'test/fixtures/models/digits_cnn.onnx'),
  'mobilenet-v2': modelPath('mobilenet-v2-batch'),
};
/** What decides most; graph levels and providers would only make the grid larger. */
const space = { sessions: [1, 2], graph: ['all'], providers: ['cpu'] };
const parts = { tune: 0.25, grid: 0.55, finals: 0.2 };
/** The choice and as many of the grid's best. */
const finalists = 3;
const leastRounds = 3;

const folder = path.join(root, 'build/tune');
mkdirSync(folder, { recursive: true });
const minutes = Number(values.minutes) / values.model.length;
const shared = {
  seed: Number(values.seed),
  secondsPerPoint: 1,
  ...(values['target-p99-ms'] === undefined
    ? {}
    : { targetP99Ms: Number(values['target-p99-ms']) }),
};

for (const name of values.model) await check(name, models[name] ?? path.resolve(name));

async function check(name, model) {
  console.log(`\n# ${path.basename(name)}\n`);
  const chosen = await tune(model, {
    ...shared,
    space,
    maxMinutes: minutes * parts.tune,
    onProgress: progress('tuning'),
  });
  const report = path.join(folder, `${path.basename(name).replace(/\W+/g, '-')}.html`);
  writeFileSync(report, reportOf(chosen, 'checkout'));
  const grid = await tune(model, {
    ...shared,
    space,
    search: 'exhaustive',
    maxMinutes: minutes * parts.grid,
    onProgress: progress('grid'),
  });
  const configurationOf = ({ measurement }) => measurement.configuration;
  const keys = new Map();
  for (const ranked of [chosen.chosen, ...grid.ranked.slice(0, finalists)]) {
    keys.set(describeConfiguration(configurationOf(ranked)), configurationOf(ranked));
  }
  const ratios = await finals(model, keys);

  const choice = describeConfiguration(configurationOf(chosen.chosen));
  const first = describeConfiguration(configurationOf(grid.default));
  console.log(`| | ${name} |\n| --- | --- |`);
  console.log(
    `| the tuner looked at | ${chosen.ranked.length} of ${chosen.configurations} configurations, ${Math.round(chosen.seconds)} s |`,
  );
  console.log(
    `| the grid measured | ${grid.ranked.length} of ${grid.configurations}, ${Math.round(grid.seconds)} s |`,
  );
  console.log(`| the tuner's choice | ${choice} |`);
  console.log(`| its place in the grid | ${place(grid.ranked, choice)} |`);
  console.log(`| the default | ${first} |`);
  console.log(`| its place in the grid | ${place(grid.ranked, first)} |`);
  const best = [...ratios].sort((a, b) => median(b[1]) - median(a[1]))[0];
  console.log(`| best when measured again | ${best[0]} |`);
  console.log(`| choice / best | ${numeral(median(ratios.get(choice)) / median(best[1]))} |`);
  console.log(`| choice / default | ${spread(ratios.get(choice))} |`);
  console.log(`| best / default | ${spread(best[1])} |`);
  for (const [key, each] of ratios) console.log(`| ${key} / default | ${spread(each)} |`);
  console.log(`\nreport: ${path.relative(root, report)}`);
}

/** For each configuration, its score over the default's measured just before or after, by round. */
async function finals(model, keys) {
  const ratios = new Map([...keys.keys()].map((key) => [key, []]));
  const end = performance.now() + minutes * parts.finals * 60_000;
  for (let round = 0; round < leastRounds || performance.now() < end; round++) {
    for (const [key, configuration] of keys) {
      const { intraOp, spin, lanes, sessions, batchSize, delayMicros, graph } = configuration;
      const result = await tune(model, {
        ...shared,
        search: 'exhaustive',
        seed: shared.seed + round,
        space: {
          intraOp: [intraOp],
          spin: [spin],
          lanes: [lanes],
          sessions: [sessions],
          batchSize: [batchSize],
          delayMicros: [delayMicros],
          graph: [graph],
          providers: ['cpu'],
        },
      });
      const measured = result.ranked.find(
        ({ measurement }) => describeConfiguration(measurement.configuration) === key,
      );
      ratios.get(key).push(measured.score.value / result.default.score.value);
    }
    process.stderr.write(`finals, round ${round + 1}\n`);
  }
  return ratios;
}

function place(ranked, key) {
  const index = ranked.findIndex(
    ({ measurement }) => describeConfiguration(measurement.configuration) === key,
  );
  return index < 0 ? 'not measured' : `${index + 1} of ${ranked.length}`;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function spread(numbers) {
  return `${numeral(median(numbers))} (${numeral(Math.min(...numbers))} to ${numeral(Math.max(...numbers))}, ${numbers.length} rounds)`;
}

function progress(what) {
  return ({ phase, round, index, count, secondsLeft }) => {
    const stage = phase === 'refine' ? 'refining' : `round ${round + 1}`;
    process.stderr.write(
      `${what}, ${stage}, ${index} of ${count}; at most ${Math.ceil(secondsLeft)} s left\n`,
    );
  };
}
