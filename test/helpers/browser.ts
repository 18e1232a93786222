/** A Chromium that is there already, and pages in it that may say nothing. */

import { accessSync, constants } from 'node:fs';
import path from 'node:path';

import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect, onTestFinished } from 'vitest';

const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];

/** @throws Where there is none. */
function executable(): string {
  const { TENON_CHROMIUM: given, PATH = '' } = process.env;
  const places =
    given === undefined
      ? PATH.split(path.delimiter).flatMap((folder) => names.map((name) => path.join(folder, name)))
      : [given];
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found !== undefined) return found;
  throw new Error(
    given === undefined
      ? `expected one of ${names.join(', ')} in PATH: install Chromium ("apt-get install chromium"), or name it in TENON_CHROMIUM`
      : `expected a Chromium for "TENON_CHROMIUM", received ${given}`,
  );
}

export function openBrowser(): Promise<Browser> {
  // In a container, as root, there is no sandbox; all it sees is a server of the test's.
  const isRoot = process.getuid?.() === 0;
  return chromium.launch({ executablePath: executable(), chromiumSandbox: !isRoot });
}

export interface WatchedPage {
  readonly page: Page;
  /** What the browser complained of: errors and warnings, rules of the page's policy. */
  readonly complaints: string[];
}

/** A page whose complaints fail the test, unless it takes them out. */
export async function openPage(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  await page.exposeFunction('complain', (text: string) => complaints.push(text));
  // As text, since it runs where there is a document.
  await page.addInitScript(`
    document.addEventListener('securitypolicyviolation', (event) =>
      complain('policy: ' + event.violatedDirective + ' ' + event.blockedURI),
    );
  `);
  onTestFinished(async () => {
    await context.close();
    expect(complaints).toEqual([]);
  });
  return { page, complaints };
}
