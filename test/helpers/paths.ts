import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A path below test/fixtures. */
export function fixture(...parts: string[]): string {
  return path.join(root, 'test/fixtures', ...parts);
}

/** A path below test/fixtures/models. */
export function modelPath(...parts: string[]): string {
  return fixture('models', ...parts);
}
