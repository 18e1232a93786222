import { existsSync, readFileSync } from 'node:fs';

/** The version of this package, or "unknown" where a bundle left its package.json behind. */
export function packageVersion(): string {
  // One folder up from dist/, two from the source.
  for (const path of ['../package.json', '../../package.json']) {
    const file = new URL(path, import.meta.url);
    if (!existsSync(file)) continue;
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
    if (name === 'tenon' && version !== undefined) return version;
  }
  return 'unknown';
}
