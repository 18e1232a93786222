// Where the engines are, and how the contenders open them.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

import { Unavailable } from './unavailable.mjs';

const require = createRequire(import.meta.url);

/** CPUs this process may use. */
export const cores = os.availableParallelism();

/**
 * What every process of a run gets. All open the same libraries; nothing is collected, logged or
 * guessed on the way.
 *
 * @param {string | undefined} tensorflowLibrary
 */
export function contenderEnvironment(tensorflowLibrary) {
  return {
    TENON_ONNXRUNTIME_LIBRARY: process.env.TENON_ONNXRUNTIME_LIBRARY ?? onnxruntimeLibrary(),
    ...(tensorflowLibrary ? { TENON_TENSORFLOW_LIBRARY: tensorflowLibrary } : {}),
    ORT_DISABLE_TELEMETRY: '1',
    TF_CPP_MIN_LOG_LEVEL: '3',
  };
}

/** The library inside onnxruntime-node, which is the one its binding opens. */
export function onnxruntimeLibrary() {
  const folder = path.dirname(require.resolve('onnxruntime-node-engine/package.json'));
  const file = { win32: 'onnxruntime.dll', darwin: 'libonnxruntime.1.dylib' }[process.platform];
  return path.join(
    folder,
    'bin/napi-v6',
    process.platform,
    process.arch,
    file ?? 'libonnxruntime.so.1',
  );
}

export function onnxruntimeNode() {
  return require('onnxruntime-node-engine');
}

/**
 * A session of onnxruntime-node. Idle threads do not spin unless told to: they would take the
 * processor from whoever is measured next.
 */
export function onnxruntimeNodeSession(model, options) {
  return onnxruntimeNode().InferenceSession.create(model, sessionOptions(options));
}

/** Those of `InferenceSession.create()`. */
export function sessionOptions({ intraOp = 1, spin = false, ...options } = {}) {
  return {
    intraOpNumThreads: intraOp,
    extra: { session: { intra_op: { allow_spinning: spin ? '1' : '0' } } },
    ...options,
  };
}

/** A floor's command to load an ONNX model. */
export function floorOnnx(model, { intraOp = 1, spin = false, openDimensions = [1] } = {}) {
  const library = process.env.TENON_ONNXRUNTIME_LIBRARY;
  return ['onnx', library, intraOp, spin ? 1 : 0, openDimensions.join(','), model];
}

/** A floor's command to load a SavedModel. */
export function floorTensorFlow(folder, { intraOp = 1, interOp = 1, input, output }) {
  return ['tensorflow', tensorflowLibrary(), intraOp, interOp, folder, input, output];
}

export function tensorflowLibrary() {
  const library = process.env.TENON_TENSORFLOW_LIBRARY;
  if (library === undefined || !existsSync(library)) {
    throw new Unavailable('TensorFlow is not installed (tenon engines install tensorflow)');
  }
  return library;
}

/** Elements like those the floor feeds: neither all the same nor denormal. */
export function floatElements(size) {
  return Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 1024) / 1024);
}
