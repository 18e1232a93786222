import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import type { ModelConfig } from '../../lib/server/config/model-config.js';
import type { ModelSpec } from '../../lib/server/models.js';
import { maxEndedVersions } from '../../lib/server/repository/lifecycle.js';
import { Repository, type RepositoryOptions } from '../../lib/server/repository/repository.js';
import {
  eventually,
  FakeLoader,
  type FakeModel,
  makeModel,
  makeVersion,
  statesOf,
  TestClock,
  TestLog,
  until,
} from '../helpers/repository.js';
import { temporaryFolder } from '../helpers/temporary.js';

const everything = temporaryFolder();
let tests = 0;

let root: string;
let clock: TestClock;
let log: TestLog;
let repository: Repository | undefined;

beforeEach(() => {
  root = path.join(everything, String(++tests));
  clock = new TestClock();
  log = new TestLog();
});

afterEach(async () => {
  const closing = repository?.close();
  clock.advance(60_000);
  await closing;
  repository = undefined;
});

function make(
  models: readonly ModelConfig[],
  loader: FakeLoader,
  options: Partial<RepositoryOptions> = {},
): Repository {
  repository = new Repository({ config: { models }, load: loader.load, log, clock, ...options });
  return repository;
}

async function serving(
  models: readonly ModelConfig[],
  loader = new FakeLoader(),
  options: Partial<RepositoryOptions> = {},
): Promise<Repository> {
  const made = make(models, loader, options);
  await made.start();
  await until(made, () => made.readiness().ready);
  return made;
}

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof StatusError) return `${error.status} ${error.message}`;
    throw error;
  }
  return 'none';
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) =>
      error instanceof StatusError ? `${error.status} ${error.message}` : String(error),
  );
}

const versionOf = (from: Repository, spec: ModelSpec): bigint => {
  const held = from.acquire(spec);
  held.release();
  return held.version;
};

const specific = (...versions: bigint[]): ModelConfig['versionPolicy'] => ({
  kind: 'specific',
  versions,
});

describe('a request', () => {
  it('gets the highest version, the one it names, or the one its label stands for', async () => {
    const models = [
      makeModel(root, 'm', [2, 10, 9], {
        versionPolicy: { kind: 'all' },
        labels: { stable: 9n, canary: 10n },
      }),
    ];
    const made = await serving(models);
    await until(made, () => made.list()[0]?.versions.length === 3);
    await until(
      made,
      () => made.list()[0]?.versions.every(({ state }) => state === 'AVAILABLE') === true,
    );
    expect(versionOf(made, { name: 'm' })).toBe(10n);
    expect(versionOf(made, { name: 'm', version: 2n })).toBe(2n);
    expect(versionOf(made, { name: 'm', label: 'stable' })).toBe(9n);
    expect(versionOf(made, { name: 'm', label: 'canary' })).toBe(10n);
  });

  it('for what there is not is refused in the words of TensorFlow Serving', async () => {
    const made = await serving([makeModel(root, 'm', [1]), makeModel(root, 'empty', [])]);
    expect(refusal(() => made.acquire({ name: 'x' }))).toBe(
      'NOT_FOUND Servable not found for request: Latest(x)',
    );
    expect(refusal(() => made.acquire({ name: 'empty' }))).toBe(
      'NOT_FOUND Servable not found for request: Latest(empty)',
    );
    expect(refusal(() => made.acquire({ name: 'm', version: 50n }))).toBe(
      'NOT_FOUND Servable not found for request: Specific(m, 50)',
    );
    expect(refusal(() => made.acquire({ name: 'm', label: 'X' }))).toBe(
      'INVALID_ARGUMENT Unrecognized servable version label: X',
    );
    expect(refusal(() => made.status({ name: 'x' }))).toBe(
      'NOT_FOUND Could not find any versions of model x',
    );
    expect(refusal(() => made.status({ name: 'empty' }))).toBe(
      'NOT_FOUND Could not find any versions of model empty',
    );
    expect(refusal(() => made.status({ name: 'm', version: 5n }))).toBe(
      'NOT_FOUND Could not find version 5 of model m',
    );
    expect(refusal(() => made.status({ name: 'm', label: 'X' }))).toBe(
      'INVALID_ARGUMENT Unrecognized servable version label: X',
    );
  });

  it('keeps its version loaded until it is released, once', async () => {
    const loader = new FakeLoader();
    const made = await serving([makeModel(root, 'm', [1])], loader);
    const first = made.acquire({ name: 'm' });
    const second = made.acquire({ name: 'm' });
    makeVersion(root, 'm', 2);
    await until(made, () => statesOf(made, 'm')['2'] === 'AVAILABLE');
    expect(statesOf(made, 'm')).toEqual({ 1: 'UNLOADING', 2: 'AVAILABLE' });
    expect(versionOf(made, { name: 'm' })).toBe(2n);
    expect(refusal(() => made.acquire({ name: 'm', version: 1n }))).toMatch('Specific(m, 1)');
    first.release();
    first.release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(loader.models[0]?.isClosed).toBe(false);
    second.release();
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    expect(loader.models[0]?.isClosed).toBe(true);
    expect(loader.models[1]?.isClosed).toBe(false);
  });
});

