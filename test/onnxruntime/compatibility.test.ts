import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import { describe, it } from 'vitest';

import { root } from '../helpers/paths.js';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')(
  'the table of docs/onnxruntime.md',
  () => {
    it('is what both modules do', async () => {
      const script = path.join(root, 'scripts/onnxruntime-compatibility.mjs');
      await promisify(execFile)(process.execPath, [script, '--check'], { timeout: 280_000 });
    }, 300_000);
  },
);
