/** What a caller asks of a signature → indices and values, as the addon takes them. */

import { describe, invalidArgument, TenonError } from '../errors.js';
import type {
  NativeOutputs,
  NativeTarget,
  NativeTensorIn,
  NativeValueIn,
} from '../native/types.js';
import type { RunRequest } from '../runner.js';
import { Tensor } from '../tensor/tensor.js';
import { feedToNative, isBareFeed, tensorToNative } from './feeds.js';
import { valueFromNative } from './outputs.js';
import type { ValueSpec } from './spec.js';
import type { Value } from './types.js';

/** A signature made ready for runs: names to indices, once. */
export interface Plan {
  readonly index: number;
  readonly inputs: ReadonlyMap<string, { readonly index: number; readonly spec: ValueSpec }>;
  readonly required: readonly string[];
  /** The input a bare feed goes to. */
  readonly onlyInput: string | undefined;
  readonly outputs: ReadonlyMap<string, { readonly index: number; readonly spec: ValueSpec }>;
  readonly outputNames: readonly string[];
  readonly allOutputs: readonly number[];
}

/** Where an output goes: host memory, nowhere (it stays in the engine), or a given tensor. */
export type OutputPlace = 'host' | 'engine' | Tensor;

/** What a runner takes, and what makes its answer the caller's. */
export interface Request extends RunRequest {
  readonly outputNames: readonly string[];
  /** By the order of `outputs`; undefined where all go to host memory. */
  readonly places: readonly OutputPlace[] | undefined;
}

/** The signature that calls go to where none is named: "serving_default", or the only one. */
export function defaultSignatureOf(
  signatures: readonly { name: string }[],
  chosen: string | undefined,
): string | undefined {
  if (chosen !== undefined) return chosen;
  if (signatures.some(({ name }) => name === 'serving_default')) return 'serving_default';
  return signatures.length === 1 ? signatures[0]?.name : undefined;
}

export function planOf(
  signature: { inputs: readonly ValueSpec[]; outputs: readonly ValueSpec[] },
  index: number,
): Plan {
  const required = signature.inputs.filter(({ optional }) => optional !== true);
  const onlyInput = required.length === 1 ? required[0] : signature.inputs[0];
  const indexed = (specs: readonly ValueSpec[]) =>
    new Map(specs.map((spec, i) => [spec.name, { index: i, spec }]));
  return {
    index,
    inputs: indexed(signature.inputs),
    required: required.map(({ name }) => name),
    onlyInput: required.length === 1 || signature.inputs.length === 1 ? onlyInput?.name : undefined,
    outputs: indexed(signature.outputs),
    outputNames: signature.outputs.map(({ name }) => name),
    allOutputs: signature.outputs.map((_, i) => i),
  };
}

/**
 * @param filled An input that need not be fed, because whoever runs the request fills it.
 * @throws ERR_TENON_UNKNOWN_FEED, ERR_TENON_MISSING_FEED, ERR_TENON_UNKNOWN_OUTPUT,
 *   ERR_TENON_INVALID_ARGUMENT, and what `feedToNative` throws.
 */
export function makeRequest(
  plan: Plan,
  feeds: unknown,
  wanted: unknown,
  validateShapes: boolean,
  filled?: string,
): Request {
  const inputs: number[] = [];
  const values: NativeValueIn[] = [];
  const take = (name: string, value: unknown): void => {
    const input = plan.inputs.get(name);
    if (input === undefined) {
      throw new TenonError(
        'ERR_TENON_UNKNOWN_FEED',
        `expected feeds for ${listed(plan.inputs.keys())}, received one for "${name}"`,
      );
    }
    inputs.push(input.index);
    values.push(feedToNative(value, input.spec, name, validateShapes));
  };
  if (isBareFeed(feeds)) {
    if (plan.onlyInput === undefined) {
      throw new TenonError(
        'ERR_TENON_MISSING_FEED',
        `expected an object with feeds for ${listed(plan.inputs.keys())}, received ${describe(feeds)}`,
      );
    }
    take(plan.onlyInput, feeds);
  } else {
    const named = feeds as Record<string, unknown>;
    for (const name of Object.keys(named)) {
      if (named[name] !== undefined) take(name, named[name]);
    }
    // What is fed is known and fed once, so too few can be seen by their number.
    if (inputs.length < plan.required.length || plan.required.length < plan.inputs.size) {
      checkRequired(plan, named, filled);
    }
  }
  if (wanted === undefined) {
    const { allOutputs: outputs, outputNames } = plan;
    return {
      signature: plan.index,
      inputs,
      feeds: values,
      outputs,
      outputNames,
      places: undefined,
      targets: undefined,
    };
  }
  return { signature: plan.index, inputs, feeds: values, ...selectOutputs(plan, wanted) };
}

