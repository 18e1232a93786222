// The main job, as its users have it: a server on the repository's models, asked over REST and gRPC;
// a new version replaces the old one while clients ask; it is stopped while they ask. And the same
// models in this process.
//
//   npm run demo
//
// which first makes sure that both engines are there and says which it uses.

import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PNG } from 'pngjs';
import { load, Tensor } from 'tenon';

import { root } from './run-command.mjs';

const fixtures = fileURLToPath(new URL('../test/fixtures/', import.meta.url));
const digits = path.join(fixtures, 'digits');
const modelPath = (...names) => path.join(fixtures, 'models', ...names);

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

const best = (scores) => scores.indexOf(Math.max(...scores));
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
const rows = (flat, size) =>
  Array.from({ length: flat.length / size }, (_, i) =>
    Array.from(flat.subarray(i * size, i * size + size)),
  );

/** Nested arrays of a flat one, as `image.tolist()` gives them. */
function nested(flat, [, ...inner]) {
  if (inner.length === 0) return Array.from(flat);
  const size = inner.reduce((product, each) => product * each, 1);
  return Array.from({ length: flat.length / size }, (_, i) =>
    nested(flat.subarray(i * size, i * size + size), inner),
  );
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** What `requests.post(url, json=body).json()` gives; connections are kept. */
const agent = new Agent({ keepAlive: true });
function post(url, body) {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${response.statusCode}: ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}

const names = (await readdir(path.join(digits, 'png'))).sort();
const truth = names.map((name) => Number(name.match(/_(\d)\.png$/)[1]));
const pictures = await Promise.all(names.map((name) => decode(path.join(digits, 'png', name))));
const small = Float32Array.from(pictures.flatMap((image) => [...ink(resize(image, 8), 8)]));
const colour = Float32Array.from(pictures.flatMap((image) => [...resize(image, 96)]));

// The models lie as for tensorflow_model_server: a folder for each, in it one for each version.
const folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-demo-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const place = (from, name, version) =>
  cpSync(from, path.join(folder, name, version), { recursive: true });
place(modelPath('mobilenetv2_tf'), 'mobilenetv2', '1');
place(modelPath('digits_cnn_tf'), 'digits', '1');
mkdirSync(path.join(folder, 'digits_onnx/1'), { recursive: true });
place(modelPath('digits_cnn.onnx'), 'digits_onnx/1', 'model.onnx');
place(modelPath('half_plus_two/00000123'), 'half_plus_two', '1');
const config = path.join(folder, 'models.config');
writeFileSync(
  config,
  `model_config_list {\n${['mobilenetv2', 'digits', 'digits_onnx', 'half_plus_two']
    .map((name) => `  config { name: '${name}' base_path: '${path.join(folder, name)}' }\n`)
    .join('')}}\n`,
);

const [restPort, grpcPort] = [await freePort(), await freePort()];
const flags = [
  `--model_config_file=${config}`,
  `--rest_api_port=${restPort}`,
  `--port=${grpcPort}`,
  '--host=127.0.0.1',
];
console.log(`\ntenon serve ${flags.join(' ').replaceAll(folder, '…')}`);
const server = spawn(process.execPath, ['dist/cli.js', 'serve', ...flags], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'pipe'],
});
let log = '';
server.stderr.setEncoding('utf8').on('data', (text) => (log += text));
const ended = new Promise((resolve) => server.on('exit', resolve));
void ended.then((code) => {
  if (code === 0) return;
  console.error(log);
  process.exit(1);
});
const base = `http://localhost:${restPort}/v1/models`;
for (;;) {
  const isReady = await fetch(`http://localhost:${restPort}/healthz/ready`).then(
    ({ ok }) => ok,
    () => false,
  );
  if (isReady) break;
  await new Promise((resolve) => setTimeout(resolve, 50));
}

console.log(`\n${names.length} images of handwritten digits, over REST as
  requests.post("${base}/mobilenetv2:predict", json={"instances": image.tolist()})`);
