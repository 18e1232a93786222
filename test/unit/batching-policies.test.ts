import { describe, expect, it } from 'vitest';

import {
  Adaptive,
  candidateSizes,
  chooseBatching,
  nextHeadroom,
} from '../../lib/batching/adaptive.js';
import { hasRoom, isTooLate, predictedWaitMicros } from '../../lib/batching/admission.js';
import { copyTensor } from '../../lib/batching/feeds.js';
import {
  fits,
  layoutOf,
  limitAfterFailure,
  limitAfterSuccess,
  roundUp,
} from '../../lib/batching/form.js';
import { Histogram } from '../../lib/batching/histogram.js';
import { levelOf, resolveBatching } from '../../lib/batching/options.js';
import { bucketOf, hashKey, rowsOf, sameKey, writeKey } from '../../lib/batching/request-key.js';
import { RunTimes } from '../../lib/batching/run-times.js';
import {
  type BatchSignature,
  type BatchSpec,
  carrierPerRow,
  planSignature,
} from '../../lib/batching/signature.js';
import { joinOutputs, splitFeeds } from '../../lib/batching/split.js';
import { tensorsDiffer } from '../../lib/batching/verify.js';
import { type Waiting, WaitingLine } from '../../lib/batching/waiting-line.js';
import type { RunRequest, RunTensor, RunTensorOut } from '../../lib/runner.js';
import { requestOf } from '../helpers/fake-runner.js';

const float32 = 1;
const int64 = 11;
const string = 14;
const int4 = 17;

const tensorSpec = (name: string, shape: BatchSpec['shape'], dtype = 'float32'): BatchSpec => ({
  kind: 'tensor',
  name,
  dtype,
  shape: shape ?? null,
});

function signatureOf(inputs: BatchSpec[], outputs: BatchSpec[]): BatchSignature {
  return { name: 'serving_default', inputs, outputs };
}

function options(value: object = {}): NonNullable<ReturnType<typeof resolveBatching>> {
  return resolveBatching(value) as NonNullable<ReturnType<typeof resolveBatching>>;
}

function thrownBy(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}

describe('the options', () => {
  it('have defaults', () => {
    expect(resolveBatching(undefined)).toBeUndefined();
    expect(resolveBatching(false)).toBeUndefined();
    expect(resolveBatching(true)).toMatchObject({
      maxBatchSize: 32,
      maxDelayMicros: 0,
      maxQueuedRows: 16384,
      verify: 'refuse',
      targetMicros: undefined,
    });
    expect(resolveBatching('auto')).toMatchObject({
      maxBatchSize: 128,
      targetMicros: 50_000,
      maxDelayMicros: 50_000,
    });
    expect(options({ allowedBatchSizes: [1, 4, 16] }).maxBatchSize).toBe(16);
    expect(options({ maxBatchSize: 8, maxQueuedBatches: 2 }).maxQueuedRows).toBe(16);
  });

  it.each([
    ['yes', 'options object'],
    [{ maxBatch: 3 }, '"maxBatch"'],
    [{ maxBatchSize: 0 }, 'batching.maxBatchSize'],
    [{ maxBatchSize: 1.5 }, 'batching.maxBatchSize'],
    [{ maxDelayMicros: -1 }, 'batching.maxDelayMicros'],
    [{ maxDelayMicros: NaN }, 'batching.maxDelayMicros'],
    [{ allowedBatchSizes: [4, 2] }, 'ascending'],
    [{ allowedBatchSizes: [] }, 'allowedBatchSizes'],
    [{ allowedBatchSizes: [1, 4], maxBatchSize: 8 }, 'end with maxBatchSize'],
    [{ maxQueuedBatches: 0 }, 'batching.maxQueuedBatches'],
    [{ padValue: 1 }, 'padVariableLength'],
    [{ lengthBuckets: [3] }, 'padVariableLength'],
    [{ maskInput: 'm' }, 'padVariableLength'],
    [{ trimOutputs: {} }, 'padVariableLength'],
    [{ padVariableLength: true, maskInput: {} }, 'batching.maskInput.name'],
    [{ padVariableLength: true, padValue: 'last' }, 'batching.padValue'],
    [{ padVariableLength: true, padValues: { x: 'a' } }, 'batching.padValues.x'],
    [{ padVariableLength: true, trimOutputs: { y: { dim: 0 } } }, 'batching.trimOutputs.y.dim'],
    [{ priorityLevels: 0 }, 'batching.priorityLevels'],
    [{ refuseLate: 1 }, 'batching.refuseLate'],
    [{ splitLarge: 'no' }, 'batching.splitLarge'],
    [{ targetLatencyMs: 0 }, 'batching.targetLatencyMs'],
    [{ verifyBatching: 'maybe' }, 'batching.verifyBatching'],
    [{ sample: 3 }, 'batching.sample[0]'],
  ])('are checked: %j', (value, message) => {
    const error = thrownBy(() => resolveBatching(value));
    expect(error).toMatchObject({ code: 'ERR_TENON_INVALID_ARGUMENT' });
    expect(error.message).toContain(message);
  });
});

