// The page: asks the server for its numbers, shows its models, and runs predictions. What comes from the
// server or a model is only ever set as text.

import { Chart, spanMs } from './charts.js';
import {
  bytesText,
  countOf,
  cropOf,
  curlCommand,
  durationText,
  exampleSizes,
  examplesBody,
  exampleText,
  imageInput,
  imageText,
  isDistribution,
  isSendable,
  maxElements,
  microsText,
  modelUrl,
  nestedSizes,
  numberText,
  predictBody,
  quantileOf,
  rangesFor,
  readJson,
  rowsOf,
  shapeText,
  topOf,
  trafficBetween,
} from './tensors.js';

/** Latencies and batches are those of so many milliseconds; a second of them says little. */
const windowMs = 10_000;
const retryMs = 2_000;
/** Characters of an answer that are shown. */
const maxShown = 20_000;
/** Bytes of a body that a command to copy has. */
const maxCommand = 4_096;
const maxRows = 4;
const topCount = 5;

const byId = (id) => document.getElementById(id);

/** An element with properties, or attributes where a name has a dash, and children: texts are texts. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A name that somebody made up: kept apart from the text around it, whatever is in it. */
const nameOf = (name) => make('bdi', { className: 'name' }, name === '' ? '(empty)' : name);

// --- Asking -------------------------------------------------------------------------------------

/** In this tab's memory only. */
let token;

class AccessError extends Error {}

async function ask(url, options = {}) {
  const response = await fetch(url, {
    ...options,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
  });
  if (response.status === 401) {
    askForToken();
    throw new AccessError('The server wants a token');
  }
  return response;
}

async function askJson(url) {
  const response = await ask(url);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer;
}

function askForToken() {
  const form = byId('access');
  if (!form.hidden) return;
  form.hidden = false;
  byId('token').focus();
}

byId('access').addEventListener('submit', (event) => {
  event.preventDefault();
  token = byId('token').value.trim();
  byId('token').value = '';
  byId('access').hidden = true;
  poll();
});

// --- Numbers ------------------------------------------------------------------------------------

/** Answers of the last minutes, oldest first, each with the time it came. */
let history = [];
let timer;
let isPolling = false;

/** Asks as often as the server says, while somebody can see it. */
async function poll() {
  clearTimeout(timer);
  if (isPolling || document.hidden) return;
  isPolling = true;
  let waitMs = retryMs;
  try {
    const numbers = await askJson('page/numbers.json');
    waitMs = numbers.nextMs;
    byId('notice').hidden = true;
    receive(numbers);
  } catch (error) {
    if (error instanceof AccessError) waitMs = undefined;
    else tellTrouble(error);
  }
  isPolling = false;
  if (waitMs !== undefined) timer = setTimeout(poll, waitMs);
}

document.addEventListener('visibilitychange', poll);

function tellTrouble(error) {
  byId('readiness').textContent = 'unreachable';
  byId('readiness').className = 'badge bad';
  const notice = byId('notice');
  notice.hidden = false;
  notice.textContent = `The server does not answer (${error.message}). Trying again.`;
}

function receive(numbers) {
  const at = performance.now();
  const last = history.at(-1);
  // Another process has counts of its own, and its models may be others.
  if (last !== undefined && last.numbers.server.startedAt !== numbers.server.startedAt) {
    history = [];
    signatures.clear();
  }
  const versions = new Map();
  for (const model of numbers.models) {
    for (const version of model.versions) versions.set(keyOf(model.name, version.version), version);
  }
  history.push({ at, numbers, versions });
  history = history.filter((each) => each.at > at - spanMs - windowMs);
  showServer(numbers);
  showScopes(numbers.models);
  showModels(numbers.models);
  showCharts();
}

const keyOf = (name, version) => `${version} ${name}`;

/** What has happened between two answers; of one model, or of all. */
function between(before, after, model) {
  const sum = { requests: 0, failures: 0, runs: 0, calls: 0, latency: new Map() };
  const add = (traffic) => {
    for (const name of ['requests', 'failures', 'runs', 'calls']) sum[name] += traffic[name];
    for (const [bucket, count] of traffic.latency) {
      sum.latency.set(bucket, (sum.latency.get(bucket) ?? 0) + count);
    }
  };
  for (const { name, versions } of after.numbers.models) {
    if (model !== undefined && name !== model) continue;
    for (const version of versions) {
      const earlier = before.versions.get(keyOf(name, version.version));
      // A version that was loaded anew counts from 0.
      const isSame = (earlier?.requests ?? 0) <= (version.requests ?? 0);
      add(trafficBetween(isSame ? earlier : undefined, version));
    }
  }
  if (model === undefined) add(trafficBetween(before.numbers.others, after.numbers.others));
  return sum;
}

