import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  configure,
  type FeedValue,
  load,
  type Model,
  Tensor,
  type TenonErrorCode,
} from '../../lib/index.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

/** What each case ends in, through both kinds of run; and the next call has to work. */
type BadFeed = [title: string, code: TenonErrorCode, feeds: unknown, ...words: (string | RegExp)[]];

function detached(): Float32Array {
  const data = new Float32Array(4);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  return data;
}

function disposed(shape: number[]): Tensor {
  const tensor = Tensor.alloc('float32', shape);
  tensor.dispose();
  return tensor;
}

/** For a model with the one input `x` or `input` of [?,n]. */
function badFeeds(name: string, shape: string, width: number): BadFeed[] {
  const good = new Array<number>(width).fill(1);
  const tensor = (dtype: string, data: unknown, size?: number[]) =>
    new Tensor(dtype as 'float32', data as Float32Array, size);
  return [
    [
      'an unknown feed',
      'ERR_TENON_UNKNOWN_FEED',
      { [name]: [good], extra: [1] },
      `"${name}"`,
      '"extra"',
    ],
    [
      'a feed of another case',
      'ERR_TENON_UNKNOWN_FEED',
      { [name.toUpperCase()]: [good] },
      `"${name.toUpperCase()}"`,
    ],
    ['no feed', 'ERR_TENON_MISSING_FEED', {}, `"${name}"`],
    ['a feed that is undefined', 'ERR_TENON_MISSING_FEED', { [name]: undefined }, `"${name}"`],
    ['inherited feeds', 'ERR_TENON_MISSING_FEED', Object.create({ [name]: [good] }), `"${name}"`],
    ['null', 'ERR_TENON_DTYPE', { [name]: null }, `"${name}"`, 'null'],
    ['an object', 'ERR_TENON_DTYPE', { [name]: { data: good } }, `"${name}"`, 'object'],
    ['a Date', 'ERR_TENON_DTYPE', { [name]: new Date() }, `"${name}"`, 'Date'],
    ['a promise', 'ERR_TENON_DTYPE', { [name]: Promise.resolve(good) }, `"${name}"`, 'Promise'],
    ['a function', 'ERR_TENON_DTYPE', { [name]: () => good }, `"${name}"`, 'function'],
    ['a symbol', 'ERR_TENON_DTYPE', { [name]: Symbol('x') }, `"${name}"`, 'symbol'],
    ['a Map', 'ERR_TENON_DTYPE', { [name]: new Map() }, `"${name}"`, 'Map'],
    [
      'an ArrayBuffer',
      'ERR_TENON_DTYPE',
      { [name]: new ArrayBuffer(4 * width) },
      `"${name}"`,
      'ArrayBuffer',
    ],
    [
      'a DataView',
      'ERR_TENON_DTYPE',
      { [name]: new DataView(new ArrayBuffer(4 * width)) },
      `"${name}"`,
    ],
    [
      'a tensor of another dtype',
      'ERR_TENON_DTYPE',
      { [name]: tensor('float64', good, [1, width]) },
      'float32',
      'float64',
      `"${name}"`,
    ],
    [
      'a typed array of another type',
      'ERR_TENON_DTYPE',
      { [name]: new Float64Array(width) },
      'Float32Array',
      'Float64Array',
      `"${name}"`,
    ],
    ['bigints', 'ERR_TENON_DTYPE', { [name]: [good.map(BigInt)] }, 'float32', '1n'],
    ['strings', 'ERR_TENON_DTYPE', { [name]: [good.map(String)] }, 'float32', '"1"'],
    ['booleans', 'ERR_TENON_DTYPE', { [name]: [good.map(() => true)] }, 'float32', 'true'],
    ['holes', 'ERR_TENON_DTYPE', { [name]: [new Array(width)] }, 'float32', 'undefined'],
    ['a ragged array', 'ERR_TENON_SHAPE', { [name]: [good, [1]] }, `"${name}"`, 'an array of 1'],
    [
      'another size',
      'ERR_TENON_SHAPE',
      { [name]: tensor('float32', [...good, 1], [1, width + 1]) },
      shape,
      `[1,${width + 1}]`,
      `"${name}"`,
    ],
    [
      'another rank',
      'ERR_TENON_SHAPE',
      { [name]: tensor('float32', good, [1, 1, width]) },
      shape,
      `[1,1,${width}]`,
    ],
    ['a scalar tensor', 'ERR_TENON_SHAPE', { [name]: tensor('float32', [1], []) }, shape, '[]'],
    [
      'nested arrays of another size',
      'ERR_TENON_SHAPE',
      { [name]: [[...good, 1]] },
      shape,
      `[1,${width + 1}]`,
    ],
    [
      'a typed array of another length',
      'ERR_TENON_DATA_LENGTH',
      { [name]: new Float32Array(width + 1) },
      `multiple of ${width}`,
      `${width + 1}`,
      `"${name}"`,
    ],
    [
      'a flat array of another length',
      'ERR_TENON_DATA_LENGTH',
      { [name]: new Array(width + 1).fill(1) },
      `multiple of ${width}`,
      `"${name}"`,
    ],
    ['a detached array', 'ERR_TENON_DETACHED', { [name]: detached() }, `"${name}"`],
    ['a disposed tensor', 'ERR_TENON_DISPOSED', { [name]: disposed([1, width]) }, 'disposed'],
  ];
}