describe('which requests may share a batch', () => {
  const plan = planSignature(
    signatureOf([tensorSpec('x', [null, null])], [tensorSpec('y', [null])]),
    options(),
  );
  const x = new Float32Array(6);
  const request = requestOf(x, [2, 3]);

  it('is told by rows', () => {
    expect(rowsOf(request, plan)).toBe(2);
  });

  it.each<[string, Partial<RunRequest>, string]>([
    ['a scalar', { feeds: [[float32, [], x]] }, 'scalar'],
    ['no rows', { feeds: [[float32, [0, 3], x]] }, 'rows'],
    ['no feeds', { inputs: [], feeds: [] }, 'rows'],
    [
      'different rows',
      {
        inputs: [0, 0],
        feeds: [
          [float32, [2], x],
          [float32, [3], x],
        ],
      },
      'rows',
    ],
    ['an absent optional', { feeds: [null] }, 'kind'],
    ['a sequence', { feeds: [{ sequence: [] }] }, 'kind'],
    ['an output that stays in the engine', { targets: [1] }, 'target'],
    ['an output into a tensor', { targets: [[float32, [2], x]] }, 'target'],
  ])('is refused for %s', (_what, change, reason) => {
    expect(rowsOf({ ...request, ...change }, plan)).toBe(reason);
  });

  it('takes outputs that are told to go to host memory', () => {
    expect(rowsOf({ ...request, targets: [0] }, plan)).toBe(2);
  });

  it.each([
    ['a fixed batch', [tensorSpec('x', [1, 3])], [tensorSpec('y', [null])]],
    ['a scalar input', [tensorSpec('x', [])], [tensorSpec('y', [null])]],
    ['an output without rows', [tensorSpec('x', [null])], [tensorSpec('y', [])]],
    ['an output of fixed size', [tensorSpec('x', [null])], [tensorSpec('y', [3])]],
    ['a sequence as output', [tensorSpec('x', [null])], [{ kind: 'sequence', name: 'y' }]],
  ])('is refused by the declaration: %s', (_what, inputs, outputs) => {
    expect(rowsOf(request, planSignature(signatureOf(inputs, outputs), options()))).toBe(
      'signature',
    );
  });

  it('asks for the same signature, inputs, dtypes, sizes and outputs', () => {
    const keyOf = (change: Partial<RunRequest>): number[] => {
      const key: number[] = [];
      writeKey({ ...request, ...change }, plan, [], key);
      return key;
    };
    const own = keyOf({});
    expect(sameKey(own, keyOf({ feeds: [[float32, [5, 3], x]] }))).toBe(true);
    for (const change of [
      { signature: 1 },
      { feeds: [[float32, [2, 4], x]] },
      { feeds: [[float32, [2, 3, 1], x]] },
      { feeds: [[int64, [2, 3], x]] },
      { inputs: [1] },
      { outputs: [1] },
      { outputs: [0, 1] },
    ] as Partial<RunRequest>[]) {
      const wide = planSignature(
        signatureOf([tensorSpec('x', null), tensorSpec('z', null)], [tensorSpec('y', null)]),
        options(),
      );
      const key: number[] = [];
      writeKey({ ...request, ...change }, wide, [], key);
      expect(sameKey(own, key), JSON.stringify(change)).toBe(false);
      expect(hashKey(own)).not.toBe(hashKey(key));
    }
  });

  it('puts lengths into buckets where they are padded', () => {
    const padding = options({ padVariableLength: true, lengthBuckets: [16, 64] });
    const padded = planSignature(
      signatureOf([tensorSpec('x', [null, 'length', 8])], [tensorSpec('y', [null])]),
      padding,
    );
    const keyOf = (shape: number[]): number[] => {
      const key: number[] = [];
      writeKey(requestOf(x, shape), padded, padding.lengthBuckets, key);
      return key;
    };
    expect(keyOf([1, 3, 8])).toEqual(keyOf([4, 16, 8]));
    expect(keyOf([1, 17, 8])).toEqual(keyOf([1, 64, 8]));
    expect(keyOf([1, 65, 8])).toEqual(keyOf([1, 900, 8]));
    expect(keyOf([1, 16, 8])).not.toEqual(keyOf([1, 17, 8]));
    // A declared size is never padded.
    expect(keyOf([1, 3, 8])).not.toEqual(keyOf([1, 3, 7]));
    expect([0, 16, 17, 65].map((length) => bucketOf(length, [16, 64]))).toEqual([0, 0, 1, 2]);
  });
});

