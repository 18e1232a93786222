import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { load } from '../../lib/model/load.js';
import { nativeAddon } from '../../lib/native/load.js';
import { ConfigProto } from '../../lib/protobuf/tensorflow-config.js';
import { errorOf } from '../helpers/errors.js';
import { foldableGraph, identityGraph } from '../helpers/graph-def.js';
import { modelPath } from '../helpers/paths.js';
import { runScript } from '../helpers/script.js';
import { temporaryFolder } from '../helpers/temporary.js';

const digits = modelPath('digits_cnn_tf');
const folder = temporaryFolder();

/** A library's log at level "info", and what one of its sources says verbosely. */
function talkative(source?: string): NodeJS.ProcessEnv {
  return {
    TF_CPP_MIN_LOG_LEVEL: '0',
    ...(source === undefined ? {} : { TF_CPP_VMODULE: `${source}=1` }),
  };
}

/** Runs the digits with these options of TensorFlow and reports the first probability. */
function digitsWith(options: object): string {
  return `
    const m = await load(model('digits_cnn_tf'), { tensorflow: ${JSON.stringify(options)} });
    report((await m.run({ images: new Float32Array(64) })).probabilities.data[0].toFixed(5));
    await m.close();
  `;
}

const expected = ['0.07762'];

describe('TensorFlow’s devices', () => {
  // The first session of this file's process, whose devices the engine remembers.
  it('are as many as deviceCount says', async () => {
    const model = await load(digits, { tensorflow: { deviceCount: { CPU: 3 } } });
    await model.close();
    const library = process.env['TENON_TEST_TENSORFLOW'] as string;
    const { devices } = await nativeAddon().describeEngine('tensorflow', library);
    expect(devices).toEqual(['/device:CPU:0', '/device:CPU:1', '/device:CPU:2']);
  });

  it('are named with each operation where logDevicePlacement asks for it', async () => {
    const silent = await runScript(digitsWith({}), { env: talkative() });
    const placed = await runScript(digitsWith({ logDevicePlacement: true }), { env: talkative() });
    expect([silent.reported, placed.reported]).toEqual([expected, expected]);
    expect(silent.stderr).not.toContain('Device mapping');
    expect(placed.stderr).toContain('Device mapping');
  });

  it('that are not there are done without where allowSoftPlacement says so', async () => {
    const file = path.join(folder, 'placed.pb');
    writeFileSync(file, identityGraph(1, '/device:GPU:7'));
    const y = async (allowSoftPlacement: boolean): Promise<unknown> => {
      const options = { inputs: ['x'], outputs: ['y'], allowSoftPlacement };
      await using model = await load(file, { tensorflow: options });
      return (await model.run({ x: [1, 2] }))['y']?.toArray();
    };
    const { code, message } = await errorOf(() => y(false));
    expect([code, message]).toEqual(['ERR_TENON_RUN', expect.stringContaining('GPU:7')]);
    expect(await y(true)).toEqual([1, 2]);
  });

  it('that are GPUs may have their options where there is none', async () => {
    const { reported, stderr } = await runScript(
      digitsWith({
        allowSoftPlacement: true,
        gpu: {
          memoryFraction: 0.5,
          allowGrowth: true,
          visibleDevices: [0],
          allocatorType: 'BFC',
          forceCompatible: true,
        },
      }),
    );
    expect(reported, stderr).toEqual(expected);
  });
});

describe('TensorFlow’s graphs', () => {
  it('are rewritten unless rewriter is false', async () => {
    const env = talkative('meta_optimizer');
    const rewritten = await runScript(digitsWith({}), { env });
    const plain = await runScript(digitsWith({ rewriter: false }), { env });
    expect([rewritten.reported, plain.reported]).toEqual([expected, expected]);
    const main = 'Starting optimization for grappler item: tf_graph';
    expect(rewritten.stderr).toContain(main);
    expect(plain.stderr).not.toContain(main);
  });

  it('are rewritten without what is switched off', async () => {
    const env = talkative('meta_optimizer');
    const steps = async (rewriter: object): Promise<string[]> => {
      const { reported, stderr } = await runScript(digitsWith({ rewriter }), { env });
      expect(reported).toEqual(expected);
      // The main graph's, which come first; functions carry a configuration of their own.
      const first = stderr.slice(0, stderr.indexOf('Optimized main graph'));
      return [...first.matchAll(/\] (\w+): Graph size after/g)].map(([, name]) => name as string);
    };
    const usual = await steps({});
    expect(usual).toContain('remapper');
    expect(usual).toContain('loop_optimizer');
    const fewer = await steps({ remapping: 'off', loopOptimization: 'off' });
    expect(fewer).not.toContain('remapper');
    expect(fewer).not.toContain('loop_optimizer');
    expect(fewer).toContain('constant_folding');
  });

  it('have their constants folded unless optimizerLevel is L0', async () => {
    const file = path.join(folder, 'foldable.pb');
    writeFileSync(file, foldableGraph());
    const additions = async (optimizerLevel: 'L0' | 'L1'): Promise<number> => {
      const options = { inputs: ['x'], outputs: ['y'], rewriter: false, optimizerLevel };
      await using model = await load(file, { tensorflow: options });
      const trace = { file: path.join(folder, `${optimizerLevel}.json`) };
      const { y } = await model.run({ x: [1, 2] }, { tensorflow: { trace } });
      expect(y?.toArray()).toEqual([3, 4]);
      const { traceEvents } = JSON.parse(readFileSync(trace.file, 'utf8')) as {
        traceEvents: { name: string }[];
      };
      return traceEvents.filter(({ name }) => name.includes('AddV2')).length;
    };
    expect([await additions('L0'), await additions('L1')]).toEqual([2, 1]);
  });

  it('are compiled by XLA where globalJitLevel and cpuGlobalJit ask for it', async () => {
    const env = talkative();
    // On a CPU the level alone does nothing.
    const plain = await runScript(digitsWith({ globalJitLevel: 'on2' }), { env });
    const compiled = await runScript(digitsWith({ globalJitLevel: 'on2', cpuGlobalJit: true }), {
      env,
    });
    expect([plain.reported, compiled.reported]).toEqual([expected, expected]);
    expect(plain.stderr).not.toContain('Compiled cluster using XLA');
    expect(compiled.stderr).toContain('Compiled cluster using XLA');
  });
});

