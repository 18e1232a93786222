import { symlink } from 'node:fs/promises';
import path from 'node:path';

import { describe, expect, test } from 'vitest';

import type { EngineContext } from '../../lib/engines/context.js';
import { engineNotFound, findEngine, searchEngine } from '../../lib/engines/find.js';
import type { EngineName } from '../../lib/native/types.js';
import {
  bareContext,
  fakeLibrary,
  listTree,
  temporaryFolder,
  writeProgram,
  writeTree,
} from './engines-fixtures.js';

/** A cache with one complete install. */
async function writeInstall(
  cache: string,
  name: EngineName,
  version: string,
  changes: Record<string, unknown> = {},
): Promise<string> {
  const library = name === 'tensorflow' ? 'libtensorflow_cc.so.2' : 'libonnxruntime.so.1';
  const folder = path.join(cache, 'engines', name, `${version}-linux-x64`);
  await writeTree(folder, {
    [library]: 'library',
    'manifest.json': JSON.stringify({
      name,
      version,
      platform: 'linux',
      arch: 'x64',
      library,
      files: [{ path: library, bytes: 7, sha256: '' }],
      ...changes,
    }),
  });
  return path.join(folder, library);
}

/** A Python that says its packages are in `site`. */
async function writePython(folder: string, site: string): Promise<void> {
  await writeProgram(
    path.join(folder, 'bin', 'python3'),
    `#!/bin/sh\necho 'a warning'\necho '["${site}", "${site}", "/nowhere/user"]'\n`,
  );
}

async function everything(folder: string): Promise<EngineContext> {
  const site = path.join(folder, 'venv', 'lib', 'python3.11', 'site-packages');
  await writeTree(folder, {
    'given/libtensorflow.so.2': '',
    'variable/libtensorflow.so.2': '',
    'system/libtensorflow.so.2': '',
  });
  await writeTree(site, { 'tensorflow/libtensorflow_cc.so.2': '' });
  await writeInstall(path.join(folder, 'cache'), 'tensorflow', '2.21.0');
  return bareContext(folder, {
    TENON_TENSORFLOW_LIBRARY: path.join(folder, 'variable', 'libtensorflow.so.2'),
    TENON_CACHE: path.join(folder, 'cache'),
    VIRTUAL_ENV: path.join(folder, 'venv'),
    LD_LIBRARY_PATH: path.join(folder, 'system'),
  });
}

describe('order', () => {
  test('option, environment, cache, Python, system: each hides what comes after it', async () => {
    const folder = await temporaryFolder();
    const context = await everything(folder);
    const find = async (library?: string) =>
      (await searchEngine('tensorflow', { library }, context)).found;

    expect(await find('given/libtensorflow.so.2')).toMatchObject({
      foundBy: 'option',
      library: path.join(folder, 'given', 'libtensorflow.so.2'),
    });
    expect(await find()).toMatchObject({
      foundBy: 'environment',
      library: path.join(folder, 'variable', 'libtensorflow.so.2'),
      detail: 'TENON_TENSORFLOW_LIBRARY',
    });
    delete context.env.TENON_TENSORFLOW_LIBRARY;
    expect(await find()).toMatchObject({ foundBy: 'cache', detail: '2.21.0, installed by Tenon' });
    delete context.env.TENON_CACHE;
    expect(await find()).toMatchObject({ foundBy: 'python' });
    delete context.env.VIRTUAL_ENV;
    expect(await find()).toMatchObject({
      foundBy: 'system',
      library: path.join(folder, 'system', 'libtensorflow.so.2'),
    });
  });

  test('a package comes after the environment and before the cache', async () => {
    const folder = await temporaryFolder();
    const variable = path.join(folder, 'libonnxruntime.so.1');
    await writeTree(folder, { 'libonnxruntime.so.1': '' });
    await writeInstall(path.join(folder, 'cache'), 'onnxruntime', '1.30.0');
    const context = bareContext(folder, { TENON_CACHE: path.join(folder, 'cache') });
    // This checkout's own node_modules has the engine package.
    const { found } = await searchEngine('onnxruntime', {}, context);
    expect(found?.foundBy).toBe('package');
    expect(found?.detail).toMatch(/^onnxruntime-node(-engine)? \d+\.\d+\.\d+$/);
    context.env.TENON_ONNXRUNTIME_LIBRARY = variable;
    expect((await searchEngine('onnxruntime', {}, context)).found).toMatchObject({
      foundBy: 'environment',
      library: variable,
    });
  });
});

