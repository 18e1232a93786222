/** Whether the files of a model are still the same: names, sizes and times, not what they hold. */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** Far above what a model has; what lies beyond is not looked at. */
const maxEntries = 4096;
const maxDepth = 8;

export interface Fingerprint {
  /** Equal as long as nothing below `root` changes; "" where nothing is there. */
  readonly value: string;
  /** When something last changed, as Date.now() counts. */
  readonly changedAtMs: number;
}

/** Never rejects. */
export async function fingerprint(root: string): Promise<Fingerprint> {
  const hash = createHash('sha1');
  let changedAtMs = 0;
  let entries = 0;
  const visit = async (file: string, depth: number): Promise<void> => {
    if (entries++ >= maxEntries) return;
    const found = await stat(file, { bigint: true });
    hash.update(`${file}\0${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}\n`);
    changedAtMs = Math.max(changedAtMs, Number(found.mtimeMs), Number(found.ctimeMs));
    if (!found.isDirectory() || depth >= maxDepth) return;
    const names = await readdir(file);
    for (const name of names.sort()) {
      // A name that is gone meanwhile is a change all the same.
      await visit(path.join(file, name), depth + 1).catch(() => hash.update(`${name}\0gone\n`));
    }
  };
  try {
    await visit(root, 0);
  } catch {
    return { value: '', changedAtMs: 0 };
  }
  return { value: hash.digest('base64'), changedAtMs };
}
