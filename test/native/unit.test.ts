import { execFile, execFileSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import { describe, expect, it } from 'vitest';

// The C++ tests, one process each: a crash is one failed test, and no state of an engine is
// carried from one to the next. `npm test` builds the program (scripts/native-tests.mjs).
const program = path.resolve(import.meta.dirname, '../../build/native/native/test/tenon_tests');
const names = execFileSync(program, ['--list'], { encoding: 'utf8' })
  .split('\n')
  .filter((name) => name !== '');

describe('native unit tests', () => {
  it.each(names)('%s', async (name) => {
    const { stdout } = await promisify(execFile)(program, [name], { timeout: 50_000 });
    expect(stdout).toContain(`ok ${name}`);
  });
});
