import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  type FeedValue,
  load,
  type Model,
  Tensor,
  TenonError,
  type ValuesModel,
} from '../../lib/index.js';
import { DataType } from '../../lib/protobuf/tensorflow.js';
import { dtypeFromTensorFlow } from '../../lib/protobuf/tensorflow-dtypes.js';
import { carrierLength, type DType, dtypes, type TypedArray } from '../../lib/tensor/dtypes.js';
import { expectError } from '../helpers/errors.js';
import { identityGraph } from '../helpers/graph-def.js';
import { modelPath } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const dtypeNames = Object.keys(dtypes) as DType[];
const folder = temporaryFolder();

/** Elements of every kind of bits, so that nothing of them can get lost unseen. */
function sample(dtype: DType, shape: readonly number[]): Tensor {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  if (dtype === 'string') {
    const words = Array.from({ length: size }, (_, i) => Uint8Array.of(i, 0, 255));
    return new Tensor('string', words, shape);
  }
  const { bits, carrier } = dtypes[dtype];
  const data = new (carrier as new (length: number) => TypedArray)(carrierLength(dtype, size));
  const bytes = new Uint8Array(data.buffer);
  bytes.forEach((_, i) => (bytes[i] = dtype === 'bool' ? i % 2 : (i * 37 + 1) % 120));
  // Unused bits behind the last element are no part of the tensor.
  const used = (size * bits) % 8;
  if (bits < 8 && used > 0) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) & ((1 << used) - 1);
  return new Tensor(dtype, data as never, shape);
}

function bytesOf(tensor: Tensor): string {
  const bytes: Uint8Array | Uint8Array[] = tensor.bytes;
  const parts = Array.isArray(bytes) ? bytes : [bytes];
  return parts.map((part) => Buffer.from(part).toString('hex')).join();
}

/** The number TensorFlow has for a dtype. */
function tensorFlowType(dtype: DType): number | undefined {
  return Object.values(DataType).find((number) => dtypeFromTensorFlow(number) === dtype);
}

function onnxFile(dtype: DType): string | undefined {
  const underscored = dtype.replace(/^float(\d)(e.*)$/, 'float$1_$2').replace('e8m0', 'e8m0fnu');
  const file = modelPath('dtypes', `${underscored}.onnx`);
  return existsSync(file) ? file : undefined;
}

function openOnnx(dtype: DType): Promise<Model> | undefined {
  const file = onnxFile(dtype);
  return file === undefined ? undefined : load(file);
}

function openTensorFlow(dtype: DType): Promise<Model> | undefined {
  const number = tensorFlowType(dtype);
  if (number === undefined) return undefined;
  const file = path.join(folder, `${dtype}.pb`);
  writeFileSync(file, identityGraph(number));
  return load(file, { tensorflow: { inputs: ['x'], outputs: ['y'] } });
}

const works = '✓';
const absent = 'no such type';

function codeOf(error: unknown): string {
  return error instanceof TenonError ? error.code : `uncoded: ${String(error)}`;
}

/** What happens to a dtype going in (in both kinds of run) and coming out, in a word each. */
async function tryDType(
  dtype: DType,
  open: (dtype: DType) => Promise<Model> | undefined,
): Promise<[feed: string, output: string]> {
  let model: Model | undefined;
  try {
    model = await open(dtype);
  } catch (error) {
    return [codeOf(error), codeOf(error)];
  }
  if (model === undefined) return [absent, absent];
  try {
    const fed = sample(dtype, [5, 3]);
    const all = [await model.run({ x: fed }), model.runSync({ x: fed })];
    const outputs = all.flatMap((run) => Object.values(run));
    const same = outputs.every(
      (output) => output.dtype === dtype && bytesOf(output) === bytesOf(fed),
    );
    return [works, outputs.length > 0 && same ? works : 'other bytes'];
  } catch (error) {
    return [codeOf(error), codeOf(error)];
  } finally {
    await model.close();
  }
}

