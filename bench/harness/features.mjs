// Parts of Tenon that a benchmark measures where they are there.
import { load } from 'tenon';

import { Unavailable } from './unavailable.mjs';

const unknownOption = (error) => error?.code === 'ERR_TENON_INVALID_ARGUMENT';

/** A model whose runs all go to a lane; where there is no choice, they do anyway. */
export async function loadOnLanes(model, options) {
  try {
    return await load(model, { ...options, inline: 'never' });
  } catch (error) {
    if (!unknownOption(error)) throw error;
    return load(model, options);
  }
}

export function bind(model, feeds, options) {
  if (typeof model.bind !== 'function') {
    throw new Unavailable('this version of Tenon has no model.bind()');
  }
  return model.bind(feeds, options);
}

/** Run options that write the outputs into given tensors. */
export function intoTensors(model, feeds, outputs) {
  const options = { outputs };
  try {
    model.runSync(feeds, options);
  } catch (error) {
    if (!unknownOption(error)) throw error;
    throw new Unavailable('this version of Tenon has no preallocated outputs');
  }
  return options;
}