describe('versions', () => {
  it('that come are loaded, and those that go are unloaded', async () => {
    const made = await serving([makeModel(root, 'm', [1], { versionPolicy: { kind: 'all' } })]);
    makeVersion(root, 'm', 3);
    await until(made, () => statesOf(made, 'm')['3'] === 'AVAILABLE');
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE', 3: 'AVAILABLE' });
    rmSync(path.join(root, 'm/1'), { recursive: true });
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    expect(statesOf(made, 'm')).toEqual({ 1: 'END', 3: 'AVAILABLE' });
  });

  it('are all unloaded from a folder that is emptied, and kept from one that vanishes', async () => {
    const models = [makeModel(root, 'emptied', [1]), makeModel(root, 'vanished', [1])];
    const made = await serving(models);
    renameSync(path.join(root, 'vanished'), path.join(root, 'elsewhere'));
    rmSync(path.join(root, 'emptied/1'), { recursive: true });
    await until(made, () => statesOf(made, 'emptied')['1'] === 'END');
    await eventually(() => log.lines.some((line) => line.includes('Could not find base path')));
    expect(statesOf(made, 'vanished')).toEqual({ 1: 'AVAILABLE' });
    expect(made.readiness().ready).toBe(true);
    expect(made.readiness().failed[0]?.message).toMatch('No versions of servable emptied');
    renameSync(path.join(root, 'elsewhere'), path.join(root, 'vanished'));
    makeVersion(root, 'vanished', 2);
    await until(made, () => statesOf(made, 'vanished')['2'] === 'AVAILABLE');
  });

  it('that have ended are listed for some time only', async () => {
    const made = await serving([makeModel(root, 'm', [1])]);
    for (let version = 2; version <= 50; version++) {
      makeVersion(root, 'm', version);
      await until(made, () => statesOf(made, 'm')[String(version)] === 'AVAILABLE');
      await until(made, () => statesOf(made, 'm')[String(version - 1)] === 'END');
    }
    const states = Object.values(statesOf(made, 'm'));
    expect(states.filter((state) => state === 'END')).toHaveLength(maxEndedVersions);
    expect(states).toHaveLength(maxEndedVersions + 1);
  });

  it('are reported newest first, with what they ended in', async () => {
    const loader = new FakeLoader();
    const model = makeModel(root, 'm', [9, 10]);
    loader.errors.set(path.join(root, 'm/10/model.onnx'), new Error('no such operation'));
    const made = make([{ ...model, versionPolicy: { kind: 'all' } }], loader, {
      maxLoadRetries: 0,
    });
    await made.start();
    await until(made, () => statesOf(made, 'm')['9'] === 'AVAILABLE');
    await until(made, () => statesOf(made, 'm')['10'] === 'END');
    expect(made.status({ name: 'm' })).toEqual([
      {
        version: 10n,
        state: 'END',
        error: { status: 'UNKNOWN', message: 'no such operation' },
      },
      { version: 9n, state: 'AVAILABLE', error: { status: 'OK', message: '' } },
    ]);
    expect(made.status({ name: 'm', version: 9n })).toHaveLength(1);
  });

  it('of another base path replace those of the same number without a gap', async () => {
    const loader = new FakeLoader({ held: true });
    const model = makeModel(root, 'm', [1]);
    const made = make([model], loader);
    await made.start();
    await eventually(() => loader.loads.length === 1);
    loader.of('m', 1)?.succeed();
    await until(made, () => made.readiness().ready);
    const other = { ...makeModel(root, 'other', [1]), name: 'm' };
    const reloaded = made.reload({ models: [other] });
    await eventually(() => loader.loads.length === 1);
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE' });
    expect(versionOf(made, { name: 'm' })).toBe(1n);
    loader.of('other', 1)?.succeed();
    await reloaded;
    await eventually(() => loader.models[0]?.isClosed === true);
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE' });
    expect(loader.models[1]?.isClosed).toBe(false);
  });

  it('of a file follow what is written to it', async () => {
    const loader = new FakeLoader();
    mkdirSync(root, { recursive: true });
    const file = path.join(root, 'net.onnx');
    writeFileSync(file, 'first');
    const made = await serving(
      [{ name: 'm', basePath: file, versionPolicy: specific(1n), labels: {} }],
      loader,
    );
    writeFileSync(file, 'the second');
    await eventually(() => loader.models[0]?.isClosed === true);
    expect(loader.models.at(-1)?.isClosed).toBe(false);
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE' });
  });
});

