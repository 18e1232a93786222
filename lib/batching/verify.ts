/**
 * Whether a model may be batched at all: items are run alone and together, and have to give the
 * same. A model that mixes rows, or whose first dimension is none of a batch, would otherwise give
 * one caller what belongs to another.
 */

import {
  bfloat16ToNumber,
  float16ToNumber,
  numberToBfloat16,
  numberToFloat16,
} from '../tensor/convert.js';
import { type DType, dtypeFromNumber, dtypes, type TypedArray } from '../tensor/dtypes.js';
import type {
  Runner,
  RunOutputs,
  RunRequest,
  RunTensor,
  RunTensorOut,
  Tickets,
} from '../runner.js';
import { layoutOf, roundUp } from './form.js';
import type { ResolvedBatching } from './options.js';
import { rowsOf } from './request-key.js';
import type { BatchSignature, BatchSpec, SignaturePlan } from './signature.js';
import { bytesOf } from './split.js';

/**
 * - `verified`: items gave the same together as alone
 * - `unverified`: nothing could be compared; batching goes on
 * - `refused`: they did not, or there is no batch dimension; this signature is not batched
 * - `off`: nobody looked, see `verifyBatching`
 */
export interface BatchVerdict {
  readonly status: 'verified' | 'unverified' | 'refused' | 'off';
  /** Why, except for `verified`. */
  readonly reason: string;
}

/**
 * How much a result may differ, as a share of the largest absolute value of the output: engines
 * choose other kernels for other sizes. Other dtypes have to be equal.
 */
const tolerances: Readonly<Partial<Record<DType, number>>> = {
  float32: 1e-3,
  float64: 1e-6,
  float16: 1e-2,
  bfloat16: 5e-2,
};

/** Sizes to try for dimensions the model leaves open, until a run accepts one. */
const openSizes = [8, 32, 224];
const itemCount = 3;

const options = { ticket: 0, priority: 0, borrow: true, deadline: 0, caller: undefined };

/**
 * @param sample Requests to compare; none: random ones are made where that is safe.
 */
