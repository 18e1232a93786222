import { cpSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { createServer as createNetServer, type AddressInfo } from 'node:net';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { makeCertificates } from '../helpers/authority.js';
import { modelPath, root } from '../helpers/paths.js';
import { runPython } from '../helpers/python.js';
import { type Answer, ask, freePort, startServe } from '../helpers/serve.js';
import { temporaryFolder } from '../helpers/temporary.js';

// `tenon serve` as its users run it: flags, signals, exit codes, files.

const folder = temporaryFolder();
const half = ['--model_name=half', `--model_base_path=${modelPath('half_plus_two')}`];
let sockets = 0;

/** A server on a unix socket, which no other test can have taken. */
function onSocket(): { flags: string[]; socketPath: string } {
  const socketPath = path.join(folder, `${++sockets}.sock`);
  return {
    flags: ['--port=0', `--rest_api_socket_path=${socketPath}`],
    socketPath,
  };
}

const clean = { code: 0, signal: null };

describe('the command line', () => {
  it('prints its help, by groups', async () => {
    const server = startServe(['--help']);
    expect(await server.ended).toEqual(clean);
    expect(server.stdout).toContain('Usage: tenon serve');
    expect(server.stdout.indexOf('--model_base_path')).toBeLessThan(
      server.stdout.indexOf('--prefer_tflite_model'),
    );
  });

  it('prints the version', async () => {
    const server = startServe(['--version']);
    expect(await server.ended).toEqual(clean);
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(server.stdout).toBe(`${version}\n`);
  });

  it.each([
    [['--port=eighty'], 2, 'for "--port", received "eighty"'],
    [[], 2, '--model_base_path'],
    [
      [...half, '--batching_parameters_file=x'],
      2,
      'without setting server_options.enable_batching',
    ],
    [['--model_base_path=s3://bucket/m'], 1, 'aws s3 sync'],
    [['--model_config_file=/nowhere'], 1, 'ERR_TENON_CONFIG'],
  ])('%j ends with code %i', async (flags, code, text) => {
    const server = startServe(flags);
    expect(await server.ended).toEqual({ code, signal: null });
    expect(server.stderr).toContain(text);
  });

  it('says what is wrong with a file of models as TensorFlow Serving does', async () => {
    const file = path.join(folder, 'bad.config');
    writeFileSync(file, 'model_config_list { config { nonsense: 1 } }');
    const server = startServe([`--model_config_file=${file}`]);
    expect((await server.ended).code).not.toBe(0);
    expect(server.stderr).toContain(
      'Error parsing text-format tensorflow.serving.ModelServerConfig',
    );
  });

  it('ends with a clear error where a port is taken', async () => {
    const other = createNetServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const server = startServe([...half, '--port=0', `--rest_api_port=${port}`, '--host=127.0.0.1']);
    expect(await server.ended).toEqual({ code: 1, signal: null });
    expect(server.stderr).toContain(`127.0.0.1:${port} for "rest", received EADDRINUSE`);
    expect(server.stderr).toContain('[ERR_TENON_LISTEN]');
    other.close();
  });

  it('goes on past what it does not know, and says so', async () => {
    const { flags, socketPath } = onSocket();
    const server = startServe([...half, ...flags, '--prot=1', '--prefer_tflite_model', 'what']);
    await server.ready();
    expect((await ask({ socketPath }, '/v1/models/half')).status).toBe(200);
    const said = server.log.filter(({ level }) => level === 'warn').map(({ msg }) => msg);
    expect(said).toEqual(
      expect.arrayContaining([
        expect.stringContaining('unknown argument: --prot=1; did you mean --port?'),
        expect.stringContaining('unknown argument: what'),
        expect.stringContaining('--prefer_tflite_model has no effect here'),
      ]),
    );
  });

  it('serves the model that the environment of the image names', async () => {
    const { flags, socketPath } = onSocket();
    const server = startServe(flags, {
      env: { MODEL_NAME: 'half_plus_two', MODEL_BASE_PATH: modelPath() },
    });
    await server.ready();
    expect((await ask({ socketPath }, '/v1/models/half_plus_two')).status).toBe(200);
  });

  it('starts without a model that cannot be loaded, and says which', async () => {
    const { flags, socketPath } = onSocket();
    const file = path.join(folder, 'two.config');
    writeFileSync(
      file,
      `model_config_list {
        config { name: 'half' base_path: '${modelPath('half_plus_two')}' model_platform: 'tensorflow' }
        config { name: 'gone' base_path: '/nowhere' model_platform: 'tensorflow' } }`,
    );
    const server = startServe([
      ...flags,
      `--model_config_file=${file}`,
      '--max_num_load_retries=0',
    ]);
    await server.logged(({ model, msg }) => model === 'half' && msg === 'half is ready');
    const answer = await ask({ socketPath }, '/v1/models/half:predict', { body: { inputs: [1] } });
    expect(JSON.parse(answer.text)).toEqual({ outputs: [3.5] });
  });
});

describe.runIf(process.platform !== 'win32')('a signal', () => {
  it('to end under load loses no accepted request', async () => {
    const { flags, socketPath } = onSocket();
    const server = startServe([...half, ...flags]);
    await server.ready();
    const agent = new Agent({ keepAlive: true });
    let answered = 0;
    let isEnding = false;
    const failed: unknown[] = [];
    const clients = Array.from({ length: 16 }, async () => {
      for (;;) {
        try {
          const { status, text } = await ask({ socketPath }, '/v1/models/half:predict', {
            body: { instances: [1, 2, 5] },
            agent,
          });
          answered++;
          if (status !== 200 || !/\[3\.5, 4\.0, 5\.5\n/.test(text)) failed.push([status, text]);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          // The socket's file is gone, or nobody listens: nothing was accepted.
          const isRefused = code === 'ENOENT' || code === 'ECONNREFUSED';
          if (!isEnding || !isRefused) failed.push(error);
          return;
        }
      }
    });
    while (answered < 200) await new Promise((resolve) => setTimeout(resolve, 5));
    isEnding = true;
    server.child.kill('SIGTERM');
    await Promise.all(clients);
    expect(failed).toEqual([]);
    expect(await server.ended).toEqual(clean);
    expect(server.log.at(-1)).toMatchObject({ msg: 'Closed' });
  });

  it('to end waits for a long request, until its time is up', async () => {
    const { flags, socketPath } = onSocket();
    const server = startServe([
      '--model_name=slow',
      `--model_base_path=${modelPath('slow.onnx')}`,
      ...flags,
      '--shutdown_timeout_ms=300',
      '--monitoring_config_file=' + monitoring(),
    ]);
    await server.ready();
    const running = ask({ socketPath }, '/v1/models/slow:predict', {
      body: { inputs: 100_000_000 },
    });
    running.catch(() => undefined);
    await inFlight(socketPath);
    server.child.kill('SIGTERM');
    await expect(running).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await server.ended).toEqual(clean);
  });

  it.each([0, 1])(
    'to end leaves it serving for --shutdown_delay_ms, not ready (%i front-end threads)',
    async (threads) => {
      const { flags, socketPath } = onSocket();
      const server = startServe([
        ...half,
        ...flags,
        '--shutdown_delay_ms=600000',
        `--frontend_threads=${threads}`,
      ]);
      await server.ready();
      const predict = (): Promise<Answer> =>
        ask({ socketPath }, '/v1/models/half:predict', {
          body: { inputs: [1] },
          headers: { connection: 'keep-alive' },
        });
      expect((await predict()).headers.connection).toBe('keep-alive');
      server.child.kill('SIGTERM');
      await server.logged(({ msg }) => msg === 'Closing: not ready, and serving for a while');
      const answer = await predict();
      expect(JSON.parse(answer.text)).toEqual({ outputs: [3.5] });
      expect(answer.headers.connection).toBe('close');
      expect((await ask({ socketPath }, '/healthz/ready')).status).toBe(503);
      expect((await ask({ socketPath }, '/healthz/live')).status).toBe(200);
      server.child.kill('SIGTERM');
      expect(await server.ended).toEqual({ code: 1, signal: null });
    },
  );

  it('to end closes after --shutdown_delay_ms', async () => {
    const { flags } = onSocket();
    const server = startServe([...half, ...flags, '--shutdown_delay_ms=1']);
    await server.ready();
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual(clean);
    const said = server.log.filter(({ msg }) => /^Clos/.test(String(msg)));
    expect(said).toMatchObject([
      { msg: 'Closing: not ready, and serving for a while', delayMs: 1 },
      { msg: 'Closing: taking no more connections' },
      { msg: 'Closed' },
    ]);
  });

  it('a second time ends at once', async () => {
    const { flags, socketPath } = onSocket();
    const server = startServe([
      '--model_name=slow',
      `--model_base_path=${modelPath('slow.onnx')}`,
      ...flags,
      '--monitoring_config_file=' + monitoring(),
    ]);
    await server.ready();
    ask({ socketPath }, '/v1/models/slow:predict', { body: { inputs: 100_000_000 } }).catch(
      () => undefined,
    );
    await inFlight(socketPath);
    server.child.kill('SIGINT');
    await server.logged(({ msg }) => msg === 'Shutting down');
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual({ code: 1, signal: null });
  });

  it('SIGHUP reads the file of models again; a bad one changes nothing', async () => {
    const { flags, socketPath } = onSocket();
    const file = path.join(folder, 'reloaded.config');
    const config = (...names: string[]): string =>
      `model_config_list { ${names
        .map((name) => `config { name: '${name}' base_path: '${modelPath('half_plus_two')}' }`)
        .join('\n')} }`;
    writeFileSync(file, config('a'));
    const server = startServe([...flags, `--model_config_file=${file}`]);
    await server.ready();
    const status = async (name: string): Promise<number> =>
      (await ask({ socketPath }, `/v1/models/${name}`)).status;
    expect([await status('a'), await status('b')]).toEqual([200, 404]);

    writeFileSync(file, config('b'));
    server.child.kill('SIGHUP');
    await server.logged(({ msg }) => typeof msg === 'string' && /name: b version: 124/.test(msg));
    while ((await status('b')) !== 200) await new Promise((resolve) => setTimeout(resolve, 10));

    writeFileSync(file, 'nonsense');
    server.child.kill('SIGHUP');
    await server.logged(({ level, file: of }) => level === 'error' && of === file);
    expect(await status('b')).toBe(200);
  });

  it('is not needed where the file is polled', async () => {
    const { flags, socketPath } = onSocket();
    const file = path.join(folder, 'polled.yaml');
    const config = (name: string): string =>
      `model_config_list: { config: [{ name: ${name}, base_path: ${modelPath('half_plus_two')} }] }`;
    writeFileSync(file, config('a'));
    const server = startServe([
      ...flags,
      `--model_config_file=${file}`,
      '--model_config_file_poll_wait_seconds=1',
    ]);
    await server.ready();
    writeFileSync(file, config('b'));
    let status = 404;
    while (status !== 200) ({ status } = await ask({ socketPath }, '/v1/models/b'));
    expect(status).toBe(200);
  });
});

function monitoring(): string {
  const file = path.join(folder, 'monitoring.config');
  writeFileSync(file, 'prometheus_config { enable: true }');
  return file;
}

async function inFlight(socketPath: string): Promise<void> {
  for (;;) {
    const { text } = await ask({ socketPath }, '/monitoring/prometheus/metrics');
    if (text.includes('tenon_in_flight_requests{entrypoint="REST"} 1\n')) return;
  }
}

describe('the log', () => {
  it.runIf(process.platform === 'linux')(
    'on a full disk costs the log, not the service',
    async () => {
      const { flags, socketPath } = onSocket();
      const server = startServe([...half, ...flags, '--request_log_sampling_rate=1'], {
        stderr: openSync('/dev/full', 'a'),
      });
      let status = 0;
      while (status !== 200) {
        status = await ask({ socketPath }, '/healthz/ready').then(
          (answer) => answer.status,
          () => 0,
        );
      }
      for (let i = 0; i < 50; i++) {
        expect((await ask({ socketPath }, '/v1/models/half')).status).toBe(200);
      }
      server.child.kill('SIGTERM');
      expect(await server.ended).toEqual(clean);
    },
  );

  it('has a share of the requests, and goes to a file where one is named', async () => {
    const { flags, socketPath } = onSocket();
    const file = path.join(folder, 'requests.log');
    const server = startServe([
      ...half,
      ...flags,
      '--request_log_sampling_rate=1',
      `--log_file=${file}`,
    ]);
    let isReady = false;
    while (!isReady) {
      isReady = await ask({ socketPath }, '/healthz/ready').then(
        ({ status }) => status === 200,
        () => false,
      );
    }
    const { text } = await ask({ socketPath }, '/v1/models/half:predict', {
      body: { instances: [1] },
    });
    server.child.kill('SIGTERM');
    await server.ended;
    const records = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(records).toContainEqual(
      expect.objectContaining({
        msg: 'request',
        api: 'REST',
        method: 'POST',
        url: '/v1/models/half:predict',
        status: 200,
        requestBytes: 17,
        responseBytes: text.length,
      }),
    );
  });
});

it('SSL files, a token and front-end threads come by flags', async () => {
  const certificates = path.join(folder, 'certificates');
  mkdirSync(certificates);
  const { authority, server: own } = makeCertificates(certificates);
  const ssl = path.join(folder, 'ssl.config');
  writeFileSync(
    ssl,
    `server_key: '${own.keyFile}'\nserver_cert: ${JSON.stringify(own.certificate)}\n`,
  );
  const token = path.join(folder, 'token');
  writeFileSync(token, 's3cret\n');
  const port = await freePort();
  const server = startServe([
    ...half,
    '--port=0',
    `--rest_api_port=${port}`,
    '--host=127.0.0.1',
    `--rest_api_ssl_config_file=${ssl}`,
    `--auth_token_file=${token}`,
    '--frontend_threads=1',
  ]);
  await server.ready();
  const printed = await runPython([
    '-c',
    `
import requests, sys
port, authority = sys.argv[1:]
url = f"https://localhost:{port}/v1/models/half:predict"
for headers in ({}, {"Authorization": "Bearer s3cret"}):
    answer = requests.post(url, json={"instances": [1]}, headers=headers, verify=authority)
    print(answer.status_code, answer.json())`,
    String(port),
    path.join(certificates, 'authority.pem'),
  ]);
  expect(authority.certificate).toContain('BEGIN CERTIFICATE');
  expect(printed.split('\n')).toEqual([
    expect.stringMatching(/^401 /),
    "200 {'predictions': [3.5]}",
    '',
  ]);
});

it("takes a client's request from Python as it stands", async () => {
  const base = path.join(folder, 'mobilenetv2');
  cpSync(modelPath('mobilenetv2_tf'), path.join(base, '1'), { recursive: true });
  const port = await freePort();
  const server = startServe([
    '--model_name=mobilenetv2',
    `--model_base_path=${base}`,
    '--port=0',
    `--rest_api_port=${port}`,
  ]);
  await server.ready();
  // As a client of TensorFlow Serving has it, the port aside.
  const printed = await runPython([
    '-c',
    `
import sys
import numpy as np
import requests
image = np.random.default_rng(1).random((1, 96, 96, 3), dtype=np.float32)
response = requests.post("http://localhost:8501/v1/models/mobilenetv2:predict".replace("8501", sys.argv[1]), json={"instances": image.tolist()})
print(response.status_code, np.array(response.json()["predictions"]).shape, float(np.sum(response.json()["predictions"])))`,
    String(port),
  ]);
  const [, status, shape, sum] = /^(\d+) (\(.*\)) (.*)\n$/.exec(printed) ?? [];
  expect([status, shape]).toEqual(['200', '(1, 10)']);
  expect(Number(sum)).toBeCloseTo(1, 5);
});
