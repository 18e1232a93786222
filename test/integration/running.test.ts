import { beforeAll, describe, expect, it } from 'vitest';

import { load, type LoadOptions, type Model, type RunOptions, Tensor } from '../../lib/index.js';
import { runScript } from '../helpers/child.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

/** Far longer than anything a test waits for; only a run that is really stopped ends in time. */
const forever = 2_000_000n;

const oneLane = { pool: { lanes: 1 } };
const onLanes: LoadOptions = { inline: 'never' };

// TensorFlow's inter-op threads are those of the first session in the process, and one slow run
// has to leave one of them to another.
beforeAll(async () => {
  const first = await load(modelPath('tf_scalar'), { threads: { intraOp: 1, interOp: 2 } });
  await first.close();
});

/** The next turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

/** A run that keeps the model's only lane until `end()`. */
async function occupy(model: Model, n = forever): Promise<{ end: () => Promise<void> }> {
  const controller = new AbortController();
  const ended = model.run({ n }, { signal: controller.signal }).catch(() => undefined);
  await until(() => model.stats().busyLanes === 1 && model.stats().queuedRuns === 0);
  return {
    end: async () => {
      controller.abort();
      await ended;
    },
  };
}

function allocated(values: readonly number[], shape: readonly number[]): Tensor<'float32'> {
  const tensor = Tensor.alloc('float32', shape);
  tensor.data.set(values);
  return tensor;
}

function numbers(tensor: Tensor | undefined): number[] {
  return [...(tensor?.data as Float32Array)];
}

const short: [string, string, string, string, number[], number[]][] = [
  ['onnxruntime', 'same.onnx', 'x', 'twice', [1, 2, 3], [2, 4, 6]],
  ['tensorflow', 'half_plus_two', 'x', 'y', [1, 2, 3], [3.5, 4, 4.5]],
];

const slow = [
  ['onnxruntime', 'slow.onnx'],
  ['tensorflow', 'tf_slow'],
] as const;

describe.each(short)('short runs of %s', (_engine, file, input, output, fed, expected) => {
  /** Runs until one happened on the calling thread. */
  const warmUp = async (model: Model): Promise<void> => {
    while (model.stats().inlineRuns === 0) await model.run({ [input]: fed });
  };

  it('happen inline after the first ones', async () => {
    await using model = await load(modelPath(file));
    await warmUp(model);
    expect(model.stats().inlineRuns).toBeGreaterThan(0);
  });

  it('never happen inline with inline: "never"', async () => {
    await using model = await load(modelPath(file), onLanes);
    for (let i = 0; i < 200; i++) await model.run({ [input]: fed });
    const { runs, inlineRuns, queueMicros } = model.stats();
    expect([runs, inlineRuns, queueMicros.count]).toEqual([200, 0, 200]);
  });

  it('that are awaited one after another let the event loop turn', async () => {
    await using model = await load(modelPath(file));
    await warmUp(model);
    let turns = 0;
    let isDone = false;
    const turn = (): void => {
      turns++;
      if (!isDone) setImmediate(turn);
    };
    setImmediate(turn);
    for (let i = 0; i < 20_000; i++) await model.run({ [input]: fed });
    isDone = true;
    expect(turns).toBeGreaterThanOrEqual(20);
  });

  it('give what runs on a lane give', async () => {
    await using model = await load(modelPath(file));
    await using laned = await load(modelPath(file), onLanes);
    await warmUp(model);
    for (let i = 0; i < 100; i++) {
      const feeds = { [input]: fed.map((value) => value + i) };
      const inline = (await model.run(feeds))[output];
      expect(inline?.data).toEqual((await laned.run(feeds))[output]?.data);
    }
    expect(numbers((await model.run({ [input]: fed }))[output])).toEqual(expected);
  });
});

describe('a run that takes longer than a lane which is awake, and less than waking one', () => {
  const attempts = 20;

  /** How often just one of four runs at once happened inline, after one that came alone did. */
  async function onesOfSeveral(model: Model, x: Float32Array): Promise<number> {
    const inlineOf = async (work: () => Promise<unknown>): Promise<number> => {
      const before = model.stats().inlineRuns;
      await work();
      return model.stats().inlineRuns - before;
    };
    let ones = 0;
    for (let i = 0; i < attempts; i++) {
      if ((await inlineOf(() => model.run({ x }))) === 0) continue;
      const inline = await inlineOf(() => Promise.all([1, 2, 3, 4].map(() => model.run({ x }))));
      if (inline === 1) ones++;
    }
    return ones;
  }

  it('happens inline where it comes alone, and of several at once one does', async () => {
    await using model = await load(modelPath('same.onnx'), { threads: { intraOp: 1 } });
    // How long a run takes is as the machine likes: feeds of any length are tried until one takes
    // as long as is meant. Of shorter ones all are inline, of longer ones none.
    let most = 0;
    for (let length = 1000; most < attempts / 2; length = Math.ceil(length * 1.1)) {
      if (length > 1e6) length = 1000;
      most = Math.max(most, await onesOfSeveral(model, new Float32Array(length)));
    }
    expect(most).toBeGreaterThanOrEqual(attempts / 2);
  });
});

describe('an inline run', () => {
  it('that fails rejects instead of throwing', async () => {
    await using model = await load(modelPath('fails_in_run.onnx'));
    while (model.stats().inlineRuns === 0) await model.run({ index: [1n] });
    for (let i = 0; i < 20; i++) {
      const run = model.run({ index: [100n] });
      await expectError('ERR_TENON_RUN', () => run, 'out of');
    }
  });
});

