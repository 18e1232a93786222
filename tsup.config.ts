import { defineConfig, type Options } from 'tsup';

// Splitting stays on in both formats: what is imported lazily (the CLI's
// commands, the installers) must not be read when `tenon` is imported.
const shared: Options = {
  outDir: 'dist',
  platform: 'node',
  target: 'node20',
  splitting: true,
  treeshake: false,
  sourcemap: false,
};

export default defineConfig((cli): Options[] => [
  {
    ...shared,
    format: 'esm',
    entry: {
      index: 'lib/index.ts',
      cli: 'lib/cli/main.ts',
      // Run in a child process to try an engine library that might crash.
      'engine-probe': 'lib/engines/probe-main.ts',
      tune: 'lib/tuner/index.ts',
      // Measures one configuration in a process of its own.
      'tuner-child': 'lib/tuner/child-main.ts',
    },
    dts: cli.watch ? false : { entry: { index: 'lib/index.ts', tune: 'lib/tuner/index.ts' } },
  },
  {
    ...shared,
    format: 'cjs',
    entry: { index: 'lib/index.ts', tune: 'lib/tuner/index.ts' },
    dts: cli.watch ? false : { entry: { index: 'lib/index.ts', tune: 'lib/tuner/index.ts' } },
    // CommonJS has no import.meta.url; the injected file gives every chunk its own.
    inject: ['scripts/import-meta-url.mjs'],
    esbuildOptions(options) {
      options.define = { ...options.define, 'import.meta.url': 'importMetaUrl' };
    },
  },
]);
