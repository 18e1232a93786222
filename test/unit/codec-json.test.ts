import { describe, expect, it } from 'vitest';

import {
  decodeAtOnceMaxBytes,
  type DecodedPredict,
  decodeExamples,
  decodePredict,
  encodeAtOnceMaxElements,
  encodeNumber,
  encodePredict,
  type JsonFormat,
  type JsonInput,
} from '../../lib/codec/json.js';
import { StatusError, type StatusName } from '../../lib/codec/status.js';
import { type DType, Tensor } from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { type Random, randomOf } from '../helpers/random.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const x = (dtype: DType): readonly JsonInput[] => [{ name: 'x', dtype }];

/** Spaces behind the root, which nobody looks at, send a body to a thread. */
const beyondAtOnce = ' '.repeat(decodeAtOnceMaxBytes);

async function decode(
  body: string,
  inputs: readonly JsonInput[] = x('float32'),
): Promise<DecodedPredict> {
  const atOnce = decodePredict(bytes(body), () => inputs);
  expect(atOnce).not.toBeInstanceOf(Promise);
  const onThread = decodePredict(bytes(body + beyondAtOnce), () => inputs);
  expect(onThread).toBeInstanceOf(Promise);
  expect(await onThread).toEqual(atOnce);
  return atOnce;
}

async function feed(body: string, dtype: DType = 'float32'): Promise<Tensor> {
  const { feeds } = await decode(body, x(dtype));
  expect(Object.keys(feeds)).toEqual(['x']);
  return feeds['x'] as Tensor;
}

async function refusal(action: () => unknown): Promise<[StatusName, string]> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    const { status, message } = error as StatusError;
    return [status, message];
  }
  throw new Error('expected a refusal, and there was none');
}

async function refused(body: string, inputs?: readonly JsonInput[]): Promise<[StatusName, string]> {
  const atOnce = await refusal(() => decodePredict(bytes(body), () => inputs ?? x('float32')));
  const onThread = await refusal(() =>
    decodePredict(bytes(body + beyondAtOnce), () => inputs ?? x('float32')),
  );
  expect(onThread[0]).toBe(atOnce[0]);
  return atOnce;
}

const encode = async (format: JsonFormat, outputs: Record<string, Tensor>): Promise<string> => {
  const named = Object.entries(outputs).map(([name, tensor]) => ({ name, tensor }));
  return (await encodePredict(format, named)).toString();
};

