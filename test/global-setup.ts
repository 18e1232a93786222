import { engineNames, engines, environmentVariables } from '../lib/engines/index.js';

/**
 * Both engines are there before the first test, installed where they are missing; nothing is
 * skipped for want of one. Tests get their paths in TENON_TEST_ONNXRUNTIME and
 * TENON_TEST_TENSORFLOW. The variables that users set are filled in too, so that every process a
 * test starts finds the same libraries; tests of finding clear them for their own children.
 */
export default async function setup(): Promise<void> {
  for (const name of engineNames) {
    const { library } = await engines.ensure(name, { progress: process.stderr });
    process.env[`TENON_TEST_${name.toUpperCase()}`] = library;
    process.env[environmentVariables[name]] ??= library;
  }
}
