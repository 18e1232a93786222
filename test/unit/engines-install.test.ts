import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import path from 'node:path';

import { describe, expect, onTestFinished, test } from 'vitest';

import type { EngineContext } from '../../lib/engines/context.js';
import { searchEngine } from '../../lib/engines/find.js';
import {
  installEngine,
  tensorflowArchives,
  type InstallEngineOptions,
} from '../../lib/engines/install.js';
import type { InstallProgress } from '../../lib/engines/progress.js';
import type { EngineName } from '../../lib/native/types.js';
import {
  bareContext,
  fakeLibrary,
  fakeOnnxRuntimeTgz,
  fakeTensorFlowWheel,
  listTree,
  makeTarGz,
  makeZip,
  sha256,
  temporaryFolder,
  writeProgram,
  writeTree,
  type FakeEntry,
} from './engines-fixtures.js';

interface Place {
  folder: string;
  cache: string;
  context: EngineContext;
  install: (name: EngineName, options?: InstallEngineOptions) => ReturnType<typeof installEngine>;
  /** Files in the cache, relative to its engines folder. */
  cached: () => Promise<string[]>;
}

async function place(): Promise<Place> {
  const folder = await temporaryFolder();
  const cache = path.join(folder, 'cache');
  await mkdir(cache);
  const context = bareContext(folder, { TENON_CACHE: cache });
  return {
    folder,
    cache,
    context,
    install: (name, options) => installEngine(name, options, context),
    cached: async () => (await listTree(cache)).map((file) => path.relative('engines', file)),
  };
}

const tensorflowFiles = [
  'tensorflow/2.21.0-linux-x64/libtensorflow_cc.so.2',
  'tensorflow/2.21.0-linux-x64/libtensorflow_framework.so.2',
  'tensorflow/2.21.0-linux-x64/licenses/LICENSE',
  'tensorflow/2.21.0-linux-x64/manifest.json',
];

describe('from a wheel', () => {
  test('takes the libraries and licences, and writes what they are into a manifest', async () => {
    const { folder, cache, context, install, cached } = await place();
    const wheel = fakeTensorFlowWheel();
    await writeTree(folder, { 'a.whl': wheel });
    const installed = await install('tensorflow', { from: 'a.whl' });
    const home = path.join(cache, 'engines/tensorflow/2.21.0-linux-x64');
    expect(installed).toEqual({
      name: 'tensorflow',
      version: '2.21.0',
      library: path.join(home, 'libtensorflow_cc.so.2'),
      folder: home,
      source: { way: 'given', location: path.join(folder, 'a.whl'), sha256: sha256(wheel) },
      alreadyInstalled: false,
    });
    expect(await cached()).toEqual(tensorflowFiles);
    const manifest = JSON.parse(await readFile(path.join(home, 'manifest.json'), 'utf8')) as object;
    expect(manifest).toMatchObject({
      name: 'tensorflow',
      version: '2.21.0',
      platform: 'linux',
      arch: 'x64',
      library: 'libtensorflow_cc.so.2',
      files: [
        { path: 'libtensorflow_cc.so.2', bytes: 4096, sha256: sha256(fakeLibrary()) },
        { path: 'libtensorflow_framework.so.2', bytes: 1024 },
        { path: 'licenses/LICENSE', bytes: 10, sha256: sha256('Apache-2.0') },
      ],
    });
    expect((await searchEngine('tensorflow', {}, context)).found).toMatchObject({
      foundBy: 'cache',
      library: installed.library,
    });
  });

  test('reports its phases, each up to its total', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ libraryBytes: 300_000 }) });
    const seen: InstallProgress[] = [];
    await install('tensorflow', { from: 'a.whl', onProgress: (progress) => seen.push(progress) });
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['verify', 'extract']);
    const last = seen.at(-1);
    expect(last?.receivedBytes).toBe(last?.totalBytes);
    expect(last?.totalBytes).toBe(300_000 + 1024 + 10);
  });

  test('a file that differs from RECORD is refused, and nothing stays', async () => {
    const { folder, install, cached } = await place();
    const tampered = (text: string): string =>
      text.replace(/(libtensorflow_cc\.so\.2,sha256=)./, '$1-');
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ record: tampered }) });
    await expect(install('tensorflow', { from: 'a.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_CHECKSUM',
      message: expect.stringMatching(
        /^expected tensorflow\/libtensorflow_cc\.so\.2 of .* that the wheel's RECORD says/,
      ) as string,
    });
    expect(await cached()).toEqual([]);
  });

  test('a file that RECORD does not name is refused', async () => {
    const { folder, install } = await place();
    const without = (text: string): string => text.replace(/^.*framework.*\n/m, '');
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ record: without }) });
    await expect(install('tensorflow', { from: 'a.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_CHECKSUM',
    });
  });

  test('one for another machine is refused', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ arch: 'arm64' }) });
    await expect(install('tensorflow', { from: 'a.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message:
        'expected a library for linux-x64, received libtensorflow_cc.so.2, which is for linux-arm64',
    });
    expect(await cached()).toEqual([]);
  });

  test('a version that is too old is refused by name', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ version: '2.9.3' }) });
    await expect(install('tensorflow', { from: 'a.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_VERSION',
      message: 'expected TensorFlow 2.10.0 or later, received 2.9.3',
    });
    await expect(install('onnxruntime', { version: '1.16.3' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_VERSION',
    });
  });

  test('one of something else says what it holds', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    await expect(install('onnxruntime', { from: 'a.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringContaining('found tensorflow/libtensorflow_cc.so.2') as string,
    });
  });
});

