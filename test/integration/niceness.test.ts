/** How far native threads give way to the event loop's, as Linux tells it of each. */

import { describe, expect, it } from 'vitest';

import { createPool, load } from '../../lib/index.js';
import { runScript } from '../helpers/child.js';
import { expectError } from '../helpers/errors.js';
import { modelPath } from '../helpers/paths.js';

/**
 * How many threads of a process are by how many steps nicer than its event loop's: once `setUp` has
 * loaded a model, and after `run`.
 */
async function threadsByNiceness(setUp: string, run: string): Promise<unknown> {
  const { stdout, stderr } = await runScript(`
    const own = livingThreads().find(({ id }) => id === String(process.pid)).niceness;
    const counts = () => {
      const counts = {};
      for (const { niceness } of livingThreads()) {
        const steps = niceness - own;
        if (steps > 0) counts[steps] = (counts[steps] ?? 0) + 1;
      }
      return counts;
    };
    ${setUp}
    const loaded = counts();
    ${run}
    console.log(JSON.stringify([loaded, counts()]));
    process.exit(0);
  `);
  return JSON.parse(stdout || stderr);
}

const engineThread = `threads: { intraOp: 2 }, pool: { lanes: 1 }`;
// A lane takes note of a run, and gives way, after its result is on its way: before the next run.
const longRuns = 'for (let i = 0; i < 2; i++) await m.run({ n: 60n });';

describe.runIf(process.platform === 'linux')('niceness', () => {
  it('makes threads of the engine give way from the load on, a lane from its long runs on', async () => {
    const setUp = `const m = await load(model('slow.onnx'), { ${engineThread}, niceness: 7 });`;
    expect(await threadsByNiceness(setUp, longRuns)).toEqual([{ 7: 1 }, { 7: 2 }]);
  });

  it('is 5 unless told otherwise', async () => {
    const setUp = `const m = await load(model('slow.onnx'), { ${engineThread} });`;
    expect(await threadsByNiceness(setUp, longRuns)).toEqual([{ 5: 1 }, { 5: 2 }]);
  });

  it('of 0 leaves every thread as nice as the process', async () => {
    const setUp = `const m = await load(model('slow.onnx'), { ${engineThread}, niceness: 0 });`;
    expect(await threadsByNiceness(setUp, longRuns)).toEqual([{}, {}]);
  });

  it('of a shared pool is that of its lanes', async () => {
    const setUp = `
      const shared = tenon.createPool({ lanes: 1, niceness: 3 });
      const m = await load(model('slow.onnx'), { threads: { intraOp: 2 }, pool: { shared }, niceness: 6 });`;
    expect(await threadsByNiceness(setUp, longRuns)).toEqual([{ 6: 1 }, { 3: 1, 6: 1 }]);
  });
});

describe('niceness', () => {
  it('is a number of steps that Linux has', async () => {
    await expectError('ERR_TENON_INVALID_ARGUMENT', () => createPool({ niceness: 20 }));
    await expectError('ERR_TENON_INVALID_ARGUMENT', () =>
      load(modelPath('simple_model.onnx'), { niceness: -1 }),
    );
  });
});
