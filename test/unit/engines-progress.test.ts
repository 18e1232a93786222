import { Writable } from 'node:stream';

import { describe, expect, test } from 'vitest';

import { createProgressBar, formatBytes, formatProgress } from '../../lib/engines/progress.js';
import { compareVersions } from '../../lib/engines/versions.js';

class Sink extends Writable {
  text = '';
  readonly isTTY: boolean;
  readonly columns = 60;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

describe('formatProgress', () => {
  test('a bar where the total is known', () => {
    const progress = { phase: 'extract', receivedBytes: 427e6, totalBytes: 854e6 } as const;
    expect(formatProgress('TensorFlow', progress)).toBe(
      'TensorFlow  extract  ████████████░░░░░░░░░░░░  50 %  427 MB of 854 MB',
    );
  });

  test('bytes alone where it is not, never more than 100 %', () => {
    expect(formatProgress('x', { phase: 'download', receivedBytes: 0 })).toBe('x  download …');
    expect(formatProgress('x', { phase: 'download', receivedBytes: 5e3 })).toBe(
      'x  download  5 kB',
    );
    expect(formatProgress('x', { phase: 'verify', receivedBytes: 3, totalBytes: 2 })).toContain(
      '100 %',
    );
    expect(formatProgress('x', { phase: 'verify', receivedBytes: 0, totalBytes: 0 })).toBe(
      'x  verify  0 B of 0 B',
    );
  });
});

describe('createProgressBar', () => {
  test('a terminal gets one line, redrawn, that ends complete', () => {
    const sink = new Sink(true);
    const bar = createProgressBar(sink, 'TensorFlow');
    for (let i = 0; i <= 1000; i++) {
      bar.onProgress({ phase: 'extract', receivedBytes: i, totalBytes: 1000 });
    }
    bar.end();
    expect(sink.text.split('\n')).toHaveLength(2);
    expect(sink.text.split('\r').length).toBeLessThan(20);
    const last = sink.text.split('\r').at(-1) ?? '';
    expect(last).toContain('100 %');
    expect(last.replace('\x1b[2K', '').trimEnd().length).toBeLessThan(60);
  });

  test('a file gets a line per phase and quarter', () => {
    const sink = new Sink(false);
    const bar = createProgressBar(sink, 'TensorFlow');
    bar.onProgress({ phase: 'download', receivedBytes: 0 });
    bar.onProgress({ phase: 'download', receivedBytes: 10 });
    for (let i = 0; i <= 100; i++) {
      bar.onProgress({ phase: 'extract', receivedBytes: i, totalBytes: 100 });
    }
    bar.end();
    expect(sink.text.split('\n')).toEqual([
      'TensorFlow: download …',
      'TensorFlow: extract 0 %  0 B of 100 B',
      'TensorFlow: extract 25 %  25 B of 100 B',
      'TensorFlow: extract 50 %  50 B of 100 B',
      'TensorFlow: extract 75 %  75 B of 100 B',
      'TensorFlow: extract 100 %  100 B of 100 B',
      '',
    ]);
  });

  test('nothing is written where nothing happened', () => {
    const sink = new Sink(true);
    createProgressBar(sink, 'TensorFlow').end();
    expect(sink.text).toBe('');
  });
});

test.each([
  [999, '999 B'],
  [274e6, '274 MB'],
  [1.24e9, '1.2 GB'],
])('formatBytes(%d) is %s', (bytes, expected) => {
  expect(formatBytes(bytes)).toBe(expected);
});

test.each([
  ['2.9.1', '2.10.0', -1],
  ['2.10', '2.10.0', 0],
  ['2.21.0rc1', '2.21.0', 0],
  ['1.30.0', '1.17.3', 1],
])('compareVersions(%s, %s) is %d', (a, b, expected) => {
  expect(compareVersions(a, b)).toBe(expected);
});
