import { execFile, execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { consumerEnvironment, npm } from '../helpers/consumer.js';
import { modelPath, root } from '../helpers/paths.js';
import { type Registry, startRegistry, tarballName } from '../helpers/registry.js';
import { writeTinyBert } from '../onnxruntime/tiny-bert.mjs';

// A real library over the drop-in, installed from the registry with the override that the
// documentation gives; and bundlers over both.

const alias = path.join(root, 'packages/onnxruntime-node');
const installLimitMs = 280_000;
const environment: NodeJS.ProcessEnv = {
  ...consumerEnvironment,
  // The packed package has the addons that are shipped, which are not built here.
  TENON_PREBUILD: root,
};

let folder: string;
let app: string;
let registry: Registry | undefined;

async function runIn(cwd: string, file: string): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [file], { cwd, env: environment, timeout: 100_000 });
}

function write(cwd: string, name: string, text: string): string {
  writeFileSync(path.join(cwd, name), text);
  return name;
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-onnxruntime-'));
  app = path.join(folder, 'app');
  mkdirSync(app);
  const packages = [root, alias];
  npm(folder, 'pack', '--ignore-scripts', '--silent', ...packages);
  registry = await startRegistry(
    packages.map((from) => {
      const manifest = path.join(from, 'package.json');
      return { file: path.join(folder, tarballName(manifest)), manifest };
    }),
    npm(root, 'config', 'get', 'registry').trim(),
  );
  write(
    app,
    'package.json',
    JSON.stringify({
      private: true,
      dependencies: {
        '@huggingface/transformers': '4.3.1',
        esbuild: '0.27.2',
        webpack: '5.103.0',
      },
      overrides: { 'onnxruntime-node': 'npm:tenon-onnxruntime@1.30.0' },
    }),
  );
  // Without a registry there is nothing to test, which must be seen: this throws.
  await promisify(execFile)(
    'npm',
    [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--prefer-offline',
      '--replace-registry-host=never',
      `--registry=${registry.url}`,
    ],
    { cwd: app, env: environment, timeout: installLimitMs, shell: process.platform === 'win32' },
  );
  writeTinyBert(path.join(folder, 'models/tiny-bert'));
  writeTinyBert(path.join(folder, 'models/small-bert'), { layers: 6, width: 256 });
}, installLimitMs + 20_000);

afterAll(async () => {
  await registry?.close();
  rmSync(folder, { recursive: true, force: true });
});

const modules = (...names: string[]): string => path.join(app, 'node_modules', ...names);
const versionOf = (...names: string[]): string =>
  (JSON.parse(readFileSync(modules(...names, 'package.json'), 'utf8')) as { name: string }).name;