describe('sha256', () => {
  test('a wrong one is refused before anything is unpacked', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    const phases = new Set<string>();
    await expect(
      install('tensorflow', {
        from: 'a.whl',
        sha256: 'a'.repeat(64),
        onProgress: ({ phase }) => phases.add(phase),
      }),
    ).rejects.toMatchObject({
      code: 'ERR_TENON_CHECKSUM',
      message: expect.stringContaining(`expected sha256 ${'a'.repeat(64)}`) as string,
    });
    expect([...phases]).toEqual(['verify']);
    expect(await cached()).toEqual([]);
  });

  test('the right one passes, in capitals too', async () => {
    const { folder, install } = await place();
    const wheel = fakeTensorFlowWheel();
    await writeTree(folder, { 'a.whl': wheel });
    const installed = await install('tensorflow', {
      from: 'a.whl',
      sha256: sha256(wheel).toUpperCase(),
    });
    expect(installed.source.sha256).toBe(sha256(wheel));
  });

  test('a folder has none', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'lib/libtensorflow.so.2': fakeLibrary() });
    await expect(
      install('tensorflow', { from: folder, sha256: 'a'.repeat(64), version: '2.21.0' }),
    ).rejects.toMatchObject({ code: 'ERR_TENON_INVALID_ARGUMENT' });
  });
});

