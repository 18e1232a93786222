import type { EngineName } from '../native/types.js';

/** What engine names are called in messages. */
export const engineTitles: Record<EngineName, string> = {
  onnxruntime: 'ONNX Runtime',
  tensorflow: 'TensorFlow',
};

export const engineNames: readonly EngineName[] = ['onnxruntime', 'tensorflow'];

/** The versions `install` gets unless told otherwise. */
export const defaultVersions: Record<EngineName, string> = {
  onnxruntime: '1.30.0',
  tensorflow: '2.21.0',
};

/** The oldest versions whose C API has all that Tenon uses. */
export const oldestVersions: Record<EngineName, string> = {
  onnxruntime: '1.17.0',
  tensorflow: '2.10.0',
};

/**
 * The newest TensorFlow C archive known to exist for a platform, used where there is none of the
 * default version: C archives are published later than wheels, or not at all.
 */
export const newestTensorFlowArchives: Readonly<Record<string, string>> = {
  'linux-x64': '2.18.0',
  'darwin-arm64': '2.18.0',
  'darwin-x64': '2.16.2',
  'win32-x64': '2.18.0',
};

/** sha256 and size of files whose content was checked when this version of Tenon was made. */
export const knownFiles: Readonly<Record<string, { sha256: string; bytes: number }>> = {
  'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl': {
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
    bytes: 273_829_956,
  },
};

/** Numeric parts first to last; a missing part counts as 0, a suffix (rc1, +cu12) is ignored. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.');
  const right = b.split('.');
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = leadingNumber(left[i]) - leadingNumber(right[i]);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

function leadingNumber(part: string | undefined): number {
  return Number.parseInt(part ?? '0', 10) || 0;
}