describe('results of a trained network', () => {
  it.each([['digits_cnn.onnx'], ['digits_cnn_tf']])(
    'are the same by run, runSync, borrow and binding (%s)',
    async (file) => {
      await using model = await load(modelPath(file), onLanes);
      const pixels = Float32Array.from({ length: 64 }, (_, i) => (i % 17) / 16);
      const images = new Tensor('float32', pixels, [1, 8, 8, 1]);
      const binding = await model.bind({ images });
      const outputs = [
        await model.run({ images }),
        model.runSync({ images }),
        await model.run({ images }, { borrow: true }),
        await binding.run(),
      ];
      const [first = [], ...others] = outputs.map(({ probabilities }) =>
        numbers(probabilities as Tensor),
      );
      expect(first.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
      for (const other of others) {
        for (const [i, value] of other.entries()) expect(value).toBeCloseTo(first[i] ?? NaN, 5);
      }
    },
  );
});

describe('the queue', () => {
  it('lets a run of higher priority go first, and equal ones in order', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const blocker = await occupy(model);
    const order: string[] = [];
    const runs = [
      ['a', 0],
      ['b', 0],
      ['low', -1],
      ['high', 5],
      ['c', 0],
      ['high, too', 5],
    ] as const;
    const settled = runs.map(([name, priority]) =>
      model.run({ n: 1n }, { priority }).then(() => order.push(name)),
    );
    await blocker.end();
    await Promise.all(settled);
    expect(order).toEqual(['high', 'high, too', 'a', 'b', 'c', 'low']);
  });

  it('of TensorFlow lets a run of higher priority go first', async () => {
    await using model = await load(modelPath('tf_slow'), oneLane);
    const order: string[] = [];
    const first = model.run({ n: 400n }).then(() => order.push('first'));
    await until(() => model.stats().busyLanes === 1);
    const normal = model.run({ n: 1n }).then(() => order.push('normal'));
    const high = model.run({ n: 1n }, { priority: 1 }).then(() => order.push('high'));
    await Promise.all([first, normal, high]);
    expect(order).toEqual(['first', 'high', 'normal']);
  });

  it.each([1.5, NaN, '1', 2 ** 31])('refuses %s as a priority', async (priority) => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const options = { priority: priority as number };
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => model.run({ n: 1n }, options));
  });

  it('that is full refuses at once, while the lane is busy', async () => {
    await using model = await load(modelPath('slow.onnx'), { pool: { lanes: 1, maxQueue: 1 } });
    const blocker = await occupy(model);
    const waiting = model.run({ n: 1n });
    await expectError('ERR_TENON_QUEUE_FULL', () => model.run({ n: 1n }));
    expect(model.stats().queuedRuns).toBe(1);
    await blocker.end();
    await waiting;
  });

  it('loses a run that is aborted at once', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const blocker = await occupy(model);
    const controller = new AbortController();
    const rejected = expect(
      model.run({ n: 1n }, { signal: controller.signal }),
    ).rejects.toMatchObject({ name: 'AbortError' });
    const other = model.run({ n: 1n });
    expect(model.stats().queuedRuns).toBe(2);
    controller.abort();
    expect(model.stats().queuedRuns).toBe(1);
    await rejected;
    await blocker.end();
    await other;
  });

  it('has a place again once a run in it was aborted', async () => {
    await using model = await load(modelPath('slow.onnx'), { pool: { lanes: 1, maxQueue: 1 } });
    const blocker = await occupy(model);
    const controller = new AbortController();
    const aborted = model.run({ n: 1n }, { signal: controller.signal }).catch(() => undefined);
    controller.abort();
    await aborted;
    await nextTurn();
    const next = model.run({ n: 1n });
    await blocker.end();
    expect((await next)['y']?.toArray()).toBe(1);
  });

  it('goes on once the run on the lane was aborted', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const blocker = await occupy(model);
    const next = model.run({ n: 1n });
    await blocker.end();
    expect((await next)['y']?.toArray()).toBe(1);
  });
});

describe.each(slow)('destroy of %s', (_engine, file) => {
  const n = file === 'slow.onnx' ? forever : 400n;

  it('rejects the running and 10 000 queued runs with its reason', async () => {
    const model = await load(modelPath(file), oneLane);
    const runs = [model.run({ n })];
    await until(() => model.stats().busyLanes === 1);
    for (let i = 0; i < 10_000; i++) runs.push(model.run({ n }));
    const settled = Promise.allSettled(runs);
    const reason = new Error('the end');
    const destroyed = model.destroy(reason);
    const ends = await settled;
    expect(ends.every((end) => end.status === 'rejected' && end.reason === reason)).toBe(true);
    await destroyed;
  });

  it('refuses later calls with ERR_TENON_MODEL_CLOSED', async () => {
    const model = await load(modelPath(file), oneLane);
    const destroyed = model.destroy();
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.run({ n: 1n }));
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.runSync({ n: 1n }));
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.bind({ n: 1n }));
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.stats());
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.share());
    await destroyed;
  });

  it('without a reason rejects with ERR_TENON_ABORTED', async () => {
    const model = await load(modelPath(file), oneLane);
    const rejected = expectError('ERR_TENON_ABORTED', () => model.run({ n }));
    await model.destroy();
    await rejected;
  });

  it('after close rejects what close waits for', async () => {
    const model = await load(modelPath(file), oneLane);
    const runs = Promise.allSettled([model.run({ n }), model.run({ n })]);
    const closed = model.close();
    const reason = new Error('after all');
    await model.destroy(reason);
    await closed;
    expect(await runs).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ]);
  });

  it('of a closed model is nothing', async () => {
    const model = await load(modelPath(file), oneLane);
    await model.close();
    await model.destroy(new Error('unheard'));
    await model.close();
  });
});

