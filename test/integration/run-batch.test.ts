import { afterEach, describe, expect, it, vi } from 'vitest';

import { load, type LoadOptions, type Model, Tensor } from '../../lib/index.js';
import { packBatch, type PackedBatch, runBatch as runBatchOf } from '../../lib/model/batch-call.js';
import { nativeAddon } from '../../lib/native/load.js';
import type {
  NativeBatchLayout,
  NativeBatchOutputs,
  NativeSession,
  NativeTensorIn,
  NativeTensorOut,
} from '../../lib/native/types.js';
import type { BatchRequest } from '../../lib/runner.js';
import { type DType, dtypes } from '../../lib/tensor/dtypes.js';
import { expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

const opened: Model[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(opened.splice(0).map((model) => model.destroy()));
});

interface Loaded {
  model: Model;
  session: NativeSession;
}

/** A model and the native session below it, which is what the batcher uses. */
async function loadNative(file: string, options?: LoadOptions): Promise<Loaded> {
  const addon = nativeAddon();
  const loads = [vi.spyOn(addon, 'loadOnnx'), vi.spyOn(addon, 'loadTensorFlow')];
  const model = await load(modelPath(file), options);
  opened.push(model);
  const call = loads.flatMap(({ mock }) => mock.results)[0];
  return { model, session: await (call?.value as Promise<NativeSession>) };
}

function defaultSignature({ info }: NativeSession): number {
  return info.signatures.findIndex(({ name }) => name === 'serving_default');
}

type Data = NativeTensorIn[2];

function tensor(dtype: DType, shape: number[], data: Data): NativeTensorIn {
  return [dtypes[dtype].number, shape, data];
}

function floats(shape: number[], values: readonly number[]): NativeTensorIn {
  return tensor('float32', shape, Float32Array.from(values));
}

/** Values from Tensor.alloc, which go by pointer. */
function allocated(shape: number[], values: readonly number[]): NativeTensorIn {
  const { data } = Tensor.alloc('float32', shape);
  data.set(values);
  return tensor('float32', shape, data);
}

function layoutOf(shape: number[], more: Partial<NativeBatchLayout> = {}): NativeBatchLayout {
  return { rows: shape[0] ?? 0, shapes: [shape], padValues: [0], masks: [], trims: [], ...more };
}

/** One input, one output, the first of each. */
function runBatch(
  session: NativeSession,
  members: readonly NativeTensorIn[],
  layout: NativeBatchLayout,
  { outputs = [0], ticket = 0, borrow = false } = {},
): Promise<NativeBatchOutputs> {
  return callBatch(
    session,
    members.map((member) => [member]),
    { inputs: [0], outputs, layout },
    { ticket, borrow },
  );
}

/** The session's call as a batcher makes it, on a lane. */
async function callBatch(
  session: NativeSession,
  members: readonly (readonly NativeTensorIn[])[],
  request: Pick<BatchRequest, 'inputs' | 'outputs' | 'layout'>,
  { ticket = 0, borrow = false } = {},
): Promise<NativeBatchOutputs> {
  const signature = defaultSignature(session);
  return runBatchOf(
    session,
    { signature, members, ...request },
    { ticket, priority: 0, borrow, deadline: 0, onLane: true, caller: undefined },
  );
}

/** An output's elements, whether they came as such or as memory. */
function float32Of([, , data]: NativeTensorOut): Float32Array {
  return data instanceof ArrayBuffer ? new Float32Array(data) : (data as Float32Array);
}

function outputOf(outputs: NativeBatchOutputs, member: number, output = 0): NativeTensorOut {
  return outputs[member]?.[output] as NativeTensorOut;
}

function numbers(outputs: NativeBatchOutputs, member: number): number[] {
  return [...float32Of(outputOf(outputs, member))];
}

