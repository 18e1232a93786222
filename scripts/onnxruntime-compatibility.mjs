// The table of docs/onnxruntime.md: what onnxruntime-node and tenon/onnxruntime make of each option
// and each type, found out by running the same probes on both, each in processes of its own.
//
//   node scripts/onnxruntime-compatibility.mjs           prints the table
//   node scripts/onnxruntime-compatibility.mjs --write   puts it into the page
//   node scripts/onnxruntime-compatibility.mjs --check   fails where the page has another
import { Blob } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import prettier from 'prettier';

import { root } from './run-command.mjs';

const page = path.join(root, 'docs/onnxruntime.md');
const [begin, end] = ['<!-- compatibility: begin -->', '<!-- compatibility: end -->'];
const modules = {
  'onnxruntime-node 1.30': 'onnxruntime-node-engine',
  'tenon/onnxruntime': 'tenon/onnxruntime',
};

const [mode, ...rest] = process.argv.slice(2);
if (mode === '--probe') await probe(...rest);
else await main();

async function main() {
  const table = markdown(Object.values(modules).map(resultsOf));
  const text = readFileSync(page, 'utf8');
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
  if (from < begin.length || to < from) throw new Error(`expected the marks of a table in ${page}`);
  const options = { ...(await prettier.resolveConfig(page)), filepath: page };
  const fresh = await prettier.format(
    `${text.slice(0, from)}\n\n${table}\n\n${text.slice(to)}`,
    options,
  );
  if (mode === '--write') writeFileSync(page, fresh);
  else if (mode !== '--check') console.log(fresh.slice(fresh.indexOf(begin), fresh.indexOf(end)));
  else if (fresh !== text) {
    const lines = new Set(text.split('\n'));
    const others = fresh.split('\n').filter((line) => !lines.has(line));
    console.error(`The page has another table: run this with --write.\n${others.join('\n')}`);
    process.exit(1);
  }
}

/** A process that dies in a probe is its result; another goes on after it. */
function resultsOf(module) {
  const results = [];
  for (;;) {
    const { stdout, status, signal } = spawnSync(
      process.execPath,
      [fileURLToPath(import.meta.url), '--probe', module, String(results.length)],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 },
    );
    results.push(
      ...stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
    );
    if (status === 0) return results;
    results.push({ died: true, text: `the process ends: ${signal ?? `code ${status}`}` });
  }
}

function markdown([stock, own]) {
  const [first, second] = Object.keys(modules);
  const lines = [];
  let group;
  for (const [index, { group: next, name }] of rows().entries()) {
    if (next !== group) lines.push('', `**${next}**`, '', `| | ${first} | ${second} |`, '|-|-|-|');
    group = next;
    lines.push(`| ${name} | ${stock[index]?.text} | ${own[index]?.text} |`);
  }
  return lines.join('\n').trim();
}

