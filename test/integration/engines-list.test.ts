import { execFile } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { describe, expect, test } from 'vitest';

import type { EngineContext } from '../../lib/engines/context.js';
import { environmentVariables } from '../../lib/engines/find.js';
import { listEngines } from '../../lib/engines/list.js';
import { probeEngine } from '../../lib/engines/probe.js';
import { compareVersions, oldestVersions } from '../../lib/engines/versions.js';
import type { EngineName } from '../../lib/native/types.js';
import { bareContext, fakeLibrary, temporaryFolder } from '../unit/engines-fixtures.js';

/** The library that the global set-up found or installed. */
function testLibrary(name: EngineName): string {
  const library = process.env[`TENON_TEST_${name.toUpperCase()}`];
  if (library === undefined) throw new Error(`test/global-setup.ts gave no library of ${name}`);
  return library;
}

async function contextWith(libraries: Partial<Record<EngineName, string>>): Promise<EngineContext> {
  const folder = await temporaryFolder();
  const context = bareContext(folder);
  for (const [name, library] of Object.entries(libraries)) {
    context.env[environmentVariables[name as EngineName]] = library;
  }
  return context;
}

/** A library whose constructor does what the statement says, when it is opened. */
async function compileLibrary(statement: string): Promise<string> {
  const folder = await temporaryFolder();
  const source = path.join(folder, 'library.cc');
  const library = path.join(folder, 'libtensorflow.so.2');
  await writeFile(
    source,
    '#include <cstdio>\n#include <cstdlib>\n#include <unistd.h>\n' +
      `__attribute__((constructor)) static void OnOpen() { ${statement} }\n`,
  );
  await promisify(execFile)(process.env.CXX ?? 'g++', ['-shared', '-fPIC', '-o', library, source]);
  return library;
}

describe('engines.list', () => {
  test('both engines, with version, providers and devices; none mapped here', async () => {
    const libraries = {
      onnxruntime: testLibrary('onnxruntime'),
      tensorflow: testLibrary('tensorflow'),
    };
    const [onnxruntime, tensorflow] = await listEngines({}, await contextWith(libraries));
    expect(onnxruntime).toMatchObject({
      name: 'onnxruntime',
      found: true,
      library: libraries.onnxruntime,
      foundBy: 'environment',
      detail: 'TENON_ONNXRUNTIME_LIBRARY',
      providers: expect.arrayContaining(['CPUExecutionProvider']) as string[],
    });
    expect(onnxruntime?.devices?.length).toBeGreaterThan(0);
    expect(tensorflow).toMatchObject({
      name: 'tensorflow',
      found: true,
      library: libraries.tensorflow,
      devices: expect.arrayContaining([expect.stringContaining('CPU:0')]) as string[],
    });
    for (const status of [onnxruntime, tensorflow]) {
      expect(status?.error).toBeUndefined();
      const oldest = oldestVersions[status?.name ?? 'onnxruntime'];
      expect(compareVersions(status?.version ?? '0', oldest)).toBeGreaterThanOrEqual(0);
    }
    if (process.platform === 'linux') {
      expect(await readFile('/proc/self/maps', 'utf8')).not.toMatch(/libtensorflow|libonnxruntime/);
    }
  });

  test('one that is not found says where it was looked for', async () => {
    const context = await contextWith({ onnxruntime: testLibrary('onnxruntime') });
    const [, tensorflow] = await listEngines({}, context);
    expect(tensorflow).toMatchObject({
      name: 'tensorflow',
      found: false,
      error: { code: 'ERR_TENON_ENGINE_NOT_FOUND' },
    });
    expect(tensorflow?.tried).toContain('environment variable TENON_TENSORFLOW_LIBRARY: not set');
  });

  test('a variable that names nothing is that engine’s error, not the other’s', async () => {
    const context = await contextWith({
      onnxruntime: testLibrary('onnxruntime'),
      tensorflow: '/nowhere/libtensorflow.so.2',
    });
    const [onnxruntime, tensorflow] = await listEngines({}, context);
    expect(onnxruntime?.error).toBeUndefined();
    expect(tensorflow).toMatchObject({
      found: false,
      error: { code: 'ERR_TENON_ENGINE_NOT_FOUND' },
    });
  });

  test('one that is found and no library has an error, with the loader’s words', async () => {
    const folder = await temporaryFolder();
    const library = path.join(folder, 'libtensorflow.so.2');
    await writeFile(library, fakeLibrary());
    const context = await contextWith({
      onnxruntime: testLibrary('onnxruntime'),
      tensorflow: library,
    });
    const [, tensorflow] = await listEngines({}, context);
    expect(tensorflow).toMatchObject({
      found: true,
      library,
      error: { code: 'ERR_TENON_ENGINE_LOAD' },
    });
    expect(tensorflow?.error?.message).toContain(library);
  });

  test('the other engine’s library is refused', async () => {
    const folder = await temporaryFolder();
    const library = path.join(folder, 'libtensorflow.so.2');
    await copyFile(testLibrary('onnxruntime'), library);
    await expect(probeEngine('tensorflow', library)).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_LOAD',
    });
  });
});

describe('a library that misbehaves when it is opened', () => {
  test('takes only the child with it, and the signal is told', async () => {
    const library = await compileLibrary('std::fputs("my last words\\n", stderr); std::abort();');
    await expect(probeEngine('tensorflow', library)).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_LOAD',
      message: expect.stringMatching(/received signal SIGABRT[^]*\| my last words/) as string,
    });
  });

  test('may end the process', async () => {
    const library = await compileLibrary('_exit(7);');
    await expect(probeEngine('tensorflow', library)).rejects.toThrow(/received exit code 7/);
  });

  test('may hang', async () => {
    const library = await compileLibrary('for (;;) pause();');
    await expect(probeEngine('tensorflow', library, { timeoutMs: 1_000 })).rejects.toThrow(
      /received no end within 1 s/,
    );
  });

  test('may print to stdout', async () => {
    const library = await compileLibrary('std::puts("tenon-probe"); std::puts("{}");');
    await expect(probeEngine('tensorflow', library)).rejects.toMatchObject({
      code: 'ERR_TENON_ENGINE_LOAD',
      message: expect.not.stringContaining('process that tried it') as string,
    });
  });

  test('may be given up by the caller', async () => {
    const library = await compileLibrary('for (;;) pause();');
    const controller = new AbortController();
    const reason = new Error('enough');
    const probing = probeEngine('tensorflow', library, { signal: controller.signal });
    controller.abort(reason);
    await expect(probing).rejects.toBe(reason);
  });
});
