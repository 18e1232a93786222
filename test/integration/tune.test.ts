import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { load, Tensor } from '../../lib/index.js';
import { tune } from '../../lib/tuner/index.js';
import { expectError } from '../helpers/errors.js';
import { modelPath, root } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/temporary.js';

const cli = path.join(root, 'dist/cli.js');
const digits = modelPath('digits_cnn.onnx');
const images = new Tensor('float32', new Float32Array(64), [1, 8, 8, 1]);

/** Few enough that a search takes seconds: what it finds is not looked at. */
const space = {
  intraOp: [1],
  spin: [false],
  lanes: [1],
  sessions: [1],
  batchSize: [0],
  graph: ['all' as const],
  providers: ['cpu'],
};

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(
  args: readonly string[],
  cwd: string,
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [cli, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...output }));
  return { child, ended };
}

describe('tenon tune', () => {
  let folder: string;
  let ended: Ended;

  beforeAll(async () => {
    folder = temporaryFolder();
    const args = [
      'tune',
      digits,
      ...['--max-minutes', '2', '--in-flight', '1,4', '--target-p99-ms', '9999'],
      ...['--seconds', '0.5'],
      ...['--space', JSON.stringify(space), '--report', 'report.html'],
    ];
    ended = await start(args, folder).ended;
  }, 120_000);

  it('ends well, with a ranking and its reason', () => {
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toContain('requests/s');
    expect(ended.stdout).toContain('Best throughput with p99 ≤ 9,999 ms: ');
    expect(ended.stderr).toContain('round 1, 1 of 1: ');
  });

  it('writes options that load() takes', async () => {
    const config = path.join(folder, 'digits_cnn.tenon.json');
    const { options, provenance } = JSON.parse(readFileSync(config, 'utf8')) as {
      options: object;
      provenance: Record<string, unknown>;
    };
    expect(options).toMatchObject({ onnxruntime: { graphOptimizationLevel: 'all' } });
    expect(provenance).toMatchObject({
      model: { file: 'digits_cnn.onnx' },
      engine: { name: 'onnxruntime' },
      objective: { for: 'throughput', targetP99Ms: 9999 },
      seed: 1,
    });
    await using model = await load(digits, { config });
    expect((await model.run({ images }))['probabilities']?.shape).toEqual([1, 10]);
  });

  it('writes a report', () => {
    const page = readFileSync(path.join(folder, 'report.html'), 'utf8');
    expect(page).toContain('<svg');
    expect(page).toContain('digits_cnn.onnx');
    expect(page).not.toContain('NaN');
  });

  it('keeps what it has at Ctrl-C', async () => {
    const own = temporaryFolder();
    const { child, ended: interrupted } = start(['tune', digits, '--max-minutes', '5'], own);
    // The first line of progress is the default's measurement.
    await once(child.stderr as NodeJS.ReadableStream, 'data');
    child.kill('SIGINT');
    const { code, stdout, stderr } = await interrupted;
    expect(code, stderr).toBe(130);
    expect(stdout).toContain('stopped');
    expect(stdout).toContain('That is the default.');
    await using model = await load(digits, { config: path.join(own, 'digits_cnn.tenon.json') });
    await model.run({ images });
  }, 60_000);

  it('is called wrongly without a word of a model', async () => {
    for (const [args, words] of [
      [['--target-p99-ms', '-1'], 'above 0'],
      [['--in-flight', '1,x'], '1 or more'],
      [['--for', 'speed'], 'throughput'],
      [['--space', '{'], 'JSON'],
      [['--input', 'images'], 'name=value'],
    ] as const) {
      const { code, stderr } = await start(['tune', digits, ...args], folder).ended;
      expect(code, stderr).toBe(2);
      expect(stderr).toContain(words);
    }
  });

  it('asks for a sample where it cannot make one up, and writes nothing', async () => {
    const own = temporaryFolder();
    const { code, stderr } = await start(['tune', modelPath('fails_in_run.onnx')], own).ended;
    expect(code).toBe(1);
    expect(stderr).toContain('expected a sample for input "index"');
    expect(stderr).toContain('[ERR_TENON_MISSING_FEED]');
    expect(existsSync(path.join(own, 'fails_in_run.tenon.json'))).toBe(false);
  });
});