describe('option and environment', () => {
  test('a folder stands for the library in it', async () => {
    const folder = await temporaryFolder();
    await writeTree(folder, { 'ort/libonnxruntime.so.1.22.0': '', 'ort/libonnxruntime.so': '' });
    const { found } = await searchEngine('onnxruntime', { library: './ort' }, bareContext(folder));
    expect(found?.library).toBe(path.join(folder, 'ort', 'libonnxruntime.so.1.22.0'));
  });

  test('a bare file name is left to the loader', async () => {
    const folder = await temporaryFolder();
    const { found } = await searchEngine(
      'onnxruntime',
      { library: 'libonnxruntime.so.1' },
      bareContext(folder),
    );
    expect(found).toMatchObject({ library: 'libonnxruntime.so.1', foundBy: 'option' });
  });

  test('a path that is not there is an error, though the engine lies elsewhere', async () => {
    const folder = await temporaryFolder();
    const context = await everything(folder);
    await expect(
      searchEngine('tensorflow', { library: 'gone/libtensorflow.so.2' }, context),
    ).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_NOT_FOUND',
      message: expect.stringContaining('option "library"') as string,
    });
    context.env.TENON_TENSORFLOW_LIBRARY = '/nowhere/libtensorflow.so.2';
    await expect(searchEngine('tensorflow', {}, context)).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_NOT_FOUND',
      message:
        'expected the environment variable TENON_TENSORFLOW_LIBRARY to name a library of ' +
        'TensorFlow, received "/nowhere/libtensorflow.so.2", which is not there',
    });
  });

  test('a folder without a library is an error', async () => {
    const folder = await temporaryFolder();
    await expect(
      searchEngine('tensorflow', { library: './' }, bareContext(folder)),
    ).rejects.toThrow(/a folder without libtensorflow_cc\.so\.2 or libtensorflow\.so\.2/);
  });

  test('an empty variable counts as not set', async () => {
    const folder = await temporaryFolder();
    const context = bareContext(folder, { TENON_TENSORFLOW_LIBRARY: '' });
    const { tried } = await searchEngine('tensorflow', {}, context);
    expect(tried).toContain('environment variable TENON_TENSORFLOW_LIBRARY: not set');
  });
});

describe('package', () => {
  const modules = 'app/node_modules/onnxruntime-node';

  test('is found from the working directory, whatever its exports allow', async () => {
    const folder = await temporaryFolder();
    await writeTree(folder, {
      [`${modules}/package.json`]: JSON.stringify({ version: '9.9.9', exports: {} }),
      [`${modules}/bin/napi-v3/plan9/mips/libonnxruntime.so.1`]: '',
      [`${modules}/bin/napi-v10/plan9/mips/libonnxruntime.so.1`]: '',
    });
    // A platform that the engine package of this checkout has no library for.
    const context: EngineContext = {
      ...bareContext(folder),
      cwd: path.join(folder, 'app', 'deep', 'below'),
      platform: 'plan9' as NodeJS.Platform,
      arch: 'mips',
    };
    const { found } = await searchEngine('onnxruntime', {}, context);
    expect(found).toEqual({
      name: 'onnxruntime',
      library: path.join(folder, modules, 'bin/napi-v10/plan9/mips/libonnxruntime.so.1'),
      foundBy: 'package',
      detail: 'onnxruntime-node 9.9.9',
    });
  });

  test('one without a library for this platform is named among what was tried', async () => {
    const folder = await temporaryFolder();
    await writeTree(folder, { [`${modules}/package.json`]: '{"version":"1.0.0"}' });
    const context = { ...bareContext(folder), cwd: path.join(folder, 'app'), arch: 'mips' };
    const { tried } = await searchEngine('onnxruntime', {}, context);
    expect(tried.join('\n')).toContain(
      `${path.join(folder, modules)} has no library for linux-mips`,
    );
  });
});

