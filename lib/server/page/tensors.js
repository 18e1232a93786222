// What the page works out without a document: example values, images as tensors, quantiles, answers.
// Typed by tensors.d.ts, and tested outside of a browser.

/** Values that are written out for people to edit, at most. */
const maxEditable = 2048;
/** Values that are sent from a page, at most. */
export const maxElements = 4_000_000;

const integers = /^u?int(8|16|32|64)$/;
/** Those whose values JSON carries here. */
const sendable = /^(float32|float64|u?int(8|32|64)|int16|bool|string)$/;

export function isSendable(dtype) {
  return sendable.test(dtype);
}

export function countOf(sizes) {
  return sizes.reduce((product, size) => product * size, 1);
}

/** "[batch, 8, 8, 1]", "any shape" */
export function shapeText(shape) {
  return shape === null ? 'any shape' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
}

/**
 * Sizes to begin with where a model leaves them open: one row, and little of everything else; what has
 * the same name has the same size.
 */
export function exampleSizes(shape) {
  return (shape ?? []).map((size, i) => {
    if (typeof size === 'number' && size >= 0) return size;
    return i === 0 || /batch/i.test(size ?? '') ? 1 : 4;
  });
}

function exampleElement(dtype, kind, index) {
  if (dtype === 'string') return '"text"';
  if (dtype === 'bool') return String(kind !== 'zeros');
  if (kind === 'zeros') return integers.test(dtype) ? '0' : '0.0';
  if (kind === 'random') {
    return integers.test(dtype) ? String(index % 10) : Math.random().toFixed(4);
  }
  return integers.test(dtype) ? '1' : '1.0';
}

/**
 * JSON of nested lists, the innermost on one line.
 *
 * @returns undefined for one that is too long to be edited.
 */
export function exampleText(dtype, sizes, kind = 'ones') {
  const limit = kind === 'ones' ? maxEditable : maxElements;
  if (countOf(sizes) > limit || sizes.length > 12) return undefined;
  let index = 0;
  const nested = (depth) => {
    if (depth === sizes.length) return exampleElement(dtype, kind, index++);
    const items = Array.from({ length: sizes[depth] }, () => nested(depth + 1));
    if (depth >= sizes.length - 1) return `[${items.join(', ')}]`;
    const indent = '  '.repeat(depth + 1);
    return `[\n${items.map((item) => indent + item).join(',\n')}\n${'  '.repeat(depth)}]`;
  };
  return nested(0);
}

/**
 * How an image would lie in an input of that shape.
 *
 * @returns undefined where none would: it has three or four dimensions, one of which is 1 or 3.
 */
export function imageInput({ name, dtype, shape }) {
  if (shape === null || !isSendable(dtype) || /^(string|bool)$/.test(dtype)) return undefined;
  if (shape.length !== 3 && shape.length !== 4) return undefined;
  const isBatch = shape.length === 4;
  const sizes = isBatch ? shape.slice(1) : shape;
  if (isBatch && typeof shape[0] === 'number' && shape[0] !== 1 && shape[0] >= 0) return undefined;
  const isChannels = (size) => size === 1 || size === 3;
  const layouts = [
    ...(isChannels(sizes[2]) ? ['NHWC'] : []),
    ...(isChannels(sizes[0]) ? ['NCHW'] : []),
  ];
  if (layouts.length === 0) return undefined;
  const size = (given) => (typeof given === 'number' && given > 0 ? given : undefined);
  const of = (layout) => {
    const [height, width, channels] = layout === 'NHWC' ? sizes : [sizes[1], sizes[2], sizes[0]];
    return { layout, height: size(height), width: size(width), channels };
  };
  const options = layouts.map(of);
  const [{ height, width }] = options;
  return {
    isBatch,
    options,
    /** Whether it is shown as one from the start. */
    isLikely:
      /image|pixel|img|picture|photo/i.test(name) ||
      ((height ?? 224) >= 16 && (width ?? 224) >= 16 && isBatch),
  };
}

/** Values of a pixel's 0 to 255, by the name of their range. */
const ranges = {
  '0..1': (value) => value / 255,
  '-1..1': (value) => value / 127.5 - 1,
  '0..255': (value) => value,
};

/** Ranges that a dtype can hold, the likeliest first. */
export function rangesFor(dtype) {
  return integers.test(dtype) ? ['0..255'] : ['0..1', '-1..1', '0..255'];
}

/**
 * Pixels of a canvas as the JSON of a tensor.
 *
 * @param rgba Four numbers of 0 to 255 a pixel, row by row.
 */
export function imageText(rgba, { height, width, channels, layout, isBatch, range }) {
  const scale = ranges[range];
  const value = (pixel, channel) => {
    const at = pixel * 4;
    const level =
      channels === 1
        ? 0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2]
        : rgba[at + channel];
    const scaled = scale(level);
    return range === '0..255' ? Math.round(scaled) : Math.round(scaled * 1e5) / 1e5;
  };
  const list = (length, item) => `[${Array.from({ length }, (_, i) => item(i)).join(',')}]`;
  const image =
    layout === 'NHWC'
      ? list(height, (y) => list(width, (x) => list(channels, (c) => value(y * width + x, c))))
      : list(channels, (c) => list(height, (y) => list(width, (x) => value(y * width + x, c))));
  return isBatch ? `[${image}]` : image;
}

