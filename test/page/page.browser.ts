/**
 * The server's page in a real browser, over a real server with real models. Screenshots go to
 * build/page, or to the folder that TENON_PAGE_IMAGES names.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createServer, type Server, type ServerOptions } from '../../lib/server/index.js';
import { openBrowser, openPage } from '../helpers/browser.js';
import { identity } from '../helpers/onnx-models.js';
import { fixture, modelPath, root } from '../helpers/paths.js';
import { ask } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

const folder = temporaryFolder();
const images = path.resolve(root, process.env['TENON_PAGE_IMAGES'] ?? 'build/page');
const digitPng = (name: string): string => fixture('digits', 'png', name);

const hostile = {
  model: '</script><img src=x onerror="window.harmed=1">',
  input: '<img src=x onerror=window.harmed=2>',
  output: '"\u202e\'><svg onload=window.harmed=3>__proto__',
  label: '<b onmouseover=window.harmed=4>',
};

const model = (name: string, basePath: string, labels: Record<string, bigint> = {}) => ({
  name,
  basePath,
  versionPolicy: { kind: 'all' as const },
  labels,
});

let browser: Browser;
let server: Server;
let address: string;

async function serve(options: Partial<ServerOptions>): Promise<{ one: Server; address: string }> {
  const one = createServer({
    models: { digits: modelPath('digits_cnn.onnx') },
    grpc: false,
    rest: { port: 0 },
    maxLoadRetries: 0,
    ...options,
  });
  await one.listen();
  while (!one.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 10));
  return { one, address: `http://127.0.0.1:${one.restPort}/` };
}

beforeAll(async () => {
  browser = await openBrowser();
  const hostileFile = path.join(folder, 'hostile.onnx');
  writeFileSync(hostileFile, identity(hostile.input, hostile.output));
  ({ one: server, address } = await serve({
    models: {
      models: [
        model('digits', modelPath('digits_cnn.onnx')),
        model('half_plus_two', modelPath('half_plus_two'), { stable: 123n, canary: 124n }),
        model('mobilenetv2', modelPath('mobilenetv2_tf')),
        model('strings', modelPath('strings.onnx')),
        model('signatures', modelPath('tf_signatures')),
        model(hostile.model, hostileFile, { [hostile.label]: 1n }),
        model('missing', path.join(folder, 'nowhere')),
      ],
    },
    load: { batching: { verifyBatching: 'warn' } },
  }));
});

afterAll(async () => {
  await browser?.close();
  await server?.close(0);
});

async function show(page: Page, name: string): Promise<void> {
  await page.goto(`${address}#model=${encodeURIComponent(name)}`);
  await page.locator('.detail h2 .name').getByText(name, { exact: true }).waitFor();
}

const run = async (page: Page): Promise<void> => {
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.locator('.outcome').waitFor();
};

const outcome = (page: Page): Promise<string> => page.locator('.outcome').innerText();
const topAnswer = async (page: Page): Promise<[string, number]> => {
  const first = page.locator('.bars li').first();
  const share = await first.locator('.bar-text').innerText();
  return [await first.locator('.bar-label').innerText(), Number.parseFloat(share)];
};

/** A file dropped on an element, as from a desktop. */
async function drop(page: Page, selector: string, name: string, bytes: Buffer): Promise<void> {
  const transfer = await page.evaluateHandle(
    `(() => {
      const bytes = Uint8Array.from(atob('${bytes.toString('base64')}'), (c) => c.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], ${JSON.stringify(name)}, { type: 'image/png' }));
      return transfer;
    })()`,
  );
  await page.dispatchEvent(selector, 'drop', { dataTransfer: transfer });
}

