/** Which of the versions there are a policy wants to be served. */

import type { VersionPolicy } from '../config/model-config.js';

/** A version on storage. */
export interface SourceVersion {
  readonly version: bigint;
  /** The version's folder, or the model's file. */
  readonly path: string;
  /**
   * What tells it from another with the same number: the path, and for a base path that is a model
   * itself when its file was written. Another key is another model, which replaces this one.
   */
  readonly key: string;
}

/** Highest first. `missing` are versions that a policy names and storage does not have. */
export interface AspiredVersions {
  readonly versions: readonly SourceVersion[];
  readonly missing: readonly bigint[];
}

export function aspiredVersions(
  policy: VersionPolicy,
  present: readonly SourceVersion[],
): AspiredVersions {
  const ordered = [...present].sort((a, b) => compareVersions(b.version, a.version));
  switch (policy.kind) {
    case 'all':
      return { versions: ordered, missing: [] };
    case 'latest':
      return { versions: ordered.slice(0, Math.max(1, policy.numVersions)), missing: [] };
    case 'specific': {
      const wanted = new Set(policy.versions);
      const versions = ordered.filter(({ version }) => wanted.has(version));
      for (const { version } of versions) wanted.delete(version);
      return { versions, missing: [...wanted].sort(compareVersions) };
    }
  }
}

export function compareVersions(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