describe('every dtype, through both engines, in both directions', () => {
  /** What does not work; everything else does. */
  const exceptions: Record<string, Partial<Record<DType, string>>> = {
    onnxruntime: {
      complex64: 'ERR_TENON_MODEL_INVALID',
      complex128: 'ERR_TENON_MODEL_INVALID',
      float8e4m3b11fnuz: absent,
      qint8: absent,
      quint8: absent,
      qint16: absent,
      quint16: absent,
      qint32: absent,
    },
    tensorflow: { float8e8m0: absent },
  };

  const columns = [
    'onnxruntime feed',
    'onnxruntime output',
    'tensorflow feed',
    'tensorflow output',
  ];
  const table: Record<string, string[]> = {};

  beforeAll(async () => {
    for (const dtype of dtypeNames) {
      const onnx = await tryDType(dtype, openOnnx);
      const tensorflow = await tryDType(dtype, openTensorFlow);
      table[dtype] = [...onnx, ...tensorflow];
    }
    const rows = [
      ['dtype', ...columns],
      ...dtypeNames.map((name) => [name, ...(table[name] ?? [])]),
    ];
    const widths =
      rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
    const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '));
    console.log(lines.map((line) => line.trimEnd()).join('\n'));
  });

  it.each(dtypeNames)('%s goes as the table says', (dtype) => {
    const onnx = exceptions['onnxruntime']?.[dtype] ?? works;
    const tensorflow = exceptions['tensorflow']?.[dtype] ?? works;
    expect(table[dtype]).toEqual([onnx, onnx, tensorflow, tensorflow]);
  });
});

describe('shapes', () => {
  const shapes: number[][] = [
    [],
    [1],
    [2],
    [2, 3],
    [2, 1, 3],
    [1, 2, 1, 2],
    [1, 2, 1, 2, 1],
    [1, 2, 1, 2, 1, 2],
    [1, 2, 1, 2, 1, 2, 1],
    [1, 2, 1, 2, 1, 2, 1, 2],
    [0],
    [0, 3],
    [3, 0],
    [0, 0],
    [2, 0, 3],
    [0, 1, 2, 3, 4, 5, 6, 7],
    [7, 6, 5, 4, 3, 2, 1, 0],
  ];
  const engines: [string, (dtype: DType) => Promise<Model>][] = [
    ['tensorflow', async (dtype) => (await openTensorFlow(dtype)) as Model],
    ['onnxruntime', (dtype) => load(onnxFile(dtype) as string)],
  ];

  describe.each(engines)('through %s', (engine, open) => {
    describe.each(['float32', 'string', 'int4', 'bool', 'float16'] as const)('%s', (dtype) => {
      let model: Model;
      beforeAll(async () => {
        model = await open(dtype);
      });
      afterAll(() => model.close());
      // The ONNX models take [n,3] only.
      const fitting =
        engine === 'tensorflow'
          ? shapes
          : shapes.filter(([, width, more]) => width === 3 && more === undefined);

      it.each(fitting.map((shape) => [JSON.stringify(shape), shape] as const))(
        '%s keeps its shape and elements',
        async (_, shape) => {
          const fed = sample(dtype, shape);
          for (const outputs of [await model.run({ x: fed }), model.runSync({ x: fed })]) {
            for (const output of Object.values(outputs)) {
              expect(output.shape).toEqual(shape);
              expect(bytesOf(output)).toBe(bytesOf(fed));
            }
          }
        },
      );
    });
  });

  it.each(shapes.map((shape) => [JSON.stringify(shape), shape] as const))(
    '%s goes through an ONNX input of unknown rank',
    async (_, shape) => {
      await using model = await load(modelPath('symbolic.onnx'));
      const fed = sample('float32', shape);
      const { any_rank_out: output } = await model.run(
        {
          named: sample('float32', [1, 3, 1]),
          unknown: sample('float32', [1, 2]),
          any_rank: fed,
        },
        { outputs: ['any_rank_out'] },
      );
      expect(output?.shape).toEqual(shape);
    },
  );

  it('of the highest rank TensorFlow has are its limit, and one more is refused', async () => {
    await using model = (await openTensorFlow('float32')) as Model;
    const ones = (rank: number) => new Tensor('float32', [1], new Array<number>(rank).fill(1));
    const { y } = await model.run({ x: ones(254) });
    expect(y?.shape).toHaveLength(254);
    await expectError('ERR_TENON_SHAPE', () => model.run({ x: ones(255) }), '254', '255', '"x"');
    await expectError('ERR_TENON_SHAPE', () => model.runSync({ x: ones(300) }), '254');
  });
});