describe('a load that fails', () => {
  it('is tried again after the interval, as often as it says', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [7])], loader);
    await made.start();
    for (let attempt = 1; attempt <= 6; attempt++) {
      await eventually(() => loader.loads.length === 1);
      expect(loader.begun).toBe(attempt);
      expect(statesOf(made, 'm')).toEqual({ 7: 'LOADING' });
      loader.of('m', 7)?.fail(new Error(`try ${attempt}`));
      if (attempt === 6) break;
      await eventually(() => clock.waiting.includes(60_000));
      clock.advance(59_999);
      expect(loader.loads).toHaveLength(0);
      expect(made.status({ name: 'm' })[0]?.error).toEqual({ status: 'OK', message: '' });
      clock.advance(1);
    }
    await until(made, () => statesOf(made, 'm')['7'] === 'END');
    expect(made.status({ name: 'm' })[0]?.error).toEqual({ status: 'UNKNOWN', message: 'try 6' });
    expect(log.lines.filter((line) => line.startsWith('error'))).toEqual(
      [1, 2, 3, 4, 5, 6].map(
        (attempt) =>
          `error Loading servable {name: m version: 7} failed (try ${attempt} of 6; ${attempt === 6 ? 'given up' : 'next try in 60 s'}): try ${attempt}`,
      ),
    );
  });

  it('may be tried again later and later', async () => {
    const loader = new FakeLoader();
    loader.errors.set(path.join(root, 'm/1/model.onnx'), new Error('bad'));
    const made = make([makeModel(root, 'm', [1])], loader, {
      loadRetryIntervalMs: 2000,
      loadRetryBackoff: 2,
      maxLoadRetries: 3,
    });
    await made.start();
    for (const ms of [2000, 4000, 8000]) {
      await eventually(() => clock.waiting.includes(ms));
      clock.advance(ms);
    }
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    expect(loader.begun).toBe(4);
  });

  it('keeps what serves, and others, as they are', async () => {
    const loader = new FakeLoader();
    loader.errors.set(path.join(root, 'm/2/model.onnx'), new Error('bad'));
    const made = await serving([makeModel(root, 'm', [1]), makeModel(root, 'n', [1])], loader, {
      maxLoadRetries: 0,
    });
    makeVersion(root, 'm', 2);
    makeVersion(root, 'n', 2);
    await until(made, () => statesOf(made, 'm')['2'] === 'END');
    await until(made, () => statesOf(made, 'n')['2'] === 'AVAILABLE');
    expect(versionOf(made, { name: 'm' })).toBe(1n);
    expect(made.readiness()).toEqual({ ready: true, waiting: [], failed: [] });
  });

  it('is tried anew once the files have changed and stay so, not after the interval', async () => {
    const loader = new FakeLoader();
    const file = path.join(root, 'm/1/model.onnx');
    loader.errors.set(file, new Error('half of it'));
    const made = make([makeModel(root, 'm', [1])], loader);
    await made.start();
    await eventually(() => clock.waiting.includes(60_000));
    loader.errors.clear();
    writeFileSync(file, 'the whole of it');
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
    expect(loader.begun).toBe(2);
    expect(clock.waiting).not.toContain(60_000);
  });

  it('for good is tried anew, too, when the files change', async () => {
    const loader = new FakeLoader();
    const file = path.join(root, 'm/1/model.onnx');
    loader.errors.set(file, new Error('bad'));
    const made = make([makeModel(root, 'm', [1])], loader, { maxLoadRetries: 0 });
    await made.start();
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    loader.errors.clear();
    writeFileSync(file, 'repaired');
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
  });

  it('is a load whose files change meanwhile', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [1])], loader);
    await made.start();
    await eventually(() => loader.loads.length === 1);
    writeFileSync(path.join(root, 'm/1/more'), 'more');
    const first = loader.of('m', 1)?.succeed();
    await eventually(() => loader.begun === 2);
    expect(first?.isClosed).toBe(true);
    await eventually(() => loader.loads.length === 1);
    loader.of('m', 1)?.succeed();
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
    expect(log.lines.join('\n')).toMatch('to stay as they are while they are loaded');
  });

  it('is one of a folder that holds no model, or one for another platform', async () => {
    const models = [
      makeModel(root, 'none', []),
      makeModel(root, 'other', [1], { platform: 'tensorflow' }),
    ];
    mkdirSync(path.join(root, 'none/1'));
    const made = make(models, new FakeLoader(), { maxLoadRetries: 0 });
    await made.start();
    await until(made, () => made.readiness().failed.length === 2);
    expect(made.status({ name: 'none' })[0]?.error.status).toBe('NOT_FOUND');
    expect(made.status({ name: 'other' })[0]?.error.message).toMatch(
      'expected a model for the platform tensorflow',
    );
  });
});

