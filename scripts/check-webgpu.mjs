// Compares ONNX Runtime's WebGPU provider with the CPU on this machine: MobileNetV2,
// a recurrent model and a decoder whose states stay on the device. Ends with 1 where
// numbers differ, a byte of a state was copied, or the provider cannot start.
//
//   node scripts/check-webgpu.mjs [--real] [--icd <file>] [--steps <count>]
//
//   --real    the Vulkan driver must be that of a GPU, not one in software
//   --icd     the driver's description, vk_…_icd.json; default: VK_ICD_FILENAMES, or the
//             first of a GPU that is installed, or one in software
//   --steps   of the models with a state; default 1000
//
// Needs dist/, build/Release/tenon.node and node-gyp-build, nothing else of node_modules.
// The engine is that of TENON_ONNXRUNTIME_LIBRARY, or the one Tenon finds.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { modelPath } from '../bench/models/index.mjs';
import { fail, root } from './run-command.mjs';
import { driverEnvironment, whyNoProvider } from './vulkan-driver.mjs';

/** |device − CPU| may be this and this share of |CPU| at most. */
const tolerance = 1e-4;
/** Parts of the names of the libraries that Vulkan drivers are. */
const softwareDrivers = /libvk_swiftshader|libvulkan_lvp/;
const gpuDrivers =
  /lib(GLX|EGL)_nvidia|libnvidia-(vulkan|glcore|eglcore|gpucomp)|libvulkan_(radeon|intel|nouveau|asahi|freedreno|broadcom|panfrost)|libamdvlk/;
const gpuFiles = /^\/dev\/(nvidia\d+|dri\/(renderD|card)\d+|kfd)$/;
const icdFolders = [
  '/usr/share/vulkan/icd.d',
  '/usr/local/share/vulkan/icd.d',
  '/etc/vulkan/icd.d',
];

const { values: options } = parseArgs({
  options: {
    real: { type: 'boolean', default: false },
    icd: { type: 'string' },
    steps: { type: 'string', default: '1000' },
    inside: { type: 'boolean', default: false },
  },
});
const steps = Number(options.steps);
if (!Number.isInteger(steps) || steps < 1) fail('expected a count of at least 1 for --steps');

if (options.inside) await check();
else start();

// --- The process that finds a driver, and starts one that can see it ---------------

function start() {
  const impossible = whyNoProvider();
  if (impossible !== undefined) fail(`cannot run: ${impossible}`);
  for (const [file, remedy] of [
    ['dist/index.js', 'npm run build:ts'],
    ['build/Release/tenon.node', 'npm run build:addon'],
    ['node_modules/node-gyp-build', 'npm ci'],
  ]) {
    if (!existsSync(path.join(root, file))) fail(`expected ${file}, found none; ${remedy}`);
  }
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'tenon-webgpu-'));
  // The loader says on stderr which driver it cannot open, and why.
  const env = { VK_LOADER_DEBUG: 'error,warn', ...process.env, ...driver(scratch) };
  console.log(`Vulkan driver: ${env.VK_ICD_FILENAMES ?? 'as the loader finds it'}`);
  console.log(`Vulkan loader: ${loader(env) ?? 'none found; the provider needs libvulkan.so.1'}`);
  const { status, signal } = spawnSync(
    process.execPath,
    [
      import.meta.filename,
      '--inside',
      '--steps',
      options.steps,
      ...(options.real ? ['--real'] : []),
    ],
    { stdio: 'inherit', env },
  );
  rmSync(scratch, { recursive: true, force: true });
  if (signal !== null) fail(`failed: the process ended by ${signal}`);
  process.exitCode = status;
}

/** The environment by which the process finds the driver. */
function driver(scratch) {
  if (options.icd !== undefined) {
    if (!existsSync(options.icd)) fail(`expected a driver's description at ${options.icd}`);
    return withLoader({ VK_ICD_FILENAMES: path.resolve(options.icd) });
  }
  if (process.env.VK_ICD_FILENAMES !== undefined) return withLoader({});
  const gpu = installedDrivers().find(({ library }) => gpuDrivers.test(library));
  const nvidia = nvidiaLibrary();
  if (gpu !== undefined && (nvidia === undefined || gpu.library.includes(path.basename(nvidia)))) {
    return withLoader({ VK_ICD_FILENAMES: gpu.file });
  }
  if (nvidia !== undefined) {
    // A container may have NVIDIA's library and not its description, or that of another one.
    const file = path.join(scratch, 'nvidia_icd.json');
    const ICD = { library_path: nvidia, api_version: '1.3.0' };
    writeFileSync(file, JSON.stringify({ file_format_version: '1.0.0', ICD }));
    return withLoader({ VK_ICD_FILENAMES: file });
  }
  if (options.real) fail(`cannot run: ${whyNoGpu()}`);
  const software = driverEnvironment();
  if (software !== undefined) return software;
  fail(`cannot run: there is no Vulkan driver (${whyNoGpu()}); node scripts/vulkan-driver.mjs`);
}