function quantilesOf({ latency }, { numbers: { latencyBounds } }) {
  const counts = Array.from({ length: latencyBounds.length + 1 }, (_, i) =>
    Math.max(0, latency.get(i) ?? 0),
  );
  return [0.5, 0.99].map((quantile) => quantileOf(counts, latencyBounds, quantile));
}

/** The answer some time before one, as long ago as there is one. */
function earlierThan(index, ms) {
  const { at } = history[index];
  let i = index;
  while (i > 0 && at - history[i - 1].at <= ms) i--;
  return history[i === index && index > 0 ? index - 1 : i];
}

// --- Header -------------------------------------------------------------------------------------

function showServer({ server, readiness }) {
  const badge = byId('readiness');
  const isLoading = readiness.waiting.length > 0;
  const text = readiness.ready
    ? readiness.failed.length > 0
      ? `ready, ${readiness.failed.length} failed`
      : 'ready'
    : isLoading
      ? `loading ${readiness.waiting.length}`
      : 'stopping';
  // A status is read out when it changes.
  if (badge.textContent !== text) badge.textContent = text;
  badge.className = `badge ${readiness.ready ? (readiness.failed.length > 0 ? 'warn' : 'good') : 'warn'}`;
  document.title = `Tenon · ${text}`;
  const before = history.length > 1 ? earlierThan(history.length - 1, 5_000) : undefined;
  const cpu =
    before === undefined
      ? '–'
      : `${numberText(
          (server.cpuMicros - before.numbers.server.cpuMicros) /
            10 /
            (server.uptimeMs - before.numbers.server.uptimeMs),
        )} %`;
  const facts = [
    ['In flight', String(server.inFlight)],
    ...(server.refused > 0 ? [['Refused', numberText(server.refused)]] : []),
    ['CPU', cpu],
    ['Memory', bytesText(server.residentBytes)],
    ...(server.frontendThreads > 0 ? [['Threads', String(server.frontendThreads)]] : []),
    ['Up', durationText(server.uptimeMs)],
  ];
  byId('facts').replaceChildren(
    ...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))),
  );
}

// --- Charts -------------------------------------------------------------------------------------

/** The model that the charts are of; undefined for all. */
let scope;

const rateText = (value) => (value === undefined ? '–' : `${numberText(value)}/s`);
const plainText = (value) => (value === undefined ? '–' : numberText(value));

const charts = [
  { title: 'Requests', note: '', names: ['', 'failed'], lowestTop: 1, text: rateText },
  { title: 'Latency', note: 'last 10 s', names: ['p50', 'p99'], lowestTop: 100, text: microsText },
  {
    title: 'Batch size',
    note: 'requests a call, last 10 s',
    names: [''],
    lowestTop: 2,
    text: plainText,
  },
  { title: 'Queue', note: '', names: ['waiting', 'running'], lowestTop: 2, text: plainText },
].map((options) => new Chart(options, lookAt));
byId('charts').append(...charts.map(({ element }) => element));

function lookAt(at) {
  for (const chart of charts) chart.look(at);
  const seconds = Math.round((performance.now() - (at ?? 0)) / 1000);
  byId('looked').textContent = at === undefined ? 'last 2 minutes' : `${seconds} s ago`;
}

function showCharts() {
  const now = history.at(-1)?.at ?? performance.now();
  const lines = charts.map(() => []);
  history.forEach((after, i) => {
    const before = history[i - 1];
    if (before === undefined) return;
    const seconds = (after.at - before.at) / 1000;
    // While nobody looked nothing was asked.
    const isGap = after.at - before.at > 3 * before.numbers.nextMs + retryMs;
    if (isGap) {
      for (const line of lines) line.push({ at: after.at - 1, values: [] });
    }
    const rate = between(before, after, scope);
    const wide = isGap ? rate : between(earlierThan(i, windowMs), after, scope);
    const queue = { waiting: 0, running: 0 };
    for (const model of after.numbers.models) {
      if (scope !== undefined && model.name !== scope) continue;
      for (const version of model.versions) {
        queue.waiting += version.waiting ?? 0;
        queue.running += version.running ?? 0;
      }
    }
    const values = [
      [rate.requests / seconds, rate.failures / seconds],
      quantilesOf(wide, after),
      [wide.calls > 0 ? wide.runs / wide.calls : undefined],
      [queue.waiting, queue.running],
    ];
    values.forEach((each, chart) => lines[chart].push({ at: after.at, values: each }));
  });
  charts.forEach((chart, i) =>
    chart.show(
      lines[i].filter(({ at }) => at > now - spanMs),
      now,
    ),
  );
}