describe('numbers', () => {
  const extremes: [DType, unknown[]][] = [
    ['int64', [-(2n ** 63n), 2n ** 63n - 1n, 0n, -1n, 2n ** 53n + 1n, 7n]],
    ['uint64', [0n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 53n + 1n, 1n, 7n]],
    ['float64', [Number.MAX_VALUE, Number.MIN_VALUE, -0, Infinity, NaN, Math.PI]],
    ['float32', [Math.fround(3.4028234e38), 2 ** -149, -0, -Infinity, NaN, Math.fround(0.1)]],
    ['int4', [-8, 7, -1, 0, 3, -3]],
    ['uint4', [15, 0, 1, 14, 7, 8]],
    ['float16', [65504, 2 ** -24, -0, Infinity, NaN, 1 / 3]],
    ['bfloat16', [3.3895314e38, 2 ** -133, -0, -Infinity, NaN, 1 / 3]],
  ];
  const engines = [
    ['onnxruntime', openOnnx],
    ['tensorflow', openTensorFlow],
  ] as const;

  describe.each(engines)('through %s', (_engine, open) => {
    it.each(extremes)('of %s come back to the last bit', async (dtype, values) => {
      await using model = (await open(dtype)) as Model;
      const fed = Tensor.from([values.slice(0, 3), values.slice(3)], dtype);
      for (const output of Object.values(await model.run({ x: fed }))) {
        expect(output.toArray()).toEqual(fed.toArray());
      }
    });
  });

  it('of complex types come back as pairs', async () => {
    await using model = (await openTensorFlow('complex128')) as Model;
    const pairs = [
      [1.5, -0],
      [Infinity, NaN],
    ];
    const { y } = await model.run({ x: pairs });
    expect(y?.toArray()).toEqual(pairs);
  });

  it('packed oddly are read as many as there are', async () => {
    await using model = (await openTensorFlow('int4')) as Model;
    for (let length = 0; length <= 9; length++) {
      const values = Array.from({ length }, (_, i) => (i % 16) - 8);
      const { y } = await model.run({ x: Tensor.from(values, 'int4') });
      expect(y?.toArray()).toEqual(values);
      expect(y?.data).toHaveLength(Math.ceil(length / 2));
    }
  });

  it('in the unused bits of packed data change nothing', async () => {
    await using model = (await openTensorFlow('uint4')) as Model;
    const { y } = await model.run({ x: new Tensor('uint4', new Uint8Array([0x21, 0xf3]), [3]) });
    expect(y?.toArray()).toEqual([1, 2, 3]);
  });
});