describe('hostile and broken archives', () => {
  const library: FakeEntry = { path: 'lib/libtensorflow.so.2', content: fakeLibrary() };

  test.each([
    ['zip', '../../outside.txt', makeZip],
    ['zip', '/outside.txt', makeZip],
    ['tar', '../../outside.txt', makeTarGz],
    ['tar', 'lib/../../outside.txt', makeTarGz],
    ['tar', '/outside.txt', makeTarGz],
    ['tar', 'C:\\outside.txt', makeTarGz],
  ])('a %s with an entry %s is refused', async (_kind, hostile, make) => {
    const { folder, install, cached } = await place();
    await writeTree(folder, { archive: make([library, { path: hostile, content: 'x' }]) });
    await expect(
      install('tensorflow', { from: 'archive', version: '2.21.0' }),
    ).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringMatching(/expected an engine's archive, received .*outside/) as string,
    });
    expect(await cached()).toEqual([]);
  });

  test('a link in place of the library is not followed', async () => {
    const { folder, install } = await place();
    await writeTree(folder, {
      'a.tgz': makeTarGz([
        { path: 'lib/libtensorflow.so.2', type: 'SymbolicLink', linkpath: '/etc/passwd' },
        { path: 'lib/libtensorflow_framework.so.2', type: 'Link', linkpath: '/etc/passwd' },
      ]),
      'a.zip': makeZip([
        { path: 'lib/libtensorflow.so.2', content: '/etc/passwd', mode: 0o120777 },
      ]),
    });
    for (const from of ['a.tgz', 'a.zip']) {
      await expect(install('tensorflow', { from, version: '2.21.0' })).rejects.toMatchObject({
        code: 'ERR_TENON_ENGINE_INSTALL',
        message: expect.stringContaining('found no library at all') as string,
      });
    }
  });

  test.each([
    ['wheel', (): Buffer => fakeTensorFlowWheel({ libraryBytes: 100_000 })],
    [
      'tar.gz',
      (): Buffer =>
        makeTarGz([
          library,
          {
            path: 'noise',
            content: Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i) % 251)),
          },
        ]),
    ],
  ])('a %s cut off anywhere is refused, and nothing stays', async (_kind, make) => {
    const { folder, install, cached } = await place();
    const whole = make();
    for (const share of [0.05, 0.3, 0.6, 0.9, 0.99]) {
      await writeTree(folder, { cut: whole.subarray(0, Math.floor(whole.length * share)) });
      await expect(install('tensorflow', { from: 'cut', version: '2.21.0' })).rejects.toMatchObject(
        { code: 'ERR_TENON_ENGINE_INSTALL' },
      );
    }
    expect(await cached()).toEqual([]);
  });

  test.each([
    ['text', 'not an archive'],
    ['nothing', ''],
    ['a gzip of nothing', makeTarGz([])],
  ])('%s is refused', async (_what, content) => {
    const { folder, install } = await place();
    await writeTree(folder, { file: content });
    await expect(install('tensorflow', { from: 'file' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
    });
  });

  test('what calls itself a library and is none is refused', async () => {
    const { folder, install } = await place();
    await writeTree(folder, {
      'a.zip': makeZip([{ path: 'lib/libtensorflow.so.2', content: 'a text file of some length' }]),
    });
    await expect(install('tensorflow', { from: 'a.zip', version: '2.21.0' })).rejects.toMatchObject(
      { message: expect.stringContaining('which is no shared library') as string },
    );
  });
});

