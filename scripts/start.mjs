// Serves the example models, and prints a line to paste.
//
//   npm start [-- --flag=value …]
import { spawn } from 'node:child_process';

import { root } from './run-command.mjs';

const flags = ['--model_config_file=examples/models.config'];
// The server writes into a pipe, and would take nobody for its reader.
if (process.stderr.isTTY) flags.push('--log_format=pretty');
flags.push(...process.argv.slice(2));
const server = spawn(process.execPath, ['dist/cli.js', 'serve', ...flags], {
  cwd: root,
  stdio: ['inherit', 'inherit', 'pipe'],
  env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: process.env.TF_CPP_MIN_LOG_LEVEL ?? '2' },
});

let isReady = false;
server.stderr.setEncoding('utf8').on('data', (text) => {
  process.stderr.write(text);
  if (isReady || !text.includes('Ready')) return;
  isReady = true;
  console.log(`
In another terminal:

  curl -d '{"instances": [1, 2, 5]}' http://localhost:8501/v1/models/half_plus_two:predict
  curl http://localhost:8501/v1/models

Ctrl-C ends it.
`);
});

// A terminal sends Ctrl-C to the server as well, which closes in order.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (signal === 'SIGTERM') server.kill(signal);
  });
}
server.on('exit', (code) => (process.exitCode = code ?? 1));
