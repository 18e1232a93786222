/** A registry that has packages of this checkout, and sends its callers elsewhere for all others. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

export interface Registry {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * @param tarballs What `npm pack` wrote, each with the package.json of its package.
 * @param elsewhere The registry that has the others.
 */
export async function startRegistry(
  tarballs: readonly { file: string; manifest: string }[],
  elsewhere: string,
): Promise<Registry> {
  const packages = new Map(
    tarballs.map(({ file, manifest }) => {
      const described = JSON.parse(readFileSync(manifest, 'utf8')) as {
        name: string;
        version: string;
      };
      return [described.name, { described, bytes: readFileSync(file) }] as const;
    }),
  );
  const server = createServer((request, response) => {
    const [, name = '', isTarball] = /^\/([^/]+)(\/-\/)?/.exec(request.url ?? '') ?? [];
    const found = packages.get(name);
    if (found === undefined) {
      response.writeHead(302, { location: new URL(`.${request.url}`, elsewhere).href }).end();
      return;
    }
    const { described, bytes } = found;
    if (isTarball !== undefined) {
      response.end(bytes);
      return;
    }
    const { version } = described;
    const dist = {
      tarball: `${url()}${name}/-/${name}-${version}.tgz`,
      integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
    };
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        name,
        'dist-tags': { latest: version },
        versions: { [version]: { ...described, dist } },
      }),
    );
  });
  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: url(),
    close: () =>
      new Promise((resolve, reject) => {
        server.closeAllConnections();
        server.close((error) => (error === undefined ? resolve() : reject(error)));
      }),
  };
}

/** The file that `npm pack` writes for the package described there. */
export function tarballName(manifest: string): string {
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    name: string;
    version: string;
  };
  return path.basename(`${name}-${version}.tgz`);
}