describe('from other places', () => {
  test('an npm package: only this platform, not the binding', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, { 'a.tgz': fakeOnnxRuntimeTgz('1.29.1') });
    const installed = await install('onnxruntime', { from: 'a.tgz' });
    expect(installed.version).toBe('1.29.1');
    expect(await cached()).toEqual([
      'onnxruntime/1.29.1-linux-x64/libonnxruntime.so.1',
      'onnxruntime/1.29.1-linux-x64/licenses/LICENSE',
      'onnxruntime/1.29.1-linux-x64/manifest.json',
    ]);
  });

  test('a C archive with links: files get the names the loader asks for', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, {
      'c.tar.gz': makeTarGz([
        { path: './lib/', type: 'Directory' },
        { path: './lib/libtensorflow.so', type: 'SymbolicLink', linkpath: 'libtensorflow.so.2' },
        {
          path: './lib/libtensorflow.so.2',
          type: 'SymbolicLink',
          linkpath: 'libtensorflow.so.2.18.0',
        },
        { path: './lib/libtensorflow.so.2.18.0', content: fakeLibrary() },
        { path: './lib/libtensorflow_framework.so.2.18.0', content: fakeLibrary('x64', 600) },
        { path: './lib/libtensorflow_framework.so.2', type: 'SymbolicLink', linkpath: 'x' },
        { path: './include/tensorflow/c/c_api.h', content: '//' },
        { path: './THIRD_PARTY_TF_C_LICENSES', content: 'all' },
        { path: './LICENSE', content: 'Apache-2.0' },
      ]),
    });
    expect((await install('tensorflow', { from: 'c.tar.gz' })).version).toBe('2.18.0');
    const home = 'tensorflow/2.18.0-linux-x64';
    expect(await cached()).toEqual([
      `${home}/libtensorflow.so.2`,
      `${home}/libtensorflow_framework.so.2`,
      `${home}/licenses/LICENSE`,
      `${home}/licenses/THIRD_PARTY_TF_C_LICENSES`,
      `${home}/manifest.json`,
    ]);
  });

  test.each(['unpacked', 'unpacked/lib', 'unpacked/lib/libtensorflow.so.2'])(
    'an unpacked C archive, given as %s',
    async (from) => {
      const { folder, install, cached } = await place();
      await writeTree(folder, {
        'unpacked/lib/libtensorflow.so.2.17.1': fakeLibrary(),
        'unpacked/lib/libtensorflow_framework.so.2': fakeLibrary(),
        'unpacked/lib/unrelated.so': fakeLibrary(),
        'unpacked/LICENSE': 'Apache-2.0',
      });
      await symlink(
        'libtensorflow.so.2.17.1',
        path.join(folder, 'unpacked/lib/libtensorflow.so.2'),
      );
      expect((await install('tensorflow', { from })).version).toBe('2.17.1');
      const home = 'tensorflow/2.17.1-linux-x64';
      expect(await cached()).toEqual([
        `${home}/libtensorflow.so.2`,
        `${home}/libtensorflow_framework.so.2`,
        `${home}/licenses/LICENSE`,
        `${home}/manifest.json`,
      ]);
    },
  );

  test.each([
    'venv',
    'venv/lib/python3.11/site-packages',
    'venv/lib/python3.11/site-packages/tensorflow',
  ])('an installed wheel, given as %s', async (from) => {
    const { folder, install } = await place();
    await writeTree(path.join(folder, 'venv/lib/python3.11/site-packages'), {
      'tensorflow/libtensorflow_cc.so.2': fakeLibrary(),
      'tensorflow/libtensorflow_framework.so.2': fakeLibrary(),
      'tensorflow-2.20.0.dist-info/METADATA': '',
      'tensorflow_io-0.1.0.dist-info/METADATA': '',
    });
    expect((await install('tensorflow', { from })).version).toBe('2.20.0');
  });

  test('a folder whose version nothing tells needs to be told', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'x/libonnxruntime.so': fakeLibrary() });
    await expect(install('onnxruntime', { from: 'x' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringContaining('--version') as string,
    });
    const installed = await install('onnxruntime', { from: 'x', version: '1.22.0' });
    expect(installed.version).toBe('1.22.0');
  });

  test('TensorFlow headers tell the version', async () => {
    const { folder, install } = await place();
    await writeTree(folder, {
      'x/lib/libtensorflow.so.2': fakeLibrary(),
      'x/include/tensorflow/core/public/release_version.h':
        '#define TF_MAJOR_VERSION 2\n#define TF_MINOR_VERSION 19\n#define TF_PATCH_VERSION 1\n',
    });
    expect((await install('tensorflow', { from: 'x' })).version).toBe('2.19.1');
  });

  test('a path that is not there', async () => {
    const { install } = await place();
    await expect(install('tensorflow', { from: 'gone.whl' })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringContaining('gone.whl", which is not there') as string,
    });
  });
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('from a URL', () => {
  test('follows redirects, keeps credentials out of what is shown, and knows its total', async () => {
    const { install } = await place();
    const wheel = fakeTensorFlowWheel();
    const base = await serve((request, response) => {
      if (request.url === '/start') {
        expect(request.headers.authorization).toBe(`Basic ${btoa('me:secret')}`);
        response.writeHead(302, { location: '/files/tensorflow.whl' }).end();
      } else response.writeHead(200, { 'content-length': wheel.length }).end(wheel);
    });
    const seen: InstallProgress[] = [];
    const installed = await install('tensorflow', {
      from: `${base}/start`.replace('http://', 'http://me:secret@'),
      onProgress: (progress) => seen.push(progress),
    });
    expect(installed.source).toEqual({
      way: 'download',
      location: `${base}/start`,
      sha256: sha256(wheel),
    });
    expect(seen.filter(({ phase }) => phase === 'download').at(-1)).toEqual({
      phase: 'download',
      receivedBytes: wheel.length,
      totalBytes: wheel.length,
    });
  });

  test.each<[string, RequestListener, RegExp]>([
    ['is not there', (_, response) => void response.writeHead(404).end(), /HTTP 404 Not Found/],
    [
      'redirects for ever',
      (_, response) => void response.writeHead(302, { location: '/again' }).end(),
      /more than 5 redirects/,
    ],
    [
      'redirects to another scheme',
      (_, response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
      /redirected from http: to file:/,
    ],
    [
      'breaks off',
      (_, response) => {
        response.writeHead(200, { 'content-length': 1000 });
        response.write('half', () => response.destroy());
      },
      /terminated|closed|cut off/,
    ],
    [
      'is too large',
      (_, response) => void response.writeHead(200, { 'content-length': 9e9 }).write('x'),
      /9\.0 GB is more than 8\.0 GB/,
    ],
  ])('one that %s', async (_what, listener, reason) => {
    const { install, cached } = await place();
    const base = await serve(listener);
    await expect(install('tensorflow', { from: `${base}/a.whl` })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringMatching(reason) as string,
    });
    expect(await cached()).toEqual([]);
  });

  test('one that hangs is given up', async () => {
    const { install } = await place();
    const base = await serve((_, response) => void response.writeHead(200).write('x'));
    await expect(install('tensorflow', { from: `${base}/a.whl`, timeoutMs: 300 })).rejects.toThrow(
      /not complete within 0\.3 s/,
    );
  });
});

