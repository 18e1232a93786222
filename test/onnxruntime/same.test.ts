import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { Tensor } from '../../lib/index.js';
import { fixture } from '../helpers/paths.js';
import { feedsOf, type ReferenceCase, referenceCases } from '../helpers/references.js';
import { temporaryFolder } from '../helpers/temporary.js';
import { type ModuleName, modules, runWith } from './modules.js';

// The stock binding and the drop-in, in processes of their own, do the same and say the same.

const folder = temporaryFolder();
const names = Object.keys(modules) as ModuleName[];

interface Check {
  name: string;
  error: string | null;
}

describe.each(names)('what users rely on, with %s', (name) => {
  let checks: Check[];

  beforeAll(async () => {
    const { ended, lines, stderr } = await runWith(name, 'suite.mjs', fixture());
    expect(ended, stderr).toBe(0);
    checks = lines.map((line) => JSON.parse(line) as Check);
  });

  it('holds', () => {
    expect(checks.length).toBeGreaterThan(100);
    expect(checks.filter(({ error }) => error !== null)).toEqual([]);
  });
});

interface Answer {
  index: number;
  inputMetadata?: unknown;
  outputMetadata?: unknown;
  outputs?: Record<string, unknown>;
  error?: { name: string; message: string; code?: string };
  /** How the process ended in the middle of the case. */
  died?: number | string;
}

interface Feed {
  type: string;
  dims: readonly number[];
  base64?: string;
  strings?: string[];
}

/** A case whose feeds are tensors; undefined for one with sequences, maps or optionals. */
function feedsFor(reference: ReferenceCase): Record<string, Feed> | undefined {
  const feeds: Record<string, Feed> = {};
  for (const [name, value] of Object.entries(feedsOf(reference))) {
    if (!(value instanceof Tensor)) return undefined;
    const { dtype: type, shape: dims } = value;
    feeds[name] =
      type === 'string'
        ? { type, dims, strings: (value as Tensor<'string'>).data }
        : { type, dims, base64: Buffer.from(value.bytes as Uint8Array).toString('base64') };
  }
  return feeds;
}

const cases = referenceCases
  .filter(({ engine }) => engine === 'onnx')
  .flatMap((reference) => {
    const feeds = feedsFor(reference);
    return feeds === undefined ? [] : [{ model: fixture(reference.model), feeds }];
  });

/** A process that dies in the middle of a case is that case's answer; another goes on after it. */
async function answersOf(name: ModuleName): Promise<Answer[]> {
  const file = path.join(folder, 'cases.json');
  writeFileSync(file, JSON.stringify(cases));
  const answers: Answer[] = [];
  while (answers.length < cases.length) {
    const { ended, lines } = await runWith(name, 'answers.mjs', file, String(answers.length));
    answers.push(...lines.map((line) => JSON.parse(line) as Answer));
    if (answers.length < cases.length) answers.push({ index: answers.length, died: ended });
  }
  return answers;
}

describe('the answers on all fixtures', () => {
  let stock: Answer[];
  let dropIn: Answer[];

  beforeAll(async () => {
    [stock, dropIn] = await Promise.all([
      answersOf('onnxruntime-node'),
      answersOf('tenon/onnxruntime'),
    ]);
  });

  it('cover every model that takes tensors', () => {
    const covered = new Set(cases.map(({ model }) => path.relative(fixture('models'), model)));
    const models = readdirSync(fixture('models'), { recursive: true, encoding: 'utf8' }).filter(
      (name) => /\.(onnx|ort)$/.test(name),
    );
    const left = models.filter((name) => !covered.has(name)).sort();
    // Two need what no CPU kernel has; the others take sequences or maps.
    expect(left).toEqual([
      'dtypes/complex128.onnx',
      'dtypes/complex64.onnx',
      'maps_in.onnx',
      'sequence_strings.onnx',
      'sequences.onnx',
    ]);
  });

  it('are those of the stock binding, bit by bit, wherever it has one', () => {
    const answered = stock.filter(({ outputs }) => outputs !== undefined);
    expect(answered.length).toBeGreaterThan(30);
    expect(answered.map(({ index }) => dropIn[index])).toEqual(answered);
  });

  it('never end the process', () => {
    expect(dropIn.filter(({ died }) => died !== undefined)).toEqual([]);
  });

  it('are errors with a code where onnxruntime-common has no value for them', () => {
    const failed = dropIn.flatMap(({ index, error }) =>
      error === undefined ? [] : [[path.basename(cases[index]?.model ?? ''), error] as const],
    );
    expect([...new Set(failed.map(([model]) => model))].sort()).toEqual([
      'bfloat16.onnx',
      'float4_e2m1.onnx',
      'float8_e4m3fn.onnx',
      'float8_e4m3fnuz.onnx',
      'float8_e5m2.onnx',
      'float8_e5m2fnuz.onnx',
      'float8_e8m0fnu.onnx',
      'int2.onnx',
      'maps.onnx',
      'maps_string.onnx',
      'optional_none.onnx',
      'uint2.onnx',
    ]);
    for (const [, { name, code, message }] of failed) {
      expect([name, code], message).toEqual(['Error', 'ERR_TENON_UNSUPPORTED']);
    }
  });
});