let scopeNames;

function showScopes(models) {
  const names = models.map(({ name }) => name);
  if (JSON.stringify(names) === scopeNames) return;
  scopeNames = JSON.stringify(names);
  if (scope !== undefined && !names.includes(scope)) scope = undefined;
  const select = byId('scope');
  select.replaceChildren(
    new Option('all models', '', true, scope === undefined),
    ...names.map((name) => new Option(name, `=${name}`, false, name === scope)),
  );
}

byId('scope').addEventListener('change', ({ target }) => {
  scope = target.value === '' ? undefined : target.value.slice(1);
  showCharts();
});

// --- Models -------------------------------------------------------------------------------------

const rows = new Map();
let rowNames;
let selected = decodeHash();

function decodeHash() {
  try {
    return decodeURIComponent(/^#model=(.*)$/.exec(location.hash)?.[1] ?? '');
  } catch {
    return '';
  }
}

const stateClasses = { AVAILABLE: 'good', END: 'idle' };

function stateBadge({ state, error }) {
  const [kind, text] =
    error !== undefined
      ? ['bad', state === '' || state === 'END' ? 'failed' : state.toLowerCase()]
      : state === ''
        ? ['idle', 'no version']
        : [stateClasses[state] ?? 'warn', state.toLowerCase()];
  return make('span', { className: `badge ${kind}` }, text);
}

/** The version that says most of a model: one that serves, or the newest. */
function mainVersion({ versions }) {
  return versions.find(({ state }) => state === 'AVAILABLE') ?? versions[0];
}

function showModels(models) {
  const names = models.map(({ name }) => name);
  if (!names.includes(selected)) selected = names[0];
  if (JSON.stringify(names) !== rowNames) {
    rowNames = JSON.stringify(names);
    rows.clear();
    for (const name of names) rows.set(name, modelRow(name));
    byId('models').replaceChildren(...[...rows.values()].map(({ item }) => item));
    if (names.length === 0) byId('models').append(make('li', { className: 'empty' }, 'No models'));
    byId('filter').hidden = names.length < 9;
    filterModels();
  }
  const last = history.length - 1;
  const failed = failuresOf(history.at(-1));
  for (const model of models) {
    const { button, badge, numbers } = rows.get(model.name);
    button.setAttribute('aria-current', String(model.name === selected));
    const version = mainVersion(model);
    badge.replaceChildren(stateBadge(version ?? { state: '', error: failed.get(model.name) }));
    if (last < 1) continue;
    const wide = between(earlierThan(last, windowMs), history[last], model.name);
    const seconds = (history[last].at - earlierThan(last, windowMs).at) / 1000;
    const [, p99] = quantilesOf(wide, history[last]);
    numbers.textContent =
      wide.requests === 0 ? '' : `${rateText(wide.requests / seconds)} · p99 ${microsText(p99)}`;
  }
  showDetail(models.find(({ name }) => name === selected));
}

/** Why models have no version, by name. */
function failuresOf(answer) {
  return new Map(answer?.numbers.readiness.failed.map(({ name, message }) => [name, message]));
}

function modelRow(name) {
  const badge = make('span');
  const numbers = make('span', { className: 'note' });
  const button = make('button', { type: 'button' }, nameOf(name), badge, numbers);
  button.addEventListener('click', () => {
    selected = name;
    window.history.replaceState(null, '', `#model=${encodeURIComponent(name)}`);
    const latest = history.at(-1);
    if (latest !== undefined) showModels(latest.numbers.models);
  });
  return { item: make('li', {}, button), button, badge, numbers };
}

function filterModels() {
  const wanted = byId('filter').value.toLowerCase();
  for (const [name, { item }] of rows) item.hidden = !name.toLowerCase().includes(wanted);
}

byId('filter').addEventListener('input', filterModels);

// --- One model ----------------------------------------------------------------------------------

/** What is shown of it, so that what somebody is writing stays while nothing has changed. */
let shown = { key: undefined };

function showDetail(model) {
  const detail = byId('detail');
  if (model === undefined) {
    shown = { key: undefined };
    detail.replaceChildren();
    return;
  }
  const key = JSON.stringify([
    model.name,
    model.labels,
    failuresOf(history.at(-1)).get(model.name),
    model.versions.map(({ version, state, error }) => [version, state, error]),
  ]);
  if (shown.name !== model.name) {
    const versions = make('section', { className: 'card', 'aria-label': 'Versions' });
    const form = make('div');
    detail.replaceChildren(make('h2', {}, nameOf(model.name)), versions, form);
    shown = { name: model.name, versions, form, numbers: new Map() };
  }
  if (shown.key !== key) {
    shown.key = key;
    showVersions(model);
    const available = model.versions.filter(({ state }) => state === 'AVAILABLE');
    const formKey = JSON.stringify([available.map(({ version }) => version), model.labels]);
    if (shown.formKey !== formKey) {
      shown.formKey = formKey;
      void showForm(model, available, shown.form);
    }
  }
  for (const version of model.versions) {
    const { requests, failures } = shown.numbers.get(version.version);
    requests.textContent = numberText(version.requests ?? 0);
    failures.textContent = numberText(version.failures ?? 0);
  }
}

function showVersions({ name, versions, labels }) {
  shown.numbers = new Map();
  const body = make('tbody');
  for (const version of versions) {
    const own = labels
      .filter(([, labelled]) => labelled === version.version)
      .map(([label]) => label);
    const requests = make('td', { className: 'number' });
    const failures = make('td', { className: 'number' });
    shown.numbers.set(version.version, { requests, failures });
    body.append(
      make(
        'tr',
        {},
        make(
          'th',
          { scope: 'row' },
          version.version,
          ...own.map((label) => make('span', { className: 'label' }, nameOf(label))),
        ),
        make('td', {}, stateBadge(version)),
        make('td', { className: 'note' }, version.engine ?? ''),
        requests,
        failures,
      ),
    );
    if (version.error !== undefined) {
      body.append(
        make(
          'tr',
          { className: 'error' },
          make('td', { colSpan: 5 }, make('bdi', {}, version.error)),
        ),
      );
    }
  }
  if (versions.length === 0) {
    const reason = failuresOf(history.at(-1)).get(name) ?? 'It has no version.';
    shown.versions.replaceChildren(make('p', { className: 'empty' }, make('bdi', {}, reason)));
    return;
  }
  const titles = ['Version', 'State', 'Engine', 'Requests', 'Failed'];
  const head = titles.map((title, i) =>
    make('th', { scope: 'col', className: i > 2 ? 'number' : '' }, title),
  );
  shown.versions.replaceChildren(
    make('table', {}, make('thead', {}, make('tr', {}, ...head)), body),
  );
}

// --- Signatures and predictions -----------------------------------------------------------------

/** By version and model; of a version they never change. */
const signatures = new Map();

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

async function showForm(model, available, place) {
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
      described = answer.signatures;
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

function verbOf({ methodName }) {
  const [, verb] = /^tensorflow\/serving\/(classify|regress)$/.exec(methodName ?? '') ?? [];
  return verb ?? 'predict';
}

function signatureTable({ name, methodName, inputs, outputs }, i, all) {
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
    { open: all.length < 4 || name === 'serving_default' },
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
      {},
      make('thead', {}, make('tr', {}, ...head)),
      make('tbody', {}, ...inputs.map(row('in')), ...outputs.map(row('out'))),
    ),
  );
}

