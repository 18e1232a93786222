// What users of onnxruntime-node build to use several cores: worker threads, each with a session.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

const script = new URL('./onnxruntime-node-worker.mjs', import.meta.url);

/**
 * Starts `count` workers and returns a function that has one of them, the one with the least to do,
 * run the model on a Float32Array, which is cloned on its way.
 *
 * @param {number} count
 * @param {{ model: string, options: object, input: string, output: string, shape: number[] }} what
 * @returns {Promise<(data: Float32Array) => Promise<Float32Array>>}
 */
export async function onnxruntimeNodeWorkers(count, what) {
  const workers = await Promise.all(
    Array.from({ length: count }, async () => {
      const worker = new Worker(script, { workerData: what });
      await once(worker, 'message');
      // A worker answers in order.
      const waiting = [];
      worker.on('message', (outputs) => waiting.shift()(outputs));
      return { worker, waiting };
    }),
  );
  return (data) => {
    const { worker, waiting } = workers.reduce((a, b) =>
      b.waiting.length < a.waiting.length ? b : a,
    );
    return new Promise((resolve) => {
      waiting.push(resolve);
      worker.postMessage(data);
    });
  };
}
