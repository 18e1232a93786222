import { readFile, writeFile } from 'node:fs/promises';

import { format, resolveConfig } from 'prettier';
import { describe, expect, it } from 'vitest';

import { typeNameOf, typesOf } from '../../lib/cli/types-of.js';
import { inspect } from '../../lib/inspect/index.js';
import type { Signature, ValueSpec } from '../../lib/model/spec.js';

const generated = ['tf_signatures', 'multi_io.onnx', 'maps.onnx', 'maps_in.onnx', 'optionals.onnx'];

function signature(inputs: ValueSpec[], outputs: ValueSpec[] = [], name = 's'): Signature {
  const named = (specs: ValueSpec[]): Record<string, ValueSpec> =>
    Object.fromEntries(specs.map((spec) => [spec.name, spec]));
  return { name, inputs: named(inputs), outputs: named(outputs) };
}

function tensor(name: string): ValueSpec {
  return { kind: 'tensor', name, dtype: 'float32', shape: [null, 'n'] };
}

describe('typesOf', () => {
  it.each(generated)('writes what test/types compiles against for %s', async (name) => {
    const source = typesOf(await inspect(`test/fixtures/models/${name}`));
    const committed = `test/types/generated/${name.replace('.onnx', '')}.ts`;
    const expected = source.replace("from 'tenon'", "from '../../../lib/index.js'");
    if (process.env['UPDATE_TYPES']) await writeFile(committed, expected);
    expect(await readFile(committed, 'utf8')).toBe(expected);
  });

  it('writes the layout prettier would', async () => {
    const config = await resolveConfig('lib/index.ts');
    for (const name of ['sequences.onnx', 'half_plus_two', 'tf_sparse', 'optional_out.onnx']) {
      const source = typesOf(await inspect(`test/fixtures/models/${name}`));
      expect(await format(source, { ...config, parser: 'typescript' })).toBe(source);
    }
  });

  it('says nothing that a name of the model could break out of', async () => {
    const names = [
      "it's",
      '*/ export {}; /*',
      'a\nb',
      'back\\slash',
      '__proto__',
      '1',
      'class',
      'é',
    ];
    const source = typesOf({
      name: '*/ evil\n',
      signatures: {
        s: signature(names.map(tensor), [{ ...tensor('y'), shape: ['*/'] } as ValueSpec]),
      },
    });
    const config = await resolveConfig('lib/index.ts');
    const formatted = await format(source, { ...config, parser: 'typescript' });
    expect(formatted).toContain('export type Evil = {');
    expect(formatted).toContain('"it\'s": TensorFeed');
    expect(formatted.match(/^export/gm)).toHaveLength(1);
    expect(formatted.match(/: TensorFeed<'float32'>;/g)).toHaveLength(names.length);
  });

  it('marks optional inputs and leaves out what has no value', () => {
    const source = typesOf({
      name: 'm',
      signatures: {
        s: signature([
          tensor('x'),
          { ...tensor('bias'), optional: true },
          { kind: 'sparse', name: 'sparse' },
        ]),
      },
    });
    expect(source).toContain("bias?: TensorFeed<'float32'>;");
    expect(source).toContain('// sparse: sparse, for which there is no value.');
    expect(source).toContain('outputs: Record<string, never>;');
  });

  it('writes optional sequences of sequences', () => {
    const spec: ValueSpec = {
      kind: 'optional',
      name: 'x',
      element: {
        kind: 'sequence',
        name: 'x',
        element: { kind: 'sequence', name: 'x', element: tensor('x') },
      },
    };
    const source = typesOf({ name: 'm', signatures: { s: signature([spec], [spec]) } });
    expect(source).toContain("x: readonly (readonly TensorFeed<'float32'>[])[] | null;");
    expect(source).toContain("x: Tensor<'float32'>[][] | null;");
  });
});

describe('typeNameOf', () => {
  it.each([
    ['digits_cnn', 'DigitsCnn'],
    ['mobilenet-v2.1', 'MobilenetV21'],
    ['00000123', 'Model00000123'],
    ['', 'Model'],
    ['../..', 'Model'],
    ['Ranker', 'Ranker'],
  ])('makes %j into %s', (name, expected) => expect(typeNameOf(name)).toBe(expected));
});
