import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { httpCaller, startTenon, warmCpuTime } from './harness/http.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 32;
const url = '/v1/models/linear:predict';
const body = '{"instances":[[1.0,2.0,3.0,4.0]]}';
const sampling = 0.01;

async function served(options = {}) {
  const { restPort } = await startTenon({
    models: { linear: modelPath('linear') },
    grpc: false,
    ...options,
  });
  return { block: await warmCpuTime(httpCaller(restPort, { path: url, body, inFlight })) };
}

/**
 * An SDK whose spans are exported in batches, here to nowhere.
 *
 * @param {{ contexts: boolean }} options Whether it has a context manager, which spans inside of others
 *   need; the server needs none.
 */
async function startTracing({ contexts }) {
  const { context, propagation, trace } = await import('@opentelemetry/api');
  const { AsyncLocalStorageContextManager } = await import('@opentelemetry/context-async-hooks');
  const { ExportResultCode, W3CTraceContextPropagator } = await import('@opentelemetry/core');
  const sdk = await import('@opentelemetry/sdk-trace-base');
  const exporter = {
    export: (_spans, done) => done({ code: ExportResultCode.SUCCESS }),
    shutdown: () => Promise.resolve(),
  };
  if (contexts) context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const spanProcessors = [new sdk.BatchSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new sdk.BasicTracerProvider({ spanProcessors }));
}

function recording() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return { record: { folder, sampling } };
}

async function recordedAndTraced(contexts) {
  await startTracing({ contexts });
  return served({ ...recording(), traceSampling: sampling });
}

const plain = 'neither';
const recorded = 'recorded';
const both = 'recorded and traced';
const withContexts = 'recorded and traced, with contexts';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'REST: recording and tracing one request in a hundred',
  asks:
    'What does a server that records 1 % of the requests, with their answers, and traces 1 % of them ' +
    'with OpenTelemetry take more than one that does neither? CPU time of all of its threads, those ' +
    `that write files included: the linear layer, four floats, ${inFlight} connections from another ` +
    'process. Where one core serves, requests a second are the inverse. The last contender’s SDK has a ' +
    'context manager, which makes every promise of the process dearer before Node 24.',
  blockMs: 300,
  calls: { caption: 'CPU time of the server for one request', unit: 'µs' },
  contenders: [
    { name: plain, open: () => served() },
    { name: recorded, open: () => served(recording()) },
    { name: both, open: () => recordedAndTraced(false) },
    { name: withContexts, open: () => recordedAndTraced(true) },
  ],
  comparisons: [
    {
      figure: 'REST predict, recording and tracing at 1 %: throughput ÷ that without',
      of: plain,
      to: both,
      target: { atLeast: 0.98 },
    },
    { of: plain, to: recorded },
    { of: plain, to: withContexts },
  ],
};