describe.each(short)('an output of %s into a tensor', (_e, file, input, output, fed, expected) => {
  it.each([
    ['on a lane', { inline: 'never' }],
    ['inline or not', { inline: 'auto' }],
  ] as const)('is written in place and comes back (%s)', async (_title, options) => {
    await using model = await load(modelPath(file), options);
    for (let i = 0; i < 50; i++) {
      const place = Tensor.alloc('float32', [3]);
      const { data } = place;
      const outputs = await model.run({ [input]: fed }, { outputs: { [output]: place } });
      expect(outputs[output]).toBe(place);
      expect([...data]).toEqual(expected);
    }
  });

  it('is written by runSync, into the caller’s own memory, too', async () => {
    await using model = await load(modelPath(file));
    const data = new Float32Array(3);
    const place = new Tensor('float32', data, [3]);
    const outputs = model.runSync({ [input]: fed }, { outputs: { [output]: place } });
    expect(outputs[output]).toBe(place);
    expect([...data]).toEqual(expected);
  });

  it.each([false, true])(
    'is refused by run into the caller’s own memory, wherever it happens (borrow: %s)',
    async (borrow) => {
      await using model = await load(modelPath(file));
      const place = new Tensor('float32', new Float32Array(3), [3]);
      for (let i = 0; i < 50; i++) {
        await model.run({ [input]: fed });
        await expectError(
          'ERR_TENON_INVALID_ARGUMENT',
          () => model.run({ [input]: fed }, { borrow, outputs: { [output]: place } }),
          'Tensor.alloc',
        );
      }
      expect([...place.data]).toEqual([0, 0, 0]);
    },
  );

  it('of another dtype is ERR_TENON_DTYPE, and the tensor is as it was', async () => {
    await using model = await load(modelPath(file));
    const place = Tensor.alloc('int32', [3]);
    place.data.fill(7);
    const run = { outputs: { [output]: place } };
    await expectError('ERR_TENON_DTYPE', () => model.run({ [input]: fed }, run), output);
    await expectError('ERR_TENON_DTYPE', () => model.runSync({ [input]: fed }, run), output);
    expect([...place.data]).toEqual([7, 7, 7]);
  });

  it.each([[[2]], [[4]], [[3, 1]]])('of shape %j is ERR_TENON_SHAPE', async (shape) => {
    await using model = await load(modelPath(file));
    const place = Tensor.alloc('float32', shape);
    place.data.fill(7);
    const run = { outputs: { [output]: place } };
    await expectError('ERR_TENON_SHAPE', () => model.run({ [input]: fed }, run), output);
    await expectError('ERR_TENON_SHAPE', () => model.runSync({ [input]: fed }, run), output);
    expect(place.data.every((value) => value === 7)).toBe(true);
    expect(numbers((await model.run({ [input]: fed }))[output])).toEqual(expected);
  });

  it('may be that of the feed', async () => {
    await using model = await load(modelPath(file), onLanes);
    const both = allocated(fed, [3]);
    await model.run({ [input]: both }, { outputs: { [output]: both } });
    expect([...both.data]).toEqual(expected);
    both.data.set(fed);
    model.runSync({ [input]: both }, { outputs: { [output]: both } });
    expect([...both.data]).toEqual(expected);
  });

  it('that was disposed is ERR_TENON_DISPOSED', async () => {
    await using model = await load(modelPath(file));
    const place = Tensor.alloc('float32', [3]);
    place.dispose();
    const run = { outputs: { [output]: place } };
    await expectError('ERR_TENON_DISPOSED', () => model.run({ [input]: fed }, run));
  });

  it('may be disposed during the run', async () => {
    await using model = await load(modelPath(file), onLanes);
    const place = Tensor.alloc('float32', [3]);
    const run = model.run({ [input]: fed }, { outputs: { [output]: place } });
    place.dispose();
    expect((await run)[output]).toBe(place);
    await expectError('ERR_TENON_DISPOSED', () => place.data);
  });
});

describe('outputs that are something else’s', () => {
  it('an input goes into a tensor without touching the feed', async () => {
    await using model = await load(modelPath('same.onnx'), onLanes);
    const x = allocated([1, 2, 3], [3]);
    const place = Tensor.alloc('float32', [3]);
    const outputs = await model.run({ x }, { outputs: { x: place, twice: 'host' } });
    expect(outputs['x']).toBe(place);
    place.data.fill(0);
    expect([...x.data]).toEqual([1, 2, 3]);
    expect(numbers(outputs['twice'])).toEqual([2, 4, 6]);
  });

  it('an initializer goes into a tensor, which may be written', async () => {
    await using model = await load(modelPath('constant_out.onnx'), onLanes);
    const weights = Tensor.alloc('float32', [3]);
    await model.run({ x: [1, 2, 3] }, { outputs: { weights } });
    expect([...weights.data]).toEqual([10, 20, 30]);
    weights.data.fill(0);
    expect(numbers((await model.run({ x: [1, 2, 3] }))['y'])).toEqual([11, 22, 33]);
  });

  it.each(['constant', 'variable'])('a %s of TensorFlow goes into a tensor', async (name) => {
    await using model = await load(modelPath('tf_shared_outputs'), onLanes);
    const x = new Tensor('float32', Float32Array.of(1, 2), [1, 2]);
    const expected = numbers((await model.run({ x }))[name]);
    const place = Tensor.alloc('float32', [3]);
    await model.run({ x }, { outputs: { [name]: place } });
    expect([...place.data]).toEqual(expected);
    place.data.fill(0);
    expect(numbers((await model.run({ x }))[name])).toEqual(expected);
  });

  it.each(['reshaped', 'same', 'again'])(
    'TensorFlow’s %s goes into the tensor that was fed',
    async (name) => {
      await using model = await load(modelPath('tf_shared_outputs'), onLanes);
      const fresh = await model.run({ x: [[1, 2]] }, { outputs: [name] });
      const shape = fresh[name]?.shape ?? [];
      const x = allocated([1, 2], [1, 2]);
      const place = shape.length === 2 && shape[0] === 1 ? x : Tensor.alloc('float32', shape);
      await model.run({ x }, { outputs: { [name]: place } });
      expect([...place.data]).toEqual(numbers(fresh[name]));
    },
  );
});

