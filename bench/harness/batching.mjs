// What the questions about batching share: one model, many requests of one item each in flight.
import { load, Tensor } from 'tenon';

import { modelPath } from '../models/index.mjs';
import {
  cores,
  floatElements,
  floorOnnx,
  onnxruntimeNode,
  onnxruntimeNodeSession,
} from './engines.mjs';
import { medianTable } from './figures.mjs';
import { handBatcher } from './hand-batcher.mjs';
import { calibrate, interleave, withContenders } from './measure.mjs';
import { median } from './statistics.mjs';
import { timeConcurrent } from './timing.mjs';

/**
 * @typedef {object} Served A model and what it is asked.
 * @property {string} name In words.
 * @property {string} model
 * @property {string} input
 * @property {string} output
 * @property {string} dtype
 * @property {number[]} itemShape Of one item, without the batch.
 * @property {Float32ArrayConstructor | BigInt64ArrayConstructor} ElementArray
 * @property {(size: number) => Float32Array | BigInt64Array} elements
 */

/** @type {Served} */
export const encoder = {
  name: 'encoder',
  model: 'encoder',
  input: 'ids',
  output: 'embedding',
  dtype: 'int64',
  itemShape: [16],
  ElementArray: BigInt64Array,
  // Token ids below the vocabulary's size, as the floor feeds.
  elements: (size) => BigInt64Array.from({ length: size }, (_, i) => BigInt(i % 100)),
};

/** @type {Served} */
export const mlp = {
  name: 'MLP',
  model: 'mlp',
  input: 'x',
  output: 'y',
  dtype: 'float32',
  itemShape: [784],
  ElementArray: Float32Array,
  elements: floatElements,
};

const inFlightLevels = [1, 8, 32, 128];
/** The level that the target of throughput is about. */
const mainLevel = 32;
/** Where hand-made batches bring this much, Tenon's are to bring `expectedGain`. */
const gainThatCounts = 2.2;
const expectedGain = 2;

const itemSize = ({ itemShape }) => itemShape.reduce((product, one) => product * one, 1);

/** A feed of `rows` items of Tenon's. */
const tenonFeeds = (served, rows) => {
  const shape = [rows, ...served.itemShape];
  const elements = served.elements(rows * itemSize(served));
  return { [served.input]: new Tensor(served.dtype, elements, shape) };
};

/** How a machine's cores are used: calls at a time, and threads inside each. */
const placements = [
  { lanes: cores, intraOp: 1 },
  { lanes: 1, intraOp: cores },
].filter(({ lanes }, i, all) => all.findIndex((one) => one.lanes === lanes) === i);

const placed = ({ lanes, intraOp }) => `${lanes} × ${intraOp} threads`;
const tenonOptions = ({ lanes, intraOp }) => ({ threads: { intraOp }, pool: { lanes } });
const threadCount = (intraOp) => `${intraOp} thread${intraOp > 1 ? 's' : ''}`;

/** `inFlight` requests as ready-made batches, shared by the lanes. */
function readyMade(inFlight, lanes) {
  const callers = Math.min(lanes, inFlight);
  return { callers, rows: Math.ceil(inFlight / callers) };
}

/**
 * Contenders whose blocks are asked { count, inFlight }: requests in all, and at a time.
 *
 * @param {Served} served
 * @param {number[]} peerThreads Which of onnxruntime-node's intra-op threads to try.
 */
function contendersFor(served, peerThreads) {
  const path = () => modelPath(served.model);
  const floors = placements.map((placement) => ({
    name: `C: ready-made batches, ${placed(placement)}`,
    floor: { load: () => floorOnnx(path(), { intraOp: placement.intraOp }), mode: 'run' },
    // A block of the C program's own terms.
    floorBlock: ({ count, inFlight }) => {
      const { callers, rows } = readyMade(inFlight, placement.lanes);
      return {
        count: Math.ceil(count / rows),
        callers,
        openDimensions: [rows, ...served.itemShape],
      };
    },
  }));
  const handMade = placements.map((placement) => ({
    name: `tenon: ready-made batches, ${placed(placement)}`,
    async open() {
      const loaded = await load(path(), tenonOptions(placement));
      return {
        block({ count, inFlight }) {
          const { callers, rows } = readyMade(inFlight, placement.lanes);
          const feeds = tenonFeeds(served, rows);
          return timeConcurrent(() => loaded.run(feeds), callers)(Math.ceil(count / rows));
        },
      };
    },
  }));
  /** Each caller has a request of its own, made once. */
  const requests = (loaded) => {
    const feeds = Array.from({ length: Math.max(...inFlightLevels) }, () => tenonFeeds(served, 1));
    return {
      block: ({ count, inFlight }) =>
        timeConcurrent((caller) => loaded.run(feeds[caller]), inFlight)(count),
    };
  };
  const peers = peerThreads.flatMap((intraOp) => {
    const session = () => onnxruntimeNodeSession(path(), { intraOp });
    return [
      {
        name: `onnxruntime-node: Promise.all, ${threadCount(intraOp)}`,
        async open() {
          const opened = await session();
          const { Tensor: OrtTensor } = onnxruntimeNode();
          const elements = served.elements(itemSize(served));
          const feed = new OrtTensor(served.dtype, elements, [1, ...served.itemShape]);
          const call = () => opened.run({ [served.input]: feed });
          return { block: ({ count, inFlight }) => timeConcurrent(call, inFlight)(count) };
        },
      },
      {
        name: `onnxruntime-node: hand-written batcher, ${threadCount(intraOp)}`,
        async open() {
          const run = handBatcher(await session(), { ...served, maxBatchSize: mainLevel });
          const elements = served.elements(itemSize(served));
          const call = () => run(elements);
          return { block: ({ count, inFlight }) => timeConcurrent(call, inFlight)(count) };
        },
      },
    ];
  });
  return [
    ...floors,
    ...handMade,
    {
      name: `tenon: unbatched, ${placed(placements[0])}`,
      open: async () => requests(await load(path(), tenonOptions(placements[0]))),
    },
    ...placements.map((placement) => ({
      name: `tenon: batching, ${placed(placement)}`,
      open: async () =>
        requests(await load(path(), { ...tenonOptions(placement), batching: true })),
    })),
    ...peers,
  ];
}