describe('cache', () => {
  test('the highest complete version wins, numbers compared as numbers', async () => {
    const folder = await temporaryFolder();
    const cache = path.join(folder, 'cache');
    await writeInstall(cache, 'tensorflow', '2.9.1');
    const best = await writeInstall(cache, 'tensorflow', '2.16.1');
    await writeInstall(cache, 'tensorflow', '2.21.0', {
      files: [{ path: 'libtensorflow_cc.so.2', bytes: 8, sha256: '' }],
    });
    const { found } = await searchEngine('tensorflow', { cacheFolder: cache }, bareContext(folder));
    expect(found?.library).toBe(best);
  });

  test('incomplete installs are passed over and named', async () => {
    const folder = await temporaryFolder();
    const cache = path.join(folder, 'cache');
    await writeTree(path.join(cache, 'engines', 'tensorflow'), {
      'linux-x64.partial-1-abc/libtensorflow_cc.so.2': '',
      '2.21.0-linux-x64/libtensorflow_cc.so.2': '',
      '2.21.0-linux-arm64/manifest.json': '{}',
    });
    const { found, tried } = await searchEngine(
      'tensorflow',
      { cacheFolder: cache },
      bareContext(folder),
    );
    expect(found).toBeUndefined();
    const line = tried.find((text) => text.startsWith('cache'));
    expect(line).toContain('2.21.0-linux-x64: no readable manifest.json');
    expect(line).toContain('2.21.0-linux-arm64 is for another platform');
    expect(line).not.toContain('partial');
  });

  test.each([
    ['linux', { TENON_CACHE: '/c' }, '/c/engines'],
    ['linux', { XDG_CACHE_HOME: '/x' }, '/x/tenon/engines'],
    ['linux', { XDG_CACHE_HOME: 'relative' }, '/home/me/.cache/tenon/engines'],
    ['linux', {}, '/home/me/.cache/tenon/engines'],
    ['darwin', {}, '/home/me/Library/Caches/tenon/engines'],
    ['win32', { LOCALAPPDATA: '/local' }, '/local/tenon/Cache/engines'],
  ] as const)('its place on %s with %o is %s', async (platform, env, expected) => {
    const folder = await temporaryFolder();
    const context = { ...bareContext(folder, env), platform, home: '/home/me' };
    const { tried } = await searchEngine('tensorflow', {}, context);
    expect(tried.find((text) => text.startsWith('cache'))).toContain(`cache ${expected}/`);
  });
});

