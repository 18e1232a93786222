import { mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { aspiredVersions } from '../../lib/server/repository/aspired-versions.js';
import { fingerprint } from '../../lib/server/repository/fingerprint.js';
import {
  parseVersion,
  type Scan,
  VersionSource,
} from '../../lib/server/repository/version-source.js';
import { temporaryFolder } from '../helpers/temporary.js';

const root = temporaryFolder();
let folders = 0;

/** A new folder with these folders (`1/`) and files in it. */
function base(...entries: string[]): string {
  const folder = path.join(root, String(++folders));
  mkdirSync(folder);
  for (const entry of entries) {
    const file = path.join(folder, entry);
    if (entry.endsWith('/')) mkdirSync(file, { recursive: true });
    else {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, entry);
    }
  }
  return folder;
}

const found = (scan: Scan): [bigint, string][] | string =>
  scan.kind === 'found'
    ? scan.versions.map(({ version, path: file }): [bigint, string] => [
        version,
        path.basename(file),
      ])
    : scan.kind;

describe('a version folder', () => {
  it.each([
    ['1', 1n],
    ['00000123', 123n],
    ['0', 0n],
    ['9223372036854775807', 9223372036854775807n],
    ['9223372036854775808', undefined],
    ['-1', undefined],
    ['+1', undefined],
    ['1.0', undefined],
    ['1a', undefined],
    [' 1', undefined],
    ['', undefined],
    ['٣', undefined],
    ['0'.repeat(300), undefined],
  ])('%j is version %s', (name, version) => {
    expect(parseVersion(name)).toBe(version);
  });
});

describe('a base path', () => {
  it('holds folders and links with numbers as names, but no files', async () => {
    const folder = base('1/', '00000002/', 'notes/', '3', '.4/', '5tmp/');
    symlinkSync(path.join(folder, 'notes'), path.join(folder, '7'));
    const scan = found(await new VersionSource(folder).scan());
    expect(new Map(scan as [bigint, string][])).toEqual(
      new Map([
        [1n, '1'],
        [2n, '00000002'],
        [7n, '7'],
      ]),
    );
  });

  it('with two folders of one version takes the shorter name, and says so', async () => {
    const folder = base('007/', '7/', '07/');
    const scan = await new VersionSource(folder).scan();
    expect(found(scan)).toEqual([[7n, '7']]);
    expect(
      scan.kind === 'found' && scan.duplicates.map((each) => path.basename(each)).sort(),
    ).toEqual(['007', '07']);
  });

  it.each([
    ['a SavedModel', ['saved_model.pb', 'variables/'], ''],
    ['model.onnx among others', ['model.onnx', 'other.onnx'], 'model.onnx'],
    ['one ONNX model', ['net.onnx', 'readme.md'], 'net.onnx'],
  ])('that holds %s itself is version 1', async (_, entries, file) => {
    const folder = base(...entries);
    const expected = file === '' ? path.basename(folder) : file;
    expect(found(await new VersionSource(folder).scan())).toEqual([[1n, expected]]);
  });

  it('that is an ONNX file is version 1', async () => {
    const file = path.join(base('net.onnx'), 'net.onnx');
    expect(found(await new VersionSource(file).scan())).toEqual([[1n, 'net.onnx']]);
  });

  it('with version folders holds no model itself', async () => {
    expect(found(await new VersionSource(base('3/', 'model.onnx')).scan())).toEqual([[3n, '3']]);
  });

  it('with several ONNX files and no version holds none', async () => {
    expect(found(await new VersionSource(base('a.onnx', 'b.onnx')).scan())).toEqual([]);
  });

  it('that is not there, or no model, is missing, and stays so', async () => {
    const source = new VersionSource(path.join(root, 'nowhere'));
    const scan = await source.scan();
    expect(scan.kind === 'missing' && scan.error.message).toMatch('ENOENT');
    expect(source.folder).toBeUndefined();
    expect(await source.scan()).toEqual({ kind: 'unchanged' });
    const file = path.join(base('notes.txt'), 'notes.txt');
    expect((await new VersionSource(file).scan()).kind).toBe('missing');
  });

  it('that comes back is found again', async () => {
    const folder = base('1/');
    const source = new VersionSource(folder);
    await source.scan();
    rmSync(folder, { recursive: true });
    expect((await source.scan()).kind).toBe('missing');
    mkdirSync(path.join(folder, '1'), { recursive: true });
    expect(found(await source.scan())).toEqual([[1n, '1']]);
  });

  it('is unchanged until a version comes or goes, however fast', async () => {
    const folder = base('1/');
    const source = new VersionSource(folder);
    expect((await source.scan()).kind).toBe('found');
    for (let version = 2; version < 30; version++) {
      expect((await source.scan()).kind).toBe('unchanged');
      mkdirSync(path.join(folder, String(version)));
      expect(found(await source.scan())).toHaveLength(version);
      writeFileSync(path.join(folder, String(version), 'model.onnx'), '');
    }
    rmSync(path.join(folder, '1'), { recursive: true });
    expect(found(await source.scan())).toHaveLength(28);
  });

  it('that is a file is another version when the file is written anew', async () => {
    const file = path.join(base('net.onnx'), 'net.onnx');
    const source = new VersionSource(file);
    const first = await source.scan();
    expect((await source.scan()).kind).toBe('unchanged');
    writeFileSync(file, 'something else');
    const second = await source.scan();
    if (first.kind !== 'found' || second.kind !== 'found') throw new Error('expected versions');
    expect(second.versions[0]?.version).toBe(1n);
    expect(second.versions[0]?.key).not.toBe(first.versions[0]?.key);
  });
});

