/** Where requests go, as a file says it. */

import { readFile } from 'node:fs/promises';

import { parse as parseYaml } from 'yaml';

import { TenonError } from '../../errors.js';
import { resolveTraffic, type TrafficOptions } from '../traffic/config.js';

/**
 * A file of YAML, or JSON, which YAML includes: the option `traffic` with names as other files have
 * them, in snake_case, or as they are.
 *
 * @throws ERR_TENON_CONFIG naming the file, and what is wrong in it.
 */
export async function readTraffic(file: string): Promise<TrafficOptions> {
  try {
    const plain: unknown = parseYaml(await readFile(file, 'utf8')) ?? {};
    const options = isObject(plain) ? renamed(plain, shape) : plain;
    resolveTraffic(options);
    return options as TrafficOptions;
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected routes and shadows by model in ${file}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Which objects have names of ours: `true`, or below each name; "*" stands for all there are. */
interface Shape {
  readonly [name: string]: Shape;
}

const model: Shape = { shadow: {}, rollout: {} };
const shape: Shape = { models: { '*': model }, default: model };

/** Models and labels keep their names. */
function renamed(plain: object, { '*': each, ...named }: Shape): object {
  return Object.fromEntries(
    Object.entries(plain).map(([name, value]: [string, unknown]) => {
      const own = each === undefined ? camelCase(name) : name;
      const below = each ?? (Object.hasOwn(named, own) ? named[own] : undefined);
      return [own, below !== undefined && isObject(value) ? renamed(value, below) : value];
    }),
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