/** A pip that "downloads" a file, or does what the script says. */
async function writePip(context: EngineContext, script: string): Promise<void> {
  await writeProgram(
    path.join(context.cwd, 'bin', 'python3'),
    `#!/bin/sh\nPATH=/usr/bin:/bin\nfor a in "$@"; do case "$a" in --dest=*) dest="\${a#--dest=}";; esac; done\n${script}\n`,
  );
}

async function writeNpm(context: EngineContext, integrity: string, script: string): Promise<void> {
  await writeProgram(
    path.join(context.cwd, 'bin', 'npm'),
    `#!/bin/sh\nPATH=/usr/bin:/bin\nif [ "$1" = view ]; then echo '"${integrity}"'; exit 0; fi\n` +
      `for a in "$@"; do case "$a" in --pack-destination=*) dest="\${a#--pack-destination=}";; esac; done\n${script}\n`,
  );
}

function sha512(content: Buffer): string {
  return `sha512-${createHash('sha512').update(content).digest('base64')}`;
}

describe('by pip and npm', () => {
  test('pip gets the pinned wheel, with a temporary folder beside the install', async () => {
    const { folder, context, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ version: '2.20.0' }) });
    await writePip(
      context,
      `echo "$@" > ${folder}/args; echo "$TMPDIR" > ${folder}/tmpdir; cp ${folder}/a.whl "$dest/tensorflow_cpu-2.20.0-x.whl"`,
    );
    const installed = await install('tensorflow', { version: '2.20.0' });
    expect(installed.source).toMatchObject({
      way: 'python3 -m pip download tensorflow-cpu==2.20.0',
      location: 'tensorflow_cpu-2.20.0-x.whl',
    });
    const args = await readFile(path.join(folder, 'args'), 'utf8');
    expect(args).toMatch(/^-m pip download --retries=0 --no-deps --only-binary=:all: /);
    expect(args).toContain('--platform=manylinux_2_27_x86_64');
    expect(await readFile(path.join(folder, 'tmpdir'), 'utf8')).toMatch(
      /tensorflow\/linux-x64\.partial-\d+-\w+\/download\/pip\/tmp\n$/,
    );
  });

  test('a wheel under the pinned name with other content ends it', async () => {
    const { folder, context, install, cached } = await place();
    const wheel = fakeTensorFlowWheel();
    await writeTree(folder, { 'a.whl': wheel });
    const name = 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl';
    await writePip(context, `cp ${folder}/a.whl "$dest/${name}"`);
    await expect(install('tensorflow')).rejects.toMatchObject({
      code: 'ERR_TENON_CHECKSUM',
      message: expect.stringContaining('2b847d217b02ee77') as string,
    });
    expect(await cached()).toEqual([]);
    // Another build is meant: its checksum is given.
    const installed = await install('tensorflow', { sha256: sha256(wheel) });
    expect(installed.alreadyInstalled).toBe(false);
  });

  test('each failed way is explained with its remedy', async () => {
    const { context, install } = await place();
    await writePip(
      context,
      'echo "WARNING: x" >&2; echo "ERROR: No matching distribution found for onnxruntime" >&2; exit 1',
    );
    const error: unknown = await install('onnxruntime', { version: '1.18.0' }).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code: 'ERR_TENON_ENGINE_INSTALL' });
    expect((error as Error).message.split('\n')).toEqual([
      'expected to get ONNX Runtime 1.18.0 for linux-x64, no way to it worked:',
      '  1. npm pack onnxruntime-node@1.18.0: there is no npm to run',
      '       remedy: install npm, which comes with Node',
      '  2. python3 -m pip download onnxruntime==1.18.0: exit code 1',
      '       | WARNING: x',
      '       | ERROR: No matching distribution found for onnxruntime',
      expect.stringContaining(
        'remedy: the index that pip is set up with has no onnxruntime==1.18.0',
      ),
      'Without network: get the archive on another machine, then',
      '  npx tenon engines install onnxruntime --from <file>',
    ]);
  });

  test('a Python without pip is passed over for the next', async () => {
    const { folder, context, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel({ version: '2.20.0' }) });
    await writePip(context, 'echo "/usr/bin/python3: No module named pip" >&2; exit 1');
    await writeProgram(
      path.join(folder, 'bin', 'pip3'),
      `#!/bin/sh\nPATH=/usr/bin:/bin\nfor a in "$@"; do case "$a" in --dest=*) cp ${folder}/a.whl "\${a#--dest=}/a.whl";; esac; done\n`,
    );
    const installed = await install('tensorflow', { version: '2.20.0' });
    expect(installed.source.way).toBe('pip3 download tensorflow-cpu==2.20.0');
  });

  test('a pip that hangs is given up', async () => {
    const { context, install, cached } = await place();
    await writePip(context, 'exec sleep 60');
    await expect(install('onnxruntime', { timeoutMs: 300 })).rejects.toThrow(
      /pip download onnxruntime==\S+: no end within 0\.3 s/,
    );
    expect(await cached()).toEqual([]);
  });

  test('npm comes first for ONNX Runtime, and its sha512 is compared', async () => {
    const { folder, context, install } = await place();
    const tgz = fakeOnnxRuntimeTgz();
    await writeTree(folder, { 'a.tgz': tgz });
    await writeNpm(context, sha512(tgz), `cp ${folder}/a.tgz "$dest/onnxruntime-node.tgz"`);
    const installed = await install('onnxruntime');
    expect(installed).toMatchObject({
      version: '1.30.0',
      source: { way: 'npm pack onnxruntime-node@1.30.0', location: 'onnxruntime-node.tgz' },
    });
    await writeNpm(context, sha512(Buffer.from('x')), `cp ${folder}/a.tgz "$dest/a.tgz"`);
    await expect(install('onnxruntime', { force: true })).rejects.toMatchObject({
      code: 'ERR_TENON_CHECKSUM',
      message: expect.stringMatching(
        /for onnxruntime-node@1\.30\.0, as the registry says/,
      ) as string,
    });
  });

  test('C archives: the wanted version only, or the newest known after the default', () => {
    const context = bareContext('/');
    expect(
      tensorflowArchives(undefined, context).map(({ url }) => path.posix.dirname(url)),
    ).toEqual([
      'https://storage.googleapis.com/tensorflow/versions/2.21.0',
      'https://storage.googleapis.com/tensorflow/versions/2.18.0',
    ]);
    expect(tensorflowArchives('2.15.0', { ...context, platform: 'win32' })).toEqual([
      {
        url: 'https://storage.googleapis.com/tensorflow/libtensorflow/libtensorflow-cpu-windows-x86_64-2.15.0.zip',
        version: '2.15.0',
      },
    ]);
    expect(tensorflowArchives(undefined, { ...context, arch: 'arm64' })).toEqual([]);
  });
});

