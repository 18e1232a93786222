import { describe, expect, it } from 'vitest';

import { driverEnvironment, whyNoProvider } from '../../scripts/vulkan-driver.mjs';
import { runScript } from '../helpers/script.js';

// The machine's own Vulkan driver by VK_ICD_FILENAMES, or one in software. `npm test` installs
// none; scripts/vulkan-driver.mjs fetches one, which CI does first.
const env = driverEnvironment();
const reason =
  whyNoProvider() ??
  (env === undefined
    ? 'there is no Vulkan driver, which scripts/vulkan-driver.mjs fetches'
    : undefined);

/** Furthest that a number of the device may be from the CPU's: absolute, and of its size. */
const tolerance = 1e-4;

/** For the program of a child process: a model on both, and how far their numbers are apart. */
const helpers = `
  const onCpu = (name, options) => load(model(name), options);
  const onDevice = (name, options) => load(model(name), { executionProviders: ['webgpu'], ...options });
  const apart = (device, cpu) => {
    if (device.length !== cpu.length) return Infinity;
    return cpu.reduce((most, value, i) =>
      Math.max(most, Math.abs(value - device[i]) / (1 + Math.abs(value)) || (value === device[i] ? 0 : NaN)), 0);
  };
`;

const run = (body: string) =>
  runScript(helpers + body, { timeoutMs: 110_000, ...(env === undefined ? {} : { env }) });

