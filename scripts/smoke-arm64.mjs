// Runs the cross-compiled linux-arm64 prebuild: an arm64 Node under qemu imports
// dist/, loads SimpleModel with the arm64 library of the engine package, and
// compares what it answers with the reference.
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { fail, onPath, output, root, run } from './run-command.mjs';

const qemu = 'qemu-aarch64-static';
const libraries = '/usr/aarch64-linux-gnu/lib';
if (!onPath(qemu)) {
  fail(
    `expected ${qemu} on the PATH (Debian: apt-get install qemu-user-static libstdc++6-arm64-cross)`,
  );
}

run(process.execPath, [path.join(root, 'scripts/check-prebuild.mjs'), 'linux-arm64']);
const node = output(process.execPath, [
  path.join(root, 'scripts/fetch-node.mjs'),
  'linux-arm64',
  '20',
]).trim();

const { cases } = JSON.parse(
  readFileSync(path.join(root, 'test/fixtures/references.json'), 'utf8'),
);
const reference = cases.find(({ model }) => model === 'models/simple_model.onnx');

const program = `
const { load } = await import(${JSON.stringify(pathToFileURL(path.join(root, 'dist/index.js')).href)});
const reference = ${JSON.stringify(reference)};
const model = await load(${JSON.stringify(path.join(root, 'test/fixtures', reference.model))});
const [name, feed] = Object.entries(reference.feeds)[0];
const outputs = await model.run({ [name]: Float32Array.from(feed.data) });
const [output, expected] = Object.entries(reference.outputs)[0];
const received = outputs[output].data[0];
console.log(process.platform, process.arch, 'Node', process.versions.node, model.engine, output, received);
await model.close();
if (!(Math.abs(received - expected.data[0]) <= 1e-5)) {
  console.error('expected', expected.data[0]);
  process.exit(1);
}`;

run(qemu, ['-L', systemRoot(), node, '--input-type=module', '--eval', program], {
  env: {
    ...process.env,
    PREBUILDS_ONLY: '1',
    TENON_ONNXRUNTIME_LIBRARY: path.join(
      root,
      'node_modules/onnxruntime-node-engine/bin/napi-v6/linux/arm64/libonnxruntime.so.1',
    ),
  },
});

/**
 * What qemu puts before a path where the file is there: the arm64 C library, and a description of
 * the processor, since this machine's own /proc/cpuinfo makes ONNX Runtime's cpuinfo crash.
 */
function systemRoot() {
  const folder = path.join(root, 'build/arm64-root');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(path.join(folder, 'proc'), { recursive: true });
  symlinkSync(libraries, path.join(folder, 'lib'));
  const neoverseN1 = os
    .cpus()
    .map((_, index) =>
      [
        `processor\t: ${index}`,
        'Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm asimddp',
        'CPU implementer\t: 0x41',
        'CPU architecture: 8',
        'CPU variant\t: 0x3',
        'CPU part\t: 0xd0c',
        'CPU revision\t: 1',
        '\n',
      ].join('\n'),
    );
  writeFileSync(path.join(folder, 'proc/cpuinfo'), neoverseN1.join(''));
  return folder;
}