describe('decodePredict', () => {
  it('reads instances into one tensor of them', async () => {
    const { signatureName, format, feeds } = await decode('{"instances":[[1,2],[3,4.5]]}');
    expect({ signatureName, format }).toEqual({ signatureName: 'serving_default', format: 'row' });
    expect(feeds['x']?.shape).toEqual([2, 2]);
    expect(feeds['x']?.data).toEqual(Float32Array.of(1, 2, 3, 4.5));
  });

  it('reads inputs as they are', async () => {
    const { format, feeds } = await decode('{"inputs":{"x":2,"y":["unused"]}}');
    expect(format).toBe('columnar');
    expect(feeds['x']?.shape).toEqual([]);
  });

  it.each<[DType, string, unknown]>([
    ['float32', '[0.1, 1e39, -Infinity, NaN]', [Math.fround(0.1), Infinity, -Infinity, NaN]],
    ['float64', '[0.1, 1e308, 5e-324]', [0.1, 1e308, 5e-324]],
    ['int8', '[300, -1]', [44, -1]],
    ['uint8', '[300, 0]', [44, 0]],
    ['int16', '[65537]', [1]],
    ['int32', '[-2147483648, 2147483647]', [-2147483648, 2147483647]],
    ['uint32', '[4294967295]', [4294967295]],
    ['int64', '[9007199254740993, -9223372036854775808]', [9007199254740993n, -(2n ** 63n)]],
    ['uint64', '[18446744073709551615]', [2n ** 64n - 1n]],
    ['bool', '[true, false]', [true, false]],
    ['string', '["a\\n\\u00e9\\ud83d\\ude00", {"b64": "YWI="}]', ['a\né😀', 'ab']],
  ])('reads %s from %s', async (dtype, list, expected) => {
    expect((await feed(`{"instances":${list}}`, dtype)).toArray()).toEqual(expected);
    expect((await feed(`{"inputs":${list}}`, dtype)).toArray()).toEqual(expected);
  });

  it.each<[DType, string, string, string]>([
    ['float32', '"x"', 'String', 'float'],
    ['float64', 'true', 'True', 'double'],
    ['int32', '1.0', 'Number', 'int32'],
    ['int64', '9223372036854775808', 'Number', 'int64'],
    ['uint64', '-1', 'Number', 'uint64'],
    ['bool', '1', 'Number', 'bool'],
    ['string', 'null', 'Null', 'string'],
  ])('refuses for %s %s', async (dtype, value, type, name) => {
    const text = `JSON Value: ${value} Type: ${type} is not of expected type: ${name}`;
    expect(await refused(`{"inputs":${value}}`, x(dtype))).toEqual(['INVALID_ARGUMENT', text]);
    expect(await refused(`{"instances":[${value}]}`, x(dtype))).toEqual([
      'INVALID_ARGUMENT',
      `Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: ${text}`,
    ]);
  });

  it.each<[DType, string]>([
    ['float16', 'half'],
    ['bfloat16', 'bfloat16'],
    ['uint16', 'uint16'],
    ['complex64', 'complex64'],
  ])('has no %s, as TensorFlow Serving', async (dtype, name) => {
    const text = `Conversion of JSON Value: 1 to type: ${name}`;
    expect(await refused('{"inputs":1}', x(dtype))).toEqual(['UNIMPLEMENTED', text]);
    expect(await refused('{"instances":[1]}', x(dtype))).toEqual([
      'INVALID_ARGUMENT',
      `Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: ${text}`,
    ]);
  });

  it.each([
    ['{"instances":[1,}', 'JSON Parse error: Invalid value. at offset: 16'],
    [
      '{"instances":[[1,2],[3,4,5]]}',
      "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3",
    ],
    [
      '{"instances":[[1,2],[[3,4]]]}',
      "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
    ],
    [
      '{"inputs":[[1,2],[3]]}',
      'Encountered list at unexpected size: 1 at level: 1 expected size: 2',
    ],
    ['{"inputs":{}}', "Missing named input: x in 'inputs' object."],
    [
      '{"instances":[{"x":1,"z":2}]}',
      "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: z",
    ],
    ['{}', "Missing 'inputs' or 'instances' key"],
    ['[]', 'JSON Value: [] Is not object'],
  ])('refuses %s', async (body, text) => {
    expect(await refused(body)).toEqual(['INVALID_ARGUMENT', text]);
  });

  it('asks for the inputs of the signature that the body names, wherever it does', async () => {
    const inputsOf = (name: string): readonly JsonInput[] => {
      if (name === 'other') return [{ name: 'y', dtype: 'int64' }];
      throw new StatusError('INVALID_ARGUMENT', `no ${name}`);
    };
    for (const body of [
      '{"signature_name":"other","inputs":[1]}',
      '{"inputs":[1],"signature_name":"other"}',
      '{"inputs":[1],"signature_name":"\\u006fther"}',
    ]) {
      for (const rest of ['', beyondAtOnce]) {
        const { signatureName, feeds } = await decodePredict(bytes(body + rest), inputsOf);
        expect(signatureName).toBe('other');
        expect(feeds['y']?.toArray()).toEqual([1n]);
      }
    }
    const refusedBy = (body: string): Promise<unknown> =>
      refusal(() => decodePredict(bytes(body), inputsOf));
    expect(await refusedBy('{"inputs":[1]}')).toEqual(['INVALID_ARGUMENT', 'no serving_default']);
    expect(await refusedBy('{"inputs":1,"signature_name":"b"}')).toEqual([
      'INVALID_ARGUMENT',
      'no b',
    ]);
    // A fault in the text wins.
    expect(await refusedBy('{"signature_name":"b","inputs":[1}')).toEqual([
      'INVALID_ARGUMENT',
      "JSON Parse error: Missing a comma or ']' after an array element. at offset: 33",
    ]);
  });

  it('refuses a name that is no UTF-8, though a signature has U+FFFD in its place', async () => {
    const body = Buffer.from('{"signature_name":"\xff","inputs":[1]}', 'latin1');
    for (const rest of ['', beyondAtOnce]) {
      const whole = Buffer.concat([body, bytes(rest)]);
      expect(await refusal(() => decodePredict(whole, () => x('float32')))).toEqual([
        'INVALID_ARGUMENT',
        "'signature_name' must be UTF-8",
      ]);
    }
  });

  it('hands out large tensors over memory of its own, aligned for the engines', async () => {
    const count = 100_000;
    const list = Array.from({ length: count }, (_, i) => i / 8);
    const { feeds } = await decodePredict(bytes(JSON.stringify({ instances: list })), () =>
      x('float32'),
    );
    const { data } = feeds['x'] as Tensor<'float32'>;
    expect(Tensor.isOwned(data)).toBe(true);
    expect(data).toEqual(Float32Array.from(list));
    feeds['x']?.dispose();
    expect(data.length).toBe(0);
  });

  it('takes many bodies at once', async () => {
    const bodies = Array.from({ length: 50 }, (_, i) =>
      bytes(JSON.stringify({ inputs: new Array<number>(20_000).fill(i + 0.5) })),
    );
    const decoded = await Promise.all(
      bodies.map(async (body, i) => {
        const dtype = i % 2 === 0 ? 'float32' : 'float64';
        return decodePredict(body, () => x(dtype));
      }),
    );
    for (const [i, { feeds }] of decoded.entries()) {
      expect(new Set(feeds['x']?.data as Iterable<number>)).toEqual(new Set([i + 0.5]));
    }
  });
});

