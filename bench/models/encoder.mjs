import { initializer, model, node, valueInfo } from './onnx.mjs';
import { randomWeights } from './weights.mjs';

const layers = 6;
const width = 384;
const heads = 12;
const feedForward = 1536;
const vocabulary = 1000;

/**
 * A transformer encoder of 6 layers, 384 wide, with random weights: token ids [batch, sequence] →
 * one embedding per text [batch, 384]. The size of the usual small sentence encoders, but for
 * their vocabulary, which costs memory and no time.
 */
export function encoder() {
  const nodes = [];
  const initializers = [];
  const random = randomWeights(2017);
  const constants = new Map();
  let count = 0;

  const apply = (opType, inputs, attributes) => {
    const output = `${opType.toLowerCase()}${count++}`;
    nodes.push(node(opType, inputs, [output], attributes));
    return output;
  };
  const weight = (dims) => {
    const name = `weight${count++}`;
    const size = dims.reduce((product, dimension) => product * dimension, 1);
    initializers.push(initializer(name, random(size, Math.sqrt(1 / dims[0])), dims));
    return name;
  };
  const vector = (value) => {
    const name = `vector${count++}`;
    initializers.push(initializer(name, new Float32Array(width).fill(value), [width]));
    return name;
  };
  const constant = (data, dims) => {
    const key = `${data.constructor.name}${data}`;
    if (!constants.has(key)) {
      constants.set(key, `constant${count++}`);
      initializers.push(initializer(constants.get(key), data, dims));
    }
    return constants.get(key);
  };
  const scalar = (value) => constant(Float32Array.of(value), []);
  const linear = (x, from, to) =>
    apply('Add', [apply('MatMul', [x, weight([from, to])]), weight([to])]);
  const normalize = (x) =>
    apply('LayerNormalization', [x, vector(1), vector(0)], {
      axis: -1,
      epsilon: { float: 1e-5 },
    });

  /** [batch, sequence, width] → [batch, heads, sequence, width / heads], in the order of `perm`. */
  const split = (x, perm) => {
    const shape = constant(BigInt64Array.of(0n, 0n, BigInt(heads), BigInt(width / heads)), [4]);
    return apply('Transpose', [apply('Reshape', [x, shape])], { perm });
  };
  const attention = (x) => {
    const query = split(linear(x, width, width), [0, 2, 1, 3]);
    const key = split(linear(x, width, width), [0, 2, 3, 1]);
    const value = split(linear(x, width, width), [0, 2, 1, 3]);
    const scores = apply('Div', [apply('MatMul', [query, key]), scalar(Math.sqrt(width / heads))]);
    const mixed = apply('MatMul', [apply('Softmax', [scores], { axis: -1 }), value]);
    const joined = apply('Reshape', [
      apply('Transpose', [mixed], { perm: [0, 2, 1, 3] }),
      constant(BigInt64Array.of(0n, 0n, BigInt(width)), [3]),
    ]);
    return linear(joined, width, width);
  };
  /** x/2 · (1 + erf(x/√2)), as exporters write it; the engine fuses it. */
  const gelu = (x) => {
    const erf = apply('Erf', [apply('Div', [x, scalar(Math.SQRT2)])]);
    return apply('Mul', [apply('Mul', [x, apply('Add', [erf, scalar(1)])]), scalar(0.5)]);
  };

  let x = apply('Gather', [weight([vocabulary, width]), 'ids'], { axis: 0 });
  for (let layer = 0; layer < layers; layer++) {
    x = normalize(apply('Add', [x, attention(x)]));
    const wide = gelu(linear(x, width, feedForward));
    x = normalize(apply('Add', [x, linear(wide, feedForward, width)]));
  }
  nodes.push(node('ReduceMean', [x], ['embedding'], { axes: [1], keepdims: 0 }));
  return model({
    name: 'encoder',
    nodes,
    initializers,
    inputs: [valueInfo('ids', 'int64', ['batch', 'sequence'])],
    outputs: [valueInfo('embedding', 'float32', ['batch', width])],
  });
}