describe('many models', () => {
  it('load a few at a time, those first that serve nothing yet', async () => {
    const loader = new FakeLoader({ held: true });
    const all = { versionPolicy: { kind: 'all' } } as const;
    const models = [makeModel(root, 'a', [1, 2, 3], all), makeModel(root, 'b', [1, 2], all)];
    const made = make(models, loader, { loadThreads: 1 });
    await made.start();
    await until(made, () => made.list().every(({ versions }) => versions.length > 0));
    const order: string[] = [];
    for (let load = 0; load < 5; load++) {
      await eventually(() => loader.loads.length > 0);
      expect(loader.loads).toHaveLength(1);
      const source = loader.loads[0]?.source ?? '';
      order.push(path.relative(root, path.dirname(source)));
      loader.loads[0]?.succeed();
    }
    expect([...order].sort()).toEqual(['a/1', 'a/2', 'a/3', 'b/1', 'b/2']);
    // Each serves its highest version before either loads another.
    expect(order.slice(0, 2).sort()).toEqual(['a/3', 'b/2']);
    expect(order.indexOf('a/2')).toBeLessThan(order.indexOf('a/1'));
    await until(made, () =>
      made.list().every(({ versions }) => versions[0]?.state === 'AVAILABLE'),
    );
  });

  it('do not wait for one that is slow to load', async () => {
    const loader = new FakeLoader({ held: true });
    const models = ['a', 'b', 'c'].map((name) => makeModel(root, name, [1]));
    const made = make(models, loader, { loadThreads: 1 });
    await made.start();
    await until(made, () => made.list().every(({ versions }) => versions.length === 1));
    await eventually(() => loader.loads.length === 1);
    // Whichever was found first.
    const slow = loader.loads[0];
    const name = path.relative(root, slow?.source ?? '').split(path.sep)[0] ?? '';
    clock.advance(10_000);
    expect(log.lines).toContain('warn Still loading: a, b, c');
    for (const waiting of [2, 1]) {
      await eventually(() => loader.loads.length === 2);
      loader.loads.find((load) => load !== slow)?.succeed();
      await until(made, () => made.readiness().waiting.length === waiting);
    }
    expect(made.readiness()).toEqual({ ready: false, waiting: [name], failed: [] });
    slow?.succeed();
    await until(made, () => made.readiness().ready);
  });

  it('are ready when each serves or has failed, and the log says which', async () => {
    const loader = new FakeLoader({ held: true });
    const models = ['good', 'bad', 'missing'].map((name) => makeModel(root, name, [1]));
    rmSync(path.join(root, 'missing'), { recursive: true });
    const made = make(models, loader);
    await made.start();
    await eventually(() => loader.loads.length === 2);
    expect(made.readiness()).toMatchObject({
      ready: false,
      waiting: ['good', 'bad'],
      failed: [{ name: 'missing' }],
    });
    loader.of('good', 1)?.succeed();
    loader.of('bad', 1)?.fail(new Error('broken'));
    await until(made, () => made.readiness().ready);
    expect(made.readiness().failed.map(({ name }) => name)).toEqual(['bad', 'missing']);
    expect(log.lines).toContain('info good is ready');
    expect(log.lines).toContain('warn bad is not served: broken');
    expect(log.lines).toContain('info Ready, without bad, missing');
  });
});

describe('readiness', () => {
  it('comes with a first load that fails, without anything else that happens', async () => {
    const loader = new FakeLoader();
    loader.errors.set(path.join(root, 'm/1/model.onnx'), new Error('broken'));
    const made = make([makeModel(root, 'm', [1])], loader);
    await made.start();
    await until(made, () => made.readiness().ready);
    expect(statesOf(made, 'm')).toEqual({ 1: 'LOADING' });
    expect(made.readiness()).toEqual({
      ready: true,
      waiting: [],
      failed: [{ name: 'm', message: 'broken' }],
    });
  });
});

