// One model's signatures, and the form that runs it.

import { askJson } from './ask.js';
import { make, nameOf } from './dom.js';
import { fieldsOf, verbOf } from './fields.js';
import { runOnce } from './results.js';
import { examplesBody, keyOf, modelUrl, predictBody, shapeText } from './tensors.js';

/** By version and model; of a version they never change. */
const signatures = new Map();

/** Of another process nothing is known. */
export function forgetSignatures() {
  signatures.clear();
}

async function signaturesOf(name, version) {
  const key = keyOf(name, version);
  if (!signatures.has(key)) {
    const query = new URLSearchParams({ model: name, version });
    const asked = askJson(`page/signatures.json?${query}`);
    asked.catch(() => signatures.delete(key));
    signatures.set(key, asked);
  }
  return signatures.get(key);
}

export async function showForm(model, available, place) {
  if (available.length === 0) {
    place.replaceChildren(make('p', { className: 'card empty' }, 'No version serves now.'));
    return;
  }
  const newest = available[0].version;
  const places = [
    [`newest (${newest})`, {}, newest],
    ...available.map(({ version }) => [version, { versions: version }, version]),
    ...model.labels
      .filter(([, version]) => available.some((each) => each.version === version))
      .map(([label, version]) => [`label ${label}`, { labels: label }, version]),
  ];
  const versionSelect = make(
    'select',
    {},
    ...places.map(([text], i) => new Option(text, String(i))),
  );
  const signatureSelect = make('select');
  const table = make('section', { className: 'card', 'aria-label': 'Signatures' });
  const inputs = make('div', { className: 'inputs' });
  const result = make('section', { className: 'result', 'aria-live': 'polite' });
  const run = make('button', { className: 'primary' }, 'Run');
  const form = make(
    'form',
    { className: 'card try', noValidate: true },
    make(
      'div',
      { className: 'fields' },
      make('label', {}, 'Version ', versionSelect),
      make('label', {}, 'Signature ', signatureSelect),
    ),
    inputs,
    make('div', {}, run),
    result,
  );
  place.replaceChildren(
    make('h3', {}, 'Signatures'),
    table,
    make('h3', {}, 'Run a prediction'),
    form,
  );

  let described = [];
  let fields = [];
  let version;
  const signature = () => described[Number(signatureSelect.value)];
  const showInputs = () => {
    result.replaceChildren();
    const chosen = signature();
    fields = chosen === undefined ? [] : fieldsOf(chosen);
    inputs.replaceChildren(...fields.map(({ element }) => element));
    run.disabled = fields.some(({ isFit }) => !isFit) || chosen === undefined;
  };
  const showVersion = async () => {
    const [, , wanted] = places[Number(versionSelect.value)];
    if (version === wanted) return;
    version = wanted;
    try {
      const answer = await signaturesOf(model.name, wanted);
      if (version !== wanted) return;
      const before = signature()?.name ?? 'serving_default';
      described = defaultFirst(answer.signatures);
      signatureSelect.replaceChildren(
        ...described.map(({ name }, i) => new Option(name, String(i), false, name === before)),
      );
      table.replaceChildren(...described.map(signatureTable));
      showInputs();
    } catch (error) {
      version = undefined;
      table.replaceChildren(make('p', { className: 'empty' }, error.message));
    }
  };
  versionSelect.addEventListener('change', () => void showVersion());
  signatureSelect.addEventListener('change', showInputs);

  let running;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (running !== undefined) {
      running.abort();
      return;
    }
    const texts = fields.map((field) => ({ name: field.name, text: field.read() }));
    if (texts.some(({ text }) => text === undefined)) return;
    const [, where] = places[Number(versionSelect.value)];
    const chosen = signature();
    const verb = verbOf(chosen);
    const body =
      verb === 'predict'
        ? predictBody(chosen.name, texts)
        : examplesBody(chosen.name, texts[0]?.text ?? '[]');
    running = new AbortController();
    run.textContent = 'Stop';
    const url = modelUrl(model.name, where, verb);
    const hasImage = fields.some(({ isImage }) => isImage?.() === true);
    try {
      await runOnce({ url, body, chosen, hasImage, result, signal: running.signal });
    } finally {
      running = undefined;
      run.textContent = 'Run';
    }
  });
  await showVersion();
}

const isDefault = ({ name }) => name === 'serving_default';

function defaultFirst(all) {
  return [...all.filter(isDefault), ...all.filter((each) => !isDefault(each))];
}

function signatureTable({ name, methodName, inputs, outputs }, i) {
  const row = (direction) => (spec) =>
    make(
      'tr',
      {},
      make('td', { className: 'note' }, direction),
      make('th', { scope: 'row' }, nameOf(spec.name)),
      make(
        'td',
        {},
        spec.kind === 'tensor' ? spec.dtype : spec.kind,
        spec.optional ? make('span', { className: 'note' }, ' optional') : '',
      ),
      make('td', { className: 'mono' }, spec.kind === 'tensor' ? shapeText(spec.shape) : ''),
    );
  const head = ['', 'Name', 'Type', 'Shape'].map((title) => make('th', { scope: 'col' }, title));
  return make(
    'details',
    { open: i === 0 },
    make(
      'summary',
      {},
      nameOf(name),
      make(
        'span',
        { className: 'note' },
        ` ${methodName?.replace('tensorflow/serving/', '') ?? ''}`,
      ),
    ),
    make(
      'table',
      { className: 'specs' },
      make('thead', {}, make('tr', {}, ...head)),
      make('tbody', {}, ...inputs.map(row('in')), ...outputs.map(row('out'))),
    ),
  );
}
