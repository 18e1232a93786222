/** The sockets that the server listens on. What is accepted is somebody else's. */

import { lstat, unlink } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import { TenonError } from '../errors.js';
import type { ResolvedListen } from './options.js';

/**
 * A port, a unix socket, or both. Connections come as sockets of which nothing has been read, and
 * which their owner closes.
 */
export class Listener {
  /** Of the port; undefined without one. */
  readonly port: number | undefined;
  readonly #servers: readonly Server[];

  private constructor(servers: readonly Server[]) {
    this.#servers = servers;
    const addresses = servers.map((server) => server.address());
    this.port = addresses.find(
      (address): address is AddressInfo => typeof address === 'object',
    )?.port;
  }

  /**
   * @param name "rest" or "grpc", for errors.
   * @throws ERR_TENON_LISTEN where an address is taken, unknown or not allowed.
   */
  static async open(
    name: string,
    { port, host, socketPath, maxConnections }: ResolvedListen,
    take: Take,
  ): Promise<Listener> {
    const options = { ...take, maxConnections };
    const servers: Server[] = [];
    try {
      if (port !== undefined) {
        servers.push(await listenOnPort(name, port, host, options));
      }
      if (socketPath !== undefined) {
        await removeStaleSocket(socketPath);
        servers.push(await listen(name, { path: socketPath, description: socketPath }, options));
      }
    } catch (error) {
      for (const server of servers) server.close();
      throw error;
    }
    return new Listener(servers);
  }

  /** Takes no more connections; those there are stay. */
  async close(): Promise<void> {
    // A server counts as closed when its connections are; those are not ours to wait for.
    for (const server of this.#servers) server.close();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export interface Take {
  readonly accept: (socket: Socket) => void;
  /** Whether nothing is read from a connection before it is told to. */
  readonly isPaused: boolean;
}

type ServerOptions = Take & { readonly maxConnections: number };

interface Address {
  readonly port?: number;
  readonly host?: string;
  readonly path?: string;
  readonly description: string;
}

/** Where a machine has no IPv6, "::" is all of its interfaces all the same. */
async function listenOnPort(
  name: string,
  port: number,
  host: string,
  options: ServerOptions,
): Promise<Server> {
  const on = (address: string): Promise<Server> =>
    listen(
      name,
      {
        port,
        host: address,
        description: `${address.includes(':') ? `[${address}]` : address}:${port}`,
      },
      options,
    );
  try {
    return await on(host);
  } catch (error) {
    const { code } = ((error as TenonError).cause ?? {}) as NodeJS.ErrnoException;
    if (host !== '::' || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error;
    return on('0.0.0.0');
  }
}

function listen(
  name: string,
  { description, ...address }: Address,
  { accept, isPaused, maxConnections }: ServerOptions,
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ noDelay: true, pauseOnConnect: isPaused }, accept);
    if (maxConnections !== Infinity) server.maxConnections = maxConnections;
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        new TenonError(
          'ERR_TENON_LISTEN',
          `expected to listen on ${description} for "${name}", received ${reasonOf(cause)}`,
          { cause },
        ),
      );
    });
    server.listen(address, () => {
      server.removeAllListeners('error');
      // Of accept(): no more descriptors, for instance. The next connection may be fine.
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'EADDRINUSE: another process listens there, or another server of this one';
    case 'EACCES':
      return 'EACCES: this user may not';
    case 'EADDRNOTAVAIL':
      return 'EADDRNOTAVAIL: this machine has no such address';
    default:
      return message;
  }
}

/** A socket's file outlives a process that was killed; one that is in use is left alone. */
async function removeStaleSocket(file: string): Promise<void> {
  try {
    if (!(await lstat(file)).isSocket()) return;
  } catch {
    return;
  }
  const isInUse = await new Promise<boolean>((resolve) => {
    const probe = connect(file);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED'));
  });
  if (!isInUse) await unlink(file);
}