describe('the size of a batch', () => {
  it('is rounded up to an allowed one', () => {
    expect([1, 2, 3, 8, 9].map((rows) => roundUp(rows, [1, 4, 8]))).toEqual([1, 4, 4, 8, 9]);
    expect(roundUp(5, [])).toBe(5);
  });

  it('always holds the first request, and then what fits', () => {
    expect(fits(0, 100, 8)).toBe(true);
    expect(fits(5, 3, 8)).toBe(true);
    expect(fits(5, 4, 8)).toBe(false);
  });

  it('halves after a failure and grows back', () => {
    expect([1, 2, 3, 32].map(limitAfterFailure)).toEqual([1, 1, 1, 16]);
    let limit = 1;
    let steps = 0;
    while (limit < Infinity && steps < 100) {
      limit = limitAfterSuccess(limit, 32);
      steps++;
    }
    expect(limit).toBe(Infinity);
    expect(steps).toBeLessThan(40);
  });
});

describe('the layout of a batch', () => {
  const signature = signatureOf(
    [
      tensorSpec('ids', ['batch', 'length'], 'int64'),
      tensorSpec('attention_mask', ['batch', 'length'], 'int64'),
      tensorSpec('extra', ['batch', 2]),
    ],
    [tensorSpec('hidden', ['batch', 'length', 8]), tensorSpec('pooled', ['batch', 8])],
  );
  const padding = options({
    padVariableLength: true,
    padValues: { ids: 7 },
    maskInput: 'attention_mask',
  });
  const plan = planSignature(signature, padding);
  const member = (rows: number, length: number): RunTensor[] => [
    [int64, [rows, length], new BigInt64Array(rows * length)],
    [float32, [rows, 2], new Float32Array(rows * 2)],
  ];

  it('pads to the longest, fills the mask, and cuts outputs that are as long', () => {
    expect(layoutOf(plan, [0, 2], [1, 0], [member(1, 3), member(2, 5)], 4)).toEqual({
      rows: 4,
      shapes: [
        [4, 5],
        [4, 2],
      ],
      padValues: [7, 0],
      masks: [[1, int64, 0, 1]],
      trims: [[1, 1, 0, 1]],
    });
  });

  it("pads with a request's own first element where it is told to", () => {
    const first = planSignature(
      signature,
      options({ padVariableLength: true, padValue: 'first', padValues: { extra: 3 } }),
    );
    expect(layoutOf(first, [0, 2], [0], [member(1, 3)], 1).padValues).toEqual(['first', 3]);
  });

  it('leaves a mask alone that is fed', () => {
    const fed = [...member(1, 3).slice(0, 1), [int64, [1, 3], new BigInt64Array(3)] as RunTensor];
    expect(layoutOf(plan, [0, 1], [0], [fed], 1).masks).toEqual([]);
  });

  it('cuts what is named where the model names no sizes', () => {
    const open = signatureOf(
      [tensorSpec('x', [null, null])],
      [tensorSpec('y', [null, null]), tensorSpec('z', [null, null])],
    );
    expect(planSignature(open, options({ padVariableLength: true })).trims).toEqual([]);
    const named = planSignature(open, options({ padVariableLength: true, trimOutputs: { y: {} } }));
    expect(named.trims).toEqual([{ output: 0, dim: 1, of: 0, inputDim: 1 }]);
  });

  it('never pads strings or packed elements', () => {
    const open = signatureOf(
      [tensorSpec('s', [null, null], 'string'), tensorSpec('p', [null, null], 'int4')],
      [],
    );
    const { inputs } = planSignature(open, options({ padVariableLength: true }));
    expect(inputs.map(({ padded }) => padded(1))).toEqual([false, false]);
  });
});