const models: [string, string, BadFeed[], FeedValue][] = [
  ['onnxruntime', 'simple_model.onnx', badFeeds('input', '[batch,4]', 4), [[1, 2, 3, 4]]],
  ['tensorflow', 'tf_signatures', badFeeds('x', '[?,3]', 3), [[1, 2, 3]]],
];

describe.each(models)('a bad feed of %s', (engine, file, cases, good) => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath(file), engine === 'tensorflow' ? { signature: 'double' } : {});
  });
  afterAll(() => model.close());

  it.each(cases)('%s ends in %s, and the next run works', async (...[, code, feeds, ...words]) => {
    const given = feeds as Record<string, FeedValue>;
    await expectError(code, () => model.run(given), ...words);
    await expectError(code, () => model.runSync(given), ...words);
    expect(Object.values(await model.run(good))[0]?.dtype).toBe('float32');
  });

  it.each([[undefined], [null], [Symbol('x')], [() => 1], [new Date()]])(
    '%o in place of feeds is a coded error',
    async (feeds) => {
      const error = await errorOf(() => model.run(feeds as unknown as FeedValue));
      expect(['ERR_TENON_DTYPE', 'ERR_TENON_MISSING_FEED']).toContain(error.code);
    },
  );
});

describe('a bare feed', () => {
  it('where several inputs must be fed ends in ERR_TENON_MISSING_FEED', async () => {
    await using model = await load(modelPath('rnn_state.onnx'));
    await expectError('ERR_TENON_MISSING_FEED', () => model.run([1]), '"x"', '"state"');
  });

  it('with several unknown dimensions ends in ERR_TENON_SHAPE', async () => {
    await using model = await load(modelPath('tf_shared_outputs'));
    const action = () => model.run(new Float32Array(6));
    await expectError('ERR_TENON_SHAPE', action, '"x"', '[?,?]', 'Tensor');
  });
});

describe('shapes that are not compared', () => {
  it('with what is declared reach the engine, whose error is kept', async () => {
    await using model = await load(modelPath('simple_model.onnx'), { validateShapes: false });
    const wrong = new Tensor('float32', [1, 2, 3], [1, 3]);
    const error = await errorOf(() => model.run({ input: wrong }));
    expect(error.code).toBe('ERR_TENON_RUN');
    expect(error.engineCode).toBeGreaterThan(0);
    expect((await model.run([[1, 2, 3, 4]]))['output']?.shape).toEqual([1, 1]);
  });

  it('are compared in rank where TensorFlow would end the process', async () => {
    await using model = await load(modelPath('digits_cnn_tf'), { validateShapes: false });
    for (const shape of [[], [0], [2, 2], [1, 8, 8], [1, 8, 8, 1, 1]]) {
      const images = Tensor.alloc('float32', shape);
      const expected = ['rank 4', '"images"', `[${shape.join(',')}]`, 'Conv2D'];
      await expectError('ERR_TENON_SHAPE', () => model.run({ images }), ...expected);
      await expectError('ERR_TENON_SHAPE', () => model.runSync({ images }), ...expected);
    }
    const { probabilities } = await model.run({ images: Tensor.alloc('float32', [2, 8, 8, 1]) });
    expect(probabilities?.shape).toEqual([2, 10]);
    const other = Tensor.alloc('float32', [1, 8, 8, 3]);
    await expectError('ERR_TENON_RUN', () => model.run({ images: other }));
  });

  it('may have any rank in a model where no operation minds', async () => {
    await using model = await load(modelPath('half_plus_two'), { validateShapes: false });
    for (const shape of [[], [2, 2], [1, 1, 1]]) {
      expect((await model.run({ x: Tensor.alloc('float32', shape) }))['y']?.shape).toEqual(shape);
    }
  });

  it('are still compared with the data', async () => {
    await using model = await load(modelPath('half_plus_two'), { validateShapes: false });
    const tensor = new Tensor('float32', [1, 2]);
    (tensor.shape as number[])[0] = 1_000_000;
    await expectError('ERR_TENON_DATA_LENGTH', () => model.run({ x: tensor }));
    await expectError('ERR_TENON_DATA_LENGTH', () => model.runSync({ x: tensor }));
  });
});