describe('strings', () => {
  // 22 bytes is what fits into a TF_TString itself, 15 into a std::string.
  const lengths = [...Array(101).keys(), 127, 128, 255, 256, 4096, 65_535, 1 << 20];
  const engines = [
    ['onnxruntime', 'dtypes/string.onnx', {}, 'x', 3],
    ['tensorflow', 'tf_strings', { signature: 'same' }, 'bytes', 1],
  ] as const;

  describe.each(engines)('through %s', (_engine, file, options, name, width) => {
    let model: Model;
    beforeAll(async () => {
      model = await load(modelPath(file), options);
    });
    afterAll(() => model.close());

    async function echo(elements: Uint8Array[]): Promise<Uint8Array[][]> {
      const padded = [...elements];
      while (padded.length % width !== 0) padded.push(new Uint8Array());
      const fed = new Tensor('string', padded, [padded.length / width, width]);
      const runs = [await model.run({ [name]: fed }), model.runSync({ [name]: fed })];
      return runs.flatMap((outputs) =>
        Object.values(outputs).map((output) =>
          (output as Tensor<'string'>).bytes.slice(0, elements.length),
        ),
      );
    }

    function expectSame(received: Uint8Array[][], elements: Uint8Array[]): void {
      expect(received.length).toBeGreaterThan(0);
      for (const output of received) {
        const wrong = elements.filter(
          (element, i) => !Buffer.from(element).equals(output[i] ?? new Uint8Array()),
        );
        expect(wrong.map(({ length }) => length)).toEqual([]);
      }
    }

    it('of every length come back', async () => {
      const elements = lengths.map((length) => Buffer.alloc(length, 'abcdefghij'));
      expectSame(await echo(elements), elements);
    });

    it('of NUL bytes come back', async () => {
      const elements = [0, 1, 15, 16, 21, 22, 23, 24, 1000].map((length) => Buffer.alloc(length));
      expectSame(await echo(elements), elements);
    });

    it('of bytes that are no UTF-8 come back as bytes', async () => {
      const elements = [Uint8Array.of(0xff), Uint8Array.of(0xc3, 0x28), Uint8Array.of(0, 0x80, 0)];
      expectSame(await echo(elements), elements);
    });

    it('of bytes that are no UTF-8 cannot be read as text', async () => {
      const fed = new Tensor('string', new Array(width).fill(Uint8Array.of(0xff)), [1, width]);
      const [output] = Object.values(await model.run({ [name]: fed }));
      await expectError('ERR_TENON_INVALID_UTF8', () => output?.data, 'element 0');
    });

    it('of any characters come back as text', async () => {
      const words = ['grüße', '日本語', '🙂'.repeat(10), '\ufeffmark', 'a\0b', ''];
      const fed = new Tensor('string', words, [6 / width, width]);
      const [output] = Object.values(await model.run({ [name]: fed }));
      expect(output?.data).toEqual(words);
    });

    it('with half a surrogate pair come back with a replacement character', async () => {
      const fed = new Tensor('string', new Array(width).fill('a\ud800b'), [1, width]);
      const [output] = Object.values(await model.run({ [name]: fed }));
      expect((output?.data as string[])[0]).toBe('a\ufffdb');
    });

    it('by the hundred thousand come back', async () => {
      const elements = Array.from({ length: 99_999 }, (_, i) => Buffer.from(String(i)));
      expectSame(await echo(elements), elements);
    });
  });

  it('as bare bytes are one element', async () => {
    await using model = await load(modelPath('tf_strings'), { signature: 'same' });
    const { bytes } = await model.run({ bytes: Uint8Array.of(1, 0, 255) });
    expect(bytes?.shape).toEqual([]);
    expect((bytes as Tensor<'string'>).bytes).toEqual([Uint8Array.of(1, 0, 255)]);
  });

  it('as bytes in a flat array take the declared shape', async () => {
    await using model = await load(modelPath('dtypes/string.onnx'));
    const word = Uint8Array.of(255, 0);
    const { same } = await model.run({ x: [word, word, word] });
    expect(same?.shape).toEqual([1, 3]);
    expect((same as Tensor<'string'>).bytes).toEqual([word, word, word]);
  });
});

describe('feeds that are no tensors yet', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath('simple_model.onnx'));
  });
  afterAll(() => model.close());

  const feeds: [string, FeedValue, number[]][] = [
    ['a typed array', new Float32Array([1, 2, 3, 4]), [1, 1]],
    ['a longer typed array', new Float32Array(8), [2, 1]],
    ['a flat array', [1, 2, 3, 4], [1, 1]],
    ['nested arrays', [[1, 2, 3, 4]], [1, 1]],
    ['a tensor', new Tensor('float32', [1, 2, 3, 4], [1, 4]), [1, 1]],
    ['no elements', new Float32Array(), [0, 1]],
  ];

  it.each(feeds)('%s is fed by name', async (_, value, shape) => {
    expect((await model.run({ input: value }))['output']?.shape).toEqual(shape);
  });

  it.each(feeds)('%s is fed by itself where there is one input', async (_, value, shape) => {
    expect((await model.run(value))['output']?.shape).toEqual(shape);
  });

  it('a number is fed to a scalar', async () => {
    await using scalars = await load(modelPath('scalars.onnx'));
    const { twice } = await scalars.run({ x: 1.5, n: 2 ** 40 });
    expect(twice?.toArray()).toBe(2n ** 41n);
  });

  it('an input with a default need not be fed', async () => {
    await using multi = await load(modelPath('multi_io.onnx'));
    const { scaled } = await multi.run({ a: [1, 2], b: [3, 4] }, { outputs: ['scaled'] });
    const { scaled: other } = await multi.run({ a: [1, 2], b: [3, 4], scale: 1 });
    expect(scaled?.toArray()).not.toEqual(other?.toArray());
  });
});

