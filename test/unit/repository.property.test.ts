/**
 * Random schedules of what storage, loads, requests and configurations may do to a repository. A
 * schedule is settled by its seed and by what the file system takes how long for; set
 * TENON_REPOSITORY_SEED to run one again.
 */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';

import { expect, it } from 'vitest';

import { StatusError } from '../../lib/codec/status.js';
import type { ModelConfig, VersionPolicy } from '../../lib/server/config/model-config.js';
import type { ServedModel } from '../../lib/server/models.js';
import { aspiredVersions } from '../../lib/server/repository/aspired-versions.js';
import { Repository } from '../../lib/server/repository/repository.js';
import { randomOf } from '../helpers/random.js';
import {
  eventually,
  type FakeModel,
  FakeLoader,
  makeModel,
  makeVersion,
  statesOf,
  TestClock,
  TestLog,
} from '../helpers/repository.js';
import { temporaryFolder } from '../helpers/temporary.js';

const root = temporaryFolder();
const schedules = 40;
const steps = 150;
const given = process.env['TENON_REPOSITORY_SEED'];

function holds(condition: boolean, what: string): void {
  if (!condition) throw new Error(`expected: ${what}`);
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function runSchedule(seed: number): Promise<{ requests: number; swaps: number }> {
  const random = randomOf(seed);
  const folder = path.join(root, String(seed));
  const names = ['a', 'b'];
  const policies: VersionPolicy[] = [
    { kind: 'latest', numVersions: 1 },
    { kind: 'latest', numVersions: 2 },
    { kind: 'all' },
    { kind: 'specific', versions: [1n, 2n, 3n] },
  ];
  let models: ModelConfig[] = names.map((name) =>
    makeModel(folder, name, [1 + random.below(3)], { versionPolicy: random.pick(policies) }),
  );
  const loader = new FakeLoader({ held: true });
  const clock = new TestClock();
  const repository = new Repository({
    config: { models },
    load: loader.load,
    clock,
    log: new TestLog(),
    maxLoadRetries: 1,
    loadThreads: 1 + random.below(3),
  });

  const held = new Map<ServedModel, FakeModel>();
  const closed = new Set<FakeModel>();
  /** Models that serve and have to go on, because a version has been wanted all the time. */
  const isUp = new Map<string, boolean>();
  let requests = 0;

  const check = (): void => {
    for (const model of held.values()) holds(!model.isClosed, 'a version that is held stays');
    for (const model of loader.models) if (model.isClosed) closed.add(model);
  };
  const wants = (name: string): boolean => {
    const config = models.find((model) => model.name === name);
    if (config === undefined) return false;
    const present = readdirSync(config.basePath).map((entry) => ({
      version: BigInt(entry),
      path: entry,
      key: entry,
    }));
    return aspiredVersions(config.versionPolicy, present).versions.length > 0;
  };
  /** Where nothing is wanted any more, that has to be seen before something is again. */
  const lookAtWants = async (): Promise<void> => {
    for (const name of names) {
      if (wants(name)) continue;
      isUp.set(name, false);
      await eventually(() => {
        check();
        // A load that is stopped ends when what it loaded is closed.
        for (const model of closed) model.finishClosing();
        const states = Object.values(statesOf(repository, name));
        return states.every((state) => state === 'END' || state === 'UNLOADING');
      });
    }
  };
  const acquire = (name: string): void => {
    try {
      const hold = repository.acquire({ name });
      requests++;
      const model = hold.model as unknown as FakeModel;
      holds(!model.isClosed, 'what is acquired is open');
      holds(model.source.includes(`/${name}/${hold.version}/`), 'what is acquired is what it says');
      held.set(hold, model);
      isUp.set(name, true);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      holds(isUp.get(name) !== true, `${name} goes on serving`);
    }
  };

  await repository.start();
  for (let step = 0; step < steps; step++) {
    const action = random.next();
    const name = random.pick(names);
    const version = 1 + random.below(6);
    if (action < 0.12) {
      makeVersion(folder, name, version);
    } else if (action < 0.2) {
      rmSync(path.join(folder, name, String(version)), { recursive: true, force: true });
      await lookAtWants();
    } else if (action < 0.45) {
      if (loader.loads.length > 0) {
        const load = random.pick(loader.loads);
        if (random.chance(0.75)) load.succeed().closesAtOnce = random.chance(0.5);
        else load.fail(new Error('bad'));
      }
    } else if (action < 0.65) {
      acquire(name);
    } else if (action < 0.8) {
      if (held.size > 0) {
        const hold = random.pick([...held.keys()]);
        held.delete(hold);
        hold.release();
      }
    } else if (action < 0.86) {
      for (const model of closed) model.finishClosing();
    } else if (action < 0.9) {
      clock.advance(60_000);
    } else if (action < 0.93) {
      const kept = names.filter(() => random.chance(0.85));
      models = kept.map((each) =>
        makeModel(folder, each, [], { versionPolicy: random.pick(policies) }),
      );
      void repository.reload({ models }).catch(() => undefined);
      await lookAtWants();
    }
    await turns(random.below(12));
    check();
    for (const each of names) {
      if (isUp.get(each) === true) acquire(each);
    }
  }

  let isClosed = false;
  const closing = repository.close(120_000).then(() => (isClosed = true));
  await turns(20);
  check();
  for (const hold of held.keys()) hold.release();
  held.clear();
  while (!isClosed) {
    await turns(1);
    check();
    for (const model of closed) model.finishClosing();
  }
  await closing;
  holds(
    loader.models.every(({ isClosed }) => isClosed),
    'everything is given back',
  );
  holds(
    loader.models.every(({ isDestroyed }) => !isDestroyed),
    'nobody is cut off',
  );
  rmSync(folder, { recursive: true });
  return { requests, swaps: loader.models.length };
}

it('a model serves on as long as a version is wanted, and no version goes while it is held', async () => {
  const seeds = given === undefined ? Array.from({ length: schedules }, (_, i) => i) : [given];
  let requests = 0;
  let swaps = 0;
  for (const seed of seeds) {
    try {
      const result = await runSchedule(Number(seed));
      requests += result.requests;
      swaps += result.swaps;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  // The schedules are of the kind that is meant.
  expect(requests / seeds.length).toBeGreaterThan(10);
  expect(swaps / seeds.length).toBeGreaterThan(3);
});
