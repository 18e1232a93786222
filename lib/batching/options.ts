import { invalidArgument, TenonError } from '../errors.js';
import { boolean, checkOptions, entries, integer, oneOf, string } from '../options.js';

/** Which input marks real elements, see `maskInput`. */
export interface MaskInput {
  /** The input that is filled. */
  readonly name: string;
  /** Whose length it marks. Default: the first input that is padded. */
  readonly of?: string;
  /** Which dimension of that. Default: 1. */
  readonly dim?: number;
}

/** How long an output is, see `trimOutputs`. */
export interface TrimOutput {
  /** The dimension of the output. Default: 1. */
  readonly dim?: number;
  /** The input whose length it has. Default: the first input that is padded. */
  readonly of?: string;
  /** The dimension of that input. Default: 1. */
  readonly inputDim?: number;
}

export interface BatchingOptions {
  /**
   * Rows in one call of the engine, at most. Default: the last of `allowedBatchSizes`, else 32.
   */
  readonly maxBatchSize?: number;
  /**
   * Microseconds a batch that is not full waits for more after its first request came, even though
   * a lane is free. Default: 0: a batch leaves as soon as a lane is free, and grows while none is.
   */
  readonly maxDelayMicros?: number;
  /**
   * Sizes a batch may have, ascending, the last one being `maxBatchSize`: it is filled up to the
   * next with copies of its last row, which are dropped. For engines that prepare themselves for
   * each shape anew. Default: any size.
   */
  readonly allowedBatchSizes?: readonly number[];
  /**
   * Full batches that may wait, of all shapes together: more rows than these are
   * ERR_TENON_QUEUE_FULL. Default: as many as hold 16384 rows.
   */
  readonly maxQueuedBatches?: number;
  /**
   * Splits a request of more than `maxBatchSize` rows into several and puts its outputs together
   * again. Default: false: such a request runs alone, as it is.
   */
  readonly splitLarge?: boolean;
  /**
   * Pads dimensions that the model leaves open (but the first) at their end, so that requests of
   * different lengths share a batch. Strings and types below 8 bits are not padded. Default: false:
   * only requests of the same shape do.
   */
  readonly padVariableLength?: boolean;
  /**
   * What inputs are padded with: a number, or 'first': each request's own first element of the input,
   * as TensorFlow Serving does; 0 where it has none. Default: 0.
   */
  readonly padValue?: number | 'first';
  /** The same for single inputs, by name. */
  readonly padValues?: Readonly<Record<string, number | 'first'>>;
  /**
   * An input that the batcher fills where a request does not feed it: 1 for real elements, 0 for
   * padding ("attention_mask"). Its shape is [rows, length]. Needs `padVariableLength`.
   */
  readonly maskInput?: string | MaskInput;
  /**
   * Outputs that are as long as an input, by name: cut back to the request's own length. Not needed
   * where the model gives both dimensions the same name. Needs `padVariableLength`.
   */
  readonly trimOutputs?: Readonly<Record<string, TrimOutput>>;
  /**
   * Lengths, ascending: a request is padded only with others up to the same of these, so that a
   * short one does not pay for a long one. Longer ones than the last are one bucket more. Needs
   * `padVariableLength`. Default: none: all share.
   */
  readonly lengthBuckets?: readonly number[];
  /**
   * Tells only the priorities 0 … n-1 apart: lower ones count as 0, higher ones as n-1. Default:
   * every integer is a priority of its own.
   */
  readonly priorityLevels?: number;
  /**
   * Refuses a request with a time limit at once, with ERR_TENON_DEADLINE, where it is expected to
   * wait longer than that. Default: true.
   */
  readonly refuseLate?: boolean;
  /**
   * Learns how long batches take, and chooses their size and delay anew all the time so that 99 of
   * 100 requests take no longer than this in all, at the highest throughput that allows.
   * `maxBatchSize` stays the upper limit (default then: 128) and `maxDelayMicros` the longest
   * delay (default then: what the target leaves). Default: off; 50 for `batching: 'auto'`.
   */
  readonly targetLatencyMs?: number;
  /**
   * Whether load() first runs items alone and together and compares: 'refuse' fails the load with
   * ERR_TENON_NOT_BATCHABLE where results differ, 'warn' notes the reason in
   * `stats().batching.verification` and runs unbatched, false does not look. true is 'refuse'.
   * Default: 'refuse'.
   */
  readonly verifyBatching?: boolean | 'refuse' | 'warn';
  /**
   * Feeds for verification, by the signature's input names: one item or several, as `run` takes
   * them. Without them random items are made where every input is a float; other models are
   * 'unverified', and are batched.
   */
  readonly sample?: object | readonly object[];
}

