import { initializer, model, node, valueInfo } from './onnx.mjs';

/** One linear layer, 4 → 1: as little as a model can do. */
export function linear() {
  return model({
    name: 'linear',
    nodes: [node('Gemm', ['x', 'weight', 'bias'], ['y'], { transB: 1 })],
    initializers: [
      initializer('weight', Float32Array.of(0.25, -0.5, 0.75, 1), [1, 4]),
      initializer('bias', Float32Array.of(0.5), [1]),
    ],
    inputs: [valueInfo('x', 'float32', ['batch', 4])],
    outputs: [valueInfo('y', 'float32', ['batch', 1])],
  });
}

/** Gives its input back, as memory of its own. */
export function identity() {
  return model({
    name: 'identity',
    nodes: [node('Identity', ['x'], ['y'])],
    inputs: [valueInfo('x', 'float32', ['size'])],
    outputs: [valueInfo('y', 'float32', ['size'])],
  });
}
