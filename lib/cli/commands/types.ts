import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { type Signature, TenonError, inspect, load } from '../../index.js';
import { UsageError } from '../context.js';
import { typeNameOf, typesOf } from '../types-of.js';

export interface TypesCommandOptions {
  out?: string;
  name?: string;
  tags?: string[];
}

export async function typesCommand(model: string, options: TypesCommandOptions): Promise<void> {
  const { out, name } = options;
  if (name !== undefined && typeNameOf(name) !== name) {
    throw new UsageError(
      `expected a type name such as "${typeNameOf(name)}" for "--name", received "${name}"`,
    );
  }
  const described = await describe(model, options.tags);
  const source = typesOf(described, name);
  if (out === undefined) {
    process.stdout.write(source);
    return;
  }
  await writeFile(out, source);
  console.error(`wrote ${out}`);
}

async function describe(
  model: string,
  tags: string[] | undefined,
): Promise<{ name: string; signatures: Readonly<Record<string, Signature>> }> {
  try {
    const description = await inspect(model, tags === undefined ? {} : { tags });
    if (description.format === 'graph-def') {
      throw new TenonError(
        'ERR_TENON_MODEL_FORMAT',
        `expected a model with signatures for "${model}", received a frozen graph, which has none`,
      );
    }
    return description;
  } catch (error) {
    if (!(error instanceof TenonError) || error.code !== 'ERR_TENON_UNSUPPORTED') throw error;
  }
  // What cannot be read without an engine (.ort) is loaded.
  const loaded = await load(model);
  await loaded.close();
  return { name: path.parse(path.resolve(model)).name, signatures: loaded.signatures };
}