/** NVIDIA's driver as it can be opened here: libGLX_nvidia wants X11's libraries. */
function nvidiaLibrary() {
  const [glx, egl] = [find('libGLX_nvidia.so.0'), find('libEGL_nvidia.so.0')];
  return glx !== undefined && (egl === undefined || find('libXext.so.6')) ? glx : egl;
}

function whyNoGpu() {
  const found = installedDrivers().map(({ file, library }) => `${file} (${library})`);
  const nvidia = readdir('/dev').filter((name) => /^nvidia\d+$/.test(name));
  return [
    `expected a GPU's Vulkan driver in ${icdFolders.join(', ')}, found ${found.join(', ') || 'none'}`,
    nvidia.length > 0
      ? `/dev/${nvidia[0]} is there, but no libGLX_nvidia.so.0: in a container the capability "graphics" brings it (NVIDIA_DRIVER_CAPABILITIES)`
      : 'there is no /dev/nvidia*',
  ].join('; ');
}

function installedDrivers() {
  return icdFolders.flatMap((folder) =>
    readdir(folder)
      .filter((name) => name.endsWith('.json'))
      .flatMap((name) => {
        const file = path.join(folder, name);
        try {
          const library = JSON.parse(readFileSync(file, 'utf8')).ICD.library_path;
          return find(path.basename(library)) || existsSync(library) ? [{ file, library }] : [];
        } catch {
          return []; // no description of a driver
        }
      }),
  );
}

