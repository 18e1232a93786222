import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { formatNpy, parseNpy } from '../../lib/cli/npy.js';
import { parseJson } from '../../lib/cli/json.js';
import { Tensor } from '../../lib/index.js';

const cli = 'dist/cli.js';
const models = 'test/fixtures/models';

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

function tenon(args: string[], options: { env?: object; stdin?: string } = {}): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [cli, ...args],
      { env: { ...process.env, NO_COLOR: undefined, ...options.env }, maxBuffer: 1e8 },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end(options.stdin ?? '');
  });
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tenon-cli-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** No engine can be found: what works then needs none. */
const withoutEngines = {
  TENON_ONNXRUNTIME_LIBRARY: '/nowhere/libonnxruntime.so',
  TENON_TENSORFLOW_LIBRARY: '/nowhere/libtensorflow.so',
};

describe('tenon', () => {
  it('prints its version and help', async () => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    expect(await tenon(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    const help = await tenon(['--help']);
    expect(help.code).toBe(0);
    for (const command of ['inspect', 'run', 'types', 'engines']) {
      expect(help.stdout).toContain(`  ${command} `);
      const own = await tenon([command, '--help']);
      expect(own.code).toBe(0);
      if (command !== 'engines') expect(own.stdout).toContain('Examples:');
    }
    expect((await tenon(['engines', 'install', '--help'])).stdout).toContain('--sha256');
  });

  it.each([
    [[]],
    [['bogus']],
    [['inspect']],
    [['inspect', '--bogus', 'x']],
    [['inspect', 'x', 'y']],
    [['run', `${models}/same.onnx`, '--repeat', '0']],
    [['run', `${models}/same.onnx`, '--input', 'x']],
    [['run', `${models}/same.onnx`, '--input', 'x=one']],
    [['run', `${models}/same.onnx`, '--input', 'x=[1]', '--output', 'copy=copy.txt']],
    [['run', `${models}/tf_frozen.pb`, '--input', 'x=1']],
    [['types', `${models}/same.onnx`, '--name', 'not a name']],
    [['engines', 'install', 'pytorch']],
  ])('called as %j is a mistake: exit code 2, words on stderr only', async (args) => {
    const { code, stdout, stderr } = await tenon(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toContain('    at ');
    expect(stderr.length).toBeGreaterThan(20);
  });

  it.each([
    [['inspect', 'nowhere'], 'ERR_TENON_MODEL_NOT_FOUND'],
    [['inspect', 'package.json'], 'ERR_TENON_MODEL_FORMAT'],
    [['inspect', 'test/fixtures/broken/saved_model_truncated'], 'ERR_TENON_MODEL_INVALID'],
    [['inspect', `${models}/tf_tags`, '--tags', 'tpu'], 'ERR_TENON_UNKNOWN_TAG'],
    [['types', `${models}/tf_frozen.pb`], 'ERR_TENON_MODEL_FORMAT'],
    [['run', `${models}/same.onnx`], 'ERR_TENON_MISSING_FEED'],
    [['run', `${models}/same.onnx`, '--input', 'y=1'], 'ERR_TENON_UNKNOWN_FEED'],
    [['run', `${models}/same.onnx`, '--input', 'x=["a"]'], 'ERR_TENON_DTYPE'],
    [
      ['run', `${models}/same.onnx`, '--input', 'x=[1]', '--output', 'z'],
      'ERR_TENON_UNKNOWN_OUTPUT',
    ],
    [['run', `${models}/tf_signatures`, '-s', 'none', '-i', 'x=1'], 'ERR_TENON_UNKNOWN_SIGNATURE'],
    [['run', `${models}/same.onnx`, '--input', 'x=@nowhere.npy'], 'ENOENT'],
  ])('%j fails with %s and exit code 1', async (args, errorCode) => {
    const { code, stdout, stderr } = await tenon(args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^error: .* \\[${errorCode}\\]\\n$`, 'm'));
    expect(stderr).not.toContain('    at ');
  });

  it('prints a stack only when asked', async () => {
    expect((await tenon(['inspect', 'nowhere', '--debug'])).stderr).toContain('    at ');
    const env = { TENON_DEBUG: '1' };
    expect((await tenon(['inspect', 'nowhere'], { env })).stderr).toContain('    at ');
  });

  it('ends quietly when nobody reads on', async () => {
    const child = spawn(process.execPath, [cli, 'inspect', `${models}/tf_dtypes`, '--json']);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout.destroy();
    const code = await new Promise((resolve) => child.on('exit', resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('ends with 130 at Ctrl-C', async () => {
    const args = [cli, 'run', `${models}/same.onnx`, '--inputs-json', '-'];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'ignore'] });
    const ended = new Promise((resolve) => child.on('exit', (...how) => resolve(how)));
    // More than a pipe holds: when all is written, the command is reading, so it has begun.
    await new Promise((resolve) => child.stdin.write(' '.repeat(8_000_000), resolve));
    child.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
  });
});

describe('tenon inspect', () => {
  it('says what saved_model_cli show says, without an engine', async () => {
    const { code, stdout } = await tenon(['inspect', `${models}/half_plus_two`], {
      env: withoutEngines,
    });
    expect(code).toBe(0);
    expect(stdout.replace(/^path .*\n/m, '')).toBe(
      [
        'half_plus_two  TensorFlow SavedModel',
        'version     00000124 of 00000123, 00000124',
        'tags        serve',
        'TensorFlow  2.21.0 (v2.21.0-rc1-5-ga481b10260d)',
        '',
        'signature classify_x_to_y  tensorflow/serving/classify',
        '  inputs',
        '    inputs  string  [?]  tf_example:0',
        '  outputs',
        '    scores  float32  [?, 1]  scores:0',
        '',
        'signature regress_x_to_y  tensorflow/serving/regress',
        '  inputs',
        '    inputs  string  [?]  tf_example:0',
        '  outputs',
        '    outputs  float32  [?, 1]  scores:0',
        '',
        'signature serving_default  tensorflow/serving/predict',
        '  inputs',
        '    x  float32  [?]  x:0',
        '  outputs',
        '    y  float32  [?]  y:0',
        '',
      ].join('\n'),
    );
  });

  it('says what the side panel of a viewer says, without an engine', async () => {
    const { code, stdout } = await tenon(['inspect', `${models}/metadata.onnx`], {
      env: withoutEngines,
    });
    expect(code).toBe(0);
    for (const line of [
      'metadata  ONNX model',
      'IR version     8',
      'opset          ai.onnx 17',
      'producer       tenon fixtures 1.2.3',
      'model version  1099511627783',
      'nodes          1: Identity 1',
      '  author   the fixtures',
      '  unicode  漢字 🙂',
      '  x  float32  [n]',
    ]) {
      expect(stdout.split('\n')).toContain(line);
    }
    const external = await tenon(['inspect', `${models}/external_data`]);
    expect(external.stdout).toContain('  model.onnx.data  1 tensor  1.02 kB');
    const optional = await tenon(['inspect', `${models}/multi_io.onnx`]);
    expect(optional.stdout).toMatch(/^ {2}scale {2}float32 {2}\[\] +optional$/m);
  });

  it('shows every meta graph with --all, and names the hidden ones without', async () => {
    const all = await tenon(['inspect', `${models}/tf_tags`, '--all']);
    expect(all.stdout.match(/^tags/gm)).toHaveLength(3);
    const one = await tenon(['inspect', `${models}/tf_tags`, '--tags', 'gpu,serve']);
    expect(one.stdout).toMatch(/^tags +serve, gpu$/m);
    expect(one.stdout).toContain('other meta graphs: serve; train');
  });

  it('prints JSON', async () => {
    const { stdout } = await tenon(['inspect', `${models}/tf_scalar`, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      format: 'saved-model',
      engine: 'tensorflow',
      signatures: { serving_default: { inputs: { n: { dtype: 'int64', shape: [] } } } },
    });
  });

  it('describes frozen graphs, and .ort files by their engine', async () => {
    const frozen = await tenon(['inspect', `${models}/tf_frozen.pb`], { env: withoutEngines });
    expect(frozen.stdout).toContain('  x  float32  [?]  x:0');
    expect(frozen.stdout).toContain('  product\n');
    const ort = await tenon(['inspect', `${models}/simple_model.ort`]);
    expect(ort.stdout).toContain('    input  float32  [batch, 4]');
    const refused = await tenon(['inspect', `${models}/simple_model.ort`], { env: withoutEngines });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('[ERR_TENON_ENGINE_NOT_FOUND]');
  });
});

describe('tenon run', () => {
  it('runs a SavedModel and an ONNX model alike', async () => {
    const images = path.join(folder, 'images.npy');
    const pixels = parseNpy(await readFile('test/fixtures/digits/held_out_images.npy'), 'images');
    const first = Float32Array.from(
      (pixels.elements.data as Uint8Array).subarray(0, 64),
      (v) => v / 16,
    );
    await writeFile(
      images,
      formatNpy(new Tensor('float64', Float64Array.from(first), [1, 8, 8, 1])),
    );
    for (const model of ['digits_cnn_tf', 'digits_cnn.onnx']) {
      const out = path.join(folder, `${model}.npy`);
      const { code, stdout } = await tenon([
        'run',
        `${models}/${model}`,
        '--input',
        `images=@${images}`,
        '--output',
        `probabilities=${out}`,
      ]);
      expect({ code, stdout }).toEqual({ code: 0, stdout: `wrote probabilities to ${out}\n` });
      const written = parseNpy(await readFile(out), out);
      expect(written.shape).toEqual([1, 10]);
      const probabilities = [...(written.elements.data as Float32Array)];
      expect(probabilities.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4);
    }
  });

  it('prints outputs for people', async () => {
    const { code, stdout } = await tenon(['run', `${models}/half_plus_two`, '-i', 'x=[1, 2, 5]']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'y  float32 [3]\n[3.5   4 5.5]\n' });
  });

  it('prints JSON, with 64-bit integers exact', async () => {
    const { stdout } = await tenon([
      'run',
      `${models}/scalars.onnx`,
      '--input=x=1.5',
      '--input=n=4611686018427387904',
      '--output=twice',
      '--output=y',
      '--json',
    ]);
    expect(parseJson(stdout)).toMatchObject({
      signature: 'serving_default',
      outputs: { twice: { dtype: 'int64', shape: [] }, y: { dtype: 'float32', shape: [] } },
    });
  });

  it('takes values from JSON files and stdin, writes JSON that it takes again', async () => {
    const out = path.join(folder, 'same.json');
    const stdin = '{"x": [1, 2.5, NaN]}';
    const args = ['run', `${models}/same.onnx`, '--inputs-json', '-', '--output', `copy=${out}`];
    expect((await tenon(args, { stdin })).code).toBe(0);
    expect(await readFile(out, 'utf8')).toBe('[1, 2.5, "NaN"]\n');
    const again = await tenon(['run', `${models}/same.onnx`, '-i', `x=@${out}`, '-o', 'copy']);
    expect(again.stdout).toBe('copy  float32 [3]\n[  1 2.5 NaN]\n');
  });

  it('takes strings bare, in JSON, as bytes, and from files', async () => {
    const file = path.join(folder, 'letter.txt');
    await writeFile(file, 'from a file');
    const { stdout } = await tenon([
      'run',
      `${models}/tf_strings`,
      '-s',
      'same',
      '-i',
      `bytes=@${file}`,
    ]);
    expect(stdout).toBe('bytes  string []\n"from a file"\n');
    const bytes = await tenon([
      'run',
      `${models}/tf_strings`,
      '-s',
      'same',
      '-i',
      'bytes=[{"b64": "AP8="}, "x"]',
      '--json',
    ]);
    expect(parseJson(bytes.stdout)).toMatchObject({
      outputs: { bytes: { data: [{ b64: 'AP8=' }, 'x'] } },
    });
    const bare = await tenon([
      'run',
      `${models}/strings.onnx`,
      '-i',
      'text=green',
      '-i',
      'any=42',
      '-o',
      'upper',
    ]);
    expect(bare.stdout).toBe('upper  string [1]\n["GREEN"]\n');
  });

  it('runs models with sequences, maps and optionals', async () => {
    const maps = await tenon([
      'run',
      `${models}/maps.onnx`,
      '-i',
      'probabilities=[0.25, 0.5, 0.25]',
      '-o',
      'maps',
    ]);
    expect(maps.stdout).toBe(
      'maps  sequence of 1\nmaps[0]  map of 3\n  -20: 0.5\n  10: 0.25\n  30: 0.25\n',
    );
    const given = await tenon([
      'run',
      `${models}/maps_in.onnx`,
      '-i',
      'words={"a": 1}',
      '-i',
      'numbers={"1": 2}',
    ]);
    expect(given.code).toBe(0);
    const optional = await tenon(['run', `${models}/optionals.onnx`, '-i', 'maybe=null']);
    expect(optional.stdout).toBe('has  bool []\nfalse\n');
  });

  it('runs one operation of a frozen graph', async () => {
    const { stdout } = await tenon([
      'run',
      `${models}/tf_frozen.pb`,
      '-i',
      'x=[1, 2]',
      '-i',
      'y=[3, 4]',
      '-o',
      'product',
    ]);
    expect(stdout).toBe('product  float32 [2]\n[3 8]\n');
  });

  it('repeats and says how long it took', async () => {
    const { stdout } = await tenon(['run', `${models}/same.onnx`, '-i', 'x=[1]', '-n', '5']);
    expect(stdout).toMatch(
      /\n5 runs: first [\d.]+ ms, then median [\d.]+ ms, [\d.]+ ms to [\d.]+ ms\n$/,
    );
  });
});

describe('tenon types', () => {
  it('prints types, or writes them', async () => {
    const printed = await tenon(['types', `${models}/multi_io.onnx`], { env: withoutEngines });
    expect(printed.stdout).toContain("import type { Tensor, TensorFeed } from 'tenon';");
    const out = path.join(folder, 'types.ts');
    const written = await tenon([
      'types',
      `${models}/multi_io.onnx`,
      '--out',
      out,
      '--name',
      'Sums',
    ]);
    expect({ code: written.code, stdout: written.stdout }).toEqual({ code: 0, stdout: '' });
    expect(await readFile(out, 'utf8')).toBe(printed.stdout.replaceAll('MultiIo', 'Sums'));
  });

  it('loads what only its engine reads', async () => {
    const { stdout } = await tenon(['types', `${models}/simple_model.ort`]);
    expect(stdout).toContain("input: TensorFeed<'float32'>;");
  });
});

describe('tenon engines', () => {
  it('lists both', async () => {
    const text = await tenon(['engines']);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^ONNX Runtime {2}\d/m);
    expect(text.stdout).toMatch(/^TensorFlow {2}\d/m);
    const json = JSON.parse((await tenon(['engines', '--json'])).stdout) as { name: string }[];
    expect(json.map(({ name }) => name)).toEqual(['onnxruntime', 'tensorflow']);
  });

  it('says how to get one that is missing', async () => {
    const { code, stdout } = await tenon(['engines'], { env: withoutEngines });
    expect(code).toBe(0);
    expect(stdout).toContain('not found');
    expect(stdout).toContain('tenon engines install tensorflow');
  });

  it('explains an install that fails', async () => {
    const args = ['engines', 'install', 'tensorflow', '--from', path.join(folder, 'nowhere.zip')];
    const { code, stderr } = await tenon(args, { env: { TENON_CACHE: folder } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/\[ERR_TENON_/);
  });
});