function checkRequired(
  plan: Plan,
  named: Record<string, unknown>,
  filled: string | undefined,
): void {
  for (const name of plan.required) {
    if (name !== filled && (!Object.hasOwn(named, name) || named[name] === undefined)) {
      throw new TenonError(
        'ERR_TENON_MISSING_FEED',
        `expected a feed for "${name}", received ${listed(Object.keys(named))}`,
      );
    }
  }
}

/** The `outputs` option: names, or names with where each output goes. */
function selectOutputs(
  plan: Plan,
  wanted: unknown,
): Pick<Request, 'outputs' | 'outputNames' | 'places' | 'targets'> {
  let outputNames: string[];
  let places: OutputPlace[] | undefined;
  if (Array.isArray(wanted)) {
    outputNames = [...new Set(wanted)].map((name: unknown, i) => {
      if (typeof name !== 'string') throw invalidArgument(`outputs[${i}]`, 'a name', name);
      return name;
    });
  } else if (typeof wanted === 'object' && wanted !== null && !(wanted instanceof Tensor)) {
    const named = wanted as Record<string, unknown>;
    outputNames = Object.keys(named).filter((name) => named[name] !== undefined);
    places = outputNames.map((name) => placeOf(named[name], name));
  } else {
    throw invalidArgument('outputs', 'an array of names, or an object of places by name', wanted);
  }
  if (outputNames.length === 0) {
    throw invalidArgument('outputs', `at least one of ${listed(plan.outputNames)}`, wanted);
  }
  const found = outputNames.map((name) => {
    const output = plan.outputs.get(name);
    if (output === undefined) {
      throw new TenonError(
        'ERR_TENON_UNKNOWN_OUTPUT',
        `expected outputs among ${listed(plan.outputNames)}, received "${name}"`,
      );
    }
    return output;
  });
  return {
    outputs: found.map(({ index }) => index),
    outputNames,
    places,
    targets: places?.map((place, i) => targetOf(place, (found[i] as { spec: ValueSpec }).spec)),
  };
}

function placeOf(place: unknown, name: string): OutputPlace {
  if (place === 'host' || place === 'engine' || place instanceof Tensor) return place;
  throw invalidArgument(`outputs.${name}`, "'host', 'engine' or a Tensor", place);
}

/** @throws ERR_TENON_DTYPE where the given tensor is of another dtype than the output. */
export function targetOf(place: OutputPlace, spec: ValueSpec): NativeTarget {
  if (place === 'host') return 0;
  if (place === 'engine') return 1;
  if (spec.kind !== 'tensor') {
    throw new TenonError(
      'ERR_TENON_UNSUPPORTED',
      `expected a tensor output to be written into a tensor, received the ${spec.kind} "${spec.name}"`,
    );
  }
  if (place.location !== 'host') {
    throw invalidArgument(`outputs.${spec.name}`, 'a tensor in host memory', place);
  }
  return tensorToNative(place, { ...spec, shape: null }, spec.name, false) as NativeTensorIn;
}

/** The outputs by name; one that went into a given tensor is that tensor. */
export function namedOutputs(
  { outputNames, places }: Request,
  values: NativeOutputs,
): Record<string, Value> {
  const outputs: Record<string, Value> = {};
  for (let i = 0; i < outputNames.length; i++) {
    const value = values[i];
    outputs[outputNames[i] as string] =
      value === undefined ? (places?.[i] as Tensor) : valueFromNative(value);
  }
  return outputs;
}

export function listed(names: Iterable<string>): string {
  const list = [...names];
  return list.length === 0 ? 'nothing' : list.map((name) => `"${name}"`).join(', ');
}