// --- Fields -------------------------------------------------------------------------------------

function fieldsOf(signature) {
  if (verbOf(signature) !== 'predict') {
    const text = '[\n  {"x": 1.0}\n]';
    return [textField({ name: 'examples' }, 'tensorflow.Example, each its features by name', text)];
  }
  return signature.inputs.map((spec) => {
    if (spec.kind !== 'tensor' || !isSendable(spec.dtype)) {
      const kind = spec.kind === 'tensor' ? spec.dtype : spec.kind;
      return {
        name: spec.name,
        isFit: false,
        read: () => undefined,
        element: make(
          'p',
          { className: 'empty' },
          nameOf(spec.name),
          ` is ${kind}, which JSON does not carry here.`,
        ),
      };
    }
    return tensorField(spec);
  });
}

let lastId = 0;

/** A field of one input, with a place for what is wrong with it. */
function frame(name, note, ...children) {
  const trouble = make('p', { className: 'trouble', id: `trouble-${++lastId}`, role: 'alert' });
  const element = make(
    'fieldset',
    {},
    make('legend', {}, nameOf(name), make('span', { className: 'note' }, ` ${note}`)),
    ...children,
    trouble,
  );
  return { element, trouble };
}

function editor(label) {
  return make('textarea', {
    rows: 5,
    spellcheck: false,
    autocapitalize: 'off',
    'aria-label': label,
  });
}

