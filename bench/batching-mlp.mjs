import { batchingQuestion, mlp } from './harness/batching.mjs';
import { cores } from './harness/engines.mjs';

/** @type {import('./harness/questions.mjs').Question} */
export default batchingQuestion(mlp, {
  title: 'Batching: a multilayer perceptron',
  asks:
    'The same of a model that takes about a tenth of a millisecond: 784 → 512 → 512 → 256 → 10. ' +
    'Contenders as for the encoder; onnxruntime-node with one thread and with all, because so ' +
    'little work may not be worth sharing.',
  blockMs: 120,
  peerThreads: cores > 1 ? [1, cores] : [1],
});