describe.each(short)('an output that %s keeps', (_engine, file, input, output, fed, expected) => {
  const keep: RunOptions = { outputs: { [output]: 'engine' } };
  const again = (model: Model, kept: Tensor) => model.run({ [input]: kept });

  it.each(['run', 'runSync'] as const)('of %s says where it is', async (how) => {
    await using model = await load(modelPath(file));
    const kept = (await model[how]({ [input]: fed }, keep))[output] as Tensor;
    expect([kept.location, kept.dtype, kept.shape, kept.byteLength]).toEqual([
      'engine',
      'float32',
      [3],
      12,
    ]);
    expect(kept.device).toMatch(/cpu/i);
  });

  it('is not read, but copied by toHost', async () => {
    await using model = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    await expectError('ERR_TENON_UNSUPPORTED', () => kept.data, 'toHost');
    await expectError('ERR_TENON_UNSUPPORTED', () => kept.bytes, 'toHost');
    await expectError('ERR_TENON_UNSUPPORTED', () => kept.toArray(), 'toHost');
    const host = await kept.toHost();
    expect([host.location, numbers(host)]).toEqual(['host', expected]);
  });

  it('goes back as a feed, to run and runSync', async () => {
    await using model = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    const known = numbers((await model.run({ [input]: expected }))[output]);
    expect(numbers((await again(model, kept))[output])).toEqual(known);
    expect(numbers(model.runSync({ [input]: kept })[output])).toEqual(known);
  });

  it('goes to another model of the engine', async () => {
    await using model = await load(modelPath(file));
    await using other = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    const known = numbers((await other.run({ [input]: expected }))[output]);
    expect(numbers((await again(other, kept))[output])).toEqual(known);
  });

  it('does not go to another engine', async () => {
    await using model = await load(modelPath(file));
    const foreign = file === 'same.onnx' ? 'half_plus_two' : 'same.onnx';
    await using other = await load(modelPath(foreign));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    await expectError('ERR_TENON_UNSUPPORTED', () => other.run({ x: kept }), '"x"');
  });

  it('is ERR_TENON_DISPOSED once it was disposed, and disposing again is nothing', async () => {
    await using model = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    kept.dispose();
    kept.dispose();
    await expectError('ERR_TENON_DISPOSED', () => kept.data);
    await expectError('ERR_TENON_DISPOSED', () => kept.toHost());
    await expectError('ERR_TENON_DISPOSED', () => again(model, kept));
  });

  it('may be disposed while a run reads it', async () => {
    await using model = await load(modelPath(file), onLanes);
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    const known = numbers((await model.run({ [input]: expected }))[output]);
    const run = again(model, kept);
    const copy = kept.toHost();
    kept.dispose();
    expect(numbers((await run)[output])).toEqual(known);
    expect(numbers(await copy)).toEqual(expected);
  });

  it('does not change in later runs', async () => {
    await using model = await load(modelPath(file));
    const x = allocated(fed, [3]);
    const kept = (await model.run({ [input]: x }, keep))[output] as Tensor;
    for (let i = 0; i < 20; i++) {
      x.data.fill(i);
      await model.run({ [input]: x });
      await model.run({ [input]: x }, keep);
    }
    expect(numbers(await kept.toHost())).toEqual(expected);
  });

  it('outlives its model', async () => {
    const model = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    await model.close();
    expect(numbers(await kept.toHost())).toEqual(expected);
    kept.dispose();
  });

  it('is not a place for another output', async () => {
    await using model = await load(modelPath(file));
    const kept = (await model.run({ [input]: fed }, keep))[output] as Tensor;
    const run = { outputs: { [output]: kept } };
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => model.run({ [input]: fed }, run));
  });
});

describe('an output kept by its engine that is something else’s', () => {
  it('does not follow the feed it is', async () => {
    await using model = await load(modelPath('same.onnx'), onLanes);
    const x = allocated([1, 2, 3], [3]);
    const { x: kept } = await model.run({ x }, { outputs: { x: 'engine' } });
    x.data.fill(0);
    expect(numbers(await kept.toHost())).toEqual([1, 2, 3]);
  });

  it('does not follow a feed that TensorFlow hands back', async () => {
    await using model = await load(modelPath('tf_shared_outputs'), onLanes);
    const x = allocated([1, 2], [1, 2]);
    const { same: kept } = await model.run({ x }, { outputs: { same: 'engine' } });
    x.data.fill(0);
    expect(numbers(await kept.toHost())).toEqual([1, 2]);
  });

  it('does not follow a variable of TensorFlow', async () => {
    await using model = await load(modelPath('tf_shared_outputs'), onLanes);
    const x = [[1, 2]];
    const { variable: kept } = await model.run({ x }, { outputs: { variable: 'engine' } });
    const before = numbers((await model.run({ x }))['variable']);
    await model.run({ value: [-1, -2, -3] }, { signature: 'assign' });
    expect(numbers(await kept.toHost())).toEqual(before);
  });
});