describe('a policy', () => {
  const present = [3n, 10n, 1n, 2n].map((version) => ({
    version,
    path: `/m/${version}`,
    key: `/m/${version}`,
  }));
  const wanted = (policy: Parameters<typeof aspiredVersions>[0]): bigint[] =>
    aspiredVersions(policy, present).versions.map(({ version }) => version);

  it('wants the latest, by number', () => {
    expect(wanted({ kind: 'latest', numVersions: 2 })).toEqual([10n, 3n]);
    expect(wanted({ kind: 'latest', numVersions: 0 })).toEqual([10n]);
    expect(wanted({ kind: 'latest', numVersions: 99 })).toEqual([10n, 3n, 2n, 1n]);
  });

  it('wants all', () => {
    expect(wanted({ kind: 'all' })).toEqual([10n, 3n, 2n, 1n]);
  });

  it('wants those it names, and says which there are not', () => {
    const policy = { kind: 'specific', versions: [7n, 2n, 3n, 2n, 5n] } as const;
    expect(wanted(policy)).toEqual([3n, 2n]);
    expect(aspiredVersions(policy, present).missing).toEqual([5n, 7n]);
  });
});

describe('a fingerprint', () => {
  it('is another when a file below is', async () => {
    const folder = base('saved_model.pb', 'variables/a', 'variables/b');
    const seen = new Set<string>();
    const next = async (): Promise<void> => {
      const { value } = await fingerprint(folder);
      expect((await fingerprint(folder)).value).toBe(value);
      expect(seen.has(value)).toBe(false);
      seen.add(value);
    };
    await next();
    writeFileSync(path.join(folder, 'variables/a'), 'longer than before');
    await next();
    utimesSync(path.join(folder, 'variables/b'), 1, 1);
    await next();
    rmSync(path.join(folder, 'variables/b'));
    await next();
  });

  it('of nothing is empty', async () => {
    expect(await fingerprint(path.join(root, 'nowhere'))).toEqual({ value: '', changedAtMs: 0 });
  });

  it('tells when something last changed', async () => {
    const before = Date.now() - 2000;
    const { changedAtMs } = await fingerprint(base('model.onnx'));
    expect(changedAtMs).toBeGreaterThan(before);
  });
});