describe.each([
  ['onnxruntime', 'same.onnx', 'twice', (x: number) => 2 * x],
  ['tensorflow', 'half_plus_two', 'y', (x: number) => x / 2 + 3],
] as const)('runBatch of %s', (_engine, file, output, of) => {
  const open = async (): Promise<Loaded & { outputs: number[] }> => {
    const loaded = await loadNative(file);
    return { ...loaded, outputs: [Object.keys(loaded.model.outputs).indexOf(output)] };
  };

  it('gives each member its own rows', async () => {
    const { session, outputs: wanted } = await open();
    const outputs = await runBatch(
      session,
      [floats([1], [2]), allocated([2], [4, 6]), floats([0], []), floats([1], [8])],
      layoutOf([6]),
      { outputs: wanted },
    );
    const expected = [[2], [4, 6], [], [8]].map((values) => values.map(of));
    expect(outputs).toHaveLength(4);
    expect(expected.map((_values, member) => numbers(outputs, member))).toEqual(expected);
    expect(expected.map((_values, member) => outputOf(outputs, member)[1])).toEqual([
      [1],
      [2],
      [0],
      [1],
    ]);
  });

  it('gives what single runs give, large outputs included', async () => {
    const { model, session, outputs: wanted } = await open();
    const lengths = [50_000, 7_000, 3, 9_000];
    const members = lengths.map((length, m) =>
      floats(
        [length],
        Array.from({ length }, (_value, i) => i * (m + 1)),
      ),
    );
    const sum = lengths.reduce((a, b) => a + b);
    const outputs = await runBatch(session, members, layoutOf([sum + 17]), { outputs: wanted });
    for (const [m, member] of members.entries()) {
      const alone = await model.run(member[2] as Float32Array);
      expect(float32Of(outputOf(outputs, m))).toEqual(alone[output]?.data);
    }
  });

  it('hands out ArrayBuffers that reach no further than their member', async () => {
    const { session, outputs: wanted } = await open();
    const lengths = [40_000, 10_000, 10_000];
    const members = lengths.map((length) => floats([length], new Array<number>(length).fill(2)));
    const outputs = await runBatch(session, members, layoutOf([60_000]), { outputs: wanted });
    const buffers = lengths.map((_length, m) => outputOf(outputs, m)[2]);
    expect(buffers.map(({ byteLength }) => byteLength)).toEqual(lengths.map((l) => l * 4));
    new Float32Array(buffers[0] as ArrayBuffer).fill(-1);
    expect(new Set(new Float32Array(buffers[1] as ArrayBuffer))).toEqual(new Set([of(2)]));
    nativeAddon().release(buffers[0] as ArrayBuffer);
    expect(new Set(new Float32Array(buffers[2] as ArrayBuffer))).toEqual(new Set([of(2)]));
  });

  it('has read the members when it returns', async () => {
    const { session, outputs: wanted } = await open();
    const data = Float32Array.of(2, 4);
    const running = runBatch(session, [tensor('float32', [2], data)], layoutOf([4]), {
      outputs: wanted,
    });
    data.fill(100);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(numbers(await running, 0)).toEqual([of(2), of(4)]);
  });

  it('borrows members where it is told to', async () => {
    const { session, outputs: wanted } = await open();
    const outputs = await runBatch(session, [floats([1], [2]), floats([1], [4])], layoutOf([2]), {
      borrow: true,
      outputs: wanted,
    });
    expect([numbers(outputs, 0), numbers(outputs, 1)]).toEqual([[of(2)], [of(4)]]);
  });

  it('copies each byte once and allocates no more buffers than at first', async () => {
    const { model, session, outputs: wanted } = await open();
    const own = allocated([20_000], new Array<number>(20_000).fill(1));
    const callers = floats([10_000], new Array<number>(10_000).fill(1));
    const run = () => runBatch(session, [own, callers], layoutOf([32_000]), { outputs: wanted });
    // The first runs of TensorFlow find out whether it keeps what it is fed.
    for (let i = 0; i < 3; i++) await run();
    const before = model.stats();
    for (let i = 0; i < 50; i++) await run();
    const after = model.stats();
    expect(after.gatherAllocations).toBe(before.gatherAllocations);
    expect(after.gatheredBytes - before.gatheredBytes).toBe(50 * 120_000);
    expect(after.feedBytesCopied - before.feedBytesCopied).toBe(50 * 120_000);
  });

  it('is counted', async () => {
    const { model, session, outputs: wanted } = await open();
    await runBatch(session, [floats([1], [1]), floats([2], [1, 2])], layoutOf([4]), {
      outputs: wanted,
    });
    await runBatch(session, [floats([5], [1, 2, 3, 4, 5])], layoutOf([5]), { outputs: wanted });
    const stats = model.stats();
    expect(stats).toMatchObject({ runs: 3, batches: 2, batchedRuns: 3, batchRows: 8 });
    expect(stats).toMatchObject({ paddedRows: 1, batchSizes: [0, 1, 1], failedRuns: 0 });
    expect(stats.runMicros.count).toBe(2);
  });
});

