import { describe, expect, it } from 'vitest';

import { readRecords, recordOverheadBytes } from '../../lib/codec/tf-record.js';
import { fileStem } from '../../lib/server/record/file-stem.js';
import {
  type Disk,
  prepareRecordFolder,
  RecordFiles,
  type RecordFilesOptions,
} from '../../lib/server/record/record-files.js';
import { quotaOf } from '../../lib/server/record/settings.js';
import type { Clock } from '../../lib/server/repository/clock.js';

import { randomOf } from '../helpers/random.js';

/** A disk in memory, which can be full. */
class FakeDisk implements Disk {
  readonly files = new Map<string, { bytes: Buffer; mtimeMs: number }>();
  /** Bytes of all files together. */
  capacity = Infinity;
  #changes = 0;

  get total(): number {
    return [...this.files.values()].reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  }

  get names(): string[] {
    return [...this.files.keys()].map((file) => file.replace(/^.*[\\/]/, '')).toSorted();
  }

  put(name: string, byteLength: number): void {
    this.files.set(`records/${name}`, {
      bytes: Buffer.alloc(byteLength),
      mtimeMs: ++this.#changes,
    });
  }

  mkdir = (): Promise<void> => Promise.resolve();
  readdir = (): Promise<string[]> => Promise.resolve(this.names);
  stat: Disk['stat'] = (file) => {
    const { bytes, mtimeMs } = this.files.get(file) as { bytes: Buffer; mtimeMs: number };
    return Promise.resolve({ size: bytes.byteLength, mtimeMs });
  };
  unlink: Disk['unlink'] = (file) => {
    this.files.delete(file);
    return Promise.resolve();
  };
  create: Disk['create'] = (file) => {
    if (this.files.has(file)) return Promise.reject(new Error('EEXIST'));
    const own = { bytes: Buffer.alloc(0), mtimeMs: ++this.#changes };
    this.files.set(file, own);
    return Promise.resolve({
      append: (pieces) => {
        const whole = Buffer.concat(pieces);
        const room = Math.max(0, this.capacity - this.total);
        own.bytes = Buffer.concat([own.bytes, whole.subarray(0, room)]);
        own.mtimeMs = ++this.#changes;
        if (room >= whole.byteLength) return Promise.resolve();
        return Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }));
      },
      truncate: (length) => {
        own.bytes = own.bytes.subarray(0, length);
        return Promise.resolve();
      },
      close: () => Promise.resolve(),
    });
  };

  async records(): Promise<string[]> {
    const all: string[] = [];
    for (const name of this.names) {
      const file = this.files.get(`records/${name}`) as { bytes: Buffer };
      for await (const record of readRecords([file.bytes])) {
        all.push(Buffer.from(record).toString());
      }
    }
    return all;
  }
}

class FakeClock implements Clock {
  time = 0;
  now = (): number => this.time;
  after = (): { cancel: () => void } => ({ cancel: () => undefined });
}

interface Opened {
  files: RecordFiles;
  disk: FakeDisk;
  clock: FakeClock;
  log: string[];
  lost: [string, number][];
}

function open(options: Partial<RecordFilesOptions> = {}, disk = new FakeDisk()): Opened {
  const clock = new FakeClock();
  const log: string[] = [];
  const lost: [string, number][] = [];
  const note = (_fields: object, message: string): void => void log.push(message);
  const files = new RecordFiles({
    folder: 'records',
    slot: 0,
    maxFileBytes: 1000,
    maxFiles: 3,
    log: { info: note, warn: note, error: note },
    onLost: (reason, records) => lost.push([reason, records]),
    clock,
    disk,
    ...options,
  });
  return { files, disk, clock, log, lost };
}

const text = (value: string): Uint8Array => Buffer.from(value);