describe('the page', () => {
  it('lists the models with their states', async () => {
    const { page } = await openPage(browser);
    await page.goto(address);
    await page.locator('.models li').nth(6).waitFor();
    const rows = await page.evaluate(
      `[...document.querySelectorAll('.models li')].map((row) =>
        [...row.querySelectorAll('.name, .badge')].map((each) => each.textContent))`,
    );
    expect(rows).toEqual([
      ['digits', 'available'],
      ['half_plus_two', 'available'],
      ['mobilenetv2', 'available'],
      ['strings', 'available'],
      ['signatures', 'available'],
      [hostile.model, 'available'],
      ['missing', 'failed'],
    ]);
    expect(await page.locator('#readiness').innerText()).toBe('ready, 1 failed');
    expect(await page.title()).toBe('Tenon · ready, 1 failed');
  });

  it('tells why a model has no version', async () => {
    const { page } = await openPage(browser);
    await show(page, 'missing');
    expect(await page.locator('.detail .empty').first().innerText()).toContain('nowhere');
  });

  it('shows versions, labels and signatures', async () => {
    const { page } = await openPage(browser);
    await show(page, 'half_plus_two');
    await page.locator('.specs').first().waitFor();
    const versions = await page.locator('[aria-label=Versions] tbody th').allInnerTexts();
    expect(versions.map((text) => text.replace(/\s+/g, ' '))).toEqual(['124 canary', '123 stable']);
    expect(await page.locator('[aria-label=Signatures] summary .name').allInnerTexts()).toEqual([
      'serving_default',
      'classify_x_to_y',
      'regress_x_to_y',
    ]);
    const cells = await page.locator('.specs').first().locator('tbody tr').allInnerTexts();
    expect(cells.map((text) => text.split(/\s+/))).toEqual([
      ['in', 'x', 'float32', '[?]'],
      ['out', 'y', 'float32', '[?]'],
    ]);
  });

  it('runs a prediction of the version that a label means', async () => {
    const { page } = await openPage(browser);
    await show(page, 'half_plus_two');
    const area = page.getByLabel('JSON of x');
    expect(await area.inputValue()).toBe('[1.0]');
    await area.fill('[1, 2, 5]');
    await page.getByRole('combobox', { name: /^Version/ }).selectOption('label stable');
    await page.getByLabel('JSON of x').fill('[1, 2, 5]');
    await run(page);
    expect(await outcome(page)).toMatch(/^OK · .* · version 123 · /);
    expect(await page.locator('.result pre').first().innerText()).toBe('[2.5,3,4.5]');
    await page.getByText('The same with curl').click();
    expect(await page.locator('.result details pre').last().innerText()).toBe(
      `curl -d '{"signature_name": "serving_default", "inputs": {"x": [1, 2, 5]}}' '${address}v1/models/half_plus_two/labels/stable:predict'`,
    );
  });

  it('asks classify and regress as the signature wants it', async () => {
    const { page } = await openPage(browser);
    await show(page, 'half_plus_two');
    for (const [signature, shown] of [
      ['regress_x_to_y', '3.5'],
      ['classify_x_to_y', '3.5'],
    ] as const) {
      await page.getByRole('combobox', { name: /^Signature/ }).selectOption(signature);
      await page.getByLabel('JSON of examples').waitFor();
      await run(page);
      expect(await outcome(page)).toMatch(/^OK/);
      expect(await page.locator('.result').innerText()).toContain(shown);
    }
  });

  it('says where a value is no JSON, and what the server says to one that is wrong', async () => {
    const { page, complaints } = await openPage(browser);
    await show(page, 'half_plus_two');
    const area = page.getByLabel('JSON of x');
    await area.fill('[1,');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    expect(await page.locator('.trouble').innerText()).toContain('This is no JSON');
    expect(await area.getAttribute('aria-invalid')).toBe('true');
    await area.fill('["text"]');
    await run(page);
    expect(await outcome(page)).toMatch(/^Error 400/);
    expect(await page.locator('.trouble').innerText()).toBe('');
    // The browser tells of each answer that is an error.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('400')]);
  });

  it('ranks what an image model makes of a dropped image', async () => {
    const { page } = await openPage(browser);
    await show(page, 'digits');
    await page.locator('.drop').waitFor();
    await drop(page, '.drop', 'seven.png', readFileSync(digitPng('010_7.png')));
    await page.locator('.drop canvas').waitFor();
    expect(await page.locator('.drop').innerText()).toContain('seven.png, 96 × 96');
    const size = `(({ width, height }) => [width, height])(document.querySelector('.drop canvas'))`;
    expect(await page.evaluate(size)).toEqual([8, 8]);
    await run(page);
    expect(await outcome(page)).toMatch(/^OK/);
    const [label, share] = await topAnswer(page);
    expect(label).toBe('7');
    expect(share).toBeGreaterThan(90);
  });

  it('takes an image from a file, in the colours and the range that are chosen', async () => {
    const { page } = await openPage(browser);
    await show(page, 'mobilenetv2');
    await page.getByLabel('Image for images').setInputFiles(digitPng('000_9.png'));
    await page.locator('.drop canvas').waitFor();
    const sent: string[] = [];
    page.on('request', (request) => {
      if (request.method() === 'POST') sent.push(request.postData() ?? '');
    });
    await run(page);
    expect((await topAnswer(page))[0]).toBe('9');
    await page.getByRole('combobox', { name: /^Values/ }).selectOption('-1..1');
    await page.getByLabel('Inverted').check();
    await run(page);
    const [first, second] = sent.map((text) => {
      const { inputs } = JSON.parse(text) as { inputs: { images: number[][][][] } };
      return inputs.images.flat(3);
    });
    expect(first).toHaveLength(96 * 96 * 3);
    expect(Math.min(...(first as number[]))).toBeGreaterThanOrEqual(0);
    expect(Math.min(...(second as number[]))).toBeLessThan(0);
    (first as number[]).forEach((level, i) => {
      expect(second?.[i]).toBeCloseTo(1 - 2 * level, 3);
    });
  });

  it('wants an image before it runs, and none that it cannot read', async () => {
    const { page } = await openPage(browser);
    await show(page, 'digits');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    expect(await page.locator('.trouble').innerText()).toBe('An image is missing.');
    await drop(page, '.drop', 'no.png', Buffer.from('no image'));
    await page.getByText('no.png is no image that this browser reads.').waitFor();
  });

  it('fills inputs that nobody writes', async () => {
    const { page } = await openPage(browser);
    await show(page, 'digits');
    for (const kind of ['Random', 'Zeros']) {
      await page.getByText(kind, { exact: true }).click();
      await page.getByLabel('Size of batch').fill('6');
      await run(page);
      expect(await outcome(page)).toMatch(/^OK/);
      expect(await page.locator('.bars').count()).toBe(4);
      expect(await page.locator('.result').innerText()).toContain('2 rows more in the answer');
    }
    await page.getByLabel('Size of batch').fill('100000');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    expect(await page.locator('.trouble').innerText()).toContain('more than this page sends');
  });

  it('takes hostile names for what they are: text', async () => {
    const { page } = await openPage(browser);
    await show(page, hostile.model);
    await page.locator('.specs').first().waitFor();
    expect(await page.locator('.detail h2 .name').innerText()).toBe(hostile.model);
    expect(await page.locator('.label').innerText()).toBe(hostile.label);
    const names = await page.evaluate(
      `[...document.querySelectorAll('.specs tbody .name')].map((each) => each.textContent)`,
    );
    expect(names).toEqual([hostile.input, hostile.output]);
    await page.locator('fieldset textarea').fill('[1.5, 2]');
    await run(page);
    expect(await outcome(page)).toMatch(/^OK/);
    expect(await page.locator('.result pre').first().innerText()).toBe('[1.5,2]');
    // Everywhere it can be chosen.
    await page.locator('#scope').selectOption(hostile.model);
    await page.reload();
    await page.locator('.specs').first().waitFor();
    expect(await page.evaluate('window.harmed')).toBeUndefined();
    expect(await page.locator('img').count()).toBe(1);
    expect(await page.locator('b, script:not([src]), svg[onload]').count()).toBe(0);
  });

  it('draws what happens', async () => {
    const { page } = await openPage(browser);
    await page.goto(address);
    await page.locator('.chart svg').first().waitFor();
    const reading = page.locator('.chart').first().locator('.reading strong').first();
    const rate = async (): Promise<number> => Number.parseFloat(await reading.innerText());
    const stop = busy(address, 3);
    try {
      await expect.poll(rate, { timeout: 60_000 }).toBeGreaterThan(1);
    } finally {
      await stop();
    }
    expect(await reading.innerText()).toMatch(/\/s$/);
    const paths = await page.locator('.chart .line-0.line').count();
    expect(paths).toBeGreaterThanOrEqual(4);
    await page.locator('#scope').selectOption('strings');
    await expect.poll(rate, { timeout: 60_000 }).toBe(0);
  });

  it('asks while somebody looks, and not otherwise', async () => {
    const { page } = await openPage(browser);
    await page.clock.install();
    let asked = 0;
    page.on('request', (request) => {
      if (request.url().endsWith('/page/numbers.json')) asked++;
    });
    const answered = (): Promise<unknown> =>
      page.waitForResponse((response) => response.url().endsWith('/page/numbers.json'));
    const first = answered();
    await page.goto(address);
    await first;
    await page.locator('.models li').first().waitFor();
    const second = answered();
    await page.clock.runFor(2_000);
    await second;
    const look = async (isHidden: boolean): Promise<void> => {
      await page.evaluate(
        `Object.defineProperty(document, 'hidden', { configurable: true, value: ${isHidden} });
        document.dispatchEvent(new Event('visibilitychange'));`,
      );
    };
    await look(true);
    // One that was set before it was hidden may fire, and asks for nothing.
    await page.clock.runFor(2_000);
    const before = asked;
    await page.clock.runFor(60_000);
    expect(asked).toBe(before);
    const third = answered();
    await look(false);
    await third;
    expect(asked).toBe(before + 1);
  });

  it('asks for a token where there is one, and keeps it in memory only', async () => {
    const { one, address: guarded } = await serve({ authToken: 'open-sesame' });
    try {
      const { page, complaints } = await openPage(browser);
      await page.goto(guarded);
      const field = page.getByLabel('This server asks for a bearer token.');
      await field.fill('wrong');
      await page.getByRole('button', { name: 'Go on' }).click();
      await page.getByLabel('The server does not take that token.').fill('open-sesame');
      await page.getByRole('button', { name: 'Go on' }).click();
      await page.locator('.models li .name').getByText('digits').waitFor();
      expect(await page.locator('#access').isHidden()).toBe(true);
      await page.getByText('Zeros', { exact: true }).click();
      await run(page);
      expect(await outcome(page)).toMatch(/^OK/);
      expect(await page.locator('.result').innerText()).not.toContain('open-sesame');
      expect(await page.context().cookies()).toEqual([]);
      expect(await page.evaluate('localStorage.length + sessionStorage.length')).toBe(0);
      await page.reload();
      await field.waitFor();
      expect(complaints.splice(0).filter((text) => !text.includes('401'))).toEqual([]);
    } finally {
      await one.close(0);
    }
  });

  it('tells when the server is gone', async () => {
    const { one, address: short } = await serve({});
    const { page, complaints } = await openPage(browser);
    await page.goto(short);
    await page.locator('.models li').first().waitFor();
    await one.close(0);
    await page.getByText('The server does not answer').waitFor();
    expect(await page.locator('#readiness').innerText()).toBe('unreachable');
    expect(complaints.splice(0).every((text) => text.includes('net::'))).toBe(true);
  });
});

