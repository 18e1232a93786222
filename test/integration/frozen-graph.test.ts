import { copyFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { load, type LoadOptions } from '../../lib/index.js';
import { expectError } from '../helpers/errors.js';
import { fixture, modelPath } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const file = modelPath('tf_frozen.pb');
const feeds = { x: [1, 2], y: [10, 20] };

function tensorflow(options: NonNullable<LoadOptions['tensorflow']>): LoadOptions {
  return { tensorflow: options };
}

describe('a frozen graph', () => {
  it('takes its inputs and outputs as arrays of tensors', async () => {
    const options = tensorflow({ inputs: ['x:0', 'y:0'], outputs: ['sum:0', 'product:0'] });
    await using model = await load(file, options);
    expect(model.engine).toBe('tensorflow');
    const { sum, product } = await model.run(feeds);
    expect(sum?.toArray()).toEqual([11, 22]);
    expect(product?.toArray()).toEqual([10, 40]);
  });

  it('takes a tensor without its number', async () => {
    await using model = await load(file, tensorflow({ inputs: ['x', 'y'], outputs: ['sum'] }));
    expect((await model.run(feeds))['sum']?.toArray()).toEqual([11, 22]);
  });

  it('takes names of one’s own for its tensors', async () => {
    const options = tensorflow({
      inputs: { left: 'x:0', right: 'y' },
      outputs: { total: 'sum:0' },
    });
    await using model = await load(file, options);
    const { total } = await model.run({ left: [1], right: [2] });
    expect(total?.toArray()).toEqual([3]);
  });

  it('says dtypes and shapes that it has in the graph', async () => {
    const options = tensorflow({ inputs: ['x', 'y'], outputs: ['sum'] });
    await using model = await load(file, options);
    expect(model.inputs['x']).toMatchObject({ kind: 'tensor', dtype: 'float32', shape: [null] });
    expect(model.outputs['sum']).toMatchObject({ dtype: 'float32' });
    await expectError('ERR_TENON_DTYPE', () => model.run({ x: [1n], y: [2] }), '"x"');
    await expectError('ERR_TENON_SHAPE', () => model.run({ x: [[1]], y: [2] }), '"x"');
  });

  it('does not give back a tensor that is fed, which TensorFlow refuses', async () => {
    const options = tensorflow({ inputs: ['sum'], outputs: { same: 'sum:0' } });
    await using model = await load(file, options);
    await expectError('ERR_TENON_RUN', () => model.run({ sum: [5] }), 'both fed and fetched');
  });

  it('without the names of its tensors ends in ERR_TENON_MODEL_FORMAT', async () => {
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(file), 'tensorflow.outputs');
  });

  it.each([
    ['an operation that is not there', 'nowhere:0', 'nowhere'],
    ['an output that is not there', 'sum:1', 'sum:1'],
    ['a number that is none', 'sum:x', 'sum:x'],
    ['a negative number', 'sum:-1', 'sum:-1'],
    ['a huge number', 'sum:99999999999', 'sum:99999999999'],
    ['a control input', '^sum:0', '^sum'],
    ['no name', ':0', ':0'],
    ['a NUL', 'sum\0:0', 'sum'],
  ])('with %s ends in ERR_TENON_MODEL_INVALID', async (_, output, word) => {
    const action = () => load(file, tensorflow({ inputs: ['x', 'y'], outputs: [output] }));
    await expectError('ERR_TENON_MODEL_INVALID', action, word);
  });

  it('that needs a feed it was not given ends in ERR_TENON_RUN', async () => {
    await using model = await load(file, tensorflow({ inputs: ['x'], outputs: ['sum'] }));
    await expectError('ERR_TENON_RUN', () => model.run({ x: [1] }), 'y');
  });

  it('cut off ends in ERR_TENON_MODEL_INVALID', async () => {
    const options = tensorflow({ inputs: ['x'], outputs: ['sum'] });
    const broken = fixture('broken/truncated_frozen.pb');
    await expectError('ERR_TENON_MODEL_INVALID', () => load(broken, options));
  });

  it('of another extension loads where the engine is named', async () => {
    const copy = path.join(temporaryFolder(), 'graph.frozen');
    copyFileSync(file, copy);
    const options = tensorflow({ inputs: ['x', 'y'], outputs: ['sum'] });
    await expectError('ERR_TENON_MODEL_FORMAT', () => load(copy, options), 'engine');
    await using model = await load(copy, { ...options, engine: 'tensorflow' });
    expect((await model.run(feeds))['sum']?.toArray()).toEqual([11, 22]);
  });
});
