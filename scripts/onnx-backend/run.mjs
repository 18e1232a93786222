// Runs cases through Tenon's public API, as a user would.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { load, TenonError } from '../../dist/index.js';
import { defaultTolerance, difference } from './compare.mjs';
import { decodeValue } from './decode.mjs';

/**
 * How ONNX Runtime says that it does not have what a model asks for, as against failing at what
 * it has. By its error number where it uses the one for this, else by its words.
 */
const notImplemented = 9;
const unsupportedWords = [
  /is not a registered function\/op/,
  /No Op registered for/,
  /Opset \d+ is under development/,
  /Unsupported model IR version/,
];

/** The cases of a data folder: `<group>/<name>/model.onnx`. */
export function listCases(data, filter = '') {
  const found = readdirSync(data, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name: group }) =>
      readdirSync(path.join(data, group)).map((name) => `${group}/${name}`),
    )
    .filter((name) => existsSync(path.join(data, name, 'model.onnx')) && name.includes(filter));
  return found.sort().map((name) => ({ name, folder: path.join(data, name) }));
}

/** `{ name, result: 'passed' | 'failed' | 'unsupported', reason? }` */
export async function runCase({ name, folder }) {
  try {
    const reason = await differenceOf(folder);
    return reason === undefined ? { name, result: 'passed' } : { name, result: 'failed', reason };
  } catch (error) {
    const result = isUnsupported(error) ? 'unsupported' : 'failed';
    const code = error instanceof TenonError ? codeText(error) : '';
    // A path in the engine's words would make the reason another one on each machine.
    const words = String(error.message ?? error)
      .replaceAll(folder, name)
      .trim();
    return { name, result, reason: code + words };
  }
}

async function differenceOf(folder) {
  const tolerance = { ...defaultTolerance, ...ownTolerance(folder) };
  const model = await load(path.join(folder, 'model.onnx'));
  try {
    const inputs = Object.values(model.inputs).filter(({ optional }) => optional !== true);
    const outputs = Object.values(model.outputs);
    const sets = readdirSync(folder).filter((name) => name.startsWith('test_data_set_'));
    if (sets.length === 0) return 'expected a test_data_set_0, found none';
    for (const set of sets.sort()) {
      const feeds = readValues(path.join(folder, set), 'input', inputs);
      const expected = readValues(path.join(folder, set), 'output', outputs);
      const received = await model.run(feeds);
      for (const [name, value] of Object.entries(expected)) {
        const words = difference(received[name], value, tolerance);
        if (words !== undefined) return `${set}, output "${name}": ${words}`;
      }
    }
    return undefined;
  } finally {
    await model.close();
  }
}

/** The files `<kind>_0.pb`, `<kind>_1.pb` … belong to the model's own order. */
function readValues(folder, kind, specs) {
  const count = readdirSync(folder).filter((name) => name.startsWith(`${kind}_`)).length;
  if (count > specs.length) {
    throw new Error(`expected at most ${specs.length} ${kind}s, found ${count} files`);
  }
  return Object.fromEntries(
    specs
      .slice(0, count)
      .map((spec, i) => [
        spec.name,
        decodeValue(readFileSync(path.join(folder, `${kind}_${i}.pb`)), spec),
      ]),
  );
}

/** A case may come with a tolerance of its own. */
function ownTolerance(folder) {
  const file = path.join(folder, 'data.json');
  if (!existsSync(file)) return {};
  const { rtol, atol } = JSON.parse(readFileSync(file, 'utf8'));
  return { ...(rtol === undefined ? {} : { rtol }), ...(atol === undefined ? {} : { atol }) };
}

function isUnsupported(error) {
  if (!(error instanceof TenonError)) return false;
  return (
    error.engineCode === notImplemented ||
    (error.engineCode !== undefined && unsupportedWords.some((words) => words.test(error.message)))
  );
}

function codeText({ code, engineCode }) {
  return engineCode === undefined ? `${code}: ` : `${code} (ONNX Runtime's code ${engineCode}): `;
}