const schemes = ['light', 'dark'] as const;
const sizes = { wide: { width: 1280, height: 900 }, phone: { width: 360, height: 740 } } as const;

describe.each(schemes)('in %s', (colorScheme) => {
  it('all text can be read, and all controls have names', async () => {
    const { page } = await openPage(browser, { colorScheme, viewport: sizes.wide });
    for (const name of ['half_plus_two', 'digits', 'missing', 'strings']) {
      await show(page, name);
      if (name !== 'missing') await page.locator('.try').waitFor();
      expect(await page.evaluate(faintTexts)).toEqual([]);
      expect(await page.evaluate(namelessControls)).toEqual([]);
    }
  });

  it.each(Object.entries(sizes))('nothing is wider than the window: %s', async (_, viewport) => {
    const { page } = await openPage(browser, { colorScheme, viewport });
    for (const name of ['digits', 'half_plus_two', 'signatures', hostile.model, 'missing']) {
      await show(page, name);
      if (name !== 'missing') await page.locator('.specs').first().waitFor();
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(viewport.width);
    }
  });
});

/** Drawn together, so that all have the same traffic. */
it('looks like this', { timeout: 300_000 }, async () => {
  mkdirSync(images, { recursive: true });
  const { one, address: example } = await serve({
    models: {
      models: [
        model('digits', modelPath('digits_cnn.onnx')),
        model('half_plus_two', modelPath('half_plus_two'), { stable: 123n, canary: 124n }),
        model('mobilenetv2', modelPath('mobilenetv2_tf')),
        model('sentiment', path.join(folder, 'nowhere')),
      ],
    },
    load: { batching: { verifyBatching: 'warn' } },
  });
  const stop = busy(example, 8);
  try {
    const pages: { page: Page; name: string }[] = [];
    for (const colorScheme of schemes) {
      for (const [size, viewport] of Object.entries(sizes)) {
        const { page } = await openPage(browser, {
          colorScheme,
          viewport,
          reducedMotion: 'reduce',
        });
        await page.goto(`${example}#model=digits`);
        pages.push({ page, name: `${colorScheme}-${size}` });
      }
    }
    for (const { page, name } of pages) {
      await expect
        .poll(() => page.evaluate(pointsOfLine), { timeout: 240_000 })
        .toBeGreaterThan(100);
      await page.getByLabel('Image for images').setInputFiles(digitPng('010_7.png'));
      await page.locator('.drop canvas').waitFor();
      await run(page);
      const file = path.join(images, `page-${name}.png`);
      const png = await page.screenshot({ path: file, fullPage: true });
      expect(png.length).toBeLessThan(150_000);
    }
  } finally {
    await stop();
    await one.close(0);
  }
});

