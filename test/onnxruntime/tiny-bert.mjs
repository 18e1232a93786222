/**
 * A model as `@huggingface/transformers` takes it, small and with random weights: tokenizer,
 * configuration and an ONNX file of a BERT encoder.
 *
 *   node test/onnxruntime/tiny-bert.mjs <folder> [layers] [width]
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { initializer, model, node, valueInfo } from '../../bench/models/onnx.mjs';
import { randomWeights } from '../../bench/models/weights.mjs';

const heads = 4;
const positions = 64;
const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const letters = [...'abcdefghijklmnopqrstuvwxyz'];
const words = ['the', 'a', 'model', 'runs', 'while', 'timer', 'waits', 'and', 'others', 'too'];
const pieces = [...special, ...letters, ...letters.map((letter) => `##${letter}`), ...words];

/** A WordPiece tokenizer that spells what it does not know. */
function tokenizer() {
  const token = (content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const specialToken = (id) => ({ SpecialToken: { id, type_id: 0 } });
  const known = (id) => ({ id, ids: [pieces.indexOf(id)], tokens: [id] });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map(token),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [specialToken('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, specialToken('[SEP]')],
      pair: [
        specialToken('[CLS]'),
        { Sequence: { id: 'A', type_id: 0 } },
        specialToken('[SEP]'),
        { Sequence: { id: 'B', type_id: 1 } },
        { SpecialToken: { id: '[SEP]', type_id: 1 } },
      ],
      special_tokens: { '[CLS]': known('[CLS]'), '[SEP]': known('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    },
  };
}

/** input_ids, attention_mask and token_type_ids [batch, sequence] → last_hidden_state. */
function encoder(layers, width) {
  const nodes = [];
  const initializers = [];
  const random = randomWeights(1918);
  let count = 0;
  const apply = (type, inputs, attributes, output = `${type.toLowerCase()}${count++}`) => {
    nodes.push(node(type, inputs, [output], attributes));
    return output;
  };
  const constant = (data, dims) => {
    const name = `constant${count++}`;
    initializers.push(initializer(name, data, dims));
    return name;
  };
  const weight = (...dims) => {
    const size = dims.reduce((product, dimension) => product * dimension, 1);
    return constant(random(size, Math.sqrt(1 / dims[0])), dims);
  };
  const integers = (...values) => constant(BigInt64Array.from(values, BigInt), [values.length]);
  const scalar = (value) => constant(Float32Array.of(value), []);
  const linear = (x, from, to) =>
    apply('Add', [apply('MatMul', [x, weight(from, to)]), weight(to)]);
  const normalize = (x) => {
    const scale = constant(new Float32Array(width).fill(1), [width]);
    const bias = constant(new Float32Array(width), [width]);
    return apply('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: { float: 1e-12 } });
  };
  const split = (x, perm) =>
    apply('Transpose', [apply('Reshape', [x, integers(0, 0, heads, width / heads)])], { perm });

  const one = integers(1);
  const length = apply('Slice', [apply('Shape', ['input_ids']), one, integers(2), integers(0)]);
  const position = apply('Slice', [weight(positions, width), integers(0), length, integers(0)]);
  const word = apply('Gather', [weight(pieces.length, width), 'input_ids'], { axis: 0 });
  const kind = apply('Gather', [weight(2, width), 'token_type_ids'], { axis: 0 });
  let x = normalize(apply('Add', [apply('Add', [word, kind]), position]));

  // 0 where there is a token, a large negative number where there is padding.
  const mask = apply('Cast', [apply('Unsqueeze', ['attention_mask', integers(1, 2)])], { to: 1 });
  const penalty = apply('Mul', [apply('Sub', [scalar(1), mask]), scalar(-10000)]);
  for (let layer = 0; layer < layers; layer++) {
    const query = split(linear(x, width, width), [0, 2, 1, 3]);
    const key = split(linear(x, width, width), [0, 2, 3, 1]);
    const value = split(linear(x, width, width), [0, 2, 1, 3]);
    const scaled = apply('Div', [apply('MatMul', [query, key]), scalar(Math.sqrt(width / heads))]);
    const scores = apply('Softmax', [apply('Add', [scaled, penalty])], { axis: -1 });
    const mixed = apply('Transpose', [apply('MatMul', [scores, value])], { perm: [0, 2, 1, 3] });
    const joined = apply('Reshape', [mixed, integers(0, 0, width)]);
    x = normalize(apply('Add', [x, linear(joined, width, width)]));
    const wide = apply('Relu', [linear(x, width, 4 * width)]);
    x = apply('Add', [x, linear(wide, 4 * width, width)]);
    x = normalize(x);
  }
  apply('Identity', [x], {}, 'last_hidden_state');
  const input = (name) => valueInfo(name, 'int64', ['batch', 'sequence']);
  return model({
    name: 'tiny-bert',
    nodes,
    initializers,
    inputs: ['input_ids', 'attention_mask', 'token_type_ids'].map(input),
    outputs: [valueInfo('last_hidden_state', 'float32', ['batch', 'sequence', width])],
  });
}

/** Writes the model's files into `folder`. `width` is a multiple of four. */
export function writeTinyBert(folder, { layers = 2, width = 64 } = {}) {
  mkdirSync(path.join(folder, 'onnx'), { recursive: true });
  const write = (name, value) =>
    writeFileSync(path.join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
  write('tokenizer.json', tokenizer());
  write('tokenizer_config.json', {
    tokenizer_class: 'BertTokenizer',
    do_lower_case: true,
    model_max_length: positions,
    pad_token: '[PAD]',
    unk_token: '[UNK]',
    cls_token: '[CLS]',
    sep_token: '[SEP]',
    mask_token: '[MASK]',
  });
  write('config.json', {
    architectures: ['BertModel'],
    model_type: 'bert',
    hidden_size: width,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: 4 * width,
    max_position_embeddings: positions,
    type_vocab_size: 2,
    vocab_size: pieces.length,
    pad_token_id: 0,
  });
  writeFileSync(path.join(folder, 'onnx/model.onnx'), encoder(layers, width));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, layers, width] = process.argv.slice(2);
  writeTinyBert(folder, {
    ...(layers === undefined ? {} : { layers: Number(layers) }),
    ...(width === undefined ? {} : { width: Number(width) }),
  });
}
