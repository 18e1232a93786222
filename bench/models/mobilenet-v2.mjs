import { initializer, model, node, valueInfo } from './onnx.mjs';
import { randomWeights } from './weights.mjs';

/** Expansion, channels, blocks and first stride of each stage (Sandler et al., 2018, table 2). */
const stages = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
];

/**
 * MobileNetV2 at width 1, rows×3×224×224 → rows×1000, with random weights. Batch normalization is part
 * of the convolutions, as in every model exported for inference.
 *
 * @param {number | string} rows A name leaves them open.
 */
export function mobileNetV2(rows = 1) {
  const nodes = [];
  const initializers = [
    initializer('zero', Float32Array.of(0), []),
    initializer('six', Float32Array.of(6), []),
  ];
  const random = randomWeights(2018);
  let count = 0;

  const convolution = (input, { from, to, kernel, stride = 1, groups = 1, activate = true }) => {
    const name = `conv${count++}`;
    const fanIn = (from / groups) * kernel * kernel;
    // He's deviation keeps the activations' size through the layers.
    const weight = random(to * fanIn, Math.sqrt(2 / fanIn));
    initializers.push(
      initializer(`${name}.weight`, weight, [to, from / groups, kernel, kernel]),
      initializer(`${name}.bias`, random(to, 0.01), [to]),
    );
    const pad = (kernel - 1) / 2;
    nodes.push(
      node('Conv', [input, `${name}.weight`, `${name}.bias`], [name], {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        pads: [pad, pad, pad, pad],
        dilations: [1, 1],
        group: groups,
      }),
    );
    if (!activate) return name;
    nodes.push(node('Clip', [name, 'zero', 'six'], [`${name}.relu6`]));
    return `${name}.relu6`;
  };

  let channels = 32;
  let x = convolution('image', { from: 3, to: channels, kernel: 3, stride: 2 });
  for (const [expansion, to, blocks, firstStride] of stages) {
    for (let block = 0; block < blocks; block++) {
      const stride = block === 0 ? firstStride : 1;
      const hidden = channels * expansion;
      const wide = expansion === 1 ? x : convolution(x, { from: channels, to: hidden, kernel: 1 });
      const deep = convolution(wide, {
        from: hidden,
        to: hidden,
        kernel: 3,
        stride,
        groups: hidden,
      });
      const narrow = convolution(deep, { from: hidden, to, kernel: 1, activate: false });
      if (stride === 1 && channels === to) {
        nodes.push(node('Add', [x, narrow], [`${narrow}.sum`]));
        x = `${narrow}.sum`;
      } else {
        x = narrow;
      }
      channels = to;
    }
  }
  x = convolution(x, { from: channels, to: 1280, kernel: 1 });
  initializers.push(
    initializer('classifier.weight', random(1000 * 1280, Math.sqrt(1 / 1280)), [1000, 1280]),
    initializer('classifier.bias', random(1000, 0.01), [1000]),
  );
  nodes.push(
    node('GlobalAveragePool', [x], ['pooled']),
    node('Flatten', ['pooled'], ['features'], { axis: 1 }),
    node('Gemm', ['features', 'classifier.weight', 'classifier.bias'], ['logits'], { transB: 1 }),
  );
  return model({
    name: 'mobilenet-v2',
    nodes,
    initializers,
    inputs: [valueInfo('image', 'float32', [rows, 3, 224, 224])],
    outputs: [valueInfo('logits', 'float32', [rows, 1000])],
  });
}