describe('a place of an output', () => {
  it.each(['gpu', 1, null, {}, new Float32Array(3)])('cannot be %j', async (place) => {
    await using model = await load(modelPath('same.onnx'));
    const outputs = { twice: place as unknown as 'host' };
    await expectError(
      'ERR_TENON_INVALID_ARGUMENT',
      () => model.run({ x: [1] }, { outputs }),
      'outputs.twice',
    );
  });

  it('for an unknown output is ERR_TENON_UNKNOWN_OUTPUT', async () => {
    await using model = await load(modelPath('same.onnx'));
    const outputs = { thrice: 'host' as const };
    await expectError(
      'ERR_TENON_UNKNOWN_OUTPUT',
      () => model.run({ x: [1] }, { outputs }),
      'thrice',
    );
  });

  it('says which outputs to compute', async () => {
    await using model = await load(modelPath('same.onnx'));
    const outputs = await model.run({ x: [1] }, { outputs: { twice: 'host' } });
    expect(Object.keys(outputs)).toEqual(['twice']);
  });
});

describe.each([
  ['onnxruntime', 'rnn_state.onnx', [1, 1, 4]],
  ['tensorflow', 'tf_rnn', [1, 4]],
] as const)('a state that stays in %s for 1 000 steps', (engine, file, stateShape) => {
  const steps = 1000;

  it.each([['run'], ['runSync']] as const)('through %s is not copied', async (how) => {
    await using model = await load(modelPath(file));
    const x = Tensor.alloc('float32', [1, 3]);
    const y = Tensor.alloc('float32', [1, 2]);
    let state = Tensor.alloc('float32', stateShape) as Tensor;
    for (let step = 0; step < steps; step++) {
      x.data.fill(step % 5);
      const outputs = await model[how]({ x, state }, { outputs: { y, new_state: 'engine' } });
      state.dispose();
      state = outputs['new_state'];
    }
    const { feedBytesCopied, outputBytesCopied, runs } = model.stats();
    // TensorFlow takes feeds of a few bytes as copies and cannot write into given memory; the
    // state's own 16 bytes a step are not among them, but for the first, which comes from outside.
    const copied = engine === 'tensorflow' ? steps * (x.byteLength + y.byteLength) + 16 : 0;
    expect([runs, feedBytesCopied, outputBytesCopied]).toEqual([steps, copied, 0]);
  });

  it('is what a caller would have carried', async () => {
    await using model = await load(modelPath(file));
    const x = Tensor.alloc('float32', [1, 3]);
    const y = Tensor.alloc('float32', [1, 2]);
    let kept = Tensor.alloc('float32', stateShape) as Tensor;
    let carried = Tensor.alloc('float32', stateShape) as Tensor;
    for (let step = 0; step < 100; step++) {
      x.data.fill(step % 5);
      const feeds = { x, state: kept };
      const outputs = await model.run(feeds, { outputs: { y, new_state: 'engine' } });
      const expected = await model.run({ x, state: carried });
      expect([...y.data], `${engine}, step ${step}`).toEqual(numbers(expected['y']));
      kept = outputs['new_state'];
      carried = expected['new_state'] as Tensor;
    }
  });
});

describe('a decoder’s cache that stays in the engine and grows for 1 000 steps', () => {
  const steps = 1000;
  const empty = () => Tensor.alloc('float32', [1, 2, 0, 4]) as Tensor;

  it.each([['run'], ['runSync']] as const)('through %s is not copied', async (how) => {
    await using model = await load(modelPath('decoder_cache.onnx'));
    const x = Tensor.alloc('float32', [1, 8]);
    const logits = Tensor.alloc('float32', [1, 16]);
    let [key, value] = [empty(), empty()];
    for (let step = 0; step < steps; step++) {
      x.data.fill(Math.sin(step));
      const outputs = await model[how](
        { x, past_key: key, past_value: value },
        { outputs: { logits, present_key: 'engine', present_value: 'engine' } },
      );
      key.dispose();
      value.dispose();
      [key, value] = [outputs['present_key'], outputs['present_value']];
    }
    const { feedBytesCopied, outputBytesCopied, runs } = model.stats();
    expect([runs, feedBytesCopied, outputBytesCopied]).toEqual([steps, 0, 0]);
    expect([key.location, key.shape]).toEqual(['engine', [1, 2, steps, 4]]);
    expect((await value.toHost()).shape).toEqual([1, 2, steps, 4]);
  });

  it('is what a caller would have carried', async () => {
    await using model = await load(modelPath('decoder_cache.onnx'));
    const x = Tensor.alloc('float32', [1, 8]);
    let kept = { past_key: empty(), past_value: empty() };
    let carried = kept;
    for (let step = 0; step < 100; step++) {
      x.data.fill(Math.sin(step));
      const outputs = await model.run(
        { x, ...kept },
        { outputs: { logits: 'host', present_key: 'engine', present_value: 'engine' } },
      );
      const expected = await model.run({ x, ...carried });
      expect(numbers(outputs['logits']), `step ${step}`).toEqual(numbers(expected['logits']));
      kept = { past_key: outputs['present_key'], past_value: outputs['present_value'] };
      carried = {
        past_key: expected['present_key'] as Tensor,
        past_value: expected['present_value'] as Tensor,
      };
    }
  });
});

