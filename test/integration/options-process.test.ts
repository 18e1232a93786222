import { describe, expect, it } from 'vitest';

import { runScript } from '../helpers/script.js';

const onLinux = process.platform === 'linux';

describe.runIf(onLinux)('global thread pools of ONNX Runtime', () => {
  it('serve all sessions, which add no thread of their own', async () => {
    const { reported, code, stderr } = await runScript(`
      configure({ onnxruntime: { globalThreadPools: { intraOp: 4 } } });
      const [first, ...early] = await Promise.all(
        Array.from({ length: 16 }, () => load(model('digits_cnn.onnx'))));
      for (const m of early) await m.close();
      const before = threadIds().length;
      const others = [];
      for (let i = 0; i < 3; i++) others.push(await load(model('digits_cnn.onnx'), { threads: { shared: true } }));
      report(threadIds().length - before);
      const own = await load(model('digits_cnn.onnx'), { threads: { intraOp: 3 } });
      report(threadIds().length - before);
      const images = new Float32Array(64);
      const [a, b] = await Promise.all([first, own].map((m) => m.run({ images })));
      report(Object.values(a)[0].data.every((v, i) => v === Object.values(b)[0].data[i]));
      for (const m of [first, own, ...others]) await m.close();
    `);
    expect({ code, reported }, stderr).toEqual({ code: 0, reported: [0, 2, true] });
  });

  it('have as many threads as they are given, on their CPUs', async () => {
    const { reported, stderr } = await runScript(`
      configure({ onnxruntime: { globalThreadPools: { intraOp: 3, affinity: [[0], [1]], spin: true, denormalAsZero: true } } });
      const before = new Set(threadIds());
      const m = await load(model('digits_cnn.onnx'));
      const cpus = () => threadIds().filter((id) => !before.has(id)).map((id) =>
        /Cpus_allowed_list:\\s*(\\S+)/.exec(fs.readFileSync('/proc/self/task/' + id + '/status', 'utf8'))[1]);
      const pinned = () => ['0', '1'].map((cpu) => cpus().filter((c) => c === cpu).length);
      // A thread goes to its CPUs when it first runs.
      while (pinned().join() !== '1,1') await new Promise((resolve) => setImmediate(resolve));
      report(pinned());
      await m.close();
    `);
    expect(reported, stderr).toEqual([[1, 1]]);
  });
});

describe('settings that ONNX Runtime fixes', () => {
  it('can be changed until the engine is opened, and not after it', async () => {
    const { reported, stderr } = await runScript(`
      configure({ onnxruntime: { logLevel: 'verbose', globalThreadPools: { intraOp: 2 } } });
      configure({ onnxruntime: { logLevel: 'error' } });
      const m = await load(model('digits_cnn.onnx'));
      report(await codeOf(() => configure({ onnxruntime: { logLevel: 'error' } })));
      report(await codeOf(() => configure({ onnxruntime: { globalThreadPools: { intraOp: 2 } } })));
      report(await codeOf(() => configure({ onnxruntime: { logLevel: 'info' } })));
      report(await codeOf(() => configure({ onnxruntime: { telemetry: true } })));
      report(await codeOf(() => configure({ onnxruntime: { globalThreadPools: { intraOp: 3 } } })));
      report(await codeOf(() => configure({ onnxruntime: { logger() {} } })));
      report(await codeOf(() => configure({ onnxruntime: {} })));
      await m.close();
    `);
    const late = 'ERR_TENON_CONFIGURE';
    expect(reported, stderr).toEqual(['no error', 'no error', late, late, late, late, 'no error']);
  });

  it('hold for every thread of the process, whichever sets them', async () => {
    const { reported, stderr } = await runScript(`
      import { Worker } from 'node:worker_threads';
      configure({ onnxruntime: { globalThreadPools: { intraOp: 2 } } });
      const worker = new Worker(\`
        const { parentPort, workerData } = require('node:worker_threads');
        import(workerData.tenon).then(async ({ load, configure }) => {
          const m = await load(workerData.model, { threads: { shared: true } });
          await m.close();
          let code = 'no error';
          try { configure({ onnxruntime: { logLevel: 'info' } }); } catch (error) { code = error.code; }
          parentPort.postMessage(code);
        }).catch((error) => parentPort.postMessage(String(error)));
      \`, { eval: true, execArgv: [], workerData: { tenon: tenonUrl, model: model('digits_cnn.onnx') } });
      worker.on('message', (code) => { report(code); worker.terminate(); });
    `);
    expect(reported, stderr).toEqual(['ERR_TENON_CONFIGURE']);
  });

  it('refuses what is no setting', async () => {
    const { reported, stderr } = await runScript(`
      for (const options of [
        { logger: 1 }, { onnxruntime: { logger: 1 } }, { onnxruntime: { logLevel: 'x' } },
        { onnxruntime: { globalThreadPools: { threads: 1 } } },
        { onnxruntime: { globalThreadPools: { intraOp: 0 } } },
        { onnxruntime: { providerLibraries: { x: '' } } },
        { tensorflow: { perSessionThreads: 1 } }, { tensorflow: { threads: 1 } },
      ]) report(await codeOf(() => configure(options)));
    `);
    expect(new Set(reported), stderr).toEqual(new Set(['ERR_TENON_INVALID_ARGUMENT']));
    expect(reported).toHaveLength(8);
  });
});

