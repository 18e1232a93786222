import { createRequire } from 'node:module';

import { nodeApiAddon } from './harness/build.mjs';
import { number } from './harness/figures.mjs';
import { calibrate, interleave, withContenders } from './harness/measure.mjs';
import { median } from './harness/statistics.mjs';
import { timeSync } from './harness/timing.mjs';

const sizes = Array.from({ length: 13 }, (_, i) => 256 * 2 ** i);
const sizeText = (bytes) =>
  bytes < 2 ** 10
    ? `${bytes} B`
    : bytes < 2 ** 20
      ? `${bytes / 2 ** 10} KiB`
      : `${bytes / 2 ** 20} MiB`;

/** Makes outputs of the size that the last block asked for. */
function open(make) {
  return () => {
    const output = createRequire(import.meta.url)(nodeApiAddon())[make];
    return { block: ({ byteLength, count }) => timeSync(() => output(byteLength))(count) };
  };
}

const copied = 'copied into an ArrayBuffer';
const external = 'external ArrayBuffer';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Handing out an output: copy or external memory',
  asks:
    'From which size on is it cheaper to hand out the engine’s own memory than to copy it? Both ' +
    'ways take memory that was just written; the external one pays for its finalizer and for ' +
    'memory that comes back only with the garbage collector. This sets kExternalMinBytes in ' +
    'native/addon/values.cc.',
  contenders: [
    { name: copied, open: open('copyOutput') },
    { name: external, open: open('externalOutput') },
  ],
  comparisons: [],
  blockMs: 20,
  measure: ({ question, contenders, rounds, blockMs }) =>
    withContenders(question, contenders, async (opened) => {
      const measures = [];
      for (const byteLength of sizes) {
        const ofSize = opened.map(({ name, block }) => ({
          name,
          block: (count) => block({ byteLength, count }),
        }));
        const counts = new Map();
        for (const contender of ofSize) {
          counts.set(contender.name, await calibrate(contender, blockMs));
        }
        const results = await interleave(ofSize, rounds, async ({ name, block }) => {
          return (await block(counts.get(name))) / counts.get(name) / 1e3;
        });
        measures.push({
          id: `${byteLength}`,
          caption: sizeText(byteLength),
          unit: 'µs',
          better: 'lower',
          rows: [...results].map(([contender, samples]) => ({ contender, samples })),
        });
      }
      const medians = (name) =>
        measures.map(({ rows }) => median(rows.find((row) => row.contender === name).samples));
      const [copy, direct] = [medians(copied), medians(external)];
      const cheaper = sizes.filter((_, i) => direct[i] < copy[i]).map(sizeText);
      return {
        measures,
        // Sizes one below the other, instead of a table for each.
        tables: [
          [
            ['One output', copied, external],
            ...sizes.map((size, i) => [
              sizeText(size),
              `${number(copy[i])} µs`,
              `${number(direct[i])} µs`,
            ]),
          ],
        ],
        notes: [`External memory was cheaper at ${cheaper.join(', ') || 'none of the sizes'}.`],
        charts: [
          {
            id: 'sizes',
            title: 'Time of handing out one output',
            xLabel: 'size of the output',
            yLabel: 'µs',
            logarithmic: true,
            xTicks: sizes.map(sizeText),
            series: [
              { name: copied, points: copy.map((us, i) => [i, us]) },
              { name: external, points: direct.map((us, i) => [i, us]) },
            ],
          },
        ],
      };
    }),
};