describe('Python', () => {
  test.each(['VIRTUAL_ENV', 'CONDA_PREFIX'])(
    'looks into %s without running Python',
    async (variable) => {
      const folder = await temporaryFolder();
      await writeProgram(path.join(folder, 'bin', 'python3'), '#!/bin/sh\ntouch "$0.ran"\n');
      await writeTree(folder, {
        'env/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.30.0': '',
        'env/lib/python3.12/site-packages/tensorflow/libtensorflow_cc.so.2': '',
      });
      const context = bareContext(folder, { [variable]: path.join(folder, 'env') });
      const site = path.join(folder, 'env/lib/python3.12/site-packages');
      expect((await searchEngine('tensorflow', {}, context)).found).toMatchObject({
        foundBy: 'python',
        library: path.join(site, 'tensorflow/libtensorflow_cc.so.2'),
        detail: `${variable}, ${site}`,
      });
      const arm = { ...context, arch: 'mips' };
      expect((await searchEngine('onnxruntime', {}, arm)).found).toMatchObject({
        foundBy: 'python',
        library: path.join(site, 'onnxruntime/capi/libonnxruntime.so.1.30.0'),
      });
      expect(await listTree(path.join(folder, 'bin'))).toEqual(['python3']);
    },
  );

  test('asks python3 on PATH where no environment is active', async () => {
    const folder = await temporaryFolder();
    const site = path.join(folder, 'site');
    await writePython(folder, site);
    await writeTree(site, { 'tensorflow/libtensorflow_cc.so.2': fakeLibrary() });
    const { found } = await searchEngine('tensorflow', {}, bareContext(folder));
    expect(found).toMatchObject({
      foundBy: 'python',
      library: path.join(site, 'tensorflow/libtensorflow_cc.so.2'),
    });
  });

  test.each([
    ['fails', '#!/bin/sh\nexit 3\n'],
    ['says nonsense', '#!/bin/sh\necho nonsense\n'],
    ['cannot be run', 'no program'],
  ])('a python3 that %s is told and passed over', async (_what, script) => {
    const folder = await temporaryFolder();
    await writeProgram(path.join(folder, 'bin', 'python3'), script);
    const { found, tried } = await searchEngine('tensorflow', {}, bareContext(folder));
    expect(found).toBeUndefined();
    expect(tried.join('\n')).toContain('failed to say where its packages are');
  });

  test('a python3 that hangs holds nobody longer than its bound', { timeout: 20_000 }, async () => {
    const folder = await temporaryFolder();
    await writeProgram(path.join(folder, 'bin', 'python3'), '#!/bin/sh\nexec /bin/sleep 60\n');
    const start = performance.now();
    const { found } = await searchEngine('tensorflow', {}, bareContext(folder));
    expect(found).toBeUndefined();
    expect(performance.now() - start).toBeLessThan(15_000);
  });

  test('the real interpreter, where there is one, answers in the same form', async () => {
    const folder = await temporaryFolder();
    const context = bareContext(folder, { PATH: process.env.PATH });
    const { tried, found } = await searchEngine('tensorflow', {}, context);
    const line = tried.find((text) => text.startsWith('Python'));
    expect(
      found?.foundBy === 'python' ||
        /no python3 on PATH|site-packages|dist-packages/.test(line ?? ''),
    ).toBe(true);
  });
});

describe('system', () => {
  test('links are fine, a library of another name is not', async () => {
    const folder = await temporaryFolder();
    await writeTree(folder, {
      'lib/libtensorflow.so.2.18.0': '',
      'lib/libtensorflowlite.so.2': '',
    });
    const lib = path.join(folder, 'lib');
    await symlink('libtensorflow.so.2.18.0', path.join(lib, 'libtensorflow.so.2'));
    const context = bareContext(folder, { LD_LIBRARY_PATH: `relative:${lib}` });
    expect((await searchEngine('tensorflow', {}, context)).found).toMatchObject({
      library: path.join(lib, 'libtensorflow.so.2'),
      detail: lib,
    });
  });
});

describe('nothing found', () => {
  test('the error lists every place in order, with the remedies', async () => {
    const folder = await temporaryFolder();
    const { tried } = await searchEngine('tensorflow', {}, bareContext(folder));
    expect(tried.map((line) => line.split(/[ :(]/)[0])).toEqual([
      'option',
      'environment',
      'cache',
      'Python',
      'system',
    ]);
    const { tried: triedOnnx } = await searchEngine(
      'onnxruntime',
      {},
      {
        ...bareContext(folder),
        arch: 'mips',
      },
    );
    expect(triedOnnx.map((line) => line.split(/[ :(]/)[0])).toEqual([
      'option',
      'environment',
      'package',
      'package',
      'cache',
      'Python',
      'system',
    ]);
  });

  test('the error has a code', () => {
    const error = engineNotFound('onnxruntime', ['here: nothing', 'there: nothing']);
    expect(error.code).toBe('ERR_TENON_ENGINE_NOT_FOUND');
    expect(error.message.split('\n')).toEqual([
      'expected a library of ONNX Runtime (onnxruntime), found none. Tried, in this order:',
      '  1. here: nothing',
      '  2. there: nothing',
      'Any of these helps:',
      '  npx tenon engines install onnxruntime',
      '  TENON_ONNXRUNTIME_LIBRARY=/path/to/libonnxruntime.so.1 (or the option "library")',
      '  npm install onnxruntime-node',
    ]);
  });

  test('an unknown engine is an invalid argument', async () => {
    await expect(findEngine('torch' as EngineName)).rejects.toMatchObject({
      code: 'ERR_TENON_INVALID_ARGUMENT',
      message: 'expected one of "onnxruntime", "tensorflow" for "name", received "torch"',
    });
  });
});
