import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { consumerEnvironment as environment, npm } from '../helpers/consumer.js';

// The package as its users get it: packed, installed into a folder of its own without any install
// script, and used from there.

const root = path.resolve(import.meta.dirname, '../..');
const models = path.join(root, 'test/fixtures/models');
const target = `${process.platform}-${process.arch}`;

interface PackedFile {
  path: string;
  size: number;
}

interface Ran {
  stdout: string;
  stderr: string;
}

let folder: string;
let consumer: string;
let files: PackedFile[];

/** Runs a program of the consumer's and returns what it printed. */
function runFile(name: string, text: string, node = process.execPath): Promise<Ran> {
  writeFileSync(path.join(consumer, name), text);
  return promisify(execFile)(node, [name], { cwd: consumer, env: environment });
}

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-package-'));
  consumer = path.join(folder, 'consumer');
  makePrebuild();

  const [packed] = JSON.parse(
    npm(root, 'pack', '--ignore-scripts', '--json', `--pack-destination=${folder}`),
  ) as [{ filename: string; files: PackedFile[] }];
  files = packed.files;

  mkdirSync(consumer);
  writeFileSync(path.join(consumer, 'package.json'), '{ "private": true }\n');
  npm(
    consumer,
    'install',
    path.join(folder, packed.filename),
    '--ignore-scripts',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
  );
}, 600_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A checkout has no prebuilds, and after a change of native/ only old ones. */
function makePrebuild(): void {
  const prebuilds = path.join(root, 'prebuilds', target);
  const made = existsSync(prebuilds)
    ? readdirSync(prebuilds).map((name) => statSync(path.join(prebuilds, name)).mtimeMs)
    : [];
  const changed = readdirSync(path.join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(path.join(entry.parentPath, entry.name)).mtimeMs);
  if (Math.max(0, ...made) > Math.max(...changed)) return;
  execFileSync(process.execPath, ['scripts/prebuild.mjs', '--only', process.arch], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

describe('the packed files', () => {
  const named = (): string[] => files.map((file) => file.path);

  it('are what a consumer needs', () => {
    expect(named()).toEqual(
      expect.arrayContaining([
        'CHANGELOG.md',
        'LICENSE',
        'README.md',
        'THIRD_PARTY_NOTICES.md',
        'dist/cli.js',
        'dist/engine-probe.js',
        'dist/index.cjs',
        'dist/index.d.cts',
        'dist/index.d.ts',
        'dist/index.js',
        'dist/server-frontend.js',
        'dist/server.cjs',
        'dist/server.d.cts',
        'dist/server.d.ts',
        'dist/server.js',
        'dist/tune.cjs',
        'dist/tune.d.cts',
        'dist/tune.d.ts',
        'dist/tune.js',
        'dist/tuner-child.js',
        'package.json',
      ]),
    );
    expect(named().some((name) => name.startsWith(`prebuilds/${target}/`))).toBe(true);
  });

  it('are nothing else', () => {
    const expected =
      /^(CHANGELOG\.md|LICENSE|README\.md|THIRD_PARTY_NOTICES\.md|package\.json|dist\/[\w.-]+\.(js|cjs|d\.ts|d\.cts)|prebuilds\/README\.md|prebuilds\/\w+-\w+\/tenon(\.\w+)?\.node)$/;
    expect(named().filter((name) => !expected.test(name))).toEqual([]);
  });

  it('name no folder of the machine they were built on', () => {
    const installed = path.join(consumer, 'node_modules/tenon');
    const telling = named().filter((name) => {
      const text = readFileSync(path.join(installed, name), 'latin1');
      return text.includes(root) || text.includes(os.homedir() + path.sep);
    });
    expect(telling).toEqual([]);
  });

  it('bring no install script', () => {
    const installed = path.join(consumer, 'node_modules/tenon');
    const { scripts } = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(Object.keys(scripts)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(pre|post)?install$/)]),
    );
    // npm runs node-gyp by itself where it sees this file.
    expect(existsSync(path.join(installed, 'binding.gyp'))).toBe(false);
    const { packages } = JSON.parse(
      readFileSync(path.join(consumer, 'node_modules/.package-lock.json'), 'utf8'),
    ) as { packages: Record<string, { hasInstallScript?: boolean }> };
    const scripted = Object.keys(packages).filter((name) => packages[name]?.hasInstallScript);
    // The engine's package has one; refusing it, as here, is supported.
    expect(scripted).toEqual(['node_modules/onnxruntime-node-engine']);
  });
});

