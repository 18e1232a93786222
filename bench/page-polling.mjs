import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { root } from '../scripts/run-command.mjs';
import { interleave } from './harness/measure.mjs';

const blockMs = 10_000;
const agent = new Agent({ keepAlive: true });

/** What the page asks for, as it asks. */
async function numbers(port) {
  const request = get({ host: '127.0.0.1', port, path: '/page/numbers.json', agent });
  const [response] = await once(request, 'response');
  const chunks = await response.toArray();
  return JSON.parse(Buffer.concat(chunks).toString());
}

/** A server over the example models in a process of its own, whose CPU time is all its own. */
async function serve(frontendThreads) {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const server = spawn(
    process.execPath,
    [
      'dist/cli.js',
      'serve',
      '--model_config_file=examples/models.config',
      '--host=127.0.0.1',
      `--rest_api_port=${port}`,
      '--port=0',
      `--frontend_threads=${frontendThreads}`,
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  process.once('exit', () => server.kill('SIGKILL'));
  let log = '';
  for await (const chunk of server.stderr.iterator({ destroyOnReturn: false })) {
    log += chunk;
    if (log.includes('"Ready')) break;
  }
  if (!log.includes('"Ready')) throw new Error(`the server has ended: ${log}`);
  server.stderr.resume();
  return port;
}

/** Percent of one CPU that polling adds to what the server takes while nobody looks. */
const polling = (frontendThreads) => {
  let port;
  return async (scale) => {
    port ??= await serve(frontendThreads);
    const start = await numbers(port);
    await pause(blockMs * scale);
    const middle = await numbers(port);
    let end = middle;
    while (end.server.uptimeMs - middle.server.uptimeMs < blockMs * scale) {
      await pause(end.nextMs);
      end = await numbers(port);
    }
    const share = (from, to) =>
      (to.server.cpuMicros - from.server.cpuMicros) /
      10 /
      (to.server.uptimeMs - from.server.uptimeMs);
    return share(middle, end) - share(start, middle);
  };
};

const main = 'one page, no front-end threads';
const threads = 'one page, 2 front-end threads';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The page to look at: its polling',
  asks:
    'What does a page that is open cost the server? Percent of one CPU, all threads together, ' +
    `beyond what it takes while nobody looks; ${blockMs / 1000} s of each in turn, over the example ` +
    'models, without other requests.',
  contenders: [
    { name: main, block: polling(0) },
    { name: threads, block: polling(2) },
  ],
  comparisons: [main, threads].map((of) => ({
    figure: `CPU of the page’s polling: ${of}`,
    kind: 'median',
    measure: 'share',
    unit: '%',
    of,
    target: { atMost: 0.5 },
  })),
  async measure({ contenders, rounds, scale }) {
    // What is compiled at first.
    for (const { block } of contenders) await block(Math.min(scale, 0.5));
    const results = await interleave(contenders, rounds, ({ block }) => block(scale));
    return {
      measures: [
        {
          id: 'share',
          caption: 'CPU of one core that polling adds',
          unit: '%',
          better: 'lower',
          rows: [...results].map(([name, samples]) => ({ contender: name, samples })),
        },
      ],
    };
  },
};
