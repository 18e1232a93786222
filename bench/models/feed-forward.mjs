import { initializer, model, node, valueInfo } from './onnx.mjs';
import { randomWeights } from './weights.mjs';

const widths = [784, 512, 512, 256, 10];

/** A multilayer perceptron for images of 28×28, with random weights: [batch, 784] → [batch, 10]. */
export function multilayerPerceptron() {
  const random = randomWeights(1986);
  const nodes = [];
  const initializers = [];
  let x = 'x';
  for (let layer = 1; layer < widths.length; layer++) {
    const [from, to] = [widths[layer - 1], widths[layer]];
    const isLast = layer === widths.length - 1;
    initializers.push(
      initializer(`weight${layer}`, random(from * to, Math.sqrt(2 / from)), [from, to]),
      initializer(`bias${layer}`, random(to, 0.01), [to]),
    );
    const sum = isLast ? 'y' : `sum${layer}`;
    nodes.push(node('Gemm', [x, `weight${layer}`, `bias${layer}`], [sum]));
    if (!isLast) nodes.push(node('Relu', [sum], [`relu${layer}`]));
    x = `relu${layer}`;
  }
  return model({
    name: 'mlp',
    nodes,
    initializers,
    inputs: [valueInfo('x', 'float32', ['batch', widths[0]])],
    outputs: [valueInfo('y', 'float32', ['batch', widths.at(-1)])],
  });
}

/** The mean of each channel of an image of 224×224: reads all of its input and does little else. */
export function imageMeans() {
  return model({
    name: 'image-means',
    nodes: [
      node('GlobalAveragePool', ['image'], ['pooled']),
      node('Flatten', ['pooled'], ['means'], { axis: 1 }),
    ],
    inputs: [valueInfo('image', 'float32', ['batch', 3, 224, 224])],
    outputs: [valueInfo('means', 'float32', ['batch', 3])],
  });
}
