import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { runScript } from '../helpers/script.js';

// A Vulkan driver in software: SwiftShader, as Debian's package "chromium" brings it. With one of
// its own, a machine says so by VK_ICD_FILENAMES.
const chromium = '/usr/lib/chromium';
const driver = process.env['VK_ICD_FILENAMES'] ?? path.join(chromium, 'vk_swiftshader_icd.json');

function missing(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return 'the engine for this platform has no WebGPU provider';
  }
  if (!driver.split(path.delimiter).some((file) => existsSync(file))) {
    return `there is no Vulkan driver at ${driver} (Debian: apt-get install chromium)`;
  }
  return undefined;
}

const reason = missing();

/** The loader of Vulkan drivers is the system's, where it has one, or the browser's. */
function loaderPath(): string {
  try {
    if (execFileSync('ldconfig', ['-p'], { encoding: 'utf8' }).includes('libvulkan.so.1'))
      return '';
  } catch {
    // No ldconfig to ask.
  }
  return chromium;
}

describe(`WebGPU${reason === undefined ? '' : `: ${reason}`}`, () => {
  let env: NodeJS.ProcessEnv;

  beforeAll(() => {
    env = {
      VK_ICD_FILENAMES: driver,
      XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? '/tmp',
      LD_LIBRARY_PATH: [process.env['LD_LIBRARY_PATH'], loaderPath()].filter(Boolean).join(':'),
    };
  });

  it.skipIf(reason !== undefined)(
    'gives the numbers of the CPU, and has nodes of its own',
    async () => {
      const { code, reported, stderr } = await runScript(
        `
          const images = Float32Array.from({ length: 2 * 64 }, (_, i) => (i % 17) / 17);
          const profile = path.join(os.tmpdir(), 'tenon-webgpu-' + process.pid + '.json');
          const numbers = async (options) => {
            const m = await load(model('digits_cnn.onnx'), options);
            const [output] = Object.values(await m.run({ images }));
            const data = [...output.data];
            report(m.providers);
            await m.close();
            return data;
          };
          const cpu = await numbers();
          const gpu = await numbers({
            executionProviders: ['webgpu'],
            onnxruntime: { profiling: { file: profile } },
          });
          report(Math.max(...cpu.map((value, i) => Math.abs(value - gpu[i]))));
          const events = JSON.parse(fs.readFileSync(profile, 'utf8'));
          fs.rmSync(profile);
          report(events.filter(({ args }) => args?.provider === 'WebGpuExecutionProvider').length);
        `,
        { env },
      );
      expect(code, stderr).toBe(0);
      expect(reported.slice(0, 2)).toEqual([
        ['CPUExecutionProvider'],
        ['WebGpuExecutionProvider', 'CPUExecutionProvider'],
      ]);
      expect(reported[2]).toBeLessThanOrEqual(1e-4);
      expect(reported[3]).toBeGreaterThan(0);
    },
  );

  it.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
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
