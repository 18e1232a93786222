/** What a URL of the Open Inference Protocol's REST API means. */

import { HttpError } from '../http-status.js';
import type { ModelSpec } from '../models.js';
import { decode } from '../tfserving/rest-target.js';
import { modelSpec } from './model-spec.js';

/** What describes the server or a model. */
export type GetTarget =
  | { readonly kind: 'server' | 'live' | 'ready' }
  | { readonly kind: 'metadata' | 'modelReady' | 'config'; readonly spec: ModelSpec };

/** What lists, loads and unloads models. */
export type ControlTarget =
  { readonly kind: 'index' } | { readonly kind: 'load' | 'unload'; readonly name: string };

export type OipTarget =
  | GetTarget
  | ControlTarget
  | { readonly kind: 'infer'; readonly spec: ModelSpec }
  | { readonly kind: 'statistics'; readonly spec: ModelSpec | undefined };

const modelUrl = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(infer|ready|config|stats))?$/;
const controlUrl = /^\/v2\/repository\/models\/([^/]+)\/(load|unload)$/;

const fixed: Readonly<Record<string, OipTarget>> = {
  '/v2': { kind: 'server' },
  '/v2/health/live': { kind: 'live' },
  '/v2/health/ready': { kind: 'ready' },
  '/v2/models/stats': { kind: 'statistics', spec: undefined },
  '/v2/repository/index': { kind: 'index' },
};

const modelKinds = {
  infer: 'infer',
  ready: 'modelReady',
  config: 'config',
  stats: 'statistics',
} as const;

const postKinds = new Set<OipTarget['kind']>(['infer', 'index', 'load', 'unload']);

/**
 * @param path Without a query; a slash at its end counts for nothing. What stands for a version and
 *   is no number is a label.
 * @throws HttpError 404 for a path that is none of the API, 405 for another method than its own;
 *   StatusError INVALID_ARGUMENT for a version that is too large.
 */
export function parseOipTarget(method: string, path: string): OipTarget {
  const target = targetOf(path.length > 1 ? path.replace(/\/$/, '') : path);
  if (target === undefined) {
    throw new HttpError(404, 'NOT_FOUND', `Not found: ${method} ${path}`);
  }
  const expected = postKinds.has(target.kind) ? 'POST' : 'GET';
  if (method !== expected) {
    throw new HttpError(
      405,
      'UNIMPLEMENTED',
      `expected the method ${expected} for ${path}, received ${method}`,
    );
  }
  return target;
}

function targetOf(path: string): OipTarget | undefined {
  if (Object.hasOwn(fixed, path)) return fixed[path];
  const control = controlUrl.exec(path);
  if (control !== null) {
    return { kind: control[2] as 'load' | 'unload', name: decode(control[1] as string) };
  }
  const match = modelUrl.exec(path);
  if (match === null) return undefined;
  const [, name, version, last] = match;
  return {
    kind: last === undefined ? 'metadata' : modelKinds[last as keyof typeof modelKinds],
    spec: modelSpec(decode(name as string), version === undefined ? '' : decode(version)),
  };
}