describe('admission', () => {
  const state = {
    queuedRows: 64,
    maxQueuedRows: 100,
    batchRows: 32,
    lanes: 2,
    inFlight: 2,
    batchMicros: 1000,
  };

  it('goes by the length of the queue', () => {
    expect(hasRoom(state, 36)).toBe(true);
    expect(hasRoom(state, 37)).toBe(false);
    expect(hasRoom({ ...state, queuedRows: 0 }, 1000)).toBe(true);
  });

  it('goes by the predicted wait', () => {
    expect(predictedWaitMicros(state)).toBe(1250);
    expect(predictedWaitMicros({ ...state, queuedRows: 0, inFlight: 0 })).toBe(0);
    expect(isTooLate(state, 1300)).toBe(false);
    expect(isTooLate(state, 1200)).toBe(true);
    // Nothing is refused by a guess.
    expect(isTooLate({ ...state, batchMicros: 0 }, 1)).toBe(false);
  });
});

describe('the order of those who wait', () => {
  class Item implements Waiting {
    previous: this | undefined;
    next: this | undefined;
    turn: Waiting['turn'] & undefined;
    constructor(
      readonly name: string,
      readonly caller: string | undefined = undefined,
      readonly priority = 0,
      readonly rows = 1,
    ) {}
  }

  function drain(line: WaitingLine<Item>): string[] {
    const names: string[] = [];
    for (let item = line.peek(); item !== undefined; item = line.peek()) {
      line.remove(item);
      names.push(item.name);
    }
    return names;
  }

  it('is that of arrival among equals', () => {
    const line = new WaitingLine<Item>();
    for (const name of 'abcd') line.push(new Item(name));
    expect([line.length, line.rows]).toEqual([4, 4]);
    expect(drain(line)).toEqual(['a', 'b', 'c', 'd']);
    expect([line.length, line.rows]).toEqual([0, 0]);
  });

  it('is by priority first', () => {
    const line = new WaitingLine<Item>();
    line.push(new Item('low', undefined, -1));
    line.push(new Item('middle'));
    line.push(new Item('high', undefined, 5));
    line.push(new Item('high too', undefined, 5));
    expect(drain(line)).toEqual(['high', 'high too', 'middle', 'low']);
  });

  it('gives callers turns, however much one of them sends', () => {
    const line = new WaitingLine<Item>();
    for (let i = 0; i < 6; i++) line.push(new Item(`a${i}`, 'a'));
    line.push(new Item('b0', 'b'));
    line.push(new Item('c0', 'c'));
    line.push(new Item('b1', 'b'));
    const order = drain(line);
    expect(
      order
        .slice(0, 6)
        .map((name) => name[0])
        .sort(),
    ).toEqual(['a', 'a', 'b', 'b', 'c', 'a'].sort());
    expect(order.slice(-3)).toEqual(['a3', 'a4', 'a5']);
  });

  it('counts rows, not requests', () => {
    const line = new WaitingLine<Item>();
    for (let i = 0; i < 4; i++) line.push(new Item(`large${i}`, 'large', 0, 8));
    for (let i = 0; i < 16; i++) line.push(new Item(`small${i}`, 'small'));
    // By the time the second large one goes, the other caller has had as many rows.
    const order = drain(line);
    const second = order.indexOf('large1');
    expect(
      order.slice(0, second).filter((name) => name.startsWith('small')).length,
    ).toBeGreaterThanOrEqual(7);
  });

  it('forgets whoever leaves', () => {
    const line = new WaitingLine<Item>();
    const items = ['a', 'b', 'c'].map((name, i) => new Item(name, String(i)));
    for (const item of items) line.push(item);
    line.remove(items[1] as Item);
    line.push(new Item('d', '1'));
    expect(drain(line).sort()).toEqual(['a', 'c', 'd']);
    line.push(new Item('e', undefined, 3));
    expect(drain(line)).toEqual(['e']);
  });

  it('knows only so many levels where that is asked for', () => {
    expect([-5, 0, 1, 9].map((priority) => levelOf(priority, 2))).toEqual([0, 0, 1, 1]);
    expect(levelOf(-5, undefined)).toBe(-5);
  });
});