describe('listeners', () => {
  it('are waited for before a version is AVAILABLE, and before it is given back', async () => {
    const loader = new FakeLoader();
    const made = make([makeModel(root, 'm', [1])], loader);
    const gates: (() => void)[] = [];
    const gate = (): Promise<void> => new Promise((resolve) => gates.push(resolve));
    made.onAvailable(gate);
    made.onUnload(gate);
    await made.start();
    await eventually(() => gates.length === 1);
    expect(statesOf(made, 'm')).toEqual({ 1: 'LOADING' });
    gates.pop()?.();
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
    rmSync(path.join(root, 'm/1'), { recursive: true });
    await eventually(() => gates.length === 1);
    expect(statesOf(made, 'm')).toEqual({ 1: 'UNLOADING' });
    expect(loader.models[0]?.isClosed).toBe(false);
    gates.pop()?.();
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    expect(loader.models[0]?.isClosed).toBe(true);
  });

  it('that fail, or do not answer, fail the load', async () => {
    const loader = new FakeLoader();
    const made = make([makeModel(root, 'm', [1])], loader, { maxLoadRetries: 1 });
    let calls = 0;
    const dropped: boolean[] = [];
    made.onUnload(({ model }) => void dropped.push((model as unknown as FakeModel).isClosed));
    made.onAvailable(() => {
      if (++calls === 1) throw new Error('no room');
      return new Promise(() => undefined);
    });
    await made.start();
    await eventually(() => clock.waiting.includes(60_000));
    expect(loader.models[0]?.isClosed).toBe(true);
    clock.advance(60_000);
    await eventually(() => calls === 2);
    clock.advance(60_000);
    await until(made, () => statesOf(made, 'm')['1'] === 'END');
    expect(made.status({ name: 'm' })[0]?.error.message).toMatch('received no answer');
    // Those who heard of it before may let it go before it is closed.
    expect(dropped).toEqual([false, false]);
  });

  it('that fail keep no memory', async () => {
    const loader = new FakeLoader();
    const made = await serving([makeModel(root, 'm', [1])], loader);
    made.onUnload(() => {
      throw new Error('gone already');
    });
    made.onChange(() => {
      throw new Error('never mind');
    });
    rmSync(path.join(root, 'm/1'), { recursive: true });
    await eventually(() => loader.models[0]?.isClosed === true);
    await eventually(() => statesOf(made, 'm')['1'] === 'END');
  });
});

describe('labels', () => {
  const all = { versionPolicy: { kind: 'all' } } as const;

  it('of the first configuration come to stand when their versions are available', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [1, 2], { ...all, labels: { stable: 1n } })], loader);
    await made.start();
    await eventually(() => loader.loads.length === 2);
    loader.of('m', 2)?.succeed();
    await until(made, () => made.readiness().ready);
    expect(refusal(() => made.acquire({ name: 'm', label: 'stable' }))).toBe(
      'INVALID_ARGUMENT Unrecognized servable version label: stable',
    );
    loader.of('m', 1)?.succeed();
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
    expect(versionOf(made, { name: 'm', label: 'stable' })).toBe(1n);
  });

  it('may stand for what is not loaded yet where that is allowed', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [1], { labels: { stable: 1n } })], loader, {
      allowLabelsForUnavailable: true,
    });
    await made.start();
    expect(refusal(() => made.acquire({ name: 'm', label: 'stable' }))).toBe(
      'NOT_FOUND Servable not found for request: Specific(m, 1)',
    );
    await eventually(() => loader.loads.length === 1);
    loader.of('m', 1)?.succeed();
    await until(made, () => made.readiness().ready);
    const config = (version: bigint): { models: ModelConfig[] } => ({
      models: [makeModel(root, 'm', [], { labels: { stable: version, canary: 9n } })],
    });
    await made.reload(config(1n));
    expect(made.list()[0]?.labels).toEqual({ stable: 1n, canary: 9n });
    // One that is in use does not move to where nothing is.
    expect(await rejection(made.reload(config(9n)))).toMatch('FAILED_PRECONDITION');
    expect(made.list()[0]?.labels).toEqual({ stable: 1n, canary: 9n });
  });

  it('move to a version that the same configuration brings, once it is available', async () => {
    const made = await serving([makeModel(root, 'm', [1], { labels: { stable: 1n } })]);
    makeVersion(root, 'm', 2);
    const model = makeModel(root, 'm', [], {
      versionPolicy: specific(1n, 2n),
      labels: { stable: 2n, old: 1n },
    });
    await made.reload({ models: [model] });
    expect(versionOf(made, { name: 'm', label: 'stable' })).toBe(2n);
    expect(versionOf(made, { name: 'm', label: 'old' })).toBe(1n);
  });

  it('for a version that is not available are refused, and stay as they were', async () => {
    const models = [
      makeModel(root, 'm', [1], { labels: { stable: 1n } }),
      makeModel(root, 'n', [1], { labels: { stable: 1n } }),
    ];
    const made = await serving(models);
    const labels: ModelConfig['labels'][] = [{ other: 1n }, { stable: 50n }];
    const changed = models.map((model, i) => ({ ...model, labels: labels[i] ?? {} }));
    expect(await rejection(made.reload({ models: changed }))).toBe(
      'FAILED_PRECONDITION Request to assign label to version 50 of model n, which is not currently available for inference',
    );
    expect(made.list().map(({ labels }) => labels)).toEqual([{ stable: 1n }, { stable: 1n }]);
    await made.reload({ models: [makeModel(root, 'm', [], { labels: {} })] });
    expect(refusal(() => made.acquire({ name: 'm', label: 'stable' }))).toMatch('Unrecognized');
  });
});