/** BatchingOptions with everything decided. */
export interface ResolvedBatching {
  readonly maxBatchSize: number;
  /** For adaptive batching the upper limit. */
  readonly maxDelayMicros: number;
  readonly allowedBatchSizes: readonly number[];
  readonly maxQueuedRows: number;
  readonly splitLarge: boolean;
  readonly padVariableLength: boolean;
  readonly padValue: number | 'first';
  readonly padValues: Readonly<Record<string, number | 'first'>>;
  readonly maskInput: { name: string; of: string | undefined; dim: number } | undefined;
  readonly trimOutputs: Readonly<
    Record<string, { dim: number; of: string | undefined; inputDim: number }>
  >;
  readonly lengthBuckets: readonly number[];
  readonly priorityLevels: number | undefined;
  readonly refuseLate: boolean;
  /** In microseconds; undefined: nothing adapts. */
  readonly targetMicros: number | undefined;
  readonly verify: 'refuse' | 'warn' | 'off';
  readonly sample: readonly object[];
}

const optionNames = [
  'maxBatchSize',
  'maxDelayMicros',
  'allowedBatchSizes',
  'maxQueuedBatches',
  'splitLarge',
  'padVariableLength',
  'padValue',
  'padValues',
  'maskInput',
  'trimOutputs',
  'lengthBuckets',
  'priorityLevels',
  'refuseLate',
  'targetLatencyMs',
  'verifyBatching',
  'sample',
];

const defaultMaxBatchSize = 32;
const defaultAdaptiveMaxBatchSize = 128;
const defaultTargetLatencyMs = 50;
const defaultMaxQueuedRows = 16384;
const maxRows = 2 ** 24;
const maxDelay = 60_000_000;
const maxTargetMs = 3_600_000;

/**
 * @returns undefined where nothing is to be batched.
 * @throws ERR_TENON_INVALID_ARGUMENT naming the option.
 */
