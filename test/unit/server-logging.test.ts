import { openSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { LogDestination, openLog, pretty } from '../../lib/server/logging.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();

function records(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('the log', () => {
  it('is an object a line, in order, and flushed when asked', async () => {
    const file = path.join(folder, 'log.json');
    const { logger, flush } = openLog({ file });
    for (let i = 0; i < 1000; i++) logger.info({ i }, 'counted');
    logger.debug('below the level');
    await flush();
    expect(records(file).map(({ i }) => i)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(records(file)[0]).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      i: 0,
      msg: 'counted',
    });
  });

  it('appends to what is there', async () => {
    const file = path.join(folder, 'appended.json');
    for (const word of ['first', 'second']) {
      const { logger, flush } = openLog({ file });
      logger.info(word);
      await flush();
    }
    expect(records(file).map(({ msg }) => msg)).toEqual(['first', 'second']);
  });

  it.runIf(process.platform === 'linux')('counts what a full disk does not take', async () => {
    const destination = new LogDestination(openSync('/dev/full', 'a'));
    destination.log('a\n');
    destination.log('b\n');
    await destination.flush();
    expect(destination.lost).toBe(2);
  });

  it('keeps no more than it should where nothing is written', () => {
    const destination = new LogDestination(openSync(path.join(folder, 'slow'), 'a'));
    // All in one turn of the event loop, in which nothing can be written.
    for (let i = 0; i < 100; i++) destination.log('x'.repeat(1 << 20));
    expect(destination.lost).toBeGreaterThan(90);
    return destination.flush();
  });
});

describe('a readable line', () => {
  const line = (record: object): string =>
    pretty(JSON.stringify({ level: 'info', time: '2026-01-02T03:04:05.678Z', ...record }), false);

  it('has the time, the level, the message and the rest', () => {
    expect(line({ msg: 'listening', port: 8501, host: '::1' })).toBe(
      '03:04:05.678 INFO  listening port=8501 host=::1\n',
    );
  });

  it('has the stack of an error below', () => {
    expect(line({ msg: 'failed', err: { message: 'no', stack: 'Error: no\n    at x' } })).toBe(
      '03:04:05.678 INFO  failed\nError: no\n    at x\n',
    );
  });

  it('shows control characters of clients escaped', () => {
    expect(line({ msg: 'bell \u0007', name: 'a\u0085\nb\u001b[2J' })).toBe(
      '03:04:05.678 INFO  bell \\u0007 name=a\\u0085\\u000ab\\u001b[2J\n',
    );
  });
});