describe(`WebGPU${reason === undefined ? '' : `: ${reason}`}`, { timeout: 120_000 }, () => {
  it.skipIf(reason !== undefined)(
    'gives the numbers of the CPU, and has nodes of its own',
    async () => {
      const { code, reported, stderr } = await run(`
        const images = Float32Array.from({ length: 2 * 64 }, (_, i) => (i % 17) / 17);
        const profile = path.join(os.tmpdir(), 'tenon-webgpu-' + process.pid + '.json');
        const numbers = async (m) => {
          const [output] = Object.values(await m.run({ images }));
          report(m.providers);
          await m.close();
          return [...output.data];
        };
        const cpu = await numbers(await onCpu('digits_cnn.onnx'));
        const options = { onnxruntime: { profiling: { file: profile } } };
        report(apart(await numbers(await onDevice('digits_cnn.onnx', options)), cpu));
        const events = JSON.parse(fs.readFileSync(profile, 'utf8'));
        fs.rmSync(profile);
        report(events.filter(({ args }) => args?.provider === 'WebGpuExecutionProvider').length);
      `);
      expect(code, stderr).toBe(0);
      expect(reported.slice(0, 2)).toEqual([
        ['CPUExecutionProvider'],
        ['WebGpuExecutionProvider', 'CPUExecutionProvider'],
      ]);
      expect(reported[2]).toBeLessThanOrEqual(tolerance);
      expect(reported[3]).toBeGreaterThan(0);
    },
  );

  it.skipIf(reason !== undefined).each([
    {
      file: 'rnn_state.onnx',
      x: [1, 3],
      result: ['y', [1, 2]],
      state: { state: ['new_state', [1, 1, 4]] },
      steps: 1000,
      grows: false,
    },
    {
      file: 'decoder_cache.onnx',
      x: [1, 8],
      result: ['logits', [1, 16]],
      state: {
        past_key: ['present_key', [1, 2, 1, 4]],
        past_value: ['present_value', [1, 2, 1, 4]],
      },
      // Each makes programs for new shapes.
      steps: 250,
      grows: true,
    },
  ])(
    'keeps the state of $file on the device for $steps steps, as the CPU has it',
    async ({ file, x, result, state, steps, grows }) => {
      const { code, reported, stderr } = await run(`
        const steps = ${steps};
        const [result, resultShape] = ${JSON.stringify(result)};
        const state = Object.entries(${JSON.stringify(state)});
        const x = Tensor.alloc('float32', ${JSON.stringify(x)});
        const places = { [result]: Tensor.alloc('float32', resultShape) };
        for (const [, [output]] of state) places[output] = 'engine';
        const step = async (m, feeds) => {
          const outputs = await m.run({ x, ...feeds }, { outputs: places });
          for (const tensor of Object.values(feeds)) tensor.dispose();
          return Object.fromEntries(state.map(([input, [output]]) => [input, outputs[output]]));
        };
        const first = () => Object.fromEntries(
          state.map(([input, [, shape]]) => [input, Tensor.alloc('float32', shape)]));
        const cpu = await onCpu(${JSON.stringify(file)});
        const device = await onDevice(${JSON.stringify(file)});
        let [onHost, kept] = [first(), first()];
        let [most, devices] = [0, new Set()];
        for (let i = 0; i < steps; i++) {
          x.data.forEach((_, k) => { x.data[k] = Math.sin(i + k); });
          onHost = await step(cpu, onHost);
          const expected = [...places[result].data];
          places[result].data.fill(0);
          kept = await step(device, kept);
          most = Math.max(most, apart([...places[result].data], expected));
          for (const tensor of Object.values(kept)) devices.add(tensor.location + ' ' + tensor.device);
        }
        report(most);
        report([...devices]);
        for (const [input] of state) {
          const [there, here] = [await kept[input].toHost(), await onHost[input].toHost()];
          report([there.shape, apart([...there.data], [...here.data])]);
        }
        const { runs, feedBytesCopied, outputBytesCopied } = device.stats();
        report([runs, feedBytesCopied, outputBytesCopied]);
        await cpu.close();
        await device.close();
      `);
      expect(code, stderr).toBe(0);
      const [most, devices, ...rest] = reported as [number, string[], ...unknown[]];
      expect(most).toBeLessThanOrEqual(tolerance);
      expect(devices).toEqual([expect.stringMatching(/^engine WebGPU/i)]);
      const counts = rest.pop();
      for (const [[, , length], distance] of rest as [number[], number][]) {
        expect(distance).toBeLessThanOrEqual(tolerance);
        if (grows) expect(length).toBe(steps + 1);
      }
      expect(counts).toEqual([steps, 0, 0]);
    },
  );

  it.skipIf(reason !== undefined)(
    'runs several models side by side, while states are freed and models come and go',
    async () => {
      const { code, reported, stderr } = await run(`
        const cpu = await onCpu('rnn_state.onnx');
        const devices = [await onDevice('rnn_state.onnx'), await onDevice('rnn_state.onnx')];
        const outputs = { y: 'host', new_state: 'engine' };
        const chain = async (m, seed) => {
          let [here, there, most] = [Tensor.alloc('float32', [1, 1, 4]), Tensor.alloc('float32', [1, 1, 4]), 0];
          for (let i = 0; i < 60; i++) {
            const x = Tensor.from([[Math.sin(i * seed), Math.cos(i), 1]], 'float32');
            const expected = await cpu.run({ x, state: here }, { outputs });
            const got = await m.run({ x, state: there }, { outputs });
            for (const state of [here, there]) state.dispose();
            [here, there] = [expected.new_state, got.new_state];
            most = Math.max(most, apart([...got.y.data], [...expected.y.data]));
            if (i % 10 === 9) {
              // Read, and taken to the host to be fed, beside the runs of the others.
              most = Math.max(most, apart([...(await there.toHost()).data], [...(await here.toHost()).data]));
              const { y } = await cpu.run({ x, state: there });
              most = Math.max(most, apart([...y.data], [...(await cpu.run({ x, state: here })).y.data]));
            }
          }
          return most;
        };
        const visits = async () => {
          for (let i = 0; i < 4; i++) await (await onDevice('rnn_state.onnx')).close();
          return 0;
        };
        const distances = await Promise.all(
          [visits(), ...Array.from({ length: 8 }, (_, k) => chain(devices[k % 2], k + 1))]);
        report(Math.max(...distances));
        for (const m of [cpu, ...devices]) await m.close();
      `);
      expect(code, stderr).toBe(0);
      expect(reported).toHaveLength(1);
      expect(reported[0]).toBeLessThanOrEqual(tolerance);
    },
  );

  it.skipIf(reason !== undefined)('refuses LoRA adapters for outputs left there', async () => {
    const { code, reported, stderr } = await run(`
      const m = await load(fixture('lora/model.onnx'), {
        executionProviders: ['webgpu'],
        onnxruntime: { loraAdapters: { one: fixture('lora/one.onnx_adapter') } },
      });
      const x = Float32Array.of(1, 2, 3);
      const with_ = (outputs) => m.run({ x }, { outputs, onnxruntime: { loraAdapters: ['one'] } });
      report([...(await with_({ y: 'host' })).y.data]);
      report(await codeOf(() => with_({ y: 'engine' })));
      const binding = await m.bind({ x }, { onnxruntime: { loraAdapters: ['one'] } });
      report([...(await binding.run()).y.data]);
      await m.close();
    `);
    expect({ code, reported }, stderr).toEqual({
      code: 0,
      reported: [[4, 5.75, 4.5], 'ERR_TENON_UNSUPPORTED', [4, 5.75, 4.5]],
    });
  });

  it.skipIf(whyNoProvider() !== undefined)(
    'without a driver fails the load, or is left out and noted',
    async () => {
      const { code, reported, stderr } = await runScript(
        `
          report(await codeOf(() => load(model('digits_cnn.onnx'), { executionProviders: ['webgpu'] })));
          const m = await load(model('digits_cnn.onnx'), {
            executionProviders: ['webgpu'],
            allowProviderFallback: true,
          });
          report(m.providers);
          report(m.providerFallbacks.map(({ provider }) => provider));
          await m.close();
          // A broken model is no fault of the provider's.
          report(await codeOf(() => load(fixture('broken/truncated.onnx'), {
            executionProviders: ['webgpu'], allowProviderFallback: true })));
        `,
        { env: { VK_ICD_FILENAMES: '/nowhere.json', VK_DRIVER_FILES: '/nowhere.json' } },
      );
      expect({ code, reported }, stderr).toEqual({
        code: 0,
        reported: [
          'ERR_TENON_PROVIDER',
          ['CPUExecutionProvider'],
          ['webgpu'],
          'ERR_TENON_MODEL_INVALID',
        ],
      });
    },
  );
});
