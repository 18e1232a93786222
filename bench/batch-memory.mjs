import { readFileSync, writeFileSync } from 'node:fs';

import { load, Tensor } from 'tenon';

import { floatElements, onnxruntimeNodeSession } from './harness/engines.mjs';
import { handBatcher } from './harness/hand-batcher.mjs';
import { interleave, withContenders } from './harness/measure.mjs';
import { Unavailable } from './harness/unavailable.mjs';
import { modelPath } from './models/index.mjs';

const batchSize = 32;
const itemShape = [3, 224, 224];
const itemSize = 3 * 224 * 224;
const imageBytes = itemSize * Float32Array.BYTES_PER_ELEMENT;
const batchBytes = batchSize * imageBytes;
const batchesPerBlock = 20;
const warmUpBatches = 20;
const pageBytes = 4096;
const model = () => modelPath('image-means');

/** Most memory this process has had resident since the last call of `forgetPeak`, in bytes. */
function peak() {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
}

const forgetPeak = () => writeFileSync('/proc/self/clear_refs', '5');

/**
 * Blocks of batches, each with what a batch took: time, what was counted, memory newly mapped (each
 * of its pages faults once) and the rise of resident memory over all of them.
 *
 * @param {() => Promise<unknown>} runBatch
 * @param {() => { copied?: number, allocations?: number }} [count] Bytes copied and buffers
 *   allocated so far, where they are counted.
 */
function observed(runBatch, count = () => ({})) {
  if (process.platform !== 'linux') throw new Unavailable('peaks of memory are read from /proc');
  return async (batches) => {
    globalThis.gc();
    forgetPeak();
    const memory = peak();
    const before = count();
    const faults = process.resourceUsage().minorPageFault;
    const start = process.hrtime.bigint();
    for (let i = 0; i < batches; i++) await runBatch();
    const nanoseconds = Number(process.hrtime.bigint() - start);
    const faulted = process.resourceUsage().minorPageFault - faults;
    const { copied, allocations } = count();
    return {
      ms: nanoseconds / batches / 1e6,
      copied: copied === undefined ? undefined : (copied - before.copied) / batches / batchBytes,
      allocations: allocations === undefined ? undefined : allocations - before.allocations,
      mapped: (faulted * pageBytes) / batches / batchBytes,
      grown: (peak() - memory) / batchBytes,
    };
  };
}

/** Requests of one image each, which leave together. */
const tenon = (name, makeImage, options) => ({
  name: `tenon: ${name}`,
  execArgv: ['--expose-gc'],
  async open() {
    const loaded = await load(model(), {
      threads: { intraOp: 1 },
      pool: { lanes: 1 },
      batching: { maxBatchSize: batchSize },
    });
    const images = Array.from({ length: batchSize }, makeImage);
    const runBatch = () => Promise.all(images.map((image) => loaded.run({ image }, options)));
    const count = () => {
      const { feedBytesCopied, gatherAllocations } = loaded.stats();
      return { copied: feedBytesCopied, allocations: gatherAllocations };
    };
    return { block: observed(runBatch, count) };
  },
});

function allocated() {
  const image = Tensor.alloc('float32', [1, ...itemShape]);
  image.data.set(floatElements(itemSize));
  return image;
}
const callers = () => new Tensor('float32', floatElements(itemSize), [1, ...itemShape]);

const owned = 'tenon: batching, Tensor.alloc images';
const peer = 'onnxruntime-node: hand-written batcher';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: `Batching: the memory of ${batchSize} images`,
  asks:
    `What does it cost to gather ${batchSize} images of ${Math.round(imageBytes / 1000)} KB into one ` +
    'batch? Each request brings an image; the model only takes the mean of each channel. All is ' +
    'given in sizes of the batch: 1 is every image once. Newly mapped memory is counted by page ' +
    'faults, so memory that is taken and given back each time shows; resident memory is the highest ' +
    `in ${batchesPerBlock} batches, less that before them.`,
  contenders: [
    tenon('batching, Tensor.alloc images', allocated),
    tenon('batching, callers’ Float32Arrays', callers),
    tenon('batching, callers’ Float32Arrays, borrowed', callers, { borrow: true }),
    {
      name: 'tenon: unbatched, Tensor.alloc images',
      execArgv: ['--expose-gc'],
      async open() {
        const loaded = await load(model(), { threads: { intraOp: 1 }, pool: { lanes: 1 } });
        const images = Array.from({ length: batchSize }, allocated);
        const runAll = () => Promise.all(images.map((image) => loaded.run({ image })));
        return { block: observed(runAll, () => ({ copied: loaded.stats().feedBytesCopied })) };
      },
    },
    {
      name: peer,
      execArgv: ['--expose-gc'],
      async open() {
        const session = await onnxruntimeNodeSession(model());
        const run = handBatcher(session, {
          input: 'image',
          output: 'means',
          dtype: 'float32',
          itemShape,
          ElementArray: Float32Array,
          maxBatchSize: batchSize,
        });
        const images = Array.from({ length: batchSize }, () => floatElements(itemSize));
        return { block: observed(() => Promise.all(images.map(run))) };
      },
    },
  ],
  comparisons: [
    {
      figure: `gathering ${batchSize} images: bytes copied, by the counter, in sizes of the batch`,
      kind: 'median',
      measure: 'copied',
      unit: '×',
      of: owned,
      target: { atMost: 1 },
    },
    {
      figure: `the same: gather buffers allocated in ${batchesPerBlock} batches`,
      kind: 'median',
      measure: 'allocations',
      unit: '',
      of: owned,
      target: { atMost: 0 },
    },
    // JavaScript's own garbage in between is some hundredths; a buffer for each batch would be 1.
    {
      figure: 'the same: memory newly mapped for each batch',
      kind: 'median',
      measure: 'mapped',
      unit: '×',
      of: owned,
      target: { atMost: 0.05 },
    },
    {
      figure: `the same: growth of resident memory in ${batchesPerBlock} batches`,
      kind: 'median',
      measure: 'grown',
      unit: '×',
      of: owned,
      target: { atMost: 0.2 },
    },
    { measure: 'ms', of: owned, to: peer },
  ],
  measure: ({ question, contenders, rounds }) =>
    withContenders(question, contenders, async (open) => {
      for (const { block } of open) await block(warmUpBatches);
      const results = await interleave(open, rounds, ({ block }) => block(batchesPerBlock));
      const measure = (id, name, caption, unit) => ({
        id,
        name,
        caption,
        unit,
        better: 'lower',
        rows: [...results]
          .map(([contender, blocks]) => ({ contender, samples: blocks.map((one) => one[id]) }))
          .filter(({ samples }) => samples.every((sample) => sample !== undefined)),
      });
      const measures = [
        measure('ms', 'time', 'Time of a batch', 'ms'),
        measure('copied', 'copied', 'Bytes counted as copied', '×'),
        measure(
          'allocations',
          'allocations',
          `Gather buffers allocated in ${batchesPerBlock} batches`,
          '',
        ),
        measure('mapped', 'newly mapped', 'Memory newly mapped for a batch', '×'),
        measure('grown', 'growth', `Growth of resident memory in ${batchesPerBlock} batches`, '×'),
      ];
      return { measures: measures.filter(({ rows }) => rows.length > 0) };
    }),
};