describe.each(short)('a binding of %s', (_engine, file, input, output, fed, expected) => {
  it('runs as its model does, into the same tensors each time', async () => {
    await using model = await load(modelPath(file));
    const binding = await model.bind({ [input]: allocated(fed, [3]) });
    const { outputs } = binding;
    expect(binding.runSync()).toBe(outputs);
    expect(numbers(outputs[output] as Tensor)).toEqual(expected);
    (outputs[output]?.data as Float32Array).fill(0);
    expect(await binding.run()).toBe(outputs);
    expect(numbers(outputs[output] as Tensor)).toEqual(expected);
  });

  it('reads feeds from Tensor.alloc at each run', async () => {
    await using model = await load(modelPath(file));
    const x = allocated([0, 0, 0], [3]);
    const binding = await model.bind({ [input]: x });
    x.data.set(fed);
    expect(numbers(binding.runSync()[output] as Tensor)).toEqual(expected);
    x.data.fill(0);
    await binding.run();
    x.data.set(fed);
    expect(numbers((await binding.run())[output] as Tensor)).toEqual(expected);
  });

  it('keeps the value that a caller’s own array had', async () => {
    await using model = await load(modelPath(file));
    const data = Float32Array.from(fed);
    const binding = await model.bind({ [input]: data });
    data.fill(0);
    expect(numbers(binding.runSync()[output] as Tensor)).toEqual(expected);
    expect(numbers((await binding.run())[output] as Tensor)).toEqual(expected);
  });

  it('writes into the tensors it was given', async () => {
    await using model = await load(modelPath(file));
    const names = Object.keys(model.outputs);
    const given = Object.fromEntries(names.map((name) => [name, Tensor.alloc('float32', [3])]));
    const binding = await model.bind({ [input]: fed }, { outputs: given });
    binding.runSync();
    for (const name of names) expect(binding.outputs[name]).toBe(given[name]);
    expect(numbers(given[output])).toEqual(expected);
  });

  it('refuses a given tensor of the wrong dtype or in the caller’s memory', async () => {
    await using model = await load(modelPath(file));
    const bindTo = (place: Tensor) => () =>
      model.bind({ [input]: fed }, { outputs: { [output]: place } });
    await expectError('ERR_TENON_DTYPE', bindTo(Tensor.alloc('int32', [3])));
    const own = new Tensor('float32', new Float32Array(3));
    await expectError('ERR_TENON_INVALID_ARGUMENT', bindTo(own), 'Tensor.alloc');
  });

  it('of a given tensor of the wrong shape is ERR_TENON_SHAPE, and writes nothing', async () => {
    await using model = await load(modelPath(file));
    const place = Tensor.alloc('float32', [2]);
    await expectError('ERR_TENON_SHAPE', async () => {
      const binding = await model.bind({ [input]: fed }, { outputs: { [output]: place } });
      await binding.run();
    });
    expect([...place.data]).toEqual([0, 0]);
  });

  it('is ERR_TENON_MODEL_CLOSED after close', async () => {
    const model = await load(modelPath(file));
    const binding = await model.bind({ [input]: fed });
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => binding.run());
    await expectError('ERR_TENON_MODEL_CLOSED', () => binding.runSync());
  });

  it('refuses a signal that is aborted already', async () => {
    await using model = await load(modelPath(file));
    const binding = await model.bind({ [input]: fed });
    const { runs } = model.stats();
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(binding.run({ signal })).rejects.toThrow('too late');
    expect(model.stats().runs).toBe(runs);
    await binding.run();
  });

  it('copies nothing', async () => {
    await using model = await load(modelPath(file));
    const binding = await model.bind({ [input]: allocated(fed, [3]) });
    const before = model.stats();
    for (let i = 0; i < 100; i++) await binding.run();
    for (let i = 0; i < 100; i++) binding.runSync();
    const after = model.stats();
    expect(after.runs - before.runs).toBe(200);
    expect(after.feedBytesCopied).toBe(before.feedBytesCopied);
    expect(after.outputBytesCopied).toBe(before.outputBytesCopied);
  });
});

