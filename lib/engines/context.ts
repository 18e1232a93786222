import { homedir } from 'node:os';
import path from 'node:path';

/** What finding and installing read from the process, in one place so that tests can give their own. */
export interface EngineContext {
  env: NodeJS.ProcessEnv;
  cwd: string;
  platform: NodeJS.Platform;
  arch: string;
  home: string;
}

export function currentContext(): EngineContext {
  let cwd: string;
  try {
    cwd = process.cwd();
  } catch {
    // The folder was removed under the process; nothing can be found from it.
    cwd = path.parse(process.execPath).root;
  }
  return { env: process.env, cwd, platform: process.platform, arch: process.arch, home: homedir() };
}
