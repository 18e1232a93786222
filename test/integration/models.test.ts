import { readFileSync } from 'node:fs';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Tensor } from '../../lib/index.js';
import { load, type Model, type ValuesModel } from '../../lib/index.js';
import { readNpy } from '../helpers/npy.js';
import { fixture, modelPath } from '../helpers/paths.js';
import {
  absoluteTolerance,
  difference,
  feedsOf,
  loadCase,
  type ReferenceCase,
  referenceCases,
  relativeTolerance,
} from '../helpers/references.js';

const heldOut = readNpy(fixture('digits/held_out_images.npy'));
const labels = readNpy(fixture('digits/held_out_labels.npy')).data;
const classes = 10;

/** What an application writes: the same lines for a SavedModel and an ONNX model. */
async function classify(path: string): Promise<Float32Array> {
  await using model = await load(path);
  const pixels = Float32Array.from(heldOut.data, (value) => value / 16);
  const { probabilities } = await model.run({ images: pixels });
  return (probabilities as Tensor<'float32'>).data;
}

function accuracyOf(probabilities: Float32Array): number {
  let right = 0;
  for (let i = 0; i < labels.length; i++) {
    const row = probabilities.subarray(i * classes, (i + 1) * classes);
    if (row.indexOf(Math.max(...row)) === labels[i]) right++;
  }
  return right / labels.length;
}

/** The largest excess over the tolerance; not above 0 where all are near. */
function worstExcess(actual: Float32Array, expected: ArrayLike<number>): number {
  let worst = -Infinity;
  for (let i = 0; i < expected.length; i++) {
    const wanted = expected[i] as number;
    const allowed = absoluteTolerance + relativeTolerance * Math.abs(wanted);
    worst = Math.max(worst, Math.abs((actual[i] ?? NaN) - wanted) - allowed);
  }
  return worst;
}

describe('handwritten digits through the same lines of TypeScript', () => {
  const models = [
    ['SavedModel', 'digits_cnn_tf'],
    ['ONNX', 'digits_cnn.onnx'],
    ['quantized ONNX', 'digits_cnn_int8.onnx'],
  ] as const;

  it.each(models)('%s names at least 95 in 100 held-out digits rightly', async (_, name) => {
    const accuracy = accuracyOf(await classify(modelPath(name)));
    console.log(`${name}: ${(accuracy * 100).toFixed(2)} % of ${labels.length} held-out digits`);
    expect(accuracy).toBeGreaterThanOrEqual(0.95);
  });

  it.each(models)('%s gives the probabilities that Python gives', async (_, name) => {
    const reference = readNpy(fixture(`digits/held_out_${name.replace('.onnx', '')}.npy`));
    const probabilities = await classify(modelPath(name));
    expect(probabilities).toHaveLength(reference.data.length);
    expect(worstExcess(probabilities, reference.data)).toBeLessThanOrEqual(0);
  });
});

describe('references computed in Python', () => {
  const groups = new Map<string, ReferenceCase[]>();
  for (const reference of referenceCases) {
    const key = [reference.model, ...(reference.tags ?? [])].join(' ');
    groups.set(key, [...(groups.get(key) ?? []), reference]);
  }

  it('cover every model of the fixtures', () => {
    const signatures = JSON.parse(readFileSync(fixture('signatures.json'), 'utf8')) as object;
    const covered = new Set(referenceCases.map(({ model }) => model));
    // ONNX Runtime refuses complex numbers: see the dtype table in values.test.ts.
    const uncovered = Object.keys(signatures).filter((model) => !covered.has(model));
    expect(uncovered.filter((model) => !model.includes('dtypes/complex'))).toEqual([]);
  });

  describe.each([...groups])('%s', (_, cases) => {
    let shared: Model<ValuesModel>;
    beforeAll(async () => {
      shared = await loadCase(cases[0] as ReferenceCase);
    });
    afterAll(() => shared.close());

    const rows = cases.map((reference, index) => {
      const title = `${reference.signature ?? ''} case ${index + 1}`.trim();
      return [title, reference] as const;
    });

    /** A case marked fresh holds only for the first run after loading. */
    async function withModel(
      reference: ReferenceCase,
      use: (model: Model<ValuesModel>) => Promise<void> | void,
    ): Promise<void> {
      const model = reference.fresh ? await loadCase(reference) : shared;
      await use(model);
      if (model !== shared) await model.close();
    }

    function expectOutputs(outputs: Record<string, unknown>, reference: ReferenceCase): void {
      expect(Object.keys(outputs).sort()).toEqual(Object.keys(reference.outputs).sort());
      for (const [name, expected] of Object.entries(reference.outputs)) {
        expect(difference(outputs[name] as never, expected, name)).toBeUndefined();
      }
    }

    const options = ({ signature, outputs }: ReferenceCase) => ({
      ...(signature === undefined ? {} : { signature }),
      outputs: Object.keys(outputs),
    });

    it.each(rows)('%s through run', (_title, reference) =>
      withModel(reference, async (model) => {
        expectOutputs(await model.run(feedsOf(reference), options(reference)), reference);
      }),
    );

    it.each(rows)('%s through runSync', (_title, reference) =>
      withModel(reference, (model) => {
        expectOutputs(model.runSync(feedsOf(reference), options(reference)), reference);
      }),
    );
  });
});