describe('runBatch of a short batch', () => {
  const members = [[floats([1, 4], [1, 2, 3, 4])], [floats([2, 4], [5, 6, 7, 8, 1, 1, 1, 1])]];

  /** As the batcher does. */
  const start = (
    session: NativeSession,
    layout: NativeBatchLayout,
  ): ReturnType<typeof runBatchOf> =>
    runBatchOf(
      session,
      { signature: defaultSignature(session), members, inputs: [0], outputs: [0], layout },
      { ticket: 0, priority: 0, borrow: true, deadline: 0, caller: undefined },
    );

  it('happens on the calling thread after the first ones, with the same outputs', async () => {
    const { session } = await loadNative('simple_model.onnx');
    const onLane = await callBatch(session, members, {
      inputs: [0],
      outputs: [0],
      layout: layoutOf([3, 4]),
    });
    let started = start(session, layoutOf([3, 4]));
    while (started instanceof Promise) {
      await started;
      started = start(session, layoutOf([3, 4]));
    }
    expect(started).toEqual(onLane);
    expect(session.stats()).toMatchObject({ inlineRuns: 2 });
  });

  it('that fails again and again goes to a lane now and then, so that the event loop turns', async () => {
    const { session } = await loadNative('fails_in_run.onnx');
    const ofRow = (index: bigint): ReturnType<typeof runBatchOf> =>
      runBatchOf(
        session,
        {
          signature: defaultSignature(session),
          members: [[tensor('int64', [1], BigInt64Array.of(index))]],
          inputs: [0],
          outputs: [0],
          layout: layoutOf([1]),
        },
        { ticket: 0, priority: 0, borrow: true, deadline: 0, caller: undefined },
      );
    for (let started = ofRow(1n); started instanceof Promise; started = ofRow(1n)) await started;
    let failed = 0;
    let onLane: Promise<unknown> | undefined;
    while (onLane === undefined && failed < 100_000) {
      try {
        onLane = ofRow(100n) as Promise<unknown>;
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_TENON_RUN' });
        failed++;
      }
    }
    expect(onLane).toBeInstanceOf(Promise);
    await expectError('ERR_TENON_RUN', () => onLane);
    expect(failed).toBeGreaterThan(0);
  });
});