describe('the log of ONNX Runtime', () => {
  // The engine warns of this model's inputs that have defaults.
  const warned = 'appears in graph inputs';

  it('goes to the logger instead of stderr', async () => {
    const { code, reported, stderr } = await runScript(`
      const records = [];
      configure({ onnxruntime: { logLevel: 'warning', logger: (record) => records.push(record) } });
      const m = await load(fixture('lora/model.onnx'), { onnxruntime: { logId: 'mine' } });
      await m.close();
      while (!records.some(({ message }) => message.includes('${warned}'))) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      report(records.filter(({ message }) => message.includes('${warned}')));
    `);
    expect(code).toBe(0);
    expect(stderr).not.toContain(warned);
    const [records] = reported as [Record<string, string>[]];
    expect(records.length).toBeGreaterThanOrEqual(1);
    expect(records[0]).toMatchObject({ level: 'warning', category: 'onnxruntime' });
    expect(records[0]?.['location']).toContain('graph.cc');
  });

  it('goes to stderr again after null', async () => {
    const { stderr } = await runScript(`
      configure({ onnxruntime: { logLevel: 'warning', logger() { report('called'); } } });
      configure({ onnxruntime: { logger: null } });
      await (await load(fixture('lora/model.onnx'))).close();
    `);
    expect(stderr).toContain(warned);
  });

  it('is dropped and counted where it comes faster than it is taken', async () => {
    const { code, reported, stderr } = await runScript(`
      import { Worker } from 'node:worker_threads';
      let count = 0;
      let dropped = '';
      configure({ onnxruntime: { logLevel: 'verbose', logger({ category, message }) {
        count++;
        if (category === 'tenon') dropped = message;
      } } });
      // This thread stands still while another makes the engine write, about two hundred records
      // a load.
      const turn = new Int32Array(new SharedArrayBuffer(4));
      const worker = new Worker(\`
        const { workerData: { tenon, model, turn } } = require('node:worker_threads');
        Atomics.wait(turn, 0, 0);
        import(tenon).then(async ({ load }) => {
          for (let i = 0; i < 40; i++) await (await load(model)).close();
        }).finally(() => {
          Atomics.store(turn, 0, 2);
          Atomics.notify(turn, 0);
        });
      \`, { eval: true, execArgv: [], workerData: { tenon: tenonUrl, model: model('digits_cnn.onnx'), turn } });
      await new Promise((resolve) => worker.on('online', resolve));
      await (await load(model('digits_cnn.onnx'))).close();
      Atomics.store(turn, 0, 1);
      Atomics.notify(turn, 0);
      const waited = Atomics.wait(turn, 0, 1, 30_000);
      await new Promise((resolve) => worker.on('exit', resolve));
      while (dropped === '') await new Promise((resolve) => setImmediate(resolve));
      report({ waited, atLeast: count >= 4096, dropped: /^\\d+ records/.test(dropped) });
    `);
    expect({ code, reported }, stderr.slice(0, 2000)).toEqual({
      code: 0,
      reported: [{ waited: 'ok', atLeast: true, dropped: true }],
    });
  });

  it('keeps no process alive, and a logger that throws is an uncaught exception', async () => {
    const quiet = await runScript(`
      configure({ onnxruntime: { logLevel: 'verbose', logger() {} } });
      await load(model('digits_cnn.onnx'));
    `);
    expect(quiet.code, quiet.stderr).toBe(0);
    const thrown = await runScript(`
      process.on('uncaughtException', (error) => report(error.message));
      configure({ onnxruntime: { logLevel: 'warning', logger() { throw new Error('from the logger'); } } });
      await (await load(fixture('lora/model.onnx'))).close();
    `);
    expect(thrown.reported[0]).toBe('from the logger');
  });

  it('outlives the worker that asked for it', async () => {
    const { code, reported, stderr } = await runScript(`
      import { Worker } from 'node:worker_threads';
      const worker = new Worker(\`
        const { workerData } = require('node:worker_threads');
        import(workerData.tenon).then(async ({ load, configure }) => {
          configure({ onnxruntime: { logLevel: 'warning', logger() {} } });
          await (await load(workerData.model)).close();
          process.exit(0);
        });
      \`, { eval: true, execArgv: [], workerData: { tenon: tenonUrl, model: model('digits_cnn.onnx') } });
      await new Promise((resolve) => worker.on('exit', resolve));
      await (await load(fixture('lora/model.onnx'))).close();
      report('done');
    `);
    expect({ code, reported }, stderr).toEqual({ code: 0, reported: ['done'] });
    expect(stderr).toContain(warned);
  });
});

