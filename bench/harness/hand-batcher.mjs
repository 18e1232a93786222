// The batcher that a careful user of onnxruntime-node writes: requests that come while a run goes on
// leave together when it ends. Their elements go into one array, made once; each gets its own part
// of the output.
import { onnxruntimeNode } from './engines.mjs';

/**
 * @param {object} session An InferenceSession of onnxruntime-node.
 * @param {object} what
 * @param {string} what.input
 * @param {string} what.output
 * @param {string} what.dtype
 * @param {number[]} what.itemShape Of one item, without the batch.
 * @param {Float32ArrayConstructor | BigInt64ArrayConstructor} what.ElementArray
 * @param {number} what.maxBatchSize
 * @returns {(elements: Float32Array | BigInt64Array) => Promise<Float32Array>} Runs one item.
 */
export function handBatcher(
  session,
  { input, output, dtype, itemShape, ElementArray, maxBatchSize },
) {
  const { Tensor } = onnxruntimeNode();
  const itemSize = itemShape.reduce((product, dimension) => product * dimension, 1);
  const gathered = new ElementArray(maxBatchSize * itemSize);
  let waiting = [];
  let isRunning = false;

  async function runSome() {
    const batch = waiting.slice(0, maxBatchSize);
    waiting = waiting.slice(maxBatchSize);
    batch.forEach(({ elements }, row) => gathered.set(elements, row * itemSize));
    const elements = gathered.subarray(0, batch.length * itemSize);
    const feed = new Tensor(dtype, elements, [batch.length, ...itemShape]);
    try {
      const { data } = (await session.run({ [input]: feed }))[output];
      const size = data.length / batch.length;
      batch.forEach(({ resolve }, row) => resolve(data.slice(row * size, (row + 1) * size)));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  /** Those whose requests have just ended may bring new ones first. */
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

  async function runAll() {
    isRunning = true;
    await nextTurn();
    while (waiting.length > 0) {
      await runSome();
      await nextTurn();
    }
    isRunning = false;
  }

  return (elements) =>
    new Promise((resolve, reject) => {
      waiting.push({ elements, resolve, reject });
      if (!isRunning) void runAll();
    });
}
