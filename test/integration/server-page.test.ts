import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { afterEach, describe, expect, it } from 'vitest';

import {
  createServer,
  type ModelServerConfig,
  type Server,
  type ServerOptions,
} from '../../lib/server/index.js';
import { identity } from '../helpers/onnx-models.js';
import { modelPath, root } from '../helpers/paths.js';
import { type Answer, ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
const half = { half: modelPath('half_plus_two') };

let server: Server | undefined;
afterEach(async () => {
  await server?.close(0);
  server = undefined;
});

async function serve(options: Partial<ServerOptions> = {}): Promise<{ port: number }> {
  server = createServer({ models: half, grpc: false, rest: { port: 0 }, ...options });
  await server.listen();
  while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
  return { port: server.restPort ?? 0 };
}

const predict = (where: { port: number }, x: unknown[], model = 'half'): Promise<Answer> =>
  ask(where, `/v1/models/${model}:predict`, { body: { instances: x } });

interface Version {
  readonly version: string;
  readonly state: string;
  readonly engine?: string;
  readonly requests?: number;
  readonly failures?: number;
  readonly latency?: readonly number[];
  readonly runs?: number;
  readonly calls?: number;
  readonly waiting?: number;
}

interface Numbers {
  readonly nextMs: number;
  readonly server: Record<string, number>;
  readonly readiness: object;
  readonly latencyBounds: readonly number[];
  readonly models: readonly { name: string; labels: string[][]; versions: readonly Version[] }[];
  readonly others: { readonly requests: number; readonly failures: number };
}

async function numbersOf(where: { port: number }, headers = {}): Promise<Numbers> {
  const { status, text } = await ask(where, '/page/numbers.json', { headers });
  expect(status).toBe(200);
  return JSON.parse(text) as Numbers;
}

/** The first numbers for which it is so; those of a moment ago may be given again. */
async function numbersWhere(
  where: { port: number },
  isSo: (numbers: Numbers) => boolean,
): Promise<Numbers> {
  for (;;) {
    const numbers = await numbersOf(where);
    if (isSo(numbers)) return numbers;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const sumOfCounts = (pairs: readonly number[] = []): number =>
  pairs.reduce((sum, count, i) => (i % 2 === 0 ? sum : sum + count), 0);

const files = {
  '/': ['text/html; charset=utf-8', 'index.html'],
  '/page/style.css': ['text/css; charset=utf-8', 'style.css'],
  '/page/ask.js': ['text/javascript; charset=utf-8', 'ask.js'],
  '/page/charts.js': ['text/javascript; charset=utf-8', 'charts.js'],
  '/page/dom.js': ['text/javascript; charset=utf-8', 'dom.js'],
  '/page/fields.js': ['text/javascript; charset=utf-8', 'fields.js'],
  '/page/main.js': ['text/javascript; charset=utf-8', 'main.js'],
  '/page/predict.js': ['text/javascript; charset=utf-8', 'predict.js'],
  '/page/results.js': ['text/javascript; charset=utf-8', 'results.js'],
  '/page/tensors.js': ['text/javascript; charset=utf-8', 'tensors.js'],
  '/page/icon.svg': ['image/svg+xml', 'icon.svg'],
} as const;

describe('the page', () => {
  it.each(Object.entries(files))('%s is a file of lib/server/page', async (url, [type, name]) => {
    const where = await serve();
    const { status, headers, text } = await ask(where, url);
    expect(status).toBe(200);
    expect(headers['content-type']).toBe(type);
    expect(text).toBe(readFileSync(path.join(root, 'lib/server/page', name), 'utf8'));
  });

  it('has no other files, and none that another could answer for', () => {
    const known = Object.values(files).map(([, name]) => name as string);
    const own = readdirSync(path.join(root, 'lib/server/page')).filter(
      (name) => !name.endsWith('.ts'),
    );
    expect(own.toSorted()).toEqual(known.toSorted());
  });

  it('may load nothing from elsewhere, run nothing inline, and be framed by nobody', async () => {
    const where = await serve();
    for (const url of [...Object.keys(files), '/page/numbers.json', '/page/signatures.json']) {
      const { headers } = await ask(where, url);
      const policy = new Map(
        String(headers['content-security-policy'])
          .split('; ')
          .map((rule) => [rule.slice(0, rule.indexOf(' ')), rule.slice(rule.indexOf(' ') + 1)]),
      );
      expect(Object.fromEntries(policy)).toEqual({
        'default-src': "'none'",
        'script-src': "'self'",
        'style-src': "'self'",
        'img-src': "'self'",
        'connect-src': "'self'",
        'base-uri': "'none'",
        'form-action': "'none'",
        'frame-ancestors': "'none'",
        'require-trusted-types-for': "'script'",
        'trusted-types': "'none'",
      });
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
      });
      expect(headers).not.toHaveProperty('set-cookie');
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
  });

  it('names no address of others and holds no code but its files', () => {
    for (const [, name] of Object.values(files)) {
      const text = readFileSync(path.join(root, 'lib/server/page', name), 'utf8');
      expect(text.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|\/\/\w+\.\w/);
      expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/);
      if (name.endsWith('.html')) expect(text).not.toMatch(/<style|\sstyle=|\son\w+=|<script>/);
    }
  });

  it.each([
    [{ port: 0 }, 200],
    [{ port: 0, page: 'auto' }, 200],
    [{ port: 0, host: '127.0.0.2' }, 200],
    [{ port: 0, host: 'localhost' }, 200],
    [{ port: 0, page: false }, 404],
    [{ port: 0, host: '0.0.0.0' }, 404],
    [{ port: 0, host: '0.0.0.0', page: true }, 200],
  ] as const)('with %j is %i', async (rest, status) => {
    const where = await serve({ rest });
    const host = 'host' in rest && rest.host === '127.0.0.2' ? { host: rest.host } : {};
    for (const url of ['/', '/page/numbers.json']) {
      expect((await ask({ ...where, ...host }, url)).status).toBe(status);
    }
  });

  it('is not there on a unix socket alone, which no browser reaches', async () => {
    const socketPath = path.join(folder, 'page.sock');
    await serve({ rest: { port: false, socketPath } });
    expect((await ask({ socketPath }, '/')).status).toBe(404);
    expect((await ask({ socketPath }, '/healthz/live')).status).toBe(200);
  });

  it.each([['yes'], [1], [null]])('cannot be %j', (page) => {
    expect(() => createServer({ models: half, rest: { page } as never })).toThrow(
      expect.objectContaining({
        code: 'ERR_TENON_INVALID_ARGUMENT',
        message: expect.stringContaining('"rest.page"') as string,
      }),
    );
  });

  it.each([
    ['localhost:8501', 200],
    ['LOCALHOST', 200],
    ['tenon.localhost:80', 200],
    ['127.9.9.9:1', 200],
    ['[::1]:8501', 200],
    ['rebound.example:8501', 403],
    ['localhost.example', 403],
    ['127.0.0.1.example', 403],
    ['192.168.0.1', 403],
  ])('asked for as %s is %i where only this machine may', async (host, status) => {
    const where = await serve();
    for (const url of ['/', '/page/numbers.json']) {
      expect((await ask(where, url, { headers: { host } })).status).toBe(status);
    }
    // Which is the page's affair alone.
    expect((await ask(where, '/v1/models', { headers: { host } })).status).toBe(200);
  });

  it('served to all is so by any name', async () => {
    const where = await serve({ rest: { port: 0, page: true } });
    expect((await ask(where, '/', { headers: { host: 'models.example' } })).status).toBe(200);
  });

  it('needs no token, but what it asks for does', async () => {
    const where = await serve({ authToken: 'secret' });
    for (const url of Object.keys(files)) expect((await ask(where, url)).status).toBe(200);
    for (const url of ['/page/numbers.json', '/page/signatures.json?model=half&version=124']) {
      const refused = await ask(where, url);
      expect(refused.status).toBe(401);
      expect(refused.text).not.toContain('half');
      const authorization = 'Bearer secret';
      expect((await ask(where, url, { headers: { authorization } })).status).toBe(200);
    }
    // Neither does a path that only looks like it.
    for (const url of ['/page/', '/page/main.js/../numbers.json', '/v1/models?/page/main.js']) {
      expect((await ask(where, url)).status).toBe(401);
    }
  });

  it('is no part of routes that are mounted elsewhere, and takes nothing but GET', async () => {
    const where = await serve();
    expect((await ask(where, '/', { method: 'POST', body: {} })).status).toBe(404);
    expect((await ask(where, '/', { method: 'HEAD' })).status).toBe(200);
    expect((await ask(where, '/page/raw.d.ts')).status).toBe(404);
  });
});

describe('the numbers', () => {
  const config: ModelServerConfig = {
    models: [
      {
        name: 'half',
        basePath: modelPath('half_plus_two'),
        versionPolicy: { kind: 'all' },
        labels: { stable: 123n },
      },
      {
        name: 'gone',
        basePath: path.join(folder, 'nowhere'),
        versionPolicy: { kind: 'all' },
        labels: {},
      },
    ],
  };

  it('tell the models, what failed, and what the versions have done', async () => {
    const where = await serve({ models: config });
    await predict(where, [1]);
    await predict(where, ['x']);
    await predict(where, [1], 'nobody');
    await ask(where, '/v1/models/half');
    const numbers = await numbersWhere(
      where,
      ({ others, models: [model] }) => others.requests > 0 && model?.labels.length === 1,
    );
    expect(numbers.nextMs).toBeGreaterThanOrEqual(1000);
    expect(numbers.readiness).toMatchObject({
      ready: true,
      waiting: [],
      failed: [{ name: 'gone', message: expect.any(String) as string }],
    });
    expect(numbers.others).toMatchObject({ requests: 1, failures: 1 });
    const [served, gone] = numbers.models;
    expect(gone).toMatchObject({ name: 'gone', versions: [] });
    expect(served).toMatchObject({ name: 'half', labels: [['stable', '123']] });
    const [newest, older] = served?.versions ?? [];
    // What asks for the state of a model runs none.
    expect(newest).toMatchObject({
      version: '124',
      state: 'AVAILABLE',
      engine: 'tensorflow',
      requests: 2,
      failures: 1,
      runs: 1,
      calls: 1,
      waiting: 0,
    });
    expect(sumOfCounts(newest?.latency)).toBe(2);
    expect(older).toMatchObject({ version: '123', state: 'AVAILABLE', runs: 0 });
    expect(numbers.latencyBounds).toHaveLength(33);
  });

  it('are made once for all who ask at a time', async () => {
    const where = await serve();
    const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => numbersOf(where)));
    for (const other of others) expect(other).toEqual(first);
  });

  it('leave the event loop’s delay to those who scrape', async () => {
    const where = await serve({ rest: { port: 0, metricsPath: '/metrics' } });
    await numbersOf(where);
    const { text } = await ask(where, '/metrics');
    expect(text).toContain('tenon_event_loop_delay_seconds{thread="main"');
  });

  it.runIf(process.platform !== 'win32')('are those of all front-end threads', async () => {
    const where = await serve({
      frontendThreads: 2,
      load: { batching: { maxDelayMicros: 20_000, verifyBatching: 'warn' } },
    });
    await Promise.all(Array.from({ length: 12 }, (_, i) => predict(where, [i])));
    const numbers = await numbersWhere(
      where,
      ({ models: [model] }) => (model?.versions[0]?.requests ?? 0) > 0,
    );
    const [version] = numbers.models[0]?.versions ?? [];
    expect(numbers.server['frontendThreads']).toBe(2);
    expect(version?.requests).toBe(12);
    expect(sumOfCounts(version?.latency)).toBe(12);
    expect(version?.runs).toBeGreaterThanOrEqual(12);
    expect(version?.calls).toBeLessThan(version?.runs ?? 0);
  });
});