function readdir(folder) {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Path of a library that the system's linker knows. */
function find(name) {
  const { stdout } = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' });
  const known = new RegExp(`^\\s*${name.replaceAll('.', '\\.')} .*=> (\\S+)$`, 'm').exec(
    stdout ?? '',
  );
  if (known !== null) return known[1];
  return (process.env.LD_LIBRARY_PATH ?? '')
    .split(':')
    .concat('/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/local/nvidia/lib64')
    .filter((folder) => folder !== '')
    .map((folder) => path.join(folder, name))
    .find((file) => existsSync(file));
}

function loader(env) {
  const folders = (env.LD_LIBRARY_PATH ?? '').split(':').filter((folder) => folder !== '');
  const file = folders.map((folder) => path.join(folder, 'libvulkan.so.1')).find(existsSync);
  return file ?? find('libvulkan.so.1');
}

/** The loader of drivers that came with the one in software, where the system has none. */
function withLoader(env) {
  const made = { XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? '/tmp', ...env };
  const fetched = path.join(root, 'build/vulkan');
  if (loader(process.env) !== undefined || !existsSync(path.join(fetched, 'libvulkan.so.1'))) {
    return made;
  }
  const folders = [process.env.LD_LIBRARY_PATH, fetched].filter(Boolean).join(':');
  return { ...made, LD_LIBRARY_PATH: folders };
}

// --- The check itself ---------------------------------------------------------------

async function check() {
  const { configure, engines, load, Tensor } = await import('../dist/index.js');
  const problems = [];
  const expect = (holds, what) => {
    console.log(`${holds ? 'ok  ' : 'FAIL'} ${what}`);
    if (!holds) problems.push(what);
  };
  // A failed start of the provider says more in the log.
  configure({ onnxruntime: { logLevel: 'warning' } });
  const onDevice = { executionProviders: ['webgpu'] };

  try {
    for (const device of await engines.devices()) {
      const { provider, type, vendor, deviceId, metadata } = device;
      console.log(`device: ${provider} ${type} ${vendor} ${deviceId} ${JSON.stringify(metadata)}`);
    }
    await checkVision();
    checkDriver();
    await checkState('rnn_state', { x: [1, 3], result: ['y', [1, 2]] }, [
      ['state', 'new_state', [1, 1, 4]],
    ]);
    await checkState('decoder_cache', { x: [1, 8], result: ['logits', [1, 16]] }, [
      ['past_key', 'present_key', [1, 2, 1, 4]],
      ['past_value', 'present_value', [1, 2, 1, 4]],
    ]);
  } catch (error) {
    expect(false, `${error.code ?? error.name}: ${error.message}`);
  }
  console.log(
    problems.length === 0 ? 'the device gives the numbers of the CPU' : `${problems.length} failed`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;

  async function checkVision() {
    const file = modelPath('mobilenet-v2');
    const [cpu, device] = [await load(file), await load(file, onDevice)];
    console.log(`provider: ${device.providers.join(', ')}`);
    const [[input, spec]] = Object.entries(cpu.inputs);
    const shape = spec.shape.map((size) => (typeof size === 'number' ? size : 1));
    const image = Tensor.alloc('float32', shape);
    image.data.forEach((_, i) => {
      image.data[i] = Math.sin(i / 50);
    });
    const run = async (model) => [...Object.values(await model.run({ [input]: image }))[0].data];
    const expected = await run(cpu);
    const first = await timed(() => run(device));
    expect(
      apart(first.value, expected) <= tolerance,
      `MobileNetV2: ${words(first.value, expected)}`,
    );
    const times = { cpu: [], device: [] };
    // Enough for a device of its own; one in software is not asked for so long.
    const rounds = first.ms > 1000 ? 1 : 20;
    for (let i = 0; i < rounds; i++) {
      times.cpu.push((await timed(() => run(cpu))).ms);
      times.device.push((await timed(() => run(device))).ms);
    }
    console.log(
      `     first run on the device ${first.ms.toFixed(1)} ms, then ${median(times.device)} ms; CPU ${median(times.cpu)} ms (medians of ${rounds})`,
    );
    await Promise.all([cpu.close(), device.close()]);
  }

  /** Which driver this process has opened; only a Linux system tells. */
  function checkDriver() {
    const maps = readFileSync('/proc/self/maps', 'utf8');
    const libraries = new Set(
      [...maps.matchAll(/\s(\/\S+)$/gm)]
        .map(([, file]) => path.basename(file))
        .filter((name) => softwareDrivers.test(name) || gpuDrivers.test(name)),
    );
    const files = readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const file = readlinkSync(`/proc/self/fd/${fd}`);
        return gpuFiles.test(file) ? [file] : [];
      } catch {
        return []; // closed meanwhile
      }
    });
    const opened = [...libraries, ...new Set(files)].join(', ') || 'nothing known';
    console.log(`opened: ${opened}`);
    if (!options.real) return;
    const isReal = [...libraries].every((name) => !softwareDrivers.test(name)) && files.length > 0;
    expect(isReal, `the driver is a GPU's: ${opened}`);
    const asked = spawnSync('nvidia-smi', [
      '--query-gpu=name,driver_version',
      '--format=csv,noheader',
    ]);
    if (asked.status === 0) console.log(`nvidia-smi: ${String(asked.stdout).trim()}`);
  }

  async function checkState(name, { x: xShape, result: [result, resultShape] }, state) {
    const file = path.join(root, 'test/fixtures/models', `${name}.onnx`);
    const [cpu, device] = [await load(file), await load(file, onDevice)];
    const x = Tensor.alloc('float32', xShape);
    const place = Tensor.alloc('float32', resultShape);
    const outputs = Object.fromEntries([
      [result, place],
      ...state.map(([, output]) => [output, 'engine']),
    ]);
    const first = () =>
      Object.fromEntries(state.map(([input, , shape]) => [input, Tensor.alloc('float32', shape)]));
    const step = async (model, feeds) => {
      const made = await model.run({ x, ...feeds }, { outputs });
      for (const tensor of Object.values(feeds)) tensor.dispose();
      return Object.fromEntries(state.map(([input, output]) => [input, made[output]]));
    };
    let [carried, kept] = [first(), first()];
    let most = 0;
    const places = new Set();
    const times = { cpu: 0, device: 0 };
    for (let i = 0; i < steps; i++) {
      x.data.forEach((_, k) => {
        x.data[k] = Math.sin(i + k);
      });
      const onCpu = await timed(() => step(cpu, carried));
      const expected = [...place.data];
      place.data.fill(NaN);
      const there = await timed(() => step(device, kept));
      [carried, kept] = [onCpu.value, there.value];
      times.cpu += onCpu.ms;
      times.device += there.ms;
      most = Math.max(most, apart([...place.data], expected));
      for (const tensor of Object.values(kept)) places.add(`${tensor.location}: ${tensor.device}`);
    }
    expect(most <= tolerance, `${name}: ${steps} steps, at most ${most.toExponential(1)} apart`);
    for (const [input] of state) {
      const there = [...(await kept[input].toHost()).data];
      const here = [...(await carried[input].toHost()).data];
      expect(
        apart(there, here) <= tolerance,
        `${name}: ${input} at the end, ${words(there, here)}`,
      );
    }
    expect(
      [...places].every((text) => /^engine: .*gpu/i.test(text)),
      `${name}: the state stays on the device (${[...places].join(', ')})`,
    );
    const { feedBytesCopied, outputBytesCopied } = device.stats();
    expect(
      feedBytesCopied + outputBytesCopied === 0,
      `${name}: ${feedBytesCopied + outputBytesCopied} bytes copied`,
    );
    console.log(
      `     a step ${((times.device / steps) * 1000).toFixed(0)} µs on the device, ${((times.cpu / steps) * 1000).toFixed(0)} µs on the CPU`,
    );
    await Promise.all([cpu.close(), device.close()]);
  }
}

async function timed(action) {
  const started = performance.now();
  const value = await action();
  return { value, ms: performance.now() - started };
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)].toFixed(1);
}

/** The largest |device − CPU| / (1 + |CPU|); infinite where one of them is no number. */
function apart(device, cpu) {
  if (device.length !== cpu.length) return Infinity;
  const distances = cpu.map((value, i) => Math.abs(value - device[i]) / (1 + Math.abs(value)));
  return distances.some(Number.isNaN) ? Infinity : Math.max(0, ...distances);
}

function words(device, cpu) {
  return `${cpu.length} numbers up to ${Math.max(...cpu.map(Math.abs)).toPrecision(3)}, at most ${apart(device, cpu).toExponential(1)} apart`;
}