describe('tune()', () => {
  it('tunes a SavedModel with the caller’s feeds', async () => {
    const result = await tune(modelPath('half_plus_two'), {
      feeds: { x: [1, 2, 3] },
      inFlight: [2],
      search: 'exhaustive',
      secondsPerPoint: 0.3,
      space: { intraOp: [1], lanes: [1], batchSize: [0] },
      for: 'latency',
    });
    expect(result).toMatchObject({
      engine: 'tensorflow',
      ended: 'done',
      failures: [],
      untried: [],
    });
    expect(result.ranked.length).toBe(result.configurations);
    expect(result.chosen.measurement.points[0]).toMatchObject({ inFlight: 2 });
    expect(result.options.threads?.intraOp).toBeGreaterThan(0);
  }, 60_000);

  it('fails as load() does', () =>
    expectError('ERR_TENON_MODEL_NOT_FOUND', () => tune('nowhere.onnx')));

  it('fails as a run does', () =>
    expectError('ERR_TENON_RUN', () =>
      tune(modelPath('fails_in_run.onnx'), { feeds: { index: [100n] }, space }),
    ));

  it('throws the reason of a signal before anything is measured', async () => {
    const signal = AbortSignal.abort(new DOMException('not now'));
    await expect(tune(digits, { signal })).rejects.toThrow('not now');
  });

  it.each([
    ['for', 'speed'],
    ['targetP99Ms', 0],
    ['inFlight', []],
    ['inFlight', [0]],
    ['maxMinutes', -1],
    ['secondsPerPoint', 0],
    ['seed', 0.5],
    ['search', 'all'],
    ['space', { lanes: [] }],
    ['space', { lanes: [0] }],
    ['space', { wheels: [4] }],
    ['load', { signal: 1 }],
    ['other', 1],
  ])('refuses %s of %j', (name, value) =>
    expectError('ERR_TENON_INVALID_ARGUMENT', () => tune(digits, { [name]: value }), name),
  );
});

describe('an options file', () => {
  const folder = temporaryFolder();
  const write = (content: unknown): string => {
    const file = path.join(folder, 'options.json');
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    return file;
  };

  it('is overlaid by the options beside it, one by one', async () => {
    const config = write({
      tenonConfig: 1,
      options: { threads: { intraOp: 1 }, pool: { lanes: 3, sessions: 2 }, inline: 'never' },
    });
    await using model = await load(digits, { config, pool: { lanes: 1 } });
    expect(model.stats().sessions.map(({ lanes }) => lanes)).toEqual([1, 1]);
    await model.run({ images });
    expect(model.stats().inlineRuns).toBe(0);
    await using plain = await load(digits, {
      config: new URL(`file://${config}`),
      pool: { sessions: 1 },
    });
    expect(plain.stats().sessions).toEqual([]);
  });

  it.each([
    ['no JSON', '{', 'JSON'],
    ['a list', [], 'options object'],
    ['no version', { options: {} }, 'tenonConfig'],
    ['another version', { tenonConfig: 2, options: {} }, 'tenonConfig'],
    ['no options', { tenonConfig: 1 }, '"options"'],
    ['a word of its own', { tenonConfig: 1, options: {}, more: 1 }, '"more"'],
    ['an option that is none of speed', { tenonConfig: 1, options: { signal: 1 } }, '"signal"'],
    [
      'an option that names a file',
      { tenonConfig: 1, options: { onnxruntime: { library: 'x.so' } } },
      '"library"',
    ],
    ['a wrong value', { tenonConfig: 1, options: { pool: { lanes: 'many' } } }, 'pool.lanes'],
  ])('with %s is refused by name', async (_, content, words) => {
    const config = write(content);
    await expectError('ERR_TENON_CONFIG', () => load(digits, { config }), 'options.json', words);
  });

  it('that is not there is refused, and so is what is no path', async () => {
    await expectError('ERR_TENON_CONFIG', () => load(digits, { config: 'nowhere.json' }));
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => load(digits, { config: 5 as never }));
    await expectError('ERR_TENON_INVALID_ARGUMENT', () =>
      load(digits, { config: new URL('http://localhost/x.json') }),
    );
  });
});
