import { describe, expect, it } from 'vitest';

import { rowsOf } from '../../lib/batching/request-key.js';
import type { SignaturePlan } from '../../lib/batching/signature.js';
import type { RunRequest } from '../../lib/runner.js';

describe('a request to batch', () => {
  const plan = { inputs: [{}], outputReasons: [] } as unknown as SignaturePlan;
  const request: RunRequest = {
    signature: 0,
    inputs: [0],
    feeds: [[1, [2, 3], new Float32Array(6)]],
    outputs: [0],
    targets: undefined,
  };

  it('has rows', () => {
    expect(rowsOf(request, plan)).toBe(2);
  });

  it('passes by where its engine is told something of it alone', () => {
    const options = { engine: 'tensorflow', timeoutMs: 1, tracePath: '', traceHardware: false };
    expect(rowsOf({ ...request, options } as RunRequest, plan)).toBe('options');
  });
});