/** Part of an image of that size which has the proportions of another: as much as there is, from the middle. */
export function cropOf(from, to) {
  const scale = Math.min(from.width / to.width, from.height / to.height);
  const width = to.width * scale;
  const height = to.height * scale;
  return { x: (from.width - width) / 2, y: (from.height - height) / 2, width, height };
}

/** Of a version of a model: no version has a space. */
export const keyOf = (name, version) => `${version} ${name}`;

/** A JSON text whose numbers go out as they were written, 64-bit ones and NaN included. */
export function predictBody(signature, inputs) {
  const members = inputs.map(({ name, text }) => `${JSON.stringify(name)}: ${text}`);
  return `{"signature_name": ${JSON.stringify(signature)}, "inputs": {${members.join(', ')}}}`;
}

export function examplesBody(signature, text) {
  return `{"signature_name": ${JSON.stringify(signature)}, "examples": ${text}}`;
}

/** JSON with the numbers that JSON does not have, which become null. @throws SyntaxError */
export function readJson(text) {
  return JSON.parse(
    text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (part) =>
      part.startsWith('"') ? part : 'null',
    ),
  );
}

/** Where a model is asked; a version or a label may be named. */
export function modelUrl(name, place, verb) {
  const at = Object.entries(place).map(([kind, value]) => `/${kind}/${encodeURIComponent(value)}`);
  return `v1/models/${encodeURIComponent(name)}${at.join('')}:${verb}`;
}

/** A command for a POSIX shell. */
export function curlCommand(url, body, hasToken) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const token = hasToken ? ' -H "Authorization: Bearer $TENON_AUTH_TOKEN"' : '';
  return `curl${token} -d ${quoted(body)} ${quoted(url)}`;
}

/** Sizes of nested lists, by their first elements. */
export function nestedSizes(value) {
  const sizes = [];
  for (let item = value; Array.isArray(item); [item] = item) sizes.push(item.length);
  return sizes;
}

/** Rows of numbers: of a list one, of a list of lists each; undefined for anything else. */
export function rowsOf(value) {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const rows = Array.isArray(value[0]) ? value : [value];
  const isRow = (row) =>
    Array.isArray(row) && row.length > 1 && row.every((each) => typeof each === 'number');
  return rows.every(isRow) ? rows : undefined;
}

/** Whether these are shares of a whole. */
export function isDistribution(row) {
  const sum = row.reduce((total, each) => total + each, 0);
  return Math.abs(sum - 1) < 0.01 && row.every((each) => each >= 0 && each <= 1.001);
}

/** The highest values with their places, highest first. */
export function topOf(row, count) {
  return row
    .map((value, index) => ({ index, value }))
    .sort((a, b) => b.value - a.value)
    .slice(0, count);
}

/**
 * A quantile of what lies in buckets, spread evenly within each; undefined where there is nothing.
 *
 * @param counts One for each bound, and one above them all.
 */
export function quantileOf(counts, bounds, quantile) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  let left = quantile * total;
  for (let i = 0; i < counts.length; i++) {
    if (left > counts[i] || counts[i] === 0) {
      left -= counts[i];
      continue;
    }
    const low = i === 0 ? 0 : bounds[i - 1];
    const high = bounds[i] ?? low;
    return low + ((high - low) * left) / counts[i];
  }
  return bounds[bounds.length - 1];
}

/** Three digits, and no more than people read. */
export function numberText(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1e6) return `${numberText(value / 1e6)} M`;
  if (size >= 1e4) return `${numberText(value / 1e3)} k`;
  return size >= 100 || value === 0
    ? value.toFixed(0)
    : String(Number(value.toPrecision(size < 10 ? 2 : 3)));
}

export function microsText(micros) {
  if (micros === undefined || micros === null) return '–';
  if (micros < 1000) return `${numberText(micros)} µs`;
  return micros < 1e6 ? `${numberText(micros / 1e3)} ms` : `${numberText(micros / 1e6)} s`;
}

export function bytesText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, size] = bytes < 1e6 ? ['kB', 1e3] : bytes < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  return `${numberText(bytes / size)} ${unit}`;
}

export function durationText(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400)
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/** What a version has counted between two answers; undefined where there is nothing to compare. */
export function trafficBetween(before, after) {
  const change = (name) => Math.max(0, (after?.[name] ?? 0) - (before?.[name] ?? 0));
  const latency = new Map();
  const add = (pairs, sign) => {
    for (let i = 0; i + 1 < (pairs?.length ?? 0); i += 2) {
      latency.set(pairs[i], (latency.get(pairs[i]) ?? 0) + sign * pairs[i + 1]);
    }
  };
  add(after?.latency, 1);
  add(before?.latency, -1);
  return {
    requests: change('requests'),
    failures: change('failures'),
    runs: change('runs'),
    calls: change('calls'),
    latency,
  };
}
