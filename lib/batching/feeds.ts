/** Feeds of requests that wait: the caller may reuse its arrays as soon as the call returns. */

import type { RunTensor } from '../runner.js';

/** Keeps a tensor as it was on the call. */
export interface FeedMemory {
  /** The tensor in memory that stays as it is, whatever its caller does next. */
  hold(tensor: RunTensor): RunTensor;
  /** Ends what `hold` began, with the tensor it gave: nobody reads it any more, no lane either. */
  release(tensor: RunTensor): void;
  /** Nothing more will be held. */
  close(): void;
}

/** Copies into ordinary memory. */
export const copiedFeeds: FeedMemory = {
  hold: copyTensor,
  release: () => undefined,
  close: () => undefined,
};

export function copyTensor([dtype, shape, data]: RunTensor): RunTensor {
  if (Array.isArray(data)) {
    const elements = data as readonly (string | Uint8Array)[];
    return [
      dtype,
      shape,
      elements.map((element) => (typeof element === 'string' ? element : sliceOf(element))),
    ];
  }
  return [dtype, shape, sliceOf(data as Uint8Array)];
}

/** As a copy; a Buffer's own slice() would be a view. */
function sliceOf<T>(array: T): T {
  return Reflect.apply(slice, array, []) as T;
}

// eslint-disable-next-line @typescript-eslint/unbound-method -- applied to arrays of every type
const { slice } = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
