import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { defineConfig, type Options } from 'tsup';

/** `import text from './file?raw'`: a file's text, as Vite, and so the tests, have it. */
const raw: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'raw',
  setup(build) {
    // Paths keep their "?raw", and with it from those who look for styles.
    build.onResolve({ filter: /\?raw$/ }, ({ path: specifier, resolveDir }) => ({
      path: path.relative('.', path.join(resolveDir, specifier)),
      namespace: 'raw',
    }));
    build.onLoad({ filter: /\?raw$/, namespace: 'raw' }, async ({ path: file }) => ({
      contents: await readFile(file.slice(0, -'?raw'.length)),
      loader: 'text',
    }));
  },
};

// Splitting stays on in both formats: what is imported lazily (the CLI's
// commands, the installers) must not be read when `tenon` is imported.
const shared: Options = {
  outDir: 'dist',
  platform: 'node',
  target: 'node20',
  splitting: true,
  treeshake: false,
  sourcemap: false,
  esbuildPlugins: [raw],
};

const onnxruntime = {
  onnxruntime: 'lib/onnxruntime/index.ts',
  'onnxruntime-bind': 'lib/onnxruntime/bind.ts',
};

/** What `exports` of package.json names, in both formats and with declarations. */
const entry = {
  index: 'lib/index.ts',
  server: 'lib/server/index.ts',
  tune: 'lib/tuner/index.ts',
  ...onnxruntime,
};

const cjs: Options = {
  ...shared,
  format: 'cjs',
  // CommonJS has no import.meta.url; the injected file gives every chunk its own.
  inject: ['scripts/import-meta-url.mjs'],
  esbuildOptions(options) {
    options.define = { ...options.define, 'import.meta.url': 'importMetaUrl' };
  },
};

/**
 * With splitting, CommonJS is made by another tool, whose `export *` leaves no room for an export
 * of the same name. So the drop-in's files are made one by one, and require each other.
 */
const drop: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'drop-in',
  setup(build) {
    const external = (filter: RegExp, path: string): void =>
      build.onResolve({ filter }, () => ({ path, external: true }));
    external(/^\.\.\/index\.js$/, './index.cjs');
    external(/^\.\/bind\.js$/, './onnxruntime-bind.cjs');
  },
};

export default defineConfig((cli): Options[] => [
  {
    ...shared,
    format: 'esm',
    entry: {
      ...entry,
      cli: 'lib/cli/main.ts',
      // Run in a child process to try an engine library that might crash.
      'engine-probe': 'lib/engines/probe-main.ts',
      // Measures one configuration in a process of its own.
      'tuner-child': 'lib/tuner/child-main.ts',
      // A thread of the server that parses requests and writes answers.
      'server-frontend': 'lib/server/frontend/thread-main.ts',
    },
    dts: cli.watch ? false : { entry },
  },
  {
    ...cjs,
    entry: { index: entry.index, server: entry.server, tune: entry.tune },
    dts: cli.watch ? false : { entry },
  },
  { ...cjs, splitting: false, entry: onnxruntime, esbuildPlugins: [drop] },
]);
