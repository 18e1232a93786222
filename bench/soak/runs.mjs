// Runs a tiny model, half of the calls on its lanes and half on this thread.
//   node bench/soak/runs.mjs [--runs 1000000]      (10000000 takes some minutes)
import { load, Tensor } from 'tenon';

import { floatElements } from '../harness/engines.mjs';
import { modelPath } from '../models/index.mjs';
import { numbers, soak } from './soak.mjs';

const inFlight = 64;
const { runs } = numbers({ runs: 1_000_000 });
const model = await load(modelPath('linear'), { threads: { intraOp: 1 } });
const feeds = { x: new Tensor('float32', floatElements(4), [1, 4]) };

await soak({
  name: 'runs',
  unit: 'runs',
  total: runs,
  async work(amount) {
    for (let done = 0; done < amount; done += 2 * inFlight) {
      await Promise.all(Array.from({ length: inFlight }, () => model.run(feeds)));
      for (let i = 0; i < inFlight; i++) model.runSync(feeds);
    }
  },
});
await model.close();
