/** Tenon as a backend of onnxruntime-common. */

import type * as ort from 'onnxruntime-common';

import { load, type ValuesModel } from '../index.js';
import { failure, loadError } from './errors.js';
import { SessionHandler } from './handler.js';
import { backendName, otherProviders, supportedBackends } from './providers.js';
import { resolveSessionOptions, type SessionOptions } from './session-options.js';
import type { TensorClass } from './tensors.js';

/** What the drop-in needs of onnxruntime-common: the instance that the application uses. */
export interface Common {
  readonly Tensor: TensorClass;
  readonly env: ort.Env;
  readonly registerBackend: typeof ort.registerBackend;
}

/** The version of onnxruntime-node whose API this is. */
const apiVersion = '1.30.0';

/** The stock binding registers with 100. */
const priority = 200;

export class Backend implements ort.Backend {
  readonly #common: Common;

  constructor(common: Common) {
    this.#common = common;
  }

  async init(): Promise<void> {
    // The engine is opened by the first session: importing stays cheap.
  }

  /**
   * Loads a model on a native thread. Providers that are not to be had are left out with a
   * warning, as onnxruntime-common leaves out those that nobody registered; one that the stock
   * binding would try fails the load, as there.
   */
  async createInferenceSessionHandler(
    pathOrBuffer: string | Uint8Array,
    options: SessionOptions = {},
  ): Promise<SessionHandler> {
    const { Tensor: TensorOf, env } = this.#common;
    const resolved = await resolveSessionOptions(pathOrBuffer, options, env.logLevel);
    const { source, providers, preferredOutputLocation } = resolved;
    const own = new Set(supportedBackends().map(({ name }) => name));
    const foreign = providers.filter((name) => !own.has(name));
    if (typeof source !== 'string' && source.byteLength === 0) {
      throw failure('Model data pointer is null.', 'ERR_TENON_MODEL_INVALID');
    }
    let model;
    try {
      model = await load<ValuesModel>(source, {
        ...resolved.load,
        allowProviderFallback: foreign.length > 0,
      });
    } catch (error) {
      throw loadError(error, pathOrBuffer);
    }
    try {
      checkFallbacks(model.providerFallbacks, providers, own);
      return new SessionHandler(model, {
        TensorOf,
        preferredOutputLocation,
        profiles: resolved.load.onnxruntime?.profiling !== undefined,
      });
    } catch (error) {
      await model.close();
      throw error;
    }
  }
}

/** @throws Error where nothing that was asked for is there, or something that ought to be. */
function checkFallbacks(
  fallbacks: readonly { provider: string; reason: string }[],
  asked: readonly string[],
  own: ReadonlySet<string>,
): void {
  for (const { provider, reason } of fallbacks) {
    if (own.has(provider)) throw failure(reason, 'ERR_TENON_PROVIDER');
  }
  if (fallbacks.length > 0 && fallbacks.length === asked.length) {
    const list = fallbacks.map(({ provider }) => `[${provider}] backend not found.`).join(', ');
    throw failure(`no available backend found. ERR: ${list}`, 'ERR_TENON_PROVIDER');
  }
  for (const { provider, reason } of fallbacks) {
    // eslint-disable-next-line no-console -- where onnxruntime-common itself says it
    console.warn(
      `removing requested execution provider "${provider}" from session options because it is not available: ${reason}`,
    );
  }
}

/**
 * Makes Tenon the backend of the sessions that this instance of onnxruntime-common creates, ahead
 * of the stock binding.
 */
export function register({ registerBackend, env }: Common, backend: Backend): void {
  const add = (name: string, rank: number): void => {
    try {
      registerBackend(name, backend, rank);
    } catch {
      // Another copy of this package has registered first: its sessions are as good.
    }
  };
  const names = supportedBackends().map(({ name }) => name);
  for (const name of [...otherProviders, ...names.reverse()]) add(name, priority);
  // A name that another backend has got keeps that one, whatever the priority. Under a name of its
  // own Tenon comes first wherever no provider is named.
  add(backendName, priority + 1);
  if (env.versions.node === undefined) {
    // Configurable, because the stock binding may define it after this.
    Object.defineProperty(env.versions, 'node', {
      value: apiVersion,
      enumerable: true,
      configurable: true,
    });
  }
}
