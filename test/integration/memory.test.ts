import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  type FeedValue,
  load,
  type Model,
  Tensor,
  type TypedArray,
  type ValuesModel,
} from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

type Outputs = Record<string, Tensor>;
type Runner = (
  model: Model,
  feeds: Record<string, FeedValue>,
  options?: { signature?: string; outputs?: string[] },
) => Promise<Outputs>;

const runners: [string, Runner][] = [
  ['run', (model, feeds, options) => model.run(feeds, options)],
  ['runSync', (model, feeds, options) => Promise.resolve(model.runSync(feeds, options))],
];

/** Sizes below and above the one from which outputs are handed out without a copy. */
const sizes = [6, 100_000];

function ascending(length: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, (_, i) => i % 1000);
}

/** Bytes as they are now. Buffers compare in no time, arrays of numbers do not. */
function copyOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(Buffer.from(buffer, byteOffset, byteLength));
}

/** Node has had these since 20; the library types do not know them yet. */
interface ResizableBuffer extends ArrayBuffer {
  resize(byteLength: number): void;
}
const ResizableBuffer = ArrayBuffer as unknown as new (
  byteLength: number,
  options: { maxByteLength: number },
) => ResizableBuffer;

function bufferOf(tensor: Tensor): ArrayBufferLike {
  return (tensor.data as TypedArray).buffer;
}

function snapshot(outputs: Outputs): Map<string, Buffer> {
  return new Map(
    Object.entries(outputs).map(([name, { data }]) => [name, copyOf(data as TypedArray)]),
  );
}

/** Names of those that are not what the snapshot says. */
function changed(outputs: Outputs, expected: ReadonlyMap<string, Buffer>): string[] {
  const now = snapshot(outputs);
  return [...expected].flatMap(([name, bytes]) => (now.get(name)?.equals(bytes) ? [] : [name]));
}

function overwrite(outputs: Outputs): void {
  for (const { data } of Object.values(outputs)) (data as Float32Array).fill(-12345);
}

/** Feeds with `size` elements, made anew for each call. */
type FeedsOf = (size: number) => Record<string, Tensor>;

const own = (size: number, shape: number[]) => new Tensor('float32', ascending(size), shape);
const allocated = (size: number, shape: number[]) => {
  const tensor = Tensor.alloc('float32', shape);
  tensor.data.set(ascending(size));
  return tensor;
};

const sharing: [string, string, boolean, (make: typeof own) => FeedsOf][] = [
  [
    'constant, variable, reshape and identity in TensorFlow',
    'tf_shared_outputs',
    false,
    (make) => (size) => ({ x: make(size, [2, size / 2]) }),
  ],
  [
    'an input as an output in ONNX',
    'same.onnx',
    false,
    (make) => (size) => ({ x: make(size, [size]) }),
  ],
  [
    'an initializer as an output in ONNX',
    'constant_out.onnx',
    true,
    (make) => () => ({ x: make(3, [3]) }),
  ],
];

describe.each(sharing)('writing into %s', (_title, file, isSmall, feedsFor) => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath(file));
  });
  afterAll(() => model.close());

  describe.each(runners)('through %s', (_runner, run) => {
    describe.each([
      ['the caller’s own array', own],
      ['Tensor.alloc', allocated],
    ])('fed from %s', (_memory, make) => {
      it.each(isSmall ? [3] : sizes)(
        'of %i elements changes no later run and no feed',
        async (size) => {
          const feeds = feedsFor(make)(size);
          const before = snapshot(feeds);
          const first = await run(model, feeds);
          const expected = snapshot(first);
          overwrite(first);
          expect(changed(feeds, before)).toEqual([]);
          // Three times, because an engine may learn from its first run what it may share.
          for (let i = 0; i < 3; i++) {
            const next = await run(model, feeds);
            expect(changed(next, expected)).toEqual([]);
            overwrite(next);
          }
        },
      );

      it.each(isSmall ? [3] : sizes)('of %i elements changes no other output', async (size) => {
        const outputs = await run(model, feedsFor(make)(size));
        expect(new Set(Object.values(outputs).map(bufferOf)).size).toBe(
          Object.keys(outputs).length,
        );
        const [name, ...others] = Object.keys(outputs) as [string, ...string[]];
        const before = snapshot(outputs);
        before.delete(name);
        expect(before.size).toBe(others.length);
        (outputs[name]?.data as Float32Array).fill(-1);
        expect(changed(outputs, before)).toEqual([]);
      });

      it.each(isSmall ? [3] : sizes)(
        'of %i elements is not undone by writing into the feed',
        async (size) => {
          const feeds = feedsFor(make)(size);
          const outputs = await run(model, feeds);
          const expected = snapshot(outputs);
          overwrite(feeds);
          expect(changed(outputs, expected)).toEqual([]);
        },
      );
    });
  });
});

