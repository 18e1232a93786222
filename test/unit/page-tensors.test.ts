import { execFileSync } from 'node:child_process';

import { describe, expect, it } from 'vitest';

import {
  cropOf,
  curlCommand,
  exampleSizes,
  exampleText,
  imageInput,
  imageText,
  isDistribution,
  modelUrl,
  numberText,
  predictBody,
  quantileOf,
  readJson,
  rowsOf,
  topOf,
  trafficBetween,
} from '../../lib/server/page/tensors.js';

describe('an example', () => {
  it.each([
    ['float32', [], '1.0'],
    ['int64', [2], '[1, 1]'],
    ['bool', [1], '[true]'],
    ['string', [2], '["text", "text"]'],
    ['float32', [1, 2], '[\n  [1.0, 1.0]\n]'],
    ['float32', [0], '[]'],
    ['float32', [2, 0], '[\n  [],\n  []\n]'],
  ] as const)('of %s %j', (dtype, sizes, text) => {
    expect(exampleText(dtype, sizes)).toBe(text);
    readJson(text);
  });

  it('fits the shape, with one row and little of what is open', () => {
    expect(exampleSizes(['batch', 'width', 3, null])).toEqual([1, 4, 3, 4]);
    expect(exampleSizes([null, 8])).toEqual([1, 8]);
    expect(exampleSizes(['n', 'batch'])).toEqual([1, 1]);
    expect(exampleSizes(null)).toEqual([]);
  });

  it.each([
    [[1e9, 1e9], 'ones'],
    [[1e9, 1e9], 'zeros'],
    [[64, 64], 'ones'],
    [Array.from({ length: 100 }, () => 1), 'ones'],
  ] as const)('of %j is not written out as %s', (sizes, kind) => {
    expect(exampleText('float32', sizes, kind)).toBeUndefined();
  });

  it('of zeros or random values may be longer than people edit', () => {
    for (const kind of ['zeros', 'random'] as const) {
      expect(rowsOf(readJson(exampleText('float32', [64, 64], kind) ?? ''))).toHaveLength(64);
    }
  });
});

describe('an input is taken for an image', () => {
  const of = (shape: (number | string | null)[] | null, dtype = 'float32', name = 'x') =>
    imageInput({ name, dtype, shape });

  it.each([
    [['batch', 224, 224, 3], ['NHWC'], 3, 224],
    [[1, 3, 32, 64], ['NCHW'], 3, 64],
    [[null, null, null, 3], ['NHWC'], 3, undefined],
    [[28, 28, 1], ['NHWC'], 1, 28],
    [[1, 28, 28], ['NCHW'], 1, 28],
    [[1, 3, 5, 3], ['NHWC', 'NCHW'], 3, 5],
  ] as const)('with %j', (shape, layouts, channels, width) => {
    const image = of([...shape]);
    expect(image?.options.map(({ layout }) => layout)).toEqual(layouts);
    expect(image?.options[0]).toMatchObject({ channels, width });
    expect(image?.isBatch).toBe(shape.length === 4);
  });

  it.each([
    [null],
    [[]],
    [[1, 8]],
    [[2, 8, 8, 3]],
    [['batch', 3, 'width']],
    [[1, 8, 8, 4]],
    [[1, 1, 8, 8, 3]],
  ])('but not with %j', (shape) => {
    expect(of(shape)).toBeUndefined();
  });

  it('but not of strings, nor of what JSON cannot carry', () => {
    for (const dtype of ['string', 'bool', 'float16', 'complex64']) {
      expect(of([1, 8, 8, 3], dtype)).toBeUndefined();
    }
  });
});

describe('pixels', () => {
  // Two pixels, red and white, one above the other.
  const rgba = Uint8ClampedArray.of(255, 0, 0, 255, 255, 255, 255, 255);
  const size = { height: 2, width: 1, isBatch: true };

  it.each([
    ['NHWC', 3, '0..1', [[[[1, 0, 0]], [[1, 1, 1]]]]],
    ['NHWC', 3, '-1..1', [[[[1, -1, -1]], [[1, 1, 1]]]]],
    ['NHWC', 3, '0..255', [[[[255, 0, 0]], [[255, 255, 255]]]]],
    [
      'NCHW',
      3,
      '0..1',
      [
        [
          [[1], [1]],
          [[0], [1]],
          [[0], [1]],
        ],
      ],
    ],
    ['NHWC', 1, '0..1', [[[[0.299]], [[1]]]]],
  ])('become %s of %i channels, %s', (layout, channels, range, tensor) => {
    const text = imageText(rgba, { ...size, layout, channels, range });
    expect(JSON.parse(text)).toEqual(tensor);
  });

  it('come from the middle of an image of other proportions', () => {
    expect(cropOf({ width: 400, height: 200 }, { width: 10, height: 10 })).toEqual({
      x: 100,
      y: 0,
      width: 200,
      height: 200,
    });
    expect(cropOf({ width: 10, height: 40 }, { width: 20, height: 40 })).toEqual({
      x: 0,
      y: 10,
      width: 10,
      height: 20,
    });
  });
});