function readText(area, trouble) {
  trouble.textContent = '';
  area.removeAttribute('aria-invalid');
  try {
    readJson(area.value);
    return area.value.trim();
  } catch (error) {
    trouble.textContent = `This is no JSON: ${error.message}`;
    area.setAttribute('aria-invalid', 'true');
    area.setAttribute('aria-describedby', trouble.id);
    area.focus();
    return undefined;
  }
}

function fitRows(area) {
  area.rows = Math.min(14, Math.max(2, area.value.split('\n').length));
}

function textField({ name }, note, text) {
  const area = editor(`JSON of ${name}`);
  area.value = text;
  fitRows(area);
  const { element, trouble } = frame(name, note, area);
  return { name, element, isFit: true, read: () => readText(area, trouble) };
}

function tensorField(spec) {
  const { name, dtype, shape } = spec;
  const image = imageInput(spec);
  const sizes = exampleSizes(shape);
  const text = exampleText(dtype, sizes);
  const kinds = [
    ...(image === undefined ? [] : [['image', 'Image']]),
    ...(text === undefined ? [] : [['json', 'JSON']]),
    ...(dtype === 'string' || dtype === 'bool'
      ? []
      : [
          ['random', 'Random'],
          ['zeros', 'Zeros'],
        ]),
  ];
  let kind = image?.isLikely
    ? 'image'
    : kinds.some(([each]) => each === 'json')
      ? 'json'
      : 'random';
  const body = make('div');
  const { element, trouble } = frame(name, `${dtype} ${shapeText(shape)}`);
  const parts = new Map();
  const part = () => {
    if (!parts.has(kind)) {
      parts.set(
        kind,
        kind === 'image'
          ? imagePart(spec, image, trouble)
          : kind === 'json'
            ? jsonPart(name, text, trouble)
            : fillPart(spec, sizes, kind, trouble),
      );
    }
    return parts.get(kind);
  };
  const show = () => {
    trouble.textContent = '';
    body.replaceChildren(part().element);
  };
  if (kinds.length > 1) {
    const group = `kind-${++lastId}`;
    const choices = kinds.map(([value, title]) => {
      const radio = make('input', { type: 'radio', name: group, value, checked: value === kind });
      radio.addEventListener('change', () => {
        kind = value;
        show();
      });
      return make('label', {}, radio, make('span', {}, title));
    });
    const choice = make(
      'div',
      { className: 'choice', role: 'radiogroup', 'aria-label': `Values of ${name}` },
      ...choices,
    );
    trouble.before(choice);
  }
  trouble.before(body);
  show();
  return { name, element, isFit: true, isImage: () => kind === 'image', read: () => part().read() };
}

function jsonPart(name, text, trouble) {
  const area = editor(`JSON of ${name}`);
  area.value = text;
  fitRows(area);
  return { element: area, read: () => readText(area, trouble) };
}

/** Values that nobody writes, of a size that somebody may choose. */
function fillPart({ dtype, shape }, sizes, kind, trouble) {
  const boxes = sizes.map((size, i) =>
    typeof shape[i] === 'number' && shape[i] >= 0
      ? undefined
      : sizeBox(`${shape[i] ?? `dimension ${i}`}`, size),
  );
  const open = boxes.filter((box) => box !== undefined);
  const what = kind === 'random' ? 'Random values' : 'Zeros';
  const element = make(
    'div',
    { className: 'fields' },
    make(
      'span',
      { className: 'note' },
      open.length === 0 ? `${what} of the shape above.` : `${what}, where the shape is open:`,
    ),
    ...open.map(({ label }) => label),
  );
  return {
    element,
    read: () => {
      const actual = sizes.map((size, i) => boxes[i]?.value() ?? size);
      const text = exampleText(dtype, actual, kind);
      trouble.textContent =
        text === undefined
          ? `${numberText(countOf(actual))} values are more than this page sends (${numberText(maxElements)}).`
          : '';
      return text;
    },
  };
}

function sizeBox(title, size) {
  const input = make('input', {
    type: 'number',
    min: '1',
    max: '100000',
    value: String(size),
    'aria-label': `Size of ${title}`,
  });
  const label = make('label', { className: 'size' }, nameOf(title), ' ', input);
  const value = () => Math.min(100_000, Math.max(0, Math.round(Number(input.value)) || 0));
  return { label, input, value };
}

