/** The batcher and what it is made from, which the package does not export. */
export { Batcher } from '../../lib/batching/batcher.js';
export { resolveBatching } from '../../lib/batching/options.js';
export { planSignature } from '../../lib/batching/signature.js';
export { Tickets } from '../../lib/runner.js';
