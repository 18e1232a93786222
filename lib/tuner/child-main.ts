/**
 * `dist/tuner-child.js <file>`: does the job in the file, prints one line with the answer, and ends.
 * Started by the tuner, because engines fix their thread pools once for a process.
 */
import { readFileSync } from 'node:fs';
import { deserialize } from 'node:v8';

import { engines, load, type Model, type ValuesModel } from '../index.js';
import { nativeAddon } from '../native/load.js';
import { closedLoop } from './closed-loop.js';
import { unpackFeed } from './feeds.js';
import {
  type Answer,
  answerMark,
  type DescribeJob,
  type Description,
  type Job,
  type Measured,
  type MeasureJob,
} from './job.js';

async function describe({ source, options, signature }: DescribeJob): Promise<Description> {
  const model: Model<ValuesModel> = await load<ValuesModel>(source, {
    ...options,
    ...(signature === undefined ? {} : { signature }),
  });
  const names = Object.keys(model.signatures);
  const name = signature ?? (names.length === 1 ? names[0] : 'serving_default');
  const chosen = name === undefined ? undefined : model.signatures[name];
  if (name === undefined || chosen === undefined) {
    const listed = names.map((each) => `"${each}"`).join(', ');
    throw Object.assign(new Error(`expected a signature among ${listed}, and none was named`), {
      code: 'ERR_TENON_UNKNOWN_SIGNATURE',
    });
  }
  const { engine } = model;
  const status = (await engines.list()).find((each) => each.name === engine);
  await model.close();
  return {
    engine,
    engineVersion: status?.version ?? 'unknown',
    cpuQuota: nativeAddon().cpuQuota(),
    providers: status?.providers ?? [],
    signature: name,
    inputs: chosen.inputs,
    outputs: chosen.outputs,
  };
}

async function measure(job: MeasureJob): Promise<Measured> {
  const { source, options, signature, inFlight, seconds } = job;
  const feeds = Object.fromEntries(
    Object.entries(job.feeds).map(([name, feed]) => [name, unpackFeed(feed)]),
  );
  const began = performance.now();
  const model = await load<ValuesModel>(source, { ...options, signature });
  const loadMs = performance.now() - began;
  const request = (signal: AbortSignal): Promise<unknown> => model.run(feeds, { signal });
  await model.run(feeds);
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const points = [];
  for (const count of inFlight) {
    points.push(await closedLoop(request, { inFlight: count, seconds }));
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  const cpus = (user + system) / 1000 / (performance.now() - start);
  return { points, loadMs, residentBytes: process.memoryUsage.rss(), cpus };
}

async function answer(): Promise<Answer> {
  try {
    const job = deserialize(readFileSync(process.argv[2] ?? '')) as Job;
    return { result: job.kind === 'describe' ? await describe(job) : await measure(job) };
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return {
      error: {
        code: typeof code === 'string' ? code : undefined,
        message: typeof message === 'string' ? message : String(error),
      },
    };
  }
}

const line = `\n${answerMark}${JSON.stringify(await answer())}\n`;
// exit: an engine's threads may keep the process alive, and its teardown is nobody's concern here.
process.stdout.write(line, () => process.exit(0));