describe('writing into what came out of a sequence', () => {
  it.each(runners)('changes neither the feed nor a later run (%s)', async (_, run) => {
    await using model = await load<ValuesModel>(modelPath('sequences.onnx'));
    const parts = [own(20_000, [20_000]), own(3, [3])];
    const unchanged = copyOf(ascending(20_000));
    const feeds = { parts, position: 0n, x: [1, 2], lengths: [1n, 1n] };
    const options = { outputs: ['same', 'at'] };
    for (let i = 0; i < 2; i++) {
      const { same, at } = await run(model as unknown as Model, feeds, options);
      const items = same as unknown as Tensor[];
      expect(items.map(({ shape }) => shape)).toEqual([[20_000], [3]]);
      expect(copyOf(items[0]?.data as Float32Array).equals(unchanged)).toBe(true);
      expect([...(items[1]?.data as Float32Array)]).toEqual([0, 1, 2]);
      overwrite({ first: items[0] as Tensor, second: items[1] as Tensor, at: at as Tensor });
    }
    expect(copyOf((parts[0] as Tensor<'float32'>).data).equals(unchanged)).toBe(true);
  });
});

const engines: [string, string, string, number[]][] = [
  ['onnxruntime', 'same.onnx', 'twice', [100_000]],
  ['tensorflow', 'tf_shared_outputs', 'fresh', [2, 50_000]],
];