const instances = {
  mobilenetv2: nested(colour, [names.length, 96, 96, 3]),
  digits: nested(small, [names.length, 8, 8, 1]),
  digits_onnx: nested(small, [names.length, 8, 8, 1]),
};
for (const [name, images] of Object.entries(instances)) {
  const started = performance.now();
  const { predictions } = await post(`${base}/${name}:predict`, { instances: images });
  const ms = performance.now() - started;
  const right = predictions.filter((scores, row) => best(scores) === truth[row]).length;
  console.log(`  ${name.padEnd(14)} ${right} of ${names.length} right in ${ms.toFixed(1)} ms`);
}

const { tensorflow } = loadPackageDefinition(
  loadSync('tensorflow_serving/apis/prediction_service.proto', {
    includeDirs: [path.join(fixtures, 'protos')],
  }),
);
const client = new tensorflow.serving.PredictionService(
  `localhost:${grpcPort}`,
  credentials.createInsecure(),
);
const { outputs } = await new Promise((resolve, reject) => {
  client.predict(
    {
      modelSpec: { name: 'digits_onnx' },
      inputs: {
        images: {
          dtype: 'DT_FLOAT',
          tensorShape: { dim: [names.length, 8, 8, 1].map((size) => ({ size })) },
          tensorContent: Buffer.from(small.buffer),
        },
      },
    },
    (error, answer) => (error ? reject(error) : resolve(answer)),
  );
});
client.close();
const scores = rows(Float32Array.from(outputs.probabilities.floatVal), 10);
const right = scores.filter((each, row) => best(each) === truth[row]).length;
console.log(`Over gRPC\n  digits_onnx    ${right} of ${names.length} right`);

console.log('\nA new version of half_plus_two, copied in while eight clients ask for half of 2');
const half = `${base}/half_plus_two:predict`;
const answers = new Map();
let [failures, isStopping] = [0, false];
const clients = Array.from({ length: 8 }, async () => {
  for (;;) {
    try {
      const { predictions } = await post(half, { instances: [2] });
      answers.set(predictions[0], (answers.get(predictions[0]) ?? 0) + 1);
    } catch (error) {
      // Once it stops, nobody listens any more; what was accepted is answered.
      if (isStopping && error.code === 'ECONNREFUSED') return;
      failures++;
      console.error(error);
      if (isStopping) return;
    }
  }
});
while (!answers.has(3)) await new Promise((resolve) => setTimeout(resolve, 10));
place(modelPath('half_plus_two/00000124'), 'half_plus_two', '2');
while ((answers.get(4) ?? 0) < 500) await new Promise((resolve) => setTimeout(resolve, 10));
console.log(
  `  version 1 said 3 in ${answers.get(3)} answers, version 2 says 4; ${failures} requests failed`,
);

console.log('\nSIGTERM while they ask');
isStopping = true;
server.kill('SIGTERM');
await Promise.all(clients);
const code = await ended;
const all = [...answers.values()].reduce((sum, count) => sum + count, 0);
console.log(`  ${all} requests answered, ${failures} failed, exit code ${code}`);
if (failures > 0) process.exitCode = 1;

console.log('\nThe same models in this process');
const labels = await readBytes(path.join(digits, 'held_out_labels.npy'));
const heldOut = Float32Array.from(
  await readBytes(path.join(digits, 'held_out_images.npy')),
  (value) => value / 16,
);
for (const name of ['digits_cnn_tf', 'digits_cnn.onnx', 'digits_cnn_int8.onnx']) {
  const model = await load(modelPath(name));
  const started = performance.now();
  const { probabilities } = await model.run({ images: heldOut });
  const ms = performance.now() - started;
  const found = rows(probabilities.data, 10);
  const correct = labels.filter((digit, row) => best(found[row]) === digit).length;
  console.log(
    `  ${name.padEnd(22)} ${correct} of ${labels.length} held-out digits right ` +
      `(${percent(correct, labels.length)}) in ${ms.toFixed(1)} ms`,
  );
  await model.close();
}
const simple = await load(modelPath('simple_model.onnx'));
const { output } = await simple.run({ input: new Tensor('float32', [0.1, 0.2, 0.3, 0.4], [1, 4]) });
console.log(`  simple_model.onnx, a linear layer 4 → 1: [0.1, 0.2, 0.3, 0.4] → ${output.data[0]}`);
await simple.close();
