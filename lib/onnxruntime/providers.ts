/** Execution providers by the names and options that onnxruntime-common has for them. */

import type { ExecutionProvider } from '../index.js';
import { typeError } from './errors.js';

export interface SupportedBackend {
  /** As `executionProviders` takes it. */
  readonly name: string;
  /** Whether the library that comes with the package has it. */
  readonly bundled: boolean;
}

/** What the library of onnxruntime-node has on this platform, and what it can be given. */
export function supportedBackends(): SupportedBackend[] {
  const bundled = (name: string): SupportedBackend => ({ name, bundled: true });
  switch (`${process.platform}-${process.arch}`) {
    case 'linux-x64':
      return [
        bundled('cpu'),
        bundled('webgpu'),
        { name: 'cuda', bundled: false },
        { name: 'tensorrt', bundled: false },
      ];
    case 'win32-x64':
    case 'win32-arm64':
      return [bundled('cpu'), bundled('dml'), bundled('webgpu')];
    case 'darwin-arm64':
      return [bundled('cpu'), bundled('coreml'), bundled('webgpu')];
    default:
      return [bundled('cpu')];
  }
}

/** What onnxruntime-common knows the drop-in by, beside the providers. */
export const backendName = 'tenon';

/** Other libraries of ONNX Runtime have these. */
export const otherProviders = [
  'cann',
  'coreml',
  'cuda',
  'dml',
  'dnnl',
  'migraphx',
  'nnapi',
  'openvino',
  'qnn',
  'rocm',
  'tensorrt',
  'vitisai',
  'webgpu',
  'xnnpack',
];

type Settings = Record<string, string | number | boolean>;

const device = { deviceId: 'device_id' };

/** What one provider's options are called in the engine. */
const optionNames: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cpu: { useArena: 'use_arena' },
  cuda: device,
  tensorrt: device,
  dml: device,
  coreml: { coreMlFlags: 'coreml_flags' },
  qnn: {
    backendType: 'backend_type',
    backendPath: 'backend_path',
    enableFp16Precision: 'enable_htp_fp16_precision',
  },
};

export function providerName(provider: unknown): string {
  if (typeof provider === 'string') return provider;
  return String((provider as { name?: unknown } | null)?.name);
}

/**
 * One of `executionProviders` as `load()` takes it. Options that onnxruntime-common does not know
 * are the engine's own, and are passed on by their names.
 *
 * @throws TypeError naming the option.
 */
export function providerOf(provider: unknown, index: number): ExecutionProvider {
  const subject = `Invalid argument: sessionOptions.executionProviders[${index}]`;
  const isName = typeof provider === 'string';
  if (!isName && (typeof provider !== 'object' || provider === null)) {
    throw typeError(`${subject} must be either a string or an object with property 'name'.`);
  }
  const name = providerName(provider);
  const names = optionNames[name] ?? {};
  const settings: Settings = {};
  if (!isName) {
    for (const [key, value] of Object.entries(provider) as [string, unknown][]) {
      if (key === 'name' || value === undefined) continue;
      const own = Object.hasOwn(names, key) ? (names[key] as string) : key;
      settings[own] = settingOf(value, name, key);
    }
  }
  return Object.keys(settings).length === 0 ? name : { ...settings, name };
}

function settingOf(value: unknown, provider: string, key: string): string | number | boolean {
  if (key === 'forceCpuNodeNames') {
    if (!Array.isArray(value)) {
      throw typeError('Invalid argument: "forceCpuNodeNames" must be a string array.');
    }
    if (value.some((name) => typeof name !== 'string')) {
      throw typeError('Invalid argument: elements of "forceCpuNodeNames" must be strings.');
    }
    return value.join('\n');
  }
  if (key === 'enableRobustness' && typeof value !== 'boolean') {
    throw typeError('Invalid argument: "enableRobustness" must be a boolean.');
  }
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    return value;
  }
  throw typeError(
    `Invalid argument: option "${key}" of the execution provider "${provider}" must be a string, a number or a boolean.`,
  );
}