describe('the signatures', () => {
  it('are those of a version', async () => {
    const where = await serve();
    const { text } = await ask(where, '/page/signatures.json?model=half&version=124');
    const { engine, signatures } = JSON.parse(text) as {
      engine: string;
      signatures: { name: string; methodName?: string; inputs: object[] }[];
    };
    expect(engine).toBe('tensorflow');
    expect(signatures.map(({ name }) => name).toSorted()).toEqual([
      'classify_x_to_y',
      'regress_x_to_y',
      'serving_default',
    ]);
    expect(signatures.find(({ name }) => name === 'serving_default')).toMatchObject({
      methodName: 'tensorflow/serving/predict',
      inputs: [{ name: 'x', kind: 'tensor', dtype: 'float32', shape: [null], optional: false }],
    });
  });

  it.each([
    ['', 400],
    ['?model=half', 400],
    ['?model=half&version=x', 400],
    ['?model=half&version=123&version=124', 400],
    ['?model=half&version=99999999999999999999', 400],
    ['?model=half&version=7', 404],
    ['?model=nobody&version=1', 404],
    ['?model=%3Cscript%3E&version=1', 404],
  ])('%s is %i', async (query, status) => {
    const where = await serve();
    const answer = await ask(where, `/page/signatures.json${query}`);
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(Object.keys(JSON.parse(answer.text) as object)).toEqual(['error']);
  });

  it('have names as they are, in JSON that no browser takes for anything else', async () => {
    const names = ['<img src=x onerror=alert(1)>', '"\u202e__proto__\u2028'] as const;
    const file = path.join(folder, 'hostile.onnx');
    writeFileSync(file, identity(...names));
    const model = '</script><script>alert(2)</script>';
    const where = await serve({ models: { [model]: file } });
    const query = new URLSearchParams({ model, version: '1' }).toString();
    for (const url of ['/page/numbers.json', `/page/signatures.json?${query}`]) {
      const { headers } = await ask(where, url);
      expect(headers).toMatchObject({
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
      });
    }
    expect((await numbersOf(where)).models[0]?.name).toBe(model);
    const { text } = await ask(where, `/page/signatures.json?${query}`);
    expect(JSON.parse(text)).toMatchObject({
      signatures: [{ inputs: [{ name: names[0] }], outputs: [{ name: names[1] }] }],
    });
  });
});