describe.each(engines)('memory of a feed, through %s', (_engine, file, output, shape) => {
  const size = 100_000;
  let model: Model;
  let expected: Buffer;
  beforeAll(async () => {
    model = await load(modelPath(file));
    const outputs = await model.run({ x: own(size, shape) });
    expected = copyOf(outputs[output]?.data as Float32Array);
  });
  afterAll(() => model.close());

  async function expectResult(running: Promise<Outputs>): Promise<void> {
    const outputs = await running;
    expect(copyOf(outputs[output]?.data as Float32Array).equals(expected)).toBe(true);
  }

  it('may be changed right after run() was called', async () => {
    const data = ascending(size);
    const running = model.run({ x: new Tensor('float32', data, shape) });
    data.fill(NaN);
    await expectResult(running);
  });

  it('may be transferred right after run() was called', async () => {
    const data = ascending(size);
    const running = model.run({ x: new Tensor('float32', data, shape) });
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(data).toHaveLength(0);
    await expectResult(running);
  });

  it('from Tensor.alloc may be disposed during the run', async () => {
    const tensor = allocated(size, shape);
    const running = model.run({ x: tensor });
    tensor.dispose();
    await expectResult(running);
  });

  it('from Tensor.alloc may be fed to several runs at once', async () => {
    const tensor = allocated(size, shape);
    const runs = Array.from({ length: 8 }, () => model.run({ x: tensor }));
    tensor.dispose();
    for (const running of runs) await expectResult(running);
  });

  it('may be part of a larger buffer', async () => {
    const large = new Float32Array(size + 10).fill(NaN);
    large.set(ascending(size), 3);
    const view = large.subarray(3, size + 3);
    await expectResult(model.run({ x: new Tensor('float32', view, shape) }));
    await expectResult(Promise.resolve(model.runSync({ x: new Tensor('float32', view, shape) })));
  });

  it('may be part of a Tensor.alloc', async () => {
    const large = Tensor.alloc('float32', [size + 10]);
    large.data.fill(NaN);
    large.data.set(ascending(size), 7);
    const view = large.data.subarray(7, size + 7);
    const running = model.run({ x: new Tensor('float32', view, shape) });
    large.dispose();
    await expectResult(running);
  });

  it('may be shared between threads', async () => {
    const data = new Float32Array(new SharedArrayBuffer(size * 4));
    data.set(ascending(size));
    const tensor = new Tensor('float32', data, shape);
    const running = model.run({ x: tensor });
    data.fill(NaN);
    await expectResult(running);
    data.set(ascending(size));
    await expectResult(Promise.resolve(model.runSync({ x: tensor })));
  });

  it('may be resizable', async () => {
    const buffer = new ResizableBuffer(size * 4, { maxByteLength: size * 8 });
    const data = new Float32Array(buffer, 0, size);
    data.set(ascending(size));
    const running = model.run({ x: new Tensor('float32', data, shape) });
    buffer.resize(0);
    await expectResult(running);
  });

  it('that was shrunk before the call is refused', async () => {
    const buffer = new ResizableBuffer(size * 4, { maxByteLength: size * 4 });
    const tracking = new Tensor('float32', new Float32Array(buffer), shape);
    const fixed = new Tensor('float32', new Float32Array(buffer, 0, size), shape);
    buffer.resize(16);
    await expectError('ERR_TENON_DATA_LENGTH', () => model.run({ x: tracking }), '"x"');
    await expectError('ERR_TENON_DATA_LENGTH', () => model.runSync({ x: fixed }), '"x"');
  });

  it('that was transferred before the call is ERR_TENON_DETACHED', async () => {
    const data = ascending(size);
    const tensor = new Tensor('float32', data, shape);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    await expectError('ERR_TENON_DETACHED', () => model.run({ x: tensor }), '"x"');
    await expectError('ERR_TENON_DETACHED', () => model.runSync({ x: tensor }), '"x"');
    await expectError('ERR_TENON_DETACHED', () => model.run({ x: data }), '"x"');
    await expectResult(model.run({ x: own(size, shape) }));
  });

  it('that was disposed before the call is ERR_TENON_DISPOSED', async () => {
    const tensor = allocated(size, shape);
    tensor.dispose();
    await expectError('ERR_TENON_DISPOSED', () => model.run({ x: tensor }));
    await expectError('ERR_TENON_DISPOSED', () => model.runSync({ x: tensor }));
  });

  it('whose typed array outlived its disposed tensor is ERR_TENON_DETACHED', async () => {
    const tensor = allocated(size, shape);
    const again = new Tensor('float32', tensor.data, shape);
    tensor.dispose();
    await expectError('ERR_TENON_DETACHED', () => model.run({ x: again }), '"x"');
  });
});

