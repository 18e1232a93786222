// Runs ONNX's own backend cases, those inside the `onnx` wheel, through Tenon
// and ONNX Runtime, and prints what passed, failed, and is unsupported by the
// engine, with the reasons. Needs dist/ and the addon (`npm run compile`).
//
//   node scripts/onnx-backend-cases.mjs [--data <folder>] [--filter <text>] [--json]
//
// Exit code 1 if a case failed, 2 if none could be run.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { backendData, onnxVersion } from './onnx-backend/data.mjs';
import { root } from './run-command.mjs';

const options = readOptions();
if (!existsSync(path.join(root, 'dist/index.js'))) {
  giveUp('expected dist/index.js; run "npm run compile" first');
}
const { listCases, runCase } = await import('./onnx-backend/run.mjs');

const data = options.data ?? (await backendData().catch((error) => giveUp(error.message)));
const cases = listCases(data, options.filter);
if (cases.length === 0) giveUp(`expected cases in ${data}, found none`);

const started = performance.now();
const results = [];
for (const each of cases) {
  const result = await runCase(each);
  results.push(result);
  // Printed one by one: a case that ends the process is the one after the last line.
  if (!options.json) print(result);
}

const count = (wanted) => results.filter(({ result }) => result === wanted).length;
const totals = {
  passed: count('passed'),
  failed: count('failed'),
  unsupported: count('unsupported'),
};
const origin = options.data === undefined ? `onnx ${onnxVersion}` : data;
if (options.json) {
  console.log(JSON.stringify({ origin, data, totals, results }, undefined, 2));
} else {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const { passed, failed, unsupported } = totals;
  console.log(
    `\n${results.length} cases of ${origin}: ` +
      `${passed} passed, ${failed} failed, ${unsupported} unsupported in ${seconds} s`,
  );
}
process.exitCode = totals.failed > 0 ? 1 : 0;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        data: { type: 'string' },
        filter: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    return giveUp(error.message);
  }
}

function print({ name, result, reason }) {
  console.log(`${result.padEnd(11)} ${name}`);
  if (reason !== undefined) console.log(`            ${reason}`);
}

function giveUp(message) {
  console.error(message);
  process.exit(2);
}
