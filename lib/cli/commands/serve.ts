import { setTimeout as after } from 'node:timers/promises';

import { TenonError } from '../../index.js';
import { flagsHelp, nearestFlag, parseFlags } from '../../server/config/flags.js';
import type { ModelServerConfig } from '../../server/config/model-config.js';
import type { Server } from '../../server/create-server.js';
import type { Logger, LogOptions, OpenLog, ServerLogLevel } from '../../server/logging.js';
import { print, UsageError } from '../context.js';

const exitCodes = { done: 0, cutShort: 1 } as const;

/** Serves until a signal ends the process. */
export async function serveCommand(args: readonly string[], version: string): Promise<void> {
  const flags = asUsage(() => parseFlags(args));
  const { values, unknown } = flags;
  if (flags.wantsHelp) {
    print(flagsHelp());
    return;
  }
  if (flags.wantsVersion) {
    print(version);
    return;
  }
  // What serves is read when it is needed: help is quick.
  const [
    { createServer },
    { openLog },
    { serveSettings },
    { readModelServerConfig },
    { readTraffic },
  ] = await Promise.all([
    import('../../server/create-server.js'),
    import('../../server/logging.js'),
    import('../../server/config/from-flags.js'),
    import('../../server/config/files.js'),
    import('../../server/config/traffic-file.js'),
  ]);
  const { logger, flush }: OpenLog = openLog(logOptions(values));
  let server: Server;
  try {
    const { options, modelConfigFile, trafficConfigFile, warnings } = await serveSettings(
      flags,
      process.env,
    );
    for (const argument of unknown) {
      const nearest = nearestFlag(argument);
      logger.warn(
        `unknown argument: ${argument}${nearest === undefined ? '' : `; did you mean --${nearest}?`} (tenon serve --help)`,
      );
    }
    for (const warning of warnings) logger.warn(warning);
    server = createServer({ ...options, log: logger });
    endOnSignals(server, logger, flush);
    await server.listen();
    const config = options.models as ModelServerConfig;
    const pollSeconds = values.model_config_file_poll_wait_seconds;
    if (trafficConfigFile !== undefined) {
      watchFile(logger, {
        file: trafficConfigFile,
        what: 'The routes and shadows',
        text: JSON.stringify(options.traffic),
        read: async () => {
          const traffic = await readTraffic(trafficConfigFile);
          return {
            text: JSON.stringify(traffic),
            apply: () => {
              server.setTraffic(traffic);
              logger.info({ file: trafficConfigFile }, 'Requests go where the file says now');
            },
          };
        },
        pollSeconds,
      });
    }
    if (modelConfigFile === undefined) {
      // The same models: their folders are looked at again.
      process.on('SIGHUP', () => void reload(server, logger, config));
    } else {
      watchFile(logger, {
        file: modelConfigFile,
        what: 'The models to serve',
        text: textOf(config),
        read: async () => {
          const read = await readModelServerConfig(modelConfigFile);
          // Not waited for: a model that is slow to load must not keep a later file from being read.
          return { text: textOf(read), apply: () => void reload(server, logger, read) };
        },
        pollSeconds,
      });
    }
  } catch (error) {
    await flush();
    throw asUsageError(error);
  }
}

function logOptions(values: ReturnType<typeof parseFlags>['values']): LogOptions {
  const format = values.log_format;
  return {
    level: values.log_level as ServerLogLevel,
    ...(format !== 'auto' && { format: format as 'json' | 'pretty' }),
    ...(values.log_file !== '' && { file: values.log_file }),
  };
}

/** The first signal closes, the second one ends at once. */
function endOnSignals(server: Server, logger: Logger, flush: () => Promise<void>): void {
  let isClosing = false;
  const close = async (signal: NodeJS.Signals): Promise<void> => {
    if (isClosing) {
      logger.warn({ signal }, 'Ending at once');
      // A log on a full disk or a stuck pipe must not hold us.
      await Promise.race([flush(), after(flushMs)]);
      process.exit(exitCodes.cutShort);
    }
    isClosing = true;
    logger.info({ signal }, 'Shutting down');
    try {
      await server.close();
    } catch (error) {
      logger.error({ err: error }, 'Could not close in order');
    }
    await Promise.race([flush(), after(flushMs)]);
    process.exit(exitCodes.done);
  };
  // SIGINT has a listener of the command line's own, which would end the process.
  process.removeAllListeners('SIGINT');
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void close(signal));
  }
}

const flushMs = 500;

interface WatchedFile {
  readonly file: string;
  /** What it says, at the beginning of a sentence. */
  readonly what: string;
  /** What it held at the start, to be compared. */
  readonly text: string;
  readonly read: () => Promise<{ readonly text: string; readonly apply: () => void }>;
  /** 0: only at SIGHUP. */
  readonly pollSeconds: number;
}

/** Reads the file again at SIGHUP, and when its content has changed. */
function watchFile(logger: Logger, { file, what, text, read, pollSeconds }: WatchedFile): void {
  let last = text;
  let lastFailure = '';
  const look = async (isAsked: boolean): Promise<void> => {
    let found: Awaited<ReturnType<WatchedFile['read']>>;
    try {
      found = await read();
      lastFailure = '';
    } catch (error) {
      // What is in force stays, and is not told of with each look.
      const { message } = error as Error;
      if (isAsked || message !== lastFailure) {
        logger.error({ err: error, file }, `${what} could not be read again`);
      }
      lastFailure = message;
      return;
    }
    if (found.text === last && !isAsked) return;
    last = found.text;
    found.apply();
  };
  process.on('SIGHUP', () => void look(true));
  if (pollSeconds > 0) setInterval(() => void look(false), pollSeconds * 1000).unref();
}

async function reload(server: Server, logger: Logger, config: ModelServerConfig): Promise<void> {
  logger.info({ models: config.models.length }, 'Reading the models to serve again');
  try {
    await server.reload(config);
  } catch (error) {
    logger.error({ err: error }, 'Not everything that was asked for is served');
  }
}

function textOf(config: ModelServerConfig): string {
  return JSON.stringify(config, (_key, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
}

function asUsage<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw asUsageError(error);
  }
}

/** What is wrong with the command line itself ends with the code for that. */
function asUsageError(error: unknown): unknown {
  const isUsage = error instanceof TenonError && error.code === 'ERR_TENON_INVALID_ARGUMENT';
  return isUsage ? new UsageError(error.message, { cause: error }) : error;
}
