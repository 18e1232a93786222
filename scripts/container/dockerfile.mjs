// A Dockerfile as a list of stages with their instructions, as much of the format as ours uses.
import { readFileSync } from 'node:fs';

/** @returns `[{ from, name, steps: [{ keyword, text, line }] }]`, with build arguments filled into `from`. */
export function readDockerfile(file, buildArguments = {}) {
  const stages = [];
  const global = { ...buildArguments };
  for (const step of instructions(readFileSync(file, 'utf8'))) {
    const { keyword, text } = step;
    if (keyword === 'FROM') {
      const [, image, name = String(stages.length)] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(text);
      stages.push({ from: fill(image, global), name, steps: [] });
    } else if (stages.length === 0 && keyword === 'ARG') {
      const [name, fallback = ''] = splitAt(text, '=');
      global[name] ??= fallback;
    } else if (stages.length > 0) {
      stages.at(-1).steps.push(step);
    } else {
      throw new Error(`line ${step.line}: expected FROM or ARG, received ${keyword}`);
    }
  }
  return stages;
}

function instructions(source) {
  const found = [];
  let text = '';
  let first = 0;
  source.split('\n').forEach((line, i) => {
    if (/^\s*#/.test(line) || (line.trim() === '' && text === '')) return;
    if (text === '') first = i + 1;
    const isContinued = line.endsWith('\\');
    text += isContinued ? line.slice(0, -1) : line;
    if (isContinued) return;
    const [, keyword, rest] = /^\s*(\w+)\s+([^]*)$/.exec(text);
    found.push({ keyword: keyword.toUpperCase(), text: rest.trim(), line: first });
    text = '';
  });
  return found;
}

/** `${NAME}` by its value, or by nothing. */
export function fill(text, values) {
  return text.replace(/\$\{(\w+)\}/g, (_all, name) => values[name] ?? '');
}

export function splitAt(text, mark) {
  const index = text.indexOf(mark);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

/** `A=1 B="two words"` as pairs. */
export function pairs(text) {
  return [...text.matchAll(/([\w.]+)=("([^"]*)"|\S*)/g)].map(([, name, plain, quoted]) => [
    name,
    quoted ?? plain,
  ]);
}