const simpleModel = JSON.stringify(path.join(models, 'simple_model.onnx'));
const answer = -1.2322286;
const body = `
async function main() {
  const model = await load(${simpleModel});
  const { output } = await model.run({ input: Float32Array.of(1, 2, 3, 4) });
  console.log(output.data[0]);
  await model.close();
}
void main();
`;
const program = {
  'run.mjs': `import { load } from 'tenon';\n${body}`,
  'run.cjs': `const { load } = require('tenon');\n${body}`,
};

describe('a consumer', () => {
  it.each(Object.entries(program))('runs a model from %s', async (name, text) => {
    const { stdout, stderr } = await runFile(name, text);
    expect(Number(stdout)).toBeCloseTo(answer, 5);
    expect(stderr).toBe('');
  });

  it('gets one TenonError from both builds', async () => {
    const { stdout } = await runFile(
      'both.mjs',
      `import { createRequire } from 'node:module';
       import { load, TenonError } from 'tenon';
       const other = createRequire(import.meta.url)('tenon');
       for (const run of [load, other.load]) {
         const error = await run('no-such-model.onnx').catch((error) => error);
         console.log(error.code, error instanceof TenonError, error instanceof other.TenonError);
       }`,
    );
    const line = 'ERR_TENON_MODEL_NOT_FOUND true true\n';
    expect(stdout).toBe(line + line);
  });

  it.each([
    ['tune.mjs', "import { tune } from 'tenon/tune';"],
    ['tune.cjs', "const { tune } = require('tenon/tune');"],
  ])('tunes a model from %s', async (name, load) => {
    const { stdout } = await runFile(
      name,
      `${load}
       const space = { intraOp: [1], lanes: [1], sessions: [1], batchSize: [0], providers: ['cpu'], graph: ['all'] };
       const options = { space, inFlight: [1], secondsPerPoint: 0.1, search: 'exhaustive' };
       tune(${simpleModel}, options).then(({ engine, ended }) => console.log(engine, ended));`,
    );
    expect(stdout).toBe('onnxruntime done\n');
  });

  it.each([
    ['serve.mjs', "import { createServer } from 'tenon/server';"],
    ['serve.cjs', "const { createServer } = require('tenon/server');"],
  ])('serves a model from %s', async (name, load) => {
    const threads = process.platform === 'win32' ? 0 : 1;
    const { stdout } = await runFile(
      name,
      `${load}
       async function main() {
         const server = createServer({
           models: { simple: ${simpleModel} },
           rest: { port: 0 },
           grpc: false,
           frontendThreads: ${threads},
         });
         await server.listen();
         while (!server.readiness().ready) await new Promise((next) => setTimeout(next, 20));
         const response = await fetch(
           'http://127.0.0.1:' + server.restPort + '/v1/models/simple:predict',
           { method: 'POST', body: '{"instances": [[1, 2, 3, 4]]}' },
         );
         console.log((await response.json()).predictions[0][0]);
         await server.close();
       }
       void main();`,
    );
    expect(Number(stdout)).toBeCloseTo(answer, 5);
  });

  it('has the command tenon', () => {
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(npm(consumer, 'exec', '--', 'tenon', '--version').trim()).toBe(version);
  });

  it.each([
    ['node16', 'node16', 'check.mts'],
    ['node16', 'node16', 'check.cts'],
    ['esnext', 'bundler', 'check.ts'],
  ])('has types with module %s, moduleResolution %s, in %s', (module, moduleResolution, name) => {
    const source = `
import { load, Tensor, TenonError, type Model } from 'tenon';
import { tune, type TuneResult } from 'tenon/tune';
import { createServer, type Server, type ServerOptions } from 'tenon/server';
export const serve = (options: ServerOptions): Server => createServer(options);
export const found = (path: string): Promise<TuneResult> => tune(path, { for: 'latency' });
export async function check(): Promise<number> {
  const model = await load('model.onnx');
  const feed = new Tensor('float32', new Float32Array(4), [1, 4]);
  // @ts-expect-error: no such option
  await load('model.onnx', { nonsense: 1 });
  // @ts-expect-error: a dtype that is none
  new Tensor('float31', new Float32Array(4), [1, 4]);
  await model.run({ input: feed });
  return feed.data.length;
}
export type Exported = Model | TenonError;
`;
    writeFileSync(path.join(consumer, name), source);
    const config = {
      compilerOptions: {
        module,
        moduleResolution,
        target: 'es2022',
        lib: ['es2022'],
        strict: true,
        noEmit: true,
        // The declarations themselves are checked too.
        skipLibCheck: false,
        types: ['node'],
        typeRoots: [path.join(root, 'node_modules/@types')],
      },
      files: [name],
    };
    writeFileSync(path.join(consumer, 'tsconfig.json'), JSON.stringify(config));
    const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
    expect(
      execFileSync(process.execPath, [tsc, '-p', '.'], { cwd: consumer, encoding: 'utf8' }),
    ).toBe('');
  });

  it('is told what was tried where no addon fits', async () => {
    const prebuilds = path.join(consumer, 'node_modules/tenon/prebuilds');
    renameSync(prebuilds, `${prebuilds}-away`);
    try {
      const { stdout } = await runFile(
        'none.mjs',
        `import { load } from 'tenon';
         await load(${simpleModel}).catch((error) => console.log(error.code, error.message));`,
      );
      expect(stdout).toContain('ERR_TENON_ADDON_NOT_FOUND');
      expect(stdout).toContain(path.join(prebuilds, target));
    } finally {
      renameSync(`${prebuilds}-away`, prebuilds);
    }
  });
});