describe('a run of TensorFlow', () => {
  it('ends after operationTimeoutMs, whenever the engine next looks', async () => {
    const model = await load(modelPath('tf_slow'), { tensorflow: { operationTimeoutMs: 50 } });
    const [[name] = ['']] = Object.entries(model.inputs);
    const { code, engineCode } = await errorOf(() =>
      model.run({ [name]: new Tensor('int64', BigInt64Array.of(2_000_000n), []) }),
    );
    // TensorFlow's number for DEADLINE_EXCEEDED.
    expect([code, engineCode]).toEqual(['ERR_TENON_RUN', 4]);
    await model.close();
  });
});

describe('a raw ConfigProto', () => {
  it('is laid over the typed options', async () => {
    const config = [...ConfigProto.encode({ logDevicePlacement: true })];
    const { stderr } = await runScript(
      `
        const m = await load(model('digits_cnn_tf'), { tensorflow: {
          logDevicePlacement: false, config: Uint8Array.from(${JSON.stringify(config)}) } });
        await m.close();
      `,
      { env: talkative() },
    );
    expect(stderr).toContain('Device mapping');
  });
});

describe.runIf(process.platform === 'linux')('thread pools of TensorFlow', () => {
  const pools = `
    const run = (m) => m.run({ images: new Float32Array(64) });
    const interOp = () => threads()['tf_Compute'] ?? 0;
  `;

  it.each([
    ['lanes', 1, 3, 3],
    ['intra-op threads', 3, 1, 3],
  ])('have an inter-op thread for each of the %s', async (_what, intraOp, lanes, expected) => {
    const { reported, stderr } = await runScript(`
      ${pools}
      const options = { threads: { intraOp: ${intraOp} }, pool: { lanes: ${lanes} } };
      await run(await load(model('digits_cnn_tf'), options));
      report(interOp());
    `);
    expect(reported, stderr).toEqual([expected]);
  });

  it('are made by the first session, and shared by those that ask for nothing', async () => {
    const { reported, stderr } = await runScript(`
      ${pools}
      const first = await load(model('digits_cnn_tf'), { threads: { intraOp: 5, interOp: 3 } });
      await run(first);
      report(interOp());
      const second = await load(model('digits_cnn_tf'));
      await run(second);
      report(interOp());
      const same = { threads: { intraOp: 5, interOp: 3, shared: true } };
      report(await codeOf(() => load(model('digits_cnn_tf'), same)));
      report(await codeOf(() => load(model('digits_cnn_tf'), { threads: { intraOp: 4 } })));
      report(await codeOf(() => load(model('digits_cnn_tf'), { threads: { interOp: 4 } })));
      report(await codeOf(() => load(model('digits_cnn_tf'), { threads: { shared: false } })));
      report(await codeOf(() => configure({ tensorflow: { perSessionThreads: true } })));
      report(await codeOf(() => configure({ tensorflow: { perSessionThreads: false } })));
    `);
    const refused = 'ERR_TENON_CONFIGURE';
    expect(reported, stderr).toEqual([
      3,
      3,
      'no error',
      refused,
      refused,
      refused,
      refused,
      'no error',
    ]);
  });

  it('are each session’s own with perSessionThreads, and end with it', async () => {
    const { reported, stderr } = await runScript(`
      ${pools}
      configure({ tensorflow: { perSessionThreads: true } });
      const first = await load(model('digits_cnn_tf'), { threads: { intraOp: 2, interOp: 3 } });
      await run(first);
      const before = [interOp(), threadIds().length];
      const second = await load(model('digits_cnn_tf'), { threads: { intraOp: 9, interOp: 4 } });
      await run(second);
      report([before[0], interOp(), threadIds().length - before[1] >= 4 + 9 - 1]);
      await second.close();
      report(interOp());
      report(await codeOf(() => load(model('digits_cnn_tf'), { threads: { shared: true } })));
      report(await codeOf(() => configure({ tensorflow: { perSessionThreads: false } })));
    `);
    const refused = 'ERR_TENON_CONFIGURE';
    expect(reported, stderr).toEqual([[3, 7, true], 3, refused, refused]);
  });
});