describe('an install that is there', () => {
  test('is left alone; a changed size, or force, or a verified change, replaces it', async () => {
    const { folder, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    const options = { from: 'a.whl' };
    const { library } = await install('tensorflow', options);
    const before = await stat(library);
    expect((await install('tensorflow', options)).alreadyInstalled).toBe(true);
    expect((await install('tensorflow')).alreadyInstalled).toBe(true);
    expect((await stat(library)).ino).toBe(before.ino);

    expect((await install('tensorflow', { ...options, force: true })).alreadyInstalled).toBe(false);
    await writeFile(library, Buffer.alloc(4096));
    expect((await install('tensorflow', options)).alreadyInstalled).toBe(true);
    const verified = await install('tensorflow', { ...options, verify: true });
    expect(verified.alreadyInstalled).toBe(false);
    expect(await readFile(library)).toEqual(fakeLibrary());
    await writeFile(library, 'short');
    expect((await install('tensorflow', options)).alreadyInstalled).toBe(false);
    await rm(path.join(path.dirname(library), 'manifest.json'));
    expect((await install('tensorflow', options)).alreadyInstalled).toBe(false);
  });

  test('another file of the same version replaces it', async () => {
    const { folder, install } = await place();
    await writeTree(folder, {
      'a.whl': fakeTensorFlowWheel(),
      'b.whl': fakeTensorFlowWheel({ libraryBytes: 5000 }),
    });
    const { library } = await install('tensorflow', { from: 'a.whl' });
    expect((await install('tensorflow', { from: 'b.whl' })).alreadyInstalled).toBe(false);
    expect((await stat(library)).size).toBe(5000);
  });

  test('two versions live side by side', async () => {
    const { folder, context, install } = await place();
    await writeTree(folder, {
      'a.whl': fakeTensorFlowWheel(),
      'b.whl': fakeTensorFlowWheel({ version: '2.9.3'.replace('9', '19') }),
    });
    await install('tensorflow', { from: 'a.whl' });
    const second = await install('tensorflow', { from: 'b.whl' });
    expect(second.version).toBe('2.19.3');
    const { found } = await searchEngine('tensorflow', {}, context);
    expect(found?.detail).toBe('2.21.0, installed by Tenon');
  });
});

describe('what others left behind', () => {
  const owner = (pid: number): string => JSON.stringify({ pid, host: hostname() });
  /** No process has it: beyond what any kernel gives. */
  const deadPid = 2 ** 30;

  test('partial folders and a lock of a process that is gone are removed', async () => {
    const { folder, cache, install, cached } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    await writeTree(path.join(cache, 'engines/tensorflow'), {
      'linux-x64.partial-1-aa/owner.json': owner(deadPid),
      'linux-x64.partial-1-aa/libtensorflow_cc.so.2': 'half',
      '.lock/owner.json': owner(deadPid),
    });
    await install('tensorflow', { from: 'a.whl' });
    expect(await cached()).toEqual(tensorflowFiles);
  });

  test('one of a process that lives, or of another machine, stays until it is silent', async () => {
    const { folder, cache, install } = await place();
    const parent = path.join(cache, 'engines/tensorflow');
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    await writeTree(parent, {
      'x.partial-1-aa/owner.json': owner(process.pid),
      'x.partial-1-bb/owner.json': JSON.stringify({ pid: deadPid, host: 'elsewhere' }),
      'x.partial-1-cc/half': '',
      'x.partial-1-dd/owner.json': JSON.stringify({ pid: deadPid, host: 'elsewhere' }),
    });
    const longAgo = new Date(Date.now() - 3_600_000);
    for (const silent of ['x.partial-1-cc', 'x.partial-1-dd']) {
      await utimes(path.join(parent, silent), longAgo, longAgo);
    }
    await install('tensorflow', { from: 'a.whl' });
    expect((await listTree(parent)).filter((file) => file.includes('partial'))).toEqual([
      'x.partial-1-aa/owner.json',
      'x.partial-1-bb/owner.json',
    ]);
  });

  test('a lock that is held is waited for only so long, and told', async () => {
    const { folder, cache, install } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    await writeTree(path.join(cache, 'engines/tensorflow'), {
      '.lock/owner.json': owner(process.pid),
    });
    await expect(install('tensorflow', { from: 'a.whl', timeoutMs: 300 })).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringContaining('another install still holds it') as string,
    });
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = install('tensorflow', { from: 'a.whl', signal: controller.signal });
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });
});

