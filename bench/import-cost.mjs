import { spawnSync } from 'node:child_process';
import path from 'node:path';

import { interleave } from './harness/measure.mjs';

const probe = path.join(import.meta.dirname, 'harness', 'import-probe.mjs');

const contender = (name, form, specifier) => ({
  name,
  block() {
    const { stdout, status } = spawnSync(process.execPath, [probe, form, specifier], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (status !== 0) throw new Error(`${name}: the process ended with ${status}`);
    return JSON.parse(stdout);
  },
});

const esm = "import 'tenon'";
const commonJs = "require('tenon')";
const peer = "require('onnxruntime-node')";

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'Importing the package',
  asks:
    'What does a process pay that imports Tenon and loads no model? Each round starts a fresh ' +
    'process for each contender. A mapped engine is a libonnxruntime or libtensorflow in ' +
    '/proc/self/maps after the import.',
  contenders: [
    contender(esm, 'import', 'tenon'),
    contender(commonJs, 'require', 'tenon'),
    contender(peer, 'require', 'onnxruntime-node-engine'),
  ],
  comparisons: [
    ...[esm, commonJs].map((of) => ({
      figure: `\`${of}\``,
      kind: 'median',
      measure: 'time',
      unit: 'ms',
      of,
      target: { atMost: 30 },
    })),
    ...[esm, commonJs].map((of) => ({
      figure: `\`${of}\`: engines mapped`,
      kind: 'median',
      measure: 'engines',
      unit: '',
      of,
      target: { atMost: 0 },
    })),
    { measure: 'time', of: esm, to: peer },
    { measure: 'memory', of: esm, to: peer },
  ],
  async measure({ contenders, rounds }) {
    // The files come from the page cache in every round.
    for (const { block } of contenders) block();
    const results = await interleave(contenders, rounds, ({ block }) => block());
    const measure = (id, caption, unit, value) => ({
      id,
      caption,
      unit,
      better: 'lower',
      rows: [...results].map(([name, blocks]) => ({ contender: name, samples: blocks.map(value) })),
    });
    return {
      measures: [
        measure('time', 'Time of the import', 'ms', ({ ms }) => ms),
        measure('memory', 'Resident memory it adds', 'MB', ({ bytes }) => bytes / 2 ** 20),
        measure('engines', 'Engines mapped', '', ({ engines }) => engines),
      ],
    };
  },
};
