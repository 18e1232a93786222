// Loads and closes a small model over and over.
//   npm run soak -- load-close [--loads 10000]
import { load, Tensor } from 'tenon';

import { floatElements } from '../harness/engines.mjs';
import { modelPath } from '../models/index.mjs';
import { numbers, soak } from './soak.mjs';

const { loads } = numbers({ loads: 10_000 });
const model = modelPath('linear');
const x = new Tensor('float32', floatElements(4), [1, 4]);

await soak({
  name: 'load and close',
  unit: 'loads',
  total: loads,
  async work(amount) {
    for (let i = 0; i < amount; i++) {
      const loaded = await load(model);
      // A model that never ran has not started all it could leave behind.
      await loaded.run({ x });
      await loaded.close();
    }
  },
});