describe('a request in parts', () => {
  it('is cut by rows and put together again', () => {
    const values = Float32Array.from({ length: 10 }, (_, i) => i);
    const words = ['a', 'b', 'c', 'd', 'e'];
    const pieces = splitFeeds(
      [
        [float32, [5, 2], values],
        [string, [5], words],
      ],
      5,
      2,
    );
    expect(
      pieces?.map((feeds) => feeds.map(([, shape, data]) => [shape, [...(data as string[])]])),
    ).toEqual([
      [
        [
          [2, 2],
          [0, 1, 2, 3],
        ],
        [[2], ['a', 'b']],
      ],
      [
        [
          [2, 2],
          [4, 5, 6, 7],
        ],
        [[2], ['c', 'd']],
      ],
      [
        [
          [1, 2],
          [8, 9],
        ],
        [[1], ['e']],
      ],
    ]);
    const part = (numbers: number[]): RunTensorOut => [
      float32,
      [numbers.length, 1],
      Float32Array.from(numbers).buffer,
    ];
    const text = (elements: string[]): RunTensorOut => [
      string,
      [elements.length],
      new TextEncoder().encode(elements.join('')).buffer,
      Float64Array.from([0, ...elements.map((_, i) => elements.slice(0, i + 1).join('').length)]),
    ];
    const [joined, strings] = joinOutputs([
      [part([1, 2]), text(['x', 'yz'])],
      [part([3]), text(['', 'w'])],
    ]) as [RunTensorOut, RunTensorOut];
    expect([joined[1], [...new Float32Array(joined[2] as ArrayBuffer)]]).toEqual([
      [3, 1],
      [1, 2, 3],
    ]);
    expect(strings[1]).toEqual([4]);
    expect([...(strings[3] as Float64Array)]).toEqual([0, 1, 3, 3, 4]);
  });

  it('is left whole where rows do not end on bytes', () => {
    expect(splitFeeds([[int4, [4, 3], new Uint8Array(6)]], 4, 2)).toBeUndefined();
    expect(carrierPerRow(int4, [4, 2])).toBe(1);
    expect(carrierPerRow(float32, [4, 2, 3])).toBe(6);
  });

  it('fails where parts do not fit together', () => {
    const out = (shape: number[]): RunTensorOut => [float32, shape, new ArrayBuffer(8)];
    expect(thrownBy(() => joinOutputs([[out([1, 2])], [out([2, 1])]]))).toMatchObject({
      code: 'ERR_TENON_BATCH',
    });
    expect(thrownBy(() => joinOutputs([[null], [null]]))).toMatchObject({
      code: 'ERR_TENON_BATCH',
    });
  });
});

describe('a copied feed', () => {
  it('shares no memory, not even with a Buffer or a string\u2019s bytes', () => {
    const buffer = Buffer.from([1, 2, 3]);
    const [, , copy] = copyTensor([6, [3], buffer]);
    const bytes = Uint8Array.of(65);
    const [, , strings] = copyTensor([string, [2], [bytes, 'b']]);
    buffer.fill(9);
    bytes[0] = 90;
    expect([...(copy as Uint8Array)]).toEqual([1, 2, 3]);
    expect(strings).toEqual([Uint8Array.of(65), 'b']);
  });
});

