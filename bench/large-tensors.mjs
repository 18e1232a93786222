import { readFileSync, writeFileSync } from 'node:fs';

import { load, Tensor } from 'tenon';

import { floorOnnx, onnxruntimeNode, onnxruntimeNodeSession } from './harness/engines.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { Unavailable } from './harness/unavailable.mjs';
import { modelPath } from './models/index.mjs';

const size = 64 * 2 ** 20;
const byteLength = size * Float32Array.BYTES_PER_ELEMENT;
const megabytes = byteLength / 2 ** 20;
const model = () => modelPath('identity');

/** Most memory this process has had resident since the last call of `forgetPeak`, in bytes. */
function peak() {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
}

const forgetPeak = () => writeFileSync('/proc/self/clear_refs', '5');

/**
 * Blocks of `call`, each with the time, how far resident memory rose above what it was before the
 * first call, and what the model counted as copied.
 *
 * @param {() => unknown} call
 * @param {() => number | undefined} [copiedBytes]
 */
function observed(call, copiedBytes = () => undefined) {
  if (process.platform !== 'linux') throw new Unavailable('peaks of memory are read from /proc');
  const before = process.memoryUsage.rss();
  return async (count) => {
    // The output of the block before is garbage, but what settled its promise may still hold it
    // in this turn, and finalizers run in a later one.
    for (let turn = 0; turn < 3; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc();
    }
    await new Promise((resolve) => setImmediate(resolve));
    const copiedBefore = copiedBytes();
    forgetPeak();
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) await call();
    const nanoseconds = Number(process.hrtime.bigint() - start);
    const copied = copiedBytes();
    return {
      nanoseconds,
      grown: (peak() - before) / byteLength,
      copied: copied === undefined ? undefined : (copied - copiedBefore) / byteLength / count,
    };
  };
}

/** Bytes of feeds and outputs that the model has copied so far. */
const counter = (loaded) => () => {
  const { feedBytesCopied, outputBytesCopied } = loaded.stats();
  return feedBytesCopied + outputBytesCopied;
};

const tenon = (name, makeFeed, run) => ({
  name: `tenon: ${name}`,
  execArgv: ['--expose-gc'],
  async open() {
    const loaded = await load(model(), { threads: { intraOp: 1 } });
    const feeds = { x: makeFeed().fill() };
    return { block: observed(run(loaded, feeds), counter(loaded)) };
  },
});

const filled = (tensor) => ({
  fill() {
    tensor.data.fill(1.5);
    return tensor;
  },
});
const allocated = () => filled(Tensor.alloc('float32', [size]));
const callers = () => filled(new Tensor('float32', new Float32Array(size)));

const engineAlone = 'C: Run';
const ownMemory = 'tenon: await run, Tensor.alloc feed';
const peer = 'onnxruntime-node: await run';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: `A feed and an output of ${megabytes} MB`,
  asks:
    `What do ${megabytes} MB in and ${megabytes} MB out cost? The model is one Identity node, so ` +
    'the engine itself writes the output once. Memory is the highest resident size during a call, ' +
    'less that before the first one, when only the feed was there, in sizes of the tensor: 1 is ' +
    'the output alone.',
  contenders: [
    {
      name: engineAlone,
      floor: { load: () => floorOnnx(model(), { openDimensions: [size] }), mode: 'run' },
    },
    tenon('runSync, Tensor.alloc feed', allocated, (loaded, feeds) => () => loaded.runSync(feeds)),
    tenon('await run, Tensor.alloc feed', allocated, (loaded, feeds) => () => loaded.run(feeds)),
    tenon('await run, caller’s Float32Array', callers, (loaded, feeds) => () => loaded.run(feeds)),
    tenon('runSync, into a tensor', allocated, (loaded, feeds) => {
      const options = { outputs: { y: Tensor.alloc('float32', [size]) } };
      return () => loaded.runSync(feeds, options);
    }),
    {
      name: peer,
      execArgv: ['--expose-gc'],
      async open() {
        const session = await onnxruntimeNodeSession(model());
        const { Tensor: OrtTensor } = onnxruntimeNode();
        const feeds = { x: new OrtTensor('float32', new Float32Array(size).fill(1.5), [size]) };
        return { block: observed(() => session.run(feeds)) };
      },
    },
  ],
  comparisons: [
    {
      figure: `${megabytes} MB in from \`Tensor.alloc\`, ${megabytes} MB out: bytes copied, by the counter`,
      kind: 'median',
      measure: 'copied',
      unit: '×',
      of: ownMemory,
      target: { atMost: 0 },
    },
    {
      figure: 'the same by resident memory: growth in sizes of the output',
      kind: 'median',
      measure: 'grown',
      unit: '×',
      of: ownMemory,
      target: { atMost: 1.05 },
    },
    { of: ownMemory, to: peer },
    { of: ownMemory, to: engineAlone },
    { measure: 'grown', of: ownMemory, to: peer },
  ],
  measure: ({ question, contenders, rounds }) =>
    withContenders(question, contenders, async (open) => {
      // Memory the engine keeps for its next call is there from the first one on.
      for (const { block } of open) await block(1);
      const results = await interleave(open, rounds, async (contender) => {
        const result = await contender.block(1);
        return typeof result === 'number' ? { nanoseconds: result } : result;
      });
      const rows = (value) =>
        [...results]
          .map(([contender, blocks]) => ({ contender, samples: blocks.map(value) }))
          .filter(({ samples }) => samples.every((sample) => sample !== undefined));
      const measures = [
        {
          id: 'calls',
          caption: 'Time of one call',
          unit: 'ms',
          better: 'lower',
          rows: rows(({ nanoseconds }) => nanoseconds / 1e6),
        },
        {
          id: 'grown',
          caption: 'Memory one call takes, in sizes of the tensor',
          unit: '×',
          better: 'lower',
          rows: rows(({ grown }) => grown),
        },
        {
          id: 'copied',
          caption: 'Bytes Tenon counts as copied, in sizes of the tensor',
          unit: '×',
          better: 'lower',
          rows: rows(({ copied }) => copied),
        },
      ];
      return { measures: measures.filter((measure) => measure.rows.length > 0) };
    }),
};