export function resolveBatching(value: unknown): ResolvedBatching | undefined {
  if (value === undefined || value === false) return undefined;
  if (value !== true && value !== 'auto' && (typeof value !== 'object' || value === null)) {
    throw invalidArgument('batching', "true, false, 'auto' or an options object", value);
  }
  const options =
    value === true
      ? {}
      : value === 'auto'
        ? { targetLatencyMs: defaultTargetLatencyMs }
        : checkOptions(value, 'batching', optionNames);
  const target = options['targetLatencyMs'];
  const allowedBatchSizes = ascending(options['allowedBatchSizes'], 'batching.allowedBatchSizes');
  const largest = allowedBatchSizes.at(-1);
  const maxBatchSize = integer(
    options['maxBatchSize'],
    'batching.maxBatchSize',
    largest ?? (target === undefined ? defaultMaxBatchSize : defaultAdaptiveMaxBatchSize),
    1,
    maxRows,
  );
  if (largest !== undefined && largest !== maxBatchSize) {
    throw new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      `expected "batching.allowedBatchSizes" to end with maxBatchSize (${maxBatchSize}), received ${largest} as its last`,
    );
  }
  const padVariableLength = boolean(
    options['padVariableLength'],
    'batching.padVariableLength',
    false,
  );
  for (const name of ['padValue', 'padValues', 'maskInput', 'trimOutputs', 'lengthBuckets']) {
    if (options[name] !== undefined && !padVariableLength) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected "batching.${name}" only with padVariableLength, received it without`,
      );
    }
  }
  const targetMicros =
    target === undefined
      ? undefined
      : number(target, 'batching.targetLatencyMs', 0, Number.MIN_VALUE, maxTargetMs) * 1000;
  const queuedBatches = options['maxQueuedBatches'];
  return {
    maxBatchSize,
    maxDelayMicros: number(
      options['maxDelayMicros'],
      'batching.maxDelayMicros',
      targetMicros ?? 0,
      0,
      maxDelay,
    ),
    allowedBatchSizes,
    maxQueuedRows:
      queuedBatches === undefined
        ? Math.max(maxBatchSize, defaultMaxQueuedRows)
        : integer(queuedBatches, 'batching.maxQueuedBatches', 0, 1) * maxBatchSize,
    splitLarge: boolean(options['splitLarge'], 'batching.splitLarge', false),
    padVariableLength,
    padValue: padValueOf(options['padValue'], 'batching.padValue'),
    padValues: Object.fromEntries(entries(options['padValues'], 'batching.padValues', padValueOf)),
    maskInput: resolveMask(options['maskInput']),
    trimOutputs: Object.fromEntries(
      entries(options['trimOutputs'], 'batching.trimOutputs', (item, name) => {
        const given = checkOptions(item, name, ['dim', 'of', 'inputDim']);
        return {
          dim: integer(given['dim'], `${name}.dim`, 1, 1, 64),
          of: string(given['of'], `${name}.of`),
          inputDim: integer(given['inputDim'], `${name}.inputDim`, 1, 1, 64),
        };
      }),
    ),
    lengthBuckets: ascending(options['lengthBuckets'], 'batching.lengthBuckets'),
    priorityLevels:
      options['priorityLevels'] === undefined
        ? undefined
        : integer(options['priorityLevels'], 'batching.priorityLevels', 1, 1),
    refuseLate: boolean(options['refuseLate'], 'batching.refuseLate', true),
    targetMicros,
    verify: resolveVerify(options['verifyBatching']),
    sample: resolveSample(options['sample']),
  };
}

function resolveMask(value: unknown): ResolvedBatching['maskInput'] {
  if (value === undefined) return undefined;
  if (typeof value === 'string') return { name: value, of: undefined, dim: 1 };
  const given = checkOptions(value, 'batching.maskInput', ['name', 'of', 'dim']);
  const name = string(given['name'], 'batching.maskInput.name');
  if (name === undefined) throw invalidArgument('batching.maskInput.name', 'a name', name);
  return {
    name,
    of: string(given['of'], 'batching.maskInput.of'),
    dim: integer(given['dim'], 'batching.maskInput.dim', 1, 1, 64),
  };
}

function resolveVerify(value: unknown): ResolvedBatching['verify'] {
  if (value === undefined || value === true) return 'refuse';
  if (value === false) return 'off';
  return oneOf(value, 'batching.verifyBatching', ['refuse', 'warn']) ?? 'refuse';
}

function resolveSample(value: unknown): readonly object[] {
  if (value === undefined) return [];
  const items: unknown[] = Array.isArray(value) ? value : [value];
  return items.map((item, i) => {
    if (typeof item !== 'object' || item === null) {
      throw invalidArgument(`batching.sample[${i}]`, 'an object of feeds by name', item);
    }
    return item;
  });
}

function number(
  value: unknown,
  name: string,
  fallback: number,
  minimum = -Infinity,
  maximum = Infinity,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || Number.isNaN(value) || value < minimum || value > maximum) {
    const range = minimum === -Infinity ? 'a number' : `a number from ${minimum} to ${maximum}`;
    throw invalidArgument(name, range, value);
  }
  return value;
}

function padValueOf(value: unknown, name: string): number | 'first' {
  if (value === 'first') return value;
  if (typeof value === 'string') throw invalidArgument(name, "a number or 'first'", value);
  return number(value, name, 0);
}

function ascending(value: unknown, name: string): readonly number[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length === 0) {
    throw invalidArgument(name, 'an array of sizes', value);
  }
  const sizes = value.map((item: unknown, i) => integer(item, `${name}[${i}]`, 0, 1, maxRows));
  for (let i = 1; i < sizes.length; i++) {
    if ((sizes[i] as number) <= (sizes[i - 1] as number)) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected ascending sizes for "${name}", received ${sizes[i]} after ${sizes[i - 1]}`,
      );
    }
  }
  return sizes;
}

/** The priority that counts. */
export function levelOf(priority: number, priorityLevels: number | undefined): number {
  if (priorityLevels === undefined) return priority;
  return Math.min(Math.max(priority, 0), priorityLevels - 1);
}