describe('importing tenon', () => {
  it('reads nothing of the server', () => {
    const dist = path.join(consumer, 'node_modules/tenon/dist');
    const seen = new Set<string>();
    const packages = new Set<string>();
    const follow = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      const text = readFileSync(path.join(dist, name), 'utf8');
      const imports = text.matchAll(/^(?:import|export)\b[^'"]*?from\s*["']([^"']+)["']/gm);
      for (const [, from = ''] of imports) {
        if (from.startsWith('./')) follow(from.slice(2));
        else packages.add(from);
      }
    };
    follow('index.js');
    expect(seen.size).toBeGreaterThan(1);
    expect([...packages].filter((name) => /fastify|pino|http|yaml/.test(name))).toEqual([]);
  });

  it('takes at most 30 ms of the processor and maps no engine', async () => {
    const text = `
import { readFileSync } from 'node:fs';
const rss = process.memoryUsage().rss;
const cpu = process.cpuUsage();
const start = performance.now();
await import('tenon');
const wallMs = performance.now() - start;
const { user, system } = process.cpuUsage(cpu);
const megabytes = (process.memoryUsage().rss - rss) / 1e6;
const maps = process.platform === 'linux' ? readFileSync('/proc/self/maps', 'utf8') : '';
const engines = maps.split('\\n').filter((line) => /onnxruntime|tensorflow/.test(line));
console.log(JSON.stringify({ wallMs, cpuMs: (user + system) / 1e3, megabytes, engines }));`;
    interface Measured {
      wallMs: number;
      cpuMs: number;
      megabytes: number;
      engines: string[];
    }
    const runs: Measured[] = [];
    for (let run = 0; run < 15; run++) {
      runs.push(JSON.parse((await runFile('import.mjs', text)).stdout) as Measured);
    }
    const spread = (name: 'wallMs' | 'cpuMs' | 'megabytes'): { least: number; text: string } => {
      const values = runs.map((run) => run[name]).toSorted((a, b) => a - b);
      const [least = NaN, median = NaN] = [values[0], values[7]];
      return { least, text: `${median.toFixed(1)} (least ${least.toFixed(1)})` };
    };
    console.log(
      `import 'tenon', median of ${runs.length}: ${spread('wallMs').text} ms, ` +
        `of the processor ${spread('cpuMs').text} ms, ${spread('megabytes').text} MB resident`,
    );
    expect(runs.flatMap(({ engines }) => engines)).toEqual([]);
    // Other tests share the processors, which stretches the wall time and not this.
    expect(spread('cpuMs').least).toBeLessThanOrEqual(30);
  });
});

describe.runIf(process.platform === 'linux')('the package on Node', () => {
  it.each(['20', '22', '24'])(
    '%s runs a model',
    async (version) => {
      const node = execFileSync(process.execPath, ['scripts/fetch-node.mjs', target, version], {
        cwd: root,
        encoding: 'utf8',
        env: environment,
      }).trim();
      for (const [name, text] of Object.entries(program)) {
        const { stdout, stderr } = await runFile(
          `${version}-${name}`,
          `${text}\nconsole.error(process.versions.node);`,
          node,
        );
        expect(stderr.split('.')[0]).toBe(version);
        expect(Number(stdout)).toBeCloseTo(answer, 5);
      }
    },
    300_000,
  );
});
