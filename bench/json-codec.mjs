import { pathToFileURL } from 'node:url';

import { buildJsonCodecParts, jsonCodecParts } from './harness/build.mjs';
import { medianTable } from './harness/figures.mjs';
import { calibrate, interleave, withContenders } from './harness/measure.mjs';

const shape = [1, 224, 224, 3];
const size = shape.reduce((product, dimension) => product * dimension, 1);

/** mulberry32: the same bodies in every process. */
function numbers(make) {
  let state = 1;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Array.from({ length: size }, () => make(next));
}

const nested = (flat) => {
  const rows = [];
  for (let row = 0; row < 224; row++) {
    const pixels = [];
    for (let column = 0; column < 224; column++) {
      const at = 3 * (224 * row + column);
      pixels.push([flat[at], flat[at + 1], flat[at + 2]]);
    }
    rows.push(pixels);
  }
  return [rows];
};

/** An image as clients send it, by what its elements are. */
const bodies = {
  doubles: {
    caption: 'doubles, 16 to 18 digits',
    elements: () => numbers((next) => next() + next() / 2 ** 32),
  },
  floats: {
    caption: 'floats, as doubles of all their digits',
    elements: () => numbers((next) => Math.fround(next())),
  },
  short: {
    caption: 'four decimals',
    elements: () => numbers((next) => Math.round(next() * 1e4) / 1e4),
  },
  pixels: { caption: '0 to 255', elements: () => numbers((next) => Math.floor(next() * 256)) },
};

/** Nanoseconds and bytes of `count` calls. */
async function timed(count, bytes, call) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) await call();
  return { nanoseconds: Number(process.hrtime.bigint() - start), bytes: bytes * count };
}

/** Makes calls over the body that the block asks for, each made once. */
const overBodies = (make) => () => {
  const calls = new Map();
  return {
    async block({ body, count }) {
      if (!calls.has(body)) calls.set(body, await make(bodies[body].elements()));
      const { bytes, call } = calls.get(body);
      return timed(count, bytes, call);
    },
  };
};

const bodyOf = (elements) => Buffer.from(JSON.stringify({ instances: nested(elements) }));

/** Reads a body with JSON.parse, and flattens it. */
const parsing = (flatten) =>
  overBodies((elements) => {
    const body = bodyOf(elements);
    return {
      bytes: body.length,
      call: () => flatten(JSON.parse(body.toString('utf8')).instances),
    };
  });

function byLoops(instances) {
  const flat = new Float32Array(instances.length * 224 * 224 * 3);
  let at = 0;
  for (const rows of instances) {
    for (const pixels of rows) {
      for (const channels of pixels) {
        for (const channel of channels) flat[at++] = channel;
      }
    }
  }
  return flat;
}

/** Copies far more than any cache holds. */
function copying() {
  const byteLength = 256 * 2 ** 20;
  const from = Buffer.alloc(byteLength, 1);
  const to = Buffer.alloc(byteLength, 2);
  return { block: ({ count }) => timed(count, byteLength, () => from.copy(to)) };
}

const decode = 'tenon: decode';
const encode = 'tenon: encode';
const parse = 'JSON.parse, then flat() and Float32Array.from';
const parseByLoops = 'JSON.parse, then loops of the right depth';
const stringify = 'nested arrays, then JSON.stringify';
const copy = 'copying memory';

/** @type {import('./harness/questions.mjs').Question} */
export default {
  title: 'The JSON codec: tensors in and out of bodies',
  asks:
    'How fast are bodies of 224×224×3 images read into float32 tensors, and such tensors written, ' +
    'beside what JavaScript has for it, and beside copying memory? Tenon’s calls hand the work to a ' +
    'thread and wait for it; the tensors are disposed of. Sizes are those of the JSON; ' +
    'JSON.stringify writes doubles, of more digits.',
  blockMs: 100,
  contenders: [
    {
      name: decode,
      open: overBodies(async (elements) => {
        const { decodePredict } = await import(pathToFileURL(jsonCodecParts));
        const body = bodyOf(elements);
        const inputs = [{ name: 'x', dtype: 'float32' }];
        const call = async () => {
          const { feeds } = await decodePredict(body, () => inputs);
          feeds.x.dispose();
        };
        return { bytes: body.length, call };
      }),
    },
    {
      name: encode,
      open: overBodies(async (elements) => {
        const { encodePredict, Tensor } = await import(pathToFileURL(jsonCodecParts));
        const tensor = Tensor.alloc('float32', shape);
        tensor.data.set(elements);
        const call = () => encodePredict('row', [{ name: 'y', tensor }]);
        return { bytes: (await call()).length, call };
      }),
    },
    { name: parse, open: parsing((instances) => Float32Array.from(instances.flat(Infinity))) },
    { name: parseByLoops, open: parsing(byLoops) },
    {
      name: stringify,
      open: overBodies((elements) => {
        const flat = Float32Array.from(elements);
        const call = () => Buffer.from(JSON.stringify({ predictions: nested(flat) }));
        return { bytes: call().length, call };
      }),
    },
    { name: copy, open: copying },
  ],
  comparisons: [
    {
      figure: 'JSON codec: an image read ÷ JSON.parse and flattening',
      measure: 'doubles',
      of: decode,
      to: parse,
      target: { atLeast: 10 },
    },
    { measure: 'floats', of: decode, to: parse },
    { measure: 'short', of: decode, to: parse },
    { measure: 'pixels', of: decode, to: parse },
    { measure: 'doubles', of: decode, to: parseByLoops },
    { measure: 'doubles', of: encode, to: stringify },
    { measure: 'doubles', of: decode, to: copy },
    { measure: 'pixels', of: decode, to: copy },
  ],
  async measure({ question, contenders, rounds, blockMs }) {
    await buildJsonCodecParts();
    return withContenders(question, contenders, async (opened) => {
      const measures = [];
      for (const [body, { caption }] of Object.entries(bodies)) {
        const ofBody = opened.map(({ name, block }) => ({
          name,
          block: (count) => block({ body, count }),
        }));
        const counts = new Map();
        for (const { name, block } of ofBody) {
          const time = async (count) => (await block(count)).nanoseconds;
          counts.set(name, await calibrate({ block: time }, blockMs));
        }
        const results = await interleave(ofBody, rounds, async ({ name, block }) => {
          const { nanoseconds, bytes } = await block(counts.get(name));
          return (bytes / nanoseconds) * 1e3;
        });
        measures.push({
          id: body,
          name: caption,
          caption: `MB/s, ${caption}`,
          unit: 'MB/s',
          better: 'higher',
          rows: [...results].map(([contender, samples]) => ({ contender, samples })),
        });
      }
      return { measures, tables: [medianTable('Speed', measures)] };
    });
  },
};