describe('a new configuration', () => {
  it('replaces the old one, and stands when its new models are available', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'a', [1]), makeModel(root, 'b', [1])], loader);
    await made.start();
    for (const name of ['a', 'b']) {
      await eventually(() => loader.of(name, 1) !== undefined);
      loader.of(name, 1)?.succeed();
    }
    await until(made, () => made.readiness().ready);
    const held = made.acquire({ name: 'a' });
    let isDone = false;
    const config = { models: [makeModel(root, 'b', []), makeModel(root, 'c', [1])] };
    const reloaded = made.reload(config).then(() => (isDone = true));
    expect(refusal(() => made.acquire({ name: 'a' }))).toMatch('Latest(a)');
    expect(statesOf(made, 'a')).toEqual({ 1: 'UNLOADING' });
    expect(made.list().map(({ name }) => name)).toEqual(['b', 'c', 'a']);
    held.release();
    await until(made, () => statesOf(made, 'a')['1'] === 'END');
    expect(made.list().map(({ name }) => name)).toEqual(['b', 'c']);
    await eventually(() => loader.of('c', 1) !== undefined);
    expect(isDone).toBe(false);
    // What is new does not take back that we are ready.
    expect(made.readiness()).toEqual({ ready: true, waiting: ['c'], failed: [] });
    loader.of('c', 1)?.succeed();
    await reloaded;
    expect(versionOf(made, { name: 'c' })).toBe(1n);
    expect(loader.begun).toBe(3);
    expect(made.config).toBe(config);
  });

  it('changes a policy at once', async () => {
    const made = await serving([makeModel(root, 'm', [1, 2])]);
    await made.reload({ models: [makeModel(root, 'm', [], { versionPolicy: specific(1n) })] });
    await until(made, () => statesOf(made, 'm')['2'] === 'END');
    expect(versionOf(made, { name: 'm' })).toBe(1n);
  });

  it('says which new models could not be loaded, and serves the others', async () => {
    const loader = new FakeLoader();
    loader.errors.set(path.join(root, 'bad/3/model.onnx'), new Error('no such operation'));
    const made = await serving([], loader);
    const models = [
      makeModel(root, 'bad', [3]),
      makeModel(root, 'good', [1]),
      makeModel(root, 'none', []),
    ];
    expect(await rejection(made.reload({ models }))).toBe(
      'UNKNOWN 2 servable(s) did not become available: ' +
        '{Name: bad Version: 3 due to error: no such operation}, ' +
        `{Name: none due to error: No versions of servable none found under base path ${path.join(root, 'none')}. ` +
        "Did you forget to name your leaf directory as a number (eg. '/1/')?}",
    );
    expect(versionOf(made, { name: 'good' })).toBe(1n);
  });

  it('that is bad changes nothing', async () => {
    const made = await serving([makeModel(root, 'm', [1], { platform: 'onnx' })]);
    const { config } = made;
    const model = makeModel(root, 'm', []);
    for (const models of [
      [model, model],
      [{ ...model, platform: 'tensorflow' }],
      [{ ...model, basePath: 's3://bucket/m' }],
    ]) {
      expect(await rejection(made.reload({ models }))).toMatch('INVALID_ARGUMENT');
    }
    expect(made.config).toBe(config);
    expect(versionOf(made, { name: 'm' })).toBe(1n);
  });

  it('is not waited for longer than the time limit, nor after the signal', async () => {
    const loader = new FakeLoader({ held: true });
    const made = await serving([], loader);
    const slow = made.reload({ models: [makeModel(root, 'slow', [1])] });
    await eventually(() => loader.loads.length === 1);
    clock.advance(300_000);
    expect(await rejection(slow)).toBe(
      'DEADLINE_EXCEEDED Timed out after 300000 ms; what is loading goes on',
    );
    const controller = new AbortController();
    const models = [makeModel(root, 'slow', []), makeModel(root, 'slower', [1])];
    const stopped = made.reload({ models }, { signal: controller.signal });
    controller.abort(new Error('hung up'));
    expect(await rejection(stopped)).toBe('Error: hung up');
    await eventually(() => loader.loads.length === 2);
    loader.of('slow', 1)?.succeed();
    loader.of('slower', 1)?.succeed();
    await until(made, () => made.readiness().waiting.length === 0);
  });

  it('that another overtakes is given up', async () => {
    const loader = new FakeLoader({ held: true });
    const made = await serving([], loader);
    const first = made.reload({ models: [makeModel(root, 'a', [1])] });
    const second = made.reload({ models: [makeModel(root, 'b', [1])] });
    expect(await rejection(first)).toMatch('ABORTED A later configuration');
    await eventually(() => loader.of('b', 1) !== undefined);
    loader.of('b', 1)?.succeed();
    await second;
    expect(statesOf(made, 'a')['1'] ?? 'END').toBe('END');
  });

  it('takes a model back that is still unloading', async () => {
    const loader = new FakeLoader();
    const model = makeModel(root, 'm', [1]);
    const made = await serving([model], loader);
    const held = made.acquire({ name: 'm' });
    await made.reload({ models: [] });
    expect(statesOf(made, 'm')).toEqual({ 1: 'UNLOADING' });
    const back = made.reload({ models: [model] });
    held.release();
    await back;
    expect(versionOf(made, { name: 'm' })).toBe(1n);
    expect(loader.models.map(({ isClosed }) => isClosed)).toEqual([true, false]);
  });

  it('may come any number of times without leaving anything behind', async () => {
    const made = await serving([]);
    for (let turn = 0; turn < 150; turn++) {
      await made.reload({ models: [makeModel(root, `m${turn}`, [1])] });
    }
    await until(made, () => made.list().length === 1);
    expect(refusal(() => made.status({ name: 'm0' }))).toMatch('Could not find any versions');
    expect(statesOf(made, 'm148')).toEqual({ 1: 'END' });
  });
});

