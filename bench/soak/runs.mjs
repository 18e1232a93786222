// Runs a tiny model: a third of the calls on its lanes, a third where they are shortest, a third on
// this thread.
//   npm run soak -- runs [--runs 10000000]
import { load, Tensor } from 'tenon';

import { floatElements } from '../harness/engines.mjs';
import { modelPath } from '../models/index.mjs';
import { numbers, soak } from './soak.mjs';

const inFlight = 64;
const { runs } = numbers({ runs: 10_000_000 });
const threads = { intraOp: 1 };
const model = await load(modelPath('linear'), { threads });
const onLanes = await load(modelPath('linear'), { threads, inline: 'never' });
const feeds = { x: new Tensor('float32', floatElements(4), [1, 4]) };
const atOnce = (run) => Promise.all(Array.from({ length: inFlight }, run));

await soak({
  name: 'runs',
  unit: 'runs',
  total: runs,
  async work(amount) {
    for (let done = 0; done < amount; done += 3 * inFlight) {
      await atOnce(() => onLanes.run(feeds));
      await atOnce(() => model.run(feeds));
      for (let i = 0; i < inFlight; i++) model.runSync(feeds);
    }
  },
});
await Promise.all([model.close(), onLanes.close()]);