export async function verifyBatching(
  runner: Pick<Runner, 'run' | 'runBatch'>,
  index: number,
  signature: BatchSignature,
  plan: SignaturePlan,
  batching: ResolvedBatching,
  tickets: Tickets,
  sample: readonly RunRequest[],
): Promise<BatchVerdict> {
  const declared = againstDeclaration(signature, plan);
  if (declared !== undefined) return { status: 'refused', reason: declared };
  const batchOf = (requests: readonly RunRequest[]): ReturnType<Runner['runBatch']> => {
    const { inputs, outputs } = requests[0] as RunRequest;
    const members = requests.map(({ feeds }) => feeds as readonly RunTensor[]);
    const sum = requests.reduce((rows, request) => rows + (rowsOf(request, plan) as number), 0);
    const rows = requests.length === 1 ? sum : roundUp(sum, batching.allowedBatchSizes);
    const layout = layoutOf(plan, inputs, outputs, members, rows);
    return runner.runBatch(
      { signature: index, inputs, members, outputs, layout },
      { ...options, ticket: tickets.next() },
    );
  };
  const run = async (request: RunRequest): Promise<RunOutputs> => {
    // An input that is to be filled is filled in a batch only, be it of one.
    const isFilled = plan.mask !== undefined && !request.inputs.includes(plan.mask.input);
    if (isFilled) return (await batchOf([request]))[0] as RunOutputs;
    return runner.run(request, { ...options, ticket: tickets.next() });
  };

  let items: readonly RunRequest[] = [];
  let failure = '';
  if (sample.length > 0) {
    items = Array.from({ length: itemCount }, (_, i) => sample[i % sample.length] as RunRequest);
  } else {
    const unsafe = signature.inputs.find((spec) => !isSafe(spec) && !isLeftOut(spec, plan));
    if (unsafe !== undefined) {
      return {
        status: 'unverified',
        reason: `input "${unsafe.name}" cannot be filled with random numbers (${describeInput(unsafe)}); give "batching.sample"`,
      };
    }
    for (const size of openSizes) {
      const made = randomItems(index, signature, plan, size);
      try {
        await run(made[0] as RunRequest);
        items = made;
        break;
      } catch (error) {
        failure = (error as Error).message;
        if (signature.inputs.every(({ shape }) => isSettled(shape))) break;
      }
    }
  }
  const [first] = items;
  if (first === undefined) {
    return {
      status: 'unverified',
      reason: `no run with random numbers went well; give "batching.sample" (${failure})`,
    };
  }
  for (const item of items) {
    const rows = rowsOf(item, plan);
    if (typeof rows === 'string') {
      return {
        status: 'unverified',
        reason: `"batching.sample" is nothing that is batched (${rows})`,
      };
    }
  }

  const alone: RunOutputs[] = [];
  for (const item of items) alone.push(await run(item));
  const again = await run(first);
  const unsteady = difference(alone[0] as RunOutputs, again, signature, first);
  if (unsteady !== undefined) {
    return { status: 'unverified', reason: `the same item gives other results twice: ${unsteady}` };
  }
  for (const [i, outputs] of alone.entries()) {
    const item = items[i] as RunRequest;
    const wrong = againstRows(outputs, rowsOf(item, plan) as number, signature, item);
    if (wrong !== undefined) return { status: 'refused', reason: wrong };
  }
  // Two sizes: a dimension that happens to be as large as one batch is not as large as the other.
  for (const members of [
    [0, 1, 2],
    [2, 0],
  ]) {
    let together: readonly RunOutputs[];
    try {
      together = await batchOf(members.map((member) => items[member] as RunRequest));
    } catch (error) {
      return {
        status: 'refused',
        reason: `${members.length} items that run alone fail together: ${(error as Error).message}`,
      };
    }
    for (const [at, member] of members.entries()) {
      const differs = difference(
        alone[member] as RunOutputs,
        together[at] as RunOutputs,
        signature,
        first,
      );
      if (differs !== undefined) {
        return {
          status: 'refused',
          reason: `an item gives other results in a batch of ${members.length} than alone: ${differs}`,
        };
      }
    }
  }
  return { status: 'verified', reason: '' };
}

/** What the model declares that no batch can have; undefined where there is nothing. */
function againstDeclaration(signature: BatchSignature, plan: SignaturePlan): string | undefined {
  const input = signature.inputs.findIndex(
    (spec, i) => plan.inputs[i]?.reason !== undefined && spec.optional !== true,
  );
  if (input >= 0) {
    return `input "${signature.inputs[input]?.name}" ${plan.inputs[input]?.reason}, so there is no batch dimension`;
  }
  const output = plan.outputReasons.findIndex((reason) => reason !== undefined);
  if (output >= 0) {
    return `output "${signature.outputs[output]?.name}" ${plan.outputReasons[output]}, so it has no batch dimension`;
  }
  return undefined;
}

/** Floats only: anything else may be an index, and a random one is an error or a crash. */
function isSafe({ dtype, shape }: BatchSpec): boolean {
  return (
    shape !== undefined &&
    shape !== null &&
    ['float32', 'float64', 'float16', 'bfloat16'].includes(dtype ?? '')
  );
}

/** What a request need not feed. */
function isLeftOut(spec: BatchSpec, plan: SignaturePlan): boolean {
  return spec.optional === true || spec.name === plan.maskName;
}

function describeInput({ dtype, shape }: BatchSpec): string {
  return shape === null ? 'its rank is unknown' : `its dtype is ${dtype}`;
}

function isSettled(shape: BatchSpec['shape']): boolean {
  return shape?.slice(1).every((size) => typeof size === 'number') ?? false;
}

