/** The documentation's pages, and what a reader can do with them: run, compile, follow links. */

import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

import ts from 'typescript';

import { type Block, linkPackage, printsOf, readBlocks, writeProgram } from './docs-blocks.mjs';
import { fixture, root } from './paths.js';

export { type Block, printsOf };

export interface Page {
  /** Relative to the repository, with slashes. */
  name: string;
  text: string;
  blocks: Block[];
}

export interface Example {
  title: string;
  page: Page;
  block: Block;
}

/** README.md and everything in docs/. */
export function readPages(): Page[] {
  const docs = readdirSync(path.join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name.replaceAll('\\', '/')}`)
    .sort();
  return ['README.md', ...docs].map((name) => {
    const text = readFileSync(path.join(root, name), 'utf8');
    return { name, text, blocks: readBlocks(text) };
  });
}

export function examplesIn(pages: readonly Page[], languages: readonly string[]): Example[] {
  return pages.flatMap((page) =>
    page.blocks
      .filter(({ language }) => languages.includes(language))
      .map((block) => ({
        title: `${page.name}: ${block.heading} (${block.language} ${block.number})`,
        page,
        block,
      })),
  );
}

/** A folder where examples find what their readers have: models, adapters, images, the package, its command. */
export function makeProject(folder: string): void {
  mkdirSync(folder, { recursive: true });
  linkPackage(folder, 'tenon', root);
  // What an application has beside it.
  linkPackage(folder, 'fastify', path.join(root, 'node_modules/fastify'));
  symlinkSync(fixture('models'), path.join(folder, 'models'), 'junction');
  symlinkSync(fixture('lora'), path.join(folder, 'lora'), 'junction');
  symlinkSync(fixture('digits/png'), path.join(folder, 'images'), 'junction');
  const command = `#!/bin/sh\nexec "${process.execPath}" "${path.join(root, 'dist/cli.js')}" "$@"\n`;
  mkdirSync(path.join(folder, 'bin'));
  writeFileSync(path.join(folder, 'bin/tenon'), command, { mode: 0o755 });
}

export interface Ran {
  /** An exit code, or how the program ended without one. */
  ended: number | string;
  stdout: string;
  stderr: string;
}

/** Runs a ts, js or sh block in `folder`, which `makeProject` has made. */
export function runBlock(block: Block, folder: string, timeoutMs: number): Promise<Ran> {
  const isShell = block.language === 'sh';
  // npx would look a command up in a registry if it were not there.
  const script = block.text.replace(/^npx tenon /gm, 'tenon ');
  const [command, args] = isShell
    ? ['sh', ['-ec', script]]
    : [process.execPath, [writeProgram(folder, 'example', block)]];
  const bin = path.join(folder, 'bin');
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env['PATH'] ?? ''}` };
  return new Promise((resolve) => {
    execFile(command, args, { cwd: folder, env, timeout: timeoutMs }, (error, stdout, stderr) => {
      const ended = error === null ? 0 : (error.code ?? error.signal ?? error.message);
      resolve({ ended, stdout, stderr });
    });
  });
}

/**
 * What the compiler says of each ts block, by title, with the repository's own options: blocks are
 * modules of one program that import the package as it is built.
 */
export function typeErrors(
  examples: readonly Example[],
  folder: string,
): ReadonlyMap<string, string[]> {
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) =>
    readFileSync(file, 'utf8'),
  ) as { config: { compilerOptions: object } };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const files = new Map(
    examples.map(({ block, title }, i) => {
      const file = path.join(folder, `example-${i}.mts`);
      // Even a block without imports is a module: its names are its own.
      writeFileSync(file, `${block.text}export {};\n`);
      return [file, title];
    }),
  );
  const program = ts.createProgram([...files.keys()], {
    ...options,
    noUnusedLocals: false,
    typeRoots: [path.join(root, 'node_modules/@types')],
  });
  const errors = new Map(examples.map(({ title }) => [title, [] as string[]]));
  for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
    const { file, start = 0, messageText } = diagnostic;
    const title = file === undefined ? undefined : files.get(path.normalize(file.fileName));
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line;
    const text = file?.text.split('\n')[line]?.trim() ?? '';
    const message = `${ts.flattenDiagnosticMessageText(messageText, '\n')}, in: ${text}`;
    // What belongs to no example (the package's own types) breaks all of them.
    for (const [name, list] of errors) {
      if (title === undefined || title === name) list.push(message);
    }
  }
  return errors;
}

/** What stands in backticks within a line. */
function inlineCode(page: Page): string[] {
  return [...withoutBlocks(page.text).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ''] of withoutBlocks(text).matchAll(/^#{1,6} (.+?)\s*$/gm)) {
    const anchor = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-');
    let unique = anchor;
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`;
    anchors.add(unique);
  }
  return anchors;
}

function withoutBlocks(text: string): string {
  return text.replaceAll(/^ *(`{3,}|~{3,})[\s\S]*?^ *\1.*$/gm, '');
}

/** Relative links of a page that lead nowhere: to no file, or to no heading of it. */
export function brokenLinks(page: Page): string[] {
  const prose = withoutBlocks(page.text).replaceAll(/`[^`\n]*`/g, '');
  const targets = [
    ...prose.matchAll(/\]\(([^)\s]+)[^)]*\)/g),
    ...prose.matchAll(/^ *\[[^\]]+\]: +(\S+)/gm),
  ].map(([, target = '']) => target);
  return targets.filter((target) => {
    if (/^[a-z][a-z+.-]*:/i.test(target)) return false;
    const [relative = '', anchor] = target.split('#');
    const file =
      relative === ''
        ? path.join(root, page.name)
        : path.resolve(path.dirname(path.join(root, page.name)), relative);
    if (!existsSync(file)) return true;
    return anchor !== undefined && !anchorsOf(readFileSync(file, 'utf8')).has(anchor);
  });
}

/** Paths of this repository that a page names, in backticks or in a command, and that are not there. */
export function missingPaths(page: Page): string[] {
  const folders = 'bench|deploy|docs|examples|lib|native|scripts|test|\\.ci|\\.github';
  const pattern = new RegExp(`^(?:${folders})/[\\w./-]*$`);
  const named = inlineCode(page);
  const commands = page.blocks
    .filter(({ language }) => language === 'sh' || language === '')
    .flatMap(({ text }) => text.split(/\s+/));
  return [...named, ...commands].filter(
    (code) =>
      // A C++ unit may be named without its extension.
      pattern.test(code) && !['', '.cc'].some((end) => existsSync(path.join(root, code + end))),
  );
}

/** npm scripts that a page tells its readers to run and package.json does not have. */
export function missingScripts(page: Page): string[] {
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const code = [...inlineCode(page), ...page.blocks.map(({ text }) => text)].join('\n');
  return [...code.matchAll(/\bnpm run ([\w:-]+)/g)]
    .map(([, script = '']) => script)
    .filter((script) => scripts[script] === undefined);
}