describe('results alone and together', () => {
  const floats = (...values: number[]): RunTensorOut => [
    float32,
    [values.length],
    Float32Array.from(values).buffer,
  ];
  it('may differ by a share of the largest', () => {
    expect(tensorsDiffer(floats(1000, 1), floats(1000.5, 1.5))).toBeUndefined();
    expect(tensorsDiffer(floats(1, 0), floats(1.002, 0))).toContain('1.00199');
    expect(tensorsDiffer(floats(NaN, Infinity), floats(NaN, Infinity))).toBeUndefined();
    expect(tensorsDiffer(floats(NaN, 1), floats(0, 1))).toContain('NaN');
    expect(tensorsDiffer(floats(1, 2), floats(1))).toContain('shape');
  });

  it('are the same integers and strings', () => {
    const integers = (value: bigint): RunTensorOut => [int64, [1], BigInt64Array.of(value).buffer];
    expect(tensorsDiffer(integers(5n), integers(5n))).toBeUndefined();
    expect(tensorsDiffer(integers(5n), integers(6n))).toContain('other elements');
  });
});

describe('measured times', () => {
  it('are smoothed by size and carried on to others', () => {
    const times = new RunTimes();
    expect(times.expected(8)).toBe(0);
    for (let i = 0; i < 50; i++) {
      times.note(1, 1100);
      times.note(16, 2600);
    }
    expect(times.batches).toBe(100);
    expect(times.expected(1)).toBeCloseTo(1100, 0);
    expect(times.expected(8)).toBeCloseTo(1800, 0);
    expect(times.expected(32)).toBeCloseTo(4200, 0);
    expect(times.high(16)).toBeGreaterThanOrEqual(times.expected(16));
  });

  it('are told in quantiles that are little too large', () => {
    const histogram = new Histogram();
    for (let i = 1; i <= 1000; i++) histogram.add(i);
    const { count, mean, p50, p99, max } = histogram.summary();
    expect([count, mean, max]).toEqual([1000, 500.5, 1000]);
    expect(p50).toBeGreaterThanOrEqual(500);
    expect(p50).toBeLessThanOrEqual(500 * 1.125);
    expect(p99).toBeGreaterThanOrEqual(990);
    histogram.add(1e12);
    expect(histogram.summary().max).toBe(1e12);
  });
});

