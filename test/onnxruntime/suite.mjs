/**
 * What users of onnxruntime-node rely on, as checks that run on it and on the drop-in alike:
 *
 *   node test/onnxruntime/suite.mjs <module> <folder of fixtures>
 *
 * prints one line of JSON for each check: its name, and what was wrong, if anything.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const [module, fixtures] = process.argv.slice(2);
const ort = await import(module);
const { InferenceSession, Tensor } = ort;

const model = (...names) => path.join(fixtures, 'models', ...names);
const simple = model('simple_model.onnx');
const answer = -1.2322286;
const feed = () => ({ input: new Tensor('float32', [1, 2, 3, 4], [1, 4]) });
const near = (value) => assert.ok(Math.abs(value - answer) < 1e-5, `received ${value}`);

const checks = new Map();
const check = (name, action) => checks.set(name, action);
/** The action ends in an error of that class, with that in its message. */
const rejects = (name, action, kind, message) =>
  check(name, () => assert.rejects(async () => action(), { name: kind, message }));

async function withSession(use, options, source = simple) {
  const session = await InferenceSession.create(source, options);
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

check('exports what onnxruntime-common has, and listSupportedBackends', () => {
  for (const name of ['InferenceSession', 'Tensor', 'env', 'registerBackend', 'TRACE']) {
    assert.ok(name in ort, `${name} is missing`);
  }
  assert.ok(ort.listSupportedBackends().some(({ name, bundled }) => name === 'cpu' && bundled));
  assert.equal(ort.env.versions.node, '1.30.0');
  assert.equal(ort.default.InferenceSession, ort.InferenceSession);
});

// --- create -----------------------------------------------------------------

const bytes = () => new Uint8Array(readFileSync(simple));
check('create takes a path', () =>
  withSession(async (session) => near((await session.run(feed())).output.data[0])),
);
check('create takes a Uint8Array, also within a larger buffer', async () => {
  const whole = new Uint8Array(bytes().byteLength + 32);
  whole.set(bytes(), 16);
  const part = whole.subarray(16, 16 + bytes().byteLength);
  await withSession(async (session) => near((await session.run(feed())).output.data[0]), {}, part);
});
check('create takes an ArrayBuffer', () =>
  withSession(
    async (session) => near((await session.run(feed())).output.data[0]),
    {},
    bytes().buffer,
  ),
);
check('create takes an ArrayBuffer with offset and length', async () => {
  const { byteLength } = bytes();
  const whole = new Uint8Array(byteLength + 32);
  whole.set(bytes(), 16);
  const session = await InferenceSession.create(whole.buffer, 16, byteLength, {});
  near((await session.run(feed())).output.data[0]);
  await session.release();
});
check('create takes an .ort file', () =>
  withSession(
    async (session) => near((await session.run(feed())).output.data[0]),
    {},
    model('simple_model.ort'),
  ),
);
check('create takes external data as bytes', async () => {
  const data = new Uint8Array(readFileSync(model('external_data/model.onnx.data')));
  const source = new Uint8Array(readFileSync(model('external_data/model.onnx')));
  const x = new Tensor('float32', new Float32Array(16).fill(1), [1, 16]);
  const expected = await withSession(
    async (session) => [...(await session.run({ x })).y.data],
    {},
    model('external_data/model.onnx'),
  );
  const options = { externalData: [{ path: 'model.onnx.data', data }] };
  await withSession(
    async (session) => assert.deepEqual([...(await session.run({ x })).y.data], expected),
    options,
    source,
  );
});

const create = (...args) => InferenceSession.create(...args);
const buffer = () => bytes().buffer;
rejects('create: no argument', () => create(), 'TypeError', /argument\[0\]/);
rejects('create: a number', () => create(7), 'TypeError', /argument\[0\]/);
rejects('create: options that are none', () => create(simple, 7), 'TypeError', /'options'/);
rejects('create: options null', () => create(simple, null), 'TypeError', /'options'/);
rejects('create: bytes, options', () => create(bytes(), 7), 'TypeError', /'options'/);
rejects('create: offset below 0', () => create(buffer(), -1, 16), 'RangeError', /'byteOffset'/);
rejects('create: offset too large', () => create(buffer(), 1e9), 'RangeError', /'byteOffset'/);
rejects('create: offset fraction', () => create(buffer(), 1.5), 'RangeError', /'byteOffset'/);
rejects('create: length 0', () => create(buffer(), 0, 0), 'RangeError', /'byteLength'/);
rejects('create: length too large', () => create(buffer(), 0, 1e9), 'RangeError', /'byteLength'/);
rejects('create: length text', () => create(buffer(), 0, 'x'), 'TypeError', /'byteLength'/);
rejects('create: no such file', () => create('/no/such.onnx'), 'Error', /failed/);
rejects('create: no model', () => create(new Uint8Array(8).fill(1)), 'Error', /failed/);
rejects('create: no bytes', () => create(new Uint8Array(0)), 'Error', /Model data pointer is null/);
rejects(
  'create: a truncated file',
  () => create(path.join(fixtures, 'broken/truncated.onnx')),
  'Error',
  /Load model from .*truncated\.onnx failed/,
);

// --- session options ----------------------------------------------------------

const badOptions = [
  [{ intraOpNumThreads: '1' }, 'TypeError', /intraOpNumThreads/],
  [{ intraOpNumThreads: 1.5 }, 'RangeError', /intraOpNumThreads/],
  [{ intraOpNumThreads: -1 }, 'RangeError', /intraOpNumThreads/],
  [{ interOpNumThreads: '1' }, 'TypeError', /interOpNumThreads/],
  [{ interOpNumThreads: -1 }, 'RangeError', /interOpNumThreads/],
  [{ graphOptimizationLevel: 7 }, 'TypeError', /graphOptimizationLevel/],
  [{ graphOptimizationLevel: 'most' }, 'TypeError', /graphOptimizationLevel/],
  [{ enableCpuMemArena: 1 }, 'TypeError', /enableCpuMemArena/],
  [{ enableMemPattern: 'x' }, 'TypeError', /enableMemPattern/],
  [{ executionMode: 1 }, 'TypeError', /executionMode/],
  [{ executionMode: 'x' }, 'TypeError', /executionMode/],
  [{ optimizedModelFilePath: 1 }, 'TypeError', /optimizedModelFilePath/],
  [{ optimizedModelFilePath: '/no/such/folder/model.onnx' }, 'Error', /failed/],
  [{ enableProfiling: 1 }, 'TypeError', /enableProfiling/],
  [{ enableProfiling: true }, 'TypeError', /profileFilePrefix/],
  [{ enableProfiling: true, profileFilePrefix: 1 }, 'TypeError', /profileFilePrefix/],
  [{ logId: 1 }, 'TypeError', /logId/],
  [{ logSeverityLevel: 'x' }, 'TypeError', /logSeverityLevel/],
  [{ logSeverityLevel: 9 }, 'RangeError', /logSeverityLevel/],
  [{ preferredOutputLocation: 1 }, 'TypeError', /preferredOutputLocation/],
  [{ preferredOutputLocation: 'moon' }, 'TypeError', /preferredOutputLocation/],
  [{ preferredOutputLocation: { output: 'moon' } }, 'TypeError', /preferredOutputLocation/],
  [{ preferredOutputLocation: { nobody: 'cpu' } }, 'TypeError', /not a valid output name/],
  [{ extra: 1 }, 'TypeError', /extra/],
  [{ extra: { session: 1 } }, 'TypeError', /extra/],
  [{ externalData: 1 }, 'TypeError', /externalData/],
  [{ externalData: [1] }, 'TypeError', /externalData/],
  [{ externalData: [{ path: 1 }] }, 'TypeError', /'path'/],
  [{ externalData: [{ path: 'x', data: 1 }] }, 'TypeError', /'data'/],
  [{ executionProviders: 'cpu' }, 'TypeError', /.*/],
  [{ executionProviders: ['moon'] }, 'Error', /no available backend found/],
];
for (const [options, kind, message] of badOptions) {
  rejects(`option ${JSON.stringify(options)}`, () => create(simple, options), kind, message);
}

const goodOptions = [
  {},
  { executionProviders: ['cpu'] },
  { executionProviders: [{ name: 'cpu', useArena: false }] },
  { executionProviders: [] },
  { intraOpNumThreads: 0 },
  { intraOpNumThreads: 1, interOpNumThreads: 2, executionMode: 'parallel' },
  { interOpNumThreads: 2, executionMode: 'sequential' },
  ...['disabled', 'basic', 'extended', 'layout', 'all'].map((graphOptimizationLevel) => ({
    graphOptimizationLevel,
  })),
  { enableCpuMemArena: false, enableMemPattern: false },
  { logId: 'suite', logSeverityLevel: 4, logVerbosityLevel: 0 },
  { freeDimensionOverrides: { batch: 1, nobody: 3 } },
  { enableGraphCapture: true },
  { preferredOutputLocation: 'cpu' },
  { preferredOutputLocation: { output: 'cpu' } },
  { preferredOutputLocation: 'gpu-buffer' },
  { extra: { session: { set_denormal_as_zero: '1' } } },
];
for (const options of goodOptions) {
  check(`option ${JSON.stringify(options)}`, () =>
    withSession(async (session) => {
      const { output } = await session.run(feed());
      near(output.data[0]);
      assert.equal(output.location, 'cpu');
    }, options),
  );
}
check('a provider that is not there is left out with a warning', async () => {
  const warnings = [];
  const { warn } = console;
  console.warn = (...words) => warnings.push(words.join(' '));
  try {
    await withSession(() => undefined, { executionProviders: ['moon', 'cpu'] });
  } finally {
    console.warn = warn;
  }
  assert.match(warnings.join(), /removing requested execution provider "moon"/);
});

// --- metadata -----------------------------------------------------------------

check('names and metadata', () =>
  withSession((session) => {
    assert.deepEqual(session.inputNames, ['input']);
    assert.deepEqual(session.outputNames, ['output']);
    assert.deepEqual(session.inputMetadata, [
      { name: 'input', isTensor: true, type: 'float32', shape: ['batch', 4] },
    ]);
    assert.deepEqual(session.outputMetadata, [
      { name: 'output', isTensor: true, type: 'float32', shape: ['batch', 1] },
    ]);
  }),
);

// --- run ----------------------------------------------------------------------

check('run gives tensors of the module', () =>
  withSession(async (session) => {
    const results = await session.run(feed());
    assert.deepEqual(Object.keys(results), ['output']);
    assert.ok(results.output instanceof Tensor);
    assert.deepEqual(results.output.dims, [1, 1]);
    assert.equal(results.output.type, 'float32');
    assert.equal(results.output.size, 1);
    near((await results.output.getData())[0]);
  }),
);
check('run takes anything with the properties of a tensor', () =>
  withSession(async (session) => {
    const input = { type: 'float32', data: Float32Array.of(1, 2, 3, 4), dims: [1, 4] };
    const { output } = await session.run({ input: { ...input, location: 'cpu' } });
    near(output.data[0]);
  }),
);
check('run passes over feeds that the model does not have', () =>
  withSession(async (session) => near((await session.run({ ...feed(), more: 1 })).output.data[0])),
);
check('run takes names of outputs', () =>
  withSession(
    async (session) => {
      const tensor = (...data) => new Tensor('float32', data, [data.length]);
      const feeds = { a: tensor(1, 2), b: tensor(3, 4) };
      const two = await session.run(feeds, ['product', 'sum']);
      assert.deepEqual(Object.keys(two), ['sum', 'product']);
      assert.deepEqual(Object.keys(await session.run(feeds, { product: null }, {})), ['product']);
      assert.deepEqual(Object.keys(await session.run(feeds, { tag: 'x' })).sort(), [
        'greater',
        'product',
        'scaled',
        'shape',
        'sum',
      ]);
    },
    {},
    model('multi_io.onnx'),
  ),
);
check('run writes a given tensor in place', () =>
  withSession(async (session) => {
    const output = new Tensor('float32', new Float32Array(1), [1, 1]);
    near((await session.run(feed(), { output })).output.data[0]);
    near(output.data[0]);
  }),
);
check('run takes many at a time', () =>
  withSession(async (session) => {
    const all = await Promise.all(Array.from({ length: 32 }, () => session.run(feed())));
    for (const { output } of all) near(output.data[0]);
  }),
);
check('run options', () =>
  withSession(async (session) => {
    const options = { tag: 'suite', logSeverityLevel: 4, logVerbosityLevel: 0, terminate: false };
    near((await session.run(feed(), options)).output.data[0]);
    near((await session.run(feed(), ['output'], options)).output.data[0]);
    const extra = { memory: { enable_memory_arena_shrinkage: 'cpu:0' } };
    near((await session.run(feed(), { extra })).output.data[0]);
  }),
);

const run = (...args) => withSession((session) => session.run(...args));
const tensor = (type, data, dims) => new Tensor(type, data, dims);
const like = (properties) => ({
  input: {
    type: 'float32',
    data: new Float32Array(4),
    dims: [1, 4],
    location: 'cpu',
    ...properties,
  },
});
const disposed = () => {
  const { input } = feed();
  input.dispose();
  return { input };
};
const into = (output) => run(feed(), { output });
const badRuns = [
  ['no feeds', () => run(), 'TypeError', /'feeds'/],
  ['feeds null', () => run(null), 'TypeError', /'feeds'/],
  ['feeds a tensor', () => run(feed().input), 'TypeError', /'feeds'/],
  ['feeds an array', () => run([]), 'TypeError', /'feeds'/],
  ['a missing feed', () => run({}), 'Error', /input 'input' is missing in 'feeds'/],
  ['a number as feed', () => run({ input: 7 }), 'TypeError', /must be an object/],
  ['null as feed', () => run({ input: null }), 'TypeError', /must be an object/],
  ['a bare array as feed', () => run({ input: new Float32Array(4) }), 'TypeError', /dims/],
  ['no location', () => run(like({ location: undefined })), 'TypeError', /location/],
  ['a strange location', () => run(like({ location: 'moon' })), 'RangeError', /location/],
  ['dims below 0', () => run(like({ dims: [1, -4] })), 'RangeError', /dims\[1\]/],
  ['dims text', () => run(like({ dims: 'x' })), 'TypeError', /dims/],
  ['another array', () => run(like({ data: new Int8Array(4) })), 'TypeError', /typed array/],
  [
    'too few elements',
    () => run(like({ data: new Float32Array(2) })),
    'Error',
    /expected 16, got 8/,
  ],
  ['a disposed tensor', () => run(disposed()), 'RangeError', /location is not supported/],
  [
    'another type',
    () => run({ input: tensor('int8', [1, 2, 3, 4], [1, 4]) }),
    'Error',
    /Unexpected input data type\. Actual: \(tensor\(int8\)\) , expected: \(tensor\(float\)\)/,
  ],
  [
    'another size',
    () => run({ input: tensor('float32', [1, 2, 3], [1, 3]) }),
    'Error',
    /Got invalid dimensions for input: input[^]*index: 1 Got: 3 Expected: 4/,
  ],
  [
    'another rank',
    () => run({ input: tensor('float32', [1, 2, 3, 4], [4]) }),
    'Error',
    /Invalid rank for input: input Got: 1 Expected: 2/,
  ],
  ['fetches null', () => run(feed(), null), 'TypeError', /argument\[1\]/],
  ['fetches a number', () => run(feed(), 7), 'TypeError', /argument\[1\]/],
  ['fetches a tensor', () => run(feed(), feed().input), 'TypeError', /'fetches'/],
  ['no fetches', () => run(feed(), []), 'TypeError', /'fetches'/],
  ['fetches of numbers', () => run(feed(), [1]), 'TypeError', /'fetches'/],
  ['an unknown fetch', () => run(feed(), ['x']), 'RangeError', /'fetches' contains invalid output/],
  ['options a number', () => run(feed(), ['output'], 7), 'TypeError', /'options'/],
  ['log level text', () => run(feed(), { logSeverityLevel: 'x' }), 'TypeError', /logSeverityLevel/],
  ['log level 9', () => run(feed(), { logSeverityLevel: 9 }), 'RangeError', /logSeverityLevel/],
  ['tag a number', () => run(feed(), { tag: 1 }), 'TypeError', /tag/],
  [
    'a place of another type',
    () => into(tensor('int32', [0], [1, 1])),
    'Error',
    /Unexpected output/,
  ],
  ['a place of another rank', () => into(tensor('float32', [0], [1])), 'Error', /Invalid rank/],
  ['a place of another size', () => into(tensor('float32', [0, 0], [1, 2])), 'Error', /dimensions/],
];
for (const [name, action, kind, message] of badRuns) {
  rejects(`run: ${name}`, action, kind, message);
}
rejects(
  'run: an operator that fails',
  () =>
    withSession(
      (session) => session.run({ index: new Tensor('int64', [99n], [1]) }),
      { logSeverityLevel: 4 },
      model('fails_in_run.onnx'),
    ),
  'Error',
  /Non-zero status code returned while running Gather node/,
);

// --- the end --------------------------------------------------------------------

check('release ends a session', async () => {
  const session = await create(simple);
  await session.release();
  const gone = { name: 'Error', message: /already disposed/ };
  await assert.rejects(() => session.run(feed()), gone);
  await assert.rejects(() => session.release(), gone);
  assert.throws(() => session.endProfiling(), gone);
  assert.deepEqual(session.inputNames, ['input']);
});
check('profiling may be started and ended where there is none', () =>
  withSession((session) => {
    session.startProfiling();
    session.endProfiling();
  }),
);

for (const [name, action] of checks) {
  let error = null;
  try {
    await action();
  } catch (caught) {
    error = String(caught?.stack ?? caught);
  }
  console.log(JSON.stringify({ name, error }));
}
