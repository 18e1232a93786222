// The code blocks of the documentation: how they are found, and how one is made a program. Plain
// JavaScript, because a script that runs without a build step uses it too.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import ts from 'typescript';

/** Every fenced block of a page, in order. */
export function readBlocks(markdown) {
  const blocks = [];
  const counts = new Map();
  let heading = '';
  let open;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^( *)(`{3,}|~{3,})(.*)$/.exec(line);
    if (open === undefined) {
      const title = /^#{1,6} (.+?)\s*$/.exec(line)?.[1];
      if (title !== undefined) heading = title;
      if (fence === null) continue;
      const [language = '', ...flags] = fence[3].trim().split(/\s+/);
      const key = `${heading}\n${language}`;
      const number = (counts.get(key) ?? 0) + 1;
      counts.set(key, number);
      const block = { language, flags, heading, number, line: index + 1, text: '' };
      open = { block, indent: fence[1].length, fence: fence[2], lines: [] };
    } else if (fence !== null && fence[3].trim() === '' && fence[2].startsWith(open.fence)) {
      blocks.push({ ...open.block, text: open.lines.map((text) => `${text}\n`).join('') });
      open = undefined;
    } else {
      open.lines.push(line.slice(Math.min(open.indent, line.length - line.trimStart().length)));
    }
  }
  if (open !== undefined) throw new Error(`the block in line ${open.block.line} has no end`);
  return blocks;
}

/** What a block says it prints: the text after each `prints:` in a comment. */
export function printsOf(text) {
  return [...text.matchAll(/(?:\/\/|#) prints: (.+)$/gm)].map(([, printed]) => printed.trim());
}

/** Writes a ts or js block as a program that this Node runs; returns its path. */
export function writeProgram(folder, name, block) {
  const isCommonJs = block.language !== 'ts' && /\brequire\(/.test(block.text);
  const file = path.join(folder, `${name}.${isCommonJs ? 'cjs' : 'mjs'}`);
  const { outputText } = ts.transpileModule(block.text, {
    fileName: `${name}.mts`,
    compilerOptions: {
      // Node 20 has no `using`: it is written out.
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  });
  writeFileSync(file, isCommonJs ? block.text : outputText);
  return file;
}

/** Lets programs in `folder` import a package: a link in its node_modules. */
export function linkPackage(folder, name, target) {
  const modules = path.join(folder, 'node_modules');
  mkdirSync(modules, { recursive: true });
  symlinkSync(target, path.join(modules, name), 'junction');
}