function randomItems(
  index: number,
  { inputs, outputs }: BatchSignature,
  plan: SignaturePlan,
  openSize: number,
): RunRequest[] {
  const fed = inputs.flatMap((spec, i) => (isLeftOut(spec, plan) ? [] : [i]));
  let state = 0x2545f491;
  const random = (): number => {
    // xorshift32: the same items at each load.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 31 - 1;
  };
  return Array.from({ length: itemCount }, (_, item) => ({
    signature: index,
    inputs: fed,
    feeds: fed.map((input): RunTensor => {
      const { dtype, shape } = inputs[input] as BatchSpec;
      const sizes = (shape ?? []).map((size, d) => {
        if (d === 0) return 1;
        if (typeof size === 'number') return size;
        // Where lengths may differ they do.
        return plan.inputs[input]?.padded(d) === true ? Math.max(1, openSize - item) : openSize;
      });
      const name = dtype as DType;
      const size = sizes.reduce((product, each) => product * each, 1);
      const { carrier, number } = dtypes[name];
      const data = new (carrier as Float32ArrayConstructor)(size);
      const encode = encoders[name] ?? ((value: number) => value);
      for (let i = 0; i < size; i++) data[i] = encode(random());
      return [number, sizes, data];
    }),
    outputs: outputs.map((_output, i) => i),
    targets: undefined,
  }));
}

const encoders: Partial<Record<DType, (value: number) => number>> = {
  float16: numberToFloat16,
  bfloat16: numberToBfloat16,
};

function againstRows(
  outputs: RunOutputs,
  rows: number,
  signature: BatchSignature,
  request: RunRequest,
): string | undefined {
  for (const [i, value] of outputs.entries()) {
    const name = signature.outputs[request.outputs[i] as number]?.name;
    if (!Array.isArray(value)) return `output "${name}" is no tensor`;
    const [, shape] = value as unknown as RunTensorOut;
    if (shape[0] !== rows) {
      return `output "${name}" has shape [${shape.join(', ')}] for ${rows} ${rows === 1 ? 'row' : 'rows'}, so its first dimension is no batch dimension`;
    }
  }
  return undefined;
}

/** Where two results differ; undefined where they do not. */
function difference(
  expected: RunOutputs,
  received: RunOutputs,
  signature: BatchSignature,
  request: RunRequest,
): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    const name = signature.outputs[request.outputs[i] as number]?.name ?? String(i);
    if (!Array.isArray(expected[i]) || !Array.isArray(received[i])) continue;
    const differs = tensorsDiffer(
      expected[i] as unknown as RunTensorOut,
      received[i] as unknown as RunTensorOut,
    );
    if (differs !== undefined) return `output "${name}" ${differs}`;
  }
  return undefined;
}

export function tensorsDiffer(
  [number, shape, data, offsets]: RunTensorOut,
  [, otherShape, otherData, otherOffsets]: RunTensorOut,
): string | undefined {
  if (shape.length !== otherShape.length || shape.some((size, d) => size !== otherShape[d])) {
    return `has shape [${otherShape.join(', ')}] instead of [${shape.join(', ')}]`;
  }
  const dtype = dtypeFromNumber(number);
  const bytes = bytesOf(data);
  const others = bytesOf(otherData);
  const tolerance = tolerances[dtype];
  if (tolerance === undefined) {
    const isSame =
      Buffer.compare(bytes, others) === 0 &&
      (offsets === undefined || offsets.every((offset, i) => offset === otherOffsets?.[i]));
    return isSame ? undefined : `has other elements`;
  }
  const read = readers[dtype] ?? ((value: number) => value);
  const { carrier } = dtypes[dtype];
  const elements = (from: Uint8Array): TypedArray =>
    new (carrier as Float32ArrayConstructor)(
      from.buffer as ArrayBuffer,
      from.byteOffset,
      from.byteLength / (carrier as Float32ArrayConstructor).BYTES_PER_ELEMENT,
    );
  const a = elements(bytes);
  const b = elements(others);
  let scale = 0;
  for (const element of a) {
    const size = Math.abs(read(element as number));
    if (size > scale && size < Infinity) scale = size;
  }
  for (let i = 0; i < a.length; i++) {
    const x = read(a[i] as number);
    const y = read(b[i] as number);
    if (Object.is(x, y) || x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!(Math.abs(x - y) <= tolerance * scale)) {
      return `has ${y} instead of ${x} at element ${i} (a difference up to ${tolerance} × ${scale} would do)`;
    }
  }
  return undefined;
}

const readers: Partial<Record<DType, (bits: number) => number>> = {
  float16: float16ToNumber,
  bfloat16: bfloat16ToNumber,
};