describe('sequences, maps and optionals', () => {
  it('sequences of tensors of different shapes go in and come out', async () => {
    await using model = await load<ValuesModel>(modelPath('sequences.onnx'));
    const parts = [Tensor.from([1, 2]), Tensor.from([3]), Tensor.from([4, 5, 6])];
    const { same, at } = await model.run(
      { parts, position: 2n, x: [1, 2, 3], lengths: [1n, 2n] },
      { outputs: ['same', 'at'] },
    );
    expect((same as Tensor[]).map((part) => part.toArray())).toEqual([[1, 2], [3], [4, 5, 6]]);
    expect((at as Tensor).toArray()).toEqual([4, 5, 6]);
  });

  it('an empty sequence goes in and comes out', async () => {
    await using model = await load<ValuesModel>(modelPath('sequence_strings.onnx'));
    const { same } = await model.run({ a: ['a'], b: ['b'], words: [] });
    expect(same).toEqual([]);
  });

  it.each([
    ['ERR_TENON_DTYPE', Tensor.from([1]), 'an array'],
    ['ERR_TENON_DTYPE', [Tensor.from([1n])], 'parts[0]'],
    ['ERR_TENON_DTYPE', [[1], ['a']], 'parts[1]'],
    ['ERR_TENON_DTYPE', [[1], null], 'parts[1]'],
    ['ERR_TENON_DTYPE', new Map(), 'an array'],
    ['ERR_TENON_DTYPE', null, 'an array'],
  ] as const)('a sequence ends in %s for %o', async (code, parts, word) => {
    await using model = await load(modelPath('sequences.onnx'));
    const feeds = { parts: parts as FeedValue, position: 0n, x: [1], lengths: [1n] };
    await expectError(code, () => model.run(feeds), word);
  });

  it('maps go in with string and integer keys', async () => {
    await using model = await load(modelPath('maps_in.onnx'));
    const feeds = { words: new Map([['apple', 1.5]]), numbers: new Map([[1n, 2]]) };
    const { vector } = await model.run(feeds);
    expect(vector?.dtype).toBe('float32');
  });

  it.each([
    ['keys of another type', new Map([[1, 1]]), 'words.keys'],
    ['values of another type', new Map([['a', 'b']]), 'words.values'],
    ['an object', { a: 1 }, 'a Map'],
    ['an object that says it is a Map', { [Symbol.toStringTag]: 'Map' }, 'a Map'],
    ['an array of entries', [['a', 1]], 'a Map'],
    ['null', null, 'a Map'],
  ])('a map is refused for %s', async (...[, words, word]) => {
    await using model = await load(modelPath('maps_in.onnx'));
    const feeds = { words: words as unknown as FeedValue, numbers: new Map([[1n, 2]]) };
    await expectError('ERR_TENON_DTYPE', () => model.run(feeds), word);
  });

  it('an absent optional goes in as null', async () => {
    await using model = await load(modelPath('optionals.onnx'));
    expect((await model.run({ maybe: null }))['has']?.toArray()).toBe(false);
    expect((await model.run({ maybe: [1, 2] }))['has']?.toArray()).toBe(true);
  });

  it('an absent optional comes out as null', async () => {
    await using model = await load<ValuesModel>(modelPath('optional_none.onnx'));
    const { maybe } = await model.run({ x: [1] });
    expect(maybe).toBeNull();
  });

  it('what an optional should hold and does not, is a coded error', async () => {
    await using model = await load(modelPath('optional_get.onnx'));
    await expectError('ERR_TENON_RUN', () => model.run({ maybe: null }));
    expect((await model.run({ maybe: [3] }))['value']?.toArray()).toEqual([3]);
  });
});
