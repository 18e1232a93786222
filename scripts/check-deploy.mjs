// `npm run check:deploy`: deploy/ seen by the tools it is made for, which are not on every machine:
// kubectl (its kustomize makes what the tests' own does) and promtool (the rules compute what they say).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { parseAllDocuments, stringify } from 'yaml';

import { kustomize, readManifests } from '../test/helpers/kustomize.mjs';
import { fail, onPath, output, root } from './run-command.mjs';

const folders = ['base', 'overlays/monitored', 'overlays/canary', 'overlays/mirror'];

for (const command of ['kubectl', 'promtool']) {
  if (!onPath(command)) fail(`expected ${command} on this machine`);
}
for (const folder of folders) compare(folder);
checkRules();
console.log('deploy/ is as its tools have it');

function compare(name) {
  const folder = path.join(root, 'deploy', name);
  const text = output('kubectl', ['kustomize', folder]);
  const real = parseAllDocuments(
    text.replace(/(name: tenon-config-(stable|canary))-[0-9a-z]{10}$/gm, '$1'),
  );
  const byName = (a, b) => id(a).localeCompare(id(b));
  const theirs = real.map((document) => document.toJS()).toSorted(byName);
  const ours = kustomize(folder).toSorted(byName);
  if (!isDeepStrictEqual(ours.map(id), theirs.map(id))) {
    fail(`${name}: expected ${theirs.map(id)}, received ${ours.map(id)}`);
  }
  ours.forEach((object, i) => {
    if (!isDeepStrictEqual(object, theirs[i])) {
      fail(`${name}: expected\n${stringify(theirs[i])}\nreceived\n${stringify(object)}`);
    }
  });
  console.log(`kubectl kustomize deploy/${name}: the same ${ours.length} objects`);
}

function id({ kind, metadata }) {
  return `${kind} ${metadata.name}`;
}

function checkRules() {
  const folder = mkdtempSync(path.join(tmpdir(), 'tenon-rules-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const [{ spec }] = readManifests(
    path.join(root, 'deploy/components/prometheus/prometheus-rule.yaml'),
  );
  writeFileSync(path.join(folder, 'rules.yaml'), stringify(spec));
  // Counters by what they grow in 15 s: waits for a lane, waits for a batch, runs; and the mean wait.
  const pods = {
    busy: [15_000, undefined, 150, 100],
    idle: [0, undefined, 0, 0],
    batched: [1500, 150_000, 150, 1010],
  };
  const counters = [
    'tenon_model_wait_micros_total',
    ':tensorflow:serving:batching_session:queuing_latency_sum',
    'tenon_model_runs_total',
  ];
  const labels = (pod) => `namespace="n",pod="${pod}"`;
  const tests = {
    rule_files: ['rules.yaml'],
    evaluation_interval: '15s',
    tests: [
      {
        interval: '15s',
        input_series: Object.entries(pods).flatMap(([pod, numbers]) =>
          counters.flatMap((name, i) =>
            numbers[i] === undefined
              ? []
              : [
                  {
                    series: `${name}{${labels(pod)},model_name="m",version="1"}`,
                    values: `0+${numbers[i]}x40`,
                  },
                ],
          ),
        ),
        promql_expr_test: [
          {
            expr: 'tenon:queue_micros:mean2m',
            eval_time: '8m',
            exp_samples: Object.entries(pods).map(([pod, numbers]) => ({
              labels: `tenon:queue_micros:mean2m{${labels(pod)}}`,
              value: numbers[3],
            })),
          },
        ],
      },
    ],
  };
  writeFileSync(path.join(folder, 'tests.yaml'), stringify(tests));
  for (const args of [
    ['check', 'rules', 'rules.yaml'],
    ['test', 'rules', 'tests.yaml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, {
      cwd: folder,
      encoding: 'utf8',
    });
    if (status !== 0) fail(`promtool ${args.join(' ')}\n${stdout}${stderr}`);
    console.log(`promtool ${args.slice(0, 2).join(' ')}: fine`);
  }
}