/** A value of random nesting, as text, and in elements as JSON.parse has them. */
function randomTensor(random: Random, number: () => string): { text: string; shape: number[] } {
  const shape = Array.from({ length: random.below(4) }, () => 1 + random.below(4));
  const space = (): string => random.pick(['', '', '', ' ', '\n', '\t ', '\r\n']);
  const build = (depth: number): string => {
    if (depth === shape.length) return number();
    const parts = Array.from({ length: shape[depth] ?? 0 }, () => build(depth + 1));
    return `[${space()}${parts.join(`${space()},${space()}`)}${space()}]`;
  };
  return { text: build(0), shape };
}

function randomNumber(random: Random): string {
  const digits = (count: number): string =>
    Array.from({ length: count }, () => String(random.below(10))).join('');
  const integer = random.chance(0.3) ? '0' : `${1 + random.below(9)}${digits(random.below(12))}`;
  const fraction = random.chance(0.6) ? `.${digits(1 + random.below(20))}` : '';
  const sign = random.pick(['', '+', '-']);
  const exponent = random.chance(0.3) ? `${random.pick(['e', 'E'])}${sign}${random.below(40)}` : '';
  return `${random.chance(0.3) ? '-' : ''}${integer}${fraction}${exponent}`;
}

describe('decodePredict of random bodies', () => {
  const seed = Number(process.env['TENON_JSON_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

  it(`agrees with JSON.parse (TENON_JSON_SEED=${seed})`, async () => {
    const random = randomOf(seed);
    for (let round = 0; round < 500; round++) {
      const { text, shape } = randomTensor(random, () => randomNumber(random));
      const body = `{"inputs":${text}}`;
      const { inputs } = JSON.parse(body) as { inputs: unknown };
      const flat = [inputs].flat(Infinity) as number[];
      const doubles = await feed(body, 'float64');
      expect(doubles.shape, body).toEqual(shape);
      expect(doubles.data, body).toEqual(Float64Array.from(flat));
      expect((await feed(body, 'float32')).data, body).toEqual(Float32Array.from(flat));
      if (shape.length === 0) continue;
      const rows = await feed(`{"instances":${text}}`, 'float64');
      expect(rows.shape, body).toEqual(shape);
      expect(rows.data, body).toEqual(Float64Array.from(flat));
    }
  });

  it(`reads strings as JSON.parse does (TENON_JSON_SEED=${seed})`, async () => {
    const random = randomOf(seed);
    const pieces = ['a', 'é', '😀', '\\"', '\\\\', '\\/', '\\n', '\\u0041', '\\ud83d\\ude00', '}]'];
    for (let round = 0; round < 200; round++) {
      const strings = Array.from({ length: 1 + random.below(5) }, () =>
        Array.from({ length: random.below(30) }, () => random.pick(pieces)).join(''),
      );
      const body = `{"instances":[${strings.map((text) => `"${text}"`).join(',')}]}`;
      const { instances } = JSON.parse(body) as { instances: string[] };
      expect((await feed(body, 'string')).data, body).toEqual(instances);
    }
  });
});

describe('decodeExamples', () => {
  it('serializes examples, at once or on a thread', async () => {
    const body = '{"signature_name":"s","context":{"c":1},"examples":[{"a":"b"},{}]}';
    for (const rest of ['', beyondAtOnce]) {
      const { signatureName, examples } = await decodeExamples(bytes(body + rest));
      expect(signatureName).toBe('s');
      const context = '0a0c0a0a0a016312051a030a0101';
      expect(examples.map((example) => Buffer.from(example).toString('hex'))).toEqual([
        `${context}0a0c0a0a0a016112050a030a0162`,
        context,
      ]);
    }
  });

  it('refuses what is no example', async () => {
    const body = '{"examples":[{"a":[1,"b"]}]}';
    const text = 'Unexpected element type in feature: a expecting type: int64';
    expect(await refusal(() => decodeExamples(bytes(body)))).toEqual(['INVALID_ARGUMENT', text]);
    expect(await refusal(() => decodeExamples(bytes(body + beyondAtOnce)))).toEqual([
      'INVALID_ARGUMENT',
      text,
    ]);
  });
});

describe('encodePredict', () => {
  it('writes predictions and outputs, one alone and several by name', async () => {
    const y = new Tensor('float32', [1, 2.5, 0.1, 9e6], [2, 2]);
    const z_bytes = new Tensor('string', ['a', 'b']);
    expect(await encode('row', { y })).toBe(
      '{\n    "predictions": [[1.0, 2.5], [0.1, 9e+06]\n    ]\n}',
    );
    expect(JSON.parse(await encode('row', { y, z_bytes }))).toEqual({
      predictions: [
        { y: [1, 2.5], z_bytes: { b64: 'YQ==' } },
        { y: [0.1, 9e6], z_bytes: { b64: 'Yg==' } },
      ],
    });
    expect(JSON.parse(await encode('columnar', { y }))).toEqual({
      outputs: [
        [1, 2.5],
        [0.1, 9e6],
      ],
    });
    expect(JSON.parse(await encode('columnar', { y, z_bytes }))).toEqual({
      outputs: {
        y: [
          [1, 2.5],
          [0.1, 9e6],
        ],
        z_bytes: [{ b64: 'YQ==' }, { b64: 'Yg==' }],
      },
    });
  });

  it.each<[DType, unknown, string]>([
    ['float32', [Math.fround(0.1234567), NaN], '0.123456702, NaN'],
    ['float64', [1 / 3, -Infinity], '0.33333333333333331, -Infinity'],
    ['float16', [1, 65504], '1.0, 65504.0'],
    ['bfloat16', [0.5], '0.5'],
    ['int8', [-128], '-128'],
    ['uint8', [255], '255'],
    ['int16', [-32768], '-32768'],
    ['uint16', [65535], '65535'],
    ['int32', [-2147483648], '-2147483648'],
    ['uint32', [4294967295], '4294967295'],
    ['int64', [-(2n ** 63n)], '-9223372036854775808'],
    ['uint64', [2n ** 64n - 1n], '18446744073709551615'],
    ['bool', [true, false], 'true, false'],
    ['string', ['é"\n\u0001'], '"é\\"\\n\\u0001"'],
  ])('writes %s', async (dtype, values, text) => {
    const written = await encode('row', { y: Tensor.from(values, dtype) });
    expect(written).toBe(`{\n    "predictions": [${text}\n    ]\n}`);
  });

  it.each<[string, Record<string, Tensor>]>([
    ['Tensor name: y has no shape information ', { y: Tensor.from(1) }],
    [
      'Tensor name: z has inconsistent batch size: 1 expecting: 2',
      { y: Tensor.from([1, 2]), z: Tensor.from([1]) },
    ],
    [
      'Failed to write JSON value for tensor type: complex64',
      { y: new Tensor('complex64', [[1, 2]], [1]) },
    ],
    ['Cannot convert empty tensor map to JSON', {}],
  ])('refuses: %s', async (text, outputs) => {
    expect(await refusal(() => encode('row', outputs))).toEqual(['INVALID_ARGUMENT', text]);
  });

  it('writes what is large on a thread, from any memory', async () => {
    const count = encodeAtOnceMaxElements + 1;
    const values = Float32Array.from({ length: count }, (_, i) => Math.fround(i / 7));
    const own = Tensor.alloc('float32', [count]);
    own.data.set(values);
    for (const y of [own, new Tensor('float32', values)]) {
      const encoding = encodePredict('row', [{ name: 'y', tensor: y }]);
      expect(encoding).toBeInstanceOf(Promise);
      // What is not Tenon's was copied; what is stays until it is written.
      if (y === own) own.dispose();
      else values.fill(0);
      const { predictions } = JSON.parse((await encoding).toString()) as { predictions: number[] };
      expect(predictions.map(Math.fround)).toEqual(
        Array.from({ length: count }, (_, i) => Math.fround(i / 7)),
      );
    }
  });

  it('gives a short text of ASCII as a string, and bytes for any other', async () => {
    const encoded = (y: Tensor) => encodePredict('row', [{ name: 'y', tensor: y }]);
    expect(typeof (await encoded(new Tensor('string', ['e'])))).toBe('string');
    expect(await encoded(new Tensor('string', ['é']))).toBeInstanceOf(Buffer);
    expect(await encoded(new Tensor('string', ['e'.repeat(2000)]))).toBeInstanceOf(Buffer);
  });

  it('writes large strings, and strings of any bytes', async () => {
    const texts = Array.from({ length: 3000 }, (_, i) => `${i} ü ${'"'.repeat(i % 7)}`);
    const written = await encode('columnar', { y: new Tensor('string', texts) });
    expect((JSON.parse(written) as { outputs: string[] }).outputs).toEqual(texts);
  });

  it('takes no tensor that was disposed of', async () => {
    const y = Tensor.alloc('float32', [2]);
    y.dispose();
    await expectError('ERR_TENON_DISPOSED', () => encode('row', { y }));
  });

  it('reads back what it has written', async () => {
    const random = randomOf(7);
    const values = Float32Array.from(
      { length: 5000 },
      () => (random.next() - 0.5) * 10 ** random.below(9),
    );
    const written = await encode('columnar', { x: new Tensor('float32', values) });
    const { feeds } = await decodePredict(bytes(written.replace('outputs', 'inputs')), () =>
      x('float32'),
    );
    expect(feeds['x']?.data).toEqual(values);
  });
});

describe('encodeNumber', () => {
  it.each<[number, 'float32' | 'float64', string]>([
    [9000000, 'float32', '9e+06'],
    [0.1234567, 'float32', '0.123456702'],
    [0.2, 'float32', '0.2'],
    [0.1, 'float64', '0.1'],
    [1 / 3, 'float64', '0.33333333333333331'],
    [1, 'float32', '1.0'],
    [-0, 'float64', '-0.0'],
    [NaN, 'float32', 'NaN'],
    [-Infinity, 'float64', '-Infinity'],
    [1e39, 'float32', 'Infinity'],
  ])('writes %d of %s as %s', (value, dtype, text) => {
    expect(encodeNumber(value, dtype)).toBe(text);
  });
});
