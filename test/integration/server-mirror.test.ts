/** The models as a front-end thread sees them. */

import { expect, it } from 'vitest';

import { load } from '../../lib/index.js';
import { MirrorDirectory } from '../../lib/server/frontend/mirror.js';
import { modelPath } from '../helpers/paths.js';

it('lets go of a version that goes before it was attached to', async () => {
  await using model = await load(modelPath('simple_model.onnx'));
  const mirror = new MirrorDirectory(() => undefined);
  const versions = [2n, 1n].map((version) => ({
    version,
    state: 'AVAILABLE' as const,
    error: { status: 'OK' as const, message: '' },
  }));
  mirror.update({
    models: [{ name: 'm', versions, labels: {} }],
    readiness: { ready: true, waiting: [], failed: [] },
  });
  const add = (version: bigint): Promise<void> =>
    mirror.add({
      id: Number(version),
      name: 'm',
      version,
      share: model.share(),
      batching: false,
      signatureDefs: {},
      maxRows: undefined,
    });
  await Promise.all([add(1n), add(2n), mirror.remove(2)]);
  const held = mirror.acquire({ name: 'm' });
  expect(held.version).toBe(1n);
  held.release();
  await mirror.remove(1);
  expect(() => mirror.acquire({ name: 'm' })).toThrow('Servable not found for request: Latest(m)');
});