describe('stopping', () => {
  test('an abort in any phase rejects with its reason and leaves nothing', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, {
      'a.whl': fakeTensorFlowWheel({ libraryBytes: 3_000_000 }),
      'a.tgz': makeTarGz([{ path: 'libtensorflow.so.2', content: fakeLibrary('x64', 3_000_000) }]),
    });
    for (const from of ['a.whl', 'a.tgz']) {
      for (const phase of ['verify', 'extract'] as const) {
        const controller = new AbortController();
        const reason = new Error(`stopped in ${phase}`);
        await expect(
          install('tensorflow', {
            from,
            version: '2.21.0',
            signal: controller.signal,
            onProgress(progress) {
              if (progress.phase === phase) controller.abort(reason);
            },
          }),
        ).rejects.toBe(reason);
        expect(await cached()).toEqual([]);
      }
    }
  });

  test('an abort ends pip', async () => {
    const { folder, context, install, cached } = await place();
    await writePip(context, `echo $$ > ${folder}/pid; exec sleep 60`);
    const controller = new AbortController();
    const installing = install('onnxruntime', { signal: controller.signal });
    const pid = await untilWritten(path.join(folder, 'pid'));
    controller.abort(new Error('stop'));
    await expect(installing).rejects.toThrow('stop');
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(await cached()).toEqual([]);
  });

  test('a signal that is aborted already is refused at once', async () => {
    const { install } = await place();
    const reason = new Error('before');
    await expect(install('tensorflow', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('a progress function that throws stops the install with its error', async () => {
    const { folder, install, cached } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    const error = new Error('mine');
    await expect(
      install('tensorflow', {
        from: 'a.whl',
        onProgress() {
          throw error;
        },
      }),
    ).rejects.toBe(error);
    expect(await cached()).toEqual([]);
  });
});

async function untilWritten(file: string): Promise<number> {
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.endsWith('\n')) return Number(text);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('the cache folder', () => {
  test('a path through a file is told with a remedy', async () => {
    const { folder, context } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel(), file: '' });
    await expect(
      installEngine('tensorflow', { from: 'a.whl', cacheFolder: 'file/cache' }, context),
    ).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringMatching(/file\/cache.*ENOTDIR.*set TENON_CACHE/) as string,
    });
  });

  test.skipIf(process.platform !== 'linux')('one that cannot be written is told', async () => {
    const { folder, context } = await place();
    await writeTree(folder, { 'a.whl': fakeTensorFlowWheel() });
    // Not even root makes folders there.
    await expect(
      installEngine('tensorflow', { from: 'a.whl', cacheFolder: '/proc/tenon' }, context),
    ).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_INSTALL',
      message: expect.stringContaining('/proc/tenon') as string,
    });
  });
});

describe('arguments', () => {
  test.each<[string, EngineName, InstallEngineOptions, RegExp]>([
    ['an unknown engine', 'torch' as EngineName, {}, /"name", received "torch"/],
    ['an empty from', 'tensorflow', { from: '' }, /"from"/],
    ['a broken URL', 'tensorflow', { from: 'http://' }, /valid http\(s\) URL/],
    ['a version that is none', 'tensorflow', { version: 'latest' }, /"version"/],
    ['a version with a path in it', 'tensorflow', { version: '2.1/../..' }, /"version"/],
    ['a short sha256', 'tensorflow', { sha256: 'abc' }, /64 hexadecimal digits/],
    ['a negative time limit', 'tensorflow', { timeoutMs: -1 }, /milliseconds/],
  ])('%s', async (_what, name, options, message) => {
    const { install } = await place();
    await expect(install(name, options)).rejects.toMatchObject({
      code: 'ERR_TENON_INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  });
});
