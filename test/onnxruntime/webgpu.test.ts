import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { describe, expect, it } from 'vitest';

import { driverEnvironment, whyNoProvider } from '../../scripts/vulkan-driver.mjs';
import { root } from '../helpers/paths.js';
import { runScript } from '../helpers/script.js';

// Tensors of the drop-in that stay on a device; the driver as in options-webgpu.test.ts.
const env = driverEnvironment();
const reason = whyNoProvider() ?? (env === undefined ? 'there is no Vulkan driver' : undefined);

const run = (body: string) =>
  runScript(
    `const { InferenceSession, Tensor: OrtTensor } =
       await import('${pathToFileURL(path.join(root, 'dist/onnxruntime.js')).href}');
     const x = (i) => new OrtTensor('float32', [Math.sin(i), Math.cos(i), 1], [1, 3]);
     const first = () => new OrtTensor('float32', new Float32Array(4), [1, 1, 4]);
     const onCpu = () => InferenceSession.create(model('rnn_state.onnx'));
     const onDevice = (preferredOutputLocation, options) => InferenceSession.create(
       model('rnn_state.onnx'), { executionProviders: ['webgpu'], preferredOutputLocation, ...options });
     ${body}`,
    { timeoutMs: 110_000, ...(env === undefined ? {} : { env }) },
  );

describe(`GPU tensors${reason === undefined ? '' : `: ${reason}`}`, { timeout: 120_000 }, () => {
  it.skipIf(reason !== undefined)(
    'go back in as feeds, and give the numbers of the CPU',
    async () => {
      const { code, reported, stderr } = await run(`
      const [cpu, device] = [await onCpu(), await onDevice({ new_state: 'gpu-buffer' })];
      let [here, there, most] = [first(), first(), 0];
      for (let i = 0; i < 50; i++) {
        const expected = await cpu.run({ x: x(i), state: here });
        const got = await device.run({ x: x(i), state: there });
        if (i > 0) there.dispose();
        [here, there] = [expected.new_state, got.new_state];
        got.y.data.forEach((value, k) => { most = Math.max(most, Math.abs(value - expected.y.data[k])); });
        if (i === 0) report([got.y.location, there.location, there.type, there.dims]);
      }
      report(most);
      const state = await there.getData(true);
      report(Math.max(...state.map((value, k) => Math.abs(value - here.data[k]))));
      report(there.location);
      await cpu.release();
      await device.release();
    `);
      expect(code, stderr).toBe(0);
      const [places, outputs, state, after] = reported;
      expect(places).toEqual(['cpu', 'gpu-buffer', 'float32', [1, 1, 4]]);
      expect(outputs).toBeLessThanOrEqual(1e-4);
      expect(state).toBeLessThanOrEqual(1e-4);
      expect(after).toBe('cpu');
    },
  );

  it.skipIf(reason !== undefined)('are fed and freed beside the runs of others', async () => {
    const { code, reported, stderr } = await run(`
      const cpu = await onCpu();
      const sessions = [await onDevice('gpu-buffer'), await onDevice('gpu-buffer')];
      const distances = await Promise.all(Array.from({ length: 8 }, async (_, k) => {
        let [here, there, most] = [first(), first(), 0];
        for (let i = 0; i < 60; i++) {
          const expected = await cpu.run({ x: x(i * k), state: here });
          const got = await sessions[k % 2].run({ x: x(i * k), state: there });
          if (i > 0) there.dispose();
          [here, there] = [expected.new_state, got.new_state];
          const y = await got.y.getData(true);
          y.forEach((value, j) => { most = Math.max(most, Math.abs(value - expected.y.data[j])); });
        }
        return most;
      }));
      report(Math.max(...distances));
      for (const session of [cpu, ...sessions]) await session.release();
    `);
    expect(code, stderr).toBe(0);
    expect(reported).toHaveLength(1);
    expect(reported[0]).toBeLessThanOrEqual(1e-4);
  });

  it.skipIf(reason !== undefined)('stay there where one location is said for all', async () => {
    const { code, reported, stderr } = await run(`
      const session = await onDevice('gpu-buffer');
      const { y, new_state } = await session.run({ x: x(1), state: first() });
      report([y.location, new_state.location]);
      report((await y.getData()).length);
      for (const tensor of [y, new_state]) tensor.dispose();
      await session.release();
    `);
    expect(code, stderr).toBe(0);
    expect(reported).toEqual([['gpu-buffer', 'gpu-buffer'], 2]);
  });

  it.skipIf(reason !== undefined)(
    'are refused once disposed, and when made elsewhere',
    async () => {
      const { code, reported, stderr } = await run(`
      const session = await onDevice('gpu-buffer');
      const { new_state: state } = await session.run({ x: x(1), state: first() });
      state.dispose();
      report(await codeOf(() => session.run({ x: x(2), state })));
      const foreign = OrtTensor.fromGpuBuffer({}, { dataType: 'float32', dims: [1, 1, 4] });
      report(await codeOf(() => session.run({ x: x(2), state: foreign })));
      await session.release();
    `);
      expect(code, stderr).toBe(0);
      expect(reported).toEqual(['ERR_TENON_DISPOSED', 'ERR_TENON_UNSUPPORTED']);
    },
  );

  it.skipIf(reason !== undefined)('come from every run, with enableGraphCapture, too', async () => {
    const { code, reported, stderr } = await run(`
      const [cpu, session] = [await onCpu(), await onDevice('gpu-buffer', { enableGraphCapture: true })];
      for (let i = 0; i < 3; i++) {
        const feeds = { x: x(i), state: first() };
        const [{ y: expected }, { y }] = [await cpu.run(feeds), await session.run(feeds)];
        report(Math.max(...(await y.getData()).map((value, k) => Math.abs(value - expected.data[k]))));
      }
      await cpu.release();
      await session.release();
    `);
    expect(code, stderr).toBe(0);
    expect(reported).toHaveLength(3);
    for (const distance of reported) expect(distance).toBeLessThanOrEqual(1e-4);
  });
});
