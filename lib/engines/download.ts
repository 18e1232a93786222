import { createWriteStream } from 'node:fs';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { reasonOf } from './cache.js';
import { formatBytes } from './progress.js';
import { WayFailed, type Obtained, type WayOptions } from './way.js';

const maxRedirects = 5;
/** The largest engine archive (a GPU build of TensorFlow) has 0.6 GB. */
const maxDownloadBytes = 8e9;
/** A server that says nothing for so long has gone. */
const idleMs = 60_000;

/** Gets one file over HTTPS (or plain HTTP, where the user's own URL says so) into `folder`. */
export async function download(
  url: string,
  folder: string,
  options: WayOptions,
): Promise<Obtained> {
  const controller = new AbortController();
  const forward = (): void => controller.abort(options.signal.reason);
  options.signal.addEventListener('abort', forward, { once: true });
  const overall = setTimeout(
    () => controller.abort(new Error(`not complete within ${options.timeoutMs / 1000} s`)),
    options.timeoutMs,
  );
  const idle = setTimeout(
    () => controller.abort(new Error(`no data for ${idleMs / 1000} s`)),
    idleMs,
  );
  try {
    options.onProgress({ phase: 'download', receivedBytes: 0 });
    const response = await follow(url, controller.signal, () => idle.refresh());
    const length = Number(response.headers.get('content-length') ?? Number.NaN);
    const totalBytes = Number.isSafeInteger(length) && length > 0 ? length : undefined;
    if (totalBytes !== undefined && totalBytes > maxDownloadBytes) {
      throw new Error(`${formatBytes(totalBytes)} is more than ${formatBytes(maxDownloadBytes)}`);
    }
    if (response.body === null) throw new Error('the answer has no body');
    let receivedBytes = 0;
    const count = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        idle.refresh();
        receivedBytes += chunk.length;
        if (receivedBytes > maxDownloadBytes) {
          done(new Error(`more than ${formatBytes(maxDownloadBytes)}`));
          return;
        }
        options.onProgress({
          phase: 'download',
          receivedBytes,
          ...(totalBytes === undefined ? {} : { totalBytes }),
        });
        done(null, chunk);
      },
    });
    const name = path.basename(new URL(url).pathname).replace(/[^\w.+-]/g, '_') || 'download';
    const file = path.join(folder, name);
    await pipeline(Readable.fromWeb(response.body), count, createWriteStream(file), {
      signal: controller.signal,
    });
    if (totalBytes !== undefined && receivedBytes !== totalBytes) {
      throw new Error(`cut off after ${receivedBytes} of ${totalBytes} bytes`);
    }
    return { file, way: 'download', location: withoutCredentials(url) };
  } catch (error) {
    options.signal.throwIfAborted();
    const reason: unknown = controller.signal.aborted ? controller.signal.reason : error;
    const proxy = options.context.env.HTTPS_PROXY ?? options.context.env.https_proxy;
    throw new WayFailed(
      `download of ${withoutCredentials(url)}`,
      explain(reason),
      [],
      'get it by other means and pass the file: --from <file>' +
        (proxy === undefined ? '' : ' (HTTPS_PROXY is set, which this download does not use)'),
    );
  } finally {
    clearTimeout(overall);
    clearTimeout(idle);
    options.signal.removeEventListener('abort', forward);
  }
}

async function follow(start: string, signal: AbortSignal, alive: () => void): Promise<Response> {
  let url = new URL(start);
  for (let redirects = 0; ; redirects++) {
    const response = await fetch(url, {
      redirect: 'manual',
      signal,
      // The archive as it lies there: a body decoded on the way has another length and sha256.
      headers: { 'accept-encoding': 'identity', ...authorization(url) },
    });
    alive();
    if (response.status >= 300 && response.status < 400) {
      const location = response.headers.get('location');
      await response.body?.cancel();
      if (location === null) throw new Error(`HTTP ${response.status} without a location`);
      if (redirects === maxRedirects) throw new Error(`more than ${maxRedirects} redirects`);
      const next = new URL(location, url);
      if (next.protocol !== 'https:' && !(next.protocol === 'http:' && url.protocol === 'http:')) {
        throw new Error(`redirected from ${url.protocol} to ${next.protocol}`);
      }
      url = next;
      continue;
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`HTTP ${response.status} ${response.statusText}`.trimEnd());
    }
    return response;
  }
}

/** Takes user and password out of a URL, where they would be refused, into the header. */
function authorization(url: URL): Record<string, string> {
  if (url.username === '') return {};
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = '';
  url.password = '';
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

export function withoutCredentials(url: string): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

/** fetch says "fetch failed" and keeps the reason in `cause`. */
function explain(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? `${reasonOf(error)} (${cause.message})` : reasonOf(error);
}