const levelId = (inFlight) => `${inFlight}`;

/**
 * The question how many requests a second a model serves, with more and more of them in flight.
 *
 * @param {Served} served
 * @param {{ title: string, asks: string, blockMs: number, peerThreads?: number[] }} about
 * @returns {import('./questions.mjs').Question}
 */
export function batchingQuestion(served, { title, asks, blockMs, peerThreads = [cores] }) {
  const contenders = contendersFor(served, peerThreads);
  const those = (name, pattern) => ({
    name,
    bestOf: contenders.map((one) => one.name).filter((one) => pattern.test(one)),
  });
  const handMade = those('the best hand-made batch loop', /: ready-made/);
  const batching = those('tenon: batching', /^tenon: batching/);
  const unbatched = `tenon: unbatched, ${placed(placements[0])}`;
  const promiseAll = those('onnxruntime-node: Promise.all', /: Promise\.all/);
  const written = those('onnxruntime-node: hand-written batcher', /: hand-written/);
  const gainFigure = (inFlight) =>
    `batching, ${served.name}, ${inFlight} in flight: throughput ÷ unbatched`;
  const gains = inFlightLevels.filter((inFlight) => inFlight > 1);

  return {
    title,
    asks,
    blockMs,
    contenders,
    askFor: (count, { floorBlock = (ask) => ask }) => floorBlock({ count, inFlight: mainLevel }),
    comparisons: [
      {
        figure: `batching, ${served.name}, ${mainLevel} in flight: throughput ÷ the best hand-made batch loop’s`,
        measure: levelId(mainLevel),
        of: batching,
        to: handMade,
        target: { atLeast: 0.9 },
      },
      ...gains.map((inFlight) => ({
        figure: gainFigure(inFlight),
        measure: levelId(inFlight),
        of: batching,
        to: unbatched,
        target: { atLeast: expectedGain },
      })),
      ...gains.flatMap((inFlight) => [
        { measure: levelId(inFlight), of: batching, to: written },
        { measure: levelId(inFlight), of: batching, to: promiseAll },
      ]),
    ],
    measure: ({ question, contenders: asked, rounds, blockMs: ms }) =>
      withContenders(question, asked, async (open) => {
        const measures = [];
        for (const inFlight of inFlightLevels) {
          measures.push(await measureLevel(open, asked, { inFlight, rounds, blockMs: ms }));
        }
        const bestAt = (inFlight, { bestOf }) => {
          const measure = measures.find(({ id }) => id === levelId(inFlight));
          const rows = measure.rows.filter(({ contender }) => bestOf.includes(contender));
          return Math.max(0, ...rows.map(({ samples }) => median(samples)));
        };
        const alone = { bestOf: [unbatched] };
        const waived = gains.flatMap((inFlight) => {
          const gain = bestAt(inFlight, handMade) / bestAt(inFlight, alone);
          if (gain >= gainThatCounts) return [];
          return [[gainFigure(inFlight), `hand-made batches gain ${gain.toFixed(2)} × themselves`]];
        });
        const lines = [
          ['tenon, batching', batching],
          ['ready-made batches, C or tenon', handMade],
          ['tenon, unbatched', alone],
          ['onnxruntime-node, hand-written batcher', written],
          ['onnxruntime-node, Promise.all', promiseAll],
        ];
        return {
          measures,
          tables: [medianTable('Requests a second', measures)],
          waived: Object.fromEntries(waived),
          charts: [
            {
              kind: 'lines',
              id: 'throughput',
              title: `${title}: the best of each kind`,
              xLabel: 'requests in flight',
              yLabel: 'requests a second',
              xTicks: inFlightLevels.map(String),
              series: lines
                .map(([name, side]) => ({
                  name,
                  points: inFlightLevels.map((inFlight, i) => [i, bestAt(inFlight, side)]),
                }))
                .filter(({ points }) => points.every(([, value]) => value > 0)),
            },
          ],
        };
      }),
  };
}

/** Requests a second with `inFlight` of them at a time. */
async function measureLevel(open, asked, { inFlight, rounds, blockMs }) {
  // Whole rounds of requests, so that every contender can fill its batches.
  const unit = 2 * inFlight;
  const ofLevel = open.map(({ name, block }) => {
    const { floorBlock = (ask) => ask } = asked.find((one) => one.name === name);
    return { name, block: (units) => block(floorBlock({ count: units * unit, inFlight })) };
  });
  const counts = new Map();
  for (const contender of ofLevel) counts.set(contender.name, await calibrate(contender, blockMs));
  const results = await interleave(ofLevel, rounds, async ({ name, block }) => {
    const units = counts.get(name);
    return (units * unit * 1e9) / (await block(units));
  });
  return {
    id: levelId(inFlight),
    name: `${inFlight} in flight`,
    caption: `Requests a second, ${inFlight} in flight`,
    unit: '1/s',
    better: 'higher',
    rows: [...results].map(([contender, samples]) => ({ contender, samples })),
  };
}