describe('record files', () => {
  it('hold what was appended, in order', async () => {
    const { files, disk } = open();
    for (const value of ['one', 'two', 'three']) {
      expect(files.append('m', text(value))).toBeUndefined();
    }
    expect(disk.files.size).toBe(0);
    await files.close();
    expect(disk.names).toEqual(['m.0.00000001.tfrecord']);
    expect(await disk.records()).toEqual(['one', 'two', 'three']);
  });

  it('rotate: the oldest goes, and no file is longer than it may be', async () => {
    const { files, disk } = open({ maxFileBytes: 100, maxFiles: 2 });
    for (let i = 0; i < 10; i++) files.append('m', text(`record ${i} `.padEnd(40, '.')));
    await files.close();
    expect(disk.names).toEqual(['m.0.00000009.tfrecord', 'm.0.00000010.tfrecord']);
    expect((await disk.records()).map((record) => record.slice(0, 8))).toEqual([
      'record 8',
      'record 9',
    ]);
  });

  it('hold no more records than a warm-up takes', async () => {
    const { files, disk } = open({ maxFileBytes: 1e6 });
    for (let i = 0; i < 1001; i++) files.append('m', text('x'));
    await files.close();
    expect(disk.names).toHaveLength(2);
    expect(disk.files.get('records/m.0.00000001.tfrecord')?.bytes.byteLength).toBe(
      1000 * (1 + recordOverheadBytes),
    );
  });

  it('go on after those of a process before, which count', async () => {
    const disk = new FakeDisk();
    disk.put('m.0.00000007.tfrecord', 10);
    disk.put('m.0.00000008.tfrecord', 900);
    disk.put('m.0.00000009.tfrecord', 900);
    disk.put('m.1.00000001.tfrecord', 10);
    disk.put('notes.txt', 10);
    const { files } = open({}, disk);
    files.append('m', text('new'));
    await files.close();
    expect(disk.names).toEqual([
      'm.0.00000008.tfrecord',
      'm.0.00000009.tfrecord',
      'm.0.00000010.tfrecord',
      'm.1.00000001.tfrecord',
      'notes.txt',
    ]);
  });

  it('leave out what does not fit into one, and what comes after the end', async () => {
    const { files } = open({ maxFileBytes: 100 });
    expect(files.append('m', new Uint8Array(85))).toBe('too_large');
    expect(files.append('m', new Uint8Array(84))).toBeUndefined();
    await files.close();
    expect(files.append('m', text('x'))).toBe('paused');
  });

  it('take no more than 16 MiB at a time', async () => {
    const { files } = open({ maxFileBytes: 2 ** 30 });
    const large = new Uint8Array(6 << 20);
    const refusals = Array.from({ length: 4 }, () => files.append('m', large));
    expect(refusals).toEqual([undefined, undefined, 'waiting', 'waiting']);
    await files.flush();
    expect(files.append('m', large)).toBeUndefined();
    await files.close();
  });

  it('pause where the disk is full, end at a whole record, and go on when there is room', async () => {
    const { files, disk, clock, log, lost } = open();
    files.append('m', text('before'));
    await files.flush();
    disk.capacity = 50;
    files.append('m', text('this does not fit any more'));
    files.append('other', text('nor does this, of another model'));
    await files.flush();
    expect(log).toEqual(['Requests could not be recorded: recording pauses']);
    expect(lost).toEqual([['error', 2]]);
    expect(await disk.records()).toEqual(['before']);
    expect(files.append('m', text('x'))).toBe('paused');

    clock.time = 4_999;
    expect(files.append('m', text('x'))).toBe('paused');
    clock.time = 5_000;
    expect(files.append('m', text('still too long for the disk'))).toBeUndefined();
    await files.flush();
    clock.time = 14_999;
    expect(files.append('m', text('x'))).toBe('paused');

    disk.capacity = Infinity;
    clock.time = 15_000;
    expect(files.append('m', text('after'))).toBeUndefined();
    await files.flush();
    expect(log.at(-1)).toBe('Requests are recorded again');
    expect(await disk.records()).toEqual(['before', 'after']);
    await files.close();
  });

  it('give each of more models than files a turn, and say so once', async () => {
    const { files, disk, log } = open({ maxFiles: 2 });
    for (let i = 0; i < 8; i++) files.append(`m${i % 4}`, text(`${i}`));
    await files.close();
    expect(disk.files.size).toBe(2);
    expect(log).toHaveLength(1);
    expect(await disk.records()).toEqual(['6', '7']);
  });

  it.each([1, 2, 3, 4, 5])('never exceed their bounds (seed %i)', async (seed) => {
    const random = randomOf(seed);
    const maxFiles = 1 + random.below(4);
    const maxFileBytes = 60 + random.below(400);
    const disk = new FakeDisk();
    for (let round = 0; round < 3; round++) {
      const { files, clock } = open({ maxFiles, maxFileBytes }, disk);
      for (let i = 0; i < 60; i++) {
        disk.capacity = random.chance(0.1) ? random.below(500) : Infinity;
        files.append(`m${random.below(3)}`, new Uint8Array(random.below(300)));
        if (random.chance(0.3)) await files.flush();
        if (random.chance(0.2)) clock.time += 600_000;
        expect(disk.files.size).toBeLessThanOrEqual(maxFiles);
        expect(disk.total).toBeLessThanOrEqual(maxFiles * maxFileBytes);
        for (const { bytes } of disk.files.values()) {
          expect(bytes.byteLength).toBeLessThanOrEqual(maxFileBytes);
        }
      }
      await files.close();
      await expect(disk.records()).resolves.toBeDefined();
    }
  });
});

describe('files of threads that are no more', () => {
  it('go, the oldest first, where all together could be too many', async () => {
    const disk = new FakeDisk();
    disk.put('m.3.00000001.tfrecord', 10);
    disk.put('m.2.00000009.tfrecord', 10);
    disk.put('m.0.00000001.tfrecord', 10);
    await prepareRecordFolder('records', { maxFiles: 3, maxFileBytes: 100 }, 2, disk);
    expect(disk.names).toEqual(['m.0.00000001.tfrecord', 'm.2.00000009.tfrecord']);
    await prepareRecordFolder('records', { maxFiles: 2, maxFileBytes: 100 }, 1, disk);
    expect(disk.names).toEqual(['m.0.00000001.tfrecord']);
  });
});

describe('the part of a thread', () => {
  it('is such that all together have no more than the whole', () => {
    for (let threads = 1; threads < 20; threads++) {
      for (let maxFiles = 1; maxFiles < 20; maxFiles++) {
        const part = quotaOf({ maxFileBytes: 1000, maxFiles }, threads);
        expect(part.maxFiles).toBeGreaterThanOrEqual(1);
        expect(threads * part.maxFiles * part.maxFileBytes).toBeLessThanOrEqual(maxFiles * 1000);
      }
    }
  });
});

describe('the beginning of a file’s name', () => {
  it.each([
    ['digits', 'digits'],
    ['../../etc/passwd', '%2e%2e%2F%2e%2e%2Fetc%2Fpasswd'],
    ['a b\0c', 'a%20b%00c'],
    ['\ud800', '%EF%BF%BD'],
  ])('of %j is %s', (model, stem) => {
    expect(fileStem(model)).toBe(stem);
  });

  it('has a length that file systems take, and tells long names apart', () => {
    const long = '語'.repeat(100);
    expect(fileStem(long).length).toBeLessThanOrEqual(160);
    expect(fileStem(long)).not.toBe(fileStem(`${long}x`));
  });
});