describe('what a session of ONNX Runtime is told', () => {
  it('is what it says it was told', async () => {
    // Each session writes its options to its log, at level "info".
    const told: [options: object, words: string[]][] = [
      [
        { threads: { intraOp: 1 } },
        [
          'execution_mode:0',
          'enable_mem_pattern:1',
          'enable_cpu_mem_arena:1',
          'graph_optimization_level:4',
          'thread_pool_size: 1 ',
          'use_per_session_threads:1',
          'use_deterministic_compute:0',
          'session.intra_op.allow_spinning: 0',
          'session.inter_op.allow_spinning: 0',
        ],
      ],
      [
        { threads: { intraOp: 3, interOp: 2, spin: true, affinity: [[0], [0]] } },
        [
          'execution_mode:1',
          'intra_op_param:OrtThreadPoolParams { thread_pool_size: 3',
          'inter_op_param:OrtThreadPoolParams { thread_pool_size: 2',
          'session.intra_op.allow_spinning: 1',
          'session.inter_op.allow_spinning: 1',
          'session.intra_op_thread_affinities: 1;1',
        ],
      ],
      [
        { onnxruntime: { memoryPattern: false } },
        ['enable_mem_pattern:0', 'enable_cpu_mem_arena:1'],
      ],
      [{ onnxruntime: { cpuArena: false } }, ['enable_mem_pattern:1', 'enable_cpu_mem_arena:0']],
      [{ onnxruntime: { deterministic: true } }, ['use_deterministic_compute:1']],
      [{ onnxruntime: { graphOptimizationLevel: 'disabled' } }, ['graph_optimization_level:0']],
      [{ onnxruntime: { graphOptimizationLevel: 'basic' } }, ['graph_optimization_level:1']],
      [{ onnxruntime: { graphOptimizationLevel: 'extended' } }, ['graph_optimization_level:2']],
      [{ onnxruntime: { graphOptimizationLevel: 'layout' } }, ['graph_optimization_level:3']],
      [{ onnxruntime: { logVerbosity: 2 } }, ['session_log_verbosity_level:2']],
      [
        {
          onnxruntime: {
            configEntries: { 'session.disable_prepacking': true, 'ep.mine.key': 'x' },
          },
        },
        ['session.disable_prepacking: 1', 'ep.mine.key: x'],
      ],
    ];
    const { code, reported, stderr } = await runScript(`
      const said = new Map();
      let arrived;
      configure({ onnxruntime: { logLevel: 'info', logger: ({ logId, message }) => {
        if (message.startsWith('Session Options')) said.set(logId, message);
        if (said.size === arrived?.count) arrived.resolve();
      } } });
      const told = ${JSON.stringify(told.map(([options]) => options))};
      const all = new Promise((resolve) => { arrived = { count: told.length, resolve }; });
      for (const [i, options] of told.entries()) {
        const onnxruntime = { logLevel: 'info', logId: 'session ' + i, ...options.onnxruntime };
        await (await load(model('digits_cnn.onnx'), { ...options, onnxruntime })).close();
      }
      await all;
      report(told.map((_, i) => said.get('session ' + i)));
    `);
    expect(code, stderr).toBe(0);
    const [said] = reported as [string[]];
    told.forEach(([, words], i) => {
      for (const word of words) expect(said[i]).toContain(word);
    });
  });

  it('is its own to say: a session that is told to say less says nothing', async () => {
    const { code, reported, stderr } = await runScript(`
      const ids = [];
      let arrived;
      configure({ onnxruntime: { logLevel: 'fatal', logger: ({ logId }) => { ids.push(logId); arrived(); } } });
      const loud = new Promise((resolve) => { arrived = resolve; });
      for (const [logId, logLevel] of [['usual', undefined], ['quiet', 'error'], ['loud', 'info']]) {
        const onnxruntime = { logId, ...(logLevel && { logLevel }) };
        await (await load(model('digits_cnn.onnx'), { onnxruntime })).close();
      }
      await loud;
      report([...new Set(ids)]);
    `);
    expect({ code, reported }, stderr).toEqual({ code: 0, reported: [['loud']] });
  });
});

describe('devices of ONNX Runtime', () => {
  it('are listed with their provider', async () => {
    const { reported, stderr } = await runScript(`
      report((await engines.devices()).map(({ provider, type, options, metadata }) =>
        [provider, type, typeof options, typeof metadata]));
    `);
    expect(reported[0], stderr).toContainEqual(['CPUExecutionProvider', 'cpu', 'object', 'object']);
  });

  it('cannot be had from a provider library that is not there', async () => {
    const { reported, stderr } = await runScript(`
      configure({ onnxruntime: { providerLibraries: { mine: '/nowhere/provider.so' } } });
      report(await codeOf(() => engines.devices()));
      report(await codeOf(() => load(model('digits_cnn.onnx'))));
    `);
    expect(reported, stderr).toEqual(['ERR_TENON_PROVIDER', 'ERR_TENON_PROVIDER']);
  });
});