describe('runBatch', () => {
  it('takes index-like members by value', async () => {
    const { session } = await loadNative('dtypes/int64.onnx');
    const { data } = Tensor.alloc('int64', [1, 3]);
    data.set([1n, 2n, 3n]);
    const outputs = await runBatch(
      session,
      [tensor('int64', [1, 3], data), tensor('int64', [1, 3], BigInt64Array.of(4n, 5n, 6n))],
      layoutOf([2, 3]),
    );
    expect([0, 1].map((m) => [...(outputOf(outputs, m)[2] as BigInt64Array)])).toEqual([
      [1n, 2n, 3n],
      [4n, 5n, 6n],
    ]);
  });

  it.each([
    ['strings.onnx', 'strings'],
    ['tf_strings', 'strings'],
  ])('gathers and scatters strings (%s)', async (file) => {
    const { model, session } = await loadNative(file);
    const { inputs } = model;
    const names = Object.keys(inputs);
    const texts = [['a', 'bc'], ['äö']];
    const members = texts.map((text) =>
      names.map((): NativeTensorIn => tensor('string', [text.length], text)),
    );
    const outputNames = Object.keys(model.outputs);
    const upper = outputNames.indexOf(file === 'tf_strings' ? 'shouted' : 'upper');
    const outputs = await callBatch(session, members, {
      inputs: names.map((_name, i) => i),
      outputs: [upper],
      layout: {
        rows: 4,
        shapes: names.map(() => [4]),
        padValues: names.map(() => 0),
        masks: [],
        trims: [],
      },
    });
    for (const [m, text] of texts.entries()) {
      const feeds = Object.fromEntries(names.map((name) => [name, text]));
      const alone = (await model.run(feeds))[outputNames[upper] as string] as Tensor<'string'>;
      const [, shape, buffer, offsets] = outputOf(outputs, m);
      const decoded = Array.from({ length: text.length }, (_value, i) =>
        Buffer.from(buffer as ArrayBuffer).toString('utf8', offsets?.[i], offsets?.[i + 1]),
      );
      expect([shape, decoded]).toEqual([[text.length], alone.data]);
    }
  });

  it('pads shorter members and cuts their outputs back', async () => {
    const { model, session } = await loadNative('symbolic.onnx');
    // named [batch,3,width], unknown [?,2], any_rank *
    const own = (width: number, from: number): NativeTensorIn[] => [
      floats(
        [1, 3, width],
        Array.from({ length: 3 * width }, (_value, i) => from + i),
      ),
      floats([1, 2], [from, from + 1]),
      floats(
        [1, width],
        Array.from({ length: width }, (_value, i) => from + i),
      ),
    ];
    const members = [own(2, 10), own(4, 20)];
    const names = Object.keys(model.inputs);
    const outputs = await callBatch(session, members, {
      inputs: [0, 1, 2],
      outputs: [0, 1, 2],
      layout: {
        rows: 3,
        shapes: [
          [3, 3, 4],
          [3, 2],
          [3, 4],
        ],
        padValues: [-1, 0, -2],
        masks: [],
        trims: [
          [0, 2, 0, 2],
          [2, 1, 2, 1],
        ],
      },
    });
    for (const [m, member] of members.entries()) {
      const feeds = Object.fromEntries(
        names.map((name, i) => {
          const [, shape, data] = member[i] as NativeTensorIn;
          return [name, new Tensor('float32', data as Float32Array, shape)];
        }),
      );
      const alone = Object.values(await model.run(feeds)) as Tensor<'float32'>[];
      for (const [i, { shape, data }] of alone.entries()) {
        const batched = outputOf(outputs, m, i);
        expect([batched[1], float32Of(batched)]).toEqual([shape, data]);
      }
    }
  });

  it('fills masks in', async () => {
    const { model, session } = await loadNative('symbolic.onnx');
    const widths = [2, 4];
    const members = widths.map((width) => [
      floats([1, 3, width], new Array<number>(3 * width).fill(1)),
      floats([1, 2], [0, 0]),
    ]);
    // The third input stands in for a mask, and its output shows it.
    const outputs = await callBatch(session, members, {
      inputs: [0, 1],
      outputs: [2],
      layout: {
        rows: 2,
        shapes: [
          [2, 3, 4],
          [2, 2],
        ],
        padValues: [0, 0],
        masks: [[2, dtypes.float32.number, 0, 2]],
        trims: [],
      },
    });
    const { any_rank_out: alone } = (await model.run({
      named: new Tensor('float32', new Array<number>(24).fill(1), [2, 3, 4]),
      unknown: new Tensor('float32', [0, 0, 0, 0], [2, 2]),
      any_rank: new Tensor('float32', [1, 1, 0, 0, 1, 1, 1, 1], [2, 4]),
    })) as Record<string, Tensor<'float32'>>;
    expect([...numbers(outputs, 0), ...numbers(outputs, 1)]).toEqual([...(alone?.data ?? [])]);
  });

  it('of a model whose output has no rows ends in ERR_TENON_BATCH', async () => {
    const { model, session } = await loadNative('multi_io.onnx');
    const shape = Object.keys(model.outputs).indexOf('shape');
    const members = [1, 2].map((x) => [floats([1], [x]), floats([1], [x])]);
    const layout = { rows: 2, shapes: [[2], [2]], padValues: [0, 0], masks: [], trims: [] };
    const running = callBatch(session, members, { inputs: [0, 1], outputs: [0, shape], layout });
    await expectError('ERR_TENON_BATCH', () => running, '"shape"', '[1]');
    expect(model.stats()).toMatchObject({ runs: 2, failedRuns: 2, batches: 1 });
  });

  it('that the engine fails in rejects with its error', async () => {
    const { session } = await loadNative('fails_in_run.onnx');
    const running = runBatch(
      session,
      [1n, 100n].map((i) => tensor('int64', [1], BigInt64Array.of(i))),
      layoutOf([2]),
    );
    await expectError('ERR_TENON_RUN', () => running, 'out of');
  });

  it('names the member with bad data', async () => {
    const { model, session } = await loadNative('simple_model.onnx');
    const good = floats([1, 4], [1, 2, 3, 4]);
    const bad: [NativeTensorIn | null, string, string][] = [
      [tensor('float64', [1, 4], new Float64Array(4)), 'ERR_TENON_DTYPE', 'member 1'],
      [floats([1, 5], [1, 2, 3, 4, 5]), 'ERR_TENON_SHAPE', 'member 1'],
      [floats([1, 4], [1, 2]), 'ERR_TENON_DATA_LENGTH', 'member 1'],
      [tensor('float32', [1, 4], ['a']), 'ERR_TENON_INVALID_ARGUMENT', 'member 1'],
      [null, 'ERR_TENON_UNSUPPORTED', 'member 1'],
      [{ sequence: [] } as unknown as NativeTensorIn, 'ERR_TENON_UNSUPPORTED', 'member 1'],
    ];
    for (const [member, code, words] of bad) {
      const run = () => runBatch(session, [good, member as NativeTensorIn], layoutOf([2, 4]));
      await expectError(code as 'ERR_TENON_DTYPE', run, words);
    }
    const detached = new Float32Array(4);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const run = () =>
      runBatch(session, [good, tensor('float32', [1, 4], detached)], layoutOf([2, 4]));
    await expectError('ERR_TENON_DETACHED', run, 'member 1');
    expect(model.stats()).toMatchObject({ runs: 0, batches: 0 });
  });

  /** Two members of a model with one input, as the session takes them. */
  const packed = (): PackedBatch =>
    packBatch({
      signature: 0,
      inputs: [0],
      members: [[floats([1, 4], [1, 2, 3, 4])], [floats([1, 4], [1, 2, 3, 4])]],
      outputs: [0],
      layout: layoutOf([2, 4]),
    });

  const runPacked = (session: NativeSession, { numbers, length, sources }: PackedBatch): unknown =>
    session.runBatch(numbers, length, sources, 0, 0, false, true);

  it.each<[string, (batch: PackedBatch) => Partial<Record<keyof PackedBatch, unknown>>]>([
    ['no numbers', () => ({ numbers: undefined })],
    ['numbers of another type', () => ({ numbers: new Float32Array(40) })],
    ['more numbers than there are', ({ numbers }) => ({ length: numbers.length + 1 })],
    ['numbers that are left', ({ length }) => ({ length: length + 1 })],
    ['no length', () => ({ length: undefined })],
    ['no array of sources', () => ({ sources: undefined })],
    ['no source', () => ({ sources: [] })],
    ['a source that is no memory', () => ({ sources: [7] })],
    ['strings for floats', () => ({ sources: [['a'], ['a']] })],
  ])('refuses %s', async (_what, change) => {
    const { session } = await loadNative('simple_model.onnx');
    const batch = packed();
    const changed = { ...batch, ...change(batch) } as PackedBatch;
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => runPacked(session, changed));
  });

  it('refuses numbers that end too early, wherever', async () => {
    const { session } = await loadNative('simple_model.onnx');
    const batch = packed();
    for (let length = 0; length < batch.length; length++) {
      const run = () => runPacked(session, { ...batch, length });
      await expectError('ERR_TENON_INVALID_ARGUMENT', run);
    }
  });

  it('refuses any other number, or runs', async () => {
    const { session } = await loadNative('simple_model.onnx');
    for (let at = 0; at < packed().length; at++) {
      for (const value of [-1, 0.5, NaN, Infinity, 1, 7, 2 ** 53, 2 ** 62]) {
        const batch = packed();
        batch.numbers[at] = value;
        const error: unknown = await new Promise((resolve) => resolve(runPacked(session, batch)))
          .then(() => undefined)
          .catch((thrown: unknown) => thrown);
        if (error !== undefined) expect((error as Error).name).toBe('TenonError');
      }
    }
  });

  it.each<[string, Partial<NativeBatchLayout>]>([
    ['a fraction of a row', { rows: 1.5 }],
    ['a negative size', { shapes: [[-1, 4]] }],
    ['a trim of rows', { trims: [[0, 0, 0, 1]] }],
    ['a trim of what is no output', { trims: [[7, 1, 0, 1]] }],
    ['a mask of a dtype that is none', { masks: [[0, 99, 0, 1]] }],
  ])('refuses a layout with %s', async (_what, wrong) => {
    const { session } = await loadNative('simple_model.onnx');
    const layout = { ...layoutOf([1, 4]), ...wrong };
    const run = () => runBatch(session, [floats([1, 4], [1, 2, 3, 4])], layout);
    await expectError('ERR_TENON_INVALID_ARGUMENT', run);
  });

  it('of sizes that overflow or do not fit in memory is refused', async () => {
    const { session } = await loadNative('simple_model.onnx');
    const member = floats([1, 4], [1, 2, 3, 4]);
    const run = (shape: number[]) => () => runBatch(session, [member], layoutOf(shape));
    await expectError('ERR_TENON_TOO_LARGE', run([2 ** 52, 2 ** 52]), 'input');
    await expectError('ERR_TENON_INVALID_ARGUMENT', run([2 ** 60, 4]), 'size');
    await expectError('ERR_TENON_OUT_OF_MEMORY', run([2 ** 50, 4]));
  });

  it('leaves the queue when it is cancelled, or is stopped in the engine', async () => {
    const { model, session } = await loadNative('slow.onnx', { pool: { lanes: 1 } });
    const run = (ticket: number) =>
      runBatch(session, [tensor('int64', [1], BigInt64Array.of(2_000_000n))], layoutOf([1]), {
        ticket,
      });
    const first = run(1);
    while (model.stats().batches === 0) await new Promise((resolve) => setImmediate(resolve));
    const second = run(2);
    session.cancel(2);
    await expectError('ERR_TENON_ABORTED', () => second);
    expect(model.stats()).toMatchObject({ queuedRuns: 0, cancelledRuns: 1, busyLanes: 1 });
    session.cancel(1);
    await expectError('ERR_TENON_ABORTED', () => first);
    expect(model.stats()).toMatchObject({ runs: 1, cancelledRuns: 2 });
  });
});
