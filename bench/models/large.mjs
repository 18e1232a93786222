import { initializer, model, node, valueInfo } from './onnx.mjs';

const width = 7168;

/** One matrix of 205 MB: what a load costs that has weights and next to no graph. */
export function large() {
  const weights = Float32Array.from({ length: width * width }, (_, i) => (i % 1021) / 1021);
  return model({
    name: 'large',
    nodes: [node('MatMul', ['x', 'weights'], ['y'])],
    initializers: [initializer('weights', weights, [width, width])],
    inputs: [valueInfo('x', 'float32', [1, width])],
    outputs: [valueInfo('y', 'float32', [1, width])],
  });
}
