import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-layers-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
}

function node(script: string, ...args: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, text: stdout + stderr };
}

describe('the C++ layers', () => {
  const check = (): ReturnType<typeof node> =>
    node(path.join(root, 'scripts/check-native-layers.mjs'), folder);

  const layers = {
    'platform/memory.h': '#include <vector>\n',
    'core/tensor.h': '#include "platform/memory.h"\n',
    'codec/json.h': '#include "core/tensor.h"\n',
    'engines/session.h': '#include "core/tensor.h"\n',
    'engines/onnxruntime/abi.h': '#include "engines/session.h"\n',
    'engines/tensorflow/abi.h': '#include "engines/session.h"\n',
    'runtime/executor.h': '#include "engines/session.h"\n',
    'addon/module.cc':
      '#include <napi.h>\n#include "codec/json.h"\n#include "runtime/executor.h"\n',
    'test/session_test.cc': '#include "engines/tensorflow/abi.h"\n',
  };

  it('may include what lies below them', () => {
    write(layers);
    expect(check()).toMatchObject({ status: 0 });
  });

  it.each([
    ['upward', 'core/shape.h', '#include "engines/session.h"', 'core may not include engines'],
    [
      'upward by a relative path',
      'platform/threads.h',
      '#include "../core/tensor.h"',
      'platform may not include core',
    ],
    [
      'the other engine',
      'engines/onnxruntime/session.cc',
      '  #  include "engines/tensorflow/abi.h"',
      'engines/onnxruntime may not include engines/tensorflow',
    ],
    [
      'an engine from the runtime',
      'runtime/lane.cc',
      '#include "engines/tensorflow/abi.h"',
      'runtime may not include engines/tensorflow',
    ],
    [
      'the engines from the codec',
      'codec/base64.h',
      '#include "engines/session.h"',
      'codec may not include engines',
    ],
    [
      'Node outside of addon/',
      'runtime/lane.cc',
      '#include <node_api.h>',
      'only addon/ may include',
    ],
    ['addon/ from a test', 'test/a.cc', '#include "addon/module.cc"', 'test may not include addon'],
    [
      'anything from no layer',
      'util/text.h',
      '#include "core/tensor.h"',
      'expected a file of one of the layers',
    ],
  ])('may not include %s', (_, file, line, message) => {
    write({ ...layers, [file]: `${line}\n` });
    const { status, text } = check();
    expect(text).toContain(message);
    expect(text).toContain(file);
    expect(status).toBe(1);
  });
});

describe('the TypeScript parts', () => {
  const modules = {
    'lib/index.ts': "export { model } from './model/model.js';\n",
    'lib/errors.ts': 'export const error = 1;\n',
    'lib/runner.ts': 'export const runner = 1;\n',
    'lib/native/load.ts': "import build from 'node-gyp-build';\nexport const addon = build;\n",
    'lib/tensor/tensor.ts': "export { addon as tensor } from '../native/load.js';\n",
    'lib/model/model.ts': "export { pool as model } from '../pool/pool.js';\n",
    'lib/pool/pool.ts': "export { runner as pool } from '../runner.js';\n",
    'lib/batching/batcher.ts': "export { tensor } from '../tensor/tensor.js';\n",
    'lib/codec/json.ts': "export { tensor } from '../tensor/tensor.js';\n",
    'lib/engines/find.ts': "export { addon } from '../native/load.js';\n",
    'lib/server/server.ts':
      "import { model } from '../index.js';\nimport { tensor } from '../codec/json.js';\nexport const server = [model, tensor];\n",
    'lib/onnxruntime/index.ts': "export { model } from '../index.js';\n",
    'lib/tuner/index.ts': "export { model as tune } from '../index.js';\n",
    'lib/cli/main.ts':
      "import { model } from '../index.js';\nimport { server } from '../server/server.js';\nimport { tune } from '../tuner/index.js';\nexport const main = [model, server, tune];\n",
  };

  function check(): ReturnType<typeof node> {
    for (const name of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
      cpSync(path.join(root, name), path.join(folder, name));
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'), 'junction');
    return node(
      path.join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs'),
      '--config=.dependency-cruiser.cjs',
      'lib',
    );
  }

  it('may import what the rules allow', () => {
    write(modules);
    const { status, text } = check();
    expect(text).toContain('no dependency violations found');
    expect(status).toBe(0);
  });

  it.each([
    ['only-native-finds-the-addon', 'lib/engines/probe.ts', "import 'node-gyp-build';"],
    ['pool-and-batching-know-runner-and-tensor', 'lib/pool/lane.ts', "import '../native/load.js';"],
    [
      'pool-and-batching-know-runner-and-tensor',
      'lib/batching/policy.ts',
      "import type { model } from '../model/model.js';\nexport type Model = typeof model;",
    ],
    ['server-uses-the-public-api', 'lib/server/rest.ts', "import '../model/model.js';"],
    ['onnxruntime-uses-the-public-api', 'lib/onnxruntime/a.ts', "import '../tensor/tensor.js';"],
    [
      'cli-uses-the-public-api-the-server-and-the-tuner',
      'lib/cli/run.ts',
      "await import('../engines/find.js');",
    ],
    ['tuner-uses-the-public-api', 'lib/tuner/tune.ts', "import '../model/model.js';"],
    ['fronts-are-not-imported', 'lib/model/serve.ts', "import '../server/server.js';"],
    ['foundations-import-nothing-above', 'lib/tensor/a.ts', "import '../model/model.js';"],
    ['no-cycles', 'lib/runner.ts', "import './pool/pool.js';\nexport const runner = 1;"],
    ['only-declared-dependencies', 'lib/model/a.ts', "import 'pngjs';"],
    ['nothing-unresolvable', 'lib/model/a.ts', "import './nowhere.js';"],
  ])('%s is enforced against %s', (rule, file, text) => {
    write({ ...modules, [file]: `${text}\n` });
    const result = check();
    expect(result.text).toContain(`error ${rule}: `);
    expect(result.text).toContain(file);
    expect(result.status).not.toBe(0);
  });
});