describe.each(slow)('a binding of slow runs of %s', (_engine, file) => {
  const n = file === 'slow.onnx' ? forever : 400n;

  it('reads integers from Tensor.alloc at each run', async () => {
    await using model = await load(modelPath('tf_counter'));
    const step = Tensor.alloc('int64', []);
    const binding = await model.bind({ step });
    const total = () => (binding.outputs['total']?.data as BigInt64Array)[0] ?? 0n;
    binding.runSync();
    const before = total();
    step.data[0] = 7n;
    binding.runSync();
    expect(total() - before).toBe(7n);
    step.data[0] = 1n;
    await binding.run();
    expect(total() - before).toBe(8n);
  });

  it('is ERR_TENON_BINDING_BUSY for a second run, and free after the first', async () => {
    await using model = await load(modelPath(file), oneLane);
    const count = Tensor.alloc('int64', []);
    count.data[0] = 1n;
    const binding = await model.bind({ n: count });
    count.data[0] = 200n;
    const first = binding.run();
    await expectError('ERR_TENON_BINDING_BUSY', () => binding.run());
    await expectError('ERR_TENON_BINDING_BUSY', () => binding.runSync());
    await first;
    count.data[0] = 1n;
    expect((await binding.run())['y']?.toArray()).toBe(1);
  });

  it('rejects with the signal’s reason in mid-run', async () => {
    await using model = await load(modelPath(file), oneLane);
    const count = Tensor.alloc('int64', []);
    count.data[0] = 1n;
    const binding = await model.bind({ n: count });
    count.data[0] = n;
    const controller = new AbortController();
    const reason = new Error('enough');
    const rejected = expect(binding.run({ signal: controller.signal })).rejects.toBe(reason);
    await until(() => model.stats().busyLanes === 1);
    controller.abort(reason);
    await rejected;
  });

  it('is rejected by destroy', async () => {
    const model = await load(modelPath(file), oneLane);
    const count = Tensor.alloc('int64', []);
    count.data[0] = 1n;
    const binding = await model.bind({ n: count });
    count.data[0] = n;
    const reason = new Error('the end');
    const rejected = expect(binding.run()).rejects.toBe(reason);
    await model.destroy(reason);
    await rejected;
    await expectError('ERR_TENON_MODEL_CLOSED', () => binding.run());
  });
});

describe('a binding', () => {
  it.each([
    ['strings.onnx', { text: ['a'], any: ['b'] }],
    ['tf_strings', { text: ['a'] }],
  ])('of strings is ERR_TENON_UNSUPPORTED (%s)', async (file, feeds) => {
    await using model = await load(modelPath(file));
    await expectError('ERR_TENON_UNSUPPORTED', () => model.bind(feeds), 'strings');
  });

  it('whose output comes in another shape is ERR_TENON_SHAPE, and then goes on', async () => {
    await using model = await load(modelPath('control_flow.onnx'));
    const steps = Tensor.alloc('int64', []);
    steps.data[0] = 4n;
    const binding = await model.bind({ flag: true, n_steps: steps, x: [1, 2] });
    steps.data[0] = 3n;
    await expectError('ERR_TENON_SHAPE', () => binding.run(), '"steps"');
    await expectError('ERR_TENON_SHAPE', () => binding.runSync(), '"steps"');
    steps.data[0] = 4n;
    expect(numbers((await binding.run())['steps'] as Tensor)).toEqual([3, 6, 12, 21]);
  });

  it('to unknown outputs or options is refused', async () => {
    await using model = await load(modelPath('same.onnx'));
    const place = Tensor.alloc('float32', [1]);
    const bind = () => model.bind({ x: [1] }, { outputs: { thrice: place } });
    await expectError('ERR_TENON_INVALID_ARGUMENT', bind, 'thrice');
    const binding = await model.bind({ x: [1] });
    const run = () => binding.run({ priority: 1 } as object);
    await expectError('ERR_TENON_INVALID_ARGUMENT', run, 'priority');
  });
});

describe('stats', () => {
  it('count failed runs', async () => {
    await using model = await load(modelPath('fails_in_run.onnx'));
    await errorOf(() => model.run({ index: [100n] }));
    await errorOf(() => model.runSync({ index: [100n] }));
    await model.run({ index: [1n] });
    const { runs, failedRuns, cancelledRuns, runMicros } = model.stats();
    expect([runs, failedRuns, cancelledRuns, runMicros.count]).toEqual([3, 2, 0, 1]);
  });

  it('count cancelled runs, running and queued', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const blocker = await occupy(model);
    const controller = new AbortController();
    const queued = model.run({ n: 1n }, { signal: controller.signal }).catch(() => undefined);
    controller.abort();
    await queued;
    await blocker.end();
    await until(() => model.stats().cancelledRuns === 2);
    await model.run({ n: 1n });
    expect(model.stats().failedRuns).toBe(0);
  });

  it.each(slow)('have the lane of a run of %s busy for as long as it is', async (engine, file) => {
    await using model = await load(modelPath(file), { pool: { lanes: 1 } });
    const { liveBuffers, runs } = model.stats();
    // Long enough that TensorFlow, which cannot stop one, is still at it when its caller has gone.
    const n = engine === 'tensorflow' ? 3000n : forever;
    await expectError('ERR_TENON_TIMEOUT', () => model.run({ n }, { timeoutMs: 20 }));
    const { busyLanes, queuedRuns } = model.stats();
    expect(queuedRuns).toBe(0);
    if (engine === 'tensorflow') expect(busyLanes).toBe(1);
    // The next run waits for the lane, and what the abandoned one gave is nobody's.
    await model.run({ n: 1n });
    await until(() => model.stats().busyLanes === 0);
    const after = model.stats();
    expect(after.runs - runs).toBe(2);
    expect(after.liveBuffers).toBe(liveBuffers);
  });

  it('do not count what was refused before the engine', async () => {
    await using model = await load(modelPath('same.onnx'));
    await errorOf(() => model.run({ y: [1] }));
    expect(model.stats().runs).toBe(0);
  });

  const large = () => new Float32Array(10_000);
  it.each([
    ['a large Tensor.alloc', () => Tensor.alloc('float32', [10_000]), false, [0, 40_000]],
    ['a small Tensor.alloc', () => allocated([1, 2, 3], [3]), false, [12, 0]],
    ['the caller’s array', () => new Tensor('float32', large()), false, [40_000, 0]],
    ['a borrowed array', () => new Tensor('float32', large()), true, [0, 40_000]],
  ] as const)('tell whether bytes of %s were copied', async (_title, make, borrow, expected) => {
    await using model = await load(modelPath('same.onnx'), onLanes);
    await model.run({ x: make() }, { borrow, outputs: ['twice'] });
    const { feedBytesCopied, feedBytesPassed } = model.stats();
    expect([feedBytesCopied, feedBytesPassed]).toEqual(expected);
  });

  it('tell that large outputs were passed and small ones copied', async () => {
    await using model = await load(modelPath('same.onnx'), onLanes);
    await model.run({ x: new Float32Array(100_000) }, { outputs: ['twice'] });
    await model.run({ x: new Float32Array(3) }, { outputs: ['twice'] });
    const { outputBytesCopied, outputBytesPassed } = model.stats();
    expect([outputBytesCopied, outputBytesPassed]).toEqual([12, 400_000]);
  });

  it('are plain numbers that survive JSON', async () => {
    await using model = await load(modelPath('same.onnx'));
    await model.run({ x: [1] });
    const stats = model.stats();
    expect(JSON.parse(JSON.stringify(stats))).toEqual(stats);
  });

  it('have as much live memory as before once everything was disposed', async () => {
    // In a process of its own: here the tensors of other tests are collected meanwhile.
    const { code, stdout, stderr } = await runScript(`
      const live = await load(model('same.onnx'), { inline: 'never' });
      const { liveBuffers, liveBytes } = live.stats();
      const x = Tensor.alloc('float32', [100000]);
      const outputs = await live.run({ x });
      const kept = await live.run({ x }, { outputs: { twice: 'engine' } });
      const copy = await kept.twice.toHost();
      console.log(live.stats().liveBytes - liveBytes >= 5 * x.byteLength);
      for (const tensor of [x, copy, kept.twice, ...Object.values(outputs)]) tensor.dispose();
      const after = live.stats();
      console.log(after.liveBuffers === liveBuffers && after.liveBytes === liveBytes);
      await live.close();
    `);
    expect([code, stdout], stderr).toEqual([0, 'true\ntrue\n']);
  });
});

