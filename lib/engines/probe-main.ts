/**
 * `dist/engine-probe.js <engine> <library>`: opens the library, prints one line with what the
 * engine says of itself or why it does not open, and ends. Started by probeEngine.
 */
import { nativeAddon } from '../native/load.js';
import type { EngineName } from '../native/types.js';
import { probeMark, type ProbeAnswer } from './probe.js';

const [, , engine = '', library = ''] = process.argv;

async function answer(): Promise<ProbeAnswer> {
  try {
    return { description: await nativeAddon().describeEngine(engine as EngineName, library) };
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return {
      error: {
        code: typeof code === 'string' ? code : 'ERR_TENON_ENGINE_LOAD',
        message: typeof message === 'string' ? message : String(error),
      },
    };
  }
}

const line = `\n${probeMark}${JSON.stringify(await answer())}\n`;
// exit: an engine's threads may keep the process alive, and its teardown is nobody's concern here.
process.stdout.write(line, () => process.exit(0));