describe('alignment', () => {
  it.each(runners)('of any element offset is taken by ONNX Runtime (%s)', async (_, run) => {
    await using model = await load(modelPath('dtypes/float64.onnx'));
    for (let offset = 0; offset < 9; offset++) {
      const view = new Float64Array(new ArrayBuffer(200), offset * 8, 6);
      view.set([1, 2, 3, 4, 5, 6]);
      const { echo } = await run(model, { x: view });
      expect([...(echo?.data as Float64Array)]).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });

  it.each(runners)('of single bytes is taken for every dtype of one byte (%s)', async (_, run) => {
    await using onnx = await load(modelPath('dtypes/uint8.onnx'));
    await using tensorflow = await load(modelPath('tf_dtypes'));
    for (let offset = 0; offset < 17; offset++) {
      const view = new Uint8Array(new ArrayBuffer(40), offset, 6);
      view.set([1, 2, 3, 4, 5, 6]);
      const x = new Tensor('uint8', view, [2, 3]);
      const { echo } = await run(onnx, { x });
      const { y } = await run(tensorflow, { x }, { signature: 'echo_uint8' });
      expect([...(echo?.data as Uint8Array)]).toEqual([1, 2, 3, 4, 5, 6]);
      expect([...(y?.data as Uint8Array)]).toEqual([1, 2, 3, 4, 5, 6]);
    }
  });

  it.each(runners)('of a complex number’s halves is taken by TensorFlow (%s)', async (_, run) => {
    await using model = await load(modelPath('tf_dtypes'));
    for (let offset = 0; offset < 5; offset++) {
      const view = new Float64Array(new ArrayBuffer(100), offset * 8, 4);
      view.set([1, 2, 3, 4]);
      const x = new Tensor('complex128', view, [2]);
      const { y } = await run(model, { x }, { signature: 'echo_complex128' });
      expect([...(y?.data as Float64Array)]).toEqual([1, 2, 3, 4]);
    }
  });
});

describe('outputs', () => {
  it.each(sizes)(
    'of %i elements are fed back, to the same and to the other engine',
    async (size) => {
      await using onnx = await load(modelPath('same.onnx'));
      await using tensorflow = await load(modelPath('half_plus_two'));
      let { twice: value } = await onnx.run({ x: own(size, [size]) });
      for (let i = 0; i < 3; i++) {
        const { y } = await tensorflow.run({ x: value as Tensor });
        value?.dispose();
        ({ twice: value } = await onnx.run({ x: y as Tensor }));
        y?.dispose();
      }
      // half_plus_two's highest version gives x / 2 + 3.
      let expected = ascending(size).map((x) => 2 * x);
      for (let i = 0; i < 3; i++) expected = expected.map((x) => 2 * (x / 2 + 3));
      expect(copyOf(value?.data as Float32Array).equals(copyOf(expected))).toBe(true);
    },
  );

  it('that were disposed are refused as feeds', async () => {
    await using model = await load(modelPath('same.onnx'));
    const { twice } = await model.run({ x: [1] });
    twice?.dispose();
    await expectError('ERR_TENON_DISPOSED', () => model.run({ x: twice as Tensor }));
  });

  it('stay readable after their model was closed', async () => {
    const kept: Tensor[] = [];
    for (const file of ['same.onnx', 'half_plus_two']) {
      const model = await load(modelPath(file));
      kept.push(...Object.values(await model.run({ x: own(100_000, [100_000]) })));
      await model.close();
    }
    for (const tensor of kept) {
      expect((tensor.data as Float32Array).length).toBe(100_000);
      (tensor.data as Float32Array).fill(1);
      tensor.dispose();
    }
  });

  it('of strings may be disposed and are then gone', async () => {
    await using model = await load(modelPath('tf_strings'), { signature: 'same' });
    const words = Array.from({ length: 5000 }, (_, i) => `word ${i}`);
    const { bytes } = await model.run({ bytes: words });
    expect(bytes?.data).toEqual(words);
    bytes?.dispose();
    await expectError('ERR_TENON_DISPOSED', () => bytes?.data);
  });
});

describe('a variable assigned from a feed', () => {
  const shape = [3];

  it.each(runners)('keeps its value when the feed is gone (%s)', async (_, run) => {
    await using model = await load(modelPath('tf_shared_outputs'));
    const read = async () => {
      const { variable } = await run(model, { x: [[1]] }, { outputs: ['variable'] });
      return [...(variable?.data as Float32Array)];
    };
    for (let i = 0; i < 4; i++) {
      const fed = allocated(3, shape);
      fed.data.set([i, i + 1, i + 2]);
      await run(model, { value: fed }, { signature: 'assign' });
      fed.data.fill(-1);
      fed.dispose();
      for (let j = 0; j < 50; j++) Tensor.alloc('float32', shape).data.fill(7);
      expect(await read()).toEqual([i, i + 1, i + 2]);
    }
  });

  it.each(runners)('keeps its value when the caller’s array changes (%s)', async (_, run) => {
    await using model = await load(modelPath('tf_shared_outputs'));
    const data = new Float32Array([4, 5, 6]);
    await run(model, { value: data }, { signature: 'assign' });
    data.fill(0);
    const { variable } = await run(model, { x: [[1]] });
    expect([...(variable?.data as Float32Array)]).toEqual([4, 5, 6]);
  });

  it('is not changed through what it gave before', async () => {
    await using model = await load(modelPath('tf_shared_outputs'));
    const { after } = await model.run({ value: [1, 2, 3] }, { signature: 'assign' });
    (after?.data as Float32Array).fill(0);
    const { before } = await model.run({ value: [4, 5, 6] }, { signature: 'assign' });
    expect([...(before?.data as Float32Array)]).toEqual([1, 2, 3]);
  });
});