describe('adaptive batching', () => {
  /** Runs that take a fixed part and a part for each row, exactly. */
  const linear = (fixed: number, perRow: number) => ({
    expected: (rows: number) => fixed + perRow * rows,
    high: (rows: number) => fixed + perRow * rows,
    batches: 100,
    largestRows: 128,
  });
  const limits = {
    targetMicros: 20_000,
    maxBatchSize: 128,
    maxDelayMicros: 20_000,
    allowedBatchSizes: [],
  };
  const calm = {
    lanes: 1,
    meanRows: 8,
    rowsPerSecond: 1000,
    busyShare: 0.3,
    isOverloaded: false,
    headroom: 1,
  };

  it('takes the largest size of which two fit into the target', () => {
    const { maxBatchSize, delayMicros, why } = chooseBatching(limits, {
      ...calm,
      times: linear(1000, 100),
    });
    expect([maxBatchSize, delayMicros]).toEqual([64, 0]);
    expect(why).toContain('128 would take up to 2 × 13.8 ms');
  });

  it('takes no larger one than pays', () => {
    const { maxBatchSize, why } = chooseBatching(limits, { ...calm, times: linear(1, 100) });
    expect(maxBatchSize).toBe(1);
    expect(why).toContain('no more throughput');
  });

  it('plans with a single round where others wait anyway', () => {
    const choice = chooseBatching(limits, {
      ...calm,
      isOverloaded: true,
      times: linear(1000, 100),
    });
    expect(choice.maxBatchSize).toBe(128);
  });

  it('goes a step beyond what was measured', () => {
    const times = { ...linear(1000, 10), largestRows: 8 };
    expect(chooseBatching(limits, { ...calm, times }).maxBatchSize).toBe(16);
  });

  it('says where the target cannot be met', () => {
    const { maxBatchSize, why } = chooseBatching(limits, { ...calm, times: linear(30_000, 10) });
    expect(maxBatchSize).toBe(128);
    expect(why).toContain('already takes');
  });

  it('waits only where small batches keep several lanes busy', () => {
    const busy = { ...calm, lanes: 2, meanRows: 4, busyShare: 0.95, rowsPerSecond: 10_000 };
    const times = linear(2000, 20);
    const { maxBatchSize, delayMicros } = chooseBatching(limits, { ...busy, times });
    expect(maxBatchSize).toBe(128);
    expect(delayMicros).toBeGreaterThan(0);
    expect(delayMicros).toBeLessThanOrEqual(20_000 - 2 * (2000 + 20 * 128));
    expect(chooseBatching(limits, { ...busy, busyShare: 0.5, times }).delayMicros).toBe(0);
    expect(chooseBatching(limits, { ...busy, lanes: 1, times }).delayMicros).toBe(0);
  });

  it('begins small, and goes by the allowed sizes', () => {
    const nothing = { expected: () => 0, high: () => 0, batches: 0, largestRows: 0 };
    expect(chooseBatching(limits, { ...calm, times: nothing }).maxBatchSize).toBe(8);
    expect(candidateSizes(6, [])).toEqual([1, 2, 4, 6]);
    expect(candidateSizes(16, [2, 16])).toEqual([2, 16]);
  });

  it('plans with less where the target was missed', () => {
    expect(nextHeadroom(1, 25_000, 20_000, false)).toBeCloseTo(0.8);
    expect(nextHeadroom(0.5, 10_000, 20_000, false)).toBeCloseTo(0.55);
    expect(nextHeadroom(0.5, 19_000, 20_000, false)).toBe(0.5);
    expect(nextHeadroom(0.5, 99_000, 20_000, true)).toBeCloseTo(0.55);
  });

  /**
   * One lane in virtual time: `clients` send their next request when the last has ended. Gives the
   * size chosen in the end, the share of late requests after a while, and rows a second.
   */
  function simulate(
    targetMicros: number,
    clients: number,
    cost: (rows: number) => number,
  ): { size: number; p99: number; rowsPerSecond: number; why: string } {
    const times = new RunTimes();
    const adaptive = new Adaptive({ ...limits, targetMicros }, times, 0);
    let now = 0;
    let queue = Array.from({ length: clients }, () => 0);
    const latencies: number[] = [];
    let done = 0;
    let since = 0;
    for (let batch = 0; batch < 4000; batch++) {
      if (batch === 2000) {
        latencies.length = done = 0;
        since = now;
      }
      const members = queue.slice(0, adaptive.maxBatchSize);
      queue = queue.slice(members.length);
      const micros = cost(members.length);
      now += micros;
      times.note(members.length, micros);
      for (const sent of members) {
        adaptive.noteLatency(now - sent);
        latencies.push(now - sent);
      }
      done += members.length;
      adaptive.noteBatch(members.length, micros, queue.length, 1, now);
      queue.push(...members.map(() => now));
    }
    latencies.sort((a, b) => a - b);
    return {
      size: adaptive.maxBatchSize,
      p99: latencies[Math.floor(latencies.length * 0.99)] as number,
      rowsPerSecond: (done / (now - since)) * 1e6,
      why: adaptive.stats().why,
    };
  }

  const cost = (rows: number): number => 1000 + 100 * rows;

  it.each([
    [20_000, 1],
    [20_000, 16],
    [20_000, 64],
    [20_000, 128],
    [40_000, 128],
    [5_000, 16],
  ])('meets a target of %i µs with %i in flight', (targetMicros, clients) => {
    const { p99, rowsPerSecond } = simulate(targetMicros, clients, cost);
    expect(p99).toBeLessThanOrEqual(targetMicros);
    // No size with one lane does much better: all clients in one batch is the most there is.
    expect(rowsPerSecond).toBeGreaterThan(0.5 * (clients / cost(clients)) * 1e6);
  });

  it('has the most throughput where the target leaves the choice', () => {
    const { size, rowsPerSecond } = simulate(1_000_000, 128, cost);
    expect(size).toBe(128);
    expect(rowsPerSecond).toBeCloseTo((128 / cost(128)) * 1e6, 0);
  });
});
