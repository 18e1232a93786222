/**
 * TFRecord files that requests are recorded to: each of one model, so that it can warm that model up,
 * of a bounded length, and a bounded number of them. Written behind the requests' backs, many records
 * at a time.
 */

import { type FileHandle, mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';

import { crc32c, recordFoot, recordHead, recordOverheadBytes } from '../../codec/tf-record.js';
import { type Clock, systemClock, type Timer } from '../repository/clock.js';
import type { RepositoryLog } from '../repository/options.js';
import { maxWarmUpRecords } from '../repository/warm-up.js';
import { fileStem } from './file-stem.js';
import type { RecordQuota } from './settings.js';

export interface RecordFilesOptions extends RecordQuota {
  readonly folder: string;
  /** Tells the files of threads that record to one folder apart. */
  readonly slot: number;
  readonly log: Pick<RepositoryLog, 'info' | 'warn' | 'error'>;
  /** Records were lost that `append` had taken. */
  readonly onLost?: ((reason: RecordLoss, records: number) => void) | undefined;
  /** Records are in a file, so many bytes in all. */
  readonly onWritten?: ((model: string, records: number, bytes: number) => void) | undefined;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: Node's. */
  readonly disk?: Disk;
}

/** The part of a file system that is used. */
export interface Disk {
  mkdir(folder: string): Promise<void>;
  readdir(folder: string): Promise<string[]>;
  /** Bytes, and the milliseconds since 1970 of the last change. */
  stat(file: string): Promise<{ readonly size: number; readonly mtimeMs: number }>;
  unlink(file: string): Promise<void>;
  /** A new file, which only its owner can read. */
  create(file: string): Promise<DiskFile>;
}

export interface DiskFile {
  /** All of the pieces at the end, or an error. */
  append(pieces: readonly Uint8Array[]): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * Why a request that was chosen is not in a file. "too_large": for a file; "waiting": others wait for
 * the disk; "error": of the disk; "paused": after one; "unsupported": no message can hold it.
 */
export type RecordLoss = 'too_large' | 'waiting' | 'error' | 'paused' | 'unsupported';

/** Bytes of records that may wait for the disk. */
const maxWaitingBytes = 16 << 20;
/** What waits is written when it is so much, or has waited so long. */
const batchBytes = 256 << 10;
const batchMs = 500;
/** Of a record's checksum, in one turn of the event loop. */
const checkedAtOnceBytes = 256 << 10;
/** After an error recording pauses; twice as long after each that follows. */
const pauseMs = 5_000;
const maxPauseMs = 300_000;

const filePattern = /^(.+)\.(\d+)\.(\d+)\.tfrecord$/s;

/** A file that is there, of this thread. */
interface KnownFile {
  readonly path: string;
  readonly sequence: number;
  bytes: number;
}

interface OpenFile extends KnownFile {
  readonly model: string;
  readonly handle: DiskFile;
  records: number;
  /** The end of the last whole record on the disk. */
  written: number;
  pieces: Uint8Array[];
  pieceRecords: number;
}

interface WaitingRecord {
  readonly model: string;
  readonly bytes: Uint8Array;
}

export class RecordFiles {
  readonly #options: RecordFilesOptions;
  readonly #clock: Clock;
  readonly #disk: Disk;
  #waiting: WaitingRecord[] = [];
  #waitingBytes = 0;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  /** Of this slot, oldest first, those that are open included; undefined until looked for. */
  #files: KnownFile[] | undefined;
  /** By model; the one that was written to last comes last. */
  readonly #open = new Map<string, OpenFile>();
  #sequence = 0;
  #pausedUntil = -Infinity;
  #pauseMs = pauseMs;
  #hasWarned = false;
  #isClosed = false;

  constructor(options: RecordFilesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#disk = options.disk ?? systemDisk;
  }

  /** Whether a record of so many bytes would be taken now, and if not why. */
  refusal(byteLength: number): RecordLoss | undefined {
    if (byteLength + recordOverheadBytes > this.#options.maxFileBytes) return 'too_large';
    if (this.#isClosed || this.#clock.now() < this.#pausedUntil) return 'paused';
    if (this.#waitingBytes > 0 && this.#waitingBytes + byteLength > maxWaitingBytes) {
      return 'waiting';
    }
    return undefined;
  }

  /**
   * Writes a record soon. Never throws, never waits; `bytes` must be left as they are.
   *
   * @returns Why it was not taken, if so.
   */
  append(model: string, bytes: Uint8Array): RecordLoss | undefined {
    const refusal = this.refusal(bytes.byteLength);
    if (refusal !== undefined) return refusal;
    this.#waiting.push({ model, bytes });
    this.#waitingBytes += bytes.byteLength;
    if (this.#waitingBytes >= batchBytes) this.#write();
    else this.#timer ??= this.#clock.after(batchMs, () => this.#write());
    return undefined;
  }

  /** Resolves when what was appended before is in the files, or lost. */
  async flush(): Promise<void> {
    this.#write();
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Writes what waits, and takes no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    for (const file of [...this.#open.values()]) {
      await this.#closeFile(file).catch(() => undefined);
    }
  }

  #write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#writing !== undefined || this.#waiting.length === 0) return;
    this.#writing = this.#drain().finally(() => {
      this.#writing = undefined;
      // What came meanwhile and was not enough for a batch.
      if (this.#waiting.length > 0) this.#timer ??= this.#clock.after(batchMs, () => this.#write());
    });
  }

  async #drain(): Promise<void> {
    do {
      const records = this.#waiting;
      this.#waiting = [];
      let done = 0;
      try {
        for (const record of records) {
          await this.#place(record);
          done++;
        }
        for (const file of [...this.#open.values()]) await this.#flushFile(file);
        this.#resume();
      } catch (error) {
        const placed = [...this.#open.values()].reduce((sum, file) => sum + file.pieceRecords, 0);
        await this.#pause(error, records.length - done + placed);
      } finally {
        for (const { bytes } of records) this.#waitingBytes -= bytes.byteLength;
      }
    } while (this.#waitingBytes >= batchBytes && this.#clock.now() >= this.#pausedUntil);
  }

  async #place({ model, bytes }: WaitingRecord): Promise<void> {
    let crc = 0;
    for (let at = 0; at < bytes.byteLength; at += checkedAtOnceBytes) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      crc = crc32c(bytes.subarray(at, at + checkedAtOnceBytes), crc);
    }
    const length = bytes.byteLength + recordOverheadBytes;
    let file = this.#open.get(model);
    if (
      file !== undefined &&
      (file.bytes + length > this.#options.maxFileBytes || file.records >= maxWarmUpRecords)
    ) {
      await this.#closeFile(file);
      file = undefined;
    }
    file ??= await this.#createFile(model);
    file.pieces.push(recordHead(bytes.byteLength), bytes, recordFoot(crc));
    file.pieceRecords++;
    file.records++;
    file.bytes += length;
    this.#open.delete(model);
    this.#open.set(model, file);
  }

  async #flushFile(file: OpenFile): Promise<void> {
    if (file.pieceRecords === 0) return;
    await file.handle.append(file.pieces);
    this.#options.onWritten?.(file.model, file.pieceRecords, file.bytes - file.written);
    file.written = file.bytes;
    file.pieces = [];
    file.pieceRecords = 0;
  }

  async #closeFile(file: OpenFile): Promise<void> {
    await this.#flushFile(file);
    this.#open.delete(file.model);
    await file.handle.close();
  }

  async #createFile(model: string): Promise<OpenFile> {
    const { folder, slot, maxFiles, maxFileBytes } = this.#options;
    const files = (this.#files ??= await this.#findFiles());
    if (this.#open.size >= maxFiles) {
      const [oldest] = this.#open.values();
      await this.#closeFile(oldest as OpenFile);
      this.#warnOfModels();
    }
    const total = (): number => files.reduce((sum, { bytes }) => sum + bytes, 0);
    // A new file may come to be as long as any.
    while (files.length >= maxFiles || total() > (maxFiles - 1) * maxFileBytes) {
      const index = files.findIndex((file) => !this.#isOpen(file));
      if (index < 0) break;
      await this.#remove(files[index] as KnownFile);
    }
    const sequence = ++this.#sequence;
    const name = `${fileStem(model)}.${slot}.${String(sequence).padStart(8, '0')}.tfrecord`;
    const file: OpenFile = {
      path: path.join(folder, name),
      sequence,
      bytes: 0,
      model,
      handle: await this.#disk.create(path.join(folder, name)),
      records: 0,
      written: 0,
      pieces: [],
      pieceRecords: 0,
    };
    files.push(file);
    this.#open.set(model, file);
    return file;
  }

  async #remove(file: KnownFile): Promise<void> {
    await removeFile(this.#disk, file.path);
    const files = this.#files as KnownFile[];
    files.splice(files.indexOf(file), 1);
  }

  #isOpen(file: KnownFile): boolean {
    for (const each of this.#open.values()) if (each === file) return true;
    return false;
  }

  async #findFiles(): Promise<KnownFile[]> {
    const { folder, slot } = this.#options;
    await this.#disk.mkdir(folder);
    const found = (await recordedFiles(this.#disk, folder)).filter((file) => file.slot === slot);
    found.sort((a, b) => a.sequence - b.sequence);
    this.#sequence = found.at(-1)?.sequence ?? 0;
    return found.map(({ path, sequence, bytes }) => ({ path, sequence, bytes }));
  }

  #warnOfModels(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#options.log.warn(
      { folder: this.#options.folder, maxFiles: this.#options.maxFiles },
      'More models are recorded than there may be files: each gets short ones',
    );
  }

  /** Ends all files at their last whole record, and takes nothing for a while. */
  async #pause(error: unknown, lost: number): Promise<void> {
    const { log, folder, onLost } = this.#options;
    this.#pausedUntil = this.#clock.now() + this.#pauseMs;
    log.error(
      { err: error, folder, lost, pauseMs: this.#pauseMs },
      'Requests could not be recorded: recording pauses',
    );
    this.#pauseMs = Math.min(2 * this.#pauseMs, maxPauseMs);
    onLost?.('error', lost);
    const files = [...this.#open.values()];
    this.#open.clear();
    for (const file of files) {
      try {
        await file.handle.truncate(file.written);
        file.bytes = file.written;
      } catch {
        // What was written of the last records stays behind the whole ones.
      }
      await file.handle.close().catch(() => undefined);
      if (file.written === 0) await this.#remove(file).catch(() => undefined);
    }
  }

  #resume(): void {
    if (this.#pausedUntil === -Infinity) return;
    this.#pausedUntil = -Infinity;
    this.#pauseMs = pauseMs;
    this.#options.log.info({ folder: this.#options.folder }, 'Requests are recorded again');
  }
}

interface RecordedFile extends KnownFile {
  readonly slot: number;
  readonly mtimeMs: number;
}

async function recordedFiles(disk: Disk, folder: string): Promise<RecordedFile[]> {
  const files: RecordedFile[] = [];
  for (const name of await disk.readdir(folder)) {
    const [, , slot, sequence] = filePattern.exec(name) ?? [];
    if (slot === undefined) continue;
    const file = path.join(folder, name);
    const found = await disk.stat(file).catch(() => undefined);
    if (found === undefined) continue;
    const { size, mtimeMs } = found;
    files.push({
      path: file,
      slot: Number(slot),
      sequence: Number(sequence),
      bytes: size,
      mtimeMs,
    });
  }
  return files;
}

/**
 * Makes the folder of the records ready for so many threads: files of more than there are now count
 * as well, so the oldest of those go where all together could become too many.
 */
export async function prepareRecordFolder(
  folder: string,
  { maxFiles, maxFileBytes }: RecordQuota,
  threads: number,
  disk: Disk = systemDisk,
): Promise<void> {
  await disk.mkdir(folder);
  const others = (await recordedFiles(disk, folder))
    .filter(({ slot }) => slot >= threads)
    .sort((a, b) => a.mtimeMs - b.mtimeMs);
  const quota = quotaInAll(maxFiles, maxFileBytes, threads);
  let bytes = others.reduce((sum, file) => sum + file.bytes, 0);
  while (others.length > quota.files || bytes > quota.bytes) {
    const oldest = others.shift() as RecordedFile;
    bytes -= oldest.bytes;
    await removeFile(disk, oldest.path);
  }
}

/** What is left beside the threads' own files. */
function quotaInAll(
  maxFiles: number,
  maxFileBytes: number,
  threads: number,
): { files: number; bytes: number } {
  const files = maxFiles >= threads ? maxFiles % threads : 0;
  return { files, bytes: files * maxFileBytes };
}

async function removeFile(disk: Disk, file: string): Promise<void> {
  try {
    await disk.unlink(file);
  } catch (error) {
    // Somebody may have taken it away.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

const systemDisk: Disk = {
  async mkdir(folder) {
    await mkdir(folder, { recursive: true });
  },
  readdir,
  stat,
  unlink,
  async create(file) {
    const handle = await open(file, 'wx', 0o600);
    return new SystemFile(handle);
  },
};

/** Pieces are put together up to here, so that a write is worth its while. */
const gatheredBytes = 64 << 10;

class SystemFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async append(pieces: readonly Uint8Array[]): Promise<void> {
    let gathered: Uint8Array[] = [];
    let bytes = 0;
    for (const piece of pieces) {
      gathered.push(piece);
      bytes += piece.byteLength;
      if (bytes < gatheredBytes) continue;
      await this.#writeAll(gathered);
      gathered = [];
      bytes = 0;
    }
    await this.#writeAll(gathered);
  }

  async #writeAll(pieces: readonly Uint8Array[]): Promise<void> {
    let rest = pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
    while (rest.byteLength > 0) {
      const { bytesWritten } = await this.#handle.write(rest);
      rest = rest.subarray(bytesWritten);
    }
  }

  async truncate(length: number): Promise<void> {
    await this.#handle.truncate(length);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
