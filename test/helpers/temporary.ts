import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll } from 'vitest';

/** A folder that is gone when the tests of the file (or the describe) have ended. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tenon-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