async function probe(module, start) {
  const all = rows(await import(module), module);
  for (const { run } of all.slice(Number(start))) {
    let text;
    try {
      text = await run();
    } catch (error) {
      const { name, code, message } = error;
      text = `${name}${code?.startsWith?.('ERR_TENON') ? ` \`${code}\`` : `: ${short(message)}`}`;
    }
    console.log(JSON.stringify({ text }));
  }
  process.exit(0);
}

function short(message) {
  const line = message.split('\n')[0].replaceAll('|', '\\|');
  return line.length > 60 ? `${line.slice(0, 57)}…` : line;
}

/** The rows of the table, in order; without a module only their names. */
function rows(ort, module) {
  const list = [];
  let group;
  const row = (name, run) => list.push({ group, name, run });
  const fixture = (...names) => path.join(root, 'test/fixtures', ...names);
  const model = (...names) => fixture('models', ...names);
  const simple = model('simple_model.onnx');
  const quiet = { logSeverityLevel: 4 };
  const temporary = () => mkdtempSync(path.join(os.tmpdir(), 'tenon-compatibility-'));
  const withFolder = async (use) => {
    const folder = temporary();
    try {
      return await use(folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  const create = (options, source = simple) =>
    ort.InferenceSession.create(source, { ...quiet, ...options });
  const withSession = async (options, use, source) => {
    const session = await create(options, source);
    try {
      return await use(session);
    } finally {
      await session.release();
    }
  };
  const feed = () => ({ input: new ort.Tensor('float32', [1, 2, 3, 4], [1, 4]) });
  /** Counts threads started from now on. Those of a session before may still be listed for a moment. */
  const newThreads = () => {
    const before = new Set(readdirSync('/proc/self/task'));
    return () => readdirSync('/proc/self/task').filter((id) => !before.has(id)).length;
  };
  const slow = (n) => ({ n: new ort.Tensor('int64', [n], []) });
  const slowModel = model('slow.onnx');

  group = 'Session options';
  row('`executionProviders`: a name', () =>
    withSession({ executionProviders: ['cpu'] }, () => 'yes'),
  );
  row('… one that is not there, with others', async () => {
    const { warn } = console;
    let warned = false;
    console.warn = () => (warned = true);
    await withSession({ executionProviders: ['moon', 'cpu'] }, () => undefined);
    console.warn = warn;
    return warned ? 'left out with a warning' : 'left out';
  });
  row('… one that is not there, alone', () =>
    withSession({ executionProviders: ['moon'] }, () => 'left out'),
  );
  row('`intraOpNumThreads`', async () => {
    const started = newThreads();
    return withSession({ intraOpNumThreads: 9 }, () => (started() >= 8 ? 'yes' : 'ignored'));
  });
  row('`interOpNumThreads`, `executionMode`', async () => {
    const started = newThreads();
    const options = { intraOpNumThreads: 1, interOpNumThreads: 9, executionMode: 'parallel' };
    return withSession(options, () => (started() >= 8 ? 'yes' : 'ignored'));
  });
  row('`freeDimensionOverrides`', () =>
    withSession({ freeDimensionOverrides: { batch: 3 } }, ({ inputMetadata }) =>
      inputMetadata[0].shape[0] === 3 ? 'yes' : 'ignored',
    ),
  );
  row('`graphOptimizationLevel`, `optimizedModelFilePath`', () =>
    withFolder(async (folder) => {
      const sizeAt = (graphOptimizationLevel) => {
        const optimizedModelFilePath = path.join(folder, `${graphOptimizationLevel}.onnx`);
        const options = { graphOptimizationLevel, optimizedModelFilePath };
        return withSession(
          options,
          () => statSync(optimizedModelFilePath).size,
          model('digits_cnn.onnx'),
        );
      };
      return (await sizeAt('disabled')) === (await sizeAt('all')) ? 'ignored' : 'yes';
    }),
  );
  row('`enableProfiling`, `profileFilePrefix`', () =>
    withFolder((folder) =>
      withSession(
        { enableProfiling: true, profileFilePrefix: path.join(folder, 'profile') },
        async (session) => {
          await session.run(feed());
          const name = session.endProfiling();
          const [file] = readdirSync(folder);
          if (file === undefined) return 'ignored';
          JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
          return name === path.join(folder, file)
            ? '`endProfiling()` gives the file'
            : 'written; its name is lost';
        },
      ),
    ),
  );
  row('`extra`', async () => {
    const extra = { session: { load_model_format: 'ORT' } };
    return withSession({ extra }, () => 'ignored').catch(() => 'yes');
  });
  row('… a key that the engine does not have', () =>
    withSession({ extra: { session: { no_such_key: '1' } } }, () => 'kept and never read'),
  );
  row('`externalData`: bytes', async () => {
    const data = new Uint8Array(readFileSync(model('external_data/model.onnx.data')));
    const source = new Uint8Array(readFileSync(model('external_data/model.onnx')));
    return withSession({ externalData: [{ path: 'model.onnx.data', data }] }, () => 'yes', source);
  });
  row('`externalData`: files', () =>
    withSession(
      { externalData: ['model.onnx.data'] },
      () => 'yes',
      model('external_data/model.onnx'),
    ),
  );
  row('`externalData`: a Blob', async () => {
    const data = new Blob([readFileSync(model('external_data/model.onnx.data'))]);
    const source = new Uint8Array(readFileSync(model('external_data/model.onnx')));
    return withSession({ externalData: [{ path: 'model.onnx.data', data }] }, () => 'yes', source);
  });
  row('`preferredOutputLocation` where all memory is the CPU’s', () =>
    withSession({ preferredOutputLocation: 'gpu-buffer' }, async (session) => {
      const { output } = await session.run(feed());
      return `\`location\` is \`${output.location}\``;
    }),
  );
  row('`enableGraphCapture`', () => withSession({ enableGraphCapture: true }, () => 'ignored'));
  row('`logVerbosityLevel`: no number', () =>
    withSession({ logVerbosityLevel: 'x' }, () => 'ignored'),
  );

  group = 'Run options';
  row('`terminate: true`', () =>
    withSession({}, async (session) => {
      await session.run(feed(), { terminate: true });
      return 'ignored';
    }),
  );
  row('`terminate` set to true in mid-run', () =>
    withSession(
      {},
      async (session) => {
        const options = { terminate: false };
        const run = session.run(slow(300n), options);
        setTimeout(() => (options.terminate = true), 20);
        await run;
        return 'ignored';
      },
      slowModel,
    ),
  );
  row('`signal`', () =>
    withSession(
      {},
      async (session) => {
        const caller = new AbortController();
        const run = session.run(slow(300n), { signal: caller.signal });
        setTimeout(() => caller.abort(new Error('mine')), 20);
        return run.then(
          () => 'ignored',
          ({ message }) => (message === 'mine' ? 'rejects with its reason' : message),
        );
      },
      slowModel,
    ),
  );
  row('`extra`', () =>
    withSession({}, async (session) => {
      const extra = { memory: { enable_memory_arena_shrinkage: 'nonsense' } };
      return session.run(feed(), { extra }).then(
        () => 'ignored',
        () => 'yes',
      );
    }),
  );
  row('`tag`, `logSeverityLevel`, `logVerbosityLevel`', () =>
    withSession({}, async (session) => {
      await session.run(feed(), { tag: 'x', logSeverityLevel: 4, logVerbosityLevel: 1 });
      return 'taken';
    }),
  );

  group = 'Tensors fed and fetched, by element type';
  for (const { dtype, file, feeds } of typeCases(fixture)) {
    row(`\`${dtype}\``, async () => {
      if (feeds === undefined) return 'no kernel on the CPU';
      return withSession(
        {},
        async (session) => {
          await session.run(feeds(ort));
          return 'yes';
        },
        file,
      );
    });
  }

  group = 'Other values';
  const tensor = (...args) => new ort.Tensor(...args);
  const floats = (...values) => tensor('float32', values, [values.length]);
  row('a sequence fed', () =>
    withSession(
      {},
      async (session) => {
        const feeds = {
          parts: [floats(1, 2), floats(3)],
          position: tensor('int64', [1n], []),
          x: floats(1, 2, 3),
          lengths: tensor('int64', [1n, 2n], [2]),
        };
        const { at } = await session.run(feeds, ['at']);
        return at.data[0] === 3 ? 'yes' : 'wrong';
      },
      model('sequences.onnx'),
    ),
  );
  row('a map fed', () =>
    withSession(
      {},
      async (session) => {
        const feeds = { words: new Map([['a', 1]]), numbers: new Map([[1n, 2]]) };
        await session.run(feeds);
        return 'yes';
      },
      model('maps_in.onnx'),
    ),
  );
  row('an optional fed, without a value', () =>
    withSession(
      {},
      async (session) => {
        const { has } = await session.run({ maybe: null });
        return has.data[0] === 0 ? 'yes' : 'wrong';
      },
      model('optionals.onnx'),
    ),
  );
  row('an optional fetched, with a value', () =>
    withSession(
      {},
      async (session) => ((await session.run({ x: floats(1, 2) })).maybe ? 'yes' : 'wrong'),
      model('optional_out.onnx'),
    ),
  );
  row('a sequence of maps fetched', () =>
    withSession(
      {},
      async (session) => {
        await session.run({ probabilities: tensor('float32', [0.1, 0.2, 0.7], [1, 3]) });
        return 'yes';
      },
      model('maps.onnx'),
    ),
  );
  row('a tensor at location `cpu-pinned` fed', () =>
    withSession({}, async (session) => {
      const input = ort.Tensor.fromPinnedBuffer('float32', new Float32Array(4), [1, 4]);
      await session.run({ input });
      return 'yes';
    }),
  );

  group = 'Behaviour';
  row('`run()` and the event loop', () =>
    withSession(
      {},
      async (session) => {
        let turns = 0;
        const timer = setInterval(() => turns++, 1);
        await session.run(slow(300n));
        clearInterval(timer);
        return turns > 2 ? 'stays free' : 'stands still';
      },
      slowModel,
    ),
  );
  row('`runSync()`', () =>
    withSession({}, (session) => (session.runSync?.(feed()) === undefined ? 'none' : 'yes')),
  );
  row('a tensor given as a fetch', () =>
    withSession({}, async (session) => {
      const given = tensor('float32', [0], [1, 1]);
      const { output } = await session.run(feed(), { output: given });
      if (output !== given) return 'written, and copied into another that is returned';
      return output.data[0] === 0 ? 'returned, not written' : 'written in place and returned';
    }),
  );
  row('a large output', () =>
    withSession(
      {},
      async (session) => {
        const x = floats(...new Float32Array(2 ** 16));
        const { data } = (await session.run({ x }, ['twice'])).twice;
        const { Tensor: Own } = await import('tenon');
        return Own.isOwned(data) ? 'the engine’s memory, not copied' : 'copied';
      },
      model('same.onnx'),
    ),
  );
  const inWorker = (whatThen) => {
    const worker = `
      const { parentPort, workerData } = await import('node:worker_threads');
      const { InferenceSession, Tensor } = await import(workerData.module);
      const session = await InferenceSession.create(workerData.model, { logSeverityLevel: 4 });
      parentPort.postMessage('runs');
      setImmediate(() => session.run({ n: new Tensor('int64', [1500n], []) }).catch(() => {}));`;
    const script = `
      const { Worker } = await import('node:worker_threads');
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)})), {
        workerData: { module: import.meta.resolve(${JSON.stringify(module)}), model: ${JSON.stringify(slowModel)} },
      });
      worker.once('message', () => setTimeout(async () => { ${whatThen} }, 50));`;
    const file = path.join(root, 'build', `compatibility-${process.pid}.mjs`);
    writeFileSync(file, script);
    try {
      const { status, signal } = spawnSync(process.execPath, [file], {
        stdio: 'ignore',
        timeout: 30_000,
      });
      return status === 7 ? 'the exit code asked for' : `the process ends: ${signal ?? status}`;
    } finally {
      rmSync(file);
    }
  };
  row('`worker.terminate()` in mid-run', () =>
    inWorker('await worker.terminate(); process.exitCode = 7;'),
  );
  row('`process.exit(7)` while a worker runs', () => inWorker('process.exit(7);'));
  row('`release()` after `run()`, before its result', () =>
    withFolder(async () => {
      const session = await create({}, slowModel);
      const run = session.run(slow(100n));
      // The stock binding begins a run in the next turn of the loop, which a wait might be over before.
      await session.release();
      return run.then(
        () => 'the run ends first',
        () => 'the run fails',
      );
    }),
  );
  row('model without a file', async () => {
    const missing = path.join(os.tmpdir(), 'no-such-model.onnx');
    if (existsSync(missing)) throw new Error(`expected nothing at ${missing}`);
    return create({}, missing).catch(({ name, message }) =>
      /failed/.test(message) ? `${name}, “failed” in its message` : message,
    );
  });
  return list;
}

