import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { httpCaller, startTenon, warmCpuTime } from './harness/http.mjs';
import { withContenders } from './harness/measure.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 32;
const url = '/v1/models/linear:predict';
const body = '{"instances":[[1.0,2.0,3.0,4.0]]}';
const sampling = 0.01;
const blockCalls = 20_000;
/** What is done for one in a hundred is compiled late. */
const warmUpCalls = { plain: 100_000, sampled: 500_000 };

async function served(options) {
  const { restPort } = await startTenon({
    models: { linear: modelPath('linear') },
    grpc: false,
    ...options,
  });
  const call = httpCaller(restPort, { path: url, body, inFlight });
  return warmCpuTime(call, options === undefined ? warmUpCalls.plain : warmUpCalls.sampled);
}

/** An SDK whose spans are exported in batches, here to nowhere. */
async function startTracing() {
  const { propagation, trace } = await import('@opentelemetry/api');
  const { ExportResultCode, W3CTraceContextPropagator } = await import('@opentelemetry/core');
  const sdk = await import('@opentelemetry/sdk-trace-base');
  const exporter = {
    export: (_spans, done) => done({ code: ExportResultCode.SUCCESS }),
    shutdown: () => Promise.resolve(),
  };
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const spanProcessors = [new sdk.BatchSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new sdk.BasicTracerProvider({ spanProcessors }));
}

function recording() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return { record: { folder, sampling } };
}

const plain = 'neither';
const recorded = 'recorded';
const both = 'recorded and traced';

/** All in one process: what two of them differ by is more than what is asked for. */
async function openAll() {
  const blocks = { [plain]: await served(), [recorded]: await served(recording()) };
  // A server looks for an SDK when it starts.
  await startTracing();
  blocks[both] = await served({ ...recording(), traceSampling: sampling });
  return {
    async block(calls) {
      const micros = {};
      for (const [name, block] of Object.entries(blocks)) {
        micros[name] = (await block(calls)) / calls / 1e3;
      }
      return micros;
    },
  };
}

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'REST: recording and tracing one request in a hundred',
  asks:
    'What does a server that records 1 % of the requests, with their answers, and traces 1 % of them ' +
    'with OpenTelemetry take more than one that does neither? CPU time of all of its threads, those ' +
    `that write files included: the linear layer, four floats, ${inFlight} connections from another ` +
    'process. Where one core serves, requests a second are the inverse. The servers are in one process, ' +
    'and asked in turn.',
  contenders: [plain, recorded, both].map((name) => ({ name, open: openAll })),
  comparisons: [
    {
      figure: 'REST predict, recording and tracing at 1 %: throughput ÷ that without',
      of: plain,
      to: both,
      target: { atLeast: 0.98 },
    },
    { of: plain, to: recorded },
  ],
  measure: ({ question, contenders, rounds, scale }) =>
    // The process of one has all.
    withContenders(question, contenders.slice(0, 1), async ([{ block }]) => {
      const calls = Math.ceil(blockCalls * scale);
      await block(calls);
      const blocks = [];
      for (let round = 0; round < rounds; round++) blocks.push(await block(calls));
      const rows = contenders.map(({ name }) => ({
        contender: name,
        samples: blocks.map((micros) => micros[name]),
      }));
      const caption = 'CPU time of the server for one request';
      return { measures: [{ id: 'calls', caption, unit: 'µs', better: 'lower', rows }] };
    }),
};