describe('a model that clients load and unload', () => {
  it('goes once its requests have ended, stays away, and comes again', async () => {
    const made = await serving([makeModel(root, 'm', [1]), makeModel(root, 'n', [1])]);
    const held = made.acquire({ name: 'm' });
    const unloading = made.unloadModel('m');
    expect(statesOf(made, 'm')).toEqual({ 1: 'UNLOADING' });
    held.release();
    await unloading;
    expect(statesOf(made, 'm')).toEqual({ 1: 'END' });
    expect(made.readiness()).toEqual({ ready: true, waiting: [], failed: [] });
    clock.advance(60_000);
    expect(statesOf(made, 'm')).toEqual({ 1: 'END' });
    makeVersion(root, 'm', 2);
    await made.loadModel('m');
    expect(statesOf(made, 'm')['2']).toBe('AVAILABLE');
    expect(versionOf(made, { name: 'n' })).toBe(1n);
  });

  it('has its labels again', async () => {
    const models = [makeModel(root, 'm', [1], { labels: { stable: 1n } })];
    const made = await serving(models);
    await made.reload({ models });
    await made.unloadModel('m');
    expect(refusal(() => made.acquire({ name: 'm', label: 'stable' }))).toBe(
      'INVALID_ARGUMENT Unrecognized servable version label: stable',
    );
    await made.loadModel('m');
    expect(versionOf(made, { name: 'm', label: 'stable' })).toBe(1n);
  });

  it('comes again with the next configuration, too', async () => {
    const models = [makeModel(root, 'm', [1])];
    const made = await serving(models);
    await made.unloadModel('m');
    await made.reload({ models });
    await until(made, () => statesOf(made, 'm')['1'] === 'AVAILABLE');
  });

  it('has a version loaded that came since, without a look at the interval', async () => {
    const made = await serving([makeModel(root, 'm', [1])], new FakeLoader(), {
      pollIntervalSeconds: 0,
    });
    makeVersion(root, 'm', 2);
    await made.loadModel('m');
    expect(versionOf(made, { name: 'm' })).toBe(2n);
  });

  it('is one of the configuration', async () => {
    const made = await serving([makeModel(root, 'm', [1])]);
    for (const name of ['x', '', '../m', path.join(root, 'm')]) {
      const text = `NOT_FOUND The configuration has no model ${name}`;
      expect(await rejection(made.loadModel(name))).toBe(text);
      expect(await rejection(made.unloadModel(name))).toBe(text);
    }
  });

  it('that cannot be loaded is told of, with the reason', async () => {
    const loader = new FakeLoader();
    const made = await serving([makeModel(root, 'm', [1])], loader, { maxLoadRetries: 0 });
    await made.unloadModel('m');
    loader.errors.set(path.join(root, 'm/1/model.onnx'), new Error('bad'));
    expect(await rejection(made.loadModel('m'))).toBe(
      'FAILED_PRECONDITION Model m did not become available: bad',
    );
  });

  it('that is unloaded while it is loaded ends the load', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [1])], loader);
    await made.start();
    await eventually(() => loader.loads.length === 1);
    const loading = rejection(made.loadModel('m'));
    await made.unloadModel('m');
    expect(await loading).toBe('ABORTED Model m was unloaded before it was available');
    expect(made.readiness()).toEqual({ ready: true, waiting: [], failed: [] });
  });

  it('is refused while the server closes', async () => {
    const made = await serving([makeModel(root, 'm', [1])]);
    made.beginStop();
    const text = 'UNAVAILABLE The server is shutting down';
    expect(await rejection(made.loadModel('m'))).toBe(text);
    expect(await rejection(made.unloadModel('m'))).toBe(text);
  });
});

