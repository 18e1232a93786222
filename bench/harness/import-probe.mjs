// A fresh process that imports one package and says what that cost.
//   node import-probe.mjs import|require <package>
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [form, specifier] = process.argv.slice(2);
const require = createRequire(import.meta.url);

const before = process.memoryUsage.rss();
const start = performance.now();
if (form === 'import') await import(specifier);
else require(specifier);
const ms = performance.now() - start;
const bytes = process.memoryUsage.rss() - before;

const maps = existsSync('/proc/self/maps') ? readFileSync('/proc/self/maps', 'utf8') : '';
const engines = new Set(maps.match(/\S*lib(onnxruntime|tensorflow)\S*/g)).size;
console.log(JSON.stringify({ ms, bytes, engines }));
