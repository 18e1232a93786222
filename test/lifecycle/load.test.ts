import { describe, expect, it } from 'vitest';

import { runScript } from '../helpers/child.js';

describe('a load that could end the process', () => {
  it('of a SavedModel that aborts TensorFlow is refused, and the next load works', async () => {
    const { code, signal, stdout } = await runScript(`
      const failed = await load(model('../hostile/saved_model_huge_constant')).catch((e) => e);
      const m = await load(model('half_plus_two'));
      const { y } = await m.run({ x: [1] });
      console.log(failed.code, y.size);`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(stdout).toMatch(/^ERR_TENON_(MODEL_INVALID|TOO_LARGE|UNSUPPORTED) 1\n$/);
  });

  it.skipIf(process.platform === 'win32')('of files one may not read is refused', async () => {
    // Files are read as somebody else once everything that root may read is loaded.
    const { code, signal, stdout } = await runScript(`
      const fs = await import('node:fs');
      const os = await import('node:os');
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tenon-test-'));
      fs.chmodSync(folder, 0o755);
      fs.copyFileSync(model('same.onnx'), path.join(folder, 'model.onnx'));
      fs.cpSync(model('half_plus_two/00000123'), path.join(folder, 'saved'), { recursive: true });
      fs.copyFileSync(model('tf_frozen.pb'), path.join(folder, 'graph.pb'));
      fs.mkdirSync(path.join(folder, 'locked'), { mode: 0 });
      for (const file of ['model.onnx', 'saved/saved_model.pb', 'graph.pb']) {
        fs.chmodSync(path.join(folder, file), 0);
      }
      const options = { tensorflow: { inputs: ['x'], outputs: ['sum'] } };
      for (const name of ['same.onnx', 'half_plus_two']) await (await load(model(name))).close();
      const user = process.geteuid();
      if (user === 0) process.seteuid(65534);
      const codes = [];
      for (const name of ['model.onnx', 'saved', 'graph.pb', 'locked']) {
        const error = await load(path.join(folder, name), options).catch((e) => e);
        codes.push(error.code);
      }
      process.seteuid(user);
      fs.rmSync(folder, { recursive: true, force: true });
      console.log(codes.join(' '));`);
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(stdout.trim().split(' ')).toEqual(new Array(4).fill('ERR_TENON_MODEL_NOT_FOUND'));
  });
});