/** Clients that ask two models, now more and now less. @returns Ends them. */
function busy(where: string, clients: number): () => Promise<void> {
  const port = Number(new URL(where).port);
  let isOver = false;
  const image = Array.from({ length: 8 }, () => Array.from({ length: 8 }, () => [Math.random()]));
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const client = async (i: number): Promise<void> => {
    while (!isOver) {
      const wave = 1 + Math.sin(performance.now() / 14_000) * 0.8;
      const atOnce = Array.from({ length: Math.ceil(4 * wave * Math.random()) }, () =>
        ask({ port }, '/v1/models/digits:predict', { body: { instances: [image] } }),
      );
      await Promise.all(atOnce);
      const x = Math.random() < 0.1 ? ['x'] : [i];
      if (i === 0)
        await ask({ port }, '/v1/models/half_plus_two:predict', { body: { instances: x } });
      await pause((50 + 100 * Math.random()) / wave);
    }
  };
  const all = Array.from({ length: clients }, (_, i) => client(i));
  return async () => {
    isOver = true;
    await Promise.all(all);
  };
}

const pointsOfLine = `(document.querySelector('.line.line-0')?.getAttribute('d') ?? '').split('L').length`;

/** Texts whose contrast is below WCAG's 4.5 : 1 (what is disabled does not count). */
const faintTexts = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const ground = (element) => {
    for (let e = element; e !== null; e = e.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const isText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim() !== '');
    if (!isText || !element.checkVisibility() || element.disabled) continue;
    const style = getComputedStyle(element);
    const [a, b] = [element instanceof SVGElement ? style.fill : style.color].map(channels).concat([ground(element)]).map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(element.tagName + ' ' + element.textContent.slice(0, 30) + ' ' + contrast.toFixed(2));
  }
  return faint;
})()`;

const namelessControls = `(() =>
  [...document.querySelectorAll('input, select, textarea, button')]
    .filter((e) => e.checkVisibility())
    .filter((e) => !(e.ariaLabel || e.labels?.length > 0 || e.textContent.trim() !== ''))
    .map((e) => e.outerHTML))()`;
