import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { root } from '../helpers/paths.js';

/** What `scripts/onnx-backend-cases.mjs --json` prints. */
interface Report {
  origin: string;
  /** The folder of the cases. */
  data: string;
  totals: { passed: number; failed: number; unsupported: number };
  results: { name: string; result: 'passed' | 'failed' | 'unsupported'; reason?: string }[];
}

/** ONNX Runtime's C++ locale comes from the system's list on Linux, and is always there elsewhere. */
const localeMayBeMissing = process.platform === 'linux';

// Explained one by one in docs/onnx-conformance.md.
const failedWithoutLocale = [
  'simple/test_strnorm_model_monday_casesensintive_lower',
  'simple/test_strnorm_model_monday_casesensintive_upper',
  'simple/test_strnorm_model_monday_empty_output',
  'simple/test_strnorm_model_monday_insensintive_upper_twodim',
];
const opset6 = /^ERR_TENON_MODEL_INVALID .*: Could not find an implementation for \w+\([16]\) node/;
const training = /ai\.onnx\.preview\.training:Gradient\(-1\) is not a registered function\/op/;
const unsupported: Record<string, RegExp> = Object.fromEntries([
  ...[
    'AvgPool1d',
    'AvgPool1d_stride',
    'AvgPool2d',
    'AvgPool2d_stride',
    'AvgPool3d',
    'AvgPool3d_stride',
    'AvgPool3d_stride1_pad0_gpu_input',
    'BatchNorm1d_3d_input_eval',
    'BatchNorm2d_eval',
    'BatchNorm2d_momentum_eval',
    'BatchNorm3d_eval',
    'BatchNorm3d_momentum_eval',
    'GLU',
    'GLU_dim',
    'Linear',
    'PReLU_1d',
    'PReLU_1d_multiparam',
    'PReLU_2d',
    'PReLU_2d_multiparam',
    'PReLU_3d',
    'PReLU_3d_multiparam',
    'PoissonNLLLLoss_no_reduce',
    'Softsign',
  ].map((name) => [`pytorch-converted/test_${name}`, opset6] as const),
  ...[
    'add_broadcast',
    'add_size1_broadcast',
    'add_size1_right_broadcast',
    'add_size1_singleton_broadcast',
    'addconstant',
    'addmm',
    'basic',
    'mm',
    'non_float_params',
    'params',
    'pow',
  ].map((name) => [`pytorch-operator/test_operator_${name}`, opset6] as const),
  ...['gradient_of_add', 'gradient_of_add_and_mul'].map(
    (name) => [`simple/test_${name}`, training] as const,
  ),
]);

let temporary = '';
let emptyLocales = '';
let report: Report;

beforeAll(async () => {
  temporary = await mkdtemp(path.join(os.tmpdir(), 'tenon-onnx-backend-'));
  emptyLocales = path.join(temporary, 'no-locales');
  await mkdir(emptyLocales);
  report = await runCases([], emptyLocales);
});

afterAll(() => rm(temporary, { recursive: true, force: true }));

it('the wheel has the cases that are known', () => {
  expect(report.origin).toBe('onnx 1.23.1');
  const groups = report.results.map(({ name }) => name.split('/')[0]);
  expect(countEach(groups)).toEqual({
    'pytorch-converted': 82,
    'pytorch-operator': 35,
    simple: 23,
  });
});

it('only the cases that ask for a missing locale fail', () => {
  const failed = report.results.filter(({ result }) => result === 'failed');
  expect(failed.map(({ name }) => name)).toEqual(localeMayBeMissing ? failedWithoutLocale : []);
  for (const { reason } of failed) {
    expect(reason).toMatch(/^ERR_TENON_MODEL_INVALID .*locale with name:en_US\.UTF-8/s);
  }
});

it.runIf(localeMayBeMissing)('those pass where the locale is there', async () => {
  const locales = path.join(temporary, 'locales');
  await mkdir(locales);
  // Debian, Ubuntu and Fedora all bring C.UTF-8, which has the case mapping of all of Unicode.
  await symlink('/usr/lib/locale/C.utf8', path.join(locales, 'en_US.UTF-8'));
  const { totals } = await runCases(['--filter', 'strnorm'], locales);
  expect(totals).toEqual({ passed: 6, failed: 0, unsupported: 0 });
});

it('exactly the cases that the engine has no kernels for are unsupported', () => {
  const found = report.results.filter(({ result }) => result === 'unsupported');
  expect(found.map(({ name }) => name)).toEqual(Object.keys(unsupported).sort());
  for (const { name, reason } of found) expect(reason).toMatch(unsupported[name] as RegExp);
});

it('a wrong value, a wrong dtype and a broken model are told as failures', async () => {
  const data = path.join(temporary, 'data');
  const relu = path.join(report.data, 'simple/test_single_relu_model');
  const copies = ['broken', 'dtype', 'value'].map((name) => path.join(data, 'simple', name));
  for (const copy of copies) await cp(relu, copy, { recursive: true });
  const [broken = '', dtype = '', value = ''] = copies;
  await writeFile(path.join(broken, 'model.onnx'), 'no model');
  // TensorProto: dims 1 and 2, data_type 1 (float) or 6 (int32), raw_data of eight zero bytes.
  const tensor = (dataType: number) =>
    Uint8Array.of(0x08, 1, 0x08, 2, 0x10, dataType, 0x4a, 8, ...new Uint8Array(8));
  await writeFile(path.join(dtype, 'test_data_set_0/output_0.pb'), tensor(6));
  await writeFile(path.join(value, 'test_data_set_0/output_0.pb'), tensor(1));

  const { results } = await runCases(['--data', data], emptyLocales);
  expect(results.map(({ result }) => result)).toEqual(['failed', 'failed', 'failed']);
  expect(results[0]?.reason).toMatch(/^ERR_TENON_MODEL_INVALID /);
  expect(results[1]?.reason).toMatch(/expected dtype "int32", received "float32"$/);
  expect(results[2]?.reason).toMatch(
    /2 of 2 elements differ, the first at 0: expected 0, received 1\.764/,
  );
});

/** In a child process: a locale is found once, and a crash of the engine is the child's. */
function runCases(args: readonly string[], locales: string): Promise<Report> {
  const script = path.join(root, 'scripts/onnx-backend-cases.mjs');
  const env = { ...process.env, LOCPATH: locales };
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [script, '--json', ...args],
      { env, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        // Exit code 1 says that a case failed, which is for the tests to judge.
        if (error === null || error.code === 1) resolve(JSON.parse(stdout) as Report);
        else reject(new Error(`${error.message}\n${stderr}`));
      },
    );
  });
}

function countEach(names: readonly (string | undefined)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name ?? ''] = (counts[name ?? ''] ?? 0) + 1;
  return counts;
}
