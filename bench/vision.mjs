import { load, Tensor } from 'tenon';

import {
  cores,
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './harness/engines.mjs';
import { onnxruntimeNodeWorkers } from './harness/onnxruntime-node-workers.mjs';
import { timeConcurrent } from './harness/timing.mjs';
import { modelPath } from './models/index.mjs';

const inFlight = 8;
const shape = [1, 3, 224, 224];
const model = () => modelPath('mobilenet-v2');

/** The engine alone: as many calling threads, each with as many threads inside the engine. */
const floor = (callers, intraOp) => ({
  name: `C: ${callers} × ${intraOp} threads`,
  floor: { load: () => floorOnnx(model(), { intraOp }), mode: 'run', callers },
});

const tenon = (name, options) => ({
  name: `tenon: ${name}`,
  async open() {
    const loaded = await load(model(), options);
    const image = Tensor.alloc('float32', shape);
    image.data.set(floatElements(image.size));
    return { block: timeConcurrent(() => loaded.run({ image }), inFlight) };
  },
});

const onnxruntimeNodeWith = (name, options) => ({
  name: `onnxruntime-node: ${name}`,
  async open() {
    const session = await onnxruntimeNodeSession(model(), options);
    const { Tensor: OrtTensor } = onnxruntimeNode();
    const image = new OrtTensor('float32', floatElements(3 * 224 * 224), shape);
    return { block: timeConcurrent(() => session.run({ image }), inFlight) };
  },
});

const lanes = `${cores} × 1 threads`;
const workers = `onnxruntime-node: ${cores} workers × 1 thread`;

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: `MobileNetV2, all cores, ${inFlight} calls in flight`,
  asks:
    'How many images (1×3×224×224) a second, with every core in use? “2 × 1 threads” are two ' +
    'lanes, or calling threads, with one thread each inside the engine. onnxruntime-node calls ' +
    'the engine on the event loop, one run at a time, so its threads can only be inside the ' +
    'engine; the other way to use all cores, a worker thread and a copy of the model for each, ' +
    'stands beside it.',
  calls: { caption: 'Images a second', unit: '1/s' },
  blockMs: 500,
  contenders: [
    floor(cores, 1),
    floor(1, cores),
    tenon(lanes, { threads: { intraOp: 1 }, pool: { lanes: cores } }),
    tenon(`1 × ${cores} threads`, { threads: { intraOp: cores }, pool: { lanes: 1 } }),
    tenon('defaults', {}),
    onnxruntimeNodeWith('1 thread', { intraOp: 1 }),
    onnxruntimeNodeWith(`${cores} threads`, { intraOp: cores }),
    onnxruntimeNodeWith(`${cores} threads, spinning`, { intraOp: cores, spin: true }),
    {
      name: workers,
      async open() {
        const run = await onnxruntimeNodeWorkers(cores, {
          model: model(),
          options: { intraOp: 1 },
          input: 'image',
          output: 'logits',
          shape,
        });
        const image = floatElements(3 * 224 * 224);
        return { block: timeConcurrent(() => run(image), inFlight) };
      },
    },
  ],
  comparisons: [
    {
      figure: `vision model, all cores, ${inFlight} in flight: throughput ÷ the C program’s`,
      of: `tenon: ${lanes}`,
      to: `C: ${lanes}`,
      target: { atLeast: 0.97 },
    },
    {
      figure: 'the same ÷ onnxruntime-node’s at its best',
      of: `tenon: ${lanes}`,
      to: {
        name: 'onnxruntime-node at its best',
        bestOf: ['1 thread', `${cores} threads`, `${cores} threads, spinning`].map(
          (name) => `onnxruntime-node: ${name}`,
        ),
      },
      target: { atLeast: 1.1 },
    },
    { of: `tenon: ${lanes}`, to: workers },
    { of: 'tenon: defaults', to: `tenon: ${lanes}` },
  ],
};
