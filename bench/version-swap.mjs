import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { root } from '../scripts/run-command.mjs';
import { floatElements } from './harness/engines.mjs';
import { caller, httpRequest, startTenon } from './harness/http.mjs';
import { predictUrl } from './harness/images.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 16;
/** Of the load before a swap; the swap takes as long as it takes. */
const blockMs = 1000;

/** What a version is copied from, and what is asked. */
const models = {
  mlp: {
    caption: 'ONNX, the multilayer perceptron',
    copy: (version) => cpSync(modelPath('mlp'), path.join(version, 'model.onnx')),
    body: () => JSON.stringify({ instances: [Array.from(floatElements(784))] }),
  },
  half_plus_two: {
    caption: 'TensorFlow, half_plus_two',
    copy: (version) => {
      const saved = path.join(root, 'test/fixtures/models/half_plus_two/00000123');
      cpSync(saved, version, { recursive: true });
    },
    body: () => JSON.stringify({ instances: [1, 2, 5] }),
  },
};

/** Serves version 1; each block is some time under load, and the next version's coming meanwhile. */
async function open(name) {
  const { copy, body } = models[name];
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-swap-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const base = path.join(folder, 'model');
  let version = 0;
  const put = () => {
    const made = path.join(folder, 'made');
    copy(made);
    renameSync(made, path.join(base, String(++version)));
  };
  mkdirSync(base);
  put();
  const server = await startTenon({
    models: { [name]: base },
    grpc: false,
    pollIntervalSeconds: 1,
  });
  const client = caller('load-client.mjs');
  await client({
    port: server.restPort,
    request: httpRequest(predictUrl(name), body()),
    inFlight,
  });
  const stateOf = (wanted) =>
    server.list()[0].versions.find((one) => one.version === BigInt(wanted))?.state;
  return {
    async block(ms) {
      // Since the last block.
      const idle = await client({});
      await sleep(ms);
      put();
      while (stateOf(version) === undefined) await sleep(1);
      const before = await client({});
      const start = performance.now();
      while (stateOf(version) !== 'AVAILABLE' || stateOf(version - 1) !== 'END') await sleep(1);
      const swapMs = performance.now() - start;
      const during = await client({});
      rmSync(path.join(base, String(version - 1)), { recursive: true });
      return {
        before: before.p99 / 1e3,
        during: during.p99 / 1e3,
        slower: during.p99 / before.p99,
        failed: idle.failed + before.failed + during.failed,
        requests: during.requests,
        swapMs,
      };
    },
  };
}

const captions = Object.values(models).map(({ caption }) => caption);

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The swap of a version under full load',
  asks:
    'Does a request fail, and how much longer do requests take, while a version of a model is ' +
    `replaced? ${inFlight} clients in another process ask without a pause over REST; a new version ` +
    'is copied in, found, loaded and served, and the old one unloaded. The swap lasts from when the ' +
    'new version is found until the old one is gone.',
  contenders: Object.entries(models).map(([name, { caption }]) => ({
    name: caption,
    open: () => open(name),
  })),
  comparisons: captions.flatMap((of) => [
    {
      figure: `swap of a version under full load, p99 ÷ before (${of})`,
      kind: 'median',
      measure: 'slower',
      unit: '×',
      of,
      target: { atMost: 2 },
    },
    {
      figure: `swap of a version under full load, failed requests (${of})`,
      kind: 'median',
      measure: 'failed',
      unit: '',
      of,
      target: { atMost: 0 },
    },
  ]),
  measure: ({ question, contenders, rounds, scale }) =>
    withContenders(question, contenders, async (opened) => {
      // The first versions' code is compiled as they go.
      for (const { block } of opened) await block(blockMs * scale);
      const results = await interleave(opened, rounds, ({ block }) => block(blockMs * scale));
      const measure = (id, name, unit, better, of = (samples) => samples) => ({
        id,
        name,
        caption: name,
        unit,
        better,
        rows: [...results].map(([contender, blocks]) => ({
          contender,
          samples: of(blocks.map((block) => block[id])),
        })),
      });
      // A failure in one round is not to vanish in a median.
      const inAll = (counts) => counts.map(() => counts.reduce((sum, count) => sum + count, 0));
      return {
        measures: [
          measure('slower', 'p99 during the swap ÷ before', '×', 'lower'),
          measure('before', 'p99 before the swap', 'ms', 'lower'),
          measure('during', 'p99 during the swap', 'ms', 'lower'),
          measure('swapMs', 'length of the swap', 'ms', 'lower'),
          measure('requests', 'requests during the swap', '', 'higher'),
          measure('failed', 'failed requests, of all rounds', '', 'lower', inAll),
        ],
      };
    }),
};
