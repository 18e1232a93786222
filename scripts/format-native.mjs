// Formats native/ with the clang-format that package-lock.json pins, so that
// every machine agrees. Without --write it only says which files differ.
import { readdirSync } from 'node:fs';
import path from 'node:path';

import { moduleScript, root, run } from './run-command.mjs';

const files = readdirSync(path.join(root, 'native'), { recursive: true })
  .filter((name) => /\.(h|cc|c)$/.test(name))
  .map((name) => path.join('native', name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];

run(process.execPath, [moduleScript('clang-format/index.js'), '--style=file', ...mode, ...files]);