describe.each(short)('borrowed feeds of %s', (_engine, file, input, output, fed, expected) => {
  it('give what copies give', async () => {
    await using model = await load(modelPath(file), onLanes);
    const x = Float32Array.from(fed);
    const outputs = await model.run({ [input]: x }, { borrow: true });
    expect(numbers(outputs[output])).toEqual(expected);
    expect([...x]).toEqual(fed);
  });

  it('wait in the queue', async () => {
    await using model = await load(modelPath(file), { ...onLanes, ...oneLane });
    const runs = Array.from({ length: 200 }, (_, i) =>
      model.run({ [input]: Float32Array.of(i) }, { borrow: true }),
    );
    for (const [i, outputs] of (await Promise.all(runs)).entries()) {
      const known = file === 'same.onnx' ? 2 * i : i / 2 + 3;
      expect(numbers(outputs[output])).toEqual([known]);
    }
  });
});

describe('a run whose signal is aborted already', () => {
  it.each(['slow.onnx', 'tf_slow'])(
    'of %s rejects with the reason, and never begins',
    async (f) => {
      await using model = await load(modelPath(f), oneLane);
      const reason = new Error('the caller has gone before');
      const run = model.run({ n: 1n }, { signal: AbortSignal.abort(reason) });
      await expect(run).rejects.toBe(reason);
      expect(model.stats()).toMatchObject({ runs: 0, cancelledRuns: 0, queuedRuns: 0 });
    },
  );
});

describe('borrow', () => {
  it('keeps a stopped run’s promise until the engine has left the memory', async () => {
    // TensorFlow cannot be stopped in mid-run.
    await using model = await load(modelPath('tf_slow'), { ...onLanes, ...oneLane });
    const order: string[] = [];
    const stop = (borrow: boolean) => {
      const caller = new AbortController();
      const running = model
        .run({ n: 100n }, { borrow, signal: caller.signal })
        .catch((error: Error) => order.push(`${borrow} ${error.name}`));
      return { running, caller };
    };
    const lent = stop(true);
    await until(() => model.stats().busyLanes === 1);
    const copied = stop(false);
    lent.caller.abort();
    copied.caller.abort();
    await Promise.all([lent.running, copied.running]);
    expect(order).toEqual(['false AbortError', 'true AbortError']);
  });

  it('copies integers, which may be indices', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const blocker = await occupy(model);
    const n = BigInt64Array.of(1n);
    const run = model.run({ n: new Tensor('int64', n, []) }, { borrow: true });
    n[0] = forever;
    await blocker.end();
    expect((await run)['y']?.toArray()).toBe(1);
  });

  it('is a boolean', async () => {
    await using model = await load(modelPath('same.onnx'));
    const options = { borrow: 1 as unknown as boolean };
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => model.run({ x: [1] }, options), 'borrow');
  });
});

describe('the stack of an error', () => {
  it.each([
    ['of a run on a lane', onLanes],
    ['of any run', {}],
  ])('%s names its caller', async (_title, options) => {
    await using model = await load(modelPath('fails_in_run.onnx'), options);
    const caller = async () => {
      await model.run({ index: [100n] });
    };
    expect((await errorOf(caller)).stack).toContain('running.test');
  });

  it('of a timeout names its caller', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const caller = async () => {
      await model.run({ n: forever }, { timeoutMs: 5 });
    };
    expect((await errorOf(caller)).stack).toContain('running.test');
  });
});
