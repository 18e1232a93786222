import { batchingQuestion, encoder } from './harness/batching.mjs';

/** @type {import('./harness/questions.mjs').Question} */
export default batchingQuestion(encoder, {
  title: 'Batching: a transformer encoder',
  asks:
    'How many texts of 16 tokens a second does a sentence encoder (6 layers, 384 wide) serve, when ' +
    'each request brings one? Ready-made batches are what is in flight as one tensor, or one for ' +
    'each lane, without gathering or handing out: no batcher can do better. Tenon’s batching has ' +
    'its defaults. The hand-written batcher for onnxruntime-node gathers what comes during a run, ' +
    'up to 32, into an array made once, and slices the output.',
  blockMs: 400,
});