describe('a request', () => {
  it('has names of any kind, and values as they were written', () => {
    const text = predictBody('"}', [
      { name: '__proto__', text: '[9007199254740993, NaN]' },
      { name: '"\u2028', text: '1' },
    ]);
    expect(text).toContain('9007199254740993, NaN');
    const { signature_name: name, inputs } = readJson(text) as {
      signature_name: string;
      inputs: object;
    };
    expect(name).toBe('"}');
    expect(Object.keys(inputs)).toEqual(['__proto__', '"\u2028']);
  });

  it('goes to the model that was meant', () => {
    expect(modelUrl('a/b?c#d:e', {}, 'predict')).toBe('v1/models/a%2Fb%3Fc%23d%3Ae:predict');
    expect(modelUrl('m', { versions: '7' }, 'predict')).toBe('v1/models/m/versions/7:predict');
    expect(modelUrl('m', { labels: 'a/b' }, 'classify')).toBe('v1/models/m/labels/a%2Fb:classify');
  });

  it.runIf(process.platform !== 'win32')('as a command is what a shell takes it for', () => {
    const body = `{"x": ["it's", "$(touch /tmp/never)", "\`id\`", "\\\\"]}`;
    const command = curlCommand("http://h/v1/models/it's:predict", body, true);
    const script = `curl() { printf '%s\\n' "$@"; }; TENON_AUTH_TOKEN=t; ${command}`;
    expect(execFileSync('sh', ['-c', script]).toString().split('\n')).toEqual([
      '-H',
      'Authorization: Bearer t',
      '-d',
      body,
      "http://h/v1/models/it's:predict",
      '',
    ]);
  });
});

describe('an answer', () => {
  it('may hold numbers that JSON has not, which are null, and texts that look like them', () => {
    expect(readJson('{"a": [NaN, -Infinity, Infinity, 1], "b": "NaN \\" Infinity"}')).toEqual({
      a: [null, null, null, 1],
      b: 'NaN " Infinity',
    });
    expect(() => readJson('{"a": nan}')).toThrow(SyntaxError);
  });

  it.each([
    [[1, 2], [[1, 2]]],
    [
      [
        [1, 2],
        [3, 4],
      ],
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [[1], undefined],
    [[], undefined],
    [3, undefined],
    [['a', 'b'], undefined],
    [[[[1, 2]]], undefined],
    [[1, null], undefined],
  ])('%j has the rows %j', (value, rows) => {
    expect(rowsOf(value)).toEqual(rows);
  });

  it('is ranked', () => {
    expect(isDistribution([0.2, 0.7, 0.1])).toBe(true);
    expect(isDistribution([2, -1])).toBe(false);
    expect(isDistribution([0.2, 0.2])).toBe(false);
    expect(topOf([0.2, 0.7, 0.1], 2)).toEqual([
      { index: 1, value: 0.7 },
      { index: 0, value: 0.2 },
    ]);
  });
});

describe('a quantile', () => {
  const bounds = [10, 20, 40];

  it.each([
    [[0, 4, 0, 0], 0.5, 15],
    [[0, 4, 0, 0], 1, 20],
    [[2, 0, 2, 0], 0.5, 10],
    [[2, 0, 2, 0], 0.75, 30],
    [[0, 0, 0, 3], 0.5, 40],
    [[0, 0, 0, 0], 0.5, undefined],
  ])('of %j at %d is %j', (counts, quantile, value) => {
    expect(quantileOf(counts, bounds, quantile)).toBe(value);
  });
});

it('numbers have as many digits as people read', () => {
  expect([0, 0.1234, 1.25, 9.99, 45.678, 123.4, 1234, 12_345, 2.5e6].map(numberText)).toEqual([
    '0',
    '0.12',
    '1.3',
    '10',
    '45.7',
    '123',
    '1234',
    '12.3 k',
    '2.5 M',
  ]);
  expect(numberText(NaN)).toBe('–');
});

it('what happened between two answers is never less than nothing', () => {
  const between = trafficBetween(
    { requests: 5, failures: 1, latency: [3, 4] },
    { requests: 7, failures: 1, runs: 2, latency: [3, 5, 8, 1] },
  );
  expect(between).toMatchObject({ requests: 2, failures: 0, runs: 2, calls: 0 });
  expect([...between.latency]).toEqual([
    [3, 1],
    [8, 1],
  ]);
  expect(trafficBetween({ requests: 5 }, { requests: 1 }).requests).toBe(0);
});
