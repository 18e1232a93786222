/** What a signature's declaration says of batching it, settled once. */

import { carrierLength, dtypeFromNumber, dtypes } from '../tensor/dtypes.js';
import type { ResolvedBatching } from './options.js';

/** An input or output as the model declares it; a ValueSpec is one. */
export interface BatchSpec {
  readonly kind: string;
  readonly name: string;
  readonly dtype?: string;
  readonly shape?: readonly (number | string | null)[] | null;
  readonly optional?: true;
}

export interface BatchSignature {
  readonly name: string;
  readonly inputs: readonly BatchSpec[];
  readonly outputs: readonly BatchSpec[];
}

export interface BatchInput {
  /** Why it cannot be batched, for messages; undefined where it can. */
  readonly reason: string | undefined;
  /** Whether dimension `d` may differ between the members of a batch, and is then padded. */
  readonly padded: (d: number) => boolean;
  readonly padValue: number | 'first';
}

export interface BatchMask {
  /** Index of the input that is filled. */
  readonly input: number;
  readonly dtype: number;
  /** Index of the input whose length it marks, and the dimension. */
  readonly of: number;
  readonly dim: number;
}

export interface BatchTrim {
  /** Index of the output, and the dimension that is cut … */
  readonly output: number;
  readonly dim: number;
  /** … to the member's own size of this dimension of this input. */
  readonly of: number;
  readonly inputDim: number;
}

export interface SignaturePlan {
  readonly name: string;
  /** Whether verification found that nothing of this signature may be batched. */
  readonly isRefused: boolean;
  readonly inputs: readonly BatchInput[];
  /** For each output why it cannot be batched; undefined where it can. */
  readonly outputReasons: readonly (string | undefined)[];
  readonly mask: BatchMask | undefined;
  /** The name of the input that is filled. */
  readonly maskName: string | undefined;
  readonly trims: readonly BatchTrim[];
}

const never = (): boolean => false;

export function planSignature(signature: BatchSignature, options: ResolvedBatching): SignaturePlan {
  const { inputs, outputs } = signature;
  const { padVariableLength, padValue, padValues, maskInput, trimOutputs } = options;
  const indexOf = (specs: readonly BatchSpec[], name: string): number =>
    specs.findIndex((spec) => spec.name === name);
  const canPad = (spec: BatchSpec): boolean =>
    padVariableLength && spec.kind === 'tensor' && spec.dtype !== 'string' && !isPacked(spec.dtype);
  const plans = inputs.map((spec): BatchInput => ({
    reason: reasonAgainst(spec),
    padded: canPad(spec) ? (d) => d > 0 && typeof spec.shape?.[d] !== 'number' : never,
    padValue: padValues[spec.name] ?? padValue,
  }));

  let mask: BatchMask | undefined;
  if (padVariableLength && maskInput !== undefined) {
    const input = indexOf(inputs, maskInput.name);
    const of =
      maskInput.of === undefined
        ? inputs.findIndex((spec, i) => i !== input && plans[i]?.padded(maskInput.dim) === true)
        : indexOf(inputs, maskInput.of);
    const dtype = (inputs[input]?.dtype ?? '') as keyof typeof dtypes;
    if (input >= 0 && of >= 0 && dtype in dtypes) {
      mask = { input, dtype: dtypes[dtype].number, of, dim: maskInput.dim };
    }
  }

  const trims: BatchTrim[] = [];
  outputs.forEach((spec, output) => {
    const given = trimOutputs[spec.name];
    if (given !== undefined) {
      const of =
        given.of === undefined
          ? inputs.findIndex(
              (_, i) => i !== mask?.input && plans[i]?.padded(given.inputDim) === true,
            )
          : indexOf(inputs, given.of);
      if (of >= 0) trims.push({ output, dim: given.dim, of, inputDim: given.inputDim });
      return;
    }
    // A size that has a name is the same size wherever the name stands.
    spec.shape?.forEach((size, dim) => {
      if (dim === 0 || typeof size !== 'string') return;
      for (const [of, input] of inputs.entries()) {
        const inputDim = input.shape?.indexOf(size) ?? -1;
        if (inputDim > 0 && plans[of]?.padded(inputDim) === true && of !== mask?.input) {
          trims.push({ output, dim, of, inputDim });
          return;
        }
      }
    });
  });
  return {
    name: signature.name,
    isRefused: false,
    inputs: plans,
    outputReasons: outputs.map((spec) => reasonAgainst(spec)),
    mask,
    maskName: mask === undefined ? undefined : inputs[mask.input]?.name,
    trims: padVariableLength ? trims : [],
  };
}

/** Why dimension 0 of a declared input or output is no batch dimension. */
function reasonAgainst({ kind, shape }: BatchSpec): string | undefined {
  if (kind !== 'tensor') return `is of kind ${kind}`;
  if (shape === undefined || shape === null) return undefined;
  if (shape.length === 0) return 'is a scalar';
  if (typeof shape[0] === 'number') return `has ${shape[0]} as its first dimension`;
  return undefined;
}

function isPacked(dtype: string | undefined): boolean {
  const { bits } = dtypes[dtype as keyof typeof dtypes] ?? { bits: 32 };
  return bits > 0 && bits < 8;
}

/** Elements of the carrier that one row takes; undefined where rows do not end on whole ones. */
export function carrierPerRow(dtype: number, shape: readonly number[]): number | undefined {
  let size = 1;
  for (let d = 1; d < shape.length; d++) size *= shape[d] as number;
  const name = dtypeFromNumber(dtype);
  const { bits } = dtypes[name];
  if (bits > 0 && bits < 8 && (size * bits) % 8 !== 0) return undefined;
  return carrierLength(name, size);
}
