// The page: asks the server for its numbers, and shows its models and how busy they are.

import { AccessError, askJson, onToken } from './ask.js';
import { Chart, spanMs } from './charts.js';
import { byId, make, nameOf } from './dom.js';
import { forgetSignatures, showForm } from './predict.js';
import {
  bytesText,
  durationText,
  keyOf,
  microsText,
  numberText,
  quantileOf,
  trafficBetween,
} from './tensors.js';

/** Latencies and batches are those of so many milliseconds; a second of them says little. */
const windowMs = 10_000;
const retryMs = 2_000;

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
    forgetSignatures();
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

window.addEventListener('hashchange', () => {
  selected = decodeHash();
  const latest = history.at(-1);
  if (latest !== undefined) showModels(latest.numbers.models);
});

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
    const engine = make('span', { className: 'note' });
    detail.replaceChildren(make('h2', {}, nameOf(model.name), engine), versions, form);
    shown = { name: model.name, engine, versions, form, numbers: new Map() };
  }
  if (shown.key !== key) {
    shown.key = key;
    shown.engine.textContent = mainVersion(model)?.engine ?? '';
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
          ...own.flatMap((label) => [' ', make('span', { className: 'label' }, nameOf(label))]),
        ),
        make('td', {}, stateBadge(version)),
        requests,
        failures,
      ),
    );
    if (version.error !== undefined) {
      body.append(
        make(
          'tr',
          { className: 'error' },
          make('td', { colSpan: 4 }, make('bdi', {}, version.error)),
        ),
      );
    }
  }
  if (versions.length === 0) {
    const reason = failuresOf(history.at(-1)).get(name) ?? 'It has no version.';
    shown.versions.replaceChildren(make('p', { className: 'empty' }, make('bdi', {}, reason)));
    return;
  }
  const titles = ['Version', 'State', 'Requests', 'Failed'];
  const head = titles.map((title, i) =>
    make('th', { scope: 'col', className: i > 1 ? 'number' : '' }, title),
  );
  shown.versions.replaceChildren(
    make('table', {}, make('thead', {}, make('tr', {}, ...head)), body),
  );
}

onToken(poll);
poll();
