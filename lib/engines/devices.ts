import { nativeAddon } from '../native/load.js';
import { checkOptions, path } from '../options.js';
import { findEngine } from './find.js';

/** A device that one of ONNX Runtime's execution providers can use. */
export interface ExecutionDevice {
  /** "CPUExecutionProvider" … */
  readonly provider: string;
  readonly providerVendor: string;
  readonly type: 'cpu' | 'gpu' | 'npu' | 'unknown';
  /** Of the hardware. */
  readonly vendor: string;
  /** PCI numbers, or 0. */
  readonly vendorId: number;
  readonly deviceId: number;
  /** What the provider and the operating system say of it. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The provider's options as they are by default. */
  readonly options: Readonly<Record<string, string>>;
}

export interface ListDevicesOptions {
  /** The library to open, before every other place it is looked for. */
  library?: string;
}

/** See `engines.devices`. */
export async function listDevices(options?: ListDevicesOptions): Promise<ExecutionDevice[]> {
  const { library } = checkOptions(options, 'devices', ['library']);
  const engine = await findEngine('onnxruntime', { library: path(library, 'library') });
  const devices = await nativeAddon().onnxDevices(engine.library);
  return devices.map(({ metadata, options: defaults, ...device }) => ({
    ...device,
    metadata: Object.fromEntries(metadata),
    options: Object.fromEntries(defaults),
  }));
}
