// Runs the recipes of docs/exporting.md: every Python block in a folder of its
// own, then the TypeScript block under it in the same folder, and compares the
// numbers the two print last. Building and testing Tenon needs no Python, so
// this is no part of `npm test`.
//
//   node scripts/run-export-recipes.mjs --python <python> [words of a heading]
//
// Needs the addon and dist/ (`npm run compile`), and in that Python the packages
// the page names. TensorFlow's library is taken from there too.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { linkPackage, printsOf, readBlocks, writeProgram } from '../test/helpers/docs-blocks.mjs';
import { fail, root } from './run-command.mjs';

const timeoutMs = 10 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { python: { type: 'string', default: 'python3' } },
});
// A virtual environment's interpreter is a link: what it links to lacks the packages.
const python = values.python.includes(path.sep) ? path.resolve(values.python) : values.python;

const recipes = recipesIn(readFileSync(path.join(root, 'docs/exporting.md'), 'utf8')).filter(
  ({ title }) => positionals.every((word) => title.toLowerCase().includes(word.toLowerCase())),
);
if (recipes.length === 0) fail('no recipe has such a heading');
console.log(versions());

const environment = {
  ...process.env,
  TF_CPP_MIN_LOG_LEVEL: '3',
  ...tensorflowOf(python),
};
let failed = 0;
for (const recipe of recipes) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-recipe-'));
  try {
    console.log(`passed  ${recipe.title} (${run(recipe, folder)})`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${recipe.title}\n${error.message.replace(/^/gm, '    ')}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
console.log(`${recipes.length - failed} recipes passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

/** A Python block and the TypeScript or JavaScript block that follows it. */
function recipesIn(markdown) {
  const found = [];
  let exporting;
  for (const block of readBlocks(markdown)) {
    const title = `${block.heading}${block.number > 1 ? ` ${block.number}` : ''}`;
    if (block.language === 'python') {
      if (exporting !== undefined) fail(`"${exporting.heading}" exports what nothing loads`);
      exporting = block;
    } else if (['ts', 'js'].includes(block.language) && exporting !== undefined) {
      found.push({ title, python: exporting, load: block });
      exporting = undefined;
    }
  }
  if (exporting !== undefined) fail(`"${exporting.heading}" exports what nothing loads`);
  return found;
}

/** Runs one recipe; returns how far the numbers were apart, throws where they are too far. */
function run(recipe, folder) {
  writeFileSync(path.join(folder, 'recipe.py'), recipe.python.text);
  const expected = lastNumbers(output(python, ['recipe.py'], folder), 'the Python block');

  linkPackage(folder, 'tenon', root);
  const program = writeProgram(folder, 'recipe', recipe.load);
  const printed = output(process.execPath, [program], folder);
  for (const text of printsOf(recipe.load.text)) {
    if (!printed.includes(text)) throw new Error(`expected it to print ${text}:\n${printed}`);
  }
  const flag = recipe.load.flags.find((text) => text.startsWith('tolerance='));
  const tolerance = flag === undefined ? undefined : Number(flag.split('=')[1]);
  // A block may load several forms of the model: each prints a line of numbers.
  const lines = printed.split('\n').filter((line) => line.startsWith('[['));
  if (lines.length === 0) throw new Error(`expected a line of numbers, received:\n${printed}`);
  const apart = lines.map((line) =>
    difference(lastNumbers(line, 'the TypeScript block'), expected, tolerance),
  );
  return `${lines.length > 1 ? `${lines.length} × ` : ''}${expected.length} numbers, at most ${Math.max(...apart).toExponential(1)} apart`;
}

function lastNumbers(text, subject) {
  const line = text.trimEnd().split('\n').at(-1) ?? '';
  let numbers;
  try {
    numbers = JSON.parse(line).flat(Infinity);
  } catch {
    throw new Error(`expected numbers as the last line of ${subject}, received:\n${text}`);
  }
  return numbers;
}

function difference(actual, expected, tolerance) {
  if (actual.length !== expected.length) {
    throw new Error(`expected ${expected.length} numbers, received ${actual.length}`);
  }
  let largest = 0;
  for (const [i, value] of actual.entries()) {
    const apart = Math.abs(value - expected[i]);
    const allowed = tolerance ?? 1e-5 + 1e-4 * Math.abs(expected[i]);
    // Not "apart > allowed": NaN has to fail too.
    if (!(apart <= allowed)) {
      throw new Error(`expected ${expected[i]} ± ${allowed} as number ${i}, received ${value}`);
    }
    largest = Math.max(largest, apart);
  }
  return largest;
}

function output(command, args, cwd) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: environment,
    timeout: timeoutMs,
    maxBuffer: 1 << 28,
  });
  if (status !== 0) {
    const reason = error?.message ?? (signal === null ? `exit code ${status}` : signal);
    throw new Error(`${path.basename(command)} ${args[0]}: ${reason}\n${stdout}\n${stderr}`);
  }
  return stdout;
}

function versions() {
  const names = ['tensorflow', 'keras', 'torch', 'onnx', 'onnxscript', 'onnxruntime', 'numpy'];
  const program = [
    'import platform, importlib.metadata as m, sys',
    'print("Python", platform.python_version())',
    'for n in sys.argv[1:]:',
    '  for p in (n, n + "-cpu"):',
    '    try: print(n, m.version(p)); break',
    '    except m.PackageNotFoundError: pass',
    '  else: print(n, "missing")',
  ].join('\n');
  const { status, stdout, stderr, error } = spawnSync(python, ['-c', program, ...names], {
    encoding: 'utf8',
  });
  if (status !== 0) fail(`${python}: ${error?.message ?? stderr}`);
  return `Node ${process.versions.node}, ${stdout.trim().split('\n').join(', ')}`;
}

/** The TensorFlow library of that Python, where it has one and nobody named another. */
function tensorflowOf(interpreter) {
  if (process.env.TENON_TENSORFLOW_LIBRARY) return {};
  const program = [
    'import glob, importlib.util, os',
    's = importlib.util.find_spec("tensorflow")',
    'f = os.path.dirname(s.origin) if s else ""',
    'print(*sorted(glob.glob(os.path.join(f, "libtensorflow_cc.*")))[:1])',
  ].join('\n');
  const { stdout } = spawnSync(interpreter, ['-c', program], { encoding: 'utf8' });
  const library = stdout?.trim();
  return library ? { TENON_TENSORFLOW_LIBRARY: library } : {};
}