/** One model and its feeds for each element type of the fixtures. */
function typeCases(fixture) {
  const { cases } = JSON.parse(readFileSync(fixture('references.json'), 'utf8'));
  const files = readdirSync(fixture('models/dtypes')).filter((name) => name.endsWith('.onnx'));
  return files.sort().map((name) => {
    const dtype = name
      .replace('.onnx', '')
      .replace('float8_e8m0fnu', 'float8e8m0')
      .replace('_', '');
    const file = fixture('models/dtypes', name);
    const reference = cases.find(({ model }) => model === `models/dtypes/${name}`);
    if (reference === undefined) return { dtype, file };
    return { dtype, file, feeds: (ort) => feedsOf(ort, dtype, reference.feeds) };
  });
}

function feedsOf(ort, dtype, feeds) {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { data, shape }]) => {
      if (dtype === 'string') {
        const strings = data.map((text) => Buffer.from(text, 'base64').toString());
        return [name, new ort.Tensor('string', strings, shape)];
      }
      const carriers = {
        float32: Float32Array,
        float64: Float64Array,
        float16: Uint16Array,
        bfloat16: Uint16Array,
        int8: Int8Array,
        int16: Int16Array,
        uint16: Uint16Array,
        int32: Int32Array,
        uint32: Uint32Array,
        int64: BigInt64Array,
        uint64: BigUint64Array,
      };
      const Carrier = carriers[dtype] ?? Uint8Array;
      const isBig = dtype.endsWith('int64');
      const isPacked = /^u?int[24]$|^float4/.test(dtype);
      const perByte = isPacked ? 8 / (dtype.includes('2') && !dtype.includes('4') ? 2 : 4) : 1;
      const elements = new Carrier(Math.ceil(data.length / perByte));
      data.forEach((value, i) => {
        if (isBig) elements[i] = BigInt(value);
        else if (isPacked) {
          const width = 8 / perByte;
          elements[Math.floor(i / perByte)] |=
            (Number(value) & (2 ** width - 1)) << (width * (i % perByte));
        } else elements[i] = Number(value);
      });
      // What onnxruntime-common has no tensor for is given by its properties.
      const known =
        Object.hasOwn(carriers, dtype) || ['uint8', 'bool', 'int4', 'uint4'].includes(dtype);
      if (!known || dtype === 'bfloat16') {
        return [name, { type: dtype, dims: shape, data: elements, location: 'cpu' }];
      }
      return [name, new ort.Tensor(dtype, elements, shape)];
    }),
  );
}
