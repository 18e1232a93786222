/** The feeds that a command line names. */

import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';

import { type FeedValue, type Signature, TenonError, type ValueSpec } from '../index.js';
import { UsageError } from './context.js';
import { describeSpec } from './types-of.js';
import { feedFromJson, feedFromText, parseJsonFile } from './values.js';

export interface Assignment {
  name: string;
  value: string;
}

export function assignment(given: string, option: string): Assignment {
  const at = given.indexOf('=');
  if (at <= 0) throw new UsageError(`expected name=value for ${option}, received "${given}"`);
  return { name: given.slice(0, at), value: given.slice(at + 1) };
}

export async function readInputsJson(file: string | undefined): Promise<Map<string, unknown>> {
  if (file === undefined) return new Map();
  const content = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
  const value = parseJsonFile(content, file);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UsageError(`expected an object with a value per input in "${file}"`);
  }
  return new Map(Object.entries(value));
}

/** @param wanted 'all': a required input without a value is an error. */
export async function readFeeds(
  signature: Signature,
  inputs: readonly Assignment[],
  fromFile: ReadonlyMap<string, unknown>,
  wanted: 'all' | 'some' = 'all',
): Promise<Record<string, FeedValue>> {
  const feeds: [string, FeedValue][] = [];
  for (const [name, value] of fromFile) {
    feeds.push([name, feedFromJson(value, inputSpec(signature, name))]);
  }
  for (const { name, value } of inputs) {
    feeds.push([name, await feedFromText(value, inputSpec(signature, name))]);
  }
  const named = Object.fromEntries(feeds);
  if (wanted === 'some') return named;
  const missing = Object.values(signature.inputs).filter(
    (spec) => spec.optional !== true && !Object.hasOwn(named, spec.name),
  );
  if (missing.length > 0) {
    const list = missing.map((spec) => `${spec.name} (${describeSpec(spec)})`).join(', ');
    throw new TenonError('ERR_TENON_MISSING_FEED', `expected --input for ${list}`);
  }
  return named;
}

function inputSpec(signature: Signature, name: string): ValueSpec {
  const spec = Object.hasOwn(signature.inputs, name) ? signature.inputs[name] : undefined;
  if (spec !== undefined) return spec;
  const names = Object.keys(signature.inputs).map((each) => `"${each}"`);
  throw new TenonError(
    'ERR_TENON_UNKNOWN_FEED',
    `expected --input for ${names.join(', ') || 'nothing'}, received one for "${name}"`,
  );
}
