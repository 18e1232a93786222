// The benchmarks' models, written into build/bench-models when they are first asked for.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

import { root } from '../../scripts/run-command.mjs';
import { encoder } from './encoder.mjs';
import { imageMeans, multilayerPerceptron } from './feed-forward.mjs';
import { large } from './large.mjs';
import { identity, linear } from './linear.mjs';
import { mobileNetV2 } from './mobilenet-v2.mjs';

const makers = {
  large,
  encoder,
  identity,
  'image-means': imageMeans,
  linear,
  mlp: multilayerPerceptron,
  'mobilenet-v2': mobileNetV2,
  'mobilenet-v2-batch': () => mobileNetV2('batch'),
};
const folder = path.join(root, 'build', 'bench-models');

/** Of the code that makes them, so that a change to it makes them anew. */
function recipe() {
  const here = import.meta.dirname;
  const hash = createHash('sha256');
  for (const file of readdirSync(here).sort()) hash.update(readFileSync(path.join(here, file)));
  return hash.digest('hex').slice(0, 8);
}

/**
 * Path of an ONNX model.
 *
 * @param {keyof typeof makers} name
 */
export function modelPath(name) {
  const file = path.join(folder, `${name}-${recipe()}.onnx`);
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    const unfinished = `${file}.${process.pid}`;
    writeFileSync(unfinished, makers[name]());
    renameSync(unfinished, file);
  }
  return file;
}

/** Path of TensorFlow's own example model, y = x / 2 + 2. */
export const halfPlusTwo = path.join(root, 'test/fixtures/models/half_plus_two/00000123');
