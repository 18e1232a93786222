// What the soaks share: work in steps, with resident memory watched after the first part of it.
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { getHeapStatistics } from 'node:v8';

const largestGrowth = 0.02;
const reports = 10;

if (typeof globalThis.gc !== 'function') throw new Error('expected npm run soak -- <name>');

/** The numbers given on the command line, or else their defaults. */
export function numbers(defaults) {
  const { values } = parseArgs({
    options: Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' }])),
  });
  const given = Object.entries(values).map(([name, value]) => [name, Number(value)]);
  for (const [name, value] of given) {
    if (!(value > 0)) throw new Error(`expected a number above 0 for --${name}`);
  }
  return { ...defaults, ...Object.fromEntries(given) };
}

/** Resident memory once everything that can go has gone: finalizers need turns of the loop. */
async function resident() {
  for (let turn = 0; turn < 5; turn++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, external } = process.memoryUsage();
  // What JavaScript's heap has resident, free or not.
  return { rss, external, heap: getHeapStatistics().total_physical_size, files: residentFiles() };
}

/** What is resident of mapped files: code and constants, read in as they are first used. */
function residentFiles() {
  const status = '/proc/self/status';
  if (!existsSync(status)) return 0;
  return 1024 * Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))?.[1] ?? 0);
}

/**
 * Calls `work` until `total` is done, and ends the process with 1 where resident memory has grown
 * by more than 2 % since `warmUp` was.
 *
 * @param {object} soak
 * @param {string} soak.name
 * @param {string} soak.unit
 * @param {number} soak.total
 * @param {(amount: number) => Promise<void> | void} soak.work
 * @param {number} [soak.warmUp] Default: 1 % of the total.
 */
export async function soak({ name, unit, total, work, warmUp = total / 100 }) {
  console.log(`${name}: ${total} ${unit}`);
  const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  const show = (done, { rss, external, heap, files }) =>
    console.log(
      `${`${Number(done.toPrecision(4))} ${unit}`.padStart(20)}   resident ${megabytes(rss)}   ` +
        `external ${megabytes(external)}   heap ${megabytes(heap)}   files ${megabytes(files)}`,
    );
  await work(warmUp);
  const first = await resident();
  show(warmUp, first);
  let last = first;
  const step = (total - warmUp) / reports;
  for (let report = 1; report <= reports; report++) {
    await work(step);
    last = await resident();
    show(warmUp + report * step, last);
  }
  const growth = last.rss / first.rss - 1;
  const kept = growth <= largestGrowth;
  console.log(
    `${name}: ${(growth * 100).toFixed(2)} % after the first ${Number(((warmUp / total) * 100).toFixed(1))} %` +
      ` (${kept ? 'within' : 'more than'} ${largestGrowth * 100} %)`,
  );
  process.exitCode = kept ? 0 : 1;
}