/** A place to drop an image on, and how it becomes a tensor. */
function imagePart({ name, dtype }, { isBatch, options }, trouble) {
  const [first] = options;
  const canvas = make('canvas', {
    width: first.width ?? 224,
    height: first.height ?? 224,
    hidden: true,
    role: 'img',
    'aria-label': 'What the model sees',
  });
  const file = make('input', {
    type: 'file',
    accept: 'image/*',
    'aria-label': `Image for ${name}`,
  });
  const hint = make('span', {}, 'Drop an image here, or click to choose one');
  const drop = make('label', { className: 'drop' }, canvas, hint, file);
  const select = (entries) => make('select', {}, ...entries.map((each) => new Option(each, each)));
  const layout = select(options.map((each) => each.layout));
  const range = select(rangesFor(dtype));
  const inverted = make('input', { type: 'checkbox' });
  const height = first.height === undefined ? sizeBox('height', 224) : undefined;
  const width = first.width === undefined ? sizeBox('width', 224) : undefined;
  const element = make(
    'div',
    { className: 'image' },
    drop,
    make(
      'div',
      { className: 'fields' },
      ...(options.length > 1
        ? [make('label', {}, 'Layout ', layout)]
        : [make('span', { className: 'note' }, first.layout)]),
      make('label', {}, 'Values ', range),
      make('label', {}, inverted, ' Inverted'),
      ...[height, width].filter((box) => box !== undefined).map(({ label }) => label),
    ),
  );

  let bitmap;
  const chosen = () => options.find((each) => each.layout === layout.value) ?? first;
  const sizes = () => ({
    height: chosen().height ?? height?.value() ?? 0,
    width: chosen().width ?? width?.value() ?? 0,
  });
  const draw = () => {
    if (bitmap === undefined) return false;
    const to = sizes();
    if (to.height < 1 || to.width < 1 || to.height * to.width * 3 > maxElements) {
      trouble.textContent = `An image of ${to.width} × ${to.height} cannot be sent from this page.`;
      return false;
    }
    trouble.textContent = '';
    canvas.width = to.width;
    canvas.height = to.height;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.fillStyle = '#fff';
    context.fillRect(0, 0, to.width, to.height);
    context.imageSmoothingQuality = 'high';
    const from = cropOf(bitmap, to);
    context.drawImage(bitmap, from.x, from.y, from.width, from.height, 0, 0, to.width, to.height);
    if (chosen().channels === 1 || inverted.checked)
      recolor(context, to, chosen().channels === 1, inverted.checked);
    canvas.hidden = false;
    return true;
  };
  const take = async (given) => {
    if (given === undefined) return;
    try {
      bitmap = await createImageBitmap(given);
      hint.textContent = `${given.name}, ${bitmap.width} × ${bitmap.height}`;
      draw();
    } catch {
      trouble.textContent = `${given.name} is no image that this browser reads.`;
    }
  };
  file.addEventListener('change', () => void take(file.files[0]));
  drop.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    void take(event.dataTransfer.files[0]);
  });
  for (const control of [layout, inverted, height?.input, width?.input]) {
    control?.addEventListener('change', draw);
  }
  return {
    element,
    read: () => {
      if (bitmap === undefined) {
        trouble.textContent = 'An image is missing.';
        return undefined;
      }
      if (!draw()) return undefined;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      // What is on the canvas is inverted already.
      return imageText(data, {
        ...sizes(),
        ...pick(chosen()),
        isBatch,
        range: range.value,
        isInverted: false,
      });
    },
  };
}

const pick = ({ layout, channels }) => ({ layout, channels });

/** The canvas shows what the model gets. */
function recolor(context, { width, height }, isGray, isInverted) {
  const image = context.getImageData(0, 0, width, height);
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) {
    const gray = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    for (let c = 0; c < 3; c++) {
      const level = isGray ? gray : data[i + c];
      data[i + c] = isInverted ? 255 - level : level;
    }
  }
  context.putImageData(image, 0, 0);
}

// A file that misses its place must not be opened instead of this page.
for (const type of ['dragover', 'drop']) {
  window.addEventListener(type, (event) => event.preventDefault());
}

// --- Results ------------------------------------------------------------------------------------

async function runOnce({ url, body, chosen, hasImage, result, signal }) {
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
    return curlCommand(address, '@request.json', token !== undefined).concat(
      '\n# the request has ',
      bytesText(body.length),
    );
  }
  return curlCommand(address, body, token !== undefined);
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

poll();