describe('a tensor that was tampered with', () => {
  const tampered: [string, (shape: unknown[]) => void][] = [
    ['text in its shape', (shape) => (shape[0] = 'x')],
    ['an object in its shape', (shape) => (shape[0] = {})],
    ['a negative size', (shape) => (shape[0] = -1)],
    ['NaN in its shape', (shape) => (shape[0] = NaN)],
    ['a size of 2^62', (shape) => (shape[0] = 2 ** 62)],
    ['more dimensions', (shape) => shape.push(2 ** 40, 2 ** 40)],
    ['no dimensions', (shape) => shape.pop()],
  ];

  it.each(tampered)('to have %s is a coded error in both engines', async (_, tamper) => {
    for (const file of ['same.onnx', 'half_plus_two']) {
      await using model = await load(modelPath(file), { validateShapes: false });
      const tensor = new Tensor('float32', [1, 2]);
      tamper(tensor.shape as unknown as unknown[]);
      const error = await errorOf(() => model.run({ x: tensor }));
      expect(error.code).toMatch(/^ERR_TENON_(DATA_LENGTH|SHAPE|TOO_LARGE|INVALID_ARGUMENT)$/);
    }
  });
});

describe('options of a run', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath('same.onnx'));
  });
  afterAll(() => model.close());

  const bad: [string, unknown, string][] = [
    ['null', null, 'an options object'],
    ['an array', [], 'an options object'],
    ['text', 'x', 'an options object'],
    ['an unknown one', { timeout: 5 }, '"timeout"'],
    ['a signature that is no text', { signature: 5 }, '"signature"'],
    ['outputs that are no array', { outputs: 'x' }, '"outputs"'],
    ['outputs that are no texts', { outputs: [1] }, '"outputs[0]"'],
    ['no outputs', { outputs: [] }, '"outputs"'],
  ];
  const badAsync: [string, unknown, string][] = [
    ['a signal that is none', { signal: {} }, '"signal"'],
    ['a signal that only emits', { signal: new EventTarget() }, '"signal"'],
    ['a signal that is null', { signal: null }, '"signal"'],
    ['a controller as the signal', { signal: new AbortController() }, '"signal"'],
    ['a timeout of 0', { timeoutMs: 0 }, '"timeoutMs"'],
    ['a negative timeout', { timeoutMs: -1 }, '"timeoutMs"'],
    ['a timeout as text', { timeoutMs: '5' }, '"timeoutMs"'],
    ['a timeout without end', { timeoutMs: Infinity }, '"timeoutMs"'],
    ['a timeout longer than a timer can wait', { timeoutMs: 2 ** 31 }, '"timeoutMs"'],
  ];

  it.each([...bad, ...badAsync])('%s is refused by run', async (_, options, word) => {
    const action = () => model.run([1], options as object);
    await expectError('ERR_TENON_INVALID_ARGUMENT', action, word);
  });

  it.each([...bad, ['a timeout', { timeoutMs: 5 }, '"timeoutMs"'] as const])(
    '%s is refused by runSync',
    async (_, options, word) => {
      const action = () => model.runSync([1], options as object);
      await expectError('ERR_TENON_INVALID_ARGUMENT', action, word);
    },
  );
});

describe('options of configure', () => {
  it.each([
    [null, 'an options object'],
    [5, 'an options object'],
    [{ threads: 1 }, '"threads"'],
    [{ onnxruntime: 1 }, '"configure.onnxruntime"'],
    [{ onnxruntime: { log: 1 } }, '"log"'],
    [{ onnxruntime: { logLevel: 'loud' } }, '"onnxruntime.logLevel"'],
    [{ onnxruntime: { logLevel: 2 } }, '"onnxruntime.logLevel"'],
    [{ onnxruntime: { telemetry: 'no' } }, '"onnxruntime.telemetry"'],
  ])('%j are refused', async (options, word) => {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => configure(options as object), word);
  });

  it('that differ after a load end in ERR_TENON_CONFIGURE', async () => {
    await (await load(modelPath('same.onnx'))).close();
    const action = () => configure({ onnxruntime: { logLevel: 'verbose' } });
    await expectError('ERR_TENON_CONFIGURE', action, 'log level');
  });

  it('that are in force already are taken after a load', async () => {
    await (await load(modelPath('same.onnx'))).close();
    configure({});
    configure({ onnxruntime: { telemetry: false } });
  });
});

describe('options of the library', () => {
  it('that name nothing end in ERR_TENON_ENGINE_NOT_FOUND with the places tried', async () => {
    const onnxruntime = { library: '/nowhere/libonnxruntime.so.1' };
    const action = () => load(modelPath('same.onnx'), { onnxruntime });
    await expectError('ERR_TENON_ENGINE_NOT_FOUND', action, '/nowhere/libonnxruntime.so.1');
  });

  it('that name a file that is no library end in a coded error', async () => {
    const onnxruntime = { library: modelPath('same.onnx') };
    const error = await errorOf(() => load(modelPath('same.onnx'), { onnxruntime }));
    expect(error.code).toMatch(/^ERR_TENON_ENGINE_(LOAD|CONFLICT|NOT_FOUND)$/);
  });
});
