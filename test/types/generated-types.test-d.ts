// Compiled, never run: what the types of `tenon types` allow, and what they refuse.
import { describe, expectTypeOf, test } from 'vitest';

import { type Model, Tensor } from '../../lib/index.js';
import { load } from '../../lib/index.js';
import type { Maps } from './generated/maps.js';
import type { MapsIn } from './generated/maps_in.js';
import type { MultiIo } from './generated/multi_io.js';
import type { Optionals } from './generated/optionals.js';
import type { TfSignatures } from './generated/tf_signatures.js';

declare const multi: Model<MultiIo>;
declare const signatures: Model<TfSignatures>;
declare const maps: Model<Maps>;
declare const mapsIn: Model<MapsIn>;
declare const optionals: Model<Optionals>;

describe('a model loaded with its types', () => {
  test('is what load gives', () => {
    expectTypeOf(load<MultiIo>('multi_io.onnx')).resolves.toEqualTypeOf(multi);
  });

  test('takes its feeds by name and gives its outputs', async () => {
    const outputs = await multi.run({ a: [1, 2], b: new Float32Array(2) });
    expectTypeOf(outputs.sum).toEqualTypeOf<Tensor<'float32'>>();
    expectTypeOf(outputs.greater.data).toExtend<Uint8Array>();
    expectTypeOf(outputs.shape.toArray()).not.toBeAny();
    await multi.run({ a: [1], b: [2], scale: 3 });
    multi.runSync({ a: new Tensor('float32', [1]), b: 2 });
  });

  test('refuses a wrong feed name, a missing feed, a wrong dtype', async () => {
    // @ts-expect-error -- there is no input "c"
    await multi.run({ a: [1], b: [2], c: [3] });
    // @ts-expect-error -- "b" is missing
    await multi.run({ a: [1] });
    // @ts-expect-error -- "a" is float32
    await multi.run({ a: new Tensor('int32', [1]), b: [2] });
    // @ts-expect-error -- "a" takes numbers
    await multi.run({ a: ['one'], b: [2] });
    // @ts-expect-error -- a Float64Array does not hold float32
    await multi.run({ a: new Float64Array(1), b: [2] });
  });

  test('refuses an output the model does not have', async () => {
    const outputs = await multi.run({ a: [1], b: [2] });
    // @ts-expect-error -- there is no output "difference"
    void outputs.difference;
    // @ts-expect-error -- nor can it be asked for
    await multi.run({ a: [1], b: [2] }, { outputs: ['difference'] });
    const { sum } = await multi.run({ a: [1], b: [2] }, { outputs: ['sum'] });
    expectTypeOf(sum.dtype).toEqualTypeOf<'float32'>();
  });

  test('gives only the outputs that were asked for', async () => {
    const some = await multi.run({ a: [1], b: [2] }, { outputs: ['sum'] });
    // @ts-expect-error -- "product" was not computed
    void some.product;
  });

  test('has a signature for each of the model', async () => {
    const stats = await signatures.run(
      { values: [1, 2], weights: [3, 4], digits: 2n },
      { signature: 'stats' },
    );
    expectTypeOf(stats.above).toEqualTypeOf<Tensor<'bool'>>();
    // @ts-expect-error -- there is no signature "triple"
    await signatures.run({ x: [1] }, { signature: 'triple' });
    // @ts-expect-error -- these are the feeds of "stats"
    await signatures.run({ values: [1], weights: [2], digits: 2n }, { signature: 'double' });
  });

  test('takes and gives maps, sequences and optionals', async () => {
    const { maps: rows } = await maps.run({ probabilities: [[0.1, 0.2, 0.7]] });
    expectTypeOf(rows).toEqualTypeOf<Map<bigint, number>[]>();
    await mapsIn.run({ words: new Map([['a', 1]]), numbers: new Map([[2n, 1]]) });
    // @ts-expect-error -- the keys of "words" are strings
    await mapsIn.run({ words: new Map([[1n, 1]]), numbers: new Map([[2n, 1]]) });
    await optionals.run({ maybe: null });
    await optionals.run({ maybe: [1, 2] });
  });
});
