// The main job on real models: a TensorFlow SavedModel and an ONNX file, loaded
// and run with the same two calls, classify images of handwritten digits.
//
//   npm run demo
//
// which first makes sure that both engines are there and says which it uses.

import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { PNG } from 'pngjs';
import { load, Tensor } from 'tenon';

const fixtures = fileURLToPath(new URL('../test/fixtures/', import.meta.url));
const digits = path.join(fixtures, 'digits');
const modelPath = (name) => path.join(fixtures, 'models', name);

/** Pixels of a PNG as RGB in 0..1, with its size. */
async function decode(file) {
  const { width, height, data } = PNG.sync.read(await readFile(file));
  const rgb = new Float32Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = data[i * 4 + c] / 255;
  }
  return { width, height, rgb };
}

/** The image at size × size, each pixel interpolated linearly between its four neighbours. */
function resize({ width, height, rgb }, size) {
  const at = (x, y, c) => rgb[(y * width + x) * 3 + c];
  const out = new Float32Array(size * size * 3);
  for (let i = 0; i < size * size; i++) {
    const x = Math.max(0, (((i % size) + 0.5) * width) / size - 0.5);
    const y = Math.max(0, ((Math.floor(i / size) + 0.5) * height) / size - 0.5);
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
    for (let c = 0; c < 3; c++) {
      const upper = at(left, top, c) * (1 - x + left) + at(right, top, c) * (x - left);
      const lower = at(left, bottom, c) * (1 - x + left) + at(right, bottom, c) * (x - left);
      out[i * 3 + c] = upper * (1 - y + top) + lower * (y - top);
    }
  }
  return out;
}

/** Ink in 0..1: how far each pixel is from the paper, whose colour most of the sides show. */
function ink(rgb, size) {
  const sides = Array.from({ length: 2 * size }, (_, i) => (i >> 1) * size + (i % 2) * (size - 1));
  const paper = [0, 1, 2].map((c) => sides.map((i) => rgb[i * 3 + c]).sort((a, b) => a - b)[size]);
  const distance = Float32Array.from({ length: size * size }, (_, i) =>
    Math.hypot(...paper.map((value, c) => rgb[i * 3 + c] - value)),
  );
  const darkest = Math.max(...distance);
  return distance.map((value) => value / darkest);
}

/** The array in an .npy file of unsigned bytes, as the fixtures have them. */
async function readBytes(file) {
  const bytes = await readFile(file);
  return bytes.subarray(10 + bytes.readUInt16LE(8));
}

/** The likeliest classes of one row of probabilities. */
function top(probabilities, row, count = 3) {
  const scores = [...probabilities.data.subarray(row * 10, row * 10 + 10)];
  return scores
    .map((score, digit) => ({ digit, score }))
    .sort((a, b) => b.score - a.score)
    .slice(0, count);
}

/** Loads and runs a digit classifier, whatever its engine. The same lines serve both. */
async function classify(name, images) {
  const started = performance.now();
  const model = await load(modelPath(name));
  const loaded = performance.now();
  const { probabilities } = await model.run({ images });
  const ran = performance.now();
  const { engine } = model;
  await model.close();
  return { name, engine, probabilities, loadMs: loaded - started, runMs: ran - loaded };
}

const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;

const names = (await readdir(path.join(digits, 'png'))).sort();
const truth = names.map((name) => Number(name.match(/_(\d)\.png$/)[1]));
const pictures = await Promise.all(names.map((name) => decode(path.join(digits, 'png', name))));
const small = Float32Array.from(pictures.flatMap((image) => [...ink(resize(image, 8), 8)]));
const colour = Float32Array.from(pictures.flatMap((image) => [...resize(image, 96)]));
const smallImages = new Tensor('float32', small, [names.length, 8, 8, 1]);

console.log(`\n${names.length} images of handwritten digits, through three classifiers`);
const results = [
  await classify('digits_cnn_tf', smallImages),
  await classify('digits_cnn.onnx', smallImages),
  await classify('mobilenetv2_tf', new Tensor('float32', colour, [names.length, 96, 96, 3])),
];
for (const { name, engine, loadMs, runMs, probabilities } of results) {
  const right = truth.filter((digit, row) => top(probabilities, row, 1)[0].digit === digit);
  console.log(
    `  ${name.padEnd(16)} ${engine.padEnd(12)} ${right.length} of ${names.length} right` +
      `   loaded in ${loadMs.toFixed(0)} ms, all images in ${runMs.toFixed(1)} ms`,
  );
}

console.log('\nThe first images, and what each says (digit: probability)');
for (let row = 0; row < 5; row++) {
  console.log(`  ${names[row]}`);
  for (const { name, probabilities } of results) {
    const said = top(probabilities, row).map(({ digit, score }) => `${digit}: ${score.toFixed(3)}`);
    console.log(`    ${name.padEnd(16)} ${said.join('   ')}`);
  }
}

const labels = await readBytes(path.join(digits, 'held_out_labels.npy'));
const heldOut = Float32Array.from(
  await readBytes(path.join(digits, 'held_out_images.npy')),
  (value) => value / 16,
);
console.log(`\n${labels.length} held-out digits`);
for (const name of ['digits_cnn_tf', 'digits_cnn.onnx', 'digits_cnn_int8.onnx']) {
  const { probabilities, runMs } = await classify(name, heldOut);
  const right = labels.filter((digit, row) => top(probabilities, row, 1)[0].digit === digit).length;
  console.log(
    `  ${name.padEnd(22)} ${right} right (${percent(right, labels.length)}) in ${runMs.toFixed(1)} ms`,
  );
}

const simple = await load(modelPath('simple_model.onnx'));
const input = [0.1, 0.2, 0.3, 0.4];
const { output } = await simple.run({ input });
console.log(`\nSimpleModel, a linear layer 4 → 1: [${input}] → ${output.data[0]}`);
await simple.close();
