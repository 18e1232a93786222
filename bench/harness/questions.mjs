// The questions, in the order they are asked: each a file of its own in bench/.
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { measureCalls } from './measure.mjs';

/**
 * @typedef {object} Settings
 * @property {number} rounds
 * @property {number} scale Of the length of blocks; below 1 for a quick look.
 *
 * @typedef {object} Limit A median that is to stay below a figure.
 * @property {string} measure
 * @property {string} of
 * @property {number} atMost
 *
 * @typedef {object} Question
 * @property {string} title
 * @property {string} asks
 * @property {import('./contender.mjs').Contender[]} contenders
 * @property {import('./measure.mjs').Ratio[]} ratios
 * @property {Limit[]} [limits]
 * @property {number} [blockMs] Length of one block.
 * @property {{ caption: string, unit: 'µs' | 'ms' | '1/s' }} [calls] What the calls of each
 *   contender are measured in …
 * @property {(settings: Settings & { question: string, contenders: any[], blockMs: number }) =>
 *   Promise<object>} [measure] … or another way to measure.
 */

export const names = [
  'tiny-sync',
  'tiny-async',
  'tiny-concurrent',
  'event-loop',
  'vision',
  'large-tensors',
  'tensorflow-tiny',
  'output-copy',
  'import-cost',
];

const defaultBlockMs = 60;

/**
 * Asks one question.
 *
 * @param {string} name
 * @param {Settings} settings
 */
export async function ask(name, { rounds, scale }) {
  const file = path.join(import.meta.dirname, '..', `${name}.mjs`);
  /** @type {{ default: Question }} */
  const { default: question } = await import(pathToFileURL(file));
  const { title, asks, contenders, ratios, limits = [], calls } = question;
  const settings = { rounds, scale, blockMs: (question.blockMs ?? defaultBlockMs) * scale };
  const measured = question.measure
    ? await question.measure({ question: file, contenders, ...settings })
    : await measureCalls(file, contenders, settings, calls);
  return { name, title, asks, rounds, skipped: [], ...compared(measured, ratios, limits) };
}

/** Leaves out the comparisons with contenders that were not there. */
function compared({ measures, ...rest }, ratios, limits) {
  const rowOf = (id, contender) =>
    measures.find((measure) => measure.id === id)?.rows.find((row) => row.contender === contender);
  return {
    ...rest,
    measures,
    ratios: ratios
      .map((ratio) => ({ ...ratio, measure: ratio.measure ?? 'calls' }))
      .filter(({ measure, of, to }) => rowOf(measure, of) && rowOf(measure, to)),
    limits: limits.filter(({ measure, of }) => rowOf(measure, of)),
  };
}
