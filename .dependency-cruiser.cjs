// Which part of lib/ may import which: the design's rules, one entry each.
// Type imports count. `npm run check` runs it.

/** Everything under lib/ but the given parts. */
const allBut = (...parts) => ({ path: '^lib/', pathNot: parts.map((part) => `^lib/${part}`) });

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'only-native-finds-the-addon',
      comment: 'lib/native alone loads the addon, so it alone needs node-gyp-build.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/native/' },
      to: { path: 'node-gyp-build|\\.node$' },
    },
    {
      name: 'pool-and-batching-know-runner-and-tensor',
      comment: 'Policies over a Runner: no model, no engine, no addon.',
      severity: 'error',
      from: { path: '^lib/(pool|batching)/' },
      to: allBut('(pool|batching)/', 'runner', 'tensor/', '(errors|options)\\.ts$'),
    },
    {
      name: 'codec-knows-tensors-and-messages',
      comment: 'What goes over the wire, without a model behind it or a server around it.',
      severity: 'error',
      from: { path: '^lib/codec/' },
      to: allBut('codec/', 'errors\\.ts$', 'tensor/', 'native/', 'protobuf/'),
    },
    {
      name: 'server-uses-the-public-api',
      comment:
        'Beside it the codec of tensors on the wire, and its short cut through a model, the messages, ' +
        'checks of options, and the addon for descriptors of sockets.',
      severity: 'error',
      from: { path: '^lib/server/' },
      to: allBut(
        'server/',
        'index\\.ts$',
        'codec/',
        'model/short-cuts\\.ts$',
        'protobuf/',
        'errors\\.ts$',
        'options\\.ts$',
        'native/load\\.ts$',
      ),
    },
    {
      name: 'onnxruntime-uses-the-public-api',
      severity: 'error',
      from: { path: '^lib/onnxruntime/' },
      to: allBut('onnxruntime/', 'index\\.ts$'),
    },
    {
      name: 'tuner-uses-the-public-api',
      comment: 'Beside it checks of options, child processes, and the addon for the CPU quota.',
      severity: 'error',
      from: { path: '^lib/tuner/' },
      to: allBut(
        'tuner/',
        'index\\.ts$',
        'errors\\.ts$',
        'options\\.ts$',
        'engines/child\\.ts$',
        'native/load\\.ts$',
      ),
    },
    {
      name: 'cli-uses-the-public-api-the-server-and-the-tuner',
      severity: 'error',
      from: { path: '^lib/cli/' },
      to: allBut('cli/', 'index\\.ts$', 'server/', 'tuner/index\\.ts$'),
    },
    {
      name: 'fronts-are-not-imported',
      comment: 'Nothing below depends on the command line, the server, the drop-in or the tuner.',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/(cli|server|onnxruntime|tuner)/' },
      to: { path: '^lib/(cli|server|onnxruntime|tuner)/' },
    },
    {
      name: 'foundations-import-nothing-above',
      comment:
        'Errors, tensors and the addon know no model, no pool, no engine lookup; a type is free.',
      severity: 'error',
      from: { path: '^lib/(errors\\.ts$|tensor/|native/|protobuf/)' },
      to: {
        ...allBut('errors\\.ts$', 'tensor/', 'native/', 'protobuf/'),
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'only-declared-dependencies',
      comment: 'What lib/ imports must be there in a consumer’s install.',
      severity: 'error',
      from: { path: '^lib/' },
      to: {
        // The package's own package.json, read at run time.
        pathNot: '^\\./package\\.json$',
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'],
        // Types vanish in the build; a peer is the consumer's to have.
        dependencyTypesNot: ['type-only', 'npm-peer'],
      },
    },
    {
      name: 'nothing-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^\\./package\\.json$' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      mainFields: ['main', 'types'],
    },
  },
};
