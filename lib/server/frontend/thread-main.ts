/** A front-end thread. */

import { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

import { pino } from 'pino';

import type { ModelServerConfig } from '../config/model-config.js';
import { Metrics } from '../metrics.js';
import type { VersionStatistics } from '../oip/statistics.js';
import { recorderOf, TrafficDirectory } from '../traffic/traffic-directory.js';
import { endOfTurn } from '../turn.js';
import { errorOf, messageOf } from './error-message.js';
import { Frontend } from './frontend.js';
import type { FrontendThreadData, FromFrontend, ToFrontend } from './messages.js';
import { MirrorDirectory } from './mirror.js';

const port = parentPort as NonNullable<typeof parentPort>;
const { settings, thread, logLevel, recordSlot } = workerData as FrontendThreadData;

const post = (message: FromFrontend): void => port.postMessage(message);

const asked = new Map<number, { resolve(text: string): void; reject(error: Error): void }>();
let lastRequest = 0;

/** What only the main thread can answer. */
function ask(
  message:
    | { kind: 'scrape' | 'numbers' | 'statistics' }
    | { kind: 'reload'; config: ModelServerConfig }
    | { kind: 'control'; act: 'loadModel' | 'unloadModel'; name: string },
): Promise<string> {
  const request = ++lastRequest;
  return new Promise((resolve, reject) => {
    asked.set(request, { resolve, reject });
    post({ ...message, request });
  });
}

const metrics = new Metrics({ thread, models: () => models.attached(), isOneOfMany: true });
const models = new MirrorDirectory(() => {
  directory.onModelsChanged();
  frontend?.onModelsChanged();
});
let frontend: Frontend | undefined;
const log = pino(
  {
    level: logLevel,
    base: undefined,
    timestamp: false,
    formatters: { level: (level) => ({ level }) },
  },
  { write: (line: string) => post({ kind: 'log', line }) },
);

const directory = new TrafficDirectory({
  models,
  metrics: metrics.routing,
  recorder: recorderOf(settings.record, recordSlot, { log, metrics: metrics.routing }),
});

/** Versions that were there before this thread. */
const first: Promise<void>[] = [];

async function report(request: number, work: Promise<void>): Promise<void> {
  try {
    await work;
    post({ kind: 'done', request, error: undefined });
  } catch (error) {
    post({ kind: 'done', request, error: messageOf(error) });
  }
}

async function start(): Promise<void> {
  frontend = await Frontend.create({
    settings,
    models: directory,
    metrics,
    log,
    scrape: () => ask({ kind: 'scrape' }),
    numbers: () => ask({ kind: 'numbers' }),
    statistics: async () =>
      JSON.parse(await ask({ kind: 'statistics' })) as readonly VersionStatistics[],
    reload: async (config) => {
      await ask({ kind: 'reload', config });
    },
    repository: {
      loadModel: async (name) => {
        await ask({ kind: 'control', act: 'loadModel', name });
      },
      unloadModel: async (name) => {
        await ask({ kind: 'control', act: 'unloadModel', name });
      },
    },
  });
  await Promise.all(first);
  post({ kind: 'ready' });
}

/** One that has not started has nothing to end. */
async function drain(timeoutMs: number): Promise<void> {
  const cutOff = (await frontend?.drain(timeoutMs)) ?? 0;
  await directory.close();
  post({ kind: 'drained', cutOff });
}

async function remove(id: number): Promise<void> {
  const served = await models.remove(id);
  if (served === undefined) return;
  await endOfTurn();
  metrics.forget(served.name, served.version);
}

function receive(message: ToFrontend): void {
  switch (message.kind) {
    case 'state':
      models.update(message.state);
      break;
    case 'traffic':
      directory.update(message.traffic);
      break;
    case 'available': {
      const added = report(message.request, models.add(message.version));
      if (frontend === undefined) first.push(added);
      break;
    }
    case 'unload':
      void report(message.request, remove(message.id));
      break;
    case 'connection': {
      const { transport, descriptor } = message;
      const socket = new Socket({ fd: descriptor, readable: true, writable: true });
      socket.once('close', () => post({ kind: 'closed', transport }));
      // Until a front end has taken it there is nobody else to hear of it.
      socket.on('error', () => undefined);
      if (frontend === undefined) socket.destroy();
      else frontend.accept(transport, socket);
      break;
    }
    case 'measure': {
      const { request, what } = message;
      const measured = what === 'all' ? metrics.snapshot() : metrics.traffic();
      post({ kind: 'measured', request, metrics: measured });
      break;
    }
    case 'begin-drain':
      frontend?.beginDrain();
      break;
    case 'drain':
      void drain(message.timeoutMs);
      break;
    case 'start':
      // What fails here ends the thread, which the main one hears of.
      void start();
      break;
    case 'answer': {
      const { request, text, error } = message;
      const waiting = asked.get(request);
      asked.delete(request);
      if (error === undefined) waiting?.resolve(text);
      else waiting?.reject(errorOf(error));
      break;
    }
  }
}

port.on('message', receive);
