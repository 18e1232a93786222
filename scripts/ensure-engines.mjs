// Both engines are found, or installed into Tenon's cache folder, and open. Run before the demo
// and in CI; prints one line each, and ends with 1 and what to do where an engine cannot be had.
import { engines } from '../dist/index.js';

let failed = false;

for (const name of ['onnxruntime', 'tensorflow']) {
  try {
    await engines.ensure(name, { progress: process.stderr });
  } catch (error) {
    failed = true;
    console.error(`${name}: ${error instanceof Error ? error.message : error}`);
  }
}

for (const engine of await engines.list()) {
  if (engine.error === undefined) {
    console.log(`${engine.name} ${engine.version} (${engine.foundBy}: ${engine.library})`);
  } else if (engine.found) {
    failed = true;
    console.error(
      `${engine.name}: found at ${engine.library} (${engine.foundBy}), but it does not open: ` +
        `${engine.error.message}\nremedy: ${remedy(engine)}`,
    );
  }
}

process.exitCode = failed ? 1 : 0;

function remedy({ name, foundBy }) {
  const variable = `TENON_${name.toUpperCase()}_LIBRARY`;
  if (foundBy === 'cache') return `npx tenon engines install ${name} --force`;
  if (foundBy === 'environment') return `correct ${variable}, or unset it`;
  return `set ${variable} to a library that opens`;
}
