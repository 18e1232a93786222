// The questions, in the order they are asked: each a file of its own in bench/.
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { measureCalls } from './measure.mjs';

/**
 * @typedef {object} Settings
 * @property {number} rounds
 * @property {number} scale Of the length of blocks; below 1 for a quick look.
 *
 * @typedef {object} Question
 * @property {string} title
 * @property {string} asks
 * @property {import('./contender.mjs').Contender[]} contenders
 * @property {import('./comparisons.mjs').Comparison[]} comparisons
 * @property {number} [blockMs] Length of one block.
 * @property {{ caption: string, unit: 'µs' | 'ms' | '1/s' }} [calls] What the calls of each
 *   contender are measured in …
 * @property {(settings: Settings & { question: string, contenders: any[], blockMs: number }) =>
 *   Promise<Measured>} [measure] … or another way to measure.
 * @property {(count: number, contender: object) => any} [askFor] What a contender's block is asked
 *   for `count` calls, for a profile; the count by default.
 *
 * @typedef {object} Measured
 * @property {import('./measure.mjs').Measure[]} measures
 * @property {{ contender: string, reason: string }[]} [skipped]
 * @property {Record<string, string>} [waived] Figures whose target does not apply, and why.
 * @property {object[]} [charts] Instead of bars of the first measure; see chart.mjs.
 * @property {string[][][]} [tables] Instead of a table for each measure.
 * @property {string[]} [notes]
 */

export const names = [
  'tiny-sync',
  'tiny-async',
  'tiny-concurrent',
  'event-loop',
  'vision',
  'large-tensors',
  'tensorflow-tiny',
  'import-cost',
  'drop-in-calls',
  'drop-in-loop',
  'drop-in-load',
  'batching-encoder',
  'batching-mlp',
  'batching-lone',
  'batcher-cost',
  'batch-memory',
  'latency-throughput',
  'output-copy',
  'json-codec',
  'rest-predict',
  'rest-images',
  'recording',
  'oip-rest',
  'rest-loop',
  'rest-batching',
  'grpc-predict',
  'oip-grpc',
  'rest-threads',
  'version-swap',
  'page-polling',
];

const defaultBlockMs = 60;

export const fileOf = (name) => path.join(import.meta.dirname, '..', `${name}.mjs`);

/**
 * @param {string} name
 * @returns {Promise<Question & { name: string }>}
 */
export async function question(name) {
  const { default: found } = await import(pathToFileURL(fileOf(name)));
  return { name, ...found };
}

/**
 * Asks one question.
 *
 * @param {string} name
 * @param {Settings} settings
 */
export async function ask(name, { rounds, scale }) {
  const asked = await question(name);
  const { title, asks, contenders, comparisons, calls } = asked;
  const settings = { rounds, scale, blockMs: (asked.blockMs ?? defaultBlockMs) * scale };
  const measured = asked.measure
    ? await asked.measure({ question: fileOf(name), contenders, ...settings })
    : await measureCalls(fileOf(name), contenders, settings, calls);
  return { name, title, asks, rounds, scale, comparisons, skipped: [], ...measured };
}
