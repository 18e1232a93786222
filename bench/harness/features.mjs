// Parts of Tenon that a benchmark measures where they are there.
import { load } from 'tenon';

import { Unavailable } from './unavailable.mjs';

/** A model that puts requests together. */
export async function loadBatching(model, { batching, ...options }) {
  try {
    return await load(model, { ...options, batching });
  } catch (error) {
    if (error?.code !== 'ERR_TENON_INVALID_ARGUMENT' || !/"batching"/.test(error.message)) {
      throw error;
    }
    throw new Unavailable('this version of Tenon has no batching');
  }
}