describe('the override', () => {
  it('puts the drop-in in the place of onnxruntime-node, and leaves the engine’s library', () => {
    expect(versionOf('onnxruntime-node')).toBe('tenon-onnxruntime');
    expect(versionOf('onnxruntime-node-engine')).toBe('onnxruntime-node');
    const bindings = readdirSync(modules(), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('onnxruntime_binding.node'),
    );
    // The stock binding lies beside its library, under the alias alone.
    expect(bindings.every((name) => name.startsWith('onnxruntime-node-engine'))).toBe(true);
  });

  it('brings no install script but the engine’s, which need not run', () => {
    const { packages } = JSON.parse(readFileSync(modules('.package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const scripted = Object.keys(packages).filter((name) => packages[name]?.hasInstallScript);
    expect(scripted).not.toContain('node_modules/onnxruntime-node');
    expect(scripted).not.toContain('node_modules/tenon');
  });

  const body = `
    const same = common.Tensor === ort.Tensor && common.env === ort.env;
    async function main() {
      const model = ${JSON.stringify(modelPath('simple_model.onnx'))};
      for (const { InferenceSession } of [ort, common]) {
        const session = await InferenceSession.create(model);
        const feeds = { input: new common.Tensor('float32', [1, 2, 3, 4], [1, 4]) };
        const { output } = await session.run(feeds);
        console.log(output.data[0].toFixed(5), output instanceof common.Tensor, same);
        await session.release();
      }
    }
    main();`;

  it.each([
    ['run.cjs', `const ort = require('onnxruntime-node'), common = require('onnxruntime-common');`],
    [
      'run.mjs',
      `import * as ort from 'onnxruntime-node'; import * as common from 'onnxruntime-common';`,
    ],
  ])('gives the application’s own Tensor and env to %s', async (name, imports) => {
    const { stdout, stderr } = await runIn(app, write(app, name, imports + body));
    expect(stderr).toBe('');
    expect(stdout).toBe('-1.23223 true true\n'.repeat(2));
  });
});

describe('@huggingface/transformers', () => {
  const program = (): string => `
    import { createRequire } from 'node:module';
    import { monitorEventLoopDelay } from 'node:perf_hooks';
    import { env, pipeline } from '@huggingface/transformers';

    env.allowRemoteModels = false;
    env.localModelPath = ${JSON.stringify(path.join(folder, 'models'))};
    const extract = await pipeline('feature-extraction', 'tiny-bert', {
      dtype: 'fp32',
      session_options: { intraOpNumThreads: 1 },
    });
    const texts = Array.from({ length: 10 }, (_, i) => 'the model runs' + ' and others too'.repeat(i));
    const embed = async (text) => {
      const { dims, data } = await extract(text, { pooling: 'mean', normalize: true });
      return { dims, data: [...data] };
    };
    const alone = [];
    for (const text of texts) alone.push(await embed(text));
    const together = await Promise.all(texts.map(embed));
    const ort = createRequire(import.meta.resolve('@huggingface/transformers'))('onnxruntime-node');
    const { model } = extract.model.sessions;

    const small = await pipeline('feature-extraction', 'small-bert', { dtype: 'fp32' });
    const long = 'the model runs while a timer waits and others wait too '.repeat(4);
    const ten = () => Promise.all(Array.from({ length: 10 }, () => small(long)));
    await ten();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    for (let i = 0; i < 5; i++) await ten();
    delay.disable();
    console.log(JSON.stringify({
      alone,
      together,
      maxDelayMs: delay.max / 1e6,
      isTenon: typeof model.runSync === 'function' && model instanceof ort.InferenceSession,
    }));
    await extract.dispose();
  `;
  interface Embedded {
    alone: { dims: number[]; data: number[] }[];
    together: { dims: number[]; data: number[] }[];
    maxDelayMs: number;
    isTenon: boolean;
  }
  async function embed(cwd: string): Promise<Embedded> {
    const { stdout } = await runIn(cwd, write(cwd, 'embed.mjs', program()));
    return JSON.parse(stdout) as Embedded;
  }

  /** The same library once more, beside the stock binding. */
  function makeStockApp(): string {
    const stock = path.join(folder, 'stock');
    const links = path.join(stock, 'node_modules');
    mkdirSync(path.join(links, '@huggingface'), { recursive: true });
    const own = '@huggingface/transformers';
    cpSync(modules(own), path.join(links, own), { recursive: true });
    const link = (from: string, to = from): void =>
      symlinkSync(modules(from), path.join(links, to), 'junction');
    for (const name of ['@huggingface/jinja', '@huggingface/tokenizers', 'sharp']) link(name);
    for (const name of ['onnxruntime-web', 'onnxruntime-common']) link(name);
    link('onnxruntime-node-engine', 'onnxruntime-node');
    return stock;
  }

  it('embeds texts alone and ten at a time, as with the stock binding', async () => {
    const dropIn = await embed(app);
    const stock = await embed(makeStockApp());
    console.log(
      'event loop, longest gap while ten texts are embedded at a time: ' +
        `${dropIn.maxDelayMs.toFixed(1)} ms; with the stock binding ${stock.maxDelayMs.toFixed(1)} ms`,
    );
    expect([dropIn.isTenon, stock.isTenon]).toEqual([true, false]);
    expect(dropIn.alone).toHaveLength(10);
    expect(dropIn.alone.every(({ dims }) => dims.join() === '1,64')).toBe(true);
    expect(dropIn.alone).toEqual(stock.alone);
    expect(dropIn.together).toEqual(stock.together);
  }, 120_000);
});

describe('a bundle', () => {
  const source = `
    import { InferenceSession, Tensor } from 'tenon/onnxruntime';
    async function main() {
      const session = await InferenceSession.create(${JSON.stringify(modelPath('simple_model.onnx'))});
      const feeds = { input: new Tensor('float32', [1, 2, 3, 4], [1, 4]) };
      console.log((await session.run(feeds)).output.data[0].toFixed(5));
      await session.release();
    }
    main();`;

  async function expectAnswer(file: string): Promise<void> {
    expect(existsSync(path.join(app, file)), file).toBe(true);
    const { stdout } = await runIn(app, file);
    expect(stdout).toBe('-1.23223\n');
  }

  it.each([
    ['ESM', 'esm', 'mjs', []],
    ['CommonJS', 'cjs', 'cjs', []],
    ['ESM beside the package', 'esm', 'mjs', ['--external:tenon']],
    ['CommonJS beside the package', 'cjs', 'cjs', ['--packages=external']],
  ])('of esbuild finds the addon: %s', async (title, format, extension, options) => {
    const file = `esbuild/${title.replaceAll(' ', '-')}.${extension}`;
    execFileSync(
      process.execPath,
      [
        modules('esbuild/bin/esbuild'),
        write(app, 'bundled.mjs', source),
        '--bundle',
        '--platform=node',
        `--format=${format}`,
        `--outfile=${file}`,
        '--log-level=error',
        ...options,
      ],
      { cwd: app, env: environment },
    );
    await expectAnswer(file);
  });

  // What Next.js does with a route and serverExternalPackages: a server bundle that requires them.
  it.each([
    ['everything inside', 'undefined'],
    ['like a server of Next.js', `{ 'tenon/onnxruntime': 'commonjs tenon/onnxruntime' }`],
  ])(
    'of webpack finds the addon: %s',
    async (title, externals) => {
      const name = title.replaceAll(' ', '-');
      const config = `
      const webpack = require('webpack');
      webpack({
        mode: 'production',
        target: 'node',
        entry: './bundled.mjs',
        externals: ${externals},
        output: { path: __dirname + '/webpack', filename: '${name}.cjs', libraryTarget: 'commonjs2' },
      }, (error, stats) => {
        if (error || stats.hasErrors()) {
          console.error(error ?? stats.toString('errors-only'));
          process.exit(1);
        }
      });`;
      write(app, 'bundled.mjs', source);
      await runIn(app, write(app, `${name}.config.cjs`, config));
      await expectAnswer(`webpack/${name}.cjs`);
    },
    120_000,
  );
});
