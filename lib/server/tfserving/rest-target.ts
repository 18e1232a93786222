/** What a URL of TensorFlow Serving's REST API means. */

import type { StatusError } from '../../codec/status.js';
import type { ModelSpec } from '../models.js';
import { invalid } from './errors.js';

export type PostMethod = 'classify' | 'regress' | 'predict';

export type RestTarget =
  | { readonly kind: PostMethod; readonly spec: ModelSpec }
  | { readonly kind: 'status' | 'metadata'; readonly spec: ModelSpec }
  | { readonly kind: 'list' };

const postUrl =
  /^\/v1\/models\/([^/:]+)(?:\/versions\/(\d+)|\/labels\/([^/:]+))?:(classify|regress|predict)$/i;
const getUrl =
  /^\/v1\/models(?:\/([^/:]+))?(?:\/versions\/(\d+)|\/labels\/([^/:]+))?(?:\/(metadata))?$/i;

const maxVersion = 2n ** 63n - 1n;

/**
 * @param url Path and query, as they came.
 * @throws StatusError INVALID_ARGUMENT for every URL and method that is none of the API.
 */
export function parseTarget(method: string, url: string): RestTarget {
  const pattern = method === 'POST' ? postUrl : method === 'GET' ? getUrl : undefined;
  const match = pattern?.exec(url);
  if (match === undefined || match === null) throw malformed(method, url);
  const [, name, version, label, last] = match;
  if (name === undefined) {
    if (version === undefined && label === undefined && last === undefined) return { kind: 'list' };
    throw invalid('Missing model name in request.');
  }
  const spec: ModelSpec = {
    name: decode(name),
    version: version === undefined ? undefined : toVersion(version),
    label: label === undefined ? undefined : decode(label),
  };
  if (method === 'POST') return { kind: (last as string).toLowerCase() as PostMethod, spec };
  return { kind: last === undefined ? 'status' : 'metadata', spec };
}

export function malformed(method: string, url: string): StatusError {
  return invalid(`Malformed request: ${method} ${url}`);
}

function toVersion(digits: string): bigint {
  const version = BigInt(digits);
  if (version > maxVersion) throw invalid(`Failed to convert version: ${digits} to numeric.`);
  return version;
}

/** Percent signs that no two hexadecimal digits follow stay as they are. */
export function decode(text: string): string {
  if (!text.includes('%')) return text;
  const bytes = Buffer.from(
    text.replace(/%([0-9a-f]{2})/gi, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 16)),
    ),
    'latin1',
  );
  return bytes.toString('utf8');
}
