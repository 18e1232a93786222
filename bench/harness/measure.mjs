// Interleaved blocks: A B C, A B C, … so that what the machine does meanwhile meets all alike.
import { openContender } from './contender.mjs';

const microsecond = 1e3;
const second = 1e9;

/**
 * @typedef {object} Row
 * @property {string} contender
 * @property {number[]} samples One a round, in the unit of its measure.
 *
 * @typedef {object} Measure
 * @property {string} id
 * @property {string} [name] Which of several it is, in words; the id by default.
 * @property {string} caption
 * @property {string} unit
 * @property {'lower' | 'higher'} better
 * @property {Row[]} rows
 */

/**
 * Opens contenders, gives them to `use`, and closes them whatever happens.
 *
 * @param {string} question
 * @param {import('./contender.mjs').Contender[]} contenders
 */
export async function withContenders(question, contenders, use) {
  // At once: starting a process and loading a model are not what is measured.
  const opened = await Promise.allSettled(
    contenders.map((contender) => openContender(question, contender)),
  );
  const there = opened.flatMap(({ value }) => value ?? []);
  const open = there.filter(({ unavailable }) => unavailable === undefined);
  try {
    const failed = opened.find(({ status }) => status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const skipped = there
      .filter(({ unavailable }) => unavailable !== undefined)
      .map(({ name, unavailable }) => ({ contender: name, reason: unavailable }));
    return { ...(await use(open)), skipped };
  } finally {
    await Promise.all(open.map((contender) => contender.close()));
  }
}

/**
 * Calls that fill a block: doubled until one lasts a quarter of it, which warms up as well, and
 * then scaled.
 */
export async function calibrate(contender, blockMs) {
  const wanted = blockMs * 1e6;
  for (let count = 1; ; count *= 2) {
    const nanoseconds = await contender.block(count);
    if (nanoseconds >= wanted / 4) return Math.max(1, Math.ceil((count * wanted) / nanoseconds));
  }
}

/** One block of each contender a round. Returns contender → results, one a round. */
export async function interleave(contenders, rounds, blockOf) {
  const results = new Map(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      results.get(contender.name).push(await blockOf(contender));
    }
  }
  return results;
}

/**
 * The measure of most questions: the time of one call, or calls a second.
 *
 * @param {{ caption: string, unit: 'µs' | 'ms' | '1/s' }} what
 * @returns {Promise<{ measures: Measure[], skipped: object[] }>}
 */
export function measureCalls(question, contenders, settings, what) {
  return withContenders(question, contenders, async (open) => ({
    measures: [await measureOpen(open, settings, { id: 'calls', ...what })],
  }));
}

/**
 * The same of contenders that are open.
 *
 * @param {{ id: string, name?: string, caption: string, unit: 'µs' | 'ms' | '1/s' }} what
 * @returns {Promise<Measure>}
 */
export async function measureOpen(open, { rounds, blockMs }, what) {
  const counts = new Map();
  for (const contender of open) {
    // A calibration on cold code asks for too few calls, so there is a second one.
    await calibrate(contender, blockMs);
    counts.set(contender.name, await calibrate(contender, blockMs));
  }
  const results = await interleave(open, rounds, async (contender) => {
    const count = counts.get(contender.name);
    return inUnit(await contender.block(count), count, what.unit);
  });
  const rows = [...results].map(([contender, samples]) => ({ contender, samples }));
  return { better: what.unit === '1/s' ? 'higher' : 'lower', ...what, rows };
}

/**
 * Of blocks that give several delays, one of them.
 *
 * @param {Map<string, Record<string, number>[]>} results Contender → blocks: delays by id, in ms.
 * @param {string} id
 * @param {string} name For readers.
 * @returns {Measure}
 */
export function delayMeasure(results, id, name) {
  return {
    id,
    name,
    caption: `Delay, ${name} of each block`,
    unit: 'ms',
    better: 'lower',
    rows: [...results].map(([contender, blocks]) => ({
      contender,
      samples: blocks.map((block) => block[id]),
    })),
  };
}

function inUnit(nanoseconds, count, unit) {
  switch (unit) {
    case '1/s':
      return (count * second) / nanoseconds;
    case 'ms':
      return nanoseconds / count / microsecond / 1e3;
    default:
      return nanoseconds / count / microsecond;
  }
}
