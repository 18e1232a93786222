import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { load, type Model, Tensor, type TenonError } from '../../lib/index.js';
import { errorOf, expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

/** Far longer than anything a test waits for; only a run that is really stopped ends in time. */
const forever = 2_000_000n;
/** Half a second or so. */
const aWhile = 700n;

const oneLane = { pool: { lanes: 1 } };

// TensorFlow's inter-op threads are those of the first session in the process, and one slow run
// has to leave one of them to another.
beforeAll(async () => {
  const first = await load(modelPath('tf_scalar'), { threads: { intraOp: 1, interOp: 2 } });
  await first.close();
});

/** Turns of the event loop until `work` is done. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let isDone = false;
  const turn = (): void => {
    turns++;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  await work.finally(() => (isDone = true));
  return turns;
}

/** The next turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe.each([
  ['onnxruntime', 'slow.onnx'],
  ['tensorflow', 'tf_slow'],
])('while %s runs', (_engine, file) => {
  it('the event loop turns', async () => {
    await using model = await load(modelPath(file), oneLane);
    expect(await turnsDuring(model.run({ n: aWhile }))).toBeGreaterThanOrEqual(20);
  });

  it('timers fire', async () => {
    await using model = await load(modelPath(file), oneLane);
    let fired = 0;
    const timer = setInterval(() => fired++, 1);
    await model.run({ n: aWhile });
    clearInterval(timer);
    // A loop that is held fires one; a machine that is busy wakes it less often than each millisecond.
    expect(fired).toBeGreaterThanOrEqual(5);
  });

  it('another run overlaps with it', async () => {
    await using model = await load(modelPath(file), { pool: { lanes: 2 } });
    const order: string[] = [];
    const slow = model.run({ n: aWhile }).then(() => order.push('slow'));
    await model.run({ n: 1n }).then(() => order.push('quick'));
    await slow;
    expect(order).toEqual(['quick', 'slow']);
  });

  it('close waits for it', async () => {
    const model = await load(modelPath(file), oneLane);
    const order: string[] = [];
    const runs = [1, 2].map((i) => model.run({ n: 50n }).then(() => order.push(`run ${i}`)));
    await model.close();
    order.push('closed');
    await Promise.all(runs);
    expect(order).toEqual(['run 1', 'run 2', 'closed']);
  });

  it('a timeout rejects with ERR_TENON_TIMEOUT', async () => {
    await using model = await load(modelPath(file), oneLane);
    const action = () => model.run({ n: 3n * aWhile }, { timeoutMs: 5 });
    await expectError('ERR_TENON_TIMEOUT', action, '5 ms');
    expect((await model.run({ n: 1n }))['y']?.toArray()).toBe(1);
  });

  it('an abort rejects with the signal’s reason', async () => {
    await using model = await load(modelPath(file), oneLane);
    const controller = new AbortController();
    const running = model.run({ n: aWhile }, { signal: controller.signal });
    await nextTurn();
    const reason = { any: 'reason' };
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    expect((await model.run({ n: 1n }))['y']?.toArray()).toBe(1);
  });
});

describe('an abort', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(modelPath('slow.onnx'), oneLane);
  });
  afterAll(() => model.close());

  it('before the run rejects, and the engine is not called', async () => {
    const options = { signal: AbortSignal.abort(new Error('too late')) };
    await expect(model.run({ n: forever }, options)).rejects.toThrow('too late');
    await model.run({ n: 1n });
  });

  it('without a reason rejects with an AbortError', async () => {
    const controller = new AbortController();
    const running = model.run({ n: forever }, { signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('in mid-run stops ONNX Runtime: the only lane is free for the next run', async () => {
    const controller = new AbortController();
    const running = model.run({ n: forever }, { signal: controller.signal });
    // Time enough for the lane to take it, not that the test depends on it.
    for (let i = 0; i < 100; i++) await nextTurn();
    controller.abort();
    await expect(running).rejects.toMatchObject({ name: 'AbortError' });
    expect((await model.run({ n: 1n }))['y']?.toArray()).toBe(1);
  });

  it('while the run waits for a lane does not disturb the one that runs', async () => {
    const controller = new AbortController();
    const first = model.run({ n: 100n });
    const second = model.run({ n: forever }, { signal: controller.signal });
    controller.abort();
    await expect(second).rejects.toMatchObject({ name: 'AbortError' });
    expect((await first)['y']?.toArray()).toBe(1);
    expect((await model.run({ n: 1n }))['y']?.toArray()).toBe(1);
  });

  it('of one run leaves others with the same signal’s listeners alone', async () => {
    const [a, b] = [new AbortController(), new AbortController()];
    const first = model.run({ n: forever }, { signal: a.signal });
    const second = model.run({ n: 1n }, { signal: b.signal });
    a.abort();
    await expect(first).rejects.toMatchObject({ name: 'AbortError' });
    expect((await second)['y']?.toArray()).toBe(1);
  });

  it('after the run is nothing', async () => {
    const controller = new AbortController();
    const { y } = await model.run({ n: 1n }, { signal: controller.signal });
    controller.abort();
    await nextTurn();
    expect(y?.toArray()).toBe(1);
  });

  it('stops every run that shares its signal', async () => {
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const runs = Array.from({ length: 5 }, () => model.run({ n: forever }, options));
    await nextTurn();
    controller.abort();
    const ends = await Promise.allSettled(runs);
    expect(ends.map(({ status }) => status)).toEqual(new Array(5).fill('rejected'));
    await model.run({ n: 1n });
  });
});

describe('a timeout', () => {
  it('stops ONNX Runtime: the only lane is free for the next run', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    await expectError('ERR_TENON_TIMEOUT', () => model.run({ n: forever }, { timeoutMs: 20 }));
    expect((await model.run({ n: 1n }))['y']?.toArray()).toBe(1);
  });

  it('counts the time in the queue', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const controller = new AbortController();
    const first = model.run({ n: forever }, { signal: controller.signal });
    await expectError('ERR_TENON_TIMEOUT', () => model.run({ n: 1n }, { timeoutMs: 10 }));
    controller.abort();
    await expect(first).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('that is not reached does nothing', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const signal = new AbortController().signal;
    const { y } = await model.run({ n: 1n }, { timeoutMs: 60_000, signal });
    expect(y?.toArray()).toBe(1);
  });
});

describe('the queue', () => {
  const outcomes = async (runs: Promise<unknown>[]): Promise<string[]> =>
    (await Promise.allSettled(runs)).map((end) =>
      end.status === 'fulfilled' ? 'ok' : (end.reason as TenonError).code,
    );

  it.each([
    [1, 1, 2],
    [1, 0, 1],
    [2, 0, 2],
    [2, 3, 5],
  ])('of %i lanes and %i places takes %i runs, time after time', async (lanes, maxQueue, taken) => {
    await using model = await load(modelPath('slow.onnx'), { pool: { lanes, maxQueue } });
    for (let round = 0; round < 5; round++) {
      const runs = Array.from({ length: taken + 2 }, () => model.run({ n: 5n }));
      const full = 'ERR_TENON_QUEUE_FULL';
      expect(await outcomes(runs)).toEqual([...new Array<string>(taken).fill('ok'), full, full]);
    }
  });

  it('that is full does not keep runSync waiting', async () => {
    await using model = await load(modelPath('slow.onnx'), { pool: { lanes: 1, maxQueue: 0 } });
    const running = model.run({ n: 20n });
    expect(model.runSync({ n: 1n })['y']?.toArray()).toBe(1);
    await running;
  });

  it('runs in the order of the calls', async () => {
    await using model = await load(modelPath('slow.onnx'), oneLane);
    const order: number[] = [];
    await Promise.all([5, 1, 3].map((n, i) => model.run({ n }).then(() => order.push(i))));
    expect(order).toEqual([0, 1, 2]);
  });

  it('keeps hundreds of runs apart', async () => {
    await using model = await load(modelPath('half_plus_two'), { pool: { lanes: 4 } });
    const runs = Array.from({ length: 500 }, (_, i) => model.run({ x: [i] }));
    const results = (await Promise.all(runs)).map(({ y }) => (y?.toArray() as number[])[0]);
    expect(results).toEqual(Array.from({ length: 500 }, (_, i) => i / 2 + 3));
  });
});

describe('an engine’s error in mid-run', () => {
  it.each([
    ['onnxruntime', 'fails_in_run.onnx', 'out of'],
    ['tensorflow', 'tf_fails_in_run', 'is not in'],
  ])('of %s is ERR_TENON_RUN with its text, and the next run works', async (_, file, text) => {
    await using model = await load(modelPath(file));
    for (const action of [
      () => model.run({ index: [100n] }),
      () => model.runSync({ index: [100n] }),
    ]) {
      const error = await errorOf(action);
      expect(error.code).toBe('ERR_TENON_RUN');
      expect(error.message).toContain(text);
      expect(error.engineCode).toBeGreaterThan(0);
      expect((await model.run({ index: [1n] }))['y']?.shape).toEqual([1]);
    }
  });

  it('fails its own run only', async () => {
    await using model = await load(modelPath('fails_in_run.onnx'), { pool: { lanes: 2 } });
    const runs = [1n, 100n, 2n, -100n, 0n].map((index) => model.run({ index: [index] }));
    const ends = await Promise.allSettled(runs);
    const failed = ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'];
    expect(ends.map(({ status }) => status)).toEqual(failed);
  });
});

describe.each([
  ['onnxruntime', 'same.onnx', [1, 2]],
  ['tensorflow', 'half_plus_two', [1, 2]],
])('a closed model of %s', (_engine, file, x) => {
  it('refuses runs with ERR_TENON_MODEL_CLOSED', async () => {
    const model = await load(modelPath(file));
    await model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.run({ x }), 'close');
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.runSync({ x }), 'close');
  });

  it('refuses runs from the moment of the call', async () => {
    const model = await load(modelPath(file));
    const closing = model.close();
    await expectError('ERR_TENON_MODEL_CLOSED', () => model.run({ x }));
    await closing;
  });

  it('may be closed again', async () => {
    const model = await load(modelPath(file));
    await Promise.all([model.close(), model.close()]);
    await model.close();
    await model[Symbol.asyncDispose]();
  });

  it('is closed at the end of an await using block, also by an error', async () => {
    let kept: Model | undefined;
    await expect(async () => {
      await using model = await load(modelPath(file));
      kept = model;
      throw new Error('on the way');
    }).rejects.toThrow('on the way');
    await expectError('ERR_TENON_MODEL_CLOSED', () => (kept as Model).run({ x }));
  });

  it('still describes itself', async () => {
    const model = await load(modelPath(file));
    await model.close();
    expect(Object.keys(model.inputs)).toEqual(['x']);
  });
});

describe('state', () => {
  it('in a TensorFlow session belongs to the model that was loaded', async () => {
    await using first = await load(modelPath('tf_counter'));
    await using second = await load(modelPath('tf_counter'));
    const add = async (model: Model) => (await model.run({ step: 1n }))['total']?.toArray();
    expect([await add(first), await add(first), await add(second)]).toEqual([101n, 102n, 101n]);
  });

  it('that a caller carries goes from output to feed', async () => {
    await using model = await load(modelPath('rnn_state.onnx'));
    let state = Tensor.alloc('float32', [1, 1, 4]);
    const seen = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { new_state: next } = await model.run({ x: [[1, 2, 3]], state });
      seen.add(JSON.stringify(next?.toArray()));
      state = next as Tensor<'float32'>;
    }
    expect(seen.size).toBe(3);
  });
});
