// Feeds a target with inputs that a coverage-guided fuzzer makes up, those of C++ under the
// address and undefined-behaviour sanitizers; a finding fails the run and stays in
// build/fuzz/<target>/findings. What was found to reach new code is kept in
// build/fuzz/<target>/corpus, so that hours add up over runs.
//
//   npm run fuzz -- <target> [--minutes <n>]
//   npm run fuzz -- <target> --replay <file>   runs one input
//   npm run fuzz -- <target> --keep            replaces the seeds in test/fuzz/corpus by the smallest
//                                              set that reaches all that was reached so far
//
// Targets of C++ need clang with libFuzzer (TENON_CLANG names another than clang++-14). Those of
// TypeScript are run by fuzz-javascript.mjs.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { fuzzModule, instrument } from './fuzz-javascript.mjs';
import { dropForeignBuild, fail, onPath, root, run } from './run-command.mjs';

/**
 * By name: what of test/fuzz is built, a program or a module, and the longest input that makes
 * sense.
 */
const targets = {
  json: { program: 'fuzz_json', maxBytes: 4096 },
  protobuf: { module: 'protobuf.ts', maxBytes: 4096 },
  text: { module: 'text.ts', maxBytes: 4096 },
  grpc: { module: 'grpc.ts', maxBytes: 4096 },
  infer: { module: 'infer.ts', maxBytes: 4096 },
};

const { values: options, positionals } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    replay: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const [name = ''] = positionals;
const target = Object.hasOwn(targets, name) ? targets[name] : undefined;
if (target === undefined || positionals.length !== 1) {
  fail(`expected one of the targets ${Object.keys(targets).join(', ')}, received "${positionals}"`);
}
const minutes = Number(options.minutes);
if (!(minutes > 0)) fail(`expected --minutes to be above 0, received "${options.minutes}"`);

const seeds = path.join(root, 'test/fuzz/corpus', name);
const dictionary = path.join(root, 'test/fuzz', `${name}.dict`);
const folder = path.join(root, 'build/fuzz', name);
const corpus = path.join(folder, 'corpus');
const findings = path.join(folder, 'findings');
for (const made of [corpus, findings]) mkdirSync(made, { recursive: true });

const environment = {
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  ...process.env,
};
const program = target.module === undefined ? build() : undefined;

if (program === undefined) {
  await fuzzTypeScript();
} else if (options.replay !== undefined) {
  fuzz([path.resolve(options.replay)]);
} else if (options.keep) {
  const merged = path.join(folder, 'merged');
  rmSync(merged, { recursive: true, force: true });
  mkdirSync(merged);
  fuzz(['-merge=1', merged, seeds, corpus]);
  takeAsSeeds(merged);
} else {
  fuzz([
    `-max_total_time=${Math.ceil(minutes * 60)}`,
    `-max_len=${target.maxBytes}`,
    '-timeout=10',
    '-rss_limit_mb=1024',
    '-print_final_stats=1',
    `-artifact_prefix=${findings}${path.sep}`,
    ...(existsSync(dictionary) ? [`-dict=${dictionary}`] : []),
    corpus,
    seeds,
  ]);
}

/** With coverage counters in all of native/, the program of the target alone. */
function build() {
  const compiler = process.env.TENON_CLANG ?? 'clang++-14';
  if (!onPath(compiler)) {
    fail(
      `expected ${compiler} on the PATH (Debian: apt-get install clang), or another in TENON_CLANG`,
    );
  }
  const out = path.join(root, 'build/fuzz/program');
  dropForeignBuild(out);
  run('cmake', [
    '-S',
    root,
    '-B',
    out,
    ...(onPath('ninja') ? ['-G', 'Ninja'] : []),
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    `-DCMAKE_C_COMPILER=${compiler.replace('clang++', 'clang')}`,
    '-DCMAKE_BUILD_TYPE=Debug',
    '-DTENON_ADDON=OFF',
    '-DTENON_FUZZ=ON',
    '-DTENON_SANITIZE=address,undefined,fuzzer-no-link',
    '--log-level=WARNING',
  ]);
  run('cmake', ['--build', out, '--target', target.program]);
  return path.join(out, 'test/fuzz', target.program);
}

/** One CommonJS file with counters in it; the addon's memory is JavaScript's own. */
async function bundle() {
  const { build: esbuild } = await import('esbuild');
  const addon =
    'export const nativeAddon = () => ({ alloc: (n) => new ArrayBuffer(n), release() {} });';
  const { outputFiles } = await esbuild({
    entryPoints: [path.join(root, 'test/fuzz', target.module)],
    write: false,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    plugins: [
      {
        name: 'no-addon',
        setup: ({ onLoad }) =>
          onLoad({ filter: /lib[\\/]native[\\/]load\.ts$/ }, () => ({
            contents: addon,
            loader: 'js',
          })),
      },
    ],
  });
  const outfile = path.join(folder, 'target.cjs');
  writeFileSync(outfile, await instrument(outputFiles[0].text));
  return outfile;
}

function fuzz(args) {
  run(program, args, { env: environment });
}

/** The words of a dictionary in libFuzzer's format. */
function dictionaryWords() {
  if (!existsSync(dictionary)) return [];
  return [...readFileSync(dictionary, 'utf8').matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word]) =>
    word
      .replaceAll(/\\x([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
      .replaceAll(/\\(["\\])/g, '$1'),
  );
}

async function fuzzTypeScript() {
  const bundled = await bundle();
  if (options.replay !== undefined) {
    const { fuzz: runOne } = createRequire(import.meta.url)(bundled);
    runOne(readFileSync(path.resolve(options.replay)));
    return;
  }
  const merged = path.join(folder, 'merged');
  if (options.keep) {
    rmSync(merged, { recursive: true, force: true });
    mkdirSync(merged);
  }
  const finding = await fuzzModule({
    program: bundled,
    seeds,
    corpus,
    findings,
    dictionary: dictionaryWords(),
    maxBytes: target.maxBytes,
    minutes,
    keep: options.keep ? merged : undefined,
  });
  if (finding !== undefined) fail(`a finding: ${path.relative(root, finding)}`);
  if (options.keep) takeAsSeeds(merged);
}

function takeAsSeeds(merged) {
  rmSync(seeds, { recursive: true });
  cpSync(merged, seeds, { recursive: true });
  console.log(`${readdirSync(seeds).length} seeds in ${path.relative(root, seeds)}`);
}
