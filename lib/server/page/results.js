// What a prediction gave.

import { ask, hasToken } from './ask.js';
import { make, nameOf } from './dom.js';
import {
  bytesText,
  curlCommand,
  isDistribution,
  microsText,
  nestedSizes,
  numberText,
  readJson,
  rowsOf,
  topOf,
} from './tensors.js';

/** Characters of an answer that are shown. */
const maxShown = 20_000;
/** Bytes of a body that a command to copy has. */
const maxCommand = 4_096;
/** Rows of an output, and values of a row. */
const maxRows = 4;
const topCount = 5;

/** Asks a model once, and shows what it says. */
export async function runOnce({ url, body, chosen, hasImage, result, signal }) {
  const started = performance.now();
  try {
    const response = await ask(url, { method: 'POST', body, signal });
    const text = await response.text();
    const took = performance.now() - started;
    const version = response.headers.get('model-version');
    const facts = [
      response.ok ? 'OK' : `Error ${response.status}`,
      microsText(took * 1000),
      ...(version === null ? [] : [`version ${version}`]),
      `${bytesText(body.length)} sent`,
      `${bytesText(text.length)} received`,
    ];
    result.replaceChildren(
      make('p', { className: `outcome ${response.ok ? 'good' : 'bad'}` }, facts.join(' · ')),
      ...(response.ok ? outputsOf(text, chosen, hasImage) : [make('pre', {}, errorOf(text))]),
      more('Answer', text),
      more('The same with curl', commandFor(url, body)),
    );
  } catch (error) {
    const message = signal.aborted ? 'Stopped.' : error.message;
    result.replaceChildren(make('p', { className: 'outcome bad' }, message));
  }
}

function errorOf(text) {
  try {
    return readJson(text).error ?? text;
  } catch {
    return text.slice(0, maxShown);
  }
}

function more(title, text) {
  const isCut = text.length > maxShown;
  const all = isCut
    ? `${text.slice(0, maxShown)}\n… ${numberText(text.length - maxShown)} characters more`
    : text;
  return make('details', {}, make('summary', {}, title), make('pre', { tabIndex: 0 }, all));
}

function commandFor(url, body) {
  const address = new URL(url, location.href).href;
  if (body.length > maxCommand) {
    return curlCommand(address, '@request.json', hasToken()).concat(
      '\n# the request has ',
      bytesText(body.length),
    );
  }
  return curlCommand(address, body, hasToken());
}

function outputsOf(text, { outputs }, hasImage) {
  let answer;
  try {
    answer = readJson(text);
  } catch {
    return [];
  }
  if (Array.isArray(answer.results)) return answer.results.slice(0, maxRows).map(resultRow);
  const values = answer.outputs;
  const named =
    outputs.length === 1
      ? [[outputs[0].name, values]]
      : outputs
          .filter(({ name }) => Object.hasOwn(values ?? {}, name))
          .map(({ name }) => [name, values[name]]);
  return named.map(([name, value]) => {
    const sizes = nestedSizes(value);
    const title = make(
      'h4',
      {},
      nameOf(name),
      make('span', { className: 'note' }, ` [${sizes.join(', ')}]`),
    );
    const rows = rowsOf(value);
    const isRanked =
      rows !== undefined && (rows.every(isDistribution) || (hasImage && rows[0].length > 2));
    if (!isRanked) return make('div', {}, title, make('pre', { tabIndex: 0 }, valueText(value)));
    const cut =
      rows.length > maxRows
        ? [make('p', { className: 'note' }, `${rows.length - maxRows} rows more in the answer`)]
        : [];
    return make('div', {}, title, ...rows.slice(0, maxRows).map(bars), ...cut);
  });
}

function valueText(value) {
  const text =
    JSON.stringify(value, undefined, nestedSizes(value).length > 1 ? 1 : undefined) ?? '';
  const flat = text.replace(
    /\[\s+([^[\]{}]*?)\s+\]/g,
    (_, inner) => `[${inner.replace(/\s+/g, ' ')}]`,
  );
  return flat.length > 4000 ? `${flat.slice(0, 4000)} …` : flat;
}

/** The highest values of a row. */
function bars(row) {
  const isShare = isDistribution(row);
  const top = topOf(row, topCount);
  const longest = isShare
    ? 1
    : Math.max(...top.map(({ value }) => Math.abs(value)), Number.MIN_VALUE);
  return barList(
    top.map(({ index, value }) => ({
      label: String(index),
      share: Math.max(0, value) / longest,
      text: isShare ? `${(value * 100).toFixed(1)} %` : String(Number(value.toPrecision(4))),
    })),
  );
}

/** Of a classification, labels with scores; of a regression, a value. */
function resultRow(row) {
  if (!Array.isArray(row)) return make('pre', {}, String(row));
  const top = row.slice(0, 20).map(([label, score]) => ({ label, score }));
  const longest = Math.max(...top.map(({ score }) => Math.abs(score ?? 0)), Number.MIN_VALUE);
  return barList(
    top.map(({ label, score }, i) => ({
      label: label === '' ? String(i) : String(label),
      share: Math.max(0, score ?? 0) / longest,
      text: String(score),
    })),
  );
}

function barList(entries) {
  return make(
    'ol',
    { className: 'bars' },
    ...entries.map(({ label, share, text }) => {
      const bar = make('span', { className: 'bar-value' });
      bar.style.width = `${(100 * share).toFixed(1)}%`;
      return make(
        'li',
        {},
        make('span', { className: 'bar-label' }, nameOf(label)),
        make('span', { className: 'bar-track' }, bar),
        make('span', { className: 'bar-text' }, text),
      );
    }),
  );
}
