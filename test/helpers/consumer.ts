import { execFileSync } from 'node:child_process';

/** What `npm test` put into the environment is about this checkout, not about a consumer's folder. */
export const consumerEnvironment: NodeJS.ProcessEnv = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^npm_(package|lifecycle|command|execpath)/.test(name) && name !== 'npm_config_local_prefix',
  ),
);

/** What npm prints in the folder of one who uses the package. */
export function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', args, {
    cwd,
    encoding: 'utf8',
    env: consumerEnvironment,
    shell: process.platform === 'win32',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