describe('polling', () => {
  it('is done once where the interval is 0, and again at a reload', async () => {
    const model = makeModel(root, 'm', [1]);
    const made = await serving([model], new FakeLoader(), { pollIntervalSeconds: 0 });
    makeVersion(root, 'm', 2);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE' });
    await made.reload({ models: [{ ...model }] });
    await until(made, () => statesOf(made, 'm')['2'] === 'AVAILABLE');
  });

  it('waits the interval', async () => {
    const made = await serving([makeModel(root, 'm', [1])], new FakeLoader(), {
      pollIntervalSeconds: 30,
    });
    await eventually(() => clock.waiting.includes(30_000));
    expect(statesOf(made, 'm')).toEqual({ 1: 'AVAILABLE' });
  });
});

describe('closing', () => {
  it('lets requests end, gives everything back, and refuses new ones', async () => {
    const loader = new FakeLoader();
    const made = await serving([makeModel(root, 'a', [1]), makeModel(root, 'b', [1])], loader);
    const held = made.acquire({ name: 'a' });
    made.beginStop();
    expect(made.readiness().ready).toBe(false);
    expect(versionOf(made, { name: 'b' })).toBe(1n);
    const closing = made.close();
    expect(refusal(() => made.acquire({ name: 'b' }))).toBe(
      'UNAVAILABLE The server is shutting down',
    );
    expect(await rejection(made.reload({ models: [] }))).toBe(
      'UNAVAILABLE The server is shutting down',
    );
    await eventually(() => loader.models.filter(({ isClosed }) => isClosed).length === 1);
    held.release();
    await closing;
    expect(loader.models.every(({ isClosed }) => isClosed)).toBe(true);
    expect(loader.models.some(({ isDestroyed }) => isDestroyed)).toBe(false);
  });

  it('ends requests that do not end by themselves', async () => {
    const loader = new FakeLoader();
    const made = await serving([makeModel(root, 'm', [1])], loader);
    const held = made.acquire({ name: 'm' });
    const closing = made.close(2000);
    await eventually(() => clock.waiting.includes(2000));
    clock.advance(2000);
    await eventually(() => loader.models[0]?.isDestroyed === true);
    held.release();
    await closing;
    expect(statesOf(made, 'm')).toEqual({ 1: 'END' });
  });

  it('stops loads, and ends what waits for them', async () => {
    const loader = new FakeLoader({ held: true });
    const made = make([makeModel(root, 'm', [1])], loader);
    await made.start();
    const reloading = made.reload({
      models: [makeModel(root, 'm', []), makeModel(root, 'n', [1])],
    });
    await eventually(() => loader.loads.length === 2);
    const closing = made.close();
    expect(await rejection(reloading)).toBe('ABORTED The server is shutting down');
    await closing;
    expect(loader.loads).toHaveLength(0);
  });
});
