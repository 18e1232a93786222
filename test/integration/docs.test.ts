import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  brokenLinks,
  type Example,
  examplesIn,
  makeProject,
  missingPaths,
  missingScripts,
  printsOf,
  readPages,
  runBlock,
  typeErrors,
} from '../helpers/docs.js';

// What the documentation shows is what works. Examples run in a child process, in a folder with
// the fixtures' models/, the held-out digits as images/, and the built package.
//
// On a fence: `ts no-run` is compiled only; `sh run` is run. In an example: `// prints: text` (in
// sh: `# prints: text`) must be in what it prints. docs/exporting.md is compiled here; its recipes
// need Python, and scripts/run-export-recipes.mjs runs them.

const timeoutMs = 110_000;

const pages = readPages();
const examples = examplesIn(pages, ['ts', 'js', 'sh']).filter(
  ({ block }) => block.language !== 'sh' || block.flags.includes('run'),
);

let folder: string;
let errors: ReadonlyMap<string, string[]>;

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'tenon-docs-'));
  const types = path.join(folder, 'types');
  makeProject(types);
  errors = typeErrors(
    examples.filter(({ block }) => block.language === 'ts'),
    types,
  );
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function isRun({ page, block }: Example): boolean {
  return page.name !== 'docs/exporting.md' && !block.flags.includes('no-run');
}

describe('examples', () => {
  it('are found', () => {
    expect(examples.filter(isRun).length).toBeGreaterThan(5);
  });

  for (const [i, example] of examples.entries()) {
    const { title, block } = example;
    it.concurrent(title, { timeout: timeoutMs + 10_000 }, async ({ expect }) => {
      if (block.language === 'ts') expect(errors.get(title)).toEqual([]);
      if (!isRun(example)) return;
      const project = path.join(folder, `example-${i}`);
      makeProject(project);
      const ran = await runBlock(block, project, timeoutMs);
      expect(ran.ended, `${ran.stdout}\n${ran.stderr}`).toBe(0);
      for (const text of printsOf(block.text)) expect(ran.stdout).toContain(text);
    });
  }
});

describe.each(pages)('$name', (page) => {
  it('links to what is there', () => {
    expect(brokenLinks(page)).toEqual([]);
  });

  it('names paths that are there', () => {
    expect(missingPaths(page)).toEqual([]);
  });

  it('names npm scripts that are there', () => {
    expect(missingScripts(page)).toEqual([]);
  });
});
